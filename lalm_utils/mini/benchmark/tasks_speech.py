"""Question generators on speech, spoken by eSpeak NG. Shape as in tasks_sound.py."""

from __future__ import annotations

from functools import partial

import numpy as np

from lalm_utils.mini.benchmark import sounds, voice
from lalm_utils.mini.benchmark.sampling import Draw
from lalm_utils.mini.benchmark.scene import Canvas, Draft, Scene
from lalm_utils.mini.benchmark.tasks_sound import ORDINALS
from lalm_utils.mini.benchmark.words import CARRIERS, NUMBERS

RATES = ("getting faster", "getting slower", "keeping the same speed")
SPEAKERS = ("a man, then a woman", "a woman, then a man", "two men", "two women")
SPEAKER_SEXES = {"a man, then a woman": ("male", "female"), "a woman, then a man": ("female", "male"),
                 "two men": ("male", "male"), "two women": ("female", "female")}  # fmt: skip
PERSON = {"male": "man", "female": "woman"}

KEYWORD = (
    "Which of these words is spoken?",
    "Which word does the speaker say?",
    "What word occurs in the sentence?",
    "Identify the word that is said.",
)
NTH_WORD = (
    "Which word is said {nth}?",
    "What is the {nth} word of the list?",
    "The speaker reads a list. Which word is the {nth}?",
)
UNSAID = (
    "Which of these words is not said?",
    "One of these words is missing from the list. Which one?",
    "All but one of the words are spoken. Which is not?",
)
WORDS = (
    "How many words does the speaker say?",
    "Count the words that are spoken.",
    "What is the number of words in the list?",
)
CATEGORY = (
    "What kind of thing does the speaker name?",
    "The word that is spoken belongs to which group?",
    "Which category fits the spoken word?",
)
SUM = (
    "What is the result of the spoken calculation?",
    "The speaker states a calculation. What does it give?",
    "Solve the arithmetic that is spoken.",
)
SPEAKER = (
    "Who speaks in the clip?",
    "Which speakers are heard, in order?",
    "Who are the two speakers?",
)
LANGUAGE = (
    "Which language is spoken?",
    "What language does the speaker use?",
    "In which language are these numbers spoken?",
)
PACE = (
    "How does the speed of the speech change?",
    "What happens to the pace of the speaker?",
    "Is the speaker getting faster or slower?",
)
BEHIND = (
    "Which sound is heard behind the speech?",
    "While somebody speaks, what goes on in the background?",
    "What is the background sound of the talk?",
)
SAID_BY = (
    "Which word does the {person} say?",
    "What is the word spoken by the {person}?",
    "Two people speak. What does the {person} say?",
)


def _voice(draw: Draw, sex: str | None = None) -> tuple[str, str]:
    """Sex and variant of a speaker."""
    sex = sex or draw.pick(("male", "female"))
    return sex, draw.pick(draw.pools.voices[sex])


def _all_words(draw: Draw) -> tuple[str, ...]:
    return tuple(word for words in draw.pools.words.values() for word in words)


def _add_speech(canvas: Canvas, text: str, speaker: tuple[str, str], at: float, rng, *, rate: float) -> float:
    sex, variant = speaker
    speech = voice.say(text, variant=variant, rate=int(rate), pitch=int(rng.integers(45, 61)))
    end = canvas.add(speech.samples, at=at)
    for word in speech.words:
        canvas.mark("content", word.text.strip(".,?").lower(), at + word.start, at + word.end)
    canvas.mark("who", PERSON[sex], at, end)
    return end


def _talk(text: str, speaker: tuple[str, str], rate: float, snr: float, rng: np.random.Generator) -> Scene:
    canvas = Canvas()
    _add_speech(canvas, text, speaker, 0.1, rng, rate=rate)
    canvas.mark_all("type", "speech")
    return canvas.finish(rng, snr_db=snr)


def _list(said: tuple[str, ...], speaker: tuple[str, str], rate: float, gap: float, snr: float, rng) -> Scene:
    """Words spoken one by one with pauses, numbered for the training marks."""
    canvas, at = Canvas(), 0.1
    for i, word in enumerate(said):
        end = _add_speech(canvas, word, speaker, at, rng, rate=rate)
        canvas.mark("number", str(i + 1), at, end + gap)
        at = end + gap
    canvas.mark_all("type", "speech")
    return canvas.finish(rng, snr_db=snr)


def _draft(
    draw: Draw, wordings, options, gold, pool, build, rationale, transcript, slots=None, **truth
) -> Draft:
    question, filled = draw.word_question(wordings, **(slots or {}))
    return Draft(
        question=question, wordings=filled, options=options, gold=gold, pool=tuple(pool), build=build,
        rationale=rationale, truth={"type": "speech", "transcript": transcript, **truth},
    )  # fmt: skip


def keyword(draw: Draw) -> Draft:
    """Which of four words is in the sentence; levers are the noise and the rate."""
    words = _all_words(draw)
    options, gold = draw.deal(draw.sample(words, 4))
    text = draw.pick(CARRIERS).format(word=options[gold])
    snr, rate = draw.uniform(draw.lever((20, 35), (5, 12), (-3, 3))), draw.lever(145, 165, 190)
    build = partial(_talk, text, _voice(draw), rate, snr)
    return _draft(draw, KEYWORD, options, gold, words, build, f'The speaker says: "{text}"', text)


def nth_word(draw: Draw) -> Draft:
    """Which word of a list is the n-th; levers are its length, the rate and the noise."""
    size = draw.lever(2, 3, 4)
    options, gold = draw.deal(draw.sample(_all_words(draw), 4))
    place = int(draw.rng.integers(size))
    said = draw.sample([option for option in options if option != options[gold]], size - 1)
    said.insert(place, options[gold])
    build = partial(_list, tuple(said), _voice(draw), draw.lever(145, 165, 190), draw.lever(0.3, 0.2, 0.1),
                    draw.lever(30.0, 18.0, 8.0))  # fmt: skip
    text = ", ".join(said)
    slots = {"nth": ORDINALS[place]}
    return _draft(draw, NTH_WORD, options, gold, options, build, f'The speaker says: "{text}"', text, slots)


def unsaid(draw: Draw) -> Draft:
    """Which of four words is not in a list of three; levers are the rate and the noise."""
    options, gold = draw.deal(draw.sample(_all_words(draw), 4))
    said = draw.sample([option for option in options if option != options[gold]], 3)
    build = partial(_list, tuple(said), _voice(draw), draw.lever(145, 165, 190), draw.lever(0.3, 0.2, 0.1),
                    draw.lever(30.0, 15.0, 5.0))  # fmt: skip
    text = ", ".join(said)
    return _draft(draw, UNSAID, options, gold, options, build, f'The speaker says: "{text}"', text)


def word_count(draw: Draw) -> Draft:
    """How many words are read; levers are the range, the rate and the pauses."""
    high = draw.lever(5, 6, 8)
    options, gold = draw.window(1, high)
    said = draw.sample(_all_words(draw), int(options[gold]))
    build = partial(
        _list, tuple(said), _voice(draw), draw.lever(170, 190, 220), draw.lever(0.35, 0.2, 0.05), 25.0
    )
    text = ", ".join(said)
    return _draft(draw, WORDS, options, gold, map(str, range(1, high + 1)), build,
                  f'The speaker says: "{text}"', text)  # fmt: skip


def category(draw: Draw) -> Draft:
    """Two hops: hear the word, then know what kind of thing it names. The kind is dealt first."""
    kinds = tuple(draw.pools.words)
    options, gold = draw.deal(draw.sample(kinds, 4))
    text = draw.pick(CARRIERS).format(word=draw.pick(draw.pools.words[options[gold]]))
    snr, rate = draw.uniform(draw.lever((20, 35), (5, 12), (-3, 3))), draw.lever(145, 165, 190)
    build = partial(_talk, text, _voice(draw), rate, snr)
    return _draft(draw, CATEGORY, options, gold, kinds, build, f'The speaker says: "{text}"', text)


def arithmetic(draw: Draw) -> Draft:
    """Two hops: hear the calculation, then work it out; levers are the size of the numbers and the noise."""
    high = draw.lever(6, 10, 18)
    options, gold = draw.window(1, high)
    result = int(options[gold])
    first = int(draw.rng.integers(0, 10))
    other = result - first
    operator = "plus" if other >= 0 else "minus"
    text = f"{NUMBERS[first]} {operator} {NUMBERS[abs(other)]}."
    build = partial(_talk, text, _voice(draw), draw.lever(140, 155, 180), draw.lever(30.0, 20.0, 10.0))
    return _draft(
        draw, SUM, options, gold, map(str, range(1, high + 1)), build, f'The speaker says: "{text}"', text
    )


def speakers(draw: Draw) -> Draft:
    """Man or woman, in order; levers are the length of the turns and the noise."""
    options, gold = draw.deal(SPEAKERS)
    first, second = (_voice(draw, sex) for sex in SPEAKER_SEXES[options[gold]])
    if options[gold].startswith("two") and first == second:
        first = (first[0], next(v for v in draw.pools.voices[first[0]] if v != second[1]))
    texts = tuple(draw.pick(CARRIERS).format(word=draw.pick(_all_words(draw))) for _ in range(2))
    if draw.level == "hard":
        texts = tuple(draw.sample(_all_words(draw), 2))
    build = partial(_dialogue, texts, (first, second), draw.lever(30.0, 15.0, 5.0))
    rationale = "I compare how high the first and the second voice are."
    return _draft(draw, SPEAKER, options, gold, SPEAKERS, build, rationale, " ".join(texts))


def _dialogue(texts: tuple[str, ...], pair: tuple, snr: float, rng: np.random.Generator) -> Scene:
    canvas, at = Canvas(), 0.1
    for text, speaker in zip(texts, pair):
        at = _add_speech(canvas, text, speaker, at, rng, rate=185) + 0.25
    canvas.mark_all("type", "speech")
    return canvas.finish(rng, snr_db=snr)


def language(draw: Draw) -> Draft:
    """Which language numbers are spoken in; levers are how many numbers are heard and the noise."""
    names = tuple(draw.pools.languages)
    options, gold = draw.deal(draw.sample(names, 4))
    digits = " ".join(str(int(d)) for d in draw.rng.integers(0, 100, draw.lever(5, 4, 2)))
    build = partial(_foreign, digits, options[gold], draw.pools.languages[options[gold]], _voice(draw),
                    draw.lever(30.0, 15.0, 5.0))  # fmt: skip
    rationale = "I listen to the sounds and the melody of the language."
    # Foreign numbers have no transcript in the model's language, so the item carries a caption instead.
    caption = f"somebody reads numbers in {options[gold]}"
    return _draft(draw, LANGUAGE, options, gold, names, build, rationale, "", caption=caption)


def _foreign(digits: str, name: str, code: str, speaker: tuple[str, str], snr: float, rng) -> Scene:
    canvas = Canvas()
    speech = voice.say(digits, voice=code, variant=speaker[1], rate=175, pitch=int(rng.integers(45, 61)))
    canvas.add(speech.samples, at=0.1)
    canvas.mark_all("language", name)
    canvas.mark_all("type", "speech")
    return canvas.finish(rng, snr_db=snr)


def pace(draw: Draw) -> Draft:
    """How the speed changes from the first half to the second; the lever is the ratio."""
    options, gold = draw.deal(RATES)
    factor = draw.lever(2.0, 1.6, 1.3)
    texts = tuple(draw.pick(CARRIERS).format(word=draw.pick(_all_words(draw))) for _ in range(2))
    rates = {"getting faster": (130, 130 * factor), "getting slower": (130 * factor, 130),
             "keeping the same speed": (165, 165)}[options[gold]]  # fmt: skip
    build = partial(_paced, texts, rates, _voice(draw), options[gold])
    rationale = "I compare the pace of the beginning with that of the end."
    return _draft(draw, PACE, options, gold, RATES, build, rationale, " ".join(texts))


def _paced(texts: tuple[str, ...], rates: tuple, speaker: tuple[str, str], label: str, rng) -> Scene:
    canvas, at = Canvas(), 0.1
    for text, rate in zip(texts, rates):
        at = _add_speech(canvas, text, speaker, at, rng, rate=rate) + 0.15
    canvas.mark_all("pace", label)
    canvas.mark_all("type", "speech")
    return canvas.finish(rng, snr_db=30.0)


def behind(draw: Draw) -> Draft:
    """The steady sound behind a speaker; the lever is its level below the speech."""
    options, gold = draw.deal(draw.sample(draw.pools.textures, 4))
    text = draw.pick(CARRIERS).format(word=draw.pick(_all_words(draw)))
    level = draw.uniform(draw.lever((-4, 2), (-14, -8), (-24, -18)))
    build = partial(_over, text, _voice(draw), options[gold], level)
    rationale = f"Somebody speaks over the sound of {options[gold]}."
    return _draft(draw, BEHIND, options, gold, draw.pools.textures, build, rationale, text)


def _over(
    text: str, speaker: tuple[str, str], texture: str, level_db: float, rng: np.random.Generator
) -> Scene:
    canvas = Canvas()
    end = _add_speech(canvas, text, speaker, 0.4, rng, rate=165)
    canvas.add(sounds.texture(texture, min(end + 0.4, 6.0), rng), at=0.0, gain_db=level_db)
    canvas.mark_all("background", texture)
    canvas.mark_all("type", "speech")
    return canvas.finish(rng)


def said_by(draw: Draw) -> Draft:
    """A man and a woman say a word each: which did one of them say; levers are the rate and the noise."""
    options, gold = draw.deal(draw.sample(_all_words(draw), 4))
    sexes = tuple(draw.sample(("male", "female"), 2))
    asked = int(draw.rng.integers(2))
    other = draw.pick([option for option in options if option != options[gold]])
    said = (options[gold], other) if asked == 0 else (other, options[gold])
    pair = tuple(_voice(draw, sex) for sex in sexes)
    build = partial(_dialogue, said, pair, draw.lever(30.0, 15.0, 5.0))
    heard = " ".join(f'The {PERSON[sex]} says "{word}".' for sex, word in zip(sexes, said))
    slots = {"person": PERSON[sexes[asked]]}
    return _draft(draw, SAID_BY, options, gold, options, build, heard, " ".join(said), slots)


TASKS = {
    "Spoken word": (keyword, "Perception"),
    "Word order": (nth_word, "Reasoning"),
    "Unsaid word": (unsaid, "Reasoning"),
    "Word count": (word_count, "Perception"),
    "Word category": (category, "Reasoning"),
    "Spoken arithmetic": (arithmetic, "Reasoning"),
    "Speakers": (speakers, "Perception"),
    "Language": (language, "Perception"),
    "Speaking rate": (pace, "Perception"),
    "Sound behind speech": (behind, "Perception"),
    "Said by whom": (said_by, "Reasoning"),
}
NOVEL = ("Spoken word", "Word order", "Unsaid word", "Language", "Said by whom")
