"""What figures are made of: the sheet with its title, a point with its interval, a band of flows, the legend.

In: numbers and labels. Out: marks on an Axes, or a fresh Figure. This module knows no table and no file;
figures.py says which column goes where.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve
from matplotlib.ticker import PercentFormatter

STYLE = Path(__file__).with_name("figures.mplstyle")
WIDTH = 8.0  # inches
HEADER = 0.66  # inches kept for the title and subtitle
GREY = "#777777"
OUTCOMES = {
    "correct": "#0173b2",
    "wrong": "#d55e00",
    "refused": "#ece133",
    "unreadable": "#949494",
    "failed": "#333333",
}
MARKERS = "osD^vPX*"
NULL = "null: refusing at random, log₁₀(Nw/Nc)"
_PALETTE = sns.color_palette("colorblind").as_hex()
# the palette in an order whose neighbours differ in lightness as well as in hue
COLOURS = tuple(_PALETTE[k] for k in (0, 3, 2, 4, 1, 9, 5, 7))


def sheet(
    title: str, subtitle: str, *, height: float, panels: Sequence[float] = (1.0,)
) -> tuple[Figure, list[Axes]]:
    """A figure WIDTH by `height` inches: title, subtitle, and a row of panels of these relative widths."""
    fig = Figure(figsize=(WIDTH, height), layout="constrained")
    fig.get_layout_engine().set(rect=(0, 0, 1, 1 - HEADER / height), wspace=0.05)
    fig.text(0.012, 1 - 0.1 / height, title, ha="left", va="top", fontsize=12.5, fontweight="bold")
    fig.text(0.012, 1 - 0.38 / height, subtitle, ha="left", va="top", fontsize=9.5, color="#555555")
    axes = fig.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=panels)
    return fig, list(axes[0])


def point(
    ax: Axes, x: float, y: float, low: float, high: float, *, kind: int, hollow: bool = False, label: str = ""
) -> None:
    """A marker at (x, y) with a vertical interval; `kind` picks colour and shape, `hollow` empties it."""
    colour = COLOURS[kind % len(COLOURS)]
    if not (math.isnan(low) or math.isnan(high)):
        ax.vlines(x, low, high, color=colour)
    face = "white" if hollow else colour
    look = {"color": colour, "markerfacecolor": face, "markeredgewidth": 1.5}
    ax.plot(x, y, MARKERS[kind % len(MARKERS)], label=label, clip_on=False, zorder=3, **look)


def gain(
    ax: Axes, y: float, rgi: float, low: float, high: float, null: float, *,
    span: tuple[float, float], kind: int, hollow: bool, label: str,
) -> None:  # fmt: skip
    """A gain index with its horizontal interval, and its null as a tick; infinities are arrows at `span`."""
    colour = COLOURS[kind % len(COLOURS)]
    inside = [min(max(end, span[0]), span[1]) for end in (low, high)]
    if not math.isnan(low + high) or (math.isinf(low) and math.isinf(high)):
        ax.hlines(y, *inside, color=colour)
        for end, edge, arrow in zip((low, high), inside, "<>"):
            if math.isinf(end):
                ax.plot(edge, y, arrow, color=colour, markersize=5, clip_on=False)
    if math.isfinite(null):
        ax.plot(null, y, "|", color="black", markersize=15, markeredgewidth=2, label=NULL)
    if math.isfinite(rgi):
        face = "white" if hollow else colour
        look = {"color": colour, "markerfacecolor": face, "markeredgewidth": 1.5}
        ax.plot(rgi, y, MARKERS[kind % len(MARKERS)], label=label, zorder=3, **look)
    else:
        _say_no_value(ax, y, rgi, span[1] if rgi > 0 else span[0], colour)


def _say_no_value(ax: Axes, y: float, rgi: float, edge: float, colour: str) -> None:
    """Where a marker would stand, the reason why the index has no finite value."""
    right = rgi > 0
    if math.isnan(rgi):
        said = "RGI undefined: ΔHum = ΔCon = 0"
    else:
        said = "RGI = +∞: ΔCon = 0" if right else "RGI = −∞: ΔHum = 0"
    ax.annotate(
        said, (edge, y), xytext=(-8 if right else 8, 7), textcoords="offset points",
        ha="right" if right else "left", va="center", fontsize=8.5, color=colour,
    )  # fmt: skip


def alluvial(ax: Axes, flows: Mapping[tuple[str, str], float], total: float, *, bar: float = 0.15) -> None:
    """Two stacked bars, at x = 0 and 1, and the bands between them.

    flows: (outcome before, outcome after) to a count; total: the sum that is 1; bar: half a bar's width.
    Raises ValueError for an outcome that is not in OUTCOMES.
    """
    unknown = sorted({name for pair in flows for name in pair} - set(OUTCOMES))
    if unknown:
        raise ValueError(f"outcomes {unknown} cannot be drawn: the outcomes are {', '.join(OUTCOMES)}")
    pairs = [(a, b) for a in OUTCOMES for b in OUTCOMES if flows.get((a, b), 0) > 0]
    left, right = (_feet(pairs, flows, total, side) for side in (0, 1))
    for pair in pairs:
        _band(ax, left[pair], right[pair], flows[pair] / total, (bar, 1 - bar), OUTCOMES[pair[0]])
    for side, feet in enumerate((left, right)):
        free = 0.0
        for outcome in OUTCOMES:
            parts = [pair for pair in pairs if pair[side] == outcome]
            if parts:
                count, foot = sum(flows[pair] for pair in parts), min(feet[pair] for pair in parts)
                free = _stack(ax, side, outcome, count, (foot, count / total), bar, free)


def _feet(
    pairs: Sequence[tuple[str, str]], flows: Mapping[tuple[str, str], float], total: float, side: int
) -> dict[tuple[str, str], float]:
    """Where each flow's band begins on the bar of `side` (0 before, 1 after), as a share of the bar."""
    names, feet, level = list(OUTCOMES), {}, 0.0
    for pair in sorted(pairs, key=lambda pair: names.index(pair[side])):
        feet[pair] = level
        level += flows[pair] / total
    return feet


def _stack(
    ax: Axes, side: int, outcome: str, count: float, span: tuple[float, float], bar: float, free: float
) -> float:
    """One outcome's share (foot, height) of one bar, with its count: inside the bar where it fits, else beside.

    `free` is the height from which there is room beside the bar; returns the new one.
    """
    foot, height = span
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


def percent(ax: Axes, label: str, *, grid: Sequence[Axes] = ()) -> None:
    """Show the y axis, a share in [0, 1], in per cent; `grid` names the axes that get its lines."""
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    ax.set_ylabel(label)
    for other in grid:
        other.grid(axis="y")


def legend(fig: Figure, order: Sequence[str] = ()) -> None:
    """One legend for all panels, below them: each label once, those in `order` first."""
    handles = {}
    for ax in fig.axes:
        for handle, label in zip(*ax.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    labels = sorted(handles, key=lambda label: order.index(label) if label in order else len(order))
    columns = len(labels) if sum(len(label) + 5 for label in labels) < 105 else 2
    fig.legend([handles[label] for label in labels], labels, loc="outside lower center", ncols=columns)
