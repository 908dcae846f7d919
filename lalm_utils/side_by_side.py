"""Every method by modality, measured here and printed in the paper (arXiv 2505.19294), in one tidy table.

In: the baseline's outcome table, those of other methods, and those of adapters by the modality they were
trained on. Out: tidy rows in one unit (shares in [0, 1], RGI as it is), their readable form, and the rows that
the figure paper_side_by_side draws. Nothing is computed here that paired.py and transfer.py do not compute.

The paper's LoRA row looks like the mean of two adapters, each tested outside the modality it was trained on
(papers' counts are whole for two models, not for one). So "LoRA SFT" is that mean here, and the adapters on
their own modality are a method of their own. Overall, other methods pool all items and LoRA SFT averages the
modalities, as the paper's totals do.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from lalm_utils import metrics, paired, paper, tables, transfer
from lalm_utils.paper import MEASURED, PRINTED
from lalm_utils.resampled import Runs

BASELINE, OUT, IN = "Baseline", "LoRA SFT", "LoRA SFT, in domain"
NAMES = (
    "accuracy",
    "reliability",
    "accuracy_change",
    "reliability_change",
    "rgi",
    "rgi_null",
    "rgi_excess",
    "youden",
)
COLUMNS = ("method", "group", "metric", "source", "value", "low", "high", "n", "status")


def measured(
    baseline: pd.DataFrame, runs: Mapping[str, pd.DataFrame], adapters: Runs, names: Sequence[str] = NAMES, *,
    exclude: Collection[str] = (), n_boot: int = 2000, level: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """The baseline, each run and LoRA SFT out of and in its domain: a row per method, group and metric.

    runs : method to outcome table; adapters : modality trained on to outcome tables, one per training seed;
    all over the baseline's items. names : metrics that paired.measure knows; of the baseline only its levels
    (metrics.METRICS) are given, as it gains nothing over itself. Returns a frame with COLUMNS. Raises
    OutcomeError as flows.pair does.
    """
    how = {"exclude": exclude, "n_boot": n_boot, "level": level, "seed": seed}
    levels = [name for name in names if name in metrics.METRICS]
    parts = [paired.measured(baseline, baseline, levels, **how).assign(method=BASELINE)]
    parts += [paired.measured(baseline, run, names, **how).assign(method=name) for name, run in runs.items()]
    learnt = transfer.out_of_domain(baseline, adapters, names, **how).rename(columns={"tested_on": "group"})
    for domain, method in {"out": OUT, "in": IN}.items():
        parts.append(learnt[learnt["domain"] == domain].assign(method=method))
    return pd.concat(parts, ignore_index=True).assign(source=MEASURED)[list(COLUMNS)]


def printed() -> pd.DataFrame:
    """The paper's cells with COLUMNS, in our units; its RGI's null and excess are those of its baseline.

    Humans are left out; intervals are not printed.
    """
    rows = paper.published().query("method != 'Human'")
    scale = np.where(rows["metric"] == "rgi", 1.0, 0.01)
    sizes = paper.MODALITIES | {"overall": sum(paper.MODALITIES.values())}
    rows = rows.assign(value=rows["value"] * scale, n=rows["group"].map(sizes))
    indices = rows[rows["metric"] == "rgi"]
    null = np.array([tables.printed_gain(group, "IDK prompt")["null"] for group in indices["group"]])
    rows = pd.concat([
        rows, indices.assign(metric="rgi_null", value=null),
        indices.assign(metric="rgi_excess", value=indices["value"] - null),
    ], ignore_index=True)  # fmt: skip
    return rows.assign(source=PRINTED, low=math.nan, high=math.nan, status="")[list(COLUMNS)]


def readable(frame: pd.DataFrame, metric: str, *, digits: int = 2) -> pd.DataFrame:
    """One metric as a table to read: a row per method and source, a column per group, "0.61 [0.55, 0.66]".

    A cell that the paper does not print is "".
    """
    rows = frame[frame["metric"] == metric]
    texts = rows.assign(text=[_text(row, digits) for row in rows.itertuples()])
    table = texts.pivot(index=["method", "source"], columns="group", values="text").fillna("")
    order = dict.fromkeys(zip(frame["method"], frame["source"]))
    methods = list(dict.fromkeys(frame["method"]))
    kept = sorted((pair for pair in order if pair in table.index), key=lambda pair: methods.index(pair[0]))
    groups = list(dict.fromkeys(frame["group"]))
    return table.loc[kept, [group for group in groups if group in table]].rename_axis(columns=None)


def drawn(
    frame: pd.DataFrame, *, model: str, shown: Sequence[str] = ("accuracy", "reliability", "rgi")
) -> pd.DataFrame:
    """The rows of `shown` metrics with the RGI's null beside it: what the figure paper_side_by_side draws."""
    cell = ["method", "group", "source"]
    nulls = frame[frame["metric"] == "rgi_null"].set_index(cell)["value"]
    rows = frame[frame["metric"].isin(shown)]
    null = rows.set_index(cell).index.map(nulls).to_numpy(float)
    return rows.assign(
        null=np.where(rows["metric"] == "rgi", null, np.nan),
        model=np.where(rows["source"] == PRINTED, paper.MODEL, model),
    ).reset_index(drop=True)


def _text(row, digits: int) -> str:
    value = f"{row.value:.{digits}f}"
    if row.status:
        return f"{value} ({row.status})"
    return value if math.isnan(row.low) else f"{value} [{row.low:.{digits}f}, {row.high:.{digits}f}]"
