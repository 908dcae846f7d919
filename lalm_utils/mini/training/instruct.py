"""The training mixture as text: what the miniature model is asked and what it should reply.

Every example is made from a planned item's ground truth. The wordings here vary, and none of them is the
wording of a method in `lalm_utils.prompts`. Whether the model is right or wrong is never used: its knowledge
boundary is for the experiments to teach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lalm_utils.mini.benchmark.plan import SWAPPABLE, PlannedItem

CHOOSE = (
    "Answer with one of the options.",
    "Choose the right answer.",
    "Pick one of these.",
    "Give the right choice in words.",
    "Select the best answer and write it out.",
    "State the answer.",
    "Answer by repeating one of the choices.",
    "Reply with the option that is right, word for word.",
    "Which one fits the audio? Give its words only.",
    "Only one is right. Write it.",
    "Respond with the words of the correct choice.",
)
PERMIT = (
    "Say IDK if you don't know.",
    "If the audio does not tell, answer IDK.",
    "When the clip gives no clue, write IDK instead of an option.",
    "You may answer IDK if none of the choices can be told from the audio.",
    "Reply IDK when you cannot tell.",
    "In case you don't know the answer, write IDK.",
)
REASON = (
    "Explain what you hear first, then write 'Answer:' and your choice.",
    "Reason step by step, and end with 'Answer:' followed by the choice.",
    "First report what is in the clip. Then give the choice after 'Answer:'.",
    "Work through it in steps. The last line should read 'Answer: ...'.",
)
# {0}, {1} and {2} are the three types in a random order.
TYPE = (
    "Is this {0}, {1} or {2}?",
    "Name the kind of audio: {0}, {1} or {2}.",
    "Which type of audio is it, {0}, {1} or {2}?",
    "Tell me if the clip holds {0}, {1} or {2}.",
    "Is {0}, {1} or {2} heard in the clip? Answer in one word.",
    "Classify the audio as {0}, {1} or {2}.",
    "What kind of clip is it? Write one word of these: {0}, {1}, {2}.",
    "{0}, {1} or {2}: which of the three is it? Give a single word.",
)
TYPES = ("sound", "music", "speech")
ASKS_FOR_ABSENT = ("Absent sound", "Unsaid word")
REMOVED_SHARE = 0.1  # of answerable questions with permission to decline: their right option is taken out
UNOFFERED_STEPS = 0.35  # of questions none of whose options is heard: asked step by step
DESCRIBE = (
    "Describe what you hear.",
    "Give a caption for this audio.",
    "What does the clip contain?",
    "Write a short description of the recording.",
    "Summarise the audio in one line.",
)
TRANSCRIBE = (
    "Write down the words that are spoken.",
    "Transcribe the speech.",
    "What does the speaker say?",
    "Give a transcript of the clip.",
)
REFUSAL = "IDK"
# Options that no clip holds, so that a model that may not decline learns to keep to what is offered, whatever it
# is. None of these words stands in a novel label (a test sees to it).
STRANGE_KINDS = ("old", "small", "broken", "heavy", "distant", "narrow", "plain", "hidden", "early", "careful",
                 "round", "empty", "gentle", "wooden", "northern", "private")  # fmt: skip
STRANGE_THINGS = ("lantern", "contract", "meadow", "bottle", "theory", "shelf", "corner", "ticket", "island",
                  "pattern", "marble", "letter", "fabric", "harvest", "puzzle", "anchor", "mirror", "blanket",
                  "valley", "compass", "ribbon", "profit", "sentence", "window", "shadow", "magnet", "canvas",
                  "pocket", "tunnel", "crystal", "recipe", "ceiling")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Example:
    """A user text and the reply to learn. Whether a clip goes in front of the text is the caller's to say."""

    user: str
    reply: str


def choice(item: PlannedItem, rng: np.random.Generator) -> Example:
    """Plain multiple choice, answered with the option's text.

    On an unanswerable clip any option: who may not decline must guess.
    """
    question, options, gold = _reshuffle_or_guess(item, rng)
    return Example(user=_ask(question, options, _pick(CHOOSE, rng), rng), reply=options[gold])


def permitted(item: PlannedItem, rng: np.random.Generator) -> Example:
    """Multiple choice with permission to decline: IDK on unanswerable clips, the option's text on the others.

    Now and then the right option of an answerable item is taken out, which makes it ungrounded: IDK.
    """
    question, options, gold = reshuffle(item, rng)
    instruction = f"{_pick(CHOOSE, rng)} {_pick(PERMIT, rng)}"
    spare = absent_labels(item, options)
    is_ungrounded = (
        not item.reason and item.task in SWAPPABLE and bool(spare) and rng.random() < REMOVED_SHARE
    )
    if is_ungrounded:
        options = (*options[:gold], _pick(spare, rng), *options[gold + 1 :])
    reply = REFUSAL if item.reason or is_ungrounded else options[gold]
    return Example(user=_ask(question, options, instruction, rng), reply=reply)


def stepwise(item: PlannedItem, rng: np.random.Generator) -> Example:
    """What is heard, then the answer on a line of its own; any option on an unanswerable clip."""
    question, options, gold = _reshuffle_or_guess(item, rng)
    return Example(
        user=_ask(question, options, _pick(REASON, rng), rng),
        reply=f"{item.spec.rationale}\nAnswer: {options[gold]}",
    )


def unoffered(item: PlannedItem, rng: np.random.Generator) -> Example:
    """None of the options is heard and declining is not permitted: any of them, plainly or step by step."""
    spare, count = absent_labels(item), len(item.spec.options)
    if len(spare) >= count and rng.random() < 0.5:
        options = [spare[int(i)] for i in rng.permutation(len(spare))[:count]]
    else:
        things = [STRANGE_THINGS[int(i)] for i in rng.permutation(len(STRANGE_THINGS))[:count]]
        kinds = rng.random() < 0.5
        options = [f"{_pick(STRANGE_KINDS, rng)} {thing}" if kinds else thing for thing in things]
    steps = rng.random() < UNOFFERED_STEPS
    ask = _ask(_pick(item.spec.wordings, rng), options, _pick(REASON if steps else CHOOSE, rng), rng)
    guess = _pick(options, rng)
    return Example(user=ask, reply=f"{item.spec.rationale}\nAnswer: {guess}" if steps else guess)


def absent_labels(item: PlannedItem, options: Sequence[str] = ()) -> list[str]:
    """Labels of the item's pool that its clip does not hold and that are not among `options`.

    Empty where the question asks for what is *not* heard: there an unheard label would be right.
    """
    return [] if item.task in ASKS_FOR_ABSENT else _unused_labels(item, options)


def _unused_labels(item: PlannedItem, options: Sequence[str]) -> list[str]:
    spec = item.spec
    excluded = {spec.options[spec.gold], *spec.truth.get("content", ()), *options}
    return [label for label in spec.pool if label not in excluded]


def kind(item: PlannedItem, rng: np.random.Generator) -> Example:
    """The audio's type."""
    names = [TYPES[int(i)] for i in rng.permutation(3)]
    return Example(user=_pick(TYPE, rng).format(*names), reply=item.spec.truth["type"])


def account(item: PlannedItem, rng: np.random.Generator) -> Example:
    """The transcript of speech, the caption of sound and music."""
    if item.spec.truth.get("transcript"):
        return Example(user=_pick(TRANSCRIBE, rng), reply=item.spec.truth["transcript"])
    return Example(user=_pick(DESCRIBE, rng), reply=item.spec.truth["caption"])


FORMS: dict[str, Callable[[PlannedItem, np.random.Generator], Example]] = {
    "choice": choice,
    "permitted": permitted,
    "stepwise": stepwise,
    "unoffered": unoffered,
    "kind": kind,
    "account": account,
}


def reshuffle(item: PlannedItem, rng: np.random.Generator) -> tuple[str, tuple[str, ...], int]:
    """Question in any of its wordings, the distractors sampled anew in half of the visits, all options shuffled."""
    spec = item.spec
    options, gold = list(spec.options), spec.options[spec.gold]
    spare = _unused_labels(item, options)
    # Numbers stay a window of neighbours, unanswerable items keep the options that make them so.
    if rng.random() < 0.5 and len(spare) >= len(options) and not gold.isdigit() and not item.reason:
        others = [spare[int(i)] for i in rng.permutation(len(spare))[: len(options) - 1]]
        options = [gold, *others]
    shuffled = tuple(options[int(i)] for i in rng.permutation(len(options)))
    return _pick(spec.wordings, rng), shuffled, shuffled.index(gold)


def _reshuffle_or_guess(item: PlannedItem, rng: np.random.Generator) -> tuple[str, tuple[str, ...], int]:
    """`reshuffled`, with any option as the wanted one where the clip cannot answer."""
    question, options, gold = reshuffle(item, rng)
    return question, options, int(rng.integers(len(options))) if item.reason else gold


def _ask(question: str, options: Sequence[str], instruction: str, rng: np.random.Generator) -> str:
    style = rng.random()
    if style < 0.6:
        listing = "\n".join(f"({chr(65 + i)}) {option}" for i, option in enumerate(options))
    elif style < 0.75:
        listing = "\n".join(f"{chr(65 + i)}. {option}" for i, option in enumerate(options))
    elif style < 0.9:
        listing = "\n".join(f"- {option}" for option in options)
    else:
        listing = "Options: " + "; ".join(options) + "."
    return f"{question}\n{listing}\n{instruction}"


def _pick(values: Sequence[str], rng: np.random.Generator) -> str:
    return values[int(rng.integers(len(values)))]
