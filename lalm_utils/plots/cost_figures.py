"""Figures of speed: a tidy table in, a matplotlib Figure out, as in training_figures.py."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from lalm_utils.plots import marks, panels
from lalm_utils.plots.figure_files import destination, figure, redraw, render, save

__all__ = ["destination", "redraw", "render", "save", "speed_ratio"]


@figure(text="task", numbers="ratio lowest highest goal n")
def speed_ratio(table: pd.DataFrame) -> Figure:
    """How many times faster questions are answered together than one by one, by what is asked of them.

    One row per task: task; ratio (of seconds, 1 = as fast), lowest and highest of the repeats; goal (empty: none
    was set); n (questions).
    """
    tasks = list(dict.fromkeys(table["task"]))
    fig, ((ax,),) = panels.sheet(
        "How much faster is asking together than asking one by one?",
        f"Ratio of seconds, median and range of repeats; black: goal · {table['n'].max():,.0f} questions"
        f"{panels.made_by(table)}",
        height=1.7 + 0.5 * len(tasks),
    )
    ax.set_xlim(0, 1.12 * table[["ratio", "highest", "goal"]].max().max())  # before points, which keep to it
    for row in table.itertuples():
        at = tasks.index(row.task)
        panels.point(ax, at, row.ratio, row.lowest, row.highest, kind=0, said=f"{row.ratio:.1f}×")
        if row.goal == row.goal:  # set at all
            ax.plot(row.goal, at, "|", color="black", markersize=15, markeredgewidth=2)
    ax.set_xlabel("Times as fast (ratio of seconds, no unit)")
    ax.axvline(1, color=marks.GREY, linewidth=0.8, linestyle=":")
    ax.grid(axis="x")
    panels.rows_of(ax, tasks)
    return fig
