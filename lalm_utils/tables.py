"""Tables for figures and readers: metric rows brought into the columns that a figure draws or a page shows.

In: outcome tables, metric frames, folders of adapters. Out: tidy tables to draw (the figures' docstrings name
their columns), or tables of texts to read, "0.61 [0.55, 0.66]". Nothing is computed here that metrics.py,
comparison.py and transfer.py do not compute, and nothing is drawn.

The paper's LoRA row looks like the mean of two adapters, each tested outside the modality it was trained on
(papers' counts are whole for two models, not for one). So "LoRA SFT" is that mean here, and the adapters on
their own modality are a method of their own. Overall, other methods pool all items and LoRA SFT averages the
modalities, as the paper's totals do.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lalm_utils import bootstrap, metrics, outcomes, paper, transfer
from lalm_utils.finetuning import lora_files
from lalm_utils.paper import MEASURED, PRINTED
from lalm_utils.transfer import Runs

__all__ = [
    "BASELINE", "IN", "METHOD_METRICS", "OUT", "OVERALL", "SETTING_METRICS", "accuracy_by_level", "always_first",
    "beside_paper", "by_setting", "compare_runs", "controls", "methods_by_group", "paper_gain", "paper_methods",
    "refusals", "side_by_side", "training_curves", "transitions", "values", "wide",
    "wide_by_method", "wide_by_run",
]  # fmt: skip
OVERALL = "overall"
BASELINE, OUT, IN = "Baseline", "LoRA SFT", "LoRA SFT, in domain"
SETTING_METRICS = ("accuracy", "truthfulness", "rejection_rate", "reliability", "refusal_youden")
METHOD_METRICS = (
    "accuracy", "reliability", "accuracy_change", "reliability_change", "rgi", "rgi_null", "rgi_excess", "youden",
    "refusal_youden",
)  # fmt: skip
METHOD_COLUMNS = ("method", "group", "metric", "source", "value", "low", "high", "n", "status")
WHOLE = (  # metrics that are numbers of items
    "n", "excluded", "failed", *outcomes.REPLY_OUTCOMES, "unreadable_before", "unreadable_after",
    *metrics.TRANSITIONS,
)  # fmt: skip


# ---- to read


def wide(frame: pd.DataFrame, names: Collection[str] | None = None, *, digits: int = 3) -> pd.DataFrame:
    """A tidy metric frame as a table to read: one row per group, one text column per metric, "0.610 [0.556,
    0.661]".

    names : metrics in the order wanted, or None for all. Counts are whole numbers. A value that is not
    finite or has no interval shows its status: "inf (delta_con = 0)"; an interval from which undefined resamples
    fell shows their number.
    """
    names = list(dict.fromkeys(frame["metric"])) if names is None else list(names)
    unknown = sorted(set(names) - set(frame["metric"]))
    if unknown:
        raise ValueError(
            f"no metric {unknown[0]!r} in this frame: it has {', '.join(dict.fromkeys(frame['metric']))}"
        )
    texts = frame.assign(text=[_text(row, digits) for row in frame.itertuples()])
    table = texts.pivot(index="group", columns="metric", values="text")
    return table.loc[list(dict.fromkeys(frame["group"])), names].rename_axis(columns=None).reset_index()


def wide_by_run(
    frame: pd.DataFrame, names: Sequence[str], *, group: str = OVERALL, digits: int = 2
) -> pd.DataFrame:
    """One row per run, one text column per metric, "0.61 [0.56, 0.66]", of one group of `compare_runs`."""
    rows = {
        name: wide(part[part["group"] == group], names, digits=digits).iloc[0]
        for name, part in frame.groupby("run", sort=False)
    }
    return pd.DataFrame(rows).T.drop(columns="group").rename_axis("run").reset_index()


def wide_by_method(frame: pd.DataFrame, metric: str, *, digits: int = 2) -> pd.DataFrame:
    """One metric of `methods_by_group`: a row per method and source, a column per group, "0.61 [0.55, 0.66]".

    A cell that the paper does not print is "".
    """
    rows = frame[frame["metric"] == metric]
    texts = rows.assign(text=[_text(row, digits) for row in rows.itertuples()])
    table = texts.pivot(index=["method", "source"], columns="group", values="text").fillna("")
    order = dict.fromkeys(zip(frame["method"], frame["source"]))
    methods = list(dict.fromkeys(frame["method"]))
    index = sorted((pair for pair in order if pair in table.index), key=lambda pair: methods.index(pair[0]))
    groups = list(dict.fromkeys(frame["group"]))
    return table.loc[index, [group for group in groups if group in table]].rename_axis(columns=None)


def values(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of one metric: group, value, low, high, n."""
    rows = frame[frame["metric"] == metric]
    return rows[["group", "value", "low", "high", "n"]].reset_index(drop=True)


def _text(row, digits: int) -> str:
    if row.metric in WHOLE and np.isfinite(row.value):
        digits = 0
    if row.status:
        return f"{row.value:.{digits}f} ({row.status})"
    text = bootstrap.interval_text(row.value, row.low, row.high, digits=digits)
    undefined = getattr(row, "undefined", 0)
    return f"{text} ({int(undefined)} resamples undefined)" if undefined > 0 else text


# ---- one model


def accuracy_by_level(table: pd.DataFrame, *, control: str = "clip") -> pd.DataFrame:
    """Accuracy with interval by modality and level, and over all levels: what figures.baseline_accuracy draws.

    `control` names the run ("clip" is the run with the item's own clip). Benchmarks without levels give one row a
    modality.
    """
    parts = [table.assign(level=OVERALL)]
    if table["level"].ne("").any():
        parts.insert(0, table[table["level"] != ""])
    rows = []
    for part in parts:
        for (modality, level), group in part.groupby(["modality", "level"], sort=False):
            accuracy = values(metrics.evaluate(group, by=None), "accuracy").iloc[0]
            row = {"modality": modality, "level": level, "control": control, "accuracy": accuracy["value"]}
            rows.append(row | {"low": accuracy["low"], "high": accuracy["high"],
                               "chance": group["chance"].mean(), "n": len(group)})  # fmt: skip
    return pd.DataFrame(rows)


def controls(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Accuracy of several runs on the same items, with their chance, overall and by modality.

    Where a run has clips that were cut, two more columns: cut (items) and accuracy_without them.
    """
    rows = []
    for name, table in runs.items():
        frame, cut = metrics.evaluate(table), metrics.cut_clips(table).set_index("group")
        for row in values(frame, "accuracy").itertuples():
            group = table if row.group == OVERALL else table[table["modality"] == row.group]
            rows.append({"run": name, "group": row.group, "n": row.n, "accuracy": row.value, "low": row.low,
                         "high": row.high, "chance": group["chance"].mean(), "cut": cut.loc[row.group, "cut"],
                         "accuracy_without": cut.loc[row.group, "accuracy_without"]})  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame if frame["cut"].any() else frame.drop(columns=["cut", "accuracy_without"])


def always_first(table: pd.DataFrame) -> float:
    """Accuracy of a reply that always names option A: the share of items whose gold option is the first."""
    return float((table["gold"] == 0).mean())


def refusals(runs: Mapping[str, Sequence[pd.DataFrame]]) -> pd.DataFrame:
    """Refusal rates by prompt and kind of item: what figures.unanswerable draws.

    `runs` maps the prompt's name to its outcome tables (answerable items, unanswerable items).
    """
    rows = []
    for prompt, tables in runs.items():
        frame = metrics.refusal_by_kind(pd.concat(tables, ignore_index=True), novel=True)
        frame = frame[(frame["group"] == OVERALL) & (frame["metric"] == "refusal_rate")]
        for row in frame.itertuples():
            rows.append({"prompt": prompt, "group": row.kind, "rate": row.value, "low": row.low,
                         "high": row.high, "n": row.n})  # fmt: skip
    return pd.DataFrame(rows)


# ---- a method beside its baseline


def transitions(before: pd.DataFrame, after: pd.DataFrame, *, exclude: Collection[str] = ()) -> pd.DataFrame:
    """How many items went from each outcome to each, by modality and "overall": what figures.idk_flows draws.

    before, after: outcome tables of the same items under two methods; exclude: ids of failed items to leave
    out. Columns modality, before, after, count (above 0). Raises OutcomeError as metrics.pair does.
    """
    frame = metrics.transition_table(before, after, exclude=exclude, unreadable="apart")
    table = frame.rename(columns={"group": "modality"})
    return table.loc[table["count"] > 0, ["modality", "before", "after", "count"]].reset_index(drop=True)


def compare_runs(before: pd.DataFrame, after: Mapping[str, pd.DataFrame], *, seed: int = 0) -> pd.DataFrame:
    """Every metric of each run in `after`, and of what it changed against `before`: tidy, with a column run.

    Columns: run and bootstrap.COLUMNS. Items that failed before or after are left out of that run by name, and
    its row `excluded` counts them. Raises OutcomeError as metrics.compare does.
    """
    parts = []
    for name, table in after.items():
        exclude = outcomes.failed_ids(before, table)
        parts += [
            metrics.evaluate(table, exclude=exclude, seed=seed).assign(run=name),
            metrics.compare(before, table, exclude=exclude, seed=seed)
            .query("metric not in ('n', 'excluded')")
            .assign(run=name),
        ]
    frame = pd.concat(parts, ignore_index=True)
    return frame[["run", *(column for column in frame.columns if column != "run")]]


def by_setting(
    before: pd.DataFrame, runs: Mapping[float, Sequence[pd.DataFrame]], setting: str, *, seed: int = 0
) -> pd.DataFrame:
    """What the figures lora_scale and sft_by_k draw: metrics over a setting, averaged over training seeds.

    runs: value of the setting to outcome tables, one per training seed. Columns: `setting`, metric (of
    SETTING_METRICS), value, low, high, n (items, all pooled). One resample serves all runs, stratified by
    modality; the seeds are averaged inside it, and resampled too (transfer.py). Raises OutcomeError as metrics.compare
    does.
    """
    by_value = {str(value): tables for value, tables in runs.items()}
    exclude = outcomes.failed_ids(before, by_value)
    frame = transfer.pooled_metrics(before, by_value, SETTING_METRICS, exclude=exclude, seed=seed)
    order = frame["metric"].map(SETTING_METRICS.index).sort_values(kind="stable").index
    frame = frame.loc[order].assign(**{setting: frame["run"].astype(float)})
    return frame[[setting, "metric", "value", "low", "high", "n"]].reset_index(drop=True)


# ---- trainings


def training_curves(adapters: Mapping[str, str | Path]) -> pd.DataFrame:
    """What the figure sft_curve draws: adapter (its name here), step (from 1), loss (nats per answer token)."""
    parts = [lora_files.curve(folder).assign(adapter=name) for name, folder in adapters.items()]
    return pd.concat(parts, ignore_index=True)[["adapter", "step", "loss"]]


# ---- beside the paper (arXiv 2505.19294)


def beside_paper(gains: pd.DataFrame, *, model: str, method: str) -> pd.DataFrame:
    """RGI by group, measured here and as the paper prints it: what figures.idk_gain draws.

    The paper's null is computed from the reconstructed counts of its baseline (papers' section 1.4).
    """
    null = values(gains, "rgi_null").set_index("group")["value"]
    rows = [
        {"group": row.group, "source": MEASURED, "model": model, "rgi": row.value, "low": row.low,
         "high": row.high, "null": null[row.group], "n": row.n}
        for row in values(gains, "rgi").itertuples()
    ]  # fmt: skip
    groups = [row["group"] for row in rows if row["group"] in paper.GROUPS]
    return pd.DataFrame(rows + [paper_gain(group, method) for group in groups])


def paper_gain(group: str, method: str) -> dict:
    """The paper's RGI of one group with its null, as a row beside the measured ones."""
    names = list(paper.MODALITIES) if group == OVERALL else [group]
    counts = [paper.COUNTS["Baseline", name] for name in names]
    wrong, correct = sum(c.wrong for c in counts), sum(c.correct for c in counts)
    return {
        "group": group, "source": PRINTED, "model": paper.MODEL, "rgi": paper.cell(method, group, "rgi").value,
        "low": np.nan, "high": np.nan, "null": np.log10(wrong / correct), "n": sum(c.n for c in counts),
    }  # fmt: skip


def methods_by_group(
    baseline: pd.DataFrame, runs: Mapping[str, pd.DataFrame], adapters: Runs,
    names: Sequence[str] = METHOD_METRICS, *,
    exclude: Collection[str] = (), n_boot: int = 2000, level: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """The baseline, each run and LoRA SFT out of and in its domain: a row per method, group and metric.

    runs : method to outcome table; adapters : modality trained on to outcome tables, one per training seed;
    all over the baseline's items. names : metrics that metrics.measure knows; of the baseline only its levels
    (metrics.METRICS) are given, as it gains nothing over itself. Returns a frame with METHOD_COLUMNS, in one
    unit (shares in [0, 1], RGI as it is). Raises OutcomeError as metrics.pair does.
    """
    options = {"exclude": exclude, "n_boot": n_boot, "level": level, "seed": seed}
    levels = [name for name in names if name in metrics.METRICS]
    parts = [metrics.compare(baseline, baseline, levels, **options).assign(method=BASELINE)]
    for name, run in runs.items():
        parts.append(metrics.compare(baseline, run, names, **options).assign(method=name))
    lora = transfer.out_of_domain(baseline, adapters, names, **options).rename(columns={"tested_on": "group"})
    for domain, method in {"out": OUT, "in": IN}.items():
        parts.append(lora[lora["domain"] == domain].assign(method=method))
    return pd.concat(parts, ignore_index=True).assign(source=MEASURED)[list(METHOD_COLUMNS)]


def paper_methods() -> pd.DataFrame:
    """The paper's cells with METHOD_COLUMNS, in our units; its RGI's null and excess are those of its baseline.

    Humans are left out; intervals are not printed.
    """
    rows = paper.cells().query("method != 'Human'")
    scale = np.where(rows["metric"] == "rgi", 1.0, 0.01)
    sizes = paper.MODALITIES | {OVERALL: sum(paper.MODALITIES.values())}
    rows = rows.assign(value=rows["value"] * scale, n=rows["group"].map(sizes))
    indices = rows[rows["metric"] == "rgi"]
    null = np.array([paper_gain(group, "IDK prompt")["null"] for group in indices["group"]])
    rows = pd.concat([
        rows, indices.assign(metric="rgi_null", value=null),
        indices.assign(metric="rgi_excess", value=indices["value"] - null),
    ], ignore_index=True)  # fmt: skip
    return rows.assign(source=PRINTED, low=math.nan, high=math.nan, status="")[list(METHOD_COLUMNS)]


def side_by_side(
    frame: pd.DataFrame, *, model: str, names: Sequence[str] = ("accuracy", "reliability", "rgi")
) -> pd.DataFrame:
    """The rows of some metrics with the RGI's null beside it: what the figure paper_side_by_side draws."""
    cell = ["method", "group", "source"]
    nulls = frame[frame["metric"] == "rgi_null"].set_index(cell)["value"]
    rows = frame[frame["metric"].isin(names)]
    null = rows.set_index(cell).index.map(nulls).to_numpy(float)
    return rows.assign(
        null=np.where(rows["metric"] == "rgi", null, np.nan),
        model=np.where(rows["source"] == PRINTED, paper.MODEL, model),
    ).reset_index(drop=True)
