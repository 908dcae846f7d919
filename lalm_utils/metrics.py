"""How reliable a model is: accuracy, truthfulness, rejection and reliability, each with an interval.

In: an outcome table (outcomes.COLUMNS) of one run. Out: tidy metric rows. This module knows nothing about
models or prompts. What a method changed, `gain`, lives in gains.py and is offered here too.

Conventions
-----------
One row per item. n counts the items scored: those with a reply, without those excluded by name.
`unreadable` counts as wrong in every metric, as in the paper (arXiv 2505.19294), and is counted apart as
well. `failed` rows and unanswerable items are refused (see outcomes.scorable); a failed row may be excluded
by name, and is then reported. All metrics are shares in [0, 1]; `low` and `high` bound a
percentile-bootstrap interval by item (level 0.95), pooled groups stratified by modality. An interval
without width, as around 0 of n, says that no resample can differ from the data, not that the value is
certain.

Metrics
-------
* :func:`accuracy`: Nc/N.
* :func:`truthfulness`: 1 - Nw/N, the share that is not wrong.
* :func:`rejection_rate`: Nr/N, the share refused.
* :func:`reliability`: Rej·Acc + (1 - Rej)·Truth.
* :func:`refusal_by_sort`: refusals of answerable items beside those of each sort of unanswerable ones.
* :func:`cut_clips`: accuracy with and without the items whose clip was longer than the model hears.
* :func:`gains.gain`: ΔCon, ΔHum, RGI and the flows from one run to another.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lalm_utils import bootstrap, outcomes
from lalm_utils.flows import ANSWERED, NAMES, flow_table
from lalm_utils.gains import gain
from lalm_utils.outcomes import Outcome, OutcomeError, validate

__all__ = [
    "Counts", "accuracy", "count", "cut_clips", "evaluate", "flow_table", "gain", "refusal_by_sort", "rejection_rate",
    "reliability", "truthfulness", "validate", "wide",
]  # fmt: skip
COUNTED = ("n", "excluded", "failed", *ANSWERED, "unreadable_before", "unreadable_after", *NAMES)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers of items per outcome, each an int or an array of resampled ones [shape=(...)]."""

    correct: np.ndarray
    wrong: np.ndarray
    refused: np.ndarray
    unreadable: np.ndarray

    @property
    def n(self) -> np.ndarray:
        """N, the items scored."""
        return self.correct + self.wrong + self.refused + self.unreadable


def count(table: pd.DataFrame, *, exclude: Collection[str] = ()) -> Counts:
    """The Counts of a whole table. Raises OutcomeError as outcomes.scorable does."""
    return _counts(_cells(outcomes.scorable(table, exclude=exclude)))


def accuracy(counts: Counts) -> np.ndarray:
    """Nc/N in [0, 1]: refusals and unreadable replies stay in the denominator."""
    return _share(counts.correct, counts.n)


def truthfulness(counts: Counts) -> np.ndarray:
    """1 - Nw/N in [0, 1], Nw with the unreadable: right answers and refusals are both truthful."""
    return 1 - _share(counts.wrong + counts.unreadable, counts.n)


def rejection_rate(counts: Counts) -> np.ndarray:
    """Nr/N in [0, 1]."""
    return _share(counts.refused, counts.n)


def reliability(counts: Counts) -> np.ndarray:
    """Rej·Acc + (1 - Rej)·Truth in [0, 1] (Xu et al. 2024, as taken over by the paper).

    With Truth = Acc + Rej it is Acc + Rej·(1 - Rej): it does not see which answers were refused. Refusing
    everything scores 0; refusing a share p blindly scores (1 - p)(Acc + p), more than refusing nothing for
    every p < 1 - Acc.
    """
    rejected = rejection_rate(counts)
    return rejected * accuracy(counts) + (1 - rejected) * truthfulness(counts)


METRICS = {
    "accuracy": accuracy, "truthfulness": truthfulness,
    "rejection_rate": rejection_rate, "reliability": reliability,
}  # fmt: skip


def refusal_by_sort(
    table: pd.DataFrame,
    *,
    by: str = "sort",
    novel: bool = False,
    exclude: Collection[str] = (),
    level: float = 0.95,
) -> pd.DataFrame:
    """Refusal, answer and unreadable rates of answerable items beside those of unanswerable ones.

    by : {"sort", "reason"}: inaudible and ungrounded, or silence, masked, option_removed and wrong_category.
    novel : split the answerable ones into "answerable, known content" and "answerable, novel content".
    To refuse is right only where nothing can be known, so no row is called accuracy. Returns a tidy frame:
    group (modality, then overall), sort (answerable first), metric, value, low, high (Wilson) in [0, 1], n.
    Raises OutcomeError for a malformed table, failed rows not excluded, and an unanswerable item without a
    sort.
    """
    validate(table)
    if by not in ("sort", "reason") or by not in table.columns:
        raise OutcomeError(f"by = {by!r}: it is 'sort' or 'reason', a column that the table must have")
    table = table[~table["item"].isin(outcomes.named(exclude))]
    outcomes.refuse_failed(table)
    answerable = table["answerable"].astype(bool)
    unsorted = table.loc[~answerable & table[by].fillna("").eq(""), "item"]
    if len(unsorted):
        raise OutcomeError(f"item {unsorted.iloc[0]!r} is unanswerable but has no {by}: it must say why")
    label = "answerable"
    if novel:
        label = table["novel"].map({True: "answerable, novel content", False: "answerable, known content"})
    table = table.assign(_sort=table[by].where(~answerable, label))
    rows = []
    for group, part in outcomes.groups(table):
        for sort in sorted(
            part["_sort"].unique(), key=lambda name: (not name.startswith("answerable"), name)
        ):
            rows += _rates(group, sort, _counts(_cells(part[part["_sort"] == sort])), level)
    return pd.DataFrame(rows, columns=["group", "sort", "metric", "value", "low", "high", "n"])


def evaluate(
    table: pd.DataFrame, *, exclude: Collection[str] = (), by: str | None = "modality",
    n_boot: int = 2000, level: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Counts and every metric, per group (a value of column `by`) and overall.

    Returns a tidy frame with bootstrap.COLUMNS. Per group: n (items scored), correct, wrong, refused,
    unreadable, failed (rows without a reply, all of them excluded by name), excluded (all rows left out by
    name) and METRICS.
    """
    bootstrap.check(n_boot=n_boot, level=level)
    kept = outcomes.scorable(table, exclude=exclude)
    rows = []
    for group, part in outcomes.groups(table.assign(_kept=table["item"].isin(kept["item"])), by):
        strata = {str(name): _cells(rows_[rows_["_kept"]]) for name, rows_ in part.groupby("modality")}
        counts = _counts(sum(strata.values()))
        draws = _counts(bootstrap.resample(strata, n_boot=n_boot, seed=seed))
        failed, n = (part["outcome"] == Outcome.FAILED).sum(), int(counts.n)
        plain = {"n": n} | {name: getattr(counts, name) for name in ANSWERED}
        plain |= {"failed": failed, "excluded": (~part["_kept"]).sum()}
        rows += [bootstrap.row(group, name, value, n=n) for name, value in plain.items()]
        for name, metric in METRICS.items():
            status = "" if n else "no items"
            rows.append(
                bootstrap.row(group, name, metric(counts), metric(draws), n=n, level=level, status=status)
            )
    return bootstrap.tidy(rows, sorted(outcomes.named(exclude)))


def cut_clips(table: pd.DataFrame, *, exclude: Collection[str] = ()) -> pd.DataFrame:
    """By modality and overall: group, n, cut (items whose clip was cut, column truncated), accuracy, and
    accuracy_without (of the others; NaN if there are none). Raises OutcomeError as outcomes.scorable does.
    """
    rows = []
    for group, part in outcomes.groups(outcomes.scorable(table, exclude=exclude)):
        cut = part["truncated"].astype(bool)
        shares = [float(accuracy(_counts(_cells(some)))) for some in (part, part[~cut])]
        rows.append((group, len(part), int(cut.sum()), *shares))
    return pd.DataFrame(rows, columns=["group", "n", "cut", "accuracy", "accuracy_without"])


def wide(frame: pd.DataFrame, metrics: Collection[str] | None = None, *, digits: int = 3) -> pd.DataFrame:
    """A tidy metric frame as a table to read: one row per group, one text column per metric, "0.610 [0.556,
    0.661]".

    metrics : names in the order wanted, or None for all. Counts are whole numbers. A value that is not
    finite shows its status: "inf (delta_con = 0)".
    """
    names = list(dict.fromkeys(frame["metric"])) if metrics is None else list(metrics)
    unknown = sorted(set(names) - set(frame["metric"]))
    if unknown:
        raise ValueError(
            f"no metric {unknown[0]!r} in this frame: it has {', '.join(dict.fromkeys(frame['metric']))}"
        )
    shown = frame.assign(text=[_text(row, digits) for row in frame.itertuples()])
    table = shown.pivot(index="group", columns="metric", values="text")
    return table.loc[list(dict.fromkeys(frame["group"])), names].rename_axis(columns=None).reset_index()


def _text(row, digits: int) -> str:
    if row.metric in COUNTED and np.isfinite(row.value):
        digits = 0
    value = f"{row.value:.{digits}f}"
    if row.status:
        return f"{value} ({row.status})"
    return value if np.isnan(row.low) else f"{value} [{row.low:.{digits}f}, {row.high:.{digits}f}]"


def _rates(group: str, sort: str, counts: Counts, level: float) -> list[tuple]:
    n = int(counts.n)
    parts = {
        "refusal_rate": counts.refused, "answer_rate": counts.correct + counts.wrong,
        "unreadable_rate": counts.unreadable,
    }  # fmt: skip
    return [(group, sort, name, k / n, *bootstrap.wilson(int(k), n, level), n) for name, k in parts.items()]


def _cells(table: pd.DataFrame) -> np.ndarray:
    """Numbers of items in the order of ANSWERED [shape=(4,)]."""
    return np.array([(table["outcome"] == name).sum() for name in ANSWERED])


def _counts(cells: np.ndarray) -> Counts:
    return Counts(**{name: cells[..., index] for index, name in enumerate(ANSWERED)})


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.divide(part, whole), dtype=float)
