"""Figures of risk over coverage: every score of confidence a curve, every method a point or a curve of its scales.

In: a tidy table. Out: a matplotlib Figure, registered in drawing.FIGURES.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from lalm_utils.plots import drawing
from lalm_utils.plots.drawing import figure, label

__all__ = ["risk_coverage", "risk_coverage_open", "risk_coverage_trained"]
KINDS = ("score", "method", "scales", "reference")
COLUMNS = {"text": "series kind", "numbers": "coverage value low high n"}
DASHES = ("-", "--", ":")


@figure(**COLUMNS)
def risk_coverage(table: pd.DataFrame) -> Figure:
    """The share of wrong answers over the share of questions answered.

    A row per point: series (name of a score or method); kind ("score": points of a curve, the first one with its
    interval as a band; "method": a point; "scales": points that a thin line joins; "reference": points of a thin grey
    curve); coverage; value; low, high; n (questions).
    """
    return _risk_over_coverage(table, "What does it cost to be wrong less often?")


@figure(**COLUMNS)
def risk_coverage_trained(table: pd.DataFrame) -> Figure:
    """Curves of models trained to decline, beside the untrained model's own probability; rows as above."""
    return _risk_over_coverage(table, "Does training to decline draw a better curve?")


@figure(**COLUMNS)
def risk_coverage_open(table: pd.DataFrame) -> Figure:
    """Curves of scores for open answers; rows as above."""
    return _risk_over_coverage(table, "Without options, what does it cost to be wrong less often?")


def _risk_over_coverage(table: pd.DataFrame, title: str) -> Figure:
    drawing.refuse_unknown(table["kind"], KINDS, "kinds")
    fig, ((ax,),) = drawing.sheet(
        title,
        f"Wrong answers among the answered, 95 % intervals · {table['n'].max():,.0f} questions"
        f"{drawing.run_label(table)}",
        height=6.6,
    )  # fmt: skip
    for kind, draw in (("reference", _reference), ("score", _curve), ("scales", _scales), ("method", _point)):
        for k, (name, rows) in enumerate(table[table["kind"] == kind].groupby("series", sort=False)):
            # the points of scales keep their order: coverage need not fall as the scale rises
            rows = rows if kind == "scales" else rows.sort_values("coverage")
            draw(ax, label(name, at_most=44), rows, k)
    ax.set(xlim=(0, 1.02), xlabel="Answered (% of questions)", ylabel="Wrong (% of answered)")
    ax.set_ylim(0, None)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
    ax.grid(axis="y")
    drawing.legend(fig)
    return fig


def _reference(ax: Axes, name: str, rows: pd.DataFrame, k: int) -> None:
    ax.plot(rows["coverage"], rows["value"], DASHES[1 + k % 2], color=drawing.GREY, linewidth=1, label=name)


def _curve(ax: Axes, name: str, rows: pd.DataFrame, k: int) -> None:
    colour = drawing.COLOURS[k % len(drawing.COLOURS)]
    if k == 0:
        ax.fill_between(rows["coverage"], rows["low"], rows["high"], color=colour, alpha=0.15, lw=0)
    look = {"color": colour, "linewidth": 2 if k == 0 else 1.2}
    ax.plot(rows["coverage"], rows["value"], DASHES[k // len(drawing.COLOURS) % 3], label=name, **look)


def _scales(ax: Axes, name: str, rows: pd.DataFrame, k: int) -> None:
    look = {"color": "black", "linewidth": 0.9, "markersize": 4}
    ax.plot(rows["coverage"], rows["value"], DASHES[k % 3], marker=".", label=name, **look)


def _point(ax: Axes, name: str, rows: pd.DataFrame, k: int) -> None:
    ax.vlines(rows["coverage"], rows["low"], rows["high"], color="black", linewidth=1, zorder=4)
    marker = drawing.MARKERS[k % len(drawing.MARKERS)]
    look = {"color": "black", "markerfacecolor": "white", "markersize": 7, "zorder": 5, "linestyle": ""}
    ax.plot(rows["coverage"], rows["value"], marker, label=name, clip_on=False, **look)
