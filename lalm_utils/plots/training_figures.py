"""Figures of IDK data and fine-tuning: one function per figure, a tidy table in, a matplotlib Figure out.

Registered as the figures of figures.py are, with the same conventions: shares are in [0, 1]; `low` and `high`
bound a 95 % interval (empty: none); groups named "overall" or "all" pool the others and are not counted again;
the optional `model`, `benchmark` and `seed` end the subtitle. Further columns stay in the CSV and are not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lalm_utils.plots import marks, panels
from lalm_utils.plots.figure_files import FigureError, destination, figure, redraw, render, save

__all__ = [
    "destination", "idk_share_by_k", "lora_scale", "quadrants", "redraw", "render", "save", "sft_by_k",
    "sft_curve",
]  # fmt: skip

PRINTED = "printed in the paper"
QUADRANTS = {
    "known-known": ("#0173b2", "answered right"),
    "known-unknown": ("#56b4e9", "refused, not known"),
    "unknown-known": ("#de8f05", "refused, although known"),
    "unknown-unknown": ("#949494", "answered wrong"),
}


@figure(text="stage group quadrant", numbers="count")
def quadrants(table: pd.DataFrame) -> Figure:
    """Knowledge quadrants (Cheng et al. 2024): what a model knows, and knows that it knows, by method.

    One row per (stage, group, quadrant), in the order in which stages are to appear: stage (e.g. the method);
    group (a modality, or "overall"); quadrant (known-known, known-unknown, unknown-known, unknown-unknown);
    count (items).
    """
    strange = sorted(set(table["quadrant"]) - set(QUADRANTS))
    if strange:
        raise FigureError(f"quadrants: {strange} cannot be drawn: the quadrants are {', '.join(QUADRANTS)}")
    stages, groups = list(dict.fromkeys(table["stage"])), panels.ordered(table["group"])
    once = table[table["stage"] == stages[0]]
    pooled = once[~once["group"].isin(panels.POOLED)]
    total = (once if pooled.empty else pooled)["count"].sum()
    fig, axes = panels.sheet(
        "What does a model know, and does it know that it knows?",
        f"Knowledge quadrants with their numbers of questions · {total:,.0f} questions{panels.made_by(table)}",
        height=2.0 + 0.4 * len(stages), columns=len(groups), sharey=True,
    )  # fmt: skip
    for ax, group in zip(axes[0], groups):
        counts = table[table["group"] == group].groupby(["stage", "quadrant"])["count"].sum()
        for y, stage in enumerate(stages):
            _stacked(ax, y, [counts.get((stage, name), 0) for name in QUADRANTS])
        ax.set_title(panels.label(group, at_most=18), fontsize=10)
        ax.set(xlim=(0, 1), xticks=[0, 0.5, 1], xticklabels=["0", "50", "100"], xlabel="% of questions")
        ax.tick_params(axis="x", labelsize=8.5)
    panels.rows_of(axes[0][0], stages)
    handles = [Patch(color=colour, label=f"{name}: {means}") for name, (colour, means) in QUADRANTS.items()]
    fig.legend(handles=handles, loc="outside lower center", ncols=2)
    return fig


@figure(text="group source", numbers="k share low high n")
def idk_share_by_k(table: pd.DataFrame) -> Figure:
    """How many questions become IDK, the more of the samples must be right: K of N.

    One row per (group, k, source): group (a modality, or "overall"); k (samples that must be right, 1 to N);
    source ("measured here" or "printed in the paper"); share (questions labelled IDK, 0..1); low, high; n
    (items).
    """
    fig, ((ax,),) = panels.sheet(
        "How many questions does a model not know, the stricter the rule?",
        f"Share labelled IDK with 95 % interval · {_asked(table)} questions{panels.made_by(table)}",
        height=3.9,
    )
    ours, printed = table[table["source"] != PRINTED], table[table["source"] == PRINTED]
    names, groups = [], panels.ordered(ours["group"])
    for kind, group in enumerate(groups):
        rows = ours[ours["group"] == group].sort_values("k")
        beside = 0.05 * (kind - (len(groups) - 1) / 2)
        x, y, low, high = rows[["k", "share", "low", "high"]].to_numpy().T
        colour = panels.line(ax, x + beside, y, low, high, kind=kind, band=False)
        names.append((y[-1], group, colour))
    for group in panels.ordered(printed["group"]):
        rows = printed[printed["group"] == group].sort_values("k")
        look = {"color": "black", "linewidth": 1, "markerfacecolor": "white", "markeredgewidth": 1.4}
        ax.plot(rows["k"], rows["share"], "s:", zorder=4, **look)
        names.append((rows["share"].iloc[-1], f"paper, {group}", "black"))
    panels.ends(ax, names, gap=0.065)
    ax.set(ylim=(0, 1), xlim=(table["k"].min() - 0.3, table["k"].max() + 0.25))
    ax.set_xlabel("K, the number of samples that must be right")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    marks.percent(ax, "Labelled IDK (% of questions)", grid=[ax])
    return fig


@figure(text="adapter", numbers="step loss")
def sft_curve(table: pd.DataFrame) -> Figure:
    """The training loss of each adapter, raw and as a running mean.

    One row per (adapter, step): adapter; step (of the optimiser); loss (mean over the target's tokens, nats).
    A loss that is not finite leaves a gap.
    """
    adapters = list(dict.fromkeys(table["adapter"]))
    fig, ((ax,),) = panels.sheet(
        "Does fine-tuning on IDK answers settle?",
        f"Training loss, thin: each step, thick: mean of up to 9 steps · {len(adapters)} adapters"
        f"{panels.made_by(table)}",
        height=3.6,
    )
    names = []
    for kind, adapter in enumerate(adapters):
        rows = table[table["adapter"] == adapter].sort_values("step")
        loss = rows["loss"].where(np.isfinite(rows["loss"]))
        smooth = loss.rolling(9, min_periods=1, center=True).mean().where(loss.notna())
        colour, style = marks.COLOURS[kind % 8], "-" if kind < 8 else "--"
        ax.plot(rows["step"], loss, color=colour, linewidth=0.6, alpha=0.4)
        ax.plot(rows["step"], smooth, style, color=colour, marker="o" if len(rows) == 1 else "")
        last = smooth.dropna()
        names.append((last.iloc[-1] if len(last) else math.nan, adapter, colour))
    top = np.nanmax(table["loss"].where(np.isfinite(table["loss"]), np.nan).to_numpy(), initial=0.1)
    panels.ends(ax, names, gap=0.075 * top)
    ax.set(ylim=(0, 1.08 * top), xlabel="Step of the optimiser", ylabel="Loss (nats per token)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y")
    return fig


@figure(text="metric", numbers="scale value low high n")
def lora_scale(table: pd.DataFrame) -> Figure:
    """What the scale of the LoRA update does: too little teaches no refusal, too much refuses everything.

    One row per (scale, metric): scale (a factor of the trained update, 0 = the model itself); metric (a share:
    accuracy, truthfulness, rejection_rate, reliability; or an index such as youden, in its own panel); value;
    low, high; n (items).
    """
    title = "How much of the LoRA update does reliability need?"
    return _dialled(table, "scale", title, "Scale of the LoRA update (factor)")


@figure(text="metric", numbers="k value low high n")
def sft_by_k(table: pd.DataFrame) -> Figure:
    """What the rule of the labels does: adapters trained with K = 1 to N right samples needed for "known".

    One row per (k, metric): k (samples that must be right); metric, value, low, high, n as in lora_scale.
    """
    title = "How strict should the rule be that labels a question as known?"
    fig = _dialled(table, "k", title, "Right samples needed (K)")
    for ax in fig.axes:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return fig


def _dialled(table: pd.DataFrame, dial: str, title: str, xlabel: str) -> Figure:
    """Metrics over the values of one setting: shares in one panel, indices in another."""
    found = list(dict.fromkeys(table["metric"]))
    parts = [[name for name in found if (name in panels.SHARES) == share] for share in (True, False)]
    parts = [part for part in parts if part]
    fig, (axes,) = panels.sheet(
        title,
        f"Value and 95 % interval · {table['n'].max():,.0f} questions each{panels.made_by(table)}",
        height=3.7,
        columns=len(parts),
    )
    margin = 0.04 * np.ptp(table[dial]) or 0.1
    for ax, metrics in zip(axes, parts):
        ax.set_xlim(table[dial].min() - margin, table[dial].max() + margin)
        ax.set_xlabel(xlabel)
        _over(ax, dial, table[table["metric"].isin(metrics)], metrics)
    return fig


def _over(ax: Axes, dial: str, table: pd.DataFrame, metrics: list[str]) -> None:
    names, share = [], metrics[0] in panels.SHARES
    for kind, metric in enumerate(metrics):
        rows = table[table["metric"] == metric].sort_values(dial)
        x, y, low, high = rows[[dial, "value", "low", "high"]].to_numpy().T
        colour = panels.line(ax, x, y, low, high, kind=kind if share else kind + 4)
        last = y[np.isfinite(y)]
        names.append((last[-1] if len(last) else math.nan, panels.name_of(metric), colour))
    limits = (0.0, 1.0) if share else panels.span(table[["value", "low", "high"]].to_numpy())
    ax.set(ylim=limits)
    if share:
        marks.percent(ax, "% of questions", grid=[ax])
        panels.ends(ax, names, gap=0.06)
    else:
        ax.axhline(0, color=marks.GREY, linewidth=0.8)
        ax.set_ylabel("a difference of shares" if metrics == ["youden"] else "log₁₀ of a ratio, no unit")
        ax.grid(axis="y")
        if len(names) == 1:
            ax.set_title(f"{panels.label(names[0][1], at_most=26)} (0: blind refusal)", fontsize=9.5)
        else:
            panels.ends(ax, names, gap=0.06 * (limits[1] - limits[0]))


def _stacked(ax: Axes, y: float, counts: Sequence[float]) -> None:
    """One bar of quadrants as shares of their sum, with the counts that fit inside."""
    foot, total = 0.0, sum(counts)
    for count, (name, (colour, _)) in zip(counts, QUADRANTS.items()):
        share = count / total if total else 0.0
        ax.barh(y, share, 0.7, foot, color=colour, edgecolor="white", linewidth=0.8)
        if share > 0.09:
            ink = "white" if name == "known-known" else "black"
            ax.text(foot + share / 2, y, f"{count:.0f}", ha="center", va="center", fontsize=8, color=ink)
        foot += share


def _asked(table: pd.DataFrame) -> str:
    ours = table[table["source"] != PRINTED]
    return panels.counted(table if ours.empty else ours, "group")
