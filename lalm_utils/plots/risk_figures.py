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
MOST_COLOURS = 6
GREY_DASHES = (
    "-",
    (0, (6, 2)),
    (0, (3, 1.5)),
    (0, (1, 1)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (4, 1, 1, 1, 1, 1)),
    (0, (10, 3)),
)


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
    scores = table[table["kind"] == "score"]
    names = list(dict.fromkeys(scores["series"]))
    colours = _emphasis(scores)
    rest = "; in colour the first score and the lowest, middle and highest of the others" * (
        len(colours) < len(names)
    )
    fig, ((ax,),) = drawing.sheet(
        title,
        f"Wrong answers among the answered, 95 % intervals{rest} · {table['n'].max():,.0f} questions"
        f"{drawing.run_label(table)}",
        height=6.6,
    )  # fmt: skip
    table = table.assign(colour=table["series"].map(colours).fillna(""))
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
    order = [*dict.fromkeys(table.loc[table["kind"] == "reference", "series"]), *colours]
    drawing.legend(fig, [label(name, at_most=44) for name in order])  # grey curves come after those in colour
    return fig


def _reference(ax: Axes, name: str, rows: pd.DataFrame, k: int) -> None:
    ax.plot(rows["coverage"], rows["value"], DASHES[1 + k % 2], color=drawing.GREY, linewidth=1, label=name)


def _emphasis(scores: pd.DataFrame) -> dict[str, str]:
    """Scores with their colours: all up to six, else the first and the extremes and the middle of the others."""
    names = list(dict.fromkeys(scores["series"]))
    if len(names) > MOST_COLOURS:
        others = scores.groupby("series")["value"].mean().drop(names[0]).sort_values().index
        shown = {names[0], others[0], others[len(others) // 2], others[-1]}
        names = [name for name in names if name in shown]
    return dict(zip(names, drawing.COLOURS))


def _curve(ax: Axes, name: str, rows: pd.DataFrame, k: int) -> None:
    """A curve in its colour, the first with its band; without a colour grey, in dashes of its own."""
    colour = rows["colour"].iloc[0]
    if k == 0:
        band = {"color": colour, "alpha": 0.15, "lw": 0, "label": f"95 % interval of {name}"}
        ax.fill_between(rows["coverage"], rows["low"], rows["high"], **band)
    look = {"color": colour or "#9a9a9a", "linewidth": 2.2 if k == 0 else 1.6 if colour else 1.1}
    look["linestyle"] = "-" if colour else GREY_DASHES[k % len(GREY_DASHES)]
    ax.plot(rows["coverage"], rows["value"], label=name, zorder=3 if colour else 2, **look)


def _scales(ax: Axes, name: str, rows: pd.DataFrame, k: int) -> None:
    look = {"color": "black", "linewidth": 0.9, "markersize": 4}
    ax.plot(rows["coverage"], rows["value"], DASHES[k % 3], marker=".", label=name, **look)


def _point(ax: Axes, name: str, rows: pd.DataFrame, k: int) -> None:
    ax.vlines(rows["coverage"], rows["low"], rows["high"], color="black", linewidth=1, zorder=4)
    marker = drawing.MARKERS[k % len(drawing.MARKERS)]
    look = {"color": "black", "markerfacecolor": "white", "markersize": 7, "zorder": 5, "linestyle": ""}
    ax.plot(rows["coverage"], rows["value"], marker, label=name, clip_on=False, **look)
