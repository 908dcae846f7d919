"""A figure's three files: the CSV of its table, and the SVG and PNG drawn from that CSV.

In: a figure's name and its table. Out: files, the same bytes for the same table: `save` draws from the CSV it
has just written, so that `redraw` needs nothing else.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

# Importing the modules of figures is what fills FIGURES.
from lalm_utils.plots import (
    drawing,
    faithfulness_figures,
    figures,
    risk_figures,
    training_figures,
    trust_figures,
)
from lalm_utils.plots.drawing import FIGURES, FigureError

__all__ = [
    "FIGURES", "FigureError", "destination", "faithfulness_figures", "figures", "redraw", "render", "risk_figures",
    "save", "training_figures", "trust_figures",
]  # fmt: skip


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


def destination(
    folder: str | Path,
    *,
    model: str,
    benchmark: str,
    n: int | None = None,
    seed: int = 0,
    default_n: int | None = None,
) -> Path:
    """Where a notebook's figures go: no run may replace those of another one, and a trial not the committed ones.

    `folder` itself for the embedded pair by the notebook's own settings. Else a folder in it, called after model,
    benchmark and what of `n` and `seed` is not the default, and, since names may end alike, the hash of all of these
    with paths whole. default_n: the notebook's own `n`; without it any `n` counts as that.

    A relative `folder` is taken from the root of the repository in which the notebook is executed, else of the one
    that this package lies in; without a checkout, from the current folder.
    """
    base = (_checkout() or Path.cwd()) / folder
    trial = default_n is not None and n != default_n
    if (model, benchmark, seed) == ("mini", "mini", 0) and not trial:
        return base
    names = [re.sub(r"[^\w.-]+", "_", Path(name).name) or "run" for name in (model, benchmark)]
    names += [
        f"{letter}{value}"
        for letter, value, usual in (("n", n, default_n or n), ("seed", seed, 0))
        if value != usual
    ]
    whole = [_whole(model), _whole(benchmark), n, seed]
    return base / "-".join([*names, hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:8]])


def _whole(name: str) -> str:
    """A path from the root, so that equal names in two places differ; "mini", a hub id or a server as it is."""
    path = Path(name).expanduser()
    return str(path.resolve()) if name != "mini" and path.exists() else name


def _checkout() -> Path | None:
    """The root of the repository around the current folder, else of the one around this file; None without any."""
    working_dir, package_root = Path.cwd(), Path(__file__).resolve().parents[2]
    around = (
        root
        for root in (working_dir, *working_dir.parents)
        if (root / "lalm_utils" / "__init__.py").is_file()
    )
    return next((root for root in (*around, package_root) if (root / "pyproject.toml").is_file()), None)


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
        names = ", ".join(sorted(FIGURES))
        raise FigureError(f"no figure is named {name!r}: the figures are {names}; add it to figures.py")
    return FIGURES[name](table)
