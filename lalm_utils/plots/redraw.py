"""Redraw figures from the CSVs beside them: `python -m lalm_utils.plots.redraw [FOLDER]`. No model is needed.

In: a folder of CSVs that figure_files.save wrote (default: figures/ of this repository). Out: each one's SVG
and PNG, byte for byte what `save` wrote.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lalm_utils.plots import figure_files
from lalm_utils.plots.figure_files import FIGURES, FigureError

FOLDER = Path(__file__).resolve().parents[2] / "figures"


def redraw_folder(folder: Path) -> list[Path]:
    """Redraw every CSV in `folder` and below it, and return the PNGs.

    Raises FigureError where there is no CSV, or one that is no figure's; then nothing is redrawn.
    """
    csvs = sorted(Path(folder).rglob("*.csv"))
    if not csvs:
        raise FigureError(f"{folder}: no CSV to redraw; run the notebooks first (make publish)")
    unknown = [csv.name for csv in csvs if csv.stem not in FIGURES]
    if unknown:
        raise FigureError(
            f"{folder}: {', '.join(unknown)} belongs to none of the figures {', '.join(sorted(FIGURES))}: "
            "remove the file, or add its drawing function to figures.py"
        )
    return [figure_files.redraw(csv) for csv in csvs]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="lalm_utils.plots.redraw", description="Redraw figures from their CSVs."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="default: figures/")
    try:
        for png in redraw_folder(parser.parse_args(arguments).folder):
            print(f"{png}: redrawn")
    except FigureError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
