"""The command `python -m lalm_utils score`: a report on replies made elsewhere.

In: predictions files (predictions.py). Out: a report that is valid JSON (`score`), and the same as text
(`as_text`). This module computes no metric of its own; it decides what is shown.

Items without a reply are `failed`. They are counted in n, listed under `missing`, and every metric of a
group that holds one is withheld (null, with a status), unless the caller excludes them (`exclude_failed`):
the metrics then rest on the `scored` items. They are never dropped unsaid, since that would score other,
often easier, items.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lalm_utils import bootstrap, metrics, outcomes, releases
from lalm_utils.cli import predictions, refuse, submissions
from lalm_utils.cli.predictions import PredictionError
from lalm_utils.messages import join
from lalm_utils.outcomes import OutcomeError

LEVEL = 0.95


def score(
    path: str | Path,
    before: str | Path | None = None,
    *,
    questions: str | Path | None = None,
    exclude_failed: bool = False,
    official: bool = False,
    n_boot: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """The report: one object per modality, then "overall".

    Each has n (all items), the five outcomes (they sum to n; wrong is without the unreadable), scored
    (items that the metrics rest on), metrics.METRICS, intervals {metric: [low, high], or null} and status {metric:
    why it or its interval is null}. With `before`, the baseline's file, it also has paired (items), metrics.GAINS,
    flows {name: items}, before (the baseline's own numbers), and resamples {metric: {infinite, undefined}} where
    bootstrap draws were not finite. "overall" also has release {name, sha256} (of the benchmark, by its content),
    sources, missing (ids) and bootstrap (its settings). Where the file says which clips were cut, each has
    clips: n, cut, accuracy and accuracy_without the cut ones, all of items with a reply. With `official`, each
    has official: what submissions.compare says of the predictions. A bound of an interval is null where it is
    infinite. `questions` is a file with which the replies are joined by id (predictions.records).
    Raises PredictionError, and OutcomeError for unequal sets of items or other questions under one id.
    """
    sources = {"predictions": Path(path)} | ({"before": Path(before)} if before is not None else {})
    asked = None if questions is None else Path(questions)
    records = {role: predictions.records(file, asked) for role, file in sources.items()}
    tables = {role: predictions.table(records[role], file) for role, file in sources.items()}
    release = releases.identify([each.item for each in records["predictions"]])
    options = {"n_boot": n_boot, "level": LEVEL, "seed": seed}
    report = _run(tables["predictions"], exclude_failed, **options)
    if before is not None:
        baseline = _run(tables["before"], exclude_failed, **options)
        for group, gain in _gain(tables["before"], tables["predictions"], exclude_failed, **options).items():
            joined = {key: report[group][key] | gain[key] for key in ("intervals", "status")}
            report[group] |= gain | joined | {"before": baseline[group]}
    if any(predictions.CUT_KEY in each.record for each in records["predictions"]):
        for group, fields in _cut(tables["predictions"]).items():
            report[group]["clips"] = fields
    if official:
        for group, fields in submissions.compare(submissions.official(path)).items():
            report[group]["official"] = fields
    report["overall"] |= {
        "release": {"name": release.name, "sha256": release.sha256},
        "sources": {role: str(file) for role, file in sources.items()},
        "missing": {role: _failed(table) for role, table in tables.items()},
        "bootstrap": options,
    }
    return report


def as_text(report: Mapping[str, Any]) -> str:
    """The report as plain-text tables, followed by what is missing and why a metric is withheld."""
    overall = report["overall"]
    source = overall["sources"]["predictions"]
    parts = [f"{source}: {overall['n']} items, unreadable counts as wrong, {LEVEL:.0%} intervals"]
    parts.append(f"benchmark: {overall['release']['name']}")
    parts += [_grid(report, ("n", *outcomes.Outcome)), _grid(report, metrics.METRICS)]
    if "before" in overall:
        names = list(metrics.GAINS)
        parts.append(f"Gain over {overall['sources']['before']}, paired by item; rgi_null = refusing blindly")
        parts += [_grid(report, names[:5]), _grid(report, names[5:])]
        parts.append("Items by outcome before and after")
        parts.append(
            _grid({group: fields["flows"] | fields for group, fields in report.items()}, metrics.TRANSITIONS)
        )
    parts += _undefined_resamples(report)
    if overall.get("clips", {}).get("cut"):
        parts.append("Clips cut at the model's window, and accuracy without them, of the items with a reply")
        parts.append(_plain_grid(report, "clips", ("n", "cut", "accuracy", "accuracy_without")))
    if "official" in overall:
        parts.append(
            "By the official scripts' rule: right with all words of the answer and none of another option"
        )
        parts.append(_official_grid(report))
    for role, ids in overall["missing"].items():
        if ids:
            some = join((id if id.isprintable() else ascii(id) for id in ids), 5)
            parts.append(f"{overall['sources'][role]}: {len(ids)} items have no reply (failed): {some}")
    withheld = {
        f"{group}: {why}"
        for group, fields in report.items()
        for why in fields["status"].values()
        if why.startswith("withheld")
    }
    return "\n\n".join([*parts, *sorted(withheld)])


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `score` to the subcommands of `python -m lalm_utils`."""
    parser = commands.add_parser(
        "score",
        help="score replies made elsewhere",
        description="Score replies made elsewhere: an MMAU or MMAR file (JSON array or JSON lines) with each "
        f"reply under {', '.join(predictions.REPLY_KEYS)}.",
    )
    parser.add_argument(
        "predictions", type=Path, metavar="PREDICTIONS", help="the question file with replies in it"
    )
    parser.add_argument(
        "--before", type=Path, metavar="BASELINE", help="replies to the same items before the method"
    )
    parser.add_argument(
        "--questions",
        type=Path,
        metavar="FILE",
        help="the question file, where PREDICTIONS has only ids and replies",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report there, as JSON")
    parser.add_argument(
        "--exclude-failed",
        action="store_true",
        help="compute the metrics without the items that have no reply",
    )
    parser.add_argument(
        "--official",
        action="store_true",
        help="also score by the rule of MMAU's and MMAR's own scripts, which matches words",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Score, write, print. Returns the exit code: 0 (withheld metrics are no error), or 2 with a reason."""
    try:
        if args.json and args.json.resolve() in {
            file.resolve() for file in (args.predictions, args.before, args.questions) if file
        }:
            raise PredictionError(f"{args.json}: --json would overwrite its own input; name another file")
        options = {"exclude_failed": args.exclude_failed, "official": args.official}
        report = score(args.predictions, args.before, questions=args.questions, **options)
        if args.json:
            args.json.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    except (PredictionError, OutcomeError) as error:
        return refuse(error)
    except (OSError, RuntimeError) as error:
        return refuse(f"{args.json}: cannot be written ({error}); name a file in a folder that exists")
    print(as_text(report))
    return 0


def _failed(table: pd.DataFrame) -> list[str]:
    return list(table.loc[table["outcome"] == outcomes.Outcome.FAILED, "item"])


def _run(table: pd.DataFrame, exclude_failed: bool, **options: Any) -> dict[str, dict[str, Any]]:
    report = {}
    for group, rows in metrics.evaluate(table, exclude=_failed(table), **options).groupby(
        "group", sort=False
    ):
        count = rows.set_index("metric")["value"]
        scored, failed = int(count["n"]), int(count["failed"])
        fields = {"n": scored + failed} | {name: int(count[name]) for name in outcomes.REPLY_OUTCOMES}
        why = "" if exclude_failed else _why(failed, scored + failed)
        report[group] = fields | {"failed": failed, "scored": scored} | _fields(rows, metrics.METRICS, why)
    return report


def _gain(before: pd.DataFrame, after: pd.DataFrame, exclude_failed: bool, **options: Any) -> dict[str, dict]:
    frame = metrics.compare(before, after, exclude={*_failed(before), *_failed(after)}, **options)
    report = {}
    for group, rows in frame.groupby("group", sort=False):
        count = rows.set_index("metric")["value"]
        paired, failed = int(count["n"]), int(count["excluded"])
        why = "" if exclude_failed else _why(failed, paired + failed)
        fields = _fields(rows, (*metrics.GAINS, *metrics.TRANSITIONS), why)
        counts = {name: fields.pop(name) for name in metrics.TRANSITIONS}
        whole = {name: None if value is None else int(value) for name, value in counts.items()}
        report[group] = {"paired": paired} | fields | {"flows": whole}
    return report


def _cut(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    rows = metrics.cut_clips(table, exclude=_failed(table)).to_dict("records")
    return {
        row.pop("group"): {k: _finite(v) if isinstance(v, float) else v for k, v in row.items()}
        for row in rows
    }


def _why(failed: int, n: int) -> str:
    if not failed:
        return ""
    return f"withheld: {failed} of {n} items have no reply; ask them again, or give --exclude-failed"


def _fields(rows: pd.DataFrame, names: Collection[str], why: str) -> dict[str, Any]:
    """Values, intervals, status and resamples of one group's metrics; all null if there is a reason `why`."""
    values, intervals, status, resamples = {}, {}, {}, {}
    for row in rows[rows["metric"].isin(list(names))].itertuples():
        value = values[row.metric] = None if why else _finite(row.value)
        without = value is None or math.isnan(row.low)
        intervals[row.metric] = None if without else [_finite(row.low), _finite(row.high)]
        if value is None:
            status[row.metric] = why or f"{row.value} ({row.status})"
        elif row.status:
            status[row.metric] = row.status
        if row.infinite or row.undefined:
            resamples[row.metric] = {"infinite": row.infinite, "undefined": row.undefined}
    return (
        values | {"intervals": intervals, "status": status} | ({"resamples": resamples} if resamples else {})
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _grid(report: Mapping[str, Mapping], names: Collection[str]) -> str:
    rows = [
        {"": group} | {str(name): _cell(fields, name) for name in names} for group, fields in report.items()
    ]
    return pd.DataFrame(rows).to_string(index=False)


def _undefined_resamples(report: Mapping[str, Mapping]) -> list[str]:
    """Which intervals lack some resamples, as a paragraph, or nothing."""
    n_boot = report["overall"]["bootstrap"]["n_boot"]
    lines = [
        f"  {group}, {name}: {counts['undefined']}"
        for group, fields in report.items()
        for name, counts in fields.get("resamples", {}).items()
        if counts["undefined"] and fields[name] is not None
    ]
    title = f"Undefined resamples of {n_boot}, left out (an interval that lost more than half is withheld)"
    return ["\n".join([title, *lines])] if lines else []


def _official_grid(report: Mapping[str, Mapping]) -> str:
    """A missing reply is no match, so the accuracy is of all items."""
    names = ("n", "answered", "matched", "accuracy", "both", "official_only", "ours_only", "neither")
    return _plain_grid(report, "official", names)


def _plain_grid(report: Mapping[str, Mapping], key: str, names: Collection[str]) -> str:
    rows = [
        {"": group} | {name: fields[key][name] for name in names}
        for group, fields in report.items()
        if key in fields
    ]
    return pd.DataFrame(rows).to_string(index=False, float_format="{:.3f}".format, na_rep="none left")


def _cell(fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    if value is None:
        return fields["status"][name].partition(":")[0]
    if isinstance(value, int):
        return str(value)
    if fields["intervals"][name] is None:
        return f"{value:.3f} (no interval)"
    low, high = (math.inf if bound is None else bound for bound in fields["intervals"][name])
    return bootstrap.interval_text(value, low, high, digits=3, infinite="open")
