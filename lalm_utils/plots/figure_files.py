"""A figure's three files: the CSV of its table, and the SVG and PNG drawn from that CSV.

In: a figure's name and its table. Out: files, the same bytes for the same table: `save` draws from the CSV it
has just written, so that `redraw` needs nothing else.
"""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

# Importing the two modules of figures is what fills FIGURES.
from lalm_utils.plots import drawing, figures, training_figures
from lalm_utils.plots.drawing import FIGURES, FigureError

__all__ = ["FIGURES", "FigureError", "destination", "figures", "redraw", "render", "save", "training_figures"]


def save(name: str, table: pd.DataFrame, folder: str | Path) -> Path:
    """Write `folder`/name.csv, .svg and .png, and return the PNG's path. The folder is made if absent.

    Raises FigureError for a name that is not in FIGURES or a table that cannot be drawn: nothing is written.
    """
    _draw(name, table)
    csv = Path(folder, f"{name}.csv")
    csv.parent.mkdir(parents=True, exist_ok=True)
    text = table.to_csv(index=False, float_format="%.10g", lineterminator="\n")
    csv.write_text(text, encoding="utf-8", newline="\n")
    return redraw(csv)


def destination(folder: str | Path, *, model: str, benchmark: str) -> Path:
    """Where a notebook's figures go: a run on another model or benchmark must not replace the default's.

    `folder` itself for the embedded pair, else a folder in it that is named after both. A relative `folder`
    is taken from the repository's root, wherever the notebook is executed; without a checkout, from there.
    """
    root = Path(__file__).resolve().parents[2]
    base = (root if (root / "pyproject.toml").is_file() else Path.cwd()) / folder
    names = [Path(name).name for name in (model, benchmark)]
    return base if names == ["mini", "mini"] else base / "-".join(names)


def redraw(csv: str | Path) -> Path:
    """Draw the SVG and PNG beside a CSV that `save` wrote, and return the PNG's path."""
    csv = Path(csv)
    figure = _draw(csv.stem, pd.read_csv(csv, dtype=str, keep_default_na=False))
    for kind in ("svg", "png"):
        csv.with_suffix(f".{kind}").write_bytes(render(figure, kind))
    return csv.with_suffix(".png")


def render(figure: Figure, kind: str = "png", *, dpi: float | None = None) -> bytes:
    """The figure as the bytes of a "png" or "svg" file, free of dates and random ids.

    dpi: pixels per inch of a "png", by default the style's.
    """
    file = io.BytesIO()
    with mpl.rc_context(fname=drawing.STYLE):
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(file, format=kind, metadata=metadata, dpi=dpi or mpl.rcParams["savefig.dpi"])
    return file.getvalue()


def _draw(name: str, table: pd.DataFrame) -> Figure:
    if name not in FIGURES:
        names = ", ".join(FIGURES)
        raise FigureError(f"no figure is named {name!r}: the figures are {names}; add it to figures.py")
    return FIGURES[name](table)
