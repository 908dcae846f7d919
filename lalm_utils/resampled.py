"""Several runs over the same items, resampled together: metrics that can be averaged and subtracted.

In: a baseline's outcome table and, by family and by modality trained on, outcome tables over the same items.
Out: one `Test` per modality, whose metrics carry their resamples with them (`Measured`). This module knows
nothing about what the families are, nor which averages are of interest: that is transfer.py.

The items of a modality are drawn with replacement, and one draw serves the baseline and every run, so that a
mean over runs or a difference of two is made inside each resample. Modalities are drawn independently.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lalm_utils import bootstrap, controls, outcomes, paired
from lalm_utils.flows import ANSWERED, Flows, pair
from lalm_utils.outcomes import OutcomeError

Runs = Mapping[str, Sequence[pd.DataFrame]]
Run = tuple[str, str, int]  # family, modality trained on, place in the list (the training seed)
NULLS = {"rgi": "rgi_null", "refusal_rgi": "rgi_null"}  # the metrics whose null moves with the baseline
ZERO = ("rgi_excess", "refusal_excess", "youden")  # those whose null is zero
_KINDS = len(ANSWERED)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A metric on the data (place 0) and on each resample [shape=(1 + n_boot,)]; why it is not finite, or ""."""

    values: np.ndarray
    status: str = ""

    def __sub__(self, other: Measured) -> Measured:
        with np.errstate(invalid="ignore"):
            return Measured(values=self.values - other.values, status=_joined([self, other]))

    def row(self, name: str, n: int, level: float) -> dict:
        """The columns of bootstrap.COLUMNS without `group`."""
        status = "" if np.isfinite(self.values[0]) else self.status
        found = bootstrap.row("", name, self.values[0], self.values[1:], n=n, level=level, status=status)
        return {key: value for key, value in found.items() if key != "group"}


def mean(parts: Sequence[Measured]) -> Measured:
    """The mean within each resample; not finite as soon as one part is not (inf - inf is NaN)."""
    with np.errstate(invalid="ignore"):
        return Measured(values=np.mean([part.values for part in parts], axis=0), status=_joined(parts))


@dataclass(frozen=True, kw_only=True)
class Test:
    """The items of one modality (and part): what each run did with them, on the data and on each resample.

    n : the number of items; flows : run to counts from the baseline to it, cells [shape=(1 + n_boot, 4, 4)],
    of which place 0 is the data.
    """

    __test__ = False  # no test case of pytest

    part: str
    tested_on: str
    n: int
    flows: Mapping[Run, Flows]

    def where(self, trained: str) -> dict[str, str]:
        """The columns that name a cell: part, trained_on, tested_on, domain (in or out)."""
        inside = trained == self.tested_on or trained in self.tested_on.removeprefix("mix-").split("-")
        where = {"part": self.part, "trained_on": trained, "tested_on": self.tested_on}
        return where | {"domain": "in" if inside else "out"}

    def places(self, family: str) -> dict[str, list[int]]:
        """Modality trained on to the places (training seeds) of its runs in `family`."""
        found: dict[str, list[int]] = {}
        for name, trained, place in self.flows:
            if name == family:
                found.setdefault(trained, []).append(place)
        return found

    def measured(self, run: Run, name: str) -> Measured:
        """A metric of one run, by a name that paired.measure knows."""
        status = paired.why(name, Flows(cells=self.flows[run].cells[0]))
        return Measured(values=np.asarray(paired.measure(name, self.flows[run]), dtype=float), status=status)

    def averages(self, family: str, name: str) -> dict[str, Measured]:
        """Modality trained on to the metric's mean over the training seeds."""
        return {
            trained: mean([self.measured((family, trained, place), name) for place in places])
            for trained, places in self.places(family).items()
        }

    def null(self, run: Run, name: str) -> float:
        """What blind refusal gives on these items; NaN for a metric without a null."""
        if name in NULLS:
            return float(self.measured(run, NULLS[name]).values[0])
        return 0.0 if name in ZERO else np.nan

    def blind(self, run: Run, name: str, *, draws: int, seed: int) -> np.ndarray:
        """The metric under blind refusal of as many items as `run` refuses [shape=(draws,)]."""
        strata = {self.tested_on: self.flows[run].cells[0]}
        return np.asarray(paired.measure(name, controls.blind_flows(strata, draws=draws, seed=seed)), float)


def tests(
    families: Mapping[str, Runs], baseline: pd.DataFrame, *, by: str | None, exclude: Collection[str],
    n_boot: int, level: float, seed: int,
) -> Iterator[Test]:  # fmt: skip
    """One Test per part (value of column `by`; "all" for None) and modality, in the papers' order.

    Resamples depend on the seed, the modality and the ids, not on the order of the rows or on which runs are
    given. Raises OutcomeError as flows.pair does, for runs without tables and for an unknown column `by`.
    """
    bootstrap.check(n_boot=n_boot, level=level)
    codes = _codes(families, baseline, exclude)
    kept = baseline[baseline["item"].isin(codes.index)].sort_values("item").set_index("item", drop=False)
    parts = [("all", kept)] if by is None else list(outcomes.groups(kept, by))[:-1]
    for label, rows in parts:
        for modality, items in list(outcomes.groups(rows))[:-1]:
            drawn = bootstrap.resample({modality: np.ones(len(items), int)}, n_boot=n_boot, seed=seed)
            weights = np.vstack([np.ones((1, len(items))), drawn])
            flows = {run: _counted(codes.loc[items.index, run].to_numpy(), weights) for run in codes.columns}
            yield Test(part=label, tested_on=modality, n=len(items), flows=flows)


def pooled(tests: Sequence[Test]) -> Test:
    """The tests of one part as one over all their items: the draws of the modalities add up.

    The modalities are drawn apart, so the pooled resamples are stratified by modality.
    """
    first, flows = tests[0], {}
    for run in first.flows:
        flows[run] = Flows(cells=np.sum([test.flows[run].cells for test in tests], axis=0))
    return Test(part=first.part, tested_on="overall", n=sum(test.n for test in tests), flows=flows)


def _counted(codes: np.ndarray, weights: np.ndarray) -> Flows:
    """Pairs of outcomes, counted with the weights of each row [shape=(1 + n_boot, n)]."""
    cells = (weights @ np.eye(_KINDS**2)[codes]).astype(int)
    return Flows(cells=cells.reshape(-1, _KINDS, _KINDS))


def _codes(families: Mapping[str, Runs], baseline: pd.DataFrame, exclude: Collection[str]) -> pd.DataFrame:
    """4 * before + after, a row per item, a column per run."""
    place_of = {outcome: place for place, outcome in enumerate(ANSWERED)}
    columns = {}
    for family, runs in families.items():
        _refuse_no_tables(runs)
        for trained, tables in runs.items():
            for place, table in enumerate(tables):
                try:
                    old, new = pair(baseline, table, exclude=exclude)
                except OutcomeError as error:
                    raise OutcomeError(f"trained on {trained!r}, seed {place}: {error}") from None
                before, after = (side["outcome"].map(place_of).to_numpy(int) for side in (old, new))
                columns[family, trained, place] = pd.Series(_KINDS * before + after, old["item"])
    return pd.DataFrame(columns)


def _refuse_no_tables(runs: Runs) -> None:
    if not runs:
        raise OutcomeError("runs is empty: give the outcome tables of at least one adapter")
    for trained, tables in runs.items():
        if isinstance(tables, pd.DataFrame) or not len(tables):
            found = "one table" if isinstance(tables, pd.DataFrame) else "empty"
            raise OutcomeError(
                f"runs[{trained!r}] is {found}: give a list of outcome tables, one per training seed"
            )


def _joined(parts: Sequence[Measured]) -> str:
    """All reasons of the parts, each once."""
    reasons = [reason for part in parts if part.status for reason in part.status.split(", ")]
    return ", ".join(dict.fromkeys(reasons))
