"""Is a method better than chance, and which runs differ: paired tests, random refusal, knowledge quadrants.

In: outcome tables over the same items. Out: a table of tests (`mcnemar_table`), a method beside random refusal
(`random_refusal_baseline`, `beside_nulls`) or beside a control at equal share (`at_equal_share`), knowledge
quadrants (`quadrants`). No model is asked: refusing at random needs none.

Conventions
-----------
Items are paired by id, whatever the order of the rows; unequal sets are refused, and so are failed rows that
are not excluded by name. `unreadable` counts as wrong, as in the paper (arXiv 2505.19294): such a reply is
neither correct nor truthful.

Random refusal is the control of every method that refuses. It refuses as many items of each modality as the
method does, drawn at random among those that the baseline answered, and repeats the baseline's answer to all
others. So it costs right answers and saves wrong ones in proportion to how many there are, and leaves every
other answer unchanged. What a method has beyond it, it has by knowing which of its answers to give up (or, in
ΔCon and ΔHum, by answering anew). Where parts of the items can be told apart without listening, such as questions with
unfamiliar words, blind refusal *within* these parts is the control that says whether anything was heard.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from lalm_utils import bootstrap, metrics, outcomes
from lalm_utils.metrics import Transitions
from lalm_utils.outcomes import Outcome, OutcomeError

__all__ = [
    "PROPERTIES", "QUADRANTS", "at_equal_share", "beside_nulls", "holm", "mcnemar", "mcnemar_table", "quadrants",
    "random_refusal", "random_refusal_baseline",
]  # fmt: skip
PROPERTIES = {"correct": ("correct",), "truthful": ("correct", "refused")}
CONTROLLED = ("rgi", "delta_con", "delta_hum", "reliability", "truthfulness")
LESS_IS_BETTER = ("delta_con", "refusal_con")
KNOWN_KNOWN, UNKNOWN_KNOWN = "known-known", "unknown-known"
KNOWN_UNKNOWN, UNKNOWN_UNKNOWN = "known-unknown", "unknown-unknown"
QUADRANTS = (KNOWN_KNOWN, KNOWN_UNKNOWN, UNKNOWN_KNOWN, UNKNOWN_UNKNOWN)
REFUSED, ANSWERS = (
    2,
    [0, 1, 3],
)  # indices in REPLY_OUTCOMES; answers (right, wrong, unreadable) can be given up


# ---- tests


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


def mcnemar_table(
    runs: Mapping[str, pd.DataFrame], *, against: str | None = None, on: str = "correct",
    exclude: Collection[str] = (),
) -> pd.DataFrame:  # fmt: skip
    """McNemar's exact test for each pair of runs, with Holm's correction over all the pairs shown.

    runs : name to outcome table, over the same items.
    against : the run that each other one is compared with; None compares every pair.
    on : {"correct", "truthful"}: what an item has or has not; truthful is not wrong (correct or refused).

    Returns a row per pair: first, second, gained (items that have it in second alone), lost (in first alone),
    n (items paired), p, p_holm. Raises OutcomeError as metrics.pair does, and for fewer than two runs.
    """
    if on not in PROPERTIES:
        raise OutcomeError(f"on = {on!r}: it is one of {', '.join(PROPERTIES)}")
    rows = []
    for first, second in _pairs(list(runs), against):
        try:
            before, after = metrics.pair(runs[first], runs[second], exclude=exclude)
        except OutcomeError as error:
            raise OutcomeError(f"{first!r} (before) against {second!r} (after): {error}") from None
        had, has = (table["outcome"].isin(PROPERTIES[on]).to_numpy() for table in (before, after))
        gained, lost = int((has & ~had).sum()), int((had & ~has).sum())
        rows.append((first, second, gained, lost, len(before), mcnemar(gained, lost)))
    table = pd.DataFrame(rows, columns=["first", "second", "gained", "lost", "n", "p"])
    return table.assign(p_holm=holm(table["p"]))


# ---- random refusal


def random_refusal(strata: Mapping[str, np.ndarray], *, draws: int, seed: int) -> Transitions:
    """What becomes of a baseline that refuses at random as many items of each modality as a method refuses."""
    cells = np.zeros((draws, 4, 4), int)
    for modality, counts in strata.items():  # the method's counts, before by after
        before, more = counts.sum(axis=1), counts[:, REFUSED].sum() - counts[REFUSED].sum()
        rng = bootstrap.generator(seed, modality)
        # how many right, wrong and unreadable answers are among those refused
        hits = rng.multivariate_hypergeometric(before[ANSWERS], max(int(more), 0), size=draws)
        cells[:, ANSWERS, REFUSED] += hits
        cells[:, ANSWERS, ANSWERS] += before[ANSWERS] - hits
        cells[:, REFUSED, REFUSED] += before[REFUSED]
    return Transitions(cells=cells)


def random_refusal_baseline(
    before: pd.DataFrame, after: pd.DataFrame, names: Sequence[str] = CONTROLLED, *,
    exclude: Collection[str] = (), by: str | None = "modality", strata: Sequence[str] = ("modality",),
    draws: int = 2000, level: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """A method beside random refusal of as many items per modality, over `draws` random choices of them.

    names : metrics that metrics.measure knows. strata : columns of `before` within which as many items are
    refused as the method refuses there. With more than the modality, such as ("modality", "novel"), the control
    knows what the columns tell, and is blind within them. Returns a row per group and metric: group, metric,
    value (the method's), random (mean over the finite draws), low, high (the range that holds `level` of the draws), p,
    refused (items that the method refuses), n, infinite, undefined (draws), status (why value is not finite).
    The range is that of chance on these very items; it is no interval by item.

    p is one-sided, (1 + k)/(1 + draws) with k the draws at least as good as the method: as high, or as low
    for ΔCon. An undefined draw counts as that good; p is empty where the method or all draws are undefined.
    Where a method refuses fewer than the baseline did, nothing is refused beyond the baseline. Raises
    OutcomeError as metrics.pair does, ValueError for an unknown metric.
    """
    bootstrap.check(n_boot=draws, level=level)
    rows = []
    for group in metrics.transition_groups(before, after, exclude=exclude, by=by, strata=strata):
        control = random_refusal(group.strata, draws=draws, seed=seed)
        refused = int(group.counts.cells[:, REFUSED].sum())
        for name in names:
            value, values = float(metrics.measure(name, group.counts)), metrics.measure(name, control)
            low, high, infinite, undefined = bootstrap.percentile(values, level)
            rows.append({
                "group": group.label, "metric": name, "value": value, "random": finite_mean(values), "low": low,
                "high": high, "p": _p(name, value, values), "refused": refused, "n": int(group.counts.n),
                "infinite": infinite, "undefined": undefined,
                "status": metrics.why_not_finite(name, group.counts),
            })  # fmt: skip
    return pd.DataFrame(rows)


def beside_nulls(
    before: pd.DataFrame, after: pd.DataFrame, nulls: Mapping[str, Sequence[str]], *,
    exclude: Collection[str] = (), n_boot: int = 2000, level: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """What a method's refusals have above random refusal, for several kinds of it.

    nulls : a name to the columns within whose parts refusal is blind, such as {"pooled": [], "within strata":
    ["novel", "task", "modality"]}. Columns of bootstrap.COLUMNS, `group` being the null's name; metrics
    refusal_excess (metrics.stratified_excess) and refusal_youden (metrics.stratified_youden). Bootstrap by item,
    each part keeping its number of items; parts of a few items make the interval too narrow. Raises OutcomeError
    as metrics.pair does, and for an unknown column.
    """
    bootstrap.check(n_boot=n_boot, level=level)
    functions = {"refusal_excess": metrics.stratified_excess, "refusal_youden": metrics.stratified_youden}
    rows = []
    for null, columns in nulls.items():
        [group] = metrics.transition_groups(before, after, exclude=exclude, by=None, strata=columns)
        data = [Transitions(cells=cells) for cells in group.strata.values()]
        draws = [
            Transitions(cells=bootstrap.resample({name: cells}, n_boot=n_boot, seed=seed))
            for name, cells in group.strata.items()
        ]
        for name, function in functions.items():
            options = {
                "n": int(group.counts.n),
                "level": level,
                "status": metrics.why_not_finite(name, group.counts),
            }
            rows.append(bootstrap.row(null, name, function(data, data), function(draws, draws), **options))
    return bootstrap.tidy(rows, sorted(outcomes.as_ids(exclude)))


def at_equal_share(
    before: pd.DataFrame, run: pd.DataFrame, control: pd.DataFrame, *,
    exclude: Collection[str] = (), n_boot: int = 2000, level: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Youden's J of the refusals of a run and of a control that refuses another number, at the smaller share of both.

    The one that refuses more takes refusals back at random (metrics.youden_at_share). Columns of
    bootstrap.COLUMNS; groups "run", "control" and "run - control", metric refusal_youden. Paired bootstrap by
    item, stratified by modality; the share is the smaller one of each resample. Raises OutcomeError as
    metrics.pair does.
    """
    bootstrap.check(n_boot=n_boot, level=level)
    codes = [metrics.pair_codes(before, table, exclude=exclude) for table in (run, control)]
    joint = 4 * codes[0] + codes[1].loc[codes[0].index] % 4  # before, run, control
    modality = before.set_index("item").loc[joint.index, "modality"]
    strata = {
        str(name): np.bincount(rows, minlength=64).reshape(4, 4, 4) for name, rows in joint.groupby(modality)
    }
    data, draws = sum(strata.values()), bootstrap.resample(strata, n_boot=n_boot, seed=seed)
    values, resamples = _equal_share(data), _equal_share(draws)
    rows = [
        bootstrap.row(name, "refusal_youden", values[name], resamples[name], n=len(joint), level=level)
        for name in values
    ]
    return bootstrap.tidy(rows, sorted(outcomes.as_ids(exclude)))


def _equal_share(cells: np.ndarray) -> dict[str, metrics.Value]:
    """J of run, control and their difference; cells [shape=(..., before, run, control)]."""
    sides = {"run": Transitions(cells=cells.sum(axis=-1)), "control": Transitions(cells=cells.sum(axis=-2))}
    share = np.minimum(*(metrics.refusal_share(pairs, pairs) for pairs in sides.values()))
    values = {name: metrics.youden_at_share(pairs, pairs, share) for name, pairs in sides.items()}
    return values | {"run - control": values["run"] - values["control"]}


def finite_mean(values: np.ndarray) -> float:
    """The mean of the finite values, NaN where there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else np.nan


# ---- knowledge quadrants


def quadrants(
    labels: pd.Series, table: pd.DataFrame, *, exclude: Collection[str] = (), by: str | None = "modality",
    level: float = 0.95,
) -> pd.DataFrame:  # fmt: skip
    """Knowledge quadrants (Cheng et al. 2024, arXiv 2401.13275): what a model knows, and knows that it knows.

    labels : True or False by item id: does the model know the answer, by the K@N label of its samples? The
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
    label = _labels(labels, table["item"])
    refused = table["outcome"].eq(Outcome.REFUSED)
    answers = table["outcome"].map({"correct": KNOWN_KNOWN}).fillna(UNKNOWN_UNKNOWN)
    quadrant = answers.mask(refused & label, UNKNOWN_KNOWN).mask(refused & ~label, KNOWN_UNKNOWN)
    rows = []
    for group, part in outcomes.groups(table.assign(_quadrant=quadrant), by):
        for name in QUADRANTS:
            count, n = int((part["_quadrant"] == name).sum()), len(part)
            rows.append((group, name, count, count / n, *bootstrap.wilson(count, n, level), n))
    return pd.DataFrame(rows, columns=["group", "quadrant", "count", "share", "low", "high", "n"])


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


def _p(name: str, value: float, values: np.ndarray) -> float:
    undefined = np.isnan(values)
    if np.isnan(value) or undefined.all():
        return np.nan
    # A draw that equals the method but for rounding is as good.
    slack = 1e-12
    as_good = values <= value + slack if name in LESS_IS_BETTER else values >= value - slack
    return float((1 + (as_good | undefined).sum()) / (1 + values.size))


def _labels(labels: pd.Series, ids: pd.Series) -> pd.Series:
    """The label of each row, as bool, in the rows' order."""
    if labels.index.has_duplicates:
        raise OutcomeError(
            f"item {labels.index[labels.index.duplicated()][0]!r} has more than one label: keep one"
        )
    missing = sorted(set(ids) - set(labels.index))
    if missing:
        raise OutcomeError(
            f"{len(missing)} items have no label, e.g. {missing[:3]}: sample the model on them, or leave them "
            "out by name with exclude=[...]"
        )
    label = labels.reindex(ids).set_axis(ids.index)
    strange = [value for value in label.unique() if not isinstance(value, bool | np.bool_)]
    if strange:
        raise OutcomeError(f"label {strange[0]!r} is neither True nor False: say known or not, by item")
    return label.astype(bool)
