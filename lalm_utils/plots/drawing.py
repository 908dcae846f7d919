"""What figures are made of: their registry, a sheet of panels, dots with intervals, lines, heat maps, flows, a legend.

In: numbers and labels. Out: a fresh Figure, or artists on an Axes. figures.py and training_figures.py say which
column goes where.

Labels come from data: `label` takes their line breaks and dollar signs (which would start a formula) away and
cuts what is too long.
"""

from __future__ import annotations

import functools
import math
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Curve
from matplotlib.ticker import MaxNLocator, PercentFormatter
from seaborn.utils import relative_luminance

STYLE = Path(__file__).with_name("figures.mplstyle")
WIDTH = 8.0  # inches
HEADER = 0.66  # inches kept for the title and one line of subtitle
SUBTITLE = 116  # characters in a line of it
SMALL = 7.5  # points, of crowded labels
GREY = "#777777"
OUTCOMES = {
    "correct": "#0173b2",
    "wrong": "#d55e00",
    "refused": "#ece133",
    "unreadable": "#949494",
    "failed": "#333333",
}
MARKERS = "osD^vPX*"
# Seaborn's palette, in an order in which the first four differ in lightness as well as in hue.
COLOURS = tuple(sns.color_palette("colorblind").as_hex()[k] for k in (0, 3, 2, 4, 1, 9, 5, 7))
NULL = "null: refusing at random, log₁₀(Nw/Nc)"
POOLED_GROUPS = ("overall", "all")
GROUP_ORDER = ("sound", "music", "speech", "easy", "medium", "hard")
RUN_COLUMNS = ("model", "benchmark", "seed")  # optional text columns of every figure's table
SHARES = {
    "accuracy": "Accuracy", "truthfulness": "Truthfulness", "rejection_rate": "Rejection rate",
    "reliability": "Reliability", "delta_con": "ΔCon", "delta_hum": "ΔHum",
}  # fmt: skip
INDICES = {
    "rgi": "RGI", "rgi_excess": "RGI excess over null", "refusal_rgi": "Refusal-only RGI",
    "refusal_excess": "Refusal-only excess", "youden": "Youden's J",
    "refusal_youden": "Youden's J of refusals",
}  # fmt: skip
FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {}


class FigureError(ValueError):
    """A table that cannot be drawn, or a name that no figure has; the message says what to do."""


# --- the registry ---


def figure(*, text: str, numbers: str, optional: str = "", optional_numbers: str = "") -> Callable:
    """Register a drawing function in FIGURES under its own name.

    text, numbers: the columns that its table must have; optional, optional_numbers: "" and NaN where the table
    lacks them. The registered function takes any dtypes (categories, nullable integers, the strings of a CSV)
    and gives the drawing function a copy of the table with str and float columns. It raises FigureError for a
    missing column, a cell that is no number, or a table without rows.
    """

    def register(function: Callable[[pd.DataFrame], Figure]) -> Callable[[pd.DataFrame], Figure]:
        name, module = function.__name__, function.__module__.rpartition(".")[2]

        @functools.wraps(function)
        def draw(table: pd.DataFrame) -> Figure:
            absent = [column for column in (text + " " + numbers).split() if column not in table.columns]
            if absent or table.empty:
                gap = f"the columns {absent}" if absent else "rows"
                raise FigureError(f"{name}: the table lacks {gap}; see the docstring of {module}.{name}")
            table = table.reset_index(drop=True)
            for column in [*text.split(), *optional.split(), *RUN_COLUMNS]:
                values = table[column].astype(object) if column in table else pd.Series("", table.index)
                table[column] = values.where(values.notna(), "").map(str)
            for column in [*numbers.split(), *optional_numbers.split()]:
                table[column] = _to_float(table[column], name) if column in table else math.nan
            with mpl.rc_context(fname=STYLE):
                return function(table)

        FIGURES[name] = draw
        return draw

    return register


def _to_float(column: pd.Series, name: str) -> pd.Series:
    values = column.astype(object)
    try:
        return pd.to_numeric(values.where(values.notna() & (values != ""), np.nan)).astype(float)
    except (ValueError, TypeError) as error:
        raise FigureError(f"{name}: column {column.name!r} is to hold numbers: {error}") from None


def refuse_unknown(values: Iterable[str], names: Collection[str], noun: str) -> None:
    """FigureError for values that are none of `names`; `noun` says what they are, in the plural."""
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise FigureError(f"{noun} {unknown} cannot be drawn: the {noun} are {', '.join(names)}")


# --- texts and the sheet ---


def label(name: str, *, width: int = 0, at_most: int = 48) -> str:
    """A name from data as a label: one line, or lines of `width` characters, no more than `at_most` in all."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    plain = plain if len(plain) <= at_most else plain[: at_most - 1].rstrip() + "…"
    return (textwrap.fill(plain, width) if width else plain).replace("$", r"\$")


def metric_name(metric: str) -> str:
    """A metric as a panel's title."""
    return (SHARES | INDICES).get(metric) or label(metric.replace("_", " "))


def metric_label(metric: str) -> str:
    """A metric with its unit, as an axis label."""
    return f"{metric_name(metric)} ({'%' if metric in SHARES else 'no unit'})"


def run_label(table: pd.DataFrame) -> str:
    """The end of a subtitle: the model, benchmark and seed that the table names."""
    names = {column: ", ".join(filter(None, dict.fromkeys(table[column]))) for column in RUN_COLUMNS}
    return "".join(f" · {column} {label(name, at_most=90)}" for column, name in names.items() if name)


def count_items(table: pd.DataFrame, *columns: str) -> str:
    """How many questions a table is about: the n of the pooled groups of `columns`, or else their groups' sum."""
    for column in columns:
        pooled = table[table[column].isin(POOLED_GROUPS)]
        table = table if pooled.empty else pooled
    return f"{table.groupby(list(columns))['n'].max().sum():,.0f}"


def sort_groups(values: pd.Series, first: Sequence[str] = ()) -> list[str]:
    """Each value once: `first`, the papers' order, the others as they appear, the pooled ones last."""
    order = [*first, *GROUP_ORDER]
    rank = {value: order.index(value) if value in order else len(order) for value in values}
    return sorted(dict.fromkeys(values), key=lambda value: (value in POOLED_GROUPS, rank[value]))


def sheet(
    title: str, subtitle: str, *, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A figure with title and subtitle above a grid of axes [shape=(rows, columns)].

    height: inches, with one line of subtitle; it grows with a second. options go to Figure.subplots.
    """
    lines = textwrap.wrap(subtitle, SUBTITLE, max_lines=2, placeholder=" …")
    more = 0.16 * (len(lines) - 1)
    height += more
    fig = Figure(figsize=(WIDTH, height), layout="constrained")
    fig.get_layout_engine().set(rect=(0, 0, 1, 1 - (HEADER + more) / height), wspace=0.06, hspace=0.06)
    look = {"ha": "left", "va": "top"}
    fig.text(0.012, 1 - 0.1 / height, title, fontsize=12.5, fontweight="bold", **look)
    fig.text(0.012, 1 - 0.38 / height, "\n".join(lines), fontsize=9.5, color="#555555", **look)
    return fig, fig.subplots(rows, columns, squeeze=False, **options)


def legend(fig: Figure, order: Sequence[str] = ()) -> None:
    """One legend for all panels, below them: each label once, those in `order` first."""
    handles = {}
    for ax in fig.axes:
        for handle, name in zip(*ax.get_legend_handles_labels()):
            handles.setdefault(name, handle)
    names = sorted(handles, key=lambda name: order.index(name) if name in order else len(order))
    columns = len(names) if sum(len(name) + 5 for name in names) < 105 else 2
    fig.legend([handles[name] for name in names], names, loc="outside lower center", ncols=columns)


# --- axes ---


def category_axis(ax: Axes, names: Sequence[str], *, vertical: bool = False, crowded: bool = False) -> None:
    """Name the categories, one unit each: rows with the first on top, or with `vertical` dots, columns."""
    size = SMALL if crowded else 9.5 if len(names) <= 6 else 8.5
    if vertical:
        ax.set_xticks(range(len(names)), names, fontsize=size)
        ax.set_xlim(-0.6, len(names) - 0.4)
    else:
        ax.set_yticks(range(len(names)), names, fontsize=size)
        ax.set_ylim(len(names) - 0.5, -0.5)


def percent_axis(ax: Axes, name: str) -> None:
    """The y axis is a share in [0, 1], shown in per cent."""
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    ax.set(ylim=(0, 1), ylabel=name)


def metric_axis(ax: Axes, metric: str, values: np.ndarray) -> None:
    """Scale the x axis for a metric: a share from 0 to 100 %, an index around its zero."""
    if metric in SHARES:
        ax.set(xlim=(-0.04, 1.04), xticks=[0, 0.5, 1], xticklabels=["0", "50", "100"])
    else:
        ax.set_xlim(axis_limits(values))
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    ax.set_xlabel("% of questions" if metric in SHARES else "no unit", fontsize=8.5)
    ax.tick_params(axis="x", labelsize=8.5)
    ax.grid(axis="x")


def axis_limits(values: np.ndarray) -> tuple[float, float]:
    """Limits that hold every finite value and zero, with a margin."""
    finite = np.append(values[np.isfinite(values)], [-0.1, 0.1])
    margin = 0.08 * np.ptp(finite)
    return float(finite.min() - margin), float(finite.max() + margin)


# --- dots and lines ---


def dots(
    ax: Axes, table: pd.DataFrame, categories: Sequence[str], series: Sequence[str] = ("",), *,
    vertical: bool = False, hollow: bool = True, step: float = 0.3, notes: Mapping[str, str] | None = None,
    reference: str = "reference",
) -> None:  # fmt: skip
    """A dot with its interval for each row of `table`; the series of a category stand side by side.

    Columns: category, series (optional), value, low, high; reference (optional: a black tick, named `reference`
    in the legend), text (optional: what stands above the dot). The value's axis is scaled already. A series picks
    colour and marker; with `hollow`, all but the first are empty. A value without a place on the axis is a note
    at its edge, "undefined", "+∞" or "−∞" (`notes` replaces these words), and so is an infinite bound.
    """
    table = table.assign(series=table.get("series", ""))
    limits = ax.get_ylim() if vertical else ax.get_xlim()
    line = ax.vlines if vertical else ax.hlines
    for row in table.itertuples(index=False):
        beside = set(table.loc[table["category"] == row.category, "series"])
        beside = [name for name in series if name in beside]
        at = categories.index(row.category) + step * (beside.index(row.series) - (len(beside) - 1) / 2)
        kind = series.index(row.series)
        colour = COLOURS[kind % len(COLOURS)]
        if not (math.isnan(row.low) or math.isnan(row.high)):
            line(at, *np.clip((row.low, row.high), *limits), color=colour)
            for bound in filter(math.isinf, (row.low, row.high)):
                if bound != row.value:
                    _note(ax, at, bound, f"to {_infinity(bound)}", colour, vertical)
        if math.isfinite(getattr(row, "reference", math.nan)):
            ends = (row.reference, at) if not vertical else (at, row.reference)
            ax.plot(
                *ends,
                "_" if vertical else "|",
                color="black",
                markersize=12,
                markeredgewidth=1.8,
                label=reference,
            )
        text = getattr(row, "text", "")
        if math.isfinite(row.value):
            look = {"color": colour, "markerfacecolor": "white" if hollow and kind else colour}
            ends = (at, row.value) if vertical else (row.value, at)
            name = label(row.series, at_most=90)
            ax.plot(
                *ends,
                MARKERS[kind % len(MARKERS)],
                label=name,
                markeredgewidth=1.5,
                zorder=3,
                clip_on=False,
                **look,
            )
        else:
            text = "undefined" if math.isnan(row.value) else _infinity(row.value)
            text = (notes or {}).get(text, text)
        if text:
            _note(ax, at, row.value, text, colour, vertical)


def _infinity(value: float) -> str:
    return "+∞" if value > 0 else "−∞"


def _note(ax: Axes, at: float, value: float, text: str, colour: str, vertical: bool) -> None:
    """A short text above (value, at), inside the axis: infinities at its ends, what is undefined in its middle."""
    low, high = ax.get_ylim() if vertical else ax.get_xlim()
    position = (low + high) / 2 if math.isnan(value) else min(max(value, low), high)
    align = "right" if value >= high else "left" if value <= low else "center"
    look = {"size": 8, "color": colour, "ha": "center" if vertical else align, "zorder": 2.5}
    look["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.8}
    xy = (at, position) if vertical else (position, at)
    ax.annotate(text, xy, (0, 6), textcoords="offset points", annotation_clip=False, **look)


def line(
    ax: Axes, x: np.ndarray, y: np.ndarray, low: np.ndarray, high: np.ndarray, *, kind: int, band: bool = True
) -> str:
    """A line with markers through (x, y) and its interval as a band or as bars; the line's colour.

    Values that are not finite leave a gap, infinite ones with a note at the edge.
    """
    colour = COLOURS[kind % len(COLOURS)]
    finite = np.where(np.isfinite(y), y, np.nan)
    look = {"color": colour, "markersize": 5, "zorder": 3, "clip_on": False}
    ax.plot(x, finite, "-" + MARKERS[kind % len(MARKERS)], **look)
    if band:
        where = np.isfinite(low) & np.isfinite(high)
        ax.fill_between(x, low, high, where=where, color=colour, alpha=0.15, lw=0)
    else:
        ax.vlines(x, low, high, color=colour, linewidth=1)
    for k in np.flatnonzero(np.isinf(y)):
        look = {"color": colour, "ha": "center", "va": "top" if y[k] > 0 else "bottom", "fontsize": 9}
        ax.text(x[k], float(y[k] > 0), _infinity(y[k]), transform=ax.get_xaxis_transform(), **look)
    return colour


def line_ends(ax: Axes, ends: Sequence[tuple[float, str, str]], *, gap: float) -> None:
    """Name lines beside the right edge of `ax`: (y, name, colour), at least `gap` apart on the y axis."""
    ends = sorted((end for end in ends if math.isfinite(end[0])), key=lambda end: end[0])
    heights = spread([y for y, _, _ in ends], gap)
    for (_, name, colour), height in zip(ends, heights):
        ax.annotate(
            label(name, at_most=26), (1, height), (6, 0), xycoords=ax.get_yaxis_transform(),
            textcoords="offset points", va="center", fontsize=8.5, color=colour, annotation_clip=False,
        )  # fmt: skip


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Rising heights, pushed up until they are `gap` apart, then all moved back by the mean push."""
    pushed: list[float] = []
    for height in heights:
        pushed.append(max(height, pushed[-1] + gap) if pushed else height)
    back = float(np.mean(pushed) - np.mean(heights)) if pushed else 0.0
    return [height - back for height in pushed]


# --- areas ---


def heat_map(
    ax: Axes, values: np.ndarray, texts: Sequence[Sequence[str]], *, rows: Sequence[str], columns: Sequence[str],
    limits: tuple[float, float], colours: str, size: float = 8.5, frames: Sequence[tuple[int, int]] = (),
    scale: str = "",
) -> None:  # fmt: skip
    """A heat map with a text in each cell. A cell without a value is grey; those at `frames` have a frame.

    rows, columns: their labels; limits: the values at the ends of the colours; scale: the label of a colour bar
    below (empty: no bar).
    """
    sns.heatmap(
        np.clip(values, *limits), vmin=limits[0], vmax=limits[1], cmap=colours, ax=ax,
        xticklabels=columns, yticklabels=rows, cbar=bool(scale),
        cbar_kws={"label": scale, "location": "bottom", "pad": 0.02, "shrink": 0.9, "aspect": 24},
    )  # fmt: skip
    ax.set_facecolor("#e4e4e4")
    mesh = ax.collections[0]
    for (i, j), value in np.ndenumerate(values):  # seaborn's own texts are white on colours too light for it
        dark = not math.isnan(value) and relative_luminance(mesh.cmap(mesh.norm(value))) < 0.2
        look = {"ha": "center", "va": "center", "fontsize": size, "color": "white" if dark else "black"}
        ax.text(j + 0.5, i + 0.5, texts[i][j], **look)
    for i, j in frames:
        frame = Rectangle((j + 0.02, i + 0.02), 0.96, 0.96, fill=False, edgecolor="black", linewidth=1.6)
        ax.add_patch(frame)
    ax.tick_params(labelsize=8.5, labelrotation=0)


def alluvial(ax: Axes, flows: Mapping[tuple[str, str], float], *, bar: float = 0.15) -> None:
    """Two stacked bars of outcomes, at x = 0 and 1, each of height 1, and the bands between them.

    flows: (outcome before, outcome after) to a count; bar: half a bar's width.
    """
    total = sum(flows.values())
    pairs = [(a, b) for a in OUTCOMES for b in OUTCOMES if flows.get((a, b), 0) > 0]
    left, right = (_band_feet(pairs, flows, total, side) for side in (0, 1))
    for pair in pairs:
        _band(ax, left[pair], right[pair], flows[pair] / total, (bar, 1 - bar), OUTCOMES[pair[0]])
    for side, feet in enumerate((left, right)):
        free = 0.0
        for outcome in OUTCOMES:
            parts = [pair for pair in pairs if pair[side] == outcome]
            if parts:
                count, foot = sum(flows[pair] for pair in parts), min(feet[pair] for pair in parts)
                free = _segment(ax, side, outcome, count, (foot, count / total), bar, free)


def _band_feet(
    pairs: Sequence[tuple[str, str]], flows: Mapping[tuple[str, str], float], total: float, side: int
) -> dict[tuple[str, str], float]:
    """Where each flow's band begins on the bar of `side` (0 before, 1 after), as a share of the bar."""
    names, feet, level = list(OUTCOMES), {}, 0.0
    for pair in sorted(pairs, key=lambda pair: names.index(pair[side])):
        feet[pair] = level
        level += flows[pair] / total
    return feet


def _segment(
    ax: Axes, side: int, outcome: str, count: float, extent: tuple[float, float], bar: float, free: float
) -> float:
    """One outcome's share (foot, height) of one bar, with its count: inside the bar where it fits, else beside.

    `free` is the height from which there is room beside the bar; returns the new one.
    """
    foot, height = extent
    look = {"color": OUTCOMES[outcome], "edgecolor": "white", "linewidth": 0.8}
    ax.bar(side, height, 2 * bar, foot, label=outcome, **look)
    inside = height > 0.045
    x = side if inside else side + (bar + 0.03) * (1 if side else -1)
    colour = "white" if inside and outcome not in ("refused", "unreadable") else "black"
    align = "center" if inside else ("left" if side else "right")
    y = foot + height / 2 if inside else max(foot + height / 2, free)
    ax.text(x, y, f"{count:.0f}", ha=align, va="center", color=colour, fontsize=8.5)
    return free if inside else y + 0.05


def _band(ax: Axes, left: float, right: float, height: float, ends: tuple[float, float], colour: str) -> None:
    x0, x1 = ends
    top = [(x0, left + height), (0.5, left + height), (0.5, right + height), (x1, right + height)]
    bottom = [(x1, right), (0.5, right), (0.5, left), (x0, left)]
    codes = [Curve.MOVETO, *[Curve.CURVE4] * 3, Curve.LINETO, *[Curve.CURVE4] * 3, Curve.CLOSEPOLY]
    ax.add_patch(PathPatch(Curve([*top, *bottom, top[0]], codes), facecolor=colour, alpha=0.4, linewidth=0))
