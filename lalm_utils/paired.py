"""Two or more runs over the same items: exact tests corrected for their number, and metrics of pairs of runs.

In: outcome tables over the same items. Out: a table of tests (`compare`), tidy rows of metrics (`measured`).
This module knows nothing about methods or models; who is paired with whom is decided in flows.py.

Conventions
-----------
Items are paired by id, whatever the order of the rows; unequal sets are refused, and so are failed rows that
are not excluded by name. `unreadable` counts as wrong, as in the paper (arXiv 2505.19294): such a reply is
neither correct nor truthful.

* :func:`mcnemar`: the exact test for a yes-or-no property of the same items in two runs.
* :func:`holm`: p-values that hold for all the tests shown together.
* :func:`measure`: any metric as a function of paired counts, changes and Youden's J among them.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from lalm_utils import bootstrap, gains, metrics
from lalm_utils import flows as pairs
from lalm_utils.flows import ANSWERED, Flows
from lalm_utils.metrics import Counts
from lalm_utils.outcomes import OutcomeError

PROPERTIES = {"correct": ("correct",), "truthful": ("correct", "refused")}
CHANGES = tuple(f"{name}_change" for name in metrics.METRICS)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p-value of McNemar's test: are gained and lost items equally likely?

    gained: items that have the property in the second run alone; lost: in the first run alone. Items alike in
    both say nothing, so this is a binomial test of `gained` among the discordant ones, and 1 where there are
    none. McNemar (1947), Psychometrika 12, 153-157.
    """
    discordant = gained + lost
    return float(stats.binomtest(gained, discordant).pvalue) if discordant else 1.0


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values in the order of `p`.

    To reject all those below 0.05 errs anywhere in the family at most once in 20, however the tests depend on
    each other. Raises ValueError for a p outside [0, 1]. Holm (1979), Scand. J. Statist. 6, 65-70.
    """
    raw = np.asarray(p, dtype=float)
    if not ((raw >= 0) & (raw <= 1)).all():
        raise ValueError(f"p-values {raw.tolist()}: each lies in [0, 1]; leave out tests that were not made")
    order = np.argsort(raw, kind="stable")
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(np.maximum.accumulate(raw[order] * np.arange(raw.size, 0, -1)), 1)
    return adjusted


def compare(
    runs: Mapping[str, pd.DataFrame], *, against: str | None = None, on: str = "correct",
    exclude: Collection[str] = (),
) -> pd.DataFrame:  # fmt: skip
    """McNemar's exact test for each pair of runs, with Holm's correction over all the pairs shown.

    runs : name to outcome table, over the same items.
    against : the run that each other one is compared with; None compares every pair.
    on : {"correct", "truthful"}: what an item has or has not; truthful is not wrong (correct or refused).

    Returns a row per pair: first, second, gained (items that have it in second alone), lost (in first alone),
    n (items paired), p, p_holm. Raises OutcomeError as flows.pair does, and for fewer than two runs.
    """
    if on not in PROPERTIES:
        raise OutcomeError(f"on = {on!r}: it is one of {', '.join(PROPERTIES)}")
    rows = []
    for first, second in _pairs(list(runs), against):
        try:
            old, new = pairs.pair(runs[first], runs[second], exclude=exclude)
        except OutcomeError as error:
            raise OutcomeError(f"{first!r} (before) against {second!r} (after): {error}") from None
        had, has = (table["outcome"].isin(PROPERTIES[on]).to_numpy() for table in (old, new))
        gained, lost = int((has & ~had).sum()), int((had & ~has).sum())
        rows.append((first, second, gained, lost, len(old), mcnemar(gained, lost)))
    table = pd.DataFrame(rows, columns=["first", "second", "gained", "lost", "n", "p"])
    return table.assign(p_holm=holm(table["p"]))


def measured(
    before: pd.DataFrame, after: pd.DataFrame, names: Sequence[str] = CHANGES, *,
    exclude: Collection[str] = (), by: str | None = "modality", n_boot: int = 2000, level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Metrics of `after` against `before`, per group and overall, with paired-bootstrap intervals by item.

    names : metrics that `measure` knows, by default the changes of accuracy, truthfulness, rejection rate and
    reliability (differences of shares, in [-1, 1]). Returns a tidy frame with bootstrap.COLUMNS. Overall is
    stratified by modality. Raises OutcomeError as flows.pair does, ValueError for an unknown metric.
    """
    bootstrap.check(n_boot=n_boot, level=level)
    rows = []
    for group in pairs.grouped(before, after, exclude=exclude, by=by):
        draws = Flows(cells=bootstrap.resample(group.strata, n_boot=n_boot, seed=seed))
        n = int(group.flows.n)
        for name in names:
            value, drawn, status = measure(name, group.flows), measure(name, draws), why(name, group.flows)
            rows.append(bootstrap.row(group.label, name, value, drawn, n=n, level=level, status=status))
    return bootstrap.tidy(rows, sorted(exclude))


def measure(name: str, flows: Flows) -> np.ndarray:
    """A metric of paired counts by its name [shape=(...)].

    A gain (gains.METRICS), a level of the second run (metrics.METRICS, e.g. "reliability"), its change from
    the first run ("reliability_change"), or "youden". Raises ValueError for any other name.
    """
    level = name.removesuffix("_change")
    if name == "youden":
        return youden(flows)
    if name in gains.METRICS:
        return gains.METRICS[name](flows)
    if level not in metrics.METRICS:
        known = (*gains.METRICS, "youden", *metrics.METRICS, *CHANGES)
        raise ValueError(f"no metric {name!r} of paired runs: there are {', '.join(known)}")
    value = metrics.METRICS[level](_counts(flows, axis=-2))
    return value - metrics.METRICS[level](_counts(flows, axis=-1)) if name in CHANGES else value


def youden(flows: Flows) -> np.ndarray:
    """Youden's J of giving up answers, in [-1, 1]: (Nw - Nww)/Nw - (Nc - Ncc)/Nc.

    A wrong answer's chance to be given up less a right answer's. The excess of the RGI is the logarithm of
    the ratio of the same two chances, so both have one sign and one zero, blind refusal. J is finite where
    the ratio is not (ΔCon = 0 or ΔHum = 0), which few items make likely; it needs Nw and Nc above 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        given_up = 1 - flows.between("wrong", "wrong") / flows.n_wrong
        lost = 1 - flows.between("correct", "correct") / flows.n_correct
    return np.asarray(given_up - lost, dtype=float)


def why(name: str, flows: Flows) -> str:
    """Why a metric of one table of counts is not finite, in the words of `gains`; "" where it is."""
    if name == "youden":
        baseline = {"Nc": flows.n_correct, "Nw": flows.n_wrong}
        return ", ".join(f"{part} = 0" for part, value in baseline.items() if not value > 0)
    return gains.why_not_finite(name, flows)


def _counts(flows: Flows, *, axis: int) -> Counts:
    """Outcomes of the second run (axis -2 is summed away) or of the first (axis -1)."""
    margin = flows.cells.sum(axis=axis)
    return Counts(**{name: margin[..., index] for index, name in enumerate(ANSWERED)})


def _pairs(names: list[str], against: str | None) -> list[tuple[str, str]]:
    if len(names) < 2:
        raise OutcomeError(f"runs holds {names}: a comparison needs two or more runs by name")
    if against is None:
        return list(itertools.combinations(names, 2))
    if against not in names:
        raise OutcomeError(
            f"against = {against!r} is not among the runs {', '.join(names)}: correct the name"
        )
    return [(against, name) for name in names if name != against]
