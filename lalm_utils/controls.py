"""What blind refusal would have done in a method's place, and what a model knew of what it refused.

In: outcome tables. Out: outcome tables of the control (`refuse_at_random`), a method beside its control
(`matched_random`), knowledge quadrants (`quadrants`). No model is asked: refusing blindly needs none.

The control refuses as many items of each modality as the method does, drawn at random among those that the
baseline answered, and repeats the baseline's answer to all others. So it costs right answers and saves wrong
ones in proportion to how many there are, and stirs no answer. What a method has beyond it, it has by knowing
which of its answers to give up (or, in ΔCon and ΔHum, by answering anew).
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from lalm_utils import bootstrap, outcomes, paired
from lalm_utils.flows import ANSWERED, Flows, grouped
from lalm_utils.outcomes import Outcome, OutcomeError

METRICS = ("rgi", "delta_con", "delta_hum", "reliability", "truthfulness")
LESS_IS_BETTER = ("delta_con", "refusal_con")
KNOWN_KNOWN, UNKNOWN_KNOWN = "known-known", "unknown-known"
KNOWN_UNKNOWN, UNKNOWN_UNKNOWN = "known-unknown", "unknown-unknown"
QUADRANTS = (KNOWN_KNOWN, KNOWN_UNKNOWN, UNKNOWN_KNOWN, UNKNOWN_UNKNOWN)
_GIVEN = [0, 1, 3]  # places in ANSWERED of what can be given up: correct, wrong, unreadable


def refuse_at_random(baseline: pd.DataFrame, *, share: float, seed: int = 0, draws: int = 1) -> pd.DataFrame:
    """The baseline's outcome table with items refused at random until `share` of each modality is.

    share : in [0, 1], of all items of a modality, rounded to whole items. What the baseline refused stays
    refused and counts towards it. Other items keep the baseline's reply.
    draws : that many runs below one another, told apart by the column `seed` (seed, seed + 1, ...); one run
    is what the metrics take.

    Which items are drawn depends on the seed, the modality and the ids, not on the order of the rows. Raises
    OutcomeError as outcomes.scorable does, and ValueError for a share outside [0, 1] or fewer than one draw.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share = {share}: the share of items to refuse lies in [0, 1]")
    if draws < 1:
        raise ValueError(f"draws = {draws}: at least one run is needed")
    outcomes.scorable(baseline)
    runs = []
    for number in range(seed, seed + draws):
        refused = set()
        for modality, rows in baseline.groupby("modality"):
            refused |= _drawn(rows, share, _rng(number, str(modality)))
        runs.append(_refused(baseline, refused).assign(method="random refusal", seed=number))
    return pd.concat(runs, ignore_index=True)


def matched_random(
    before: pd.DataFrame, after: pd.DataFrame, names: Sequence[str] = METRICS, *,
    exclude: Collection[str] = (), by: str | None = "modality", draws: int = 2000, level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """A method beside blind refusal of as many items per modality, over `draws` random choices of them.

    names : metrics that paired.measure knows. Returns a row per group and metric: group, metric, value (the
    method's), blind (mean over the finite draws), low, high (the range that holds `level` of the draws), p,
    refused (items that the method refuses), n, infinite, undefined (draws), status (why value is not finite).
    The range is that of chance on these very items; it is no interval by item.

    p is one-sided, (1 + k)/(1 + draws) with k the draws at least as good as the method: as high, or as low
    for ΔCon. An undefined draw counts as that good; p is empty where the method or all draws are undefined.
    Where a method refuses fewer than the baseline did, nothing is refused beyond the baseline. Raises
    OutcomeError as flows.pair does, ValueError for an unknown metric.
    """
    bootstrap.check(n_boot=draws, level=level)
    rows = []
    for group in grouped(before, after, exclude=exclude, by=by):
        blind = blind_flows(group.strata, draws=draws, seed=seed)
        refused = int(group.flows.cells[:, 2].sum())
        for name in names:
            value, drawn = float(paired.measure(name, group.flows)), paired.measure(name, blind)
            low, high, infinite, undefined = bootstrap.percentile(drawn, level)
            rows.append({
                "group": group.label, "metric": name, "value": value, "blind": _mean(drawn), "low": low,
                "high": high, "p": _p(name, value, drawn), "refused": refused, "n": int(group.flows.n),
                "infinite": infinite, "undefined": undefined, "status": paired.why(name, group.flows),
            })  # fmt: skip
    return pd.DataFrame(rows)


def blind_flows(strata: Mapping[str, np.ndarray], *, draws: int, seed: int) -> Flows:
    """Flows from a baseline to blind refusal of as many items per stratum as the method refuses there.

    strata : a name (a modality) to the method's counts, before by after [shape=(4, 4)], as in flows.Group.
    Returns Flows with cells [shape=(draws, 4, 4)]. How many right, wrong and unreadable answers a blind choice
    hits is multivariate hypergeometric, and is drawn as that.
    """
    total = np.zeros((draws, len(ANSWERED), len(ANSWERED)), int)
    for name, cells in strata.items():
        before, more = cells.sum(axis=1), cells[:, 2].sum() - cells[2].sum()
        hit = _rng(seed, name).multivariate_hypergeometric(before[_GIVEN], max(int(more), 0), size=draws)
        total[:, _GIVEN, 2] += hit
        total[:, _GIVEN, _GIVEN] += before[_GIVEN] - hit
        total[:, 2, 2] += before[2]
    return Flows(cells=total)


def quadrants(
    known: pd.Series, table: pd.DataFrame, *, exclude: Collection[str] = (), by: str | None = "modality",
    level: float = 0.95,
) -> pd.DataFrame:  # fmt: skip
    """Knowledge quadrants (Cheng et al. 2024, arXiv 2401.13275): what a model knows, and knows that it knows.

    known : True or False by item id: does the model know the answer, by the K@N label of its samples? The
    label decides about refusals alone; what was answered was known if it was right:

        known-known      answered right
        known-unknown    refused, and not known: a good refusal
        unknown-known    refused, although known: a bad refusal
        unknown-unknown  answered wrong, or unreadable

    Cheng et al. call known-known and known-unknown truthful; the truthfulness of metrics.py counts refusals of
    what was known as well. Returns a row per group and quadrant: group, quadrant, count, share (of the group's
    items), low, high (Wilson), n. Raises OutcomeError as outcomes.scorable does, and for labels that are
    missing, doubled or no truth values.
    """
    table = outcomes.scorable(table, exclude=exclude)
    label = _labels(known, table["item"])
    refused = table["outcome"].eq(Outcome.REFUSED)
    answered = table["outcome"].map({"correct": KNOWN_KNOWN}).fillna(UNKNOWN_UNKNOWN)
    found = answered.mask(refused & label, UNKNOWN_KNOWN).mask(refused & ~label, KNOWN_UNKNOWN)
    rows = []
    for group, part in outcomes.groups(table.assign(_quadrant=found), by):
        for name in QUADRANTS:
            count, n = int((part["_quadrant"] == name).sum()), len(part)
            rows.append((group, name, count, count / n, *bootstrap.wilson(count, n, level), n))
    return pd.DataFrame(rows, columns=["group", "quadrant", "count", "share", "low", "high", "n"])


def _rng(seed: int, name: str) -> np.random.Generator:
    # As in bootstrap.resample: a stratum's draws depend on the seed and its own name alone.
    return np.random.default_rng([seed, zlib.crc32(name.encode("utf-8", "surrogatepass"))])


def _drawn(rows: pd.DataFrame, share: float, rng: np.random.Generator) -> set[str]:
    """Ids of the rows to refuse beyond those refused already."""
    open_ = sorted(rows.loc[rows["outcome"] != Outcome.REFUSED, "item"])
    more = round(share * len(rows)) - (len(rows) - len(open_))
    return set(rng.choice(np.array(open_, dtype=object), size=max(more, 0), replace=False))


def _refused(table: pd.DataFrame, ids: set[str]) -> pd.DataFrame:
    """The table with these items refused; a reply that was never given is left empty."""
    hit = table["item"].isin(ids)
    new = {"outcome": Outcome.REFUSED.value, "reply": "", "choice": pd.NA}
    return table.assign(**{name: table[name].mask(hit, to) for name, to in new.items() if name in table})


def _mean(drawn: np.ndarray) -> float:
    finite = drawn[np.isfinite(drawn)]
    return float(finite.mean()) if finite.size else np.nan


def _p(name: str, value: float, drawn: np.ndarray) -> float:
    undefined = np.isnan(drawn)
    if np.isnan(value) or undefined.all():
        return np.nan
    # Where a draw equals the method but for rounding it is as good.
    slack = 1e-12
    as_good = drawn <= value + slack if name in LESS_IS_BETTER else drawn >= value - slack
    return float((1 + (as_good | undefined).sum()) / (1 + drawn.size))


def _labels(known: pd.Series, ids: pd.Series) -> pd.Series:
    """The label of each row, as bool, in the rows' order."""
    if known.index.has_duplicates:
        raise OutcomeError(
            f"item {known.index[known.index.duplicated()][0]!r} has more than one label: keep one"
        )
    missing = sorted(set(ids) - set(known.index))
    if missing:
        raise OutcomeError(
            f"{len(missing)} items have no label, e.g. {missing[:3]}: sample the model on them, or leave them "
            "out by name with exclude=[...]"
        )
    label = known.reindex(ids).set_axis(ids.index)
    strange = [value for value in label.unique() if not isinstance(value, bool | np.bool_)]
    if strange:
        raise OutcomeError(f"label {strange[0]!r} is neither True nor False: say known or not, by item")
    return label.astype(bool)
