"""A figure's three files: the CSV of its table, and the SVG and PNG drawn from that CSV.

In: a figure's name and its table. Out: files, the same bytes for the same table: `save` draws from the CSV it
has just written, so that `redraw` needs nothing else. This module knows which figures exist, from their
`@figure` registrations, and nothing about what they show.
"""

from __future__ import annotations

import functools
import importlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lalm_utils.plots import marks

Drawing = Callable[[pd.DataFrame], Figure]
FIGURES: dict[str, Drawing] = {}
# The modules that hold figures, imported when a name is asked for that nobody has registered yet.
HOLDERS = ("figures", "method_figures", "training_figures", "transfer_figures", "cost_figures")
MADE_BY = ("model", "benchmark", "seed")  # optional text columns of every figure's table


class FigureError(ValueError):
    """A table that cannot be drawn, or a name that no figure has; the message says what to do."""


def figure(*, text: str, numbers: str, optional: str = "") -> Callable[[Drawing], Drawing]:
    """Register a drawing function under its own name.

    text, numbers: the columns that its table must have; optional: text columns, "" where the table lacks
    them. The registered function takes any dtypes (categories, nullable integers, the strings of a CSV) and
    gives the drawing function a copy of the table with str and float columns. It raises FigureError for a
    missing column, a cell that is no number, or a table without rows.
    """

    def register(draw: Drawing) -> Drawing:
        name, module = draw.__name__, draw.__module__.rpartition(".")[2]

        @functools.wraps(draw)
        def drawn(table: pd.DataFrame) -> Figure:
            absent = [column for column in (text + " " + numbers).split() if column not in table.columns]
            if absent or table.empty:
                what = f"the columns {absent}" if absent else "rows"
                raise FigureError(f"{name}: the table lacks {what}; see the docstring of {module}.{name}")
            table = _texts(table, [*text.split(), *optional.split(), *MADE_BY])
            with mpl.rc_context(fname=marks.STYLE):
                return draw(_numbers(table, numbers.split(), name))

        FIGURES[name] = drawn
        return drawn

    return register


def save(name: str, table: pd.DataFrame, folder: str | Path) -> Path:
    """Write `folder`/name.csv, .svg and .png, and return the PNG's path. The folder is made if absent.

    Raises FigureError for a name that is not in FIGURES or a table that cannot be drawn: nothing is written.
    """
    _drawing(name)(table)
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
    drawing = _drawing(csv.stem)
    drawn = drawing(pd.read_csv(csv, dtype=str, keep_default_na=False))
    for kind in ("svg", "png"):
        csv.with_suffix(f".{kind}").write_bytes(render(drawn, kind))
    return csv.with_suffix(".png")


def render(drawn: Figure, kind: str = "png") -> bytes:
    """The figure as the bytes of a "png" or "svg" file, free of dates and random ids."""
    file = io.BytesIO()
    with mpl.rc_context(fname=marks.STYLE):
        drawn.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def known() -> dict[str, Drawing]:
    """FIGURES, with those of modules that nobody has imported yet."""
    for module in HOLDERS:
        importlib.import_module(f"lalm_utils.plots.{module}")
    return FIGURES


def _drawing(name: str) -> Drawing:
    if name not in FIGURES and name not in known():
        names = ", ".join(FIGURES)
        raise FigureError(f"no figure is named {name!r}: the figures are {names}; add it to figures.py")
    return FIGURES[name]


def _texts(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """A copy whose `columns` are str, "" where empty or absent."""
    absent = {column: "" for column in columns if column not in table.columns}
    copy = table.reset_index(drop=True).assign(**absent)
    for column in columns:
        values = copy[column].astype(object)
        copy[column] = values.where(values.notna(), "").map(str)
    return copy


def _numbers(table: pd.DataFrame, columns: Sequence[str], name: str) -> pd.DataFrame:
    """The table with `columns` as float, NaN where empty."""
    for column in columns:
        values = table[column].astype(object)
        try:
            table[column] = pd.to_numeric(values.where(values.notna() & (values != ""), np.nan)).astype(float)
        except (ValueError, TypeError) as error:
            raise FigureError(f"{name}: column {column!r} is to hold numbers: {error}") from None
    return table
