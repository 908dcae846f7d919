"""The command `python -m lalm_utils audit`: what is doubled, skewed or missing in a benchmark.

In: a benchmark, as `benchmarks.load` takes it. Out: the table of `audit.table` as text, or all of it as JSON. Clips
that cannot be heard are counted here, where `run` would refuse them. It asks no model.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lalm_utils import audit, benchmarks, releases
from lalm_utils.cli import refuse
from lalm_utils.items import BenchmarkError
from lalm_utils.outcomes import OutcomeError


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `audit` to the subcommands of `python -m lalm_utils`."""
    parser = commands.add_parser(
        "audit",
        help="count what is doubled, skewed or missing in a benchmark",
        description="Count duplicates, places of the gold options and clips that cannot be heard, and say what "
        "always answering A, or the longest option, would score.",
    )
    add = parser.add_argument
    add("benchmark", metavar="BENCHMARK", help="mini, or the path of MMAU, MMAR or SAKURA")
    add("--split", help="a split of the benchmark, as benchmarks.load knows them")
    add("--no-clips", action="store_true", help="do not look for the audio")
    add("--text-only", type=Path, metavar="TABLE",
        help="the outcome table (CSV) of a model asked without audio, as one more baseline")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="also write the report there, with the ids found")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Audit, write, print. Returns the exit code: 0 (findings are no error), or 2 with a reason."""
    try:
        made = report(args.benchmark, split=args.split, clips=not args.no_clips, text_only=args.text_only)
        if args.json:
            args.json.write_text(json.dumps(made, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    except (BenchmarkError, OutcomeError, OSError, ValueError) as error:
        return refuse(error)
    print(as_text(made))
    return 0


def report(
    benchmark: str, *, split: str | None = None, clips: bool = True, text_only: Path | None = None
) -> dict[str, Any]:
    """release {name, sha256}, measures {group: {measure: {value, n}}}, found {finding: ids}, clips (opened or not)
    and text_only (the table's path or None). A p that is not computed is null."""
    asked = benchmarks.load(benchmark, split=split, need_clips=False)
    found, release = audit.facts(asked, clips=clips), releases.identify(asked)
    run_ = None if text_only is None else pd.read_csv(text_only, keep_default_na=False)
    frame = audit.table(found, text_only=run_)
    measures: dict[str, dict[str, Any]] = {}
    for row in frame.itertuples():
        value = row.value if math.isfinite(row.value) else None
        measures.setdefault(row.group, {})[row.measure] = {"value": value, "n": row.n}
    return {
        "release": {"name": release.name, "sha256": release.sha256},
        "measures": measures,
        "found": dict(audit.named(found)),
        "clips": clips,
        "text_only": None if text_only is None else str(text_only),
    }


def as_text(made: Mapping[str, Any]) -> str:
    """The report as a plain-text table, a line per measure, followed by what was found in which items."""
    measures = made["measures"]
    rows = [
        {"": name} | {group: _cell(name, values.get(name)) for group, values in measures.items()}
        for name in measures["overall"]  # which has every measure
    ]
    parts = [f"benchmark: {made['release']['name']}", pd.DataFrame(rows).to_string(index=False)]
    for name, ids in made["found"].items():
        if ids:
            some = ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")
            parts.append(f"{name}: {len(ids)} items; each {audit.FINDINGS[name]}: {some}")
    if not made["clips"]:
        parts.append("clips: not looked for")
    if made["text_only"] is None:
        parts.append("text_only: no run without audio was given (--text-only TABLE)")
    return "\n\n".join(parts)


def _cell(name: str, cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return ""
    if cell["value"] is None:
        return "none graded" if cell["n"] == 0 else "too few"
    if name.startswith("gold_p_"):
        return f"{cell['value']:.2g}"
    return (
        f"{cell['value']:.3f}"
        if name.startswith("gold_") or name in audit.BASELINES
        else f"{cell['value']:.0f}"
    )
