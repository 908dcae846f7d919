"""Figures of transfer between modalities: one function per figure, a tidy table in, a matplotlib Figure out.

Registered as the figures of figures.py are, with the same conventions: shares are in [0, 1]; `low` and `high`
bound a 95 % interval (empty: none); the optional `model`, `benchmark` and `seed` end the subtitle. Further
columns stay in the CSV and are not drawn. An infinite value is an arrow or a sign, an undefined one a word.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lalm_utils.plots import marks, panels
from lalm_utils.plots.figure_files import FigureError, destination, figure, redraw, render, save

__all__ = ["destination", "redraw", "render", "save", "transfer_control", "transfer_matrix"]

KINDS = ("IDK labels", "shuffled labels", "random refusal")


@figure(text="trained_on tested_on metric", numbers="value low high n", optional="seed null")
def transfer_matrix(table: pd.DataFrame) -> Figure:
    """Adapters by the modality trained on (rows) and tested on (columns): a heat map per metric.

    One row per (trained_on, tested_on, metric); of several training seeds only the rows with seed "mean" are
    drawn, where there are any. value; low, high; n (items); null (optional: what blind refusal gives, empty
    where the metric has no null). Where a metric has a null, colour is the distance from it, blue above;
    otherwise it is the value. In-domain cells are framed.
    """
    means = table[table["seed"] == "mean"]
    table = (table if means.empty else means).assign(seed="")
    table["null"] = pd.to_numeric(table["null"].replace("", np.nan), errors="coerce").astype(float)
    metrics = list(dict.fromkeys(table["metric"]))
    columns = min(2, len(metrics))
    lines = math.ceil(len(metrics) / columns)
    rows, across = panels.ordered(table["trained_on"]), panels.ordered(table["tested_on"])
    fig, axes = panels.sheet(
        "Does refusing learned on one modality carry over to the others?",
        f"Value and 95 % interval; framed: the same modality · {_ending(table)}",
        height=1.0 + lines * (1.15 + 0.46 * len(rows)), rows=lines, columns=columns,
    )  # fmt: skip
    for ax, metric in zip(axes.flat, metrics):
        _matrix(ax, table[table["metric"] == metric], metric, rows, across)
    for ax in axes.flat[len(metrics) :]:
        ax.set_axis_off()
    return fig


def _matrix(ax: Axes, shown: pd.DataFrame, metric: str, rows: list[str], columns: list[str]) -> None:
    twice = shown[["trained_on", "tested_on"]].duplicated()
    if twice.any():
        raise FigureError(
            f"transfer_matrix: more than one row for {metric} of {shown.loc[twice, 'trained_on'].iloc[0]!r}; give "
            "one per cell (one part, and seed 'mean')"
        )
    cells = {(row.trained_on, row.tested_on): row for row in shown.itertuples()}
    share, null = metric in panels.SHARES, shown["null"].notna().any()
    values = np.array([[_height(cells.get((r, c))) for c in columns] for r in rows])
    texts = [[_said(cells.get((r, c)), share) for c in columns] for r in rows]
    low = 0.0 if share else np.min(values, initial=0.0, where=np.isfinite(values))
    high = np.max(values, initial=low + 0.1, where=np.isfinite(values))
    # Half of the grey scale only: black cells would hide their frame.
    norm = panels.around_zero(values) if null else Normalize(low, low + 2 * (high - low))
    counts = shown.groupby("tested_on")["n"].max()
    named = [f"{panels.label(name, width=11, at_most=20)}\nn = {counts.get(name, 0):.0f}" for name in columns]
    look = {"norm": norm, "colours": "RdBu" if null else "Greys", "size": 8 if len(columns) <= 3 else 6.5}
    inside = [(rows.index(name), columns.index(name)) for name in rows if name in columns]
    ax.set_xlabel("tested on", fontsize=8.5)
    ax.set_ylabel("trained on", fontsize=8.5)
    rows = [panels.label(name, width=11, at_most=20) for name in rows]
    panels.heat(ax, values, texts, rows=rows, columns=named, outlined=inside, **look)
    moving = shown["null"].nunique() > 1
    what = "colour: above or below the null" if moving else "no unit, 0: blind refusal" if null else "no unit"
    ax.set_title(f"{panels.name_of(metric)} ({'% of questions' if share else what})", fontsize=9.5)


@figure(text="trained_on tested_on kind", numbers="value low high n", optional="metric")
def transfer_control(table: pd.DataFrame) -> Figure:
    """Adapters beside those trained on shuffled labels and beside blind refusal: a panel per tested modality.

    One row per (trained_on, tested_on, kind): kind ("IDK labels", "shuffled labels", "random refusal");
    metric (optional, the name of what is shown, by default rgi_excess); value; low, high (of random refusal:
    the range of chance); n (items).
    """
    metric = next(filter(None, table["metric"]), "rgi_excess")
    rows, tested = panels.ordered(table["trained_on"]), panels.ordered(table["tested_on"])
    kinds = [kind for kind in (*KINDS, *dict.fromkeys(table["kind"])) if (table["kind"] == kind).any()]
    kinds = list(dict.fromkeys(kinds))
    fig, (axes,) = panels.sheet(
        "Is it the labels that teach an adapter what to refuse?",
        f"95 % interval (random refusal: range of chance) · {_ending(table)}",
        height=1.95 + 0.75 * len(rows), columns=len(tested), sharey=True,
    )  # fmt: skip
    for ax, modality in zip(axes, tested):
        shown = table[table["tested_on"] == modality]
        panels.values_of(ax, metric, table[["value", "low", "high"]].to_numpy())
        ax.set_xlabel(panels.with_unit(metric), fontsize=8.5)
        for row in shown.itertuples():
            kind = kinds.index(row.kind)
            y = rows.index(row.trained_on) + 0.26 * (kind - (len(kinds) - 1) / 2)
            name = panels.label(row.kind)
            panels.point(ax, y, row.value, row.low, row.high, kind=kind, hollow=kind > 0, name=name)
        if modality in rows:
            ax.axhspan(rows.index(modality) - 0.45, rows.index(modality) + 0.45, color="#f2f2f2", zorder=-1)
        ax.set_title(
            f"tested on {panels.label(modality, at_most=18)}\nn = {shown['n'].max():.0f}", fontsize=9.5
        )
    panels.rows_of(axes[0], [f"trained on {name}" for name in rows], width=14)
    marks.legend(fig, [panels.label(kind) for kind in kinds])
    return fig


def _height(row) -> float:
    """What a cell's colour shows: the value, or its distance from the null."""
    if row is None:
        return math.nan
    return row.value if math.isnan(row.null) else row.value - row.null


def _said(row, share: bool) -> str:
    """A cell's value with its interval below, in per cent or as it is."""
    if row is None or math.isnan(row.value):
        return "" if row is None else "undefined"
    scale, digits = (100, 0) if share else (1, 2)
    value, low, high = (
        f"{round(scale * number, digits) + 0.0:.{digits}f}".replace("-", "−").replace("inf", "∞")
        for number in (row.value, row.low, row.high)
    )
    return value if math.isnan(row.low) or math.isnan(row.high) else f"{value}\n[{low}, {high}]"


def _ending(table: pd.DataFrame) -> str:
    """The end of a subtitle: how many questions, and how the table was made."""
    return f"{panels.counted(table, 'tested_on')} questions{panels.made_by(table)}"
