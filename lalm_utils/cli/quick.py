"""Execute every notebook at its quick size, two at once: `python -m lalm_utils.cli.quick [--only 02] [--jobs 2]`.

In: notebooks/[0-9]*.ipynb, and their quick parameters, minutes and headline numbers in notebooks/quick.yaml.
Out: executed copies in out/ and their figures in out/figures/NN/, never over the committed ones; at the end a table
of minutes, Answers, and whether each quick interval covers the committed value.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import yaml

from lalm_utils.cli import execute
from lalm_utils.cli.execute import NotebookError

OUT = execute.ROOT / "out"
COMMITTED = execute.ROOT / "figures"
KEYS = {"minutes", "parameters", "headline"}
COVERAGE = ["notebook", "headline", "committed", "quick", "covers"]  # columns of the closing table
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
JOBS = min(2, CORES)  # most operations here are too small to gain a factor of two from two threads


def settings(path: Path) -> dict[str, dict[str, Any]]:
    """The quick settings by notebook number, such as "02"; NotebookError for a file that holds anything else."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise NotebookError(
            f"{path}: not readable as YAML ({error}); mend it or take the committed one"
        ) from None
    if not isinstance(content, dict):
        raise NotebookError(
            f"{path} holds {content!r}: write one entry for each notebook, such as '02': {{...}}"
        )
    for name, entry in content.items():
        if not isinstance(name, str) or not isinstance(entry, dict) or not set(entry) <= KEYS:
            raise NotebookError(
                f"{path}: the entry {name!r} is {entry!r}; quote the number, and give {', '.join(sorted(KEYS))} only"
            )
    return content


def row_of(folder: Path, headline: Mapping[str, Any]) -> pd.Series | None:
    """The row of a figure's table in `folder` (or below it) that a headline names; None without such a figure.

    headline: figure, the name of the CSV; row, its cells by column. NotebookError unless exactly one row fits.
    """
    paths = sorted(folder.rglob(f"{headline['figure']}.csv"))
    if not paths:
        return None
    table = pd.read_csv(paths[0], keep_default_na=False, na_values=[""])
    fits = table
    for column, value in headline["row"].items():
        fits = fits[fits[column].astype(str) == str(value)] if column in fits else fits.iloc[:0]
    if len(fits) != 1:
        raise NotebookError(
            f"{paths[0]}: {len(fits)} rows have {headline['row']}; a headline names exactly one"
        )
    return fits.iloc[0]


def coverage(number: str, headlines: Sequence[Mapping[str, Any]], quick: Path, committed: Path) -> list[dict]:
    """One record per headline number: the committed value, the quick one with its interval, and whether it covers."""
    records = []
    for headline in headlines:
        column = headline.get("value", "value")
        before, after = row_of(committed, headline), row_of(quick, headline)
        record = {
            "notebook": number,
            "headline": " ".join([headline["figure"], *map(str, headline["row"].values())]),
        }
        if before is None or after is None or pd.isna(after["low"]) or pd.isna(after["high"]):
            missing = "the committed figure" if before is None else "a quick interval"
            records.append(record | {"covers": f"not told: {missing} is missing"})
            continue
        inside = after["low"] <= before[column] <= after["high"]
        interval = f"{after[column]:.2f} [{after['low']:.2f}, {after['high']:.2f}], n = {after['n']:g}"
        committed_value = f"{before[column]:.2f}"
        records.append(
            record | {"committed": committed_value, "quick": interval, "covers": "yes" if inside else "no"}
        )
    return records


def answer(path: Path) -> str:
    """What the code below `## Answer` printed, one sentence a line."""
    cells = nbformat.read(path, as_version=4).cells
    starts = [n for n, cell in enumerate(cells) if "## Answer" in cell.source.splitlines()]
    outputs = [output for cell in cells[starts[-1] :] for output in cell.get("outputs", [])] if starts else []
    texts = [output.text for output in outputs if output.output_type == "stream" and output.name == "stdout"]
    return "\n".join(text.rstrip("\n") for text in texts)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lalm_utils.cli.quick", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--only", default="", metavar="02", help="only notebooks whose names begin like this")
    parser.add_argument(
        "--jobs", type=int, default=JOBS, choices=range(1, 17), metavar="N",
        help=f"notebooks at once, each with its share of the cores and about 3 GB; by default {JOBS}",
    )  # fmt: skip
    args = parser.parse_args(arguments)
    try:
        paths = execute.find(execute.NOTEBOOKS, args.only)
        entries = settings(execute.NOTEBOOKS / "quick.yaml")
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 1
    lines, records, errors = _run(paths, entries, args.jobs)
    print("\n".join(lines))
    if records:
        print("\n" + pd.DataFrame(records).reindex(columns=COVERAGE).fillna("").to_string(index=False))
    print("\n".join(errors), file=sys.stderr)
    return 1 if errors else 0


def _run(
    paths: Sequence[Path], entries: Mapping[str, Mapping[str, Any]], jobs: int
) -> tuple[list[str], list[dict], list[str]]:
    """Execute the notebooks, `jobs` at once: the closing lines, the records of coverage and the errors.

    A notebook that fails is told at the end; the others are executed all the same.
    """
    cost = {path: float(entries.get(path.name[:2], {}).get("minutes", 0)) for path in paths}
    about = f"about {sum(cost.values()) / min(jobs, len(paths)):.0f} minutes after downloads"
    print(
        f"{len(paths)} notebooks into {OUT}, {jobs} at once: {about if all(cost.values()) else 'no time is known'}",
        flush=True,
    )
    for path in paths:
        sizes = entries.get(path.name[:2], {}).get("parameters") or "its own parameters"
        print(
            f"  {path.name}: {sizes}, {f'about {cost[path]:.0f} min' if cost[path] else 'no time is known'}"
        )
    start = time.monotonic()
    minutes, failures = _execute(paths, entries, cost, jobs)
    lines, records = [], []
    for path in paths:
        if path in failures:
            lines.append(f"\n{path.name}: failed, see below")
            continue
        lines += [f"\n{path.name}: {minutes[path]:.1f} min", answer(OUT / path.name).rstrip()]
        headlines = entries.get(path.name[:2], {}).get("headline") or []
        try:
            records += coverage(path.name[:2], headlines, _figures(path), COMMITTED)
        except NotebookError as error:
            failures[path] = str(error)
    lines.append(f"\nall: {(time.monotonic() - start) / 60:.1f} min")
    return lines, records, list(failures.values())


def _execute(
    paths: Sequence[Path], entries: Mapping[str, Mapping[str, Any]], cost: Mapping[Path, float], jobs: int
) -> tuple[dict[Path, float], dict[Path, str]]:
    """Minutes of the notebooks that ran, and what the others failed of; each in a process of its own."""
    OUT.mkdir(parents=True, exist_ok=True)
    minutes, failures, context = {}, {}, get_context("spawn")
    with ProcessPoolExecutor(
        jobs, context, initializer=_use_threads, initargs=(max(1, CORES // jobs),)
    ) as pool:
        futures = {}
        # The longest first: one that is begun last leaves the other cores idle.
        for path in sorted(paths, key=lambda path: -cost[path]):
            parameters = {
                "FIGURES": str(_figures(path)),
                **(entries.get(path.name[:2], {}).get("parameters") or {}),
            }
            futures[pool.submit(execute.execute, path, parameters=parameters, out=OUT / path.name)] = path
        try:
            for done, future in enumerate(as_completed(futures), 1):
                path = futures[future]
                try:
                    minutes[path] = future.result() / 60
                except NotebookError as error:
                    failures[path] = str(error)
                rest = [cost[other] for other in set(paths) - set(minutes) - set(failures)]
                left = f", about {sum(rest) / jobs:.0f} min left" if all(rest) else ""
                state = "failed" if path in failures else f"{minutes[path]:.1f} min"
                print(f"{path.name}: {state}, {done} of {len(paths)}{left}", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return minutes, failures


def _figures(path: Path) -> Path:
    return OUT / "figures" / path.name[:2]


def _use_threads(number: int) -> None:
    """Leave the other notebooks their cores, unless the user has said how many threads to compute with."""
    for name in ("LALM_UTILS_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, str(number))


if __name__ == "__main__":
    sys.exit(main())
