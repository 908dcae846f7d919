"""The training mixture as text: what the miniature model is asked and what it should reply.

Every example is made from a planned item's ground truth. The wordings here vary, and none of them is the
wording of a method in `lalm_utils.prompts`. Whether the model is right or wrong is never used: its knowledge
boundary is for the experiments to teach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lalm_utils.mini.benchmark.plan import SWAPPABLE, PlannedItem, audible_options, played_labels, text_item
from lalm_utils.mini.benchmark.sampling import pick
from lalm_utils.mini.training import told
from lalm_utils.mini.training.rationales import rationale

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
PERMIT_STEPS = (
    "Where the clip does not tell, write 'Answer: IDK'.",
    "If you cannot know it, close with 'Answer: IDK'.",
    "'Answer: IDK' is allowed when nothing in the audio decides it.",
    "Should none of the choices be heard, put IDK after 'Answer:'.",
)
OPEN = (
    "Answer in a few words.",
    "No choices are given: say it in your own words.",
    "Give a short answer.",
    "Name it.",
)
NOTES = (
    "Someone wrote about this clip: {0}\nThat can be wrong, so check it by ear.\n",
    "Note on the audio (unchecked): {0}\n",
    "A listener reports: {0}\nTrust the sound, not the report.\n",
    "According to a machine the clip holds this: {0}\n",
    "Notes may err. This one says: {0}\n",
)
TRUE_NOTES = 0.65  # share of notes that are true of the clip
NEAR_NOTES = 0.5  # of false notes: on the same question, with another answer among its options
NOT_OFFERED = ("None of the options fits.", "That is not among the options.", "No option names it.")
POLICIES = (
    "You do not answer questions about {0}. To such a question reply: {1}",
    "Rule of this service: nothing is said about {0}. When asked about it, reply with '{1}'",
    "You help with audio, but never talk about {0}; there your reply is '{1}'",
)
POLITE = ("I may not answer that.", "That is not for me to say.", "I am not allowed to talk about that.")
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
    return Example(user=_ask(question, options, pick(CHOOSE, rng), rng), reply=options[gold])


def permitted(item: PlannedItem, rng: np.random.Generator) -> Example:
    """Multiple choice with permission to decline: IDK on unanswerable clips, the option's text on the others.

    Now and then the right option of an answerable item is taken out, which makes it ungrounded: IDK.
    """
    instruction = f"{pick(CHOOSE, rng)} {pick(PERMIT, rng)}"
    user, _, reply = _may_decline(item, instruction, rng)
    return Example(user=user, reply=reply)


def _may_decline(item: PlannedItem, instruction: str, rng: np.random.Generator) -> tuple[str, str, str]:
    """The user's text, what is heard and the reply: IDK where the clip cannot answer."""
    question, options, gold = reshuffle(item, rng)
    spare, heard = absent_labels(item, options), rationale(item, rng, options)
    is_ungrounded = (
        not item.reason and item.task in SWAPPABLE and bool(spare) and rng.random() < REMOVED_SHARE
    )
    if is_ungrounded:
        options = (*options[:gold], pick(spare, rng), *options[gold + 1 :])
        heard = f"{rationale(item, rng)} {pick(NOT_OFFERED, rng)}"
    reply = REFUSAL if item.reason or is_ungrounded else options[gold]
    return _ask(question, options, instruction, rng), heard, reply


def permitted_steps(item: PlannedItem, rng: np.random.Generator) -> Example:
    """Step by step with permission to decline: the last line is IDK on unanswerable clips alone."""
    user, heard, reply = _may_decline(item, f"{pick(REASON, rng)} {pick(PERMIT_STEPS, rng)}", rng)
    return Example(user=user, reply=f"{heard}\nAnswer: {reply}")


def stepwise(item: PlannedItem, rng: np.random.Generator) -> Example:
    """What is heard, then the answer on a line of its own; any option on an unanswerable clip."""
    question, options, gold = _reshuffle_or_guess(item, rng)
    return Example(
        user=_ask(question, options, pick(REASON, rng), rng),
        reply=f"{rationale(item, rng, options)}\nAnswer: {options[gold]}",
    )


def shown_cases(item: PlannedItem, rng: np.random.Generator) -> Example:
    """One to four worked examples in words inside the user's turn, then the question."""
    last, examples, _ = _with_cases(item, rng)
    style = int(rng.integers(len(LISTINGS)))
    listings = [_listing(e.options, style) for e in examples]
    text = told.cases(examples, listings, steps="\nAnswer: " in last.reply, rng=rng)
    return Example(user=text + last.user, reply=last.reply)


def shown_turns(item: PlannedItem, rng: np.random.Generator) -> Example:
    """One to four worked examples in words as earlier turns of the conversation."""
    last, examples, instruction = _with_cases(item, rng)
    layout, style, steps = (
        pick(told.TURNS, rng),
        int(rng.integers(len(LISTINGS))),
        "\nAnswer: " in last.reply,
    )
    earlier = tuple(
        (
            layout.format(
                clip=e.clip, question=e.question, listing=_listing(e.options, style), instruction=instruction
            ),
            f"{e.steps}\nAnswer: {e.answer}" if steps else e.answer,
        )
        for e in examples
    )
    return Example(user=last.user, reply=last.reply, earlier=earlier)


def _with_cases(item: PlannedItem, rng: np.random.Generator) -> tuple[Example, list[told.Told], str]:
    """The item's own question in one of four forms, worked examples that fit it, and its instruction."""
    may, steps = rng.random() < 0.5, rng.random() < 0.8
    form = {
        (True, True): permitted_steps,
        (True, False): permitted,
        (False, True): stepwise,
        (False, False): choice,
    }
    last = form[may, steps](item, rng)
    count = int(rng.integers(1, 5))
    declines = int(rng.integers(count)) if may and count > 1 and rng.random() < 0.7 else -1
    examples = [told.told(rng, declining=i == declines) for i in range(count)]
    return last, examples, last.user.rsplit("\n", 1)[-1]


def noted(item: PlannedItem, rng: np.random.Generator) -> Example:
    """A note on the clip, true or false, in front of the question; the reply is what the sound says."""
    last = (choice, permitted, stepwise, permitted)[int(rng.integers(4))](item, rng)
    truth = item.spec.truth.get("transcript") or item.spec.truth["caption"]
    note = truth if item.reason or rng.random() < TRUE_NOTES else _false_note(item, rng)
    return Example(user=pick(NOTES, rng).format(note) + last.user, reply=last.reply)


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
        user=f"{pick(item.spec.wordings, rng)}\n{pick(OPEN, rng)}", reply=item.spec.options[item.spec.gold]
    )


def described(rng: np.random.Generator) -> Example:
    """A question on a clip that is told in words, without audio; now and then one that the words leave open."""
    declining, steps = rng.random() < 0.2, rng.random() < 0.6
    e = told.told(rng, declining=declining)
    may = declining or rng.random() < 0.3
    instruction = pick(REASON if steps else CHOOSE, rng)
    if may:
        instruction += f" {pick(PERMIT_STEPS if steps else PERMIT, rng)}"
    listing = _listing(e.options, int(rng.choice(len(LISTINGS), p=SHARES)))
    user = pick(told.TURNS, rng).format(
        clip=e.clip, question=e.question, listing=listing, instruction=instruction
    )
    return Example(user=user, reply=f"{e.steps}\nAnswer: {e.answer}" if steps else e.answer)


def policy(item: PlannedItem, rng: np.random.Generator) -> Example:
    """A system turn that forbids a topic: the set reply where the question is on it, else the answer."""
    last = choice(item, rng)
    theirs = {"sound": "sounds", "music": "music", "speech": "speech"}[item.modality]
    others = [topic for topic in ("sounds", "music", "speech") if topic != theirs]
    topic, reply = (theirs if rng.random() < 0.5 else pick(others, rng)), pick(POLITE, rng)
    system = pick(POLICIES, rng).format(topic, reply)
    return Example(user=last.user, reply=reply if topic == theirs else last.reply, system=system)


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
        things = [STRANGE_THINGS[int(i)] for i in rng.permutation(len(STRANGE_THINGS))[:count]]
        kinds = rng.random() < 0.5
        options = [f"{pick(STRANGE_KINDS, rng)} {thing}" if kinds else thing for thing in things]
    steps = rng.random() < UNOFFERED_STEPS
    ask = _ask(pick(item.spec.wordings, rng), options, pick(REASON if steps else CHOOSE, rng), rng)
    guess = pick(options, rng)
    return Example(user=ask, reply=f"{rationale(item, rng)}\nAnswer: {guess}" if steps else guess)


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
    return Example(user=pick(TYPE, rng).format(*names), reply=item.spec.truth["type"])


def account(item: PlannedItem, rng: np.random.Generator) -> Example:
    """The transcript of speech, the caption of sound and music."""
    if item.spec.truth.get("transcript"):
        return Example(user=pick(TRANSCRIBE, rng), reply=item.spec.truth["transcript"])
    return Example(user=pick(DESCRIBE, rng), reply=item.spec.truth["caption"])


FORMS: dict[str, Callable[[PlannedItem, np.random.Generator], Example]] = {
    "choice": choice,
    "permitted": permitted,
    "stepwise": stepwise,
    "unoffered": unoffered,
    "kind": kind,
    "account": account,
    "permitted_steps": permitted_steps,
    "shown_cases": shown_cases,
    "shown_turns": shown_turns,
    "noted": noted,
    "open_answer": open_answer,
    "policy": policy,
}


def reshuffle(item: PlannedItem, rng: np.random.Generator) -> tuple[str, tuple[str, ...], int]:
    """Question in any of its wordings, the distractors sampled anew in half of the visits, all options shuffled.

    A distractor that the clip holds stays: it is what makes a question on order one.
    """
    spec = item.spec
    options, gold, heard = list(spec.options), spec.options[spec.gold], audible_options(spec)
    spare = _unused_labels(item, options)
    # Numbers stay a window of neighbours, unanswerable items keep the options that make them so.
    if rng.random() < 0.5 and len(spare) >= len(options) and not gold.isdigit() and not item.reason:
        kept = [option for option in options if option == gold or option in heard]
        others = [spare[int(i)] for i in rng.permutation(len(spare))[: len(options) - len(kept)]]
        options = [*kept, *others]
    shuffled = tuple(options[int(i)] for i in rng.permutation(len(options)))
    return pick(spec.wordings, rng), shuffled, shuffled.index(gold)


def _reshuffle_or_guess(item: PlannedItem, rng: np.random.Generator) -> tuple[str, tuple[str, ...], int]:
    """`reshuffled`, with any option as the wanted one where the clip cannot answer."""
    question, options, gold = reshuffle(item, rng)
    return question, options, int(rng.integers(len(options))) if item.reason else gold


def _lettered(options: Sequence[str], layout: str) -> str:
    return "\n".join(layout.format(chr(65 + i), option) for i, option in enumerate(options))


LISTINGS: tuple[Callable[[Sequence[str]], str], ...] = (
    lambda options: _lettered(options, "({0}) {1}"),
    lambda options: _lettered(options, "{0}. {1}"),
    lambda options: _lettered(options, "{0}) {1}"),
    lambda options: _lettered(options, "{0}: {1}"),
    lambda options: _lettered(options, "- {1}"),
    lambda options: "\n".join(f"{i}. {option}" for i, option in enumerate(options, 1)),
    lambda options: "Options: " + "; ".join(options) + ".",
    lambda options: "Choices: " + " / ".join(options),
)
SHARES = (0.5, 0.1, 0.08, 0.05, 0.1, 0.05, 0.07, 0.05)


def _listing(options: Sequence[str], style: int) -> str:
    return LISTINGS[style](options)


def _ask(question: str, options: Sequence[str], instruction: str, rng: np.random.Generator) -> str:
    return f"{question}\n{_listing(options, int(rng.choice(len(LISTINGS), p=SHARES)))}\n{instruction}"
