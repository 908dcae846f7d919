"""Chains that report the facts which decide a question, so that the last step is easy.

Order is told with ordinals, counts as numerals beside what is counted, calculations in digits, pitches as digits,
loudness at start and end, speakers as first and second voice, a label before the property that is asked for. Every
fact comes from the plan of the clip; the answer follows from the chain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lalm_utils.mini.benchmark import font, words
from lalm_utils.mini.benchmark.plan import PlannedItem, audible_options, generator
from lalm_utils.mini.benchmark.sampling import pick, with_article
from lalm_utils.mini.benchmark.scene import QuestionSpec
from lalm_utils.mini.benchmark.tasks_music import FAMILIES, line_pitches, note_pair, pitch_label
from lalm_utils.mini.benchmark.tasks_sound import ORDINALS, phrase
from lalm_utils.mini.benchmark.tasks_speech import PERSON, SPEAKER_SEXES

SILENT = ("I hear no sound.", "Nothing is heard.", "The clip is silent.")
NOISE = (
    "I hear nothing but noise.",
    "Only noise is heard.",
    "There is noise, and nothing else can be made out.",
)
UNTOLD = ("None of the options fits.", "That is none of the options.", "No option can be told from it.")
NAMES_MISSING = 0.2  # share of chains that also say which options are not heard
LABELS = ("Sound event", "Instrument", "Spoken word", "Word order", "Event order", "Instrument order")
LEVELS = {  # loudness at the start, in the middle and at the end
    "getting louder": ("quiet", "louder", "loud"),
    "getting quieter": ("loud", "quieter", "quiet"),
    "louder then quieter": ("quiet", "loud", "quiet"),
    "quieter then louder": ("loud", "quiet", "loud"),
}
ENDS = {"getting louder": ("soft", "loud"), "getting softer": ("loud", "soft")}
PACES = {"getting faster": ("slow", "fast"), "getting slower": ("fast", "slow")}


def rationale(item: PlannedItem, rng: np.random.Generator, options: Sequence[str] = ()) -> str:
    """One line on what is heard. With `options`, now and then also those of them that the clip does not hold."""
    spec = item.spec
    if item.reason in ("silence", "masked"):
        return pick(SILENT if item.reason == "silence" else NOISE, rng)
    if item.reason == "wrong_category":
        return f"{spec.rationale} {pick(UNTOLD, rng)}"
    if item.reason == "option_removed":
        return f"{spec.rationale} {pick(UNTOLD, rng)}"
    text = _MAKERS[item.task](item, rng)
    if options and item.task in LABELS and rng.random() < NAMES_MISSING:
        absent = [
            option for option in options if option not in {spec.options[spec.gold], *audible_options(spec)}
        ]
        if absent:
            text += f" {pick(('Not heard', 'Missing', 'Not in the clip'), rng)}: {', '.join(absent)}."
    return text


def _answer(spec: QuestionSpec) -> str:
    return spec.options[spec.gold]


def enumeration(names: Sequence[str], rng: np.random.Generator) -> str:
    """ "The first is a bell. The second is rain." or "First a bell, second rain." """
    if rng.random() < 0.6:
        return " ".join(f"The {nth} is {name}." for nth, name in zip(ORDINALS, names))
    parts = ", ".join(f"{nth} {name}" for nth, name in zip(ORDINALS, names))
    return parts[0].upper() + parts[1:] + "."


def count_text(names: Sequence[str], rng: np.random.Generator) -> str:
    """ "bell 1, bell 2, bell 3. That makes 3." """
    total = pick(("That makes {}.", "In all: {}.", "The count is {}."), rng).format(len(names))
    return ", ".join(f"{name} {i}" for i, name in enumerate(names, 1)) + f". {total}"


def _event(item: PlannedItem, rng: np.random.Generator) -> str:
    name = phrase(item.spec.truth["content"][0])
    return pick(("I hear the sound of {}.", "The sound is that of {}.", "What sounds is {}."), rng).format(
        name
    )


def _background(item: PlannedItem, rng: np.random.Generator) -> str:
    front, behind = item.spec.truth["content"]
    texts = ("In front: {}. Behind it, all the time: {}.", "{} stands out. What goes on behind is {}.")
    text = pick(texts, rng).format(phrase(front), behind)
    return text[0].upper() + text[1:]


def _events_in_order(item: PlannedItem, rng: np.random.Generator) -> str:
    return enumeration([phrase(label) for label in item.spec.truth["content"]], rng)


def _absent(item: PlannedItem, rng: np.random.Generator) -> str:
    return f"{_events_in_order(item, rng)} {_not_there(item, rng)}"


def _not_there(item: PlannedItem, rng: np.random.Generator) -> str:
    return pick(("Not heard: {}.", "Missing: {}.", "There is no {}."), rng).format(_answer(item.spec))


def _event_count(item: PlannedItem, rng: np.random.Generator) -> str:
    return count_text(item.spec.truth["content"], rng)


def _trajectory(item: PlannedItem, rng: np.random.Generator) -> str:
    start, middle, end = LEVELS[_answer(item.spec)]
    texts = ("At the start {}, in the middle {}, at the end {}.", "Start: {}. Middle: {}. End: {}.")
    return pick(texts, rng).format(start, middle, end)


def _louder(item: PlannedItem, rng: np.random.Generator) -> str:
    labels, loud = item.spec.truth["content"], _answer(item.spec)
    return enumeration([f"{phrase(x)}, {'loud' if x == loud else 'quiet'}" for x in labels], rng)


def _maker(item: PlannedItem, rng: np.random.Generator) -> str:
    label, fact = item.spec.truth["content"][0], _answer(item.spec)
    return f"{_event(item, rng)} " + pick(("{} comes from {}.", "{} is made by {}."), rng).format(
        phrase(label).capitalize(), fact
    )


def _place(item: PlannedItem, rng: np.random.Generator) -> str:
    label, fact = item.spec.truth["content"][0], _answer(item.spec)
    texts = ("{} is typical of {}.", "One hears {} in or near {}.")
    text = pick(texts, rng).format(phrase(label), fact)
    return f"{_event(item, rng)} {text[0].upper()}{text[1:]}"


def _instrument(item: PlannedItem, rng: np.random.Generator) -> str:
    name = item.spec.truth["content"][0]
    family = FAMILIES[font.INSTRUMENTS[name].family]
    texts = ("It is one of the {1}: {0}.", "Among the {1} I hear {0}.", "I hear {0}, of the {1}.")
    return pick(texts, rng).format(with_article(name), family)


def _family(item: PlannedItem, rng: np.random.Generator) -> str:
    name = item.spec.truth["content"][0]
    texts = ("I hear {0}. {1} belongs to the {2}.", "The instrument is {0}. {1} is one of the {2}.")
    return pick(texts, rng).format(with_article(name), f"The {name}", _answer(item.spec))


def _players(item: PlannedItem, rng: np.random.Generator) -> str:
    return enumeration([with_article(name) for name in item.spec.truth["content"]], rng)


def _ensemble(item: PlannedItem, rng: np.random.Generator) -> str:
    return count_text(item.spec.truth["content"], rng)


def _contour(item: PlannedItem, rng: np.random.Generator) -> str:
    pitches = " ".join(pitch_label(pitch) for pitch in line_pitches(*item.spec.build.args))
    moves = {"rising": "up all the way", "falling": "down all the way",
             "rising then falling": "first up, then down", "falling then rising": "first down, then up"}  # fmt: skip
    return pick(("The pitches are {}: {}.", "I follow the notes: {}, {}."), rng).format(
        pitches, moves[_answer(item.spec)]
    )


def _note_count(item: PlannedItem, rng: np.random.Generator) -> str:
    return count_text(["note"] * int(_answer(item.spec)), rng)


def _tempo(item: PlannedItem, rng: np.random.Generator) -> str:
    beats = 10 * round(item.spec.build.args[1] / 10)
    texts = ("About {} beats a minute: {}.", "The drum gives some {} beats a minute, which is {}.")
    return pick(texts, rng).format(beats, _answer(item.spec))


def _dynamics(item: PlannedItem, rng: np.random.Generator) -> str:
    ends = ENDS.get(_answer(item.spec))
    if not ends:
        return pick(("As loud at the end as at the start.", "Start and end are equally loud."), rng)
    return pick(("{} at the start, {} at the end.", "Start: {}. End: {}."), rng).format(*ends).capitalize()


def _higher(item: PlannedItem, rng: np.random.Generator) -> str:
    name, move, _ = item.spec.build.args
    pair = [pitch_label(pitch) for pitch in note_pair(name, move, generator(item.seed, "clip"))]
    verdict = "They are the same." if not move else f"The pitch goes {'up' if move > 0 else 'down'}."
    return (
        pick(("The first note is {}, the second {}.", "First {}, then {}."), rng).format(*pair)
        + f" {verdict}"
    )


def _register(item: PlannedItem, rng: np.random.Generator) -> str:
    centre = pitch_label(round(item.spec.build.args[1]))
    return pick(("The notes lie around {}: {}.", "Pitch {}, which is {}."), rng).format(
        centre, _answer(item.spec)
    )


def _says(item: PlannedItem, rng: np.random.Generator) -> str:
    text = item.spec.truth["transcript"]
    return pick(('The speaker says: "{}"', 'I hear: "{}"', 'What is said is "{}"'), rng).format(text)


def _keyword(item: PlannedItem, rng: np.random.Generator) -> str:
    return f"{_says(item, rng)} " + pick(("The word is {}.", "Said: {}."), rng).format(_answer(item.spec))


def _words_in_order(item: PlannedItem, rng: np.random.Generator) -> str:
    return enumeration(item.spec.truth["transcript"].split(", "), rng)


def _absent_word(item: PlannedItem, rng: np.random.Generator) -> str:
    return f"{_words_in_order(item, rng)} " + pick(("Not said: {}.", "Missing: {}."), rng).format(
        _answer(item.spec)
    )


def _word_count(item: PlannedItem, rng: np.random.Generator) -> str:
    return count_text(item.spec.truth["transcript"].split(", "), rng)


def _category(item: PlannedItem, rng: np.random.Generator) -> str:
    kind, text = _answer(item.spec), item.spec.truth["transcript"].casefold()
    word = next(word for word in words.TRAIN[kind] if word in text.strip(".").split())
    return f"{_says(item, rng)} " + pick(("{} is one of the {}.", "The word {} belongs to {}."), rng).format(
        word, kind
    )


def calculation(text: str) -> str:
    """ "eight plus six." as "8 + 6 = 14"."""
    first, sign, second = text.strip(".").split()
    a, b = words.NUMBERS.index(first), words.NUMBERS.index(second)
    return f"{a} + {b} = {a + b}" if sign == "plus" else f"{a} - {b} = {a - b}"


def _arithmetic(item: PlannedItem, rng: np.random.Generator) -> str:
    return f"{_says(item, rng)} {calculation(item.spec.truth['transcript'])}."


def _speakers(item: PlannedItem, rng: np.random.Generator) -> str:
    first, second = (PERSON[sex] for sex in SPEAKER_SEXES[_answer(item.spec)])
    texts = (
        "The first voice is a {}'s. The second voice is a {}'s.",
        "First voice: a {}. Second voice: a {}.",
    )
    return pick(texts, rng).format(first, second)


def _language(item: PlannedItem, rng: np.random.Generator) -> str:
    return pick(("The numbers are read in {}.", "It sounds like {}.", "The language is {}."), rng).format(
        _answer(item.spec)
    )


def _pace(item: PlannedItem, rng: np.random.Generator) -> str:
    ends = PACES.get(_answer(item.spec))
    if not ends:
        return pick(("Both sentences have the same speed.", "The end is as fast as the start."), rng)
    return pick(("The first sentence is {}, the second {}.", "Start: {}. End: {}."), rng).format(*ends)


def _behind_speech(item: PlannedItem, rng: np.random.Generator) -> str:
    return pick(("Somebody speaks. Behind the voice: {}.", "Behind the words goes on {}."), rng).format(
        _answer(item.spec)
    )


def _said_by(item: PlannedItem, rng: np.random.Generator) -> str:
    labels, pair, _ = item.spec.build.args
    texts = ("The first voice is a {}'s and says {}. The second voice is a {}'s and says {}.",
             "First voice, a {}: {}. Second voice, a {}: {}.")  # fmt: skip
    (first, _), (second, _) = pair
    return pick(texts, rng).format(PERSON[first], labels[0], PERSON[second], labels[1])


_MAKERS = {
    "Sound event": _event, "Background sound": _background, "Event count": _event_count,
    "Event order": _events_in_order, "Absent sound": _absent, "Loudness trajectory": _trajectory,
    "Louder sound": _louder, "Sound source": _maker, "Sound place": _place,
    "Instrument": _instrument, "Instrument order": _players, "Instrument family": _family,
    "Number of instruments": _ensemble, "Melodic contour": _contour, "Note count": _note_count, "Tempo": _tempo,
    "Dynamics": _dynamics, "Higher note": _higher, "Register": _register,
    "Spoken word": _keyword, "Word order": _words_in_order, "Unsaid word": _absent_word, "Word count": _word_count,
    "Word category": _category, "Spoken arithmetic": _arithmetic, "Speakers": _speakers, "Language": _language,
    "Speaking rate": _pace, "Sound behind speech": _behind_speech, "Said by whom": _said_by,
}  # fmt: skip
