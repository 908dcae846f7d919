"""What the figures of methods and of transfer share: a sheet of panels, rows of points, lines, heat maps.

In: numbers and labels. Out: marks on an Axes. This module knows no table's meaning and no file;
method_figures.py and transfer_figures.py say which column goes where. Simple marks are in marks.py.

Labels come from data: `label` takes their line breaks and dollar signs (which would start a formula) away and
cuts what is too long for its place.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from lalm_utils.plots import marks

# The tables of all figures are ordered, summed and attributed in one way.
from lalm_utils.plots.figures import POOLED, made_by, ordered, span

__all__ = ["POOLED", "made_by", "ordered", "span"]

SHARES = {
    "accuracy": "Accuracy", "truthfulness": "Truthfulness", "rejection_rate": "Rejection rate",
    "reliability": "Reliability", "delta_con": "ΔCon", "delta_hum": "ΔHum",
}  # fmt: skip
INDICES = {
    "rgi": "RGI", "rgi_excess": "RGI excess over null", "refusal_rgi": "Refusal-only RGI",
    "refusal_excess": "Refusal-only excess", "youden": "Youden's J",
}  # fmt: skip
SMALL = 7.5


def sheet(
    title: str, subtitle: str, *, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A figure as marks.sheet gives it, with a grid of axes [shape=(rows, columns)] and a title that fits.

    options go to Figure.subplots (sharex, sharey, width_ratios, ...).
    """
    fig, (ax,) = marks.sheet(title, label(subtitle, at_most=300), height=height)
    ax.remove()
    fig.get_layout_engine().set(wspace=0.08 if columns > 1 else 0.05, hspace=0.06)
    fit(fig.texts[1], marks.WIDTH - 0.2)
    return fig, fig.subplots(rows, columns, squeeze=False, **options)


def fit(text: Text, inches: float) -> None:
    """Make a text at most that wide: down to SMALL by its size, then by cutting its end."""
    width = text.get_window_extent().width / text.figure.dpi
    if width > inches:
        text.set_fontsize(max(text.get_fontsize() * inches / width, SMALL))
        width = text.get_window_extent().width / text.figure.dpi
    while width > inches:
        text.set_text(text.get_text()[: int(len(text.get_text()) * inches / width) - 2].rstrip(" ·\\") + "…")
        width = text.get_window_extent().width / text.figure.dpi


def label(name: str, *, width: int = 0, at_most: int = 48) -> str:
    """A name from data as a label: one line, or lines of `width` characters, no more than `at_most` in all."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    plain = plain if len(plain) <= at_most else plain[: at_most - 1].rstrip() + "…"
    return (textwrap.fill(plain, width) if width else plain).replace("$", r"\$")


def name_of(metric: str) -> str:
    """A metric as a panel's title."""
    return (SHARES | INDICES).get(metric) or label(metric.replace("_", " "))


def with_unit(metric: str) -> str:
    """A metric with its unit, as an axis label."""
    return f"{name_of(metric)} ({'%' if metric in SHARES else 'no unit'})"


def counted(table: pd.DataFrame, column: str) -> str:
    """How many questions a table is about: n of the pooled group of `column`, or else the sum of its groups."""
    each = table.groupby(column)["n"].max()
    pooled = each[each.index.isin(POOLED)]
    return f"{pooled.max() if len(pooled) else each.sum():,.0f}"


def rows_of(ax: Axes, names: Sequence[str], *, width: int = 18) -> None:
    """Name the rows of `ax`, the first on top, one unit of y each."""
    size = 9.5 if len(names) <= 6 else 8.5
    ax.set_yticks(range(len(names)), [label(name, width=width) for name in names], fontsize=size)
    ax.set_ylim(len(names) - 0.5, -0.5)


def values_of(ax: Axes, metric: str, values: np.ndarray, *, ticks: int = 3) -> tuple[float, float]:
    """Scale the x axis for a metric (a share from 0 to 100 %, an index around its zero); its limits."""
    share = metric in SHARES
    low, high = (-0.04, 1.04) if share else span(values)
    ax.set_xlim(low, high)
    if share:
        ax.xaxis.set_major_locator(mpl.ticker.FixedLocator(np.linspace(0, 1, ticks)))
        ax.xaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0, symbol="", decimals=0))
    else:
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(ticks + 1))
        ax.axvline(0, color=marks.GREY, linewidth=0.8, zorder=0)
    ax.set_xlabel("% of questions" if share else "no unit", fontsize=8.5)
    ax.tick_params(axis="x", labelsize=8.5)
    ax.grid(axis="x")
    return low, high


def point(
    ax: Axes, y: float, value: float, low: float, high: float, *, kind: int = 0, hollow: bool = False,
    name: str = "", said: str = "",
) -> None:  # fmt: skip
    """A value with its horizontal interval in row `y`; `said` stands above it.

    What lies beyond the axis' limits (an infinite value or bound) is an arrow at its edge; a value that is
    undefined is a word.
    """
    colour, edges = marks.COLOURS[kind % len(marks.COLOURS)], ax.get_xlim()
    if not (math.isnan(low) or math.isnan(high)):
        ax.hlines(y, *np.clip((low, high), *edges), color=colour)
        for bound, edge, arrow in zip((low, high), edges, "<>"):
            if not edges[0] <= bound <= edges[1]:
                ax.plot(edge, y, arrow, color=colour, markersize=5, clip_on=False)
    if math.isfinite(value):
        look = {"color": colour, "markerfacecolor": "white" if hollow else colour, "markeredgewidth": 1.5}
        ax.plot(
            value, y, marks.MARKERS[kind % len(marks.MARKERS)], label=name, zorder=3, clip_on=False, **look
        )
    else:
        said = "undefined" if math.isnan(value) else "+∞" if value > 0 else "−∞"
    place = {"+∞": edges[1], "−∞": edges[0]}.get(said, value if math.isfinite(value) else np.mean(edges))
    look = {
        "size": 10 if "∞" in said else 8,
        "color": colour,
        "ha": {"+∞": "right", "−∞": "left"}.get(said, "center"),
    }
    look["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.8}
    lift = (0, 6) if math.isfinite(value) else (0, -3)
    if said:
        ax.annotate(said, (place, y), lift, textcoords="offset points", zorder=2.5, **look)


def line(
    ax: Axes, x: np.ndarray, y: np.ndarray, low: np.ndarray, high: np.ndarray, *, kind: int, band: bool = True
) -> str:
    """A line with markers through (x, y) and its interval as a band or as bars; the line's colour.

    Values that are not finite leave a gap; infinite ones are arrows at the edge of the axis once it is scaled.
    """
    colour = marks.COLOURS[kind % len(marks.COLOURS)]
    shown = np.where(np.isfinite(y), y, np.nan)
    marker = "-" + marks.MARKERS[kind % len(marks.MARKERS)]
    ax.plot(x, shown, marker, color=colour, markersize=5, zorder=3, clip_on=False)
    if band:
        ax.fill_between(
            x, low, high, where=np.isfinite(low) & np.isfinite(high), color=colour, alpha=0.15, lw=0
        )
    else:
        ax.vlines(x, low, high, color=colour, linewidth=1)
    for place in np.flatnonzero(np.isinf(y)):
        edge, arrow = (1, "^") if y[place] > 0 else (0, "v")
        ax.plot(x[place], edge, arrow, color=colour, transform=ax.get_xaxis_transform(), clip_on=False)
    return colour


def ends(ax: Axes, places: Sequence[tuple[float, str, str]], *, gap: float) -> None:
    """Name lines beside the right edge of `ax`: (y, name, colour), at least `gap` apart on the y axis."""
    kept = sorted((place for place in places if math.isfinite(place[0])), key=lambda place: place[0])
    for (_, name, colour), height in zip(kept, spread([place[0] for place in kept], gap)):
        ax.annotate(
            label(name, at_most=26), (1, height), (6, 0), xycoords=ax.get_yaxis_transform(),
            textcoords="offset points", va="center", fontsize=8.5, color=colour, annotation_clip=False,
        )  # fmt: skip


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Rising heights moved as little as it takes to be `gap` apart: crowded ones share their middle."""
    groups: list[list[float]] = []
    for height in heights:
        groups.append([height])
        while len(groups) > 1 and _foot(groups[-1], gap) < _foot(groups[-2], gap) + gap * len(groups[-2]):
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_foot(group, gap) + gap * k for group in groups for k in range(len(group))]


def _foot(group: Sequence[float], gap: float) -> float:
    """Where the lowest of a group stands when its middle is the mean of its heights."""
    return float(np.mean(group)) - gap * (len(group) - 1) / 2


def heat(
    ax: Axes, values: np.ndarray, texts: Sequence[Sequence[str]], *, rows: Sequence[str], columns: Sequence[str],
    norm: Normalize, colours: str, size: float = 8.5, outlined: Sequence[tuple[int, int]] = (),
) -> None:  # fmt: skip
    """A heat map with a text in each cell. A cell without a value is grey; `outlined` cells have a frame.

    rows, columns: their labels (see `label`).
    """
    palette = mpl.colormaps[colours].with_extremes(bad="#e4e4e4")
    shown = np.clip(values, norm.vmin, norm.vmax)  # infinities at the ends of the scale
    ax.imshow(np.ma.masked_invalid(shown), cmap=palette, norm=norm, aspect="auto")
    for (i, j), value in np.ndenumerate(shown):
        red, green, blue, _ = (1, 1, 1, 1) if math.isnan(value) else palette(norm(value))
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        ax.text(
            j, i, texts[i][j], ha="center", va="center", fontsize=size, color="white" if dark else "black"
        )
    for i, j in outlined:
        frame = Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, fill=False, edgecolor="black", linewidth=1.4)
        ax.add_patch(frame)
    ax.set_xticks(range(len(columns)), columns, fontsize=8.5)
    ax.set_yticks(range(len(rows)), rows, fontsize=8.5)
    ax.spines[:].set_visible(False)


def around_zero(values: np.ndarray) -> TwoSlopeNorm:
    """A colour scale whose middle is zero and whose ends are equally far from it."""
    finite = np.abs(values[np.isfinite(values)])
    far = 1.2 * max(float(finite.max()) if finite.size else 0.0, 0.05)
    return TwoSlopeNorm(0, -far, far)
