"""Questions on sound. Each task takes a `SamplingContext` and returns a `QuestionSpec`; a function below it renders the
clip. `difficulty` is given the values of a parameter at the levels easy, medium and hard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from lalm_utils.mini.benchmark import sounds
from lalm_utils.mini.benchmark.sampling import SamplingContext, with_article, without
from lalm_utils.mini.benchmark.scene import RATE, Mixer, QuestionSpec, Scene

ORDINALS = ("first", "second", "third", "fourth")
TRAJECTORIES = ("getting louder", "getting quieter", "louder then quieter", "quieter then louder")

EVENT = (
    "Which sound is heard in this clip?",
    "What is making the sound in the recording?",
    "Name the sound that occurs in the audio.",
    "Which of these best describes the sound you hear?",
    "What can be heard in this recording?",
    "Identify the sound event in the clip.",
)
BACKGROUND = (
    "What is heard in the background?",
    "Behind the {event}, which continuous sound goes on?",
    "Which background sound accompanies the {event}?",
    "Apart from the {event}, what steady sound is there?",
)
COUNT = (
    "How many times does the {event} occur?",
    "Count the occurrences of the {event}.",
    "How often is the {event} heard in the clip?",
    "What is the number of times the {event} sounds?",
)
ORDER = (
    "Which sound comes {nth}?",
    "What is the {nth} sound in the recording?",
    "In order of time, which sound is heard {nth}?",
    "Several sounds follow each other. Which one is the {nth}?",
)
ABSENT = (
    "Which of these sounds is not heard?",
    "Which sound is missing from the recording?",
    "All of these occur in the clip except one. Which one does not?",
)
TRAJECTORY = (
    "How does the loudness change over the clip?",
    "What happens to the volume of the sound?",
    "Describe how loud the sound is over time.",
)
LOUDER = (
    "Which of the two sounds is louder?",
    "Two sounds follow each other. Which is the louder one?",
    "Comparing the sounds in the clip, which one is louder?",
)
MAKER = (
    "What kind of thing makes the sound in the clip?",
    "The sound heard here is made by what?",
    "Which source does the sound you hear come from?",
)
TYPICAL_PLACE = (
    "Where would you most likely hear this sound?",
    "In which place is this sound typical?",
    "The sound in the clip belongs to which place?",
)


def _sequence(
    labels: tuple[str, ...], gap: float, snr: float, spread: float, rng: np.random.Generator
) -> Scene:
    """Events one after the other, `gap` seconds apart, levels within +-`spread` dB, noise at `snr` dB."""
    mixer, at = Mixer("sound"), float(rng.uniform(0.05, 0.3))
    for label in labels:
        end = mixer.add(sounds.event(label, rng), at=at, gain_db=float(rng.uniform(-spread, spread)))
        mixer.annotate("content", label, at, end)
        at = end + gap * float(rng.uniform(0.8, 1.3))
    return mixer.finish(rng, snr_db=snr)


def event(context: SamplingContext) -> QuestionSpec:
    """Which of four sounds is in the clip; difficulty: the signal-to-noise ratio.

    No textures: there are too few novel ones, so that options of textures would tell a known item from a novel one.
    """
    options, gold = context.choose_answer(context.sample(context.pools.events, 4))
    label = options[gold]
    snr = context.uniform(context.difficulty((15, 30), (2, 10), (-10, -3)))
    return context.question(
        EVENT, options, gold, pool=context.pools.events,
        build=partial(_single, label, snr),
        rationale=f"I hear the sound of {phrase(label)}.",
        type="sound", caption=f"the sound of {phrase(label)}", content=[label],
    )  # fmt: skip


def _single(label: str, snr: float, rng: np.random.Generator) -> Scene:
    """A texture for two to four seconds, or an event heard once or twice."""
    if sounds.SOUNDS[label].kind == "event":
        return _sequence((label,) * int(rng.integers(1, 3)), 0.3, snr, 1.0, rng)
    mixer = Mixer("sound")
    mixer.add(sounds.texture(label, float(rng.uniform(2.0, 4.0)), rng), at=0.0)
    mixer.annotate_all("content", label)
    return mixer.finish(rng, snr_db=snr)


def background(context: SamplingContext) -> QuestionSpec:
    """The steady sound behind a foreground event; difficulty: its level below the event."""
    options, gold = context.choose_answer(context.sample(context.pools.textures, 4))
    front = context.pick(context.pools.events)
    level = context.uniform(context.difficulty((0, 6), (-12, -6), (-24, -18)))
    return context.question(
        BACKGROUND, options, gold, pool=context.pools.textures, slots={"event": front},
        build=partial(_behind, front, options[gold], level),
        rationale=f"In front there is {phrase(front)}. Behind it goes on the sound of {options[gold]}.",
        type="sound", caption=f"{phrase(front)} with {options[gold]} in the background", content=[front, options[gold]],
    )  # fmt: skip


def _behind(front: str, texture: str, level_db: float, rng: np.random.Generator) -> Scene:
    mixer, seconds = Mixer("sound"), float(rng.uniform(2.5, 4.0))
    mixer.add(sounds.texture(texture, seconds, rng), at=0.0, gain_db=level_db)
    mixer.annotate_all("background", texture)
    at = float(rng.uniform(0.3, 0.8))
    while at < seconds - 0.7:
        end = mixer.add(sounds.event(front, rng), at=at)
        mixer.annotate("content", front, at, end)
        at = end + float(rng.uniform(0.6, 1.4))
    return mixer.finish(rng)


def count(context: SamplingContext) -> QuestionSpec:
    """How many times an event occurs; difficulty: the range, the gap and the noise."""
    high = context.difficulty(5, 6, 9)
    options, gold = context.number_window(1, high)
    label = context.pick(context.pools.events)
    gap, snr = context.difficulty(0.45, 0.25, 0.1), context.difficulty(30.0, 15.0, 5.0)
    times = int(options[gold])
    return context.question(
        COUNT, options, gold, pool=tuple(map(str, range(1, high + 1))), slots={"event": label},
        build=partial(_repeat, label, times, gap, snr),
        rationale=f"I hear: {', '.join([label] * times)}.",
        type="sound", caption=f"{phrase(label)}, heard {times} times", content=[label] * times,
    )  # fmt: skip


def _repeat(label: str, times: int, gap: float, snr: float, rng: np.random.Generator) -> Scene:
    """The same rendering of one event, so that its repetitions are recognisable; it is cut to fit six seconds."""
    sound = sounds.event(label, rng)
    room = 5.8 / times - gap
    sound = sound[: int(max(0.15, min(room, 0.6)) * RATE)] * np.float32(1.0)
    sound[-160:] *= np.linspace(1, 0, 160, dtype=np.float32)
    mixer, at = Mixer("sound"), 0.1
    for number in range(1, times + 1):
        end = mixer.add(sound, at=at)
        mixer.annotate("content", label, at, end)
        mixer.annotate("number", str(number), at, end + gap / 2)
        at = end + gap
    return mixer.finish(rng, snr_db=snr)


def order(context: SamplingContext) -> QuestionSpec:
    """Which sound comes n-th; difficulty: the number of sounds and the noise."""
    size = context.difficulty(2, 3, 4)
    options, gold, labels, position = context.nth_in_sequence(context.pools.events, size)
    return context.question(
        ORDER, options, gold, slots={"nth": ORDINALS[position]},
        build=partial(_sequence, tuple(labels), 0.3, context.difficulty(30.0, 18.0, 6.0), 2.0),
        rationale=report(labels),
        type="sound", caption=in_order(labels), content=labels,
    )  # fmt: skip


def absent(context: SamplingContext) -> QuestionSpec:
    """Three of four sounds occur: which does not; difficulty: noise and spread of level."""
    options, gold = context.choose_answer(context.sample(context.pools.events, 4))
    labels = context.sample(without(options, gold), 3)
    gap, snr, spread = (
        context.difficulty(*v) for v in ((0.35, 0.25, 0.1), (30.0, 15.0, 3.0), (1.0, 3.0, 6.0))
    )
    return context.question(
        ABSENT, options, gold,
        build=partial(_sequence, tuple(labels), gap, snr, spread),
        rationale=report(labels),
        type="sound", caption=in_order(labels), content=labels,
    )  # fmt: skip


def trajectory(context: SamplingContext) -> QuestionSpec:
    """How loudness moves over a steady sound; difficulty: its range in dB."""
    options, gold = context.choose_answer(TRAJECTORIES)
    label = context.pick(context.pools.textures)
    return context.question(
        TRAJECTORY, options, gold, pool=TRAJECTORIES,
        build=partial(_swell, label, options[gold], context.difficulty(30.0, 16.0, 8.0)),
        rationale=f"I listen to the level of the {label} from start to end.",
        type="sound", caption=f"{label}, {options[gold]}", content=[label],
    )  # fmt: skip


def _swell(label: str, shape: str, range_db: float, rng: np.random.Generator) -> Scene:
    samples = sounds.texture(label, float(rng.uniform(3.0, 4.5)), rng)
    ramp = {
        "getting louder": [0.0, 0.5, 1.0],
        "getting quieter": [1.0, 0.5, 0.0],
        "louder then quieter": [0.0, 1.0, 0.0],
        "quieter then louder": [1.0, 0.0, 1.0],
    }[shape]
    curve = np.interp(np.linspace(0, 2, len(samples)), [0, 1, 2], ramp)
    mixer = Mixer("sound")
    mixer.add(samples * 10 ** ((curve - 1) * range_db / 20), at=0.0)
    mixer.annotate_all("content", label)
    mixer.annotate_all("trajectory", shape)
    return mixer.finish(rng)


def louder(context: SamplingContext) -> QuestionSpec:
    """Which of two sounds is louder; difficulty: the difference in dB."""
    pair = context.sample(context.pools.events, 2)
    options, gold = context.choose_answer(pair)
    quiet = options[1 - gold]
    labels = context.sample(pair, 2)
    return context.question(
        LOUDER, options, gold, pool=tuple(pair),
        build=partial(_pair, tuple(labels), quiet, context.difficulty(18.0, 10.0, 5.0)),
        rationale=report(labels) + " I compare how loud they are.",
        type="sound", caption=in_order(labels), content=labels,
    )  # fmt: skip


def _pair(labels: tuple[str, ...], quiet: str, difference_db: float, rng: np.random.Generator) -> Scene:
    mixer, at = Mixer("sound"), 0.1
    for label in labels:
        end = mixer.add(sounds.event(label, rng), at=at, gain_db=-difference_db if label == quiet else 0.0)
        mixer.annotate("content", label, at, end)
        mixer.annotate("loud", "quiet" if label == quiet else "loud", at, end)
        at = end + 0.4
    return mixer.finish(rng)


def _fact(context: SamplingContext, key: str, wordings: tuple[str, ...]) -> QuestionSpec:
    """Two hops: hear the sound, then know something about it. The fact is chosen first, then a sound that has it."""
    labels = (*context.pools.events, *context.pools.textures)
    facts = sorted({sounds.SOUNDS[label].fact[key] for label in labels})
    options, gold = context.choose_answer(context.sample(facts, min(4, len(facts))))
    label = context.pick([label for label in labels if sounds.SOUNDS[label].fact[key] == options[gold]])
    spec = context.question(
        wordings, options, gold, pool=tuple(facts), build=partial(_single, label),
        rationale=f"I hear the sound of {phrase(label)}.",
        type="sound", caption=f"the sound of {phrase(label)}", content=[label],
    )  # fmt: skip
    return replace(
        spec, build=partial(_single, label, context.uniform(context.difficulty((15, 30), (2, 10), (-10, -3))))
    )


def maker(context: SamplingContext) -> QuestionSpec:
    """Two hops: what kind of thing makes the sound."""
    return _fact(context, "made_by", MAKER)


def typical_place(context: SamplingContext) -> QuestionSpec:
    """Two hops: where the sound is typical."""
    return _fact(context, "place", TYPICAL_PLACE)


def phrase(label: str) -> str:
    """The label with an indefinite article; steady sounds ("rain") take none."""
    steady = label in sounds.SOUNDS and sounds.SOUNDS[label].kind == "texture"
    return label if steady else with_article(label)


def in_order(labels: Sequence[str]) -> str:
    return ", then ".join(phrase(label) for label in labels)


def report(labels: Sequence[str]) -> str:
    """The sounds of a clip in order, as a sentence of a rationale."""
    return f"I hear {in_order(labels)}."


TASKS = {
    "Sound event": (event, "Perception"),
    "Background sound": (background, "Perception"),
    "Event count": (count, "Perception"),
    "Event order": (order, "Reasoning"),
    "Absent sound": (absent, "Reasoning"),
    "Loudness trajectory": (trajectory, "Perception"),
    "Louder sound": (louder, "Perception"),
    "Sound source": (maker, "Reasoning"),
    "Sound place": (typical_place, "Reasoning"),
}
NOVEL = ("Sound event", "Event order", "Absent sound")  # the tasks whose options can all be novel labels
