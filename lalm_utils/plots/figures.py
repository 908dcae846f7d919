"""Figures: one function per figure, a tidy table in, a matplotlib Figure out.

`FIGURES` maps each figure's name to its drawing function, whose docstring defines the table's columns.
Further columns stay in the CSV and are not drawn, except the optional `model`, `benchmark` and `seed`, which
the subtitle quotes. `save`, `redraw` and `render` (figure_files.py) turn figures into files. The drawing
functions read no file, compute no metric, and never go through pyplot, so nothing is shown or left open.

Conventions: shares, rates and accuracies are in [0, 1]; `low` and `high` bound a 95 % interval (empty: none);
groups named "overall" or "all" pool the others and are not counted again in N.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import signal

from lalm_utils.plots import marks
from lalm_utils.plots.figure_files import (
    FIGURES,
    MADE_BY,
    FigureError,
    destination,
    figure,
    redraw,
    render,
    save,
)

__all__ = [
    "FIGURES",
    "FigureError",
    "baseline_accuracy",
    "destination",
    "idk_flows",
    "idk_gain",
    "redraw",
    "render",
    "save",
    "spectrogram",
    "unanswerable",
]

POOLED = ("overall", "all")
ORDER = ("sound", "music", "speech", "easy", "medium", "hard")
CLIP = "its own clip"


@figure(text="modality level", numbers="accuracy low high chance n", optional="control")
def baseline_accuracy(table: pd.DataFrame) -> Figure:
    """Accuracy by modality and level, beside chance and beside controls that take the clip away.

    One row per (modality, level, control): modality; level (easy, medium, hard, or "overall"); control ("" or
    "clip" = asked with its own clip, anything else names the control, e.g. "no audio", "silence"); accuracy;
    low, high; chance (mean chance of these items); n (items).
    """
    table["control"] = table["control"].replace({"": CLIP, "clip": CLIP})
    own, controls = table[table["control"] == CLIP], ordered(table["control"], first=[CLIP])
    panels = {modality: table[table["modality"] == modality] for modality in ordered(table["modality"])}
    widths = [1 + rows["level"].nunique() for rows in panels.values()]
    crowded = sum(widths) > 15
    fig, axes = marks.sheet(
        "How often is a model right when it may not decline?",
        f"Accuracy with 95 % interval{', n below' if crowded else ''} · "
        f"{_total(own, 'modality', 'level')} questions{made_by(table)}",
        height=4.2,
        panels=widths,
    )
    for ax, (modality, rows) in zip(axes, panels.items()):
        levels = _slots(ax, rows, rows[rows["control"] == CLIP], "level", crowded=crowded)
        for x, kind, row in _side_by_side(rows, levels, controls, "level", "control"):
            marks.point(ax, x, row.accuracy, row.low, row.high, kind=kind, hollow=kind > 0, label=row.control)
            slot = levels.index(row.level)
            ax.hlines(row.chance, slot - 0.4, slot + 0.4, color=marks.GREY, linestyle=":", label="chance")
        ax.set_title(_wrapped(modality), fontsize=_size(len(panels) > 5) + 1)
        ax.set_ylim(0, 1)
    marks.percent(axes[0], "Accuracy (% of questions)", grid=axes)
    marks.legend(fig, [*controls, "chance"])
    return fig


@figure(text="modality before after", numbers="count")
def idk_flows(table: pd.DataFrame) -> Figure:
    """What becomes of each outcome once the model may decline: an alluvial diagram per modality.

    One row per (modality, before, after): modality; before, after (outcomes without and with the IDK
    instruction: correct, wrong, refused, unreadable or failed); count (items).
    """
    modalities = ordered(table["modality"])
    crowded = len(modalities) > 5
    total = _total(table.rename(columns={"count": "n"}), "modality")
    fig, axes = marks.sheet(
        "What becomes of right and wrong answers once a model may decline?",
        f"Each band: the same questions, before and after · {total} questions{made_by(table)}",
        height=4.4,
        panels=[1.0] * len(modalities),
    )
    for ax, modality in zip(axes, modalities):
        flows = table[table["modality"] == modality].groupby(["before", "after"])["count"].sum()
        marks.alluvial(ax, flows.to_dict(), flows.sum(), bar=0.24 if crowded else 0.15)
        ax.set_title(f"{_wrapped(modality)}\nn = {flows.sum():.0f}", fontsize=_size(crowded) + 1)
        ax.set(xlim=(-0.35, 1.35), ylim=(0, 1))
        ax.set_xticks([0, 1], ["plain\nprompt", "IDK\nprompt"], fontsize=_size(crowded))
        ax.spines[["bottom"] if ax is axes[0] else ["bottom", "left"]].set_visible(False)
    marks.percent(axes[0], "Share of questions (%)")
    marks.legend(fig, list(marks.OUTCOMES))
    return fig


@figure(text="group source model", numbers="rgi low high null n")
def idk_gain(table: pd.DataFrame) -> Figure:
    """The Reliability Gain Index by modality and pooled, beside its moving zero and beside the paper's.

    One row per (group, source): group (a modality, or "overall"); source ("measured here" or "printed in the
    paper"); model; rgi = log10(ΔHum/ΔCon), inf where only ΔCon = 0, empty where both are 0; low, high; null =
    log10(Nw/Nc), what refusing a random share of the questions gives; n (items).
    """
    groups = ordered(table["group"])
    sources = ordered(table["source"], first=["measured here", "printed in the paper"])
    made = made_by(table[table["source"] == sources[0]].assign(model=""))
    fig, (ax,) = marks.sheet(
        "Does permission to decline remove more wrong answers than right ones?",
        f"RGI = log₁₀(ΔHum/ΔCon) by modality, with 95 % interval{made}",
        height=2.2 + 0.6 * len(groups),
    )
    limits = span(table[["rgi", "low", "high", "null"]].to_numpy())
    labels = {source: _source_label(table[table["source"] == source]) for source in sources}
    for y, kind, row in _side_by_side(table, groups, sources, "group", "source", step=0.36):
        values = (row.rgi, row.low, row.high, row.null)
        marks.gain(ax, y, *values, span=limits, kind=kind, hollow=kind > 0, label=labels[row.source])
    ax.axvline(0, color=marks.GREY, linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(groups)), groups)
    ax.set(xlim=limits, ylim=(len(groups) - 0.45, -0.55))
    ax.set_xlabel("Reliability Gain Index (log₁₀ of a ratio, no unit)")
    ax.grid(axis="x")
    marks.legend(fig, list(labels.values()))
    return fig


@figure(text="prompt group", numbers="rate low high n")
def unanswerable(table: pd.DataFrame) -> Figure:
    """Refusal rates on answerable and on unanswerable items, with and without permission to decline.

    One row per (prompt, group), in the order in which they are to appear: prompt (how it was asked, e.g.
    "plain", "IDK"); group (e.g. "answerable, known content", "answerable, novel content", "inaudible",
    "ungrounded"; a comma breaks the label); rate (share refused); low, high; n (items).
    """
    prompts = list(dict.fromkeys(table["prompt"]))
    once = table[table["prompt"] == prompts[0]]
    asked = f"{_total(once, 'group')} questions, each asked {len(prompts)}×"
    fig, (ax,) = marks.sheet(
        "Does a model decline where there is nothing to know?",
        f"Refusal rate with 95 % interval · {asked}{made_by(table)}",
        height=4.2,
    )
    groups = _slots(ax, table, once, "group")
    for x, kind, row in _side_by_side(table, groups, prompts, "group", "prompt"):
        marks.point(ax, x, row.rate, row.low, row.high, kind=kind, label=f"{row.prompt} prompt")
    ax.set(ylim=(0, 1))
    marks.percent(ax, "Refused (% of questions)", grid=[ax])
    marks.legend(fig)
    return fig


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
    with mpl.rc_context(fname=marks.STYLE):
        subtitle = f"Short-time spectrum · {seconds:.1f} s at {rate / 1000:g} kHz"
        fig, (ax,) = marks.sheet(title, subtitle, height=3.2)
        look = {"origin": "lower", "aspect": "auto", "cmap": "magma", "vmin": -80, "vmax": 0}
        image = ax.imshow(decibels, extent=stft.extent(len(samples)), **look)
        ax.set(xlabel="Time (s)", ylabel="Frequency (kHz)", xlim=(0, seconds))
        ax.yaxis.set_major_formatter(lambda hertz, _: f"{hertz / 1000:g}")
        fig.colorbar(image, ax=ax, label="Level (dB below the loudest)", pad=0.01)
    return fig


def ordered(values: pd.Series, first: Sequence[str] = ()) -> list[str]:
    """Each value once: `first`, the papers' order, the others as they appear, the pooled ones last."""
    order = [*first, *ORDER]
    rank = {value: order.index(value) if value in order else len(order) for value in values}
    return sorted(dict.fromkeys(values), key=lambda value: (value in POOLED, rank[value]))


def _slots(
    ax: Axes, shown: pd.DataFrame, counted: pd.DataFrame, column: str, *, crowded: bool = False
) -> list[str]:
    """Give `ax` one place per value of `column`, labelled with its n in `counted`; the values in order."""
    values = ordered(shown[column]) if column == "level" else list(dict.fromkeys(shown[column]))
    counts = counted.groupby(column)["n"].sum()
    names = [value.replace(", ", ",\n") or "all" for value in values]
    sign = "" if crowded else "n = "
    texts = [f"{name}\n{sign}{counts.get(value, 0):.0f}" for name, value in zip(names, values)]
    ax.set_xticks(range(len(values)), texts, fontsize=_size(crowded))
    ax.set_xlim(-0.6, len(values) - 0.4)
    return values


def _side_by_side(
    rows: pd.DataFrame, slots: Sequence[str], order: Sequence[str], slot: str, series: str, step: float = 0.2
) -> Iterator[tuple[float, int, Any]]:
    """Each row with its place on the axis and its series' number; one slot's series are centred on it."""
    for row in rows.itertuples(index=False):
        place, name = getattr(row, slot), getattr(row, series)
        here = set(rows.loc[rows[slot] == place, series])
        beside = [other for other in order if other in here]
        yield slots.index(place) + step * (beside.index(name) - (len(beside) - 1) / 2), order.index(name), row


def _total(table: pd.DataFrame, *columns: str) -> str:
    """How many items, pooled groups not counted again unless nothing else is there."""
    for column in columns:
        single = table[~table[column].isin(POOLED)]
        table = table if single.empty else single
    return f"{table['n'].sum():,.0f}"


def made_by(table: pd.DataFrame) -> str:
    """The end of a subtitle: the model, benchmark and seed that the table names."""
    named = {column: ", ".join(filter(None, dict.fromkeys(table[column]))) for column in MADE_BY}
    return "".join(f" · {column} {values}" for column, values in named.items() if values)


def _source_label(rows: pd.DataFrame) -> str:
    models = ", ".join(dict.fromkeys(rows["model"]))
    return f"{rows['source'].iloc[0]}: {models}, {_total(rows, 'group')} questions"


def _wrapped(name: str) -> str:
    return textwrap.fill(name, 14)


def _size(crowded: bool) -> float:
    return 7.5 if crowded else 9.5


def span(values: np.ndarray) -> tuple[float, float]:
    """Limits that hold every finite value and zero, with a margin."""
    finite = np.append(values[np.isfinite(values)], [-0.1, 0.1])
    margin = 0.08 * np.ptp(finite)
    return float(finite.min() - margin), float(finite.max() + margin)
