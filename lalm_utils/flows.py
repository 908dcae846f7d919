"""Who went where: the outcomes of the same items before and after, paired and counted.

In: two outcome tables over the same items. Out: paired tables (`pair`), counts per (before, after) as arrays
(`Flows`) or as a tidy frame (`flow_table`). This module knows nothing about the metrics built on the counts.

Items are paired by id, whatever the order of the rows; unequal sets are refused. As in the paper (arXiv
2505.19294), `unreadable` counts as wrong wherever a flow is named; `cells` keeps it apart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lalm_utils import outcomes
from lalm_utils.outcomes import OutcomeError

ANSWERED = ("correct", "wrong", "refused", "unreadable")
KINDS = {"correct": [0], "wrong": [1, 3], "refused": [2]}
NAMES = tuple(f"{before}_to_{after}" for before in KINDS for after in KINDS)


@dataclass(frozen=True, kw_only=True)
class Flows:
    """Counts of pairs (before, after), one table of them or a stack of resampled ones.

    cells : int array [shape=(..., 4, 4)], before by after, each in the order of ANSWERED.
    """

    cells: np.ndarray

    def between(self, before: str, after: str) -> np.ndarray:
        """Items that went from `before` to `after`, unreadable counted as wrong [shape=(...)]."""
        return self.cells[..., KINDS[before], :][..., KINDS[after]].sum(axis=(-2, -1))

    @property
    def n(self) -> np.ndarray:
        """N, all paired items [shape=(...)]."""
        return self.cells.sum(axis=(-2, -1))

    @property
    def n_correct(self) -> np.ndarray:
        """Nc, right before [shape=(...)]."""
        return self.cells[..., KINDS["correct"], :].sum(axis=(-2, -1))

    @property
    def n_wrong(self) -> np.ndarray:
        """Nw, wrong or unreadable before [shape=(...)]."""
        return self.cells[..., KINDS["wrong"], :].sum(axis=(-2, -1))


@dataclass(frozen=True, kw_only=True)
class Group:
    """One group of items: its label, its cells (4, 4) per modality, and how many were excluded by name."""

    label: str
    strata: dict[str, np.ndarray]
    excluded: int

    @property
    def flows(self) -> Flows:
        """The group's counts, all modalities together."""
        return Flows(cells=sum(self.strata.values()))


def pair(
    before: pd.DataFrame, after: pd.DataFrame, *, exclude: Collection[str] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables without the excluded items, in one order of items (that of `before`).

    Raises OutcomeError as outcomes.scorable does for either table, for unequal sets of items, and for an item
    whose modality, gold option or number of options differs between the two.
    """
    exclude = outcomes.named(exclude)
    unknown = sorted(exclude - set(before.get("item", ())) - set(after.get("item", ())))
    if unknown:
        raise OutcomeError(f"exclude names {unknown[:3]}, in neither table: correct the ids")
    before, after = _kept(before, exclude, "before"), _kept(after, exclude, "after")
    only_before, only_after = (
        sorted(set(before.index) - set(after.index)),
        sorted(set(after.index) - set(before.index)),
    )
    if only_before or only_after:
        raise OutcomeError(
            f"the two tables hold different items: {len(only_before)} only before {only_before[:3]}, "
            f"{len(only_after)} only after {only_after[:3]}; a gain is paired, ask both about the same items"
        )
    after = after.loc[before.index]
    _refuse_other_questions(before, after)
    return before.reset_index(), after.reset_index()


def grouped(
    before: pd.DataFrame, after: pd.DataFrame, *, exclude: Collection[str] = (), by: str | None = "modality"
) -> Iterator[Group]:
    """The groups of outcomes.groups over the paired items; a group with nothing left is kept, empty."""
    old, new = pair(before, after, exclude=exclude)
    code = {outcome: index for index, outcome in enumerate(ANSWERED)}
    cell = pd.Series(
        old["outcome"].map(code).to_numpy(int) * 4 + new["outcome"].map(code).to_numpy(int), old["item"]
    )
    for label, part in outcomes.groups(before.assign(_cell=before["item"].map(cell)), by):
        strata = {
            str(modality): np.bincount(rows.dropna().to_numpy(int), minlength=16).reshape(4, 4)
            for modality, rows in part.groupby("modality")["_cell"]
        }
        yield Group(label=label, strata=strata, excluded=int(part["_cell"].isna().sum()))


def flow_table(
    before: pd.DataFrame, after: pd.DataFrame, *, exclude: Collection[str] = (), by: str | None = "modality",
    unreadable: str = "wrong",
) -> pd.DataFrame:  # fmt: skip
    """All flows as a tidy frame: group, before, after, count (items), share (of the group's items, 0..1).

    unreadable : {"wrong", "apart"}: folded into wrong as in the metrics (3 x 3), or an outcome of its own
    (4 x 4).
    """
    if unreadable not in ("wrong", "apart"):
        raise ValueError(f"unreadable = {unreadable!r}: it is 'wrong' (folded) or 'apart'")
    rows = []
    for group in grouped(before, after, exclude=exclude, by=by):
        counts = _counts(group.flows, apart=unreadable == "apart")
        n = max(int(group.flows.n), 1)
        rows += [(group.label, *ends, count, count / n) for ends, count in counts.items()]
    return pd.DataFrame(rows, columns=["group", "before", "after", "count", "share"])


def _counts(flows: Flows, *, apart: bool) -> dict[tuple[str, str], int]:
    if apart:
        return {
            (old, new): int(flows.cells[i, j])
            for i, old in enumerate(ANSWERED)
            for j, new in enumerate(ANSWERED)
        }
    return {(old, new): int(flows.between(old, new)) for old in KINDS for new in KINDS}


def _kept(frame: pd.DataFrame, exclude: set[str], side: str) -> pd.DataFrame:
    try:
        return outcomes.scorable(frame, exclude=exclude & set(frame.get("item", ()))).set_index("item")
    except OutcomeError as error:
        raise OutcomeError(f"{side}: {error}") from None


def _refuse_other_questions(before: pd.DataFrame, after: pd.DataFrame) -> None:
    for column in ("modality", "gold", "n_options"):
        if column not in before or column not in after:
            continue
        differs = before.index[(before[column].fillna(-1) != after[column].fillna(-1)).to_numpy(bool)]
        if len(differs):
            raise OutcomeError(
                f"item {differs[0]!r} has another {column} before ({before.at[differs[0], column]}) "
                f"than after ({after.at[differs[0], column]}): these are not the same questions"
            )
