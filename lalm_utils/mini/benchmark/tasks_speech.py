"""Questions on speech, spoken by eSpeak NG. Shape as in tasks_sound.py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from lalm_utils.mini.benchmark import sounds, voice
from lalm_utils.mini.benchmark.sampling import SamplingContext, without
from lalm_utils.mini.benchmark.scene import Mixer, QuestionSpec, Scene
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
ABSENT_WORD = (
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
BACKGROUND = (
    "Which sound is heard behind the speech?",
    "While somebody speaks, what goes on in the background?",
    "What is the background sound of the talk?",
)
WORD_BY_SPEAKER = (
    "Which word does the {person} say?",
    "What is the word spoken by the {person}?",
    "Two people speak. What does the {person} say?",
)


def _voice(context: SamplingContext, sex: str | None = None) -> tuple[str, str]:
    """Sex and variant of a speaker."""
    sex = sex or context.pick(("male", "female"))
    return sex, context.pick(context.pools.voices[sex])


def _all_words(context: SamplingContext) -> tuple[str, ...]:
    return tuple(word for words in context.pools.words.values() for word in words)


def _sentence(context: SamplingContext, words: Sequence[str]) -> str:
    """A carrier sentence around one of the words."""
    return context.pick(CARRIERS).format(word=context.pick(words))


def _question(context, wordings, options, gold, build, transcript, *, rationale="", **more) -> QuestionSpec:
    """A question on speech; a rationale that is not given reports the transcript."""
    rationale = rationale or f'The speaker says: "{transcript}"'
    return context.question(
        wordings,
        options,
        gold,
        build=build,
        rationale=rationale,
        type="speech",
        transcript=transcript,
        **more,
    )


def _add_speech(mixer: Mixer, text: str, speaker: tuple[str, str], at: float, rng, *, rate: float) -> float:
    sex, variant = speaker
    speech = voice.say(text, variant=variant, rate=int(rate), pitch=int(rng.integers(45, 61)))
    end = mixer.add(speech.samples, at=at)
    for word in speech.words:
        mixer.annotate("content", word.text.strip(".,?").lower(), at + word.start, at + word.end)
    mixer.annotate("who", PERSON[sex], at, end)
    return end


def keyword(context: SamplingContext) -> QuestionSpec:
    """Which of four words is in the sentence; difficulty: the noise and the rate."""
    words = _all_words(context)
    options, gold = context.choose_answer(context.sample(words, 4))
    return _sentence_question(context, KEYWORD, options, gold, words, (options[gold],))


def category(context: SamplingContext) -> QuestionSpec:
    """Two hops: hear the word, then know what kind of thing it names. The kind is chosen first."""
    kinds = tuple(context.pools.words)
    options, gold = context.choose_answer(context.sample(kinds, 4))
    return _sentence_question(context, CATEGORY, options, gold, kinds, context.pools.words[options[gold]])


def _sentence_question(context, wordings, options, gold, pool, words: Sequence[str]) -> QuestionSpec:
    """A question on a sentence with one of the words."""
    text = context.pick(CARRIERS).format(word=words[0] if len(words) == 1 else context.pick(words))
    snr = context.uniform(context.difficulty((20, 35), (5, 12), (-3, 3)))
    build = partial(_talk, text, _voice(context), context.difficulty(145, 165, 190), snr)
    return _question(context, wordings, options, gold, build, text, pool=pool)


def arithmetic(context: SamplingContext) -> QuestionSpec:
    """Two hops: hear the calculation, then work it out; difficulty: the size of the numbers and the noise."""
    high = context.difficulty(6, 10, 18)
    options, gold = context.number_window(1, high)
    first = int(context.rng.integers(0, 10))
    second = int(options[gold]) - first
    text = f"{NUMBERS[first]} {'plus' if second >= 0 else 'minus'} {NUMBERS[abs(second)]}."
    rate, snr = context.difficulty(140, 155, 180), context.difficulty(30.0, 20.0, 10.0)
    build = partial(_talk, text, _voice(context), rate, snr)
    return _question(context, SUM, options, gold, build, text, pool=map(str, range(1, high + 1)))


def _talk(text: str, speaker: tuple[str, str], rate: float, snr: float, rng: np.random.Generator) -> Scene:
    mixer = Mixer("speech")
    _add_speech(mixer, text, speaker, 0.1, rng, rate=rate)
    return mixer.finish(rng, snr_db=snr)


def nth_word(context: SamplingContext) -> QuestionSpec:
    """Which word of a list is the n-th; difficulty: its length, the rate and the noise."""
    size = context.difficulty(2, 3, 4)
    options, gold, words, position = context.nth_in_sequence(_all_words(context), size)
    build = _word_list(context, words, context.difficulty(30.0, 18.0, 8.0))
    slots = {"nth": ORDINALS[position]}
    return _question(context, NTH_WORD, options, gold, build, ", ".join(words), slots=slots)


def absent_word(context: SamplingContext) -> QuestionSpec:
    """Which of four words is not in a list of three; difficulty: the rate and the noise."""
    options, gold = context.choose_answer(context.sample(_all_words(context), 4))
    words = context.sample(without(options, gold), 3)
    build = _word_list(context, words, context.difficulty(30.0, 15.0, 5.0))
    return _question(context, ABSENT_WORD, options, gold, build, ", ".join(words))


def _word_list(context: SamplingContext, words: Sequence[str], snr: float) -> partial:
    rate, gap = context.difficulty(145, 165, 190), context.difficulty(0.3, 0.2, 0.1)
    return partial(_list, tuple(words), _voice(context), rate, gap, snr)


def word_count(context: SamplingContext) -> QuestionSpec:
    """How many words are read; difficulty: the range, the rate and the pauses."""
    high = context.difficulty(5, 6, 8)
    options, gold = context.number_window(1, high)
    words = context.sample(_all_words(context), int(options[gold]))
    rate, gap = context.difficulty(170, 190, 220), context.difficulty(0.35, 0.2, 0.05)
    build = partial(_list, tuple(words), _voice(context), rate, gap, 25.0)
    return _question(
        context, WORDS, options, gold, build, ", ".join(words), pool=map(str, range(1, high + 1))
    )


def _list(
    words: tuple[str, ...], speaker: tuple[str, str], rate: float, gap: float, snr: float, rng
) -> Scene:
    """Words one by one with pauses, numbered for the annotations of training."""
    mixer, at = Mixer("speech"), 0.1
    for number, word in enumerate(words, 1):
        end = _add_speech(mixer, word, speaker, at, rng, rate=rate)
        mixer.annotate("number", str(number), at, end + gap)
        at = end + gap
    return mixer.finish(rng, snr_db=snr)


def speakers(context: SamplingContext) -> QuestionSpec:
    """Man or woman, in order; difficulty: the length of the turns and the noise."""
    options, gold = context.choose_answer(SPEAKERS)
    first, second = (_voice(context, sex) for sex in SPEAKER_SEXES[options[gold]])
    if options[gold].startswith("two") and first == second:
        first = (first[0], next(v for v in context.pools.voices[first[0]] if v != second[1]))
    texts = tuple(_sentence(context, _all_words(context)) for _ in range(2))
    if context.level == "hard":
        texts = tuple(context.sample(_all_words(context), 2))
    build = partial(_dialogue, texts, (first, second), context.difficulty(30.0, 15.0, 5.0))
    rationale = "I compare how high the first and the second voice are."
    return _question(
        context, SPEAKER, options, gold, build, " ".join(texts), rationale=rationale, pool=SPEAKERS
    )


def word_by_speaker(context: SamplingContext) -> QuestionSpec:
    """A man and a woman say a word each: which did one of them say; difficulty: the noise."""
    options, gold = context.choose_answer(context.sample(_all_words(context), 4))
    sexes = tuple(context.sample(("male", "female"), 2))
    target = int(context.rng.integers(2))
    other = context.pick(without(options, gold))
    words = (options[gold], other) if target == 0 else (other, options[gold])
    pair = tuple(_voice(context, sex) for sex in sexes)
    build = partial(_dialogue, words, pair, context.difficulty(30.0, 15.0, 5.0))
    rationale = " ".join(f'The {PERSON[sex]} says "{word}".' for sex, word in zip(sexes, words))
    slots = {"person": PERSON[sexes[target]]}
    return _question(
        context, WORD_BY_SPEAKER, options, gold, build, " ".join(words), rationale=rationale, slots=slots
    )


def _dialogue(texts: tuple[str, ...], pair: tuple, snr: float, rng: np.random.Generator) -> Scene:
    mixer, at = Mixer("speech"), 0.1
    for text, speaker in zip(texts, pair):
        at = _add_speech(mixer, text, speaker, at, rng, rate=185) + 0.25
    return mixer.finish(rng, snr_db=snr)


def language(context: SamplingContext) -> QuestionSpec:
    """Which language numbers are spoken in; difficulty: how many numbers there are, and the noise."""
    names = tuple(context.pools.languages)
    options, gold = context.choose_answer(context.sample(names, 4))
    name = options[gold]
    digits = " ".join(str(int(d)) for d in context.rng.integers(0, 100, context.difficulty(5, 4, 2)))
    snr = context.difficulty(30.0, 15.0, 5.0)
    build = partial(_foreign_numbers, digits, name, context.pools.languages[name], _voice(context), snr)
    # Foreign numbers have no transcript in the model's language, so the item carries a caption instead.
    return _question(
        context, LANGUAGE, options, gold, build, "", pool=names, caption=f"somebody reads numbers in {name}",
        rationale="I listen to the sounds and the melody of the language.",
    )  # fmt: skip


def _foreign_numbers(
    digits: str, name: str, code: str, speaker: tuple[str, str], snr: float, rng: np.random.Generator
) -> Scene:
    mixer = Mixer("speech")
    speech = voice.say(digits, voice=code, variant=speaker[1], rate=175, pitch=int(rng.integers(45, 61)))
    mixer.add(speech.samples, at=0.1)
    mixer.annotate_all("language", name)
    return mixer.finish(rng, snr_db=snr)


def pace(context: SamplingContext) -> QuestionSpec:
    """How the speed changes from the first half to the second; difficulty: the ratio."""
    options, gold = context.choose_answer(RATES)
    factor = context.difficulty(2.0, 1.6, 1.3)
    texts = tuple(_sentence(context, _all_words(context)) for _ in range(2))
    rates = {"getting faster": (130, 130 * factor), "getting slower": (130 * factor, 130),
             "keeping the same speed": (165, 165)}[options[gold]]  # fmt: skip
    build = partial(_two_rates, texts, rates, _voice(context), options[gold])
    rationale = "I compare the pace of the beginning with that of the end."
    return _question(context, PACE, options, gold, build, " ".join(texts), rationale=rationale, pool=RATES)


def _two_rates(texts: tuple[str, ...], rates: tuple, speaker: tuple[str, str], label: str, rng) -> Scene:
    mixer, at = Mixer("speech"), 0.1
    for text, rate in zip(texts, rates):
        at = _add_speech(mixer, text, speaker, at, rng, rate=rate) + 0.15
    mixer.annotate_all("pace", label)
    return mixer.finish(rng, snr_db=30.0)


def background(context: SamplingContext) -> QuestionSpec:
    """The steady sound behind a speaker; difficulty: its level below the speech."""
    options, gold = context.choose_answer(context.sample(context.pools.textures, 4))
    text = _sentence(context, _all_words(context))
    level = context.uniform(context.difficulty((-4, 2), (-14, -8), (-24, -18)))
    build = partial(_over_texture, text, _voice(context), options[gold], level)
    rationale = f"Somebody speaks over the sound of {options[gold]}."
    return _question(
        context, BACKGROUND, options, gold, build, text, rationale=rationale, pool=context.pools.textures
    )


def _over_texture(
    text: str, speaker: tuple[str, str], texture: str, level_db: float, rng: np.random.Generator
) -> Scene:
    mixer = Mixer("speech")
    end = _add_speech(mixer, text, speaker, 0.4, rng, rate=165)
    mixer.add(sounds.texture(texture, min(end + 0.4, 6.0), rng), at=0.0, gain_db=level_db)
    mixer.annotate_all("background", texture)
    return mixer.finish(rng)


TASKS = {
    "Spoken word": (keyword, "Perception"),
    "Word order": (nth_word, "Reasoning"),
    "Unsaid word": (absent_word, "Reasoning"),
    "Word count": (word_count, "Perception"),
    "Word category": (category, "Reasoning"),
    "Spoken arithmetic": (arithmetic, "Reasoning"),
    "Speakers": (speakers, "Perception"),
    "Language": (language, "Perception"),
    "Speaking rate": (pace, "Perception"),
    "Sound behind speech": (background, "Perception"),
    "Said by whom": (word_by_speaker, "Reasoning"),
}
NOVEL = ("Spoken word", "Word order", "Unsaid word", "Language", "Said by whom")
