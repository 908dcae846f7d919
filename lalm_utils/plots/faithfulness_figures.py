"""Figures of interventions on chains and clips: one function per figure, a tidy table in, a matplotlib Figure out.

Registered as the figures of figures.py are, with the same conventions.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lalm_utils.plots import drawing
from lalm_utils.plots.drawing import figure, label

__all__ = ["audio_curves", "audio_needs", "chain_curves", "chain_parts"]

NEEDS = {
    "text-solvable": ("#949494", "right without the clip, too"),
    "fragment-sufficient": ("#56b4e9", "right with a part of it"),
    "cross-segment": ("#0173b2", "right with all of it alone"),
    "audio-harmful": ("#d55e00", "right without it, wrong with it"),
    "unsolvable": ("#e4e4e4", "wrong in both"),
}


@figure(text="intervention series", numbers="strength value low high n")
def chain_curves(table: pd.DataFrame) -> Figure:
    """Agreement with the untouched answer over the strength of an intervention, a panel for each.

    One row per (intervention, series, strength), in the order in which they are to appear: intervention (e.g. "early
    answering"); series (who answers); strength (share of the chain that is changed, 0..1); value (Cohen's kappa), low,
    high; n (items).
    """
    panels, series = (list(dict.fromkeys(table[column])) for column in ("intervention", "series"))
    rows = math.ceil(len(panels) / 2)
    most = table.groupby("series", sort=False)["n"].max()
    fig, grid = drawing.sheet(
        "Does the answer follow the chain of thought?",
        "Agreement with the untouched answer, chance-corrected, with 95 % interval · "
        f"{most.max():,.0f} questions at most{drawing.run_label(table)}",
        height=1.5 + 2.2 * rows, rows=rows, columns=min(2, len(panels)), sharex=True, sharey=True,
    )  # fmt: skip
    for ax, name in zip(grid.flat, panels):
        for kind, who in enumerate(series):
            part = table[(table["intervention"] == name) & (table["series"] == who)].sort_values("strength")
            if not part.empty:
                x, y, low, high = part[["strength", "value", "low", "high"]].to_numpy().T
                drawing.line(ax, x, y, low, high, kind=kind)
                look = {"color": drawing.COLOURS[kind % 8], "marker": drawing.MARKERS[kind % 8]}
                ax.plot([], [], "-", label=f"{label(who)} (n = {most[who]:.0f})", **look)
        ax.axhline(0, color=drawing.GREY, linewidth=0.8, linestyle=":")
        ax.set(xlim=(-0.03, 1.03), ylim=(-0.25, 1.08), xticks=[0, 0.25, 0.5, 0.75, 1])
        ax.set_xticklabels(["0", "25", "50", "75", "100"])
        ax.set_title(label(name, at_most=36), fontsize=9.5)
        ax.grid(axis="y")
    for ax in grid.flat[len(panels) :]:
        ax.set_axis_off()
    for ax in grid[-1]:
        ax.set_xlabel("% of the chain changed", fontsize=8.5)
    for ax in grid[:, 0]:
        ax.set_ylabel("Cohen's κ (no unit)", fontsize=8.5)
    drawing.legend(fig)
    return fig


@figure(text="part intervention", numbers="value low high n")
def chain_parts(table: pd.DataFrame) -> Figure:
    """Agreement with the untouched answer at full strength, a row for each part of the benchmark.

    One row per (part, intervention), in the order in which they are to appear, all questions first: part (a modality,
    or a track and hop); intervention; value (Cohen's kappa), low, high; n (items).
    """
    table = table.rename(columns={"part": "category", "intervention": "series"})
    parts, series = (list(dict.fromkeys(table[column])) for column in ("category", "series"))
    n = table.groupby("category")["n"].max()
    fig, ((ax,),) = drawing.sheet(
        "Does the answer follow the chain in every part of the benchmark?",
        "Agreement with the untouched answer at full strength, chance-corrected, with 95 % interval · "
        f"{n.max():,.0f} questions at most{drawing.run_label(table)}",
        height=2.0 + 0.62 * len(parts),
    )
    names = [label(f"{name} (n = {n[name]:.0f})", width=18, at_most=40) for name in parts]
    drawing.category_axis(ax, names)
    drawing.dots(ax, table, parts, series, hollow=False, step=0.2)
    ax.axvline(0, color=drawing.GREY, linewidth=0.8, linestyle=":")
    lowest = np.nanmin(table[["value", "low"]].to_numpy(), initial=-0.05)
    ax.set(xlim=(lowest - 0.05, 1.08), xlabel="Cohen's κ (no unit)")
    ax.grid(axis="x")
    drawing.legend(fig, series)
    return fig


@figure(text="panel setting metric", numbers="value low high n")
def audio_curves(table: pd.DataFrame) -> Figure:
    """What a model does as its clip is spoilt: shares over settings, a panel for each kind of intervention.

    One row per (panel, setting, metric), in the order in which they are to appear: panel (e.g. "white noise"); setting
    (e.g. "0 dB"); metric (e.g. "accuracy"); value (a share), low, high; n (items).
    """
    n = table.groupby("metric")["n"].agg(["min", "max"]).astype(int)
    n = {
        metric: f"n = {low}" if low == high else f"n = {low} to {high}"
        for metric, low, high in n.itertuples()
    }
    series = table["metric"].map(lambda metric: f"{drawing.metric_name(metric)} ({n[metric]})")
    table = table.rename(columns={"setting": "category"}).assign(series=series)
    panels, series = (list(dict.fromkeys(table[column])) for column in ("panel", "series"))
    sizes = [table.loc[table["panel"] == name, "category"].nunique() + 1 for name in panels]
    fig, (axes,) = drawing.sheet(
        "Does the chain still tell of what is no longer there?",
        "Shares with 95 % interval, each of the n questions in which it can be counted · "
        f"{table['n'].max():,.0f} questions at most{drawing.run_label(table)}",
        height=4.2, columns=len(panels), sharey=True, width_ratios=sizes,
    )  # fmt: skip
    for ax, name in zip(axes, panels):
        rows = table[table["panel"] == name]
        settings = list(dict.fromkeys(rows["category"]))
        names = [label(setting, width=9, at_most=26) for setting in settings]
        drawing.category_axis(ax, names, vertical=True, crowded=True)
        drawing.percent_axis(ax, "% of n questions" if ax is axes[0] else "")
        ax.set_ylim(-0.05, 1.05)  # room for a marker at either end
        drawing.dots(
            ax,
            rows,
            settings,
            series,
            vertical=True,
            hollow=False,
            step=0.2,
        )
        ax.set_title(label(name, width=16, at_most=30), fontsize=9.5)
        ax.grid(axis="y")
    drawing.legend(fig, series)
    return fig


@figure(text="series part", numbers="count")
def audio_needs(table: pd.DataFrame) -> Figure:
    """What a clip is needed for (arXiv 2604.24401): the parts of the questions, a bar for each series.

    One row per (series, part): series (e.g. a model or a modality); part (a key of NEEDS); count (items).
    """
    drawing.refuse_unknown(table["part"], NEEDS, "parts")
    series = drawing.sort_groups(table["series"])
    n = table.groupby("series")["count"].sum().rename("n").reset_index()
    fig, ((ax,),) = drawing.sheet(
        "What is the clip needed for?",
        "Questions by what is enough to answer them, with their numbers (not at 3 % or less) · "
        f"{drawing.count_items(n, 'series')} questions{drawing.run_label(table)}",
        height=2.3 + 0.42 * len(series),
    )
    counts = table.pivot_table(index="series", columns="part", values="count", aggfunc="sum", fill_value=0)
    counts = counts.reindex(index=series, columns=list(NEEDS), fill_value=0)
    shares = counts.div(counts.sum(axis=1).replace(0, 1), axis=0).to_numpy(float)
    feet = shares.cumsum(axis=1) - shares
    for k, (name, (colour, _)) in enumerate(NEEDS.items()):
        ax.barh(
            range(len(series)), shares[:, k], 0.7, feet[:, k], color=colour, edgecolor="white", linewidth=0.8
        )
        for y, share in enumerate(shares[:, k]):
            if share > 0.03:  # wide enough for its number
                look = {"ha": "center", "va": "center", "fontsize": 8}
                look["color"] = "white" if name in ("cross-segment", "audio-harmful") else "black"
                ax.text(feet[y, k] + share / 2, y, f"{counts.iloc[y, k]:.0f}", **look)
    drawing.category_axis(ax, [label(name, width=18, at_most=36) for name in series])
    ax.set(xlim=(0, 1), xticks=[0, 0.5, 1], xticklabels=["0", "50", "100"], xlabel="% of questions")
    handles = [Patch(color=colour, label=f"{name}: {meaning}") for name, (colour, meaning) in NEEDS.items()]
    fig.legend(handles=handles, loc="outside lower center", ncols=2)
    return fig
