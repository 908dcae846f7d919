"""Figures of the six axes of trust: one function per figure, a tidy table in, a matplotlib Figure out.

Registered as the figures of figures.py are, with the same conventions.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy import special

from lalm_utils.plots import drawing
from lalm_utils.plots.drawing import figure, label

__all__ = ["trust_axes", "trust_det", "trust_strength"]
CONDITIONS = {
    "off": "off: the question alone",
    "on": "on: a sentence before it urges to accept",
}  # of trust_det
RATES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)  # ticks of a DET curve


@figure(text="axis way metric", numbers="value low high n")
def trust_axes(table: pd.DataFrame) -> Figure:
    """Six axes of trust by ways of declining: a panel per metric, a row per axis, a series per way.

    One row per (axis, way, metric), in the order in which they are to appear: axis; way ("plain", "IDK prompt", ...);
    metric (a share withheld, in [0, 1], or their difference J, in [-1, 1], whose name begins with J); value; low, high;
    n (pairs).
    """
    table = table.rename(columns={"axis": "category", "way": "series"})
    axes_of_trust, ways, metrics = (list(dict.fromkeys(table[c])) for c in ("category", "series", "metric"))
    n = table.groupby("category")["n"].max()
    fig, (axes,) = drawing.sheet(
        "Does learning to decline help trust, or move the harm?",
        "Each axis's condition on · 95 % intervals over quads (a question to withhold and its twin to answer, "
        "condition off and on) · "
        f"{n.sum():,.0f} pairs of questions{drawing.run_label(table)}",
        height=1.7 + 0.22 * len(axes_of_trust) * len(ways), columns=len(metrics), sharey=True,
    )  # fmt: skip
    for ax, metric in zip(axes, metrics):
        drawing.category_axis(ax, [f"{label(name, at_most=20)}\nn = {n[name]:.0f}" for name in axes_of_trust])
        if metric.startswith("J"):
            ax.set(xlim=(-1.05, 1.05), xticks=[-1, 0, 1], xlabel="right less wrong (no unit)")
        else:
            ax.set(xlim=(-0.04, 1.04), xticks=[0, 0.5, 1], xlabel="% of questions")
            ax.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
        drawing.dots(ax, table[table["metric"] == metric], axes_of_trust, ways, step=0.2, hollow=False)
        ax.axvline(0, color=drawing.GREY, linewidth=0.8, zorder=0)
        ax.set_title(label(metric), fontsize=9.5)
        ax.grid(axis="x")
    drawing.legend(fig, [label(name, at_most=90) for name in ways])
    return fig


@figure(text="metric way", numbers="strength value low high n")
def trust_strength(table: pd.DataFrame) -> Figure:
    """What each way of declining does as clips are perturbed: a panel per metric, a line per way.

    One row per (metric, way, strength), in the order in which they are to appear: metric (a share, e.g. "no right
    option: withheld"); way ("plain", "IDK prompt", ...); strength (0: the clean clip, to 5); value, low, high; n.
    """
    metrics, ways = (list(dict.fromkeys(table[column])) for column in ("metric", "way"))
    fig, (axes,) = drawing.sheet(
        "Does refusing rise before accuracy falls?",
        f"Shares with 95 % intervals · {table['n'].max():,.0f} questions at most at a strength"
        f"{drawing.run_label(table)}",
        height=3.9, columns=len(metrics), sharey=True,
    )  # fmt: skip
    for ax, metric in zip(axes, metrics):
        for kind, way in enumerate(ways):
            part = table[(table["metric"] == metric) & (table["way"] == way)].sort_values("strength")
            x, y, low, high = part[["strength", "value", "low", "high"]].to_numpy().T
            beside = 0.12 * (kind - (len(ways) - 1) / 2)
            drawing.line(ax, x + beside, y, low, high, kind=kind, band=False)
            look = {"color": drawing.COLOURS[kind % 8], "marker": drawing.MARKERS[kind % 8]}
            ax.plot([], [], "-", label=label(way, at_most=90), **look)
        drawing.percent_axis(ax, "% of questions" if ax is axes[0] else "")
        ax.set(xlim=(-0.4, 5.4), ylim=(-0.03, 1.03), xticks=range(6), xlabel="strength (0: clean)")
        ax.set_title(label(metric, width=26, at_most=60), fontsize=9.5)
        ax.grid(axis="y")
    drawing.legend(fig)
    return fig


@figure(text="form series", numbers="false_acceptance false_rejection eer n")
def trust_det(table: pd.DataFrame) -> Figure:
    """Detection error trade-off: impostors accepted against genuine trials rejected, a panel per kind of trial.

    One row per (form, series, threshold), by rising threshold: form (e.g. "speaker", or "overall"); series (e.g.
    "off", "on"); false_acceptance, false_rejection (shares); eer (of the curve, repeated in its rows); n (trials).
    Both axes have the normal deviate's scale, on which two normal scores of equal variance give a straight line.
    """
    forms, series = (list(dict.fromkeys(table[column])) for column in ("form", "series"))
    most = table.groupby("form")["n"].max()
    fig, (axes,) = drawing.sheet(
        "Can a model tell the genuine from the impostor?",
        "DET curves, lower left is better, with the questions n and the equal error rate (EER) of each panel · "
        f"{drawing.count_items(table, 'form')} questions{drawing.run_label(table)}",
        height=3.7, columns=len(forms), sharey=True,
    )  # fmt: skip
    for ax, form in zip(axes, forms):
        errors = []
        for kind, name in enumerate(series):
            part = table[(table["form"] == form) & (table["series"] == name)]
            if not part.empty:
                x, y = special.ndtri(
                    np.clip(part[["false_acceptance", "false_rejection"]].to_numpy().T, 0.01, 0.99)
                )
                ax.step(x, y, where="post", color=drawing.COLOURS[kind], linestyle=("-", "--")[kind % 2],
                        label=label(CONDITIONS.get(name, name)), linewidth=1.6)  # fmt: skip
                errors.append(f"{label(name, at_most=9)} {100 * part['eer'].iloc[0]:.0f}")
        ends = special.ndtri([0.01, 0.99])
        ax.plot(ends, ends, ":", color=drawing.GREY, linewidth=0.8, label="equal errors")
        names = [f"{100 * rate:.0f}" for rate in RATES]
        ax.set_xticks(special.ndtri(RATES), names, fontsize=drawing.SMALL)
        ax.set_yticks(special.ndtri(RATES), names, fontsize=drawing.SMALL)
        ax.set(xlim=ends * 1.02, ylim=ends * 1.02)
        ax.set_xlabel("impostors accepted (%)", fontsize=8.5)
        ax.set_title(
            f"{label(form, at_most=20)}, n = {most[form]:.0f}\nEER {', '.join(errors)} %", fontsize=9.5
        )
    axes[0].set_ylabel("genuine rejected (%)", fontsize=8.5)
    drawing.legend(fig, [label(CONDITIONS.get(name, name)) for name in series])
    return fig
