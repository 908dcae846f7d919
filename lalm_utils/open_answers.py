"""Open answers: the options removed, a free reply judged against what the benchmark accepts, and how sure the model is.

In: a model and items. Out: a table with a row per question: the reply, whether it is right, and scores of confidence,
for `risk_coverage` as any others. The paper's own limit is that it asks multiple choice alone (arXiv 2505.19294).

Judging is normalised matching: case, articles, punctuation do not count, and "three" is "3" (wording.words). A reply is
right if all of it is an accepted answer, or if it names the right option and no other label: neither another option of
the questions of its task, nor another sound of the clip. A synonym that the benchmark does not list is wrong, so shares
of right answers are lower bounds; `judge` has a model judge instead.

| score | range | forward passes a question |
|---|---|---|
| likelihood, likelihood a token | up to 0 (nats) | 1, of the reply given |
| agreement, semantic entropy | [0, 1], [-log N, 0] | N short replies |
| P(True) | [0, 1] | 1 more |
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import special

from lalm_utils import annotations, confidence, parsing
from lalm_utils.items import Item
from lalm_utils.models import Model, ModelError, Prompt, Turn
from lalm_utils.outcomes import Outcome
from lalm_utils.store import Store
from lalm_utils.wording import tidy, words

__all__ = ["SCORES", "accepted_answers", "ask", "grade", "judge", "needs_options", "prompt", "vocabulary"]
OPEN = "{question}\nGive the answer alone, in a few words."
P_TRUE = "{question}\nProposed answer: {answer}\nIs the proposed answer right? Reply with yes or no."
JUDGE = "Question: {question}\nRight answer: {right}\nReply: {reply}\nDoes the reply say the same as the right answer? "
JUDGE += "Reply with yes or no."
MAX_NEW_TOKENS = 16
SCORES = ("likelihood a token", "likelihood", "agreement", "semantic entropy", "P(True)")
ASKS_FOR_ABSENT = ("Absent sound", "Unsaid word")  # mini's tasks: what is not in a clip is endless
ANY_WORD = ("Spoken word",)  # mini's task that any word of the transcript answers
log = logging.getLogger(__name__)
_POINTS_AT_OPTIONS = re.compile(r"\b(?:of these|following|options?|choices|below|listed)\b", re.IGNORECASE)


def needs_options(item: Item) -> bool:
    """Whether the question cannot be asked without its options: it points at them, or asks for what is not there."""
    return item.task in ASKS_FOR_ABSENT or bool(_POINTS_AT_OPTIONS.search(item.question))


def prompt(item: Item) -> Prompt:
    """The clip and the question, without options. ValueError for an item that needs them, or has no right option."""
    if item.gold is None or needs_options(item):
        raise ValueError(
            f"item {item.id!r} ({item.question!r}) cannot be asked without options, or has no right one: leave out "
            "unanswerable items and those of which open_answers.needs_options is true"
        )
    return Prompt(turns=(Turn(role="user", text=OPEN.format(question=item.question), clips=(item.clip,)),))


def accepted_answers(item: Item) -> tuple[str, ...]:
    """What the benchmark accepts as a whole reply: the right option, and any word spoken if that is asked."""
    transcript = str(item.annotations.get("transcript") or "").split() if item.task in ANY_WORD else ()
    return tuple(
        dict.fromkeys((item.options[item.gold], *(word.strip(".,?!").lower() for word in transcript)))
    )


def vocabulary(items: Sequence[Item]) -> dict[str, set[str]]:
    """All options by task: what a reply may name instead of the right one."""
    labels: dict[str, set[str]] = {}
    for item in items:
        labels.setdefault(item.task, set()).update(item.options)
    return labels


def grade(item: Item, reply: str, labels: Collection[str] = ()) -> Outcome:
    """correct, wrong or refused, by the module's rule; labels: what else the reply may name, as of `vocabulary`."""
    if _key(reply) in {_key(answer) for answer in accepted_answers(item)}:
        return Outcome.CORRECT
    if parsing.read(reply, item.options).kind == parsing.REFUSED:
        return Outcome.REFUSED
    named = annotations.labels_in(reply, {*item.options, *annotations.labels_of(item), *labels})
    keys = {_key(label) for label in named}  # "a weapon" and "weapon" are one
    return Outcome.CORRECT if keys == {_key(item.options[item.gold])} else Outcome.WRONG


def ask(
    model: Model, items: Sequence[Item], *, store: Store, n: int = 5, temperature: float = 1.0, seed: int = 0
) -> pd.DataFrame:
    """A row per item: item, modality, level, task, novel, reply (greedy), outcome, right (bool), and SCORES.

    n samples at `temperature` give the two scores of agreement; two replies mean the same if their normalised words are
    equal. A refusal is not right. Items with a failed reply are left out, and logged. Raises ValueError as `prompt`
    does, ModelError if no item is left.
    """
    requests, labels = [prompt(item) for item in items], vocabulary(items)
    greedy = [reply for (reply,) in store.ask(model, requests, max_new_tokens=MAX_NEW_TOKENS, seed=seed)]
    samples = store.ask(
        model, requests, n=n, temperature=temperature, max_new_tokens=MAX_NEW_TOKENS, seed=seed
    )
    rows = list(zip(items, requests, greedy, samples))
    complete = [row for row in rows if all(reply.finish != "failed" for reply in (row[2], *row[3]))]
    if len(complete) < len(rows):
        item, _, *replies = next(row for row in rows if row not in complete)
        error = next(reply.error for reply in (replies[0], *replies[1]) if reply.finish == "failed")
        message = f"{model.name} gave no reply to item {item.id!r} ({error})"
        if not complete:
            raise ModelError(f"{message}, nor to any other: check the clips")
        log.warning("%s; %d of %d items left out", message, len(rows) - len(complete), len(rows))
    items, requests, greedy, samples = zip(*complete)
    texts = [reply.text for reply in greedy]
    reply_prompts = [replace(each, options=(text,)) for each, text in zip(requests, texts)]
    total = np.array([each[0] for each in confidence.score_prompts(model, reply_prompts, items, store)])
    meanings = np.array([_clusters(text, replies) for text, replies in zip(texts, samples)])
    verdicts = [grade(item, text, labels[item.task]) for item, text in zip(items, texts)]
    facts = [{name: getattr(item, name) for name in ("modality", "level", "task", "novel")} for item in items]
    return pd.DataFrame(facts).assign(
        item=[item.id for item in items], reply=texts, outcome=verdicts,
        right=[each == Outcome.CORRECT for each in verdicts],
        **{
            # the end of the turn is a token as well
            "likelihood a token": total / np.array([reply.n_tokens + 1 for reply in greedy]), "likelihood": total,
            "agreement": confidence.agreement(meanings, np.zeros(len(items))),
            "semantic entropy": confidence.semantic_entropy(meanings),
            "P(True)": _yes(model, items, [P_TRUE.format(question=i.question, answer=t) for i, t in zip(items, texts)],
                            store),
        },
    )  # fmt: skip


def judge(model: Model, items: Sequence[Item], replies: Sequence[str], *, store: Store) -> np.ndarray:
    """P(yes), when any model is asked in text whether each reply says the same as the right option, (n,) in [0, 1]."""
    texts = [
        JUDGE.format(question=item.question, right=item.options[item.gold], reply=reply)
        for item, reply in zip(items, replies, strict=True)
    ]
    return _yes(model, items, texts, store, audio=False)


def _yes(
    model: Model, items: Sequence[Item], texts: Sequence[str], store: Store, audio: bool = True
) -> np.ndarray:
    requests = [
        Prompt(
            turns=(Turn(role="user", text=text, clips=(item.clip,) if audio else ()),), options=("yes", "no")
        )
        for item, text in zip(items, texts)
    ]
    return np.array(
        [special.softmax(each)[0] for each in confidence.score_prompts(model, requests, items, store)]
    )


def _clusters(greedy: str, replies: Sequence) -> list[int]:
    """What each sample means: 0 as the greedy reply, further numbers for what else was said."""
    numbers = {_key(greedy): 0}
    return [numbers.setdefault(_key(reply.text), len(numbers)) for reply in replies]


def _key(text: str) -> tuple[str, ...]:
    return tuple(word.text for word in words(tidy(text), numbers=True))
