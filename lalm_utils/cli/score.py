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
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lalm_utils import bootstrap, metrics, outcomes, releases
from lalm_utils.cli import (
    add_arguments,
    confidence,
    finite,
    predictions,
    refuse,
    rules,
    seed_number,
    submissions,
    write_json,
)
from lalm_utils.cli.predictions import PredictionError
from lalm_utils.declining import same_option
from lalm_utils.messages import join
from lalm_utils.refusals import is_declining
from lalm_utils.reply_logs import LAYOUTS, ReplyLog

LEVEL = 0.95
PROMISE = 0.1  # alpha and delta, unless they are given


def score(
    path: str | Path,
    before: str | Path | None = None,
    *,
    questions: str | Path | None = None,
    exclude_failed: bool = False,
    official: bool = False,
    by_rules: Collection[str] = (),
    declining: str = "",
    by: str = "modality",
    confidence_column: str = "",
    alpha: float = PROMISE,
    delta: float = PROMISE,
    calibrate: str = "",
    n_boot: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """The report: one object per modality (or other column `by` of the outcome table), then "overall".

    Each has n (all items), the five outcomes (they sum to n; wrong is without the unreadable), scored
    (items that the metrics rest on), metrics.METRICS, intervals {metric: [low, high], or null} and status {metric:
    why it or its interval is null}. With `before`, the baseline's file, it also has paired (items), metrics.GAINS,
    flows {name: items}, before (the baseline's own numbers), and resamples {metric: {infinite, undefined}} where
    bootstrap draws were not finite. "overall" also has release {name, sha256} (of the benchmark, by its content),
    sources, missing (ids) and bootstrap (its settings). Where the file says which clips were cut, each has
    clips: n, cut, accuracy and accuracy_without the cut ones, all of items with a reply. Where it says how replies
    ended ("finish"), each has cut_replies, those that ended at the limit of tokens. Each has refusals {kind: items}
    (refusals.KINDS; no_audio: the reply says that no clip arrived). With `official`, each
    has official: what submissions.compare says of the predictions. With `by_rules`, each has rules, and "overall"
    parting (rules.compare). With `confidence_column`, the key of a number beside each reply, each has confidence, and
    "overall" a promise in it (cli/confidence.py; alpha, delta and calibrate are the promise's). Where an option that
    declines was chosen, "overall" has declining (rules.readings); `declining` is that option's text, if neither the
    files nor its wording tell. "overall" also has notes by source, of what the files lack or hold too much of. A bound
    of an interval is null where it is infinite. `questions` is a file with which the replies are joined by id
    (reply_logs.read).
    Raises PredictionError, and OutcomeError for unequal sets of items or other questions under one id.
    """
    sources = {"predictions": Path(path)} | ({"before": Path(before)} if before is not None else {})
    question_file = None if questions is None else Path(questions)
    columns = (confidence_column,) if confidence_column else ()
    logs = {role: predictions.read(file, declining, question_file, columns) for role, file in sources.items()}
    records = {role: log.predictions for role, log in logs.items()}
    if declining:
        _check_declining(logs, declining, path)
    tables = {role: predictions.table(records[role], file) for role, file in sources.items()}
    release = releases.identify([each.item for each in records["predictions"]])
    options = {"n_boot": n_boot, "level": LEVEL, "seed": seed}
    report = _run(tables["predictions"], exclude_failed, by=by, **options)
    if before is not None:
        baseline = _run(tables["before"], exclude_failed, by=by, **options)
        gains = _gain(tables["before"], tables["predictions"], exclude_failed, by=by, **options)
        for group, gain in gains.items():
            merged = {key: report[group][key] | gain[key] for key in ("intervals", "status")}
            report[group] |= gain | merged | {"before": baseline[group]}
    if any(predictions.CUT_KEY in each.record for each in records["predictions"]):
        for group, fields in _cut(tables["predictions"], by).items():
            report[group]["clips"] = fields
    if any({predictions.FINISH_KEY, "cut"} & each.record.keys() for each in records["predictions"]):
        for group, rows in outcomes.groups(tables["predictions"], by):
            report[group]["cut_replies"] = int((rows["finish"] == "length").sum())
    for group, rows in outcomes.groups(tables["predictions"], by):
        report[group]["refusals"] = outcomes.refusal_kinds(rows)
    if official:
        official_table = submissions.official(records["predictions"]).assign(
            **{by: tables["predictions"][by]}
        )
        for group, fields in submissions.compare(official_table, by).items():
            report[group]["official"] = fields
    if by_rules:
        by_rule, parting = rules.compare(records["predictions"], tables["predictions"], by_rules, by)
        for group, fields in by_rule.items():
            report[group]["rules"] = fields
        report["overall"]["parting"] = parting
    if confidence_column:
        failed = len(_failed(tables["predictions"]))
        for group, fields in confidence.fields(
            records["predictions"], tables["predictions"], confidence_column, sources["predictions"], by=by,
            why="" if exclude_failed else _why(failed, len(tables["predictions"])),
            alpha=alpha, delta=delta, calibrate=calibrate, seed=seed,
        ).items():  # fmt: skip
            report[group]["confidence"] = fields
    if readings := rules.readings(tables["predictions"], tables.get("before")):
        report["overall"]["declining"] = readings
    report["overall"] |= {
        "release": {"name": release.name, "sha256": release.sha256},
        "sources": {role: str(file) for role, file in sources.items()},
        "notes": {role: log.notes for role, log in logs.items()},
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
    parts += [_intervals(report, ("n", *outcomes.Outcome)), _intervals(report, metrics.METRICS)]
    if "before" in overall:
        names = list(metrics.GAINS)
        parts.append(f"Gain over {overall['sources']['before']}, paired by item; rgi_null = refusing blindly")
        parts += [_intervals(report, names[:5]), _intervals(report, names[5:])]
        parts.append("Items by outcome before and after")
        flows = {group: fields["flows"] | fields for group, fields in report.items()}
        parts.append(_intervals(flows, metrics.TRANSITIONS))
    parts += _undefined_resamples(report)
    if overall.get("clips", {}).get("cut"):
        parts.append("Clips cut at the model's window, and accuracy without them, of the items with a reply")
        parts.append(_numbers(report, "clips", ("n", "cut", "accuracy", "accuracy_without")))
    if overall.get("cut_replies"):
        parts.append(
            f"{overall['cut_replies']} replies were cut at the limit of tokens, and may have lost their answer; ask "
            "again with a higher one (run --max-new-tokens)"
        )
    if overall["refused"]:
        kinds = {group: fields["refusals"] | {"n": fields["n"]} for group, fields in report.items()}
        parts += ["Refusals by kind", pd.DataFrame(kinds).T.to_string()]
    if overall["refusals"]["no_audio"]:
        parts.append(
            f"{overall['refusals']['no_audio']} replies say that no audio arrived: a fault of the set-up rather than "
            "honesty; see that the clips reach the model before these refusals are counted for it"
        )
    if "official" in overall:
        parts.append(
            "By the official scripts' rule: right with all words of the answer and none of another option"
        )
        # a missing reply is no match, so the accuracy is of all items
        names = ("n", "answered", "matched", "accuracy", "both", "official_only", "ours_only", "neither")
        parts.append(_numbers(report, "official", names))
    if "declining" in overall:
        parts += rules.readings_text(overall["declining"])
    if "parting" in overall:
        parts += rules.rules_text(report)
    if "confidence" in overall:
        parts += confidence.as_text(report)
    parts += [
        f"{overall['sources'][role]}: {note}" for role, notes in overall["notes"].items() for note in notes
    ]
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
        f"reply under {', '.join(predictions.REPLY_KEYS)}, or a file as {join(LAYOUTS[2:])} write it.",
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
    add_arguments(parser, "--json")
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
    parser.add_argument(
        "--rules",
        type=rules.names,
        default=(),
        metavar="RULES",
        help=f"compare rules: {','.join(rules.RULES)}",
    )
    parser.add_argument(
        "--declining", default="", metavar="TEXT", help="the option that declines; to choose it is a refusal"
    )
    parser.add_argument(
        "--by", default="modality", choices=("modality", "category", "task", "level"), help="what groups are"
    )
    parser.add_argument(
        "--confidence",
        default="",
        metavar="COLUMN",
        help="the key of a number beside each reply, higher being surer: risk and coverage, and a promised threshold",
    )
    for name, what in {
        "alpha": "of the answers at most this share is wrong",
        "delta": "but for this chance",
    }.items():
        parser.add_argument(
            f"--{name}", type=confidence.share, help=f"of the promise on --confidence: {what} ({PROMISE})"
        )
    parser.add_argument(
        "--calibrate",
        default="",
        metavar="SPLIT",
        help="fix the threshold on --confidence on this split (default: a random half)",
    )
    parser.add_argument(
        "--seed", type=seed_number, default=0, help="of the random half and of the bootstrap (0)"
    )
    parser.set_defaults(run=run, faults=(PredictionError,))


def run(args: argparse.Namespace) -> int:
    """Score, write, print. Returns the exit code: 0 (withheld metrics are no error), or 2 with a reason."""
    try:
        if args.json and args.json.resolve() in {
            file.resolve() for file in (args.predictions, args.before, args.questions) if file
        }:
            raise PredictionError(f"{args.json}: --json would overwrite its own input; name another file")
        _check_promise(args)
        report = score(
            args.predictions,
            args.before,
            questions=args.questions,
            exclude_failed=args.exclude_failed,
            official=args.official,
            by_rules=args.rules,
            declining=args.declining,
            by=args.by,
            confidence_column=args.confidence,
            alpha=PROMISE if args.alpha is None else args.alpha,
            delta=PROMISE if args.delta is None else args.delta,
            calibrate=args.calibrate,
            seed=args.seed,
        )
        if args.json:
            write_json(args.json, report)
    except (OSError, RuntimeError) as error:
        return refuse(f"{args.json}: cannot be written ({error}); name a file in a folder that exists")
    print(as_text(report))
    return 0


def _check_declining(logs: Mapping[str, ReplyLog], text: str, path: str | Path) -> None:
    """Refuse a text that no item has; note how many have it, and where its wording does not decline."""
    for log in logs.values():
        n = sum(
            each.item.declining is not None and same_option(each.item.options[each.item.declining], text)
            for each in log.predictions
        )
        if n == 0:
            raise PredictionError(
                f"{path}: --declining: no item has the option {text!r}; give its text as the file has it"
            )
        if not is_declining(text):
            log.notes.append(
                f"--declining: {text!r} does not sound like declining; its choice counts as a refusal in {n} of "
                f"{len(log.predictions)} items, where it is never the answer"
            )


def _check_promise(args: argparse.Namespace) -> None:
    values = {"--alpha": args.alpha, "--delta": args.delta, "--calibrate": args.calibrate or None}
    options = [f"{name} {value}" for name, value in values.items() if value is not None]
    if options and not args.confidence:
        raise PredictionError(
            f"{' '.join(options)}: of a promise on a confidence, and --confidence is not given; name with it the key "
            f"of a number beside each reply, or leave {' and '.join(option.split()[0] for option in options)} out"
        )


def _failed(table: pd.DataFrame) -> list[str]:
    return list(table.loc[table["outcome"] == outcomes.Outcome.FAILED, "item"])


def _run(table: pd.DataFrame, exclude_failed: bool, **options: Any) -> dict[str, dict[str, Any]]:
    frame, report = metrics.evaluate(table, exclude=_failed(table), **options), {}
    for group, rows in frame.groupby("group", sort=False):
        count = rows.set_index("metric")["value"]
        n_scored, n_failed = int(count["n"]), int(count["failed"])
        fields = {"n": n_scored + n_failed} | {name: int(count[name]) for name in outcomes.REPLY_OUTCOMES}
        why = "" if exclude_failed else _why(n_failed, n_scored + n_failed)
        report[group] = (
            fields | {"failed": n_failed, "scored": n_scored} | _fields(rows, metrics.METRICS, why)
        )
    return report


def _gain(before: pd.DataFrame, after: pd.DataFrame, exclude_failed: bool, **options: Any) -> dict[str, dict]:
    frame = metrics.compare(before, after, exclude={*_failed(before), *_failed(after)}, **options)
    report = {}
    for group, rows in frame.groupby("group", sort=False):
        count = rows.set_index("metric")["value"]
        n_paired, n_failed = int(count["n"]), int(count["excluded"])
        why = "" if exclude_failed else _why(n_failed, n_paired + n_failed)
        fields = _fields(rows, (*metrics.GAINS, *metrics.TRANSITIONS), why)
        counts = {name: fields.pop(name) for name in metrics.TRANSITIONS}
        whole = {name: None if value is None else int(value) for name, value in counts.items()}
        report[group] = {"paired": n_paired} | fields | {"flows": whole}
    return report


def _cut(table: pd.DataFrame, by: str) -> dict[str, dict[str, Any]]:
    rows = metrics.cut_clips(table, exclude=_failed(table), by=by).to_dict("records")
    return {row.pop("group"): {name: finite(value) for name, value in row.items()} for row in rows}


def _why(failed: int, n: int) -> str:
    if not failed:
        return ""
    return f"withheld: {failed} of {n} items have no reply; ask them again, or give --exclude-failed"


def _fields(rows: pd.DataFrame, names: Collection[str], why: str) -> dict[str, Any]:
    """Values, intervals, status and resamples of one group's metrics; all null if there is a reason `why`."""
    values, intervals, status, resamples = {}, {}, {}, {}
    for row in rows[rows["metric"].isin(list(names))].itertuples():
        value = values[row.metric] = None if why else finite(row.value)
        without = value is None or math.isnan(row.low)
        intervals[row.metric] = None if without else [finite(row.low), finite(row.high)]
        if value is None:
            status[row.metric] = why or f"{row.value} ({row.status})"
        elif row.status:
            status[row.metric] = row.status
        if row.infinite or row.undefined:
            resamples[row.metric] = {"infinite": row.infinite, "undefined": row.undefined}
    return (
        values | {"intervals": intervals, "status": status} | ({"resamples": resamples} if resamples else {})
    )


def _intervals(report: Mapping[str, Mapping], names: Collection[str]) -> str:
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


def _numbers(report: Mapping[str, Mapping], key: str, names: Collection[str]) -> str:
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
