"""Figures of prompts, methods and transfer: one function per figure, a tidy table in, a matplotlib Figure out.

`drawing.FIGURES` maps each figure's name to its drawing function, whose docstring defines the table's columns.
Further columns stay in the CSV and are not drawn, except the optional `model`, `benchmark` and `seed`, which
the subtitle quotes. The functions read no file, compute no metric, and never go through pyplot, so nothing is
shown or left open. figure_files.py turns figures into files; those of training are in training_figures.py.

Conventions: shares, rates and accuracies are in [0, 1]; `low` and `high` bound a 95 % interval (empty: none);
groups named "overall" or "all" pool the others and are not counted again in N.
"""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter
from scipy import signal

from lalm_utils.paper import MEASURED, PRINTED
from lalm_utils.plots import drawing
from lalm_utils.plots.drawing import FigureError, figure, label

__all__ = [
    "agent_ablations", "agent_routing", "baseline_accuracy", "chain_length", "idk_flows", "idk_gain",
    "methods_compared", "paper_side_by_side", "real_models_gain", "real_models_risk", "sft_compared",
    "spectrogram", "speed_ratio", "transfer_control", "transfer_matrix", "unanswerable",
]  # fmt: skip

CLIP = "its own clip"
LABELS = ("IDK labels", "shuffled labels", "random refusal")
MATRICES = ("accuracy", "rejection_rate", "refusal_youden", "youden", "rgi_excess", "reliability")
RGI_NOTES = {
    "undefined": "RGI undefined: ΔHum = ΔCon = 0", "+∞": "RGI = +∞: ΔCon = 0", "−∞": "RGI = −∞: ΔHum = 0",
}  # fmt: skip


# --- dots with intervals ---


@figure(text="modality level", numbers="accuracy low high chance n", optional="control")
def baseline_accuracy(table: pd.DataFrame) -> Figure:
    """Accuracy by modality and level, beside chance and beside controls that take the clip away.

    One row per (modality, level, control): modality; level (easy, medium, hard, or "overall"); control ("" or
    "clip" = asked with its own clip, anything else names the control, e.g. "no audio", "silence"); accuracy;
    low, high; chance (mean chance of these items); n (items).
    """
    table = table.rename(columns={"level": "category", "control": "series", "accuracy": "value"})
    table["series"] = table["series"].replace({"": CLIP, "clip": CLIP})
    own, controls = table[table["series"] == CLIP], drawing.sort_groups(table["series"], first=[CLIP])
    panels = {name: table[table["modality"] == name] for name in drawing.sort_groups(table["modality"])}
    widths = [1 + rows["category"].nunique() for rows in panels.values()]
    crowded = sum(widths) > 15
    fig, (axes,) = drawing.sheet(
        "How often is a model right when it may not decline?",
        f"Accuracy with 95 % interval{', n below' if crowded else ''} · "
        f"{drawing.count_items(own, 'modality', 'category')} questions{drawing.run_label(table)}",
        height=4.2, columns=len(panels), sharey=True, width_ratios=widths,
    )  # fmt: skip
    for ax, (modality, rows) in zip(axes, panels.items()):
        levels = drawing.sort_groups(rows["category"])
        n = rows[rows["series"] == CLIP].groupby("category")["n"].sum()
        names = [
            f"{label(name) or 'all'}\n{'' if crowded else 'n = '}{n.get(name, 0):.0f}" for name in levels
        ]
        drawing.category_axis(ax, names, vertical=True, crowded=crowded)
        drawing.percent_axis(ax, "Accuracy (% of questions)" if ax is axes[0] else "")
        drawing.dots(ax, rows, levels, controls, vertical=True, step=0.2)
        for level, chance in rows.groupby("category")["chance"].mean().items():
            at = levels.index(level)
            ax.hlines(chance, at - 0.4, at + 0.4, color=drawing.GREY, linestyle=":", label="chance")
        size = drawing.SMALL if len(panels) > 5 else 9.5
        ax.set_title(label(modality, width=14), fontsize=size + 1)
        ax.grid(axis="y")
    drawing.legend(fig, [*controls, "chance"])
    return fig


@figure(text="prompt group", numbers="rate low high n")
def unanswerable(table: pd.DataFrame) -> Figure:
    """Refusal rates on answerable and on unanswerable items, with and without permission to decline.

    One row per (prompt, group), in the order in which they are to appear: prompt (how it was asked, e.g.
    "plain", "IDK"); group (e.g. "answerable, known content", "answerable, novel content", "inaudible",
    "ungrounded"; a comma breaks the label); rate (share refused); low, high; n (items).
    """
    table = table.rename(columns={"group": "category", "rate": "value"})
    table["series"] = table["prompt"] + " prompt"
    prompts, groups = (list(dict.fromkeys(table[column])) for column in ("series", "category"))
    n = table[table["series"] == prompts[0]].groupby("category")["n"].sum()
    fig, ((ax,),) = drawing.sheet(
        "Does a model decline where there is nothing to know?",
        f"Refusal rate with 95 % interval · {n.sum():,.0f} questions, each asked {len(prompts)}×"
        f"{drawing.run_label(table)}",
        height=4.2,
    )
    names = [label(name).replace(", ", ",\n") + f"\nn = {n.get(name, 0):.0f}" for name in groups]
    drawing.category_axis(ax, names, vertical=True)
    drawing.percent_axis(ax, "Refused (% of questions)")
    drawing.dots(ax, table, groups, prompts, vertical=True, hollow=False, step=0.2)
    ax.grid(axis="y")
    drawing.legend(fig, prompts)
    return fig


@figure(text="group source model", numbers="rgi low high null n")
def idk_gain(table: pd.DataFrame) -> Figure:
    """The Reliability Gain Index by modality and pooled, beside its moving zero and beside the paper's.

    One row per (group, source): group (a modality, or "overall"); source ("measured here" or "printed in the
    paper"); model; rgi = log10(ΔHum/ΔCon), inf where only ΔCon = 0, empty where both are 0; low, high; null =
    log10(Nw/Nc), what refusing a random share of the questions gives; n (items).
    """
    table = table.rename(columns={"group": "category", "rgi": "value", "null": "reference"})
    table, sources, made_here = _by_source(table)
    groups = drawing.sort_groups(table["category"])
    fig, ((ax,),) = drawing.sheet(
        "Does permission to decline remove more wrong answers than right ones?",
        f"RGI = log₁₀(ΔHum/ΔCon) by modality, with 95 % interval{made_here}",
        height=2.2 + 0.6 * len(groups),
    )
    drawing.category_axis(ax, [label(group, width=18) for group in groups])
    drawing.metric_axis(ax, "rgi", table[["value", "low", "high", "reference"]].to_numpy())
    drawing.dots(ax, table, groups, sources, step=0.36, notes=RGI_NOTES, reference=drawing.NULL)
    ax.set_xlabel("Reliability Gain Index (log₁₀ of a ratio, no unit)")
    drawing.legend(fig, sources)
    return fig


@figure(text="model group metric", numbers="value low high n", optional_numbers="reference")
def real_models_gain(table: pd.DataFrame) -> Figure:
    """The Reliability Gain Index of models that were given an option to decline, each beside its moving zero.

    One row per (model, group, metric), of which those with metric "rgi" are drawn: model (a series); group (e.g.
    "overall", "bystander"); value = log10(ΔHum/ΔCon); low, high; reference = log10(Nw/Nc), what refusing a random share
    of the questions gives; n (items).
    """
    table = table[table["metric"] == "rgi"].rename(columns={"group": "category"})
    if table.empty:
        raise FigureError("real_models_gain: no row has the metric rgi; give one per model and group")
    table["series"] = table["model"]
    groups, models = drawing.sort_groups(table["category"]), list(dict.fromkeys(table["series"]))
    fig, ((ax,),) = drawing.sheet(
        "Does an option to decline remove more wrong answers than right ones?",
        f"RGI = log₁₀(ΔHum/ΔCon) with 95 % interval · {drawing.count_items(table, 'category')} questions each"
        f"{drawing.run_label(table)}",
        height=2.2 + 0.24 * len(groups) * len(models),
    )
    n = table.groupby("category")["n"].max()
    drawing.category_axis(ax, [f"{label(name, at_most=20)}\nn = {n[name]:.0f}" for name in groups])
    drawing.metric_axis(ax, "rgi", table[["value", "low", "high", "reference"]].to_numpy())
    drawing.dots(ax, table, groups, models, step=0.22, hollow=False, notes=RGI_NOTES, reference=drawing.NULL)
    ax.set_xlabel("Reliability Gain Index (log₁₀ of a ratio, no unit)")
    drawing.legend(fig, [label(name, at_most=90) for name in models])
    return fig


@figure(text="method metric", numbers="value low high n")
def methods_compared(table: pd.DataFrame) -> Figure:
    """Every method in every metric: a panel per metric, a row per method.

    One row per (method, metric), in the order in which methods are to appear, the baseline first: method;
    metric (accuracy, truthfulness, rejection_rate, reliability, or an index such as rgi_excess); value; low,
    high; n (items).
    """
    return _by_metric(table, "method", "Which way of asking makes a model more reliable?")


@figure(text="variant metric", numbers="value low high n")
def agent_ablations(table: pd.DataFrame) -> Figure:
    """The task agent with one of its steps changed or left out, in every metric.

    One row per (variant, metric), the unchanged agent or the baseline first: variant; metric, value, low,
    high, n as in methods_compared.
    """
    return _by_metric(table, "variant", "Which step of the task agent does the work?")


@figure(text="run metric", numbers="value low high n")
def sft_compared(table: pd.DataFrame) -> Figure:
    """Fine-tuned models and what they must beat, in every metric.

    One row per (run, metric), in the order in which runs are to appear, the one to beat first: run; metric, value, low,
    high, n as in methods_compared.
    """
    return _by_metric(table, "run", "Does fine-tuning teach a model what it does not know?")


def _by_metric(table: pd.DataFrame, column: str, title: str) -> Figure:
    table = table.rename(columns={column: "category"})
    names, metrics = list(dict.fromkeys(table["category"])), _metrics(table)
    n = table.groupby("category")["n"].max()
    equal = n.nunique() == 1
    fig, (axes,) = drawing.sheet(
        title,
        f"Value and 95 % interval; dotted: {label(names[0])} · "
        f"{f'{n.iloc[0]:,.0f} questions each' if equal else 'questions per row as given'}"
        f"{drawing.run_label(table)}",
        height=1.65 + 0.44 * len(names), columns=len(metrics), sharey=True,
    )  # fmt: skip
    rows = [label(name if equal else f"{name} (n = {n[name]:,.0f})", width=18) for name in names]
    for ax, metric in zip(axes, metrics):
        part = table[table["metric"] == metric]
        scale, digits = (100, 0) if metric in drawing.SHARES else (1, 2)
        part = part.assign(text=[f"{scale * value:.{digits}f}" for value in part["value"]])
        drawing.category_axis(ax, rows)
        drawing.metric_axis(ax, metric, part[["value", "low", "high"]].to_numpy())
        drawing.dots(ax, part, names)
        for value in part.loc[(part["category"] == names[0]) & np.isfinite(part["value"]), "value"]:
            ax.axvline(value, color=drawing.GREY, linestyle=":", linewidth=1, zorder=0)
        ax.set_title(drawing.metric_name(metric), fontsize=9.5)
    return fig


@figure(text="task", numbers="ratio lowest highest goal n", optional="peer")
def speed_ratio(table: pd.DataFrame) -> Figure:
    """How many times faster questions are answered together than by a peer, by what is asked of them.

    One row per task and peer: task; peer (optional: "" is one by one; a panel each); ratio (of seconds, 1 = as fast),
    lowest and highest of the repeats; goal (empty: none was set); n (questions).
    """
    names = {"task": "category", "ratio": "value", "lowest": "low", "highest": "high", "goal": "reference"}
    table = table.rename(columns=names)
    table["text"] = [f"{value:.1f}×" for value in table["value"]]
    tasks, peers = (list(dict.fromkeys(table[column])) for column in ("category", "peer"))
    fig, (axes,) = drawing.sheet(
        f"How much faster is asking together than {'its peers' if any(peers) else 'asking one by one'}?",
        f"Ratio of seconds, median and range of repeats; black: goal · {table['n'].max():,.0f} questions"
        f"{drawing.run_label(table)}",
        height=1.7 + 0.5 * len(tasks), columns=len(peers), sharey=True,
    )  # fmt: skip
    for ax, peer in zip(axes, peers):
        part = table[table["peer"] == peer]
        drawing.category_axis(ax, [label(task, width=18) for task in tasks])
        # a margin for the number beside the last dot, wider where panels are narrow
        ax.set_xlim(0, (1.12 if len(peers) == 1 else 1.3) * part[["value", "high", "reference"]].max().max())
        drawing.dots(ax, part, tasks)
        ax.axvline(1, color=drawing.GREY, linewidth=0.8, linestyle=":")
        ax.set_xlabel("Times as fast (ratio of seconds, no unit)")
        ax.set_title(label(f"against {peer}" if peer else ""), fontsize=9.5)
        ax.grid(axis="x")
    return fig


@figure(text="method group metric source", numbers="value low high n", optional_numbers="null")
def paper_side_by_side(table: pd.DataFrame) -> Figure:
    """The paper's tables beside ours: a column per group, a row of panels per metric, a line per method.

    One row per (method, group, metric, source), methods in the order in which they are to appear: method;
    group (a modality, or "overall"); metric (accuracy, reliability, rgi, ...); source ("measured here" or
    "printed in the paper"); value; low, high; n (items of the group); null (optional: what blind refusal gives,
    empty where a metric has no null).
    """
    methods, metrics = list(dict.fromkeys(table["method"])), _metrics(table)
    table, sources, made_here = _by_source(table, column="group")
    table = table.rename(columns={"method": "category", "null": "reference"})
    groups = drawing.sort_groups(table["group"])
    fig, axes = drawing.sheet(
        "Do the paper's results carry over?",
        f"Value and 95 % interval; the paper prints none{made_here}",
        height=1.6 + len(metrics) * (0.55 + 0.33 * len(methods)),
        rows=len(metrics), columns=len(groups), sharey=True,
    )  # fmt: skip
    for row, metric in zip(axes, metrics):
        part = table[table["metric"] == metric]
        for ax, group in zip(row, groups):
            drawing.category_axis(ax, [label(method, width=18) for method in methods])
            drawing.metric_axis(ax, metric, part[["value", "low", "high", "reference"]].to_numpy())
            drawing.dots(ax, part[part["group"] == group], methods, sources, reference=drawing.NULL)
            ax.set_xlabel(drawing.metric_label(metric), fontsize=8.5)
            if metric == metrics[0]:
                ax.set_title(label(group, at_most=18), fontsize=10)
    drawing.legend(fig, sources)
    return fig


@figure(text="trained_on tested_on kind", numbers="value low high n", optional="metric")
def transfer_control(table: pd.DataFrame) -> Figure:
    """Adapters beside those trained on shuffled labels and beside blind refusal: a panel per tested modality.

    One row per (trained_on, tested_on, kind): kind ("IDK labels", "shuffled labels", "random refusal");
    metric (optional, the name of what is shown, by default rgi_excess); value; low, high (of random refusal:
    the range of chance); n (items).
    """
    table = table.rename(columns={"trained_on": "category", "kind": "series"})
    metric = next(filter(None, table["metric"]), "rgi_excess")
    trained, tested = drawing.sort_groups(table["category"]), drawing.sort_groups(table["tested_on"])
    kinds = sorted(dict.fromkeys(table["series"]), key=lambda kind: (*LABELS, kind).index(kind))
    fig, (axes,) = drawing.sheet(
        "Is it the labels that teach an adapter what to refuse?",
        "95 % interval (random refusal: range of chance) · "
        f"{drawing.count_items(table, 'tested_on')} questions{drawing.run_label(table)}",
        height=1.95 + 0.75 * len(trained), columns=len(tested), sharey=True,
    )  # fmt: skip
    for ax, modality in zip(axes, tested):
        part = table[table["tested_on"] == modality]
        drawing.category_axis(ax, [label(f"trained on {name}", width=14) for name in trained])
        drawing.metric_axis(ax, metric, table[["value", "low", "high"]].to_numpy())
        drawing.dots(ax, part, trained, kinds, step=0.26)
        ax.set_xlabel(drawing.metric_label(metric), fontsize=8.5)
        if modality in trained:
            at = trained.index(modality)
            ax.axhspan(at - 0.45, at + 0.45, color="#f2f2f2", zorder=-1)
        ax.set_title(f"tested on {label(modality, at_most=18)}\nn = {part['n'].max():.0f}", fontsize=9.5)
    drawing.legend(fig, kinds)
    return fig


@figure(text="model group source", numbers="coverage value low high n")
def real_models_risk(table: pd.DataFrame) -> Figure:
    """Risk-coverage curves: the error among the answered, by threshold, and where an option to decline stands.

    A row per point: model (a colour); group (a panel); source ("threshold": a point of a curve, or "option": a single
    point); coverage (share answered); value (share of wrong ones among them); low, high; n (items of the group).
    """
    drawing.refuse_unknown(table["source"], ("threshold", "option"), "sources")
    groups, models = drawing.sort_groups(table["group"]), list(dict.fromkeys(table["model"]))
    fig, (axes,) = drawing.sheet(
        "Is an option to decline better than refusing the least confident answers?",
        f"Error among the answered, 95 % intervals at each point · {drawing.count_items(table, 'group')} questions each"
        f"{drawing.run_label(table)}",
        height=4.2, columns=len(groups), sharey=True,
    )  # fmt: skip
    for ax, group in zip(axes, groups):
        for kind, model in enumerate(models):
            rows = table[(table["group"] == group) & (table["model"] == model)].sort_values("coverage")
            colour, name = drawing.COLOURS[kind % 8], label(model, at_most=28)
            curve, option = (rows[rows["source"] == source] for source in ("threshold", "option"))
            ax.fill_between(curve["coverage"], curve["low"], curve["high"], color=colour, alpha=0.15, lw=0)
            ax.plot(curve["coverage"], curve["value"], color=colour, label=f"{name}, by threshold")
            ax.vlines(option["coverage"], option["low"], option["high"], color=colour)
            look = {"color": colour, "zorder": 3, "linestyle": ""}
            ax.plot(
                option["coverage"],
                option["value"],
                drawing.MARKERS[kind % 8],
                label=f"{name}, by option",
                **look,
            )
        n = table.loc[table["group"] == group, "n"].max()
        ax.set_title(f"{label(group, at_most=20)}, n = {n:.0f}", fontsize=9.5)
        ax.set(
            xlim=(0, 1),
            xlabel="Answered (% of questions)",
            ylabel="Wrong (% of answered)" if ax is axes[0] else "",
        )
        ax.set_xticks([0, 0.25, 0.5, 0.75], ["0", "25", "50", "75"])
        ax.grid(axis="y")
    finite = table["high"].fillna(table["value"]).replace(np.inf, np.nan).max()
    axes[0].set_ylim(0, 1.08 * finite if finite > 0 else 1)
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
    drawing.legend(fig)
    return fig


def _by_source(table: pd.DataFrame, column: str = "category") -> tuple[pd.DataFrame, list[str], str]:
    """The table with a column `series` that names source, model and N; the series in order; the first one's run."""
    sources = sorted(
        dict.fromkeys(table["source"]), key=lambda source: (MEASURED, PRINTED, source).index(source)
    )
    names = {}
    for source in sources:
        rows = table[table["source"] == source]
        models = label(", ".join(filter(None, dict.fromkeys(rows["model"]))), at_most=40)
        n = f"{drawing.count_items(rows, column)} questions"
        names[source] = f"{source}: {models + ', ' if models else ''}{n}"
    made_here = drawing.run_label(table[table["source"] == sources[0]].assign(model=""))
    return table.assign(series=table["source"].map(names)), list(names.values()), made_here


def _metrics(table: pd.DataFrame) -> list[str]:
    """The table's metrics, shares first, then indices, then those without a name of their own."""
    order = [*drawing.SHARES, *drawing.INDICES]
    metrics = list(dict.fromkeys(table["metric"]))
    return sorted(metrics, key=lambda metric: order.index(metric) if metric in order else len(order))


# --- areas ---


@figure(text="modality before after", numbers="count")
def idk_flows(table: pd.DataFrame) -> Figure:
    """What becomes of each outcome once the model may decline: an alluvial diagram per modality.

    One row per (modality, before, after): modality; before, after (outcomes without and with the IDK
    instruction: correct, wrong, refused, unreadable or failed); count (items).
    """
    drawing.refuse_unknown([*table["before"], *table["after"]], drawing.OUTCOMES, "outcomes")
    modalities = drawing.sort_groups(table["modality"])
    crowded = len(modalities) > 5
    size = drawing.SMALL if crowded else 9.5
    n = table.groupby("modality")["count"].sum().rename("n")
    fig, (axes,) = drawing.sheet(
        "What becomes of right and wrong answers once a model may decline?",
        "Each band: the same questions, before and after · "
        f"{drawing.count_items(n.reset_index(), 'modality')} questions{drawing.run_label(table)}",
        height=4.4, columns=len(modalities), sharey=True,
    )  # fmt: skip
    for ax, modality in zip(axes, modalities):
        flows = table[table["modality"] == modality].groupby(["before", "after"])["count"].sum()
        drawing.alluvial(ax, flows.to_dict(), bar=0.24 if crowded else 0.15)
        ax.set_title(f"{label(modality, width=14)}\nn = {n[modality]:.0f}", fontsize=size + 1)
        drawing.percent_axis(ax, "Share of questions (%)" if ax is axes[0] else "")
        ax.set_xlim(-0.35, 1.35)
        ax.set_xticks([0, 1], ["plain\nprompt", "IDK\nprompt"], fontsize=size)
        ax.spines[["bottom"] if ax is axes[0] else ["bottom", "left"]].set_visible(False)
    drawing.legend(fig, list(drawing.OUTCOMES))
    return fig


@figure(text="method outcome", numbers="words n")
def chain_length(table: pd.DataFrame) -> Figure:
    """How long the chains of thought, or other replies, of each outcome are, by method.

    One row per (method, outcome, words): method; outcome (correct, wrong, refused, unreadable, failed); words
    (a length); n (replies of that length). One row per (method, outcome) is drawn as a box.
    """
    drawing.refuse_unknown(table["outcome"], drawing.OUTCOMES, "outcomes")
    table = table[(table["n"] > 0) & np.isfinite(table["words"])]
    if table.empty:
        raise FigureError("chain_length: no row has a length and replies of it; count the words first")
    methods = list(dict.fromkeys(table["method"]))
    outcomes = [name for name in drawing.OUTCOMES if (table["outcome"] == name).any()]
    lengths = {
        (method, outcome): np.repeat(rows["words"].to_numpy(), rows["n"].astype(int))
        for (method, outcome), rows in table.groupby(["method", "outcome"])
    }
    boxes = [(method, outcome) for method in methods for outcome in outcomes if (method, outcome) in lengths]
    heights = {box: k + 0.5 * methods.index(box[0]) for k, box in enumerate(boxes)}
    fig, ((ax,),) = drawing.sheet(
        "Are longer chains more often right?",
        f"Median, middle half (box), 5 to 95 % (line) · {table['n'].sum():,.0f} chains"
        f"{drawing.run_label(table)}",
        height=1.8 + 0.3 * len(boxes) + 0.1 * len(methods),
    )
    # the words of an actual reply, never the mean of two
    shares = (0.05, 0.25, 0.5, 0.75, 0.95)
    quantiles = {box: np.quantile(lengths[box], shares, method="inverted_cdf") for box in boxes}
    longest = max(quantiles[box][-1] for box in boxes)
    for box, y in heights.items():
        low, first, median, third, high = quantiles[box]
        ax.hlines(y, low, high, color=drawing.GREY, linewidth=1.2, zorder=0.9)
        look = {"color": drawing.OUTCOMES[box[1]], "edgecolor": "#333333", "linewidth": 0.6}
        ax.barh(y, third - first, 0.56, first, **look)
        ax.plot(median, y, "D", color="black", markersize=4, markeredgecolor="white", zorder=4)
        text = f"{median:.0f} word{'' if f'{median:.0f}' == '1' else 's'}, n = {len(lengths[box]):,}"
        look = {"textcoords": "offset points", "va": "center", "fontsize": 8, "color": "#333333"}
        ax.annotate(text, (high, y), (6, 0), **look)
    middles = [np.mean([y for box, y in heights.items() if box[0] == method]) for method in methods]
    ax.set_yticks(middles, [label(method, width=18) for method in methods])
    ax.set(ylim=(max(heights.values()) + 0.7, -0.7), xlim=(0, longest * 1.3 + 1))
    ax.set_xlabel("Length of the chain (words)")
    ax.grid(axis="x")
    handles = [Patch(color=drawing.OUTCOMES[name], label=name) for name in outcomes]
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return fig


@figure(text="true read", numbers="count")
def agent_routing(table: pd.DataFrame) -> Figure:
    """What kind of clip the model takes each clip for: the task agent's first step.

    One row per (true, read): true (the clip's modality); read (what the model named, or why nothing could be
    read); count (items). Pairs that are absent count 0.
    """
    counts = table.groupby(["true", "read"])["count"].sum().unstack(fill_value=0)
    rows = drawing.sort_groups(table["true"])
    columns = [name for name in rows if name in counts]
    columns += [name for name in drawing.sort_groups(table["read"]) if name not in rows]
    counts = counts.reindex(index=rows, columns=columns, fill_value=0)
    totals = counts.sum(axis=1)
    shares = counts.div(totals.where(totals > 0), axis=0).to_numpy(float)
    texts = [
        ["0" if math.isnan(share) else f"{count:.0f}\n{100 * share:.0f} %" for count, share in zip(*pair)]
        for pair in zip(counts.to_numpy(), shares)
    ]
    fig, ((ax,),) = drawing.sheet(
        "Does the model tell sound, music and speech apart?",
        f"Questions and their share of the row · {totals.sum():,.0f} questions{drawing.run_label(table)}",
        height=1.7 + 0.6 * len(rows),
    )
    names = [f"{label(name, width=14, at_most=26)}\nn = {totals[name]:.0f}" for name in rows]
    drawing.heat_map(
        ax, shares, texts, rows=names, columns=[label(name, width=14, at_most=26) for name in columns],
        limits=(0, 1), colours="Blues", size=9, frames=_frames(rows, columns),
    )  # fmt: skip
    ax.set(xlabel="What the model took it for (% of the row; frame: right)", ylabel="What the clip is")
    return fig


@figure(text="trained_on tested_on metric", numbers="value low high n", optional="seed")
def transfer_matrix(table: pd.DataFrame) -> Figure:
    """Adapters by the modality trained on (rows) and tested on (columns): a heat map per metric.

    One row per (trained_on, tested_on, metric); of several training seeds only the rows with seed "mean" are
    drawn, where there are any; of the metrics the first three of MATRICES that are there. value; low, high; n
    (items). The colours of a share reach from 0 to 100 %; those of an index have blind refusal, zero, in their
    middle. In-domain cells are framed.
    """
    means = table[table["seed"] == "mean"]
    table = (table if means.empty else means).assign(seed="")
    metrics = [metric for metric in MATRICES if (table["metric"] == metric).any()][:3]
    if not metrics:
        raise FigureError(f"transfer_matrix: the metrics that it draws are {', '.join(MATRICES)}")
    rows, columns = drawing.sort_groups(table["trained_on"]), drawing.sort_groups(table["tested_on"])
    fig, (axes,) = drawing.sheet(
        "Does refusing learned on one modality carry over to the others?",
        "Value and 95 % interval; framed: the same modality · "
        f"{drawing.count_items(table, 'tested_on')} questions{drawing.run_label(table)}",
        height=2.1 + 0.55 * len(rows), columns=len(metrics), sharey=True,
    )  # fmt: skip
    for ax, metric in zip(axes, metrics):
        part = table[table["metric"] == metric].set_index(["trained_on", "tested_on"])
        duplicates = part.index.duplicated()
        if duplicates.any():
            raise FigureError(
                f"transfer_matrix: more than one row for {metric} of {part.index[duplicates][0][0]!r}; give "
                "one per cell (one part, and seed 'mean')"
            )
        share = metric in drawing.SHARES
        scale = 100 if share else 1
        cells = [[(row, column) for column in columns] for row in rows]
        texts = [[_cell_text(part.loc[c], scale) if c in part.index else "" for c in row] for row in cells]
        values = scale * part["value"].reindex([c for row in cells for c in row]).to_numpy()
        far = 1.2 * max([0.1, *np.abs(values[np.isfinite(values)])])
        n = part.groupby("tested_on")["n"].max()
        drawing.heat_map(
            ax, values.reshape(len(rows), -1), texts, rows=[label(name, width=11, at_most=20) for name in rows],
            columns=[f"{label(c, width=11, at_most=20)}\nn = {n.get(c, 0):.0f}" for c in columns],
            limits=(0, 100) if share else (-far, far), colours="Blues" if share else "RdBu",
            size=drawing.SMALL if len(columns) <= 3 else 6.5, frames=_frames(rows, columns),
            scale="% of questions" if share else "no unit, 0: blind refusal",
        )  # fmt: skip
        ax.set_xlabel("tested on", fontsize=8.5)
        ax.set_ylabel("trained on" if ax is axes[0] else "", fontsize=8.5)
        ax.set_title(drawing.metric_name(metric), fontsize=9.5)
    return fig


def _frames(rows: list[str], columns: list[str]) -> list[tuple[int, int]]:
    """The cells whose row and column have one name."""
    return [(rows.index(name), columns.index(name)) for name in rows if name in columns]


def _cell_text(row: pd.Series, scale: int) -> str:
    """A cell's value with its interval below, `scale` times as large (100: per cent)."""
    if math.isnan(row.value):
        return "undefined"
    digits = 0 if scale == 100 else 2
    value, low, high = (
        f"{round(scale * number, digits) + 0.0:.{digits}f}".replace("-", "−").replace("inf", "∞")
        for number in (row.value, row.low, row.high)
    )
    return value if math.isnan(row.low) or math.isnan(row.high) else f"{value}\n[{low}, {high}]"


def spectrogram(samples: np.ndarray, rate: int = 16_000, title: str = "What is in the clip?") -> Figure:
    """A clip's short-time spectrum in dB below its loudest point, down to -80; windows of 25 ms, every 10 ms.

    samples: shape (n,), mono, at least 25 ms; rate in Hz. Not in FIGURES: drawn from sound, not from a table.
    """
    window, step = round(0.025 * rate), round(0.01 * rate)
    if np.ndim(samples) != 1 or np.size(samples) < window:
        shape = np.shape(samples)
        raise FigureError(f"samples of shape {shape}: give mono samples, at least {window} at {rate} Hz")
    stft = signal.ShortTimeFFT(signal.windows.hann(window), step, rate, mfft=4 * window)
    power = np.abs(stft.stft(np.asarray(samples, dtype=float))) ** 2
    decibels = 10 * np.log10(np.maximum(power / max(power.max(), 1e-12), 1e-8))
    seconds = len(samples) / rate
    with mpl.rc_context(fname=drawing.STYLE):
        subtitle = f"Short-time spectrum · {seconds:.1f} s at {rate / 1000:g} kHz"
        fig, ((ax,),) = drawing.sheet(title, subtitle, height=3.2)
        look = {"origin": "lower", "aspect": "auto", "cmap": "magma", "vmin": -80, "vmax": 0}
        image = ax.imshow(decibels, extent=stft.extent(len(samples)), **look)
        ax.set(xlabel="Time (s)", ylabel="Frequency (kHz)", xlim=(0, seconds))
        ax.yaxis.set_major_formatter(lambda hertz, _: f"{hertz / 1000:g}")
        fig.colorbar(image, ax=ax, label="Level (dB below the loudest)", pad=0.01)
    return fig
