"""Figures of IDK data and fine-tuning: one function per figure, a tidy table in, a matplotlib Figure out.

Registered as the figures of figures.py are, with the same conventions.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lalm_utils.paper import PRINTED
from lalm_utils.plots import drawing
from lalm_utils.plots.drawing import figure, label

__all__ = ["idk_share_by_k", "lora_scale", "quadrants", "sft_by_k", "sft_curve"]

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
    drawing.refuse_unknown(table["quadrant"], QUADRANTS, "quadrants")
    stages, groups = list(dict.fromkeys(table["stage"])), drawing.sort_groups(table["group"])
    n = table[table["stage"] == stages[0]].groupby("group")["count"].sum().rename("n").reset_index()
    fig, (axes,) = drawing.sheet(
        "What does a model know, and does it know that it knows?",
        "Knowledge quadrants with their numbers of questions · "
        f"{drawing.count_items(n, 'group')} questions{drawing.run_label(table)}",
        height=2.0 + 0.4 * len(stages), columns=len(groups), sharey=True,
    )  # fmt: skip
    for ax, group in zip(axes, groups):
        counts = table[table["group"] == group].groupby(["stage", "quadrant"])["count"].sum()
        counts = counts.unstack(fill_value=0).reindex(index=stages, columns=list(QUADRANTS), fill_value=0)
        shares = counts.div(counts.sum(axis=1).replace(0, 1), axis=0).to_numpy(float)
        feet = shares.cumsum(axis=1) - shares
        for k, (name, (colour, _)) in enumerate(QUADRANTS.items()):
            look = {"color": colour, "edgecolor": "white", "linewidth": 0.8}
            ax.barh(range(len(stages)), shares[:, k], 0.7, feet[:, k], **look)
            for y in np.flatnonzero(shares[:, k] > 0.09):  # wide enough for its number
                look = {"ha": "center", "va": "center", "fontsize": 8}
                look["color"] = "white" if name == "known-known" else "black"
                ax.text(feet[y, k] + shares[y, k] / 2, y, f"{counts.iloc[y, k]:.0f}", **look)
        drawing.category_axis(ax, [label(stage, width=18) for stage in stages])
        ax.set_title(label(group, at_most=18), fontsize=10)
        ax.set(xlim=(0, 1), xticks=[0, 0.5, 1], xticklabels=["0", "50", "100"], xlabel="% of questions")
        ax.tick_params(axis="x", labelsize=8.5)
    handles = [
        Patch(color=colour, label=f"{name}: {meaning}") for name, (colour, meaning) in QUADRANTS.items()
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=2)
    return fig


@figure(text="group source", numbers="k share low high n")
def idk_share_by_k(table: pd.DataFrame) -> Figure:
    """How many questions become IDK, the more of the samples must be right: K of N.

    One row per (group, k, source): group (a modality, or "overall"); k (samples that must be right, 1 to N);
    source ("measured here" or "printed in the paper"); share (questions labelled IDK, 0..1); low, high; n
    (items).
    """
    ours, printed = table[table["source"] != PRINTED], table[table["source"] == PRINTED]
    fig, ((ax,),) = drawing.sheet(
        "How many questions does a model not know, the stricter the rule?",
        "Share labelled IDK with 95 % interval · "
        f"{drawing.count_items(table if ours.empty else ours, 'group')} questions{drawing.run_label(table)}",
        height=3.9,
    )
    ends, groups = [], drawing.sort_groups(ours["group"])
    for kind, group in enumerate(groups):
        rows = ours[ours["group"] == group].sort_values("k")
        beside = 0.05 * (kind - (len(groups) - 1) / 2)
        x, y, low, high = rows[["k", "share", "low", "high"]].to_numpy().T
        colour = drawing.line(ax, x + beside, y, low, high, kind=kind, band=False)
        ends.append((y[-1], group, colour))
    for group in drawing.sort_groups(printed["group"]):
        rows = printed[printed["group"] == group].sort_values("k")
        look = {"color": "black", "linewidth": 1, "markerfacecolor": "white", "markeredgewidth": 1.4}
        ax.plot(rows["k"], rows["share"], "s:", zorder=4, **look)
        ends.append((rows["share"].iloc[-1], f"paper, {group}", "black"))
    drawing.line_ends(ax, ends, gap=0.065)
    ax.set(xlim=(table["k"].min() - 0.3, table["k"].max() + 0.25))
    ax.set_xlabel("K, the number of samples that must be right")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    drawing.percent_axis(ax, "Labelled IDK (% of questions)")
    ax.grid(axis="y")
    return fig


@figure(text="adapter", numbers="step loss")
def sft_curve(table: pd.DataFrame) -> Figure:
    """The training loss of each adapter, raw and as a running mean.

    One row per (adapter, step): adapter; step (of the optimiser); loss (mean over the target's tokens, nats).
    A loss that is not finite leaves a gap.
    """
    adapters = list(dict.fromkeys(table["adapter"]))
    fig, ((ax,),) = drawing.sheet(
        "Does fine-tuning on IDK answers settle?",
        f"Training loss, thin: each step, thick: mean of up to 9 steps · {len(adapters)} adapters"
        f"{drawing.run_label(table)}",
        height=3.6,
    )
    ends = []
    for kind, adapter in enumerate(adapters):
        rows = table[table["adapter"] == adapter].sort_values("step")
        loss = rows["loss"].where(np.isfinite(rows["loss"]))
        smooth = loss.rolling(9, min_periods=1, center=True).mean().where(loss.notna())
        colour, style = drawing.COLOURS[kind % 8], "-" if kind < 8 else "--"
        ax.plot(rows["step"], loss, color=colour, linewidth=0.6, alpha=0.4)
        ax.plot(rows["step"], smooth, style, color=colour, marker="o" if len(rows) == 1 else "")
        last = smooth.dropna()
        ends.append((last.iloc[-1] if len(last) else math.nan, adapter, colour))
    top = np.nanmax(table["loss"].where(np.isfinite(table["loss"]), np.nan).to_numpy(), initial=0.1)
    drawing.line_ends(ax, ends, gap=0.075 * top)
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
    return _by_setting(table, "scale", title, "Scale of the LoRA update (factor)")


@figure(text="metric", numbers="k value low high n")
def sft_by_k(table: pd.DataFrame) -> Figure:
    """What the rule of the labels does: adapters trained with K = 1 to N right samples needed for "known".

    One row per (k, metric): k (samples that must be right); metric, value, low, high, n as in lora_scale.
    """
    title = "How strict should the rule be that labels a question as known?"
    fig = _by_setting(table, "k", title, "Right samples needed (K)")
    for ax in fig.axes:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return fig


def _by_setting(table: pd.DataFrame, setting: str, title: str, xlabel: str) -> Figure:
    """Metrics over the values of one setting: shares in one panel, indices in another."""
    metrics = list(dict.fromkeys(table["metric"]))
    panels = [[name for name in metrics if (name in drawing.SHARES) == share] for share in (True, False)]
    panels = [panel for panel in panels if panel]
    fig, (axes,) = drawing.sheet(
        title,
        f"Value and 95 % interval · {table['n'].max():,.0f} questions each{drawing.run_label(table)}",
        height=3.7,
        columns=len(panels),
    )
    margin = 0.04 * np.ptp(table[setting]) or 0.1
    for ax, panel in zip(axes, panels):
        rows, share, ends = table[table["metric"].isin(panel)], panel[0] in drawing.SHARES, []
        for kind, metric in enumerate(panel):
            curve = rows[rows["metric"] == metric].sort_values(setting)
            x, y, low, high = curve[[setting, "value", "low", "high"]].to_numpy().T
            colour = drawing.line(ax, x, y, low, high, kind=kind if share else kind + 4)
            finite = y[np.isfinite(y)]
            ends.append((finite[-1] if len(finite) else math.nan, drawing.metric_name(metric), colour))
        if share:
            drawing.percent_axis(ax, "% of questions")
        else:
            ax.set_ylim(drawing.axis_limits(rows[["value", "low", "high"]].to_numpy()))
            ax.axhline(0, color=drawing.GREY, linewidth=0.8)
            ax.set_ylabel(
                "a difference of shares" if panel[0].endswith("youden") else "log₁₀ of a ratio, no unit"
            )
        if share or len(panel) > 1:
            drawing.line_ends(ax, ends, gap=0.06 * np.ptp(ax.get_ylim()))
        else:
            ax.set_title(f"{label(ends[0][1], at_most=26)} (0: blind refusal)", fontsize=9.5)
        ax.set(xlim=(table[setting].min() - margin, table[setting].max() + margin), xlabel=xlabel)
        ax.grid(axis="y")
    return fig
