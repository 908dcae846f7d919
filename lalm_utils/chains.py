"""Chains of thought as texts: where the steps end, whether a reply keeps the form, what its length goes with.

In: outcome tables of methods that ask for steps. Out: tidy tables. Everything here is about the wording of the
replies; whether a model follows its own steps (faithfulness) is another question.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lalm_utils import bootstrap
from lalm_utils.outcomes import Outcome

WITH_CHOICE = (Outcome.CORRECT, Outcome.WRONG)
_LINE = re.compile(r"[\s*_#>-]*(?P<final>final\s+)?answer[\s*_]*:[\s*_]*(?P<answer>.*)", re.IGNORECASE)
_WITHIN = re.compile(r"[\s*_]*\b(?:final\s+)?answer[\s*_]*:", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A reply's steps, and whether it keeps the form: steps, then one last line "Answer: ..." """

    steps: str
    keeps_form: bool

    @property
    def words(self) -> int:
        """Length of the steps in words, parted by spaces; the answer's line does not count."""
        return len(self.steps.split())


def split(reply: str) -> Chain:
    """Split a reply before its first "Answer:"; without one all of it is steps.

    The form is kept if exactly one line starts with "Answer:", it is the last, something follows on it, and
    steps come before it. Emphasis and capitals do not matter.
    """
    lines = [line for line in reply.splitlines() if line.strip()]
    answers = [(number, match) for number, line in enumerate(lines) if (match := _LINE.match(line))]
    steps = "\n".join(lines[: answers[0][0]] if answers else lines)
    within = _WITHIN.search(steps)
    steps = (steps[: within.start()] if within else steps).strip()
    if len(answers) != 1 or within or not steps:
        return Chain(steps=steps, keeps_form=False)
    ((number, line),) = answers
    last = number == len(lines) - 1
    return Chain(steps=steps, keeps_form=bool(last and line["answer"].strip() and not line["final"]))


def with_steps(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of an outcome table that have a reply, with `steps`, `words` and `keeps_form` beside them."""
    replied = table[table["outcome"] != Outcome.FAILED]
    parts = [split(reply) for reply in replied["reply"]]
    return replied.assign(
        steps=[part.steps for part in parts],
        words=[part.words for part in parts],
        keeps_form=[part.keeps_form for part in parts],
    )


def forms(runs: Mapping[str, pd.DataFrame], *, level: float = 0.95) -> pd.DataFrame:
    """Shares of replies by method: form kept, unreadable, cut at the token limit.

    Tidy: method, metric ("form kept", "unreadable", "cut"), value, low, high (Wilson) in [0, 1], n (replies;
    failed calls are none).
    """
    rows = []
    for method, table in runs.items():
        part = with_steps(table)
        hits = {"form kept": part["keeps_form"].astype(bool), "unreadable": part["outcome"] == Outcome.UNREADABLE,
                "cut": part["finish"] == "length"}  # fmt: skip
        for metric, hit in hits.items():
            k, n = int(hit.sum()), len(part)
            rows.append((method, metric, k / n if n else np.nan, *bootstrap.wilson(k, n, level), n))
    return pd.DataFrame(rows, columns=["method", "metric", "value", "low", "high", "n"])


def lengths(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How many replies have steps of so many words: method, outcome, words, n. What figure chain_length draws."""
    rows = [
        (method, outcome, words, n)
        for method, table in runs.items()
        for (outcome, words), n in with_steps(table).groupby(["outcome", "words"]).size().items()
    ]
    return pd.DataFrame(rows, columns=["method", "outcome", "words", "n"])


def predictors(
    runs: Mapping[str, pd.DataFrame], *, n_boot: int = 2000, level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Whether length and form go with right answers, among the replies that chose an option.

    auroc_words: how often a right reply's steps have more words than a wrong one's, ties counted half; 0.5 says
        that length tells nothing, below it that the right ones are shorter.
    accuracy_form: accuracy where the form was kept minus accuracy where it was not.
    Refused and unreadable replies are left out: an unreadable one has lost its form by definition. Some tasks
    call for longer steps and are harder too, so this is no effect of length. Columns: bootstrap.COLUMNS, `group`
    being the method; bootstrap by item, stratified by modality; n counts the replies. Steps that are all equally
    long tell nothing at all: their AUROC has a status in place of an interval.
    """
    bootstrap.check(n_boot=n_boot, level=level)
    rows = []
    for method, table in runs.items():
        part = with_steps(table[table["outcome"].isin(WITH_CHOICE)])
        right, n = (part["outcome"] == Outcome.CORRECT).to_numpy(bool), len(part)
        measures = {"auroc_words": (_auroc, "words"), "accuracy_form": (_difference, "keeps_form")}
        for metric, (measure, column) in measures.items():
            value, resampled = np.nan, None
            if n:
                weights = bootstrap.weights(part["modality"], n_boot=n_boot, seed=seed)
                value, resampled = measure(part[column].to_numpy(float), right, weights)
            status = "" if np.isfinite(value) else "one of the two kinds is missing"
            if metric == "auroc_words" and part["words"].nunique() == 1:
                status = status or "no interval: all are equally long"
            rows.append(bootstrap.row(method, metric, value, resampled, n=n, level=level, status=status))
    return bootstrap.tidy(rows, [])


def _auroc(score: np.ndarray, right: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Of all pairs of a right and a wrong reply, the share in which the right one's score is higher."""
    above, below = score[right][:, None], score[~right][None, :]
    wins = (above > below) + 0.5 * (above == below)
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = weights[:, right].sum(1) * weights[:, ~right].sum(1)
        resampled = ((weights[:, right] @ wins) * weights[:, ~right]).sum(1) / pairs
        value = np.divide(wins.sum(), wins.size)
    return float(value), resampled


def _difference(form: np.ndarray, right: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Share right where `form` is 1 minus where it is 0."""
    form = form.astype(int)
    (with_form, d1), (without, d0) = (bootstrap.ratio(right * k, k, weights) for k in (form, 1 - form))
    return with_form - without, d1 - d0
