"""Execute every notebook at its quick size: `python -m lalm_utils.cli.quick [--only 02]`.

In: notebooks/[0-9]*.ipynb, and their quick parameters, minutes and headline numbers in notebooks/quick.yaml.
Out: executed copies in out/ and their figures in out/figures/NN/, never over the committed ones; at the end a table
of minutes, Answers, and whether each quick interval covers the committed value.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
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


def settings(path: Path) -> dict[str, dict[str, Any]]:
    """The quick settings by notebook number, such as "02"; NotebookError for a file that holds anything else."""
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise NotebookError(
            f"{path}: not readable as YAML ({error}); mend it or take the committed one"
        ) from None
    if not isinstance(read, dict):
        raise NotebookError(
            f"{path} holds {read!r}: write one entry for each notebook, such as '02': {{...}}"
        )
    for name, entry in read.items():
        if not isinstance(name, str) or not isinstance(entry, dict) or not set(entry) <= KEYS:
            raise NotebookError(
                f"{path}: the entry {name!r} is {entry!r}; quote the number, and give {', '.join(sorted(KEYS))} only"
            )
    return read


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
        interval = f"{after[column]:.2f} [{after['low']:.2f}, {after['high']:.2f}]"
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
    return "".join(
        output.text for output in outputs if output.output_type == "stream" and output.name == "stdout"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lalm_utils.cli.quick", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--only", default="", metavar="02", help="only notebooks whose names begin like this")
    args = parser.parse_args(arguments)
    try:
        paths = execute.find(execute.NOTEBOOKS, args.only)
        entries = settings(execute.NOTEBOOKS / "quick.yaml")
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 1
    lines, records, errors = _run(paths, entries)
    print("\n".join(lines))
    if records:
        print("\n" + pd.DataFrame(records).fillna("").to_string(index=False))
    print("\n".join(errors), file=sys.stderr)
    return 1 if errors else 0


def _run(
    paths: Sequence[Path], entries: Mapping[str, Mapping[str, Any]]
) -> tuple[list[str], list[dict], list[str]]:
    """Execute the notebooks in order, saying the time left: the closing lines, the records of coverage and the errors.

    A notebook that fails is told at the end; the others are executed all the same.
    """
    cost = {path: float(entries.get(path.name[:2], {}).get("minutes", 0)) for path in paths}
    unknown = [path.name for path in paths if not cost[path]]
    print(
        f"{len(paths)} notebooks into {OUT}: about {sum(cost.values()):.0f} minutes on 2 cores after downloads"
    )
    if unknown:
        print(f"no time is known for {', '.join(unknown)}")
    lines, records, errors, start = [], [], [], time.monotonic()
    for number, path in enumerate(paths):
        entry, left = entries.get(path.name[:2], {}), sum(cost[other] for other in paths[number:])
        sizes = entry.get("parameters") or "its own parameters"
        print(f"{path.name}: {number + 1} of {len(paths)}, {sizes}, about {left:.0f} min left", flush=True)
        figures, copy = OUT / "figures" / path.name[:2], OUT / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        parameters = {"FIGURES": str(figures), **(entry.get("parameters") or {})}
        try:
            minutes = execute.execute(path, parameters=parameters, out=copy) / 60
            records += coverage(path.name[:2], entry.get("headline") or [], figures, COMMITTED)
        except NotebookError as error:
            errors.append(str(error))
            lines.append(f"\n{path.name}: failed, see below")
            continue
        lines += [f"\n{path.name}: {minutes:.1f} min", answer(copy).rstrip()]
    return [*lines, f"\nall: {(time.monotonic() - start) / 60:.1f} min"], records, errors


if __name__ == "__main__":
    sys.exit(main())
