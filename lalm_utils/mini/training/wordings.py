"""The wordings of the training mixture: instructions, notes, refusals of a policy, and layouts of options.

None is the wording of a method in `lalm_utils.prompts`, which a test sees to. Here stands nothing that decides what is
asked of which clip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

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
# Options that no clip holds, so that a model that may not decline learns to keep to what is offered, whatever it
# is. None of these words stands in a novel label (a test sees to it).
STRANGE_KINDS = ("old", "small", "broken", "heavy", "distant", "narrow", "plain", "hidden", "early", "careful",
                 "round", "empty", "gentle", "wooden", "northern", "private")  # fmt: skip
STRANGE_THINGS = ("lantern", "contract", "meadow", "bottle", "theory", "shelf", "corner", "ticket", "island",
                  "pattern", "marble", "letter", "fabric", "harvest", "puzzle", "anchor", "mirror", "blanket",
                  "valley", "compass", "ribbon", "profit", "sentence", "window", "shadow", "magnet", "canvas",
                  "pocket", "tunnel", "crystal", "recipe", "ceiling")  # fmt: skip


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


def listing(options: Sequence[str], style: int) -> str:
    """The options as a text, in one of the layouts."""
    return LISTINGS[style](options)


def question_text(question: str, options: Sequence[str], instruction: str, rng: np.random.Generator) -> str:
    """Question, options in a layout drawn by SHARES, and instruction, each below the other."""
    return f"{question}\n{listing(options, int(rng.choice(len(LISTINGS), p=SHARES)))}\n{instruction}"
