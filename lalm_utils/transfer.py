"""Is what an adapter learned on one modality of use on another? Matrices, means and differences of gains.

In: the baseline's outcome table, and outcome tables of adapters by the modality they were trained on, one per
training seed, all over the same items. Out: tidy tables. Nothing is trained or asked here.

Conventions
-----------
Tests are by modality; an item's modality is what it is *tested on*. A cell is (trained_on, tested_on); it is
"in" domain where the two agree (or the tested mix contains the trained modality), else "out".

Intervals are percentile-bootstrap and paired throughout: the items of a modality are drawn with replacement, and
one draw serves the baseline and every run, so that a mean over runs or a difference of two is made inside each
resample (`BootstrapEstimate`). Modalities are drawn independently. A metric's value is its mean over the training
seeds, and its interval says what other items *and* other seeds would give: the seeds are resampled, too, one draw
for all items (`bootstrap.seed_draws`). Runs of two families with as many seeds share it, as the i-th of both began
alike. A single training has no such part: its interval is by item alone, as in the rows of single seeds.

As in metrics.py, an RGI may be infinite or undefined, in the data (`status` says why, and there is no interval)
or in a resample (infinite ones keep their place in the order, undefined ones are left out; both are counted).
A mean over seeds, adapters or modalities is not finite as soon as one of its parts is not. Where that happens
"youden" (metrics.youden_j), which has the sign and the zero of the RGI's excess, is still finite.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lalm_utils import bootstrap, comparison, metrics, outcomes
from lalm_utils.metrics import Transitions
from lalm_utils.outcomes import OutcomeError

__all__ = [
    "AT_EQUAL_SHARE", "METRICS", "WITHIN_PARTS", "BootstrapEstimate", "Cell", "Runs", "against_control",
    "beside_controls", "cells", "matrix", "mean", "out_of_domain", "pool", "pooled_differences", "pooled_metrics",
    "route_tables", "routes",
]  # fmt: skip
METRICS = ("rgi", "rgi_excess", "delta_con", "delta_hum", "reliability")
IDK, SHUFFLED, RANDOM = "IDK labels", "shuffled labels", "random refusal"
AT_EQUAL_SHARE = "refusal_youden_at_equal_share"  # a metric of two families
WITHIN_PARTS = "refusal_youden_within_parts"  # above blind refusal within each part and modality
NULLS = {"rgi": "rgi_null", "refusal_rgi": "rgi_null"}  # the metrics whose null moves with the baseline
NULL_ZERO = ("rgi_excess", "refusal_excess", "youden", "refusal_youden")  # those whose null is zero
Runs = Mapping[str, Sequence[pd.DataFrame]]  # modality trained on to outcome tables, one per training seed
Run = tuple[str, str, int]  # family, modality trained on, training seed (its index in the list)


# ---- metrics with their resamples


@dataclass(frozen=True, kw_only=True)
class BootstrapEstimate:
    """A metric on the data (index 0) and on each resample [shape=(1 + n_boot,)].

    status : why it is not finite, or ""; is_share : whether it is a share of the items, or a mean of such.
    """

    values: np.ndarray
    status: str = ""
    is_share: bool = False

    def __sub__(self, other: BootstrapEstimate) -> BootstrapEstimate:
        with np.errstate(invalid="ignore"):
            return BootstrapEstimate(values=self.values - other.values, status=_join_status([self, other]))

    def row(self, name: str, n: int, level: float) -> dict:
        """The columns of bootstrap.COLUMNS without `group`."""
        status = "" if np.isfinite(self.values[0]) else self.status
        options = {"level": level, "status": status, "maximum": 1.0 if self.is_share else None}
        row = bootstrap.row("", name, self.values[0], self.values[1:], n=n, **options)
        return {key: value for key, value in row.items() if key != "group"}


def mean(parts: Sequence[BootstrapEstimate], draws: np.ndarray | None = None) -> BootstrapEstimate:
    """The mean within each resample; not finite as soon as one part is not (inf - inf is NaN).

    draws : which of the parts each resample takes, from bootstrap.seed_draws; None takes all of them.
    """
    values = np.array([part.values for part in parts])
    with np.errstate(invalid="ignore"):
        value = values[:, 0].mean()
        if draws is not None:
            values = values[draws, np.arange(1, values.shape[1])[:, None]].T
        else:
            values = values[:, 1:]
        values = np.append(value, values.mean(axis=0))
    is_share = all(part.is_share for part in parts)
    return BootstrapEstimate(values=values, status=_join_status(parts), is_share=is_share)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The items of one modality (and part): what each run did with them, on the data and on each resample.

    n : the number of items; transitions : run to counts from the baseline to it, cells
    [shape=(1 + n_boot, 4, 4)], of which index 0 is the data; seed : of the resamples.
    """

    part: str
    tested_on: str
    n: int
    transitions: Mapping[Run, Transitions]
    seed: int = 0

    def labels(self, trained: str) -> dict[str, str]:
        """The columns that name a row: part, trained_on, tested_on, domain (in or out)."""
        inside = trained == self.tested_on or trained in self.tested_on.removeprefix("mix-").split("-")
        names = {"part": self.part, "trained_on": trained, "tested_on": self.tested_on}
        return names | {"domain": "in" if inside else "out"}

    def seeds(self, family: str) -> dict[str, list[int]]:
        """Modality trained on to the training seeds of its runs in `family`."""
        seeds: dict[str, list[int]] = {}
        for name, trained, seed in self.transitions:
            if name == family:
                seeds.setdefault(trained, []).append(seed)
        return seeds

    def estimate(self, run: Run, name: str) -> BootstrapEstimate:
        """A metric of one run, by a name that metrics.measure knows."""
        counts = self.transitions[run]
        status = metrics.why_not_finite(name, Transitions(cells=counts.cells[0]))
        values = np.asarray(metrics.measure(name, counts), dtype=float)
        return BootstrapEstimate(values=values, status=status, is_share=name in metrics.SHARES)

    def means(self, family: str, name: str) -> dict[str, BootstrapEstimate]:
        """Modality trained on to the metric's mean over the training seeds."""
        return {
            trained: self.mean_of_seeds(
                trained, [self.estimate((family, trained, seed), name) for seed in seeds]
            )
            for trained, seeds in self.seeds(family).items()
        }

    def mean_of_seeds(self, trained: str, each: Sequence[BootstrapEstimate]) -> BootstrapEstimate:
        """The mean over the training seeds of one adapter, which are resampled alike on all items."""
        n_boot = len(each[0].values) - 1
        return mean(each, bootstrap.seed_draws(len(each), n_boot=n_boot, seed=self.seed, name=trained))

    def at_equal_share(self, families: Sequence[str], trained: str) -> list[BootstrapEstimate]:
        """J of the refusals of several families, each taken back at random to the smallest mean share of them.

        Shares and J are means over the training seeds, those that a resample takes. A family takes back the same part
        of the refusals of all its seeds: one that refuses little would keep them, and the mean end below the target.
        """

        def means(metric: Callable[[Transitions, Transitions], metrics.Value], family: str) -> np.ndarray:
            runs = [self.transitions[family, trained, seed] for seed in self.seeds(family)[trained]]
            each = [BootstrapEstimate(values=metric(run, run)) for run in runs]
            return self.mean_of_seeds(trained, each).values

        shares = [means(metrics.refusal_share, family) for family in families]
        stays = [
            np.min(shares, axis=0) / np.maximum(share, 1e-12) for share in shares
        ]  # of each refusal, the chance
        return [
            BootstrapEstimate(values=means(metrics.refusal_youden_j, family) * stay)
            for family, stay in zip(families, stays, strict=True)
        ]

    def null(self, run: Run, name: str) -> float:
        """What random refusal gives on these items; NaN for a metric without a null."""
        if name in NULLS:
            return float(self.estimate(run, NULLS[name]).values[0])
        return 0.0 if name in NULL_ZERO else np.nan

    def random_refusal(self, run: Run, name: str, *, draws: int, seed: int) -> np.ndarray:
        """The metric under random refusal of as many items as `run` refuses [shape=(draws,)]."""
        strata = {self.tested_on: self.transitions[run].cells[0]}
        control = comparison.random_refusal(strata, draws=draws, seed=seed)
        return np.asarray(metrics.measure(name, control), float)


def cells(
    families: Mapping[str, Runs], baseline: pd.DataFrame, *, by: str | None, exclude: Collection[str],
    n_boot: int, level: float, seed: int,
) -> Iterator[Cell]:  # fmt: skip
    """One Cell per part (value of column `by`; "all" for None) and modality, in the papers' order.

    Resamples depend on the seed, the modality and the ids, not on the order of the rows or on which runs are
    given. Raises OutcomeError as metrics.pair does, for runs without tables and for an unknown column `by`.
    """
    bootstrap.check(n_boot=n_boot, level=level)
    codes = _codes(families, baseline, exclude)
    paired = baseline[baseline["item"].isin(codes.index)].sort_values("item").set_index("item", drop=False)
    parts = [("all", paired)] if by is None else list(outcomes.groups(paired, by))[:-1]
    for label, rows in parts:
        for modality, items in list(outcomes.groups(rows))[:-1]:
            resamples = bootstrap.resample({modality: np.ones(len(items), int)}, n_boot=n_boot, seed=seed)
            weights = np.vstack([np.ones((1, len(items))), resamples])
            transitions = {run: _count(codes.loc[items.index, run].to_numpy(), weights) for run in codes}
            yield Cell(part=label, tested_on=modality, n=len(items), transitions=transitions, seed=seed)


def pool(cells: Sequence[Cell]) -> Cell:
    """The cells of one part as one over all their items: the resamples of the modalities add up.

    The modalities are drawn apart, so the pooled resamples are stratified by modality.
    """
    first, transitions = cells[0], {}
    for run in first.transitions:
        transitions[run] = Transitions(cells=np.sum([cell.transitions[run].cells for cell in cells], axis=0))
    n = sum(cell.n for cell in cells)
    return Cell(part=first.part, tested_on="overall", n=n, transitions=transitions, seed=first.seed)


# ---- tables


def matrix(
    baseline: pd.DataFrame, runs: Runs, names: Sequence[str] = METRICS, *, by: str | None = None,
    exclude: Collection[str] = (), n_boot: int = 2000, level: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Every metric of every adapter on every modality, per training seed and as their mean.

    runs : modality trained on to outcome tables, one per training seed.
    names : metrics that metrics.measure knows.
    by : a further column of the baseline to split the items by, e.g. "novel"; None keeps them together.

    Returns a tidy frame: part (the value of column `by`, or "all"), trained_on, tested_on, domain (in, out),
    seed (index of the table in its list, or "mean"), metric, value, low, high, null (what random refusal gives,
    empty where the metric has no null), n (items), infinite, undefined (resamples), status. Raises
    OutcomeError as metrics.pair does, for runs without tables, and for an unknown column `by`.
    """
    options = {"by": by, "exclude": exclude, "n_boot": n_boot, "level": level, "seed": seed}
    rows = []
    for cell in cells({IDK: runs}, baseline, **options):
        for trained, seeds in cell.seeds(IDK).items():
            for name in names:
                each = {str(index): cell.estimate((IDK, trained, index), name) for index in seeds}
                null = cell.null((IDK, trained, seeds[0]), name)
                whole = cell.mean_of_seeds(trained, list(each.values()))
                for label, estimate in (each | {"mean": whole}).items():
                    labels = {**cell.labels(trained), "seed": label, "null": null}
                    rows.append(labels | estimate.row(name, cell.n, level))
    return _frame(rows, "part trained_on tested_on domain seed metric value low high null n")


def out_of_domain(
    baseline: pd.DataFrame, runs: Runs, names: Sequence[str] = METRICS, *, by: str | None = None,
    exclude: Collection[str] = (), n_boot: int = 2000, level: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Per tested modality: the adapters trained on other modalities, averaged, beside its own, and in - out.

    The paper's LoRA row appears to be such an average of two adapters. Arguments and errors as `matrix`.
    Returns a tidy frame: part, tested_on (a modality, or "overall": the mean of the modalities, as in the
    paper's total), domain ("in", "out", or "in - out"), metric, value, low, high, n, infinite, undefined,
    status. A modality without an adapter in or out of domain has no such row, and enters no such mean.
    """
    options = {"by": by, "exclude": exclude, "n_boot": n_boot, "level": level, "seed": seed}
    rows = []
    for part, tested in _by_part(cells({IDK: runs}, baseline, **options)).items():
        for name in names:
            by_modality = {
                cell.tested_on: (_by_domain(cell, cell.means(IDK, name)), cell.n) for cell in tested
            }
            for tested_on, (domains, n) in (by_modality | {"overall": _overall(by_modality)}).items():
                for domain, estimate in domains.items():
                    labels = {"part": part, "tested_on": tested_on, "domain": domain}
                    rows.append(labels | estimate.row(name, n, level))
    return _frame(rows, "part tested_on domain metric value low high n")


def against_control(
    baseline: pd.DataFrame, runs: Runs, control: Runs, names: Sequence[str] = METRICS, *,
    by: str | None = None, exclude: Collection[str] = (), n_boot: int = 2000, level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Adapter less control, per cell and on average over the cells of a domain, on the same items.

    control : as `runs`: adapters trained on shuffled labels, or any other runs under the same names. Numbers
    of seeds may differ; each side is averaged over its own. Names that one side lacks are refused. names : metrics
    that metrics.measure knows, or AT_EQUAL_SHARE: Youden's J of refusals with both sides refusing equally often.

    Returns a tidy frame: part, trained_on, tested_on, domain, metric, value (the difference), low, high, n,
    infinite, undefined, status. Rows with trained_on "mean" and tested_on "overall" average the cells of their
    domain: within each tested modality first, then over the modalities.
    """
    _refuse_unequal(runs, control)
    options = {"by": by, "exclude": exclude, "n_boot": n_boot, "level": level, "seed": seed}
    rows = []
    for part, tested in _by_part(cells({IDK: runs, SHUFFLED: control}, baseline, **options)).items():
        for name in names:
            by_modality = {}
            for cell in tested:
                differences = {trained: left - right for trained, (left, right) in _sides(cell, name).items()}
                for trained, difference in differences.items():
                    rows.append(cell.labels(trained) | difference.row(name, cell.n, level))
                by_modality[cell.tested_on] = (_by_domain(cell, differences), cell.n)
            domains, n = _overall(by_modality)
            for domain in [domain for domain in ("in", "out") if domain in domains]:
                labels = {"part": part, "trained_on": "mean", "tested_on": "overall", "domain": domain}
                rows.append(labels | domains[domain].row(name, n, level))
    return _frame(rows, "part trained_on tested_on domain metric value low high n")


def pooled_metrics(
    baseline: pd.DataFrame, runs: Runs, names: Sequence[str], *, by: str | None = None,
    exclude: Collection[str] = (), n_boot: int = 2000, level: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Every metric of every run over all items together, as the mean of its training seeds.

    runs : a name (a method, a setting) to outcome tables, one per training seed; a method that is not trained has one.
    names : metrics that metrics.measure knows, or WITHIN_PARTS: Youden's J of refusals above that of refusing as many
    at random within each part and modality. by : as in `matrix`; the part "all" is given besides.

    Returns part, run, metric, value, low, high, n, infinite, undefined, status. Raises OutcomeError as `matrix`.
    """
    options = {"exclude": exclude, "n_boot": n_boot, "level": level, "seed": seed}
    whole = _by_part(cells({IDK: runs}, baseline, by=None, **options))
    parts = _by_part(cells({IDK: runs}, baseline, by=by, **options)) if by else whole
    rows = []
    for part, some in (whole | parts).items():
        cell, strata = pool(some), some if part in parts else [*itertools.chain(*parts.values())]
        for run, name in itertools.product(runs, names):
            if name == WITHIN_PARTS:
                each = [_within(strata, (IDK, run, number)) for number in cell.seeds(IDK)[run]]
                estimate = cell.mean_of_seeds(run, each)
            else:
                estimate = cell.means(IDK, name)[run]
            rows.append({"part": part, "run": run} | estimate.row(name, cell.n, level))
    return _frame(rows, "part run metric value low high n")


def pooled_differences(
    baseline: pd.DataFrame, runs: Runs, control: Runs, names: Sequence[str], *, by: str | None = None,
    exclude: Collection[str] = (), n_boot: int = 2000, level: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Every run less every control over all items together, in the columns of `pooled_metrics` and one more: less.

    names : as in `pooled_metrics`, or AT_EQUAL_SHARE. Runs and controls with as many training seeds share their draw.
    """
    options = {"by": by, "exclude": exclude, "n_boot": n_boot, "level": level, "seed": seed}
    rows = []
    for (run, tables), (other, others) in itertools.product(runs.items(), control.items()):
        families = {IDK: {"": tables}, SHUFFLED: {"": others}}
        for part, some in _by_part(cells(families, baseline, **options)).items():
            cell = pool(some)
            for name in names:
                left, right = _sides(cell, name)[""]
                labels = {"part": part, "run": run, "less": other}
                rows.append(labels | (left - right).row(name, cell.n, level))
    return _frame(rows, "part run less metric value low high n")


def beside_controls(
    baseline: pd.DataFrame, runs: Runs, control: Runs, name: str = "rgi_excess", *,
    exclude: Collection[str] = (), n_boot: int = 2000, level: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """One metric of each cell under IDK labels, shuffled labels and random refusal: what transfer_control draws.

    Returns trained_on, tested_on, domain, kind ("IDK labels", "shuffled labels", "random refusal"), metric,
    value, low, high, n, infinite, undefined, status. Random refusal refuses as many items as each seed's
    adapter: its value is the mean over the finite draws, its range that of chance on these very items (see
    comparison.random_refusal_baseline), and its status is empty.
    """
    _refuse_unequal(runs, control)
    options = {"by": None, "exclude": exclude, "n_boot": n_boot, "level": level, "seed": seed}
    rows = []
    for cell in cells({IDK: runs, SHUFFLED: control}, baseline, **options):
        for trained, seeds in cell.seeds(IDK).items():
            kinds = {
                kind: cell.means(kind, name)[trained].row(name, cell.n, level) for kind in (IDK, SHUFFLED)
            }
            kinds[RANDOM] = _random_row(cell, trained, seeds, name, options)
            rows += [cell.labels(trained) | {"kind": kind} | row for kind, row in kinds.items()]
    return _frame(rows, "trained_on tested_on domain kind metric value low high n")


def route_tables(runs: Runs, route: Mapping[str, str], *, index: int = 0) -> pd.DataFrame:
    """One outcome table in which each modality is answered by one adapter: route[tested_on] = trained_on.

    The rows are those of runs[trained_on][index]. So a test that needs one run (comparison.mcnemar_table) can be
    made of adapters out of their domain, e.g. {"sound": "music", "music": "speech", "speech": "sound"}. Raises
    OutcomeError for an adapter or a seed that `runs` lacks, and if no row is left.
    """
    for trained in route.values():
        if trained not in runs or index >= len(runs[trained]):
            available = ", ".join(f"{name} ({len(tables)} seeds)" for name, tables in runs.items())
            raise OutcomeError(f"no adapter {trained!r}, seed {index}: there are {available}")
    parts = [(tested, runs[trained][index]) for tested, trained in route.items()]
    rows = pd.concat([table[table["modality"] == tested] for tested, table in parts], ignore_index=True)
    if rows.empty:
        raise OutcomeError(f"no item is of the modalities {', '.join(route)}: correct the route")
    return rows


def routes(runs: Runs) -> list[dict[str, str]]:
    """Every way to have each modality answered by another's adapter, for `route_tables`: one fewer than adapters."""
    names = list(runs)
    return [
        {name: names[(index + step) % len(names)] for index, name in enumerate(names)}
        for step in range(1, len(names))
    ]


# ---- helpers


def _codes(families: Mapping[str, Runs], baseline: pd.DataFrame, exclude: Collection[str]) -> pd.DataFrame:
    """metrics.pair_codes of every run: a row per item, a column per run."""
    columns = {}
    for family, runs in families.items():
        _refuse_no_tables(runs)
        for trained, tables in runs.items():
            for seed, table in enumerate(tables):
                try:
                    columns[family, trained, seed] = metrics.pair_codes(baseline, table, exclude=exclude)
                except OutcomeError as error:
                    raise OutcomeError(f"trained on {trained!r}, seed {seed}: {error}") from None
    return pd.DataFrame(columns)


def _count(codes: np.ndarray, weights: np.ndarray) -> Transitions:
    """Pairs of outcomes, counted with the weights of each row [shape=(1 + n_boot, n)]."""
    return Transitions(cells=(weights @ np.eye(16)[codes]).astype(int).reshape(-1, 4, 4))


def _refuse_no_tables(runs: Runs) -> None:
    if not runs:
        raise OutcomeError("runs is empty: give the outcome tables of at least one adapter")
    for trained, tables in runs.items():
        if isinstance(tables, pd.DataFrame) or not len(tables):
            what = "one table" if isinstance(tables, pd.DataFrame) else "empty"
            raise OutcomeError(
                f"runs[{trained!r}] is {what}: give a list of outcome tables, one per training seed"
            )


def _refuse_unequal(runs: Runs, control: Runs) -> None:
    if set(runs) != set(control):
        raise OutcomeError(
            f"adapters trained on {', '.join(runs)}, but controls on {', '.join(control)}: give one for each"
        )


def _sides(cell: Cell, name: str) -> dict[str, list[BootstrapEstimate]]:
    """Modality trained on to the metric of the adapter and of its control."""
    if name == AT_EQUAL_SHARE:
        return {trained: cell.at_equal_share((IDK, SHUFFLED), trained) for trained in cell.seeds(IDK)}
    adapter, control = cell.means(IDK, name), cell.means(SHUFFLED, name)
    return {trained: [adapter[trained], control[trained]] for trained in adapter}


def _within(cells: Sequence[Cell], run: Run) -> BootstrapEstimate:
    """WITHIN_PARTS of one run: each cell is a stratum of blind refusal.

    Parts of one modality have the same stream of draws: turning each against the others makes them independent.
    """
    counts = [cell.transitions[run].cells for cell in cells]
    rotations = [np.concatenate([each[:1], np.roll(each[1:], k, axis=0)]) for k, each in enumerate(counts)]
    strata = [Transitions(cells=each) for each in rotations]
    return BootstrapEstimate(values=np.asarray(metrics.stratified_youden(strata, strata), float))


def _by_part(cells: Iterator[Cell]) -> dict[str, list[Cell]]:
    parts: dict[str, list[Cell]] = {}
    for cell in cells:
        parts.setdefault(cell.part, []).append(cell)
    return parts


def _by_domain(cell: Cell, estimates: Mapping[str, BootstrapEstimate]) -> dict[str, BootstrapEstimate]:
    """The estimates of one tested modality averaged by domain, and in - out where there are both."""
    sides: dict[str, list[BootstrapEstimate]] = {}
    for trained, value in estimates.items():
        sides.setdefault(cell.labels(trained)["domain"], []).append(value)
    means = {domain: mean(sides[domain]) for domain in ("in", "out") if domain in sides}
    return means | ({"in - out": means["in"] - means["out"]} if len(means) == 2 else {})


def _overall(
    by_modality: Mapping[str, tuple[dict[str, BootstrapEstimate], int]],
) -> tuple[dict[str, BootstrapEstimate], int]:
    """Per domain the mean of the tested modalities that have it, and the number of all items."""
    parts: dict[str, list[BootstrapEstimate]] = {name: [] for name in ("in", "out", "in - out")}
    for domains, _ in by_modality.values():
        for name, value in domains.items():
            parts[name].append(value)
    return {name: mean(each) for name, each in parts.items() if each}, sum(n for _, n in by_modality.values())


def _random_row(cell: Cell, trained: str, seeds: Sequence[int], name: str, options: Mapping) -> dict:
    draws = [
        cell.random_refusal((IDK, trained, s), name, draws=options["n_boot"], seed=options["seed"] + s)
        for s in seeds
    ]
    with np.errstate(invalid="ignore"):
        values = np.mean(draws, axis=0)
    low, high, infinite, undefined = bootstrap.percentile(values, options["level"])
    return {"metric": name, "value": comparison.finite_mean(values), "low": low, "high": high, "n": cell.n,
            "infinite": infinite, "undefined": undefined, "status": ""}  # fmt: skip


def _join_status(parts: Sequence[BootstrapEstimate]) -> str:
    """All reasons of the parts, each once."""
    reasons = [reason for part in parts if part.status for reason in part.status.split(", ")]
    return ", ".join(dict.fromkeys(reasons))


def _frame(rows: list[dict], columns: str) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[*columns.split(), "infinite", "undefined", "status"])
