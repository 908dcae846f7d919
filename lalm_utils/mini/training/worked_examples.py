"""Worked examples on clips in words, which stand in front of a question or alone.

A clip in words may hold any label, those of `idk` and `test` too: their words are familiar to the model, right and
wrong, while no clip that it is trained on plays them. No such clip is ever rendered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lalm_utils.mini.benchmark.plan import PlannedItem, text_item
from lalm_utils.mini.benchmark.sampling import pick
from lalm_utils.mini.training.rationales import rationale

# Tasks whose answer follows from the caption or the transcript.
FROM_TEXT = (
    "Sound event", "Background sound", "Event count", "Event order", "Absent sound", "Loudness trajectory",
    "Sound source", "Sound place", "Instrument", "Instrument order", "Instrument family", "Number of instruments",
    "Melodic contour", "Note count", "Tempo", "Dynamics", "Register", "Spoken word", "Word order", "Unsaid word",
    "Word count", "Word category", "Spoken arithmetic", "Language",
)  # fmt: skip
NOVEL_SHARE = 0.5  # of the examples: about labels that no training clip plays
OPENINGS = (
    "First {n} cases in writing.\n\n",
    "This is the way to do it, shown on clips that are only described.\n\n",
    "Solved before, from descriptions:\n\n",
    "",
)
CASES = (
    "Case {i}. The clip: {clip}\n{question}\n{listing}\nSolution: {solution}\n\n",
    "[{i}] Suppose one hears this: {clip}\n{question}\n{listing}\n{solution}\n\n",
    "Sample {i}\nContent: {clip}\nTask: {question}\n{listing}\n{solution}\n\n",
)
CLOSINGS = (
    "Your turn, with the clip above.\n",
    "Do the same for the recording at the top.\n",
    "Next comes the clip to listen to.\n",
    "",
)
TURNS = (
    "(A clip in words: {clip})\n{question}\n{listing}\n{instruction}",
    "Imagine this recording: {clip}\n{question}\n{listing}\n{instruction}",
    "No audio this time, only what is in it: {clip}\n{question}\n{listing}\n{instruction}",
)
EMPTY = ("nothing can be made out", "only noise", "the recording is silent", "too faint to tell anything")
UNTELLABLE = (
    "Nothing in it tells which option is right.",
    "The description leaves the question open.",
    "None of the options can be made out.",
)


@dataclass(frozen=True, kw_only=True)
class WorkedExample:
    """A solved question on a clip in words: `steps` lead to `answer`, "IDK" where the words do not tell it."""

    clip: str
    question: str
    options: tuple[str, ...]
    steps: str
    answer: str


def worked_example(rng: np.random.Generator, *, declining: bool) -> WorkedExample:
    """A solved question of any task in FROM_TEXT; with `declining` one that the description leaves open."""
    item = text_item(rng, FROM_TEXT, NOVEL_SHARE)
    spec = item.spec
    if declining:
        return WorkedExample(clip=pick(EMPTY, rng) + ".", question=spec.question, options=spec.options,
                    steps=pick(UNTELLABLE, rng), answer="IDK")  # fmt: skip
    steps = rationale(item, rng, spec.options)
    return WorkedExample(clip=clip_text(item), question=spec.question, options=spec.options, steps=steps,
                answer=spec.options[spec.gold])  # fmt: skip


def clip_text(item: PlannedItem) -> str:
    """The clip in words: its transcript in quotes, or its caption."""
    truth = item.spec.truth
    return f'somebody says "{truth["transcript"]}"' if truth.get("transcript") else f"{truth['caption']}."


def cases_text(
    examples: Sequence[WorkedExample], listings: Sequence[str], *, steps: bool, rng: np.random.Generator
) -> str:
    """The examples as text in front of a question; without `steps` each shows its answer alone."""
    layout = pick(CASES, rng)
    body = "".join(
        layout.format(i=i, clip=e.clip, question=e.question, listing=listing,
                      solution=f"{e.steps}\nAnswer: {e.answer}" if steps else e.answer)
        for i, (e, listing) in enumerate(zip(examples, listings), 1)
    )  # fmt: skip
    return pick(OPENINGS, rng).format(n=len(examples)) + body + pick(CLOSINGS, rng)
