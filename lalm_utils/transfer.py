"""Is what an adapter learned on one modality of use on another? Matrices, means and differences of gains.

In: the baseline's outcome table, and outcome tables of adapters by the modality they were trained on, one per
training seed, all over the same items. Out: tidy tables. This module knows no model and no training.

Conventions
-----------
Tests are by modality; an item's modality is what it is *tested on*. A cell is (trained_on, tested_on); it is
"in" domain where the two agree (or the tested mix contains the trained modality), else "out".

Intervals are percentile-bootstrap by item and paired throughout (resampled.py). Seeds are averaged inside each
resample: a metric's value is its mean over the seeds, and its interval says what other items would give, with
these adapters. What other seeds would give shows in the rows of single seeds.

As in gains.py, an RGI may be infinite or undefined, in the data (`status` says why, and there is no interval)
or in a resample (infinite ones keep their place in the order, undefined ones are left out; both are counted).
A mean over seeds, adapters or modalities is not finite as soon as one of its parts is not. Where that happens
"youden" (paired.youden), which has the sign and the zero of the RGI's excess, is still finite.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from lalm_utils import bootstrap, resampled
from lalm_utils.outcomes import OutcomeError
from lalm_utils.resampled import Measured, Runs, Test

METRICS = ("rgi", "rgi_excess", "delta_con", "delta_hum", "reliability")
IDK, SHUFFLED, RANDOM = "IDK labels", "shuffled labels", "random refusal"


def matrix(
    baseline: pd.DataFrame, runs: Runs, names: Sequence[str] = METRICS, *, by: str | None = None,
    exclude: Collection[str] = (), n_boot: int = 2000, level: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Every metric of every adapter on every modality, per training seed and as their mean.

    runs : modality trained on to outcome tables, one per training seed.
    names : metrics that paired.measure knows.
    by : a further column of the baseline to split the items by, e.g. "novel"; None keeps them together.

    Returns a tidy frame: part (the value of column `by`, or "all"), trained_on, tested_on, domain (in, out),
    seed (place of the table in its list, or "mean"), metric, value, low, high, null (what blind refusal gives,
    empty where the metric has no null), n (items), infinite, undefined (resamples), status. Raises
    OutcomeError as flows.pair does, for runs without tables, and for an unknown column `by`.
    """
    options = {"by": by, "exclude": exclude, "n_boot": n_boot, "level": level, "seed": seed}
    rows = []
    for test in resampled.tests({IDK: runs}, baseline, **options):
        for trained, places in test.places(IDK).items():
            for name in names:
                each = {str(place): test.measured((IDK, trained, place), name) for place in places}
                null = test.null((IDK, trained, places[0]), name)
                for label, found in (each | {"mean": resampled.mean(list(each.values()))}).items():
                    where = {**test.where(trained), "seed": label, "null": null}
                    rows.append(where | found.row(name, test.n, level))
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
    for part, tests in _by_part(resampled.tests({IDK: runs}, baseline, **options)):
        for name in names:
            found = {test.tested_on: (_split(test, test.averages(IDK, name)), test.n) for test in tests}
            for tested_on, (domains, n) in (found | {"overall": _overall(found)}).items():
                for domain, value in domains.items():
                    where = {"part": part, "tested_on": tested_on, "domain": domain}
                    rows.append(where | value.row(name, n, level))
    return _frame(rows, "part tested_on domain metric value low high n")


def against_control(
    baseline: pd.DataFrame, runs: Runs, control: Runs, names: Sequence[str] = METRICS, *,
    by: str | None = None, exclude: Collection[str] = (), n_boot: int = 2000, level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Adapter less control, per cell and on average over the cells of a domain, on the same items.

    control : as `runs`: adapters trained on shuffled labels, or any other runs under the same names. Numbers
    of seeds may differ; each side is averaged over its own. Names that one side lacks are refused.

    Returns a tidy frame: part, trained_on, tested_on, domain, metric, value (the difference), low, high, n,
    infinite, undefined, status. Rows with trained_on "mean" and tested_on "overall" average the cells of their
    domain: within each tested modality first, then over the modalities.
    """
    _refuse_unequal(runs, control)
    options = {"by": by, "exclude": exclude, "n_boot": n_boot, "level": level, "seed": seed}
    rows = []
    for part, tests in _by_part(resampled.tests({IDK: runs, SHUFFLED: control}, baseline, **options)):
        for name in names:
            found = {}
            for test in tests:
                adapter, other = test.averages(IDK, name), test.averages(SHUFFLED, name)
                cells = {trained: adapter[trained] - other[trained] for trained in adapter}
                rows += [
                    test.where(trained) | cell.row(name, test.n, level) for trained, cell in cells.items()
                ]
                found[test.tested_on] = (_split(test, cells), test.n)
            domains, n = _overall(found)
            for domain in [domain for domain in ("in", "out") if domain in domains]:
                where = {"part": part, "trained_on": "mean", "tested_on": "overall", "domain": domain}
                rows.append(where | domains[domain].row(name, n, level))
    return _frame(rows, "part trained_on tested_on domain metric value low high n")


def beside_controls(
    baseline: pd.DataFrame, runs: Runs, control: Runs, name: str = "rgi_excess", *,
    exclude: Collection[str] = (), n_boot: int = 2000, level: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """One metric of each cell under IDK labels, shuffled labels and blind refusal: drawn by transfer_control.

    Returns trained_on, tested_on, domain, kind ("IDK labels", "shuffled labels", "random refusal"), metric,
    value, low, high, n, infinite, undefined, status. Blind refusal refuses as many items as each seed's
    adapter: its value is the mean over the finite draws, its range that of chance on these very items (see
    controls.matched_random), and its status is empty.
    """
    _refuse_unequal(runs, control)
    options = {"by": None, "exclude": exclude, "n_boot": n_boot, "level": level, "seed": seed}
    rows = []
    for test in resampled.tests({IDK: runs, SHUFFLED: control}, baseline, **options):
        for trained, places in test.places(IDK).items():
            cells = {kind: test.averages(kind, name)[trained] for kind in (IDK, SHUFFLED)}
            found = {kind: cell.row(name, test.n, level) for kind, cell in cells.items()}
            found[RANDOM] = _blind(test, trained, places, name, options)
            rows += [test.where(trained) | {"kind": kind} | row for kind, row in found.items()]
    return _frame(rows, "trained_on tested_on domain kind metric value low high n")


def routed(runs: Runs, route: Mapping[str, str], *, place: int = 0) -> pd.DataFrame:
    """One outcome table in which each modality is answered by one adapter: route[tested_on] = trained_on.

    The rows are those of runs[trained_on][place]. So a test that needs one run (paired.compare) can be made of
    adapters out of their domain, e.g. {"sound": "music", "music": "speech", "speech": "sound"}. Raises
    OutcomeError for an adapter or a seed that `runs` lacks, and if no row is left.
    """
    for trained in route.values():
        if trained not in runs or place >= len(runs[trained]):
            known = ", ".join(f"{name} ({len(tables)} seeds)" for name, tables in runs.items())
            raise OutcomeError(f"no adapter {trained!r}, seed {place}: there are {known}")
    parts = [(tested, runs[trained][place]) for tested, trained in route.items()]
    chosen = pd.concat([table[table["modality"] == tested] for tested, table in parts], ignore_index=True)
    if chosen.empty:
        raise OutcomeError(f"no item is of the modalities {', '.join(route)}: correct the route")
    return chosen


def failed(*tables: pd.DataFrame | Runs) -> list[str]:
    """Ids of the items that failed in any of these tables or runs, sorted: what to `exclude` from all of them."""
    single = [t for given in tables for t in ([given] if isinstance(given, pd.DataFrame) else _each(given))]
    return sorted({item for table in single for item in table.loc[table["outcome"] == "failed", "item"]})


def routes(runs: Runs) -> list[dict[str, str]]:
    """Every way to have each modality answered by another's adapter, for `routed`: one fewer than adapters."""
    names = list(runs)
    return [
        {name: names[(place + step) % len(names)] for place, name in enumerate(names)}
        for step in range(1, len(names))
    ]


def _each(runs: Runs) -> list[pd.DataFrame]:
    return [table for tables in runs.values() for table in tables]


def _refuse_unequal(runs: Runs, control: Runs) -> None:
    if set(runs) != set(control):
        raise OutcomeError(
            f"adapters trained on {', '.join(runs)}, but controls on {', '.join(control)}: give one for each"
        )


def _by_part(tests: Iterator[Test]) -> Iterator[tuple[str, list[Test]]]:
    found: dict[str, list[Test]] = {}
    for test in tests:
        found.setdefault(test.part, []).append(test)
    yield from found.items()


def _split(test: Test, cells: Mapping[str, Measured]) -> dict[str, Measured]:
    """The cells of one tested modality averaged by domain, and in - out where there are both."""
    sides: dict[str, list[Measured]] = {}
    for trained, value in cells.items():
        sides.setdefault(test.where(trained)["domain"], []).append(value)
    found = {domain: resampled.mean(sides[domain]) for domain in ("in", "out") if domain in sides}
    return found | ({"in - out": found["in"] - found["out"]} if len(found) == 2 else {})


def _overall(found: Mapping[str, tuple[dict[str, Measured], int]]) -> tuple[dict[str, Measured], int]:
    """Per domain the mean of the tested modalities that have it, and the number of all items."""
    names = [
        name for name in ("in", "out", "in - out") if any(name in domains for domains, _ in found.values())
    ]
    parts = {name: [domains[name] for domains, _ in found.values() if name in domains] for name in names}
    return {name: resampled.mean(parts[name]) for name in names}, sum(n for _, n in found.values())


def _blind(test: Test, trained: str, places: Sequence[int], name: str, options: Mapping) -> dict:
    draws = [
        test.blind((IDK, trained, place), name, draws=options["n_boot"], seed=options["seed"] + place)
        for place in places
    ]
    with np.errstate(invalid="ignore"):
        drawn = np.mean(draws, axis=0)
    low, high, infinite, undefined = bootstrap.percentile(drawn, options["level"])
    value = drawn[np.isfinite(drawn)].mean() if np.isfinite(drawn).any() else np.nan
    return {"metric": name, "value": value, "low": low, "high": high, "n": test.n, "infinite": infinite,
            "undefined": undefined, "status": ""}  # fmt: skip


def _frame(rows: list[dict], columns: str) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[*columns.split(), "infinite", "undefined", "status"])
