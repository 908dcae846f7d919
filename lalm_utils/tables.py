"""Tables for figures and readers: metric rows brought into the columns that figures.py documents.

In: outcome tables and metric frames. Out: tidy tables to draw or to show. Nothing is computed here that
`metrics` does not compute.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from lalm_utils import metrics, paper
from lalm_utils.flows import flow_table
from lalm_utils.paper import MEASURED, PRINTED

POOLED = "overall"


def values(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of one metric: group, value, low, high, n."""
    rows = frame[frame["metric"] == metric]
    return rows[["group", "value", "low", "high", "n"]].reset_index(drop=True)


def accuracy_by_level(table: pd.DataFrame, *, control: str = "clip", levels: bool = True) -> pd.DataFrame:
    """Accuracy with interval by modality and level, and over all levels: what figures.baseline_accuracy draws.

    `control` names the run ("clip" is the run with the item's own clip). Benchmarks without levels, and calls
    with `levels=False`, give one row a modality.
    """
    parts = [table.assign(level=POOLED)]
    if levels and table["level"].ne("").any():
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
            group = table if row.group == POOLED else table[table["modality"] == row.group]
            rows.append({"run": name, "group": row.group, "n": row.n, "accuracy": row.value, "low": row.low,
                         "high": row.high, "chance": group["chance"].mean(), "cut": cut.loc[row.group, "cut"],
                         "accuracy_without": cut.loc[row.group, "accuracy_without"]})  # fmt: skip
    made = pd.DataFrame(rows)
    return made if made["cut"].any() else made.drop(columns=["cut", "accuracy_without"])


def always_first(table: pd.DataFrame) -> float:
    """Accuracy of a reply that always names option A: the share of items whose gold option is the first."""
    return float((table["gold"] == 0).mean())


def measured_beside_printed(gains: pd.DataFrame, *, model: str, method: str) -> pd.DataFrame:
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
    return pd.DataFrame(rows + [printed_gain(group, method) for group in groups])


def printed_gain(group: str, method: str) -> dict:
    """The paper's RGI of one group with its null, as a row beside the measured ones."""
    names = list(paper.MODALITIES) if group == POOLED else [group]
    counts = [paper.COUNTS["Baseline", name] for name in names]
    wrong, correct = sum(c.wrong for c in counts), sum(c.correct for c in counts)
    return {
        "group": group, "source": PRINTED, "model": paper.MODEL, "rgi": paper.printed(method, group, "rgi").value,
        "low": np.nan, "high": np.nan, "null": np.log10(wrong / correct), "n": sum(c.n for c in counts),
    }  # fmt: skip


def transitions(before: pd.DataFrame, after: pd.DataFrame, *, exclude: Collection[str] = ()) -> pd.DataFrame:
    """How many items went from each outcome to each, by modality and "overall": what figures.idk_flows draws.

    before, after: outcome tables of the same items asked in two ways; exclude: ids of failed items to leave
    out. Columns modality, before, after, count (above 0). Raises OutcomeError as flows.pair does.
    """
    flows = flow_table(before, after, exclude=exclude, unreadable="apart")
    table = flows.rename(columns={"group": "modality"})
    return table.loc[table["count"] > 0, ["modality", "before", "after", "count"]].reset_index(drop=True)


def refusals(runs: Mapping[str, Sequence[pd.DataFrame]]) -> pd.DataFrame:
    """Refusal rates by prompt and kind of item: what figures.unanswerable draws.

    `runs` maps the prompt's name to its outcome tables (answerable items, unanswerable items).
    """
    rows = []
    for prompt, tables in runs.items():
        frame = metrics.refusal_by_sort(pd.concat(tables, ignore_index=True), novel=True)
        frame = frame[(frame["group"] == POOLED) & (frame["metric"] == "refusal_rate")]
        for row in frame.itertuples():
            rows.append({"prompt": prompt, "group": row.sort, "rate": row.value, "low": row.low,
                         "high": row.high, "n": row.n})  # fmt: skip
    return pd.DataFrame(rows)
