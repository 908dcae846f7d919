"""The training mixture as text: what the miniature model is asked and what it should reply.

Every example is made from a planned item's ground truth, in wordings that vary (wordings.py). Whether the
model is right or wrong is never used: its knowledge boundary is for the experiments to teach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lalm_utils.mini.benchmark.plan import SWAPPABLE, PlannedItem, audible_options, played_labels, text_item
from lalm_utils.mini.benchmark.sampling import pick
from lalm_utils.mini.training import wordings, worked_examples
from lalm_utils.mini.training.rationales import rationale
from lalm_utils.mini.training.wordings import LISTINGS, SHARES, listing, question_text
from lalm_utils.mini.training.worked_examples import WorkedExample, worked_example

REFUSAL = "IDK"
TYPES = ("sound", "music", "speech")
ASKS_FOR_ABSENT = ("Absent sound", "Unsaid word")
TRUE_NOTES = 0.65  # share of notes that are true of the clip
NEAR_NOTES = 0.5  # of false notes: on the same question, with another answer among its options
REMOVED_SHARE = 0.1  # of answerable questions with permission to decline: their right option is taken out
UNOFFERED_STEPS = 0.35  # of questions none of whose options is heard: asked step by step


@dataclass(frozen=True, kw_only=True)
class Example:
    """A user text and the reply to learn. Whether a clip goes in front of the text is the caller's to say.

    `earlier`: turns before the user's, each a user's text without a clip and the reply to it. `system`: the system
    turn, where it is not the template's own.
    """

    user: str
    reply: str
    earlier: tuple[tuple[str, str], ...] = ()
    system: str = ""


def choice(item: PlannedItem, rng: np.random.Generator) -> Example:
    """Plain multiple choice, answered with the option's text.

    On an unanswerable clip any option: who may not decline must guess.
    """
    question, options, gold = _reshuffle_or_guess(item, rng)
    return Example(
        user=question_text(question, options, pick(wordings.CHOOSE, rng), rng), reply=options[gold]
    )


def choice_or_idk(item: PlannedItem, rng: np.random.Generator) -> Example:
    """Multiple choice with permission to decline: IDK on unanswerable clips, the option's text on the others.

    Now and then the right option of an answerable item is taken out, which makes it ungrounded: IDK.
    """
    instruction = f"{pick(wordings.CHOOSE, rng)} {pick(wordings.PERMIT, rng)}"
    user, _, reply = _with_permission(item, instruction, rng)
    return Example(user=user, reply=reply)


def _with_permission(item: PlannedItem, instruction: str, rng: np.random.Generator) -> tuple[str, str, str]:
    """The user's text, what is heard and the reply: IDK where the clip cannot answer."""
    question, options, gold = reshuffle(item, rng)
    spare, chain = absent_labels(item, options), rationale(item, rng, options)
    is_ungrounded = (
        not item.reason and item.task in SWAPPABLE and bool(spare) and rng.random() < REMOVED_SHARE
    )
    if is_ungrounded:
        options = (*options[:gold], pick(spare, rng), *options[gold + 1 :])
        chain = f"{rationale(item, rng)} {pick(wordings.NOT_OFFERED, rng)}"
    reply = REFUSAL if item.reason or is_ungrounded else options[gold]
    return question_text(question, options, instruction, rng), chain, reply


def stepwise_or_idk(item: PlannedItem, rng: np.random.Generator) -> Example:
    """Step by step with permission to decline: the last line is IDK on unanswerable clips alone."""
    user, chain, reply = _with_permission(
        item, f"{pick(wordings.REASON, rng)} {pick(wordings.PERMIT_STEPS, rng)}", rng
    )
    return Example(user=user, reply=f"{chain}\nAnswer: {reply}")


def stepwise(item: PlannedItem, rng: np.random.Generator) -> Example:
    """What is heard, then the answer on a line of its own; any option on an unanswerable clip."""
    question, options, gold = _reshuffle_or_guess(item, rng)
    return Example(
        user=question_text(question, options, pick(wordings.REASON, rng), rng),
        reply=f"{rationale(item, rng, options)}\nAnswer: {options[gold]}",
    )


def examples_in_turn(item: PlannedItem, rng: np.random.Generator) -> Example:
    """One to four worked examples in words inside the user's turn, then the question."""
    last, examples, _ = _with_cases(item, rng)
    style = int(rng.integers(len(LISTINGS)))
    listings = [listing(e.options, style) for e in examples]
    text = worked_examples.cases_text(examples, listings, steps="\nAnswer: " in last.reply, rng=rng)
    return Example(user=text + last.user, reply=last.reply)


def examples_as_turns(item: PlannedItem, rng: np.random.Generator) -> Example:
    """One to four worked examples in words as earlier turns of the conversation."""
    last, examples, instruction = _with_cases(item, rng)
    layout, style = pick(worked_examples.TURNS, rng), int(rng.integers(len(LISTINGS)))
    steps = "\nAnswer: " in last.reply
    earlier = tuple(
        (
            layout.format(
                clip=e.clip, question=e.question, listing=listing(e.options, style), instruction=instruction
            ),
            f"{e.steps}\nAnswer: {e.answer}" if steps else e.answer,
        )
        for e in examples
    )
    return Example(user=last.user, reply=last.reply, earlier=earlier)


def _with_cases(item: PlannedItem, rng: np.random.Generator) -> tuple[Example, list[WorkedExample], str]:
    """The item's own question in one of four forms, worked examples that fit it, and its instruction."""
    may, steps = rng.random() < 0.5, rng.random() < 0.8
    form = {
        (True, True): stepwise_or_idk,
        (True, False): choice_or_idk,
        (False, True): stepwise,
        (False, False): choice,
    }
    last = form[may, steps](item, rng)
    count = int(rng.integers(1, 5))
    declines = int(rng.integers(count)) if may and count > 1 and rng.random() < 0.7 else -1
    examples = [worked_example(rng, declining=i == declines) for i in range(count)]
    return last, examples, last.user.rsplit("\n", 1)[-1]


def choice_with_note(item: PlannedItem, rng: np.random.Generator) -> Example:
    """A note on the clip, true or false, in front of the question; the reply is what the sound says."""
    last = (choice, choice_or_idk, stepwise, choice_or_idk)[int(rng.integers(4))](item, rng)
    truth = item.spec.truth.get("transcript") or item.spec.truth["caption"]
    note = truth if item.reason or rng.random() < TRUE_NOTES else _false_note(item, rng)
    return Example(user=pick(wordings.NOTES, rng).format(note) + last.user, reply=last.reply)


def _false_note(item: PlannedItem, rng: np.random.Generator) -> str:
    """Another clip's description: often the item's own with the answer exchanged for a wrong option."""
    truth, spec = item.spec.truth.get("transcript") or item.spec.truth["caption"], item.spec
    wrong = [option for k, option in enumerate(spec.options) if k != spec.gold and option not in truth]
    right = spec.options[spec.gold]
    if wrong and right in truth and rng.random() < NEAR_NOTES:
        return truth.replace(right, pick(wrong, rng))
    other = text_item(rng, (item.task,), 0.0, item.modality).spec.truth
    return other.get("transcript") or other["caption"]


def open_answer(item: PlannedItem, rng: np.random.Generator) -> Example:
    """The question without options, answered in the words of the label. What is absent needs its options."""
    if item.task in ASKS_FOR_ABSENT or item.reason:
        return choice(item, rng)
    return Example(
        user=f"{pick(item.spec.wordings, rng)}\n{pick(wordings.OPEN, rng)}",
        reply=item.spec.options[item.spec.gold],
    )


def text_clip_question(rng: np.random.Generator) -> Example:
    """A question on a clip in words, without audio; now and then one that the words leave open."""
    declining, steps = rng.random() < 0.2, rng.random() < 0.6
    e = worked_example(rng, declining=declining)
    may = declining or rng.random() < 0.3
    instruction = pick(wordings.REASON if steps else wordings.CHOOSE, rng)
    if may:
        instruction += f" {pick(wordings.PERMIT_STEPS if steps else wordings.PERMIT, rng)}"
    options = listing(e.options, int(rng.choice(len(LISTINGS), p=SHARES)))
    user = pick(worked_examples.TURNS, rng).format(
        clip=e.clip, question=e.question, listing=options, instruction=instruction
    )
    return Example(user=user, reply=f"{e.steps}\nAnswer: {e.answer}" if steps else e.answer)


def policy(item: PlannedItem, rng: np.random.Generator) -> Example:
    """A system turn that forbids a topic: the set reply where the question is on it, else the answer."""
    last = choice(item, rng)
    own_topic = {"sound": "sounds", "music": "music", "speech": "speech"}[item.modality]
    others = [topic for topic in ("sounds", "music", "speech") if topic != own_topic]
    topic, reply = (own_topic if rng.random() < 0.5 else pick(others, rng)), pick(wordings.POLITE, rng)
    system = pick(wordings.POLICIES, rng).format(topic, reply)
    return Example(user=last.user, reply=reply if topic == own_topic else last.reply, system=system)


def unoffered(item: PlannedItem, rng: np.random.Generator) -> Example:
    """None of the options is heard and declining is not permitted: any of them, plainly or step by step."""
    spare, count = absent_labels(item), len(item.spec.options)
    unplayed = [label for label in spare if label not in played_labels()]
    if len(spare) >= count and rng.random() < (0.8 if unplayed else 0.5):
        # Mostly labels that no training clip plays: with a clip, too, they are right as well as wrong.
        first = [unplayed[int(i)] for i in rng.permutation(len(unplayed))[: count - 1]]
        rest = [label for label in spare if label not in first]
        options = [*first, *(rest[int(i)] for i in rng.permutation(len(rest))[: count - len(first)])]
        options = [options[int(i)] for i in rng.permutation(count)]
    else:
        order = rng.permutation(len(wordings.STRANGE_THINGS))[:count]
        things = [wordings.STRANGE_THINGS[int(i)] for i in order]
        kinds = rng.random() < 0.5
        options = [f"{pick(wordings.STRANGE_KINDS, rng)} {thing}" if kinds else thing for thing in things]
    steps = rng.random() < UNOFFERED_STEPS
    ask = question_text(
        pick(item.spec.wordings, rng), options, pick(wordings.REASON if steps else wordings.CHOOSE, rng), rng
    )
    guess = pick(options, rng)
    return Example(user=ask, reply=f"{rationale(item, rng)}\nAnswer: {guess}" if steps else guess)


def absent_labels(item: PlannedItem, options: Sequence[str] = ()) -> list[str]:
    """Labels of the item's pool that its clip does not hold and that are not among `options`.

    Empty where the question asks for what is *not* heard: there an unheard label would be right.
    """
    return [] if item.task in ASKS_FOR_ABSENT else _unused_labels(item, options)


def _unused_labels(item: PlannedItem, options: Sequence[str]) -> list[str]:
    spec = item.spec
    clip_labels = {spec.options[spec.gold], *spec.truth.get("content", ()), *options}
    return [label for label in spec.pool if label not in clip_labels]


def kind(item: PlannedItem, rng: np.random.Generator) -> Example:
    """The audio's type."""
    names = [TYPES[int(i)] for i in rng.permutation(3)]
    return Example(user=pick(wordings.TYPE, rng).format(*names), reply=item.spec.truth["type"])


def account(item: PlannedItem, rng: np.random.Generator) -> Example:
    """The transcript of speech, the caption of sound and music."""
    if item.spec.truth.get("transcript"):
        return Example(user=pick(wordings.TRANSCRIBE, rng), reply=item.spec.truth["transcript"])
    return Example(user=pick(wordings.DESCRIBE, rng), reply=item.spec.truth["caption"])


FORMS: dict[str, Callable[[PlannedItem, np.random.Generator], Example]] = {
    "choice": choice,
    "choice_or_idk": choice_or_idk,
    "stepwise": stepwise,
    "unoffered": unoffered,
    "kind": kind,
    "account": account,
    "stepwise_or_idk": stepwise_or_idk,
    "examples_in_turn": examples_in_turn,
    "examples_as_turns": examples_as_turns,
    "choice_with_note": choice_with_note,
    "open_answer": open_answer,
    "policy": policy,
}


def reshuffle(item: PlannedItem, rng: np.random.Generator) -> tuple[str, tuple[str, ...], int]:
    """Question in any of its wordings, the distractors sampled anew in half of the visits, all options shuffled.

    A distractor that the clip holds stays: it is what makes a question on order one.
    """
    spec = item.spec
    options, gold, audible = list(spec.options), spec.options[spec.gold], audible_options(spec)
    spare = _unused_labels(item, options)
    # Numbers stay a window of neighbours, unanswerable items keep the options that make them so.
    if rng.random() < 0.5 and len(spare) >= len(options) and not gold.isdigit() and not item.reason:
        in_clip = [option for option in options if option == gold or option in audible]
        others = [spare[int(i)] for i in rng.permutation(len(spare))[: len(options) - len(in_clip)]]
        options = [*in_clip, *others]
    order = tuple(options[int(i)] for i in rng.permutation(len(options)))
    return pick(spec.wordings, rng), order, order.index(gold)


def _reshuffle_or_guess(item: PlannedItem, rng: np.random.Generator) -> tuple[str, tuple[str, ...], int]:
    """`reshuffle`, with any option as the right one where the clip cannot answer."""
    question, options, gold = reshuffle(item, rng)
    return question, options, int(rng.integers(len(options))) if item.reason else gold
