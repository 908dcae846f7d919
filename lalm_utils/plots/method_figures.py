"""Figures that compare methods: one function per figure, a tidy table in, a matplotlib Figure out.

Registered as the figures of figures.py are, with the same conventions: shares, rates and accuracies are in
[0, 1]; `low` and `high` bound a 95 % interval (empty: none); groups named "overall" or "all" pool the others
and are not counted again; the optional `model`, `benchmark` and `seed` end the subtitle. Further columns stay
in the CSV and are not drawn. An infinite value is an arrow or a sign at the edge, an undefined one a word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lalm_utils.plots import marks, panels
from lalm_utils.plots.figure_files import FigureError, destination, figure, redraw, render, save

__all__ = [
    "agent_ablations", "agent_routing", "chain_length", "destination", "methods_compared", "paper_side_by_side",
    "redraw", "render", "save",
]  # fmt: skip

SOURCES = ("measured here", "printed in the paper")


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


def _by_metric(table: pd.DataFrame, rows: str, title: str) -> Figure:
    names, metrics = list(dict.fromkeys(table[rows])), _metrics(table)
    each = table.groupby(rows)["n"].max()
    alike = each.nunique() == 1
    asked = f"{each.iloc[0]:,.0f} questions each" if alike else "questions per row as given"
    fig, axes = panels.sheet(
        title,
        f"Value and 95 % interval; dotted: {names[0]} · {asked}{panels.made_by(table)}",
        height=1.65 + 0.44 * len(names),
        columns=len(metrics),
        sharey=True,
    )
    named = names if alike else [f"{name} (n = {each[name]:,.0f})" for name in names]
    for ax, metric in zip(axes[0], metrics):
        shown = table[table["metric"] == metric]
        panels.values_of(ax, metric, shown[["value", "low", "high"]].to_numpy())
        for row in shown.itertuples():
            at = names.index(getattr(row, rows))
            said = f"{100 * row.value:.0f}" if metric in panels.SHARES else f"{row.value:.2f}"
            panels.point(ax, at, row.value, row.low, row.high, kind=0, hollow=at == 0, said=said)
        _reference(ax, shown.loc[shown[rows] == names[0], "value"])
        ax.set_title(panels.name_of(metric), fontsize=9.5)
    panels.rows_of(axes[0][0], named)
    return fig


@figure(text="method outcome", numbers="words n")
def chain_length(table: pd.DataFrame) -> Figure:
    """How long the chains of thought, or other replies, of each outcome are, by method.

    One row per (method, outcome, words): method; outcome (correct, wrong, refused, unreadable, failed); words
    (a length); n (replies of that length). One row per (method, outcome) is drawn as a point.
    """
    _refuse_outcomes(table["outcome"])
    table = table[(table["n"] > 0) & np.isfinite(table["words"])]
    methods = list(dict.fromkeys(table["method"]))
    outcomes = [name for name in marks.OUTCOMES if (table["outcome"] == name).any()]
    places = [(m, o) for m in methods for o in outcomes if _rows(table, m, o)["n"].sum()]
    if not places:
        raise FigureError("chain_length: no row has a length and replies of it; count the words first")
    fig, ((ax,),) = panels.sheet(
        "Are longer chains more often right?",
        f"Median, middle half (box), 5 to 95 % (line) · {table['n'].sum():,.0f} questions"
        f"{panels.made_by(table)}",
        height=1.8 + 0.3 * len(places) + 0.1 * len(methods),
    )
    heights = {place: k + 0.5 * methods.index(place[0]) for k, place in enumerate(places)}
    for place, y in heights.items():
        _box(ax, y, _rows(table, *place), marks.OUTCOMES[place[1]])
    _methods_beside(ax, methods, heights)
    ax.set_ylim(max(heights.values()) + 0.7, -0.7)
    ax.set_xlim(0, table["words"].max() * 1.22 + 1)
    ax.set_xlabel("Length of the chain (words)")
    ax.grid(axis="x")
    handles = [Patch(color=marks.OUTCOMES[name], label=name) for name in outcomes]
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return fig


@figure(text="true read", numbers="count")
def agent_routing(table: pd.DataFrame) -> Figure:
    """What kind of clip the model takes each clip for: the task agent's first step.

    One row per (true, read): true (the clip's modality); read (what the model named, or why nothing could be
    read); count (items). Pairs that are absent count 0.
    """
    counts = table.groupby(["true", "read"])["count"].sum().unstack(fill_value=0)
    rows, first = panels.ordered(table["true"]), panels.ordered(table["true"])
    columns = [name for name in first if name in counts] + [
        name for name in panels.ordered(table["read"]) if name not in first
    ]
    counts = counts.reindex(index=rows, columns=columns, fill_value=0)
    totals = counts.sum(axis=1)
    shares = counts.div(totals.where(totals > 0), axis=0).to_numpy(float)
    texts = [
        [f"{count:.0f}\n{100 * share:.0f} %" if share == share else "0" for count, share in zip(*pair)]
        for pair in zip(counts.to_numpy(), shares)
    ]
    fig, ((ax,),) = panels.sheet(
        "Does the model tell sound, music and speech apart?",
        f"Questions and their share of the row · {counts.to_numpy().sum():,.0f} questions{panels.made_by(table)}",
        height=1.7 + 0.6 * len(rows),
    )
    right = [(rows.index(name), columns.index(name)) for name in rows if name in columns]
    named = [f"{panels.label(name, width=14, at_most=26)}\nn = {totals[name]:.0f}" for name in rows]
    columns = [panels.label(name, width=14, at_most=26) for name in columns]
    look = {"norm": Normalize(0, 1), "colours": "Blues", "size": 9, "outlined": right}
    panels.heat(ax, shares, texts, rows=named, columns=columns, **look)
    ax.set(xlabel="What the model took it for (% of the row; frame: right)", ylabel="What the clip is")
    return fig


@figure(text="method group metric source", numbers="value low high n", optional="null")
def paper_side_by_side(table: pd.DataFrame) -> Figure:
    """The paper's tables beside ours: a column per group, a row of panels per metric, a line per method.

    One row per (method, group, metric, source), methods in the order in which they are to appear: method;
    group (a modality, or "overall"); metric (accuracy, reliability, rgi, ...); source ("measured here" or
    "printed in the paper"); value; low, high; n (items of the group); null (optional: what blind refusal gives,
    empty where a metric has no null).
    """
    table["null"] = pd.to_numeric(table["null"].replace("", np.nan), errors="coerce").astype(float)
    methods, metrics = list(dict.fromkeys(table["method"])), _metrics(table)
    groups = panels.ordered(table["group"])
    sources = [s for s in (*SOURCES, *dict.fromkeys(table["source"])) if (table["source"] == s).any()]
    sources = list(dict.fromkeys(sources))
    made = panels.made_by(table[table["source"] == sources[0]].assign(model=""))
    fig, axes = panels.sheet(
        "Do the paper's results carry over?",
        f"Value and 95 % interval; the paper prints none{made}",
        height=1.6 + len(metrics) * (0.55 + 0.33 * len(methods)),
        rows=len(metrics), columns=len(groups), sharey=True,
    )  # fmt: skip
    names = {source: _source(table[table["source"] == source], source) for source in sources}
    for ax, group in zip(axes[0], groups):
        ax.set_title(panels.label(group, at_most=18), fontsize=10)
    for line, metric in zip(axes, metrics):
        shown = table[table["metric"] == metric]
        for ax, group in zip(line, groups):
            panels.values_of(ax, metric, shown[["value", "low", "high", "null"]].to_numpy())
            ax.set_xlabel(panels.with_unit(metric), fontsize=8.5)
            for row in shown[shown["group"] == group].itertuples():
                kind = sources.index(row.source)
                y = methods.index(row.method) + 0.32 * (kind - (len(sources) - 1) / 2)
                look = {"kind": kind, "hollow": kind > 0, "name": names[row.source]}
                panels.point(ax, y, row.value, row.low, row.high, **look)
                if np.isfinite(row.null):
                    ax.plot(
                        row.null, y, "|", color="black", markersize=9, markeredgewidth=1.6, label=marks.NULL
                    )
    panels.rows_of(axes[0][0], methods)
    marks.legend(fig, list(names.values()))
    return fig


def _metrics(table: pd.DataFrame) -> list[str]:
    known = [*panels.SHARES, *panels.INDICES]
    found = list(dict.fromkeys(table["metric"]))
    return sorted(found, key=lambda name: known.index(name) if name in known else len(known))


def _reference(ax: Axes, values: pd.Series) -> None:
    """A dotted line at the first row's value, where there is one."""
    if len(values) and np.isfinite(values.iloc[0]):
        ax.axvline(values.iloc[0], color=marks.GREY, linestyle=":", linewidth=1, zorder=0)


def _refuse_outcomes(outcomes: pd.Series) -> None:
    strange = sorted(set(outcomes) - set(marks.OUTCOMES))
    if strange:
        raise FigureError(f"outcomes {strange} cannot be drawn: the outcomes are {', '.join(marks.OUTCOMES)}")


def _rows(table: pd.DataFrame, method: str, outcome: str) -> pd.DataFrame:
    return table[(table["method"] == method) & (table["outcome"] == outcome)]


def _box(ax: Axes, y: float, rows: pd.DataFrame, colour: str) -> None:
    """The weighted quantiles of `words` as line, box and median, with the median and the number beside them."""
    rows = rows.sort_values("words")
    reached = rows["n"].cumsum().to_numpy() / rows["n"].sum()
    low, first, median, third, high = (
        rows["words"].to_numpy()[np.searchsorted(reached, share - 1e-9)]
        for share in (0.05, 0.25, 0.5, 0.75, 0.95)
    )
    ax.hlines(y, low, high, color=marks.GREY, linewidth=1.2, zorder=0.9)
    ax.barh(y, third - first, 0.56, first, color=colour, edgecolor="#333333", linewidth=0.6)
    ax.plot(median, y, "D", color="black", markersize=4, markeredgecolor="white", zorder=4)
    said = f"{median:.0f} word{'' if f'{median:.0f}' == '1' else 's'}, n = {rows['n'].sum():,.0f}"
    ax.annotate(said, (high, y), (6, 0), textcoords="offset points", va="center", fontsize=8, color="#333333")


def _methods_beside(ax: Axes, methods: Sequence[str], heights: dict[tuple[str, str], float]) -> None:
    """Each method's name beside the middle of its boxes."""
    middles = [np.mean([y for (name, _), y in heights.items() if name == method]) for method in methods]
    ax.set_yticks(middles, [panels.label(method, width=18) for method in methods])


def _source(rows: pd.DataFrame, source: str) -> str:
    models = panels.label(", ".join(filter(None, dict.fromkeys(rows["model"]))), at_most=40)
    said = f"{panels.counted(rows, 'group')} questions"
    return f"{panels.label(source)}: {models + ', ' if models else ''}{said}"
