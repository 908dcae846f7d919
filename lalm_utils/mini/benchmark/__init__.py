"""The embedded benchmark: questions on generated sound, music and speech, rendered once into the user's cache.

In: a split's name. Out: a folder in MMAU's schema (`ensure`), or its records before any clip is rendered
(`planned_records`). The modules below this door make up the generator:

    plan            which questions a split holds, novel labels, unanswerable items
    probes          paired probes of trust, a split for each axis
    sampling, scene what a question is made from, what a clip is made of
    tasks_*         the questions on sound, music and speech
    sounds          the everyday sounds: animals_people, objects, textures, samples, from the parts in synth
    font            music from a SoundFont (soundfont); voice: speech from eSpeak NG; words: what is spoken
    splits          a split on disk
"""

from lalm_utils.mini.benchmark.plan import SIZES
from lalm_utils.mini.benchmark.splits import VERSION, ensure, generator_version, planned_records
from lalm_utils.mini.benchmark.voice import say

__all__ = ["SIZES", "VERSION", "ensure", "generator_version", "planned_records", "say"]
