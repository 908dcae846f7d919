"""Tables of fine-tuned models: several runs beside one baseline, by name or by setting, and training curves.

In: outcome tables and the folders of adapters. Out: tidy tables to draw or to show. Nothing is computed here
that metrics.py does not compute, but for `margin`, the number that a scale is chosen by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lalm_utils import flows, metrics, outcomes, resampled
from lalm_utils.finetuning import lora_files
from lalm_utils.outcomes import Outcome

POOLED = "overall"
SETTING = ("accuracy", "truthfulness", "rejection_rate", "reliability", "youden")


def compared(before: pd.DataFrame, after: Mapping[str, pd.DataFrame], *, seed: int = 0) -> pd.DataFrame:
    """Every metric of each run in `after`, and of what it changed against `before`: tidy, with a column run.

    Columns: run and intervals.COLUMNS. Items that failed before or after are left out of that run by name, and
    its row `excluded` counts them. Raises OutcomeError as metrics.gain does.
    """
    parts = []
    for name, table in after.items():
        exclude = failed(before, table)
        parts += [
            metrics.evaluate(table, exclude=exclude, seed=seed).assign(run=name),
            metrics.gain(before, table, exclude=exclude, seed=seed)
            .query("metric not in ('n', 'excluded')")
            .assign(run=name),
        ]
    frame = pd.concat(parts, ignore_index=True)
    return frame[["run", *(column for column in frame.columns if column != "run")]]


def readable(
    frame: pd.DataFrame, shown: Sequence[str], *, group: str = POOLED, digits: int = 2
) -> pd.DataFrame:
    """One row per run, one text column per metric, "0.61 [0.56, 0.66]", of one group of `compared`."""
    rows = {
        name: metrics.wide(part[part["group"] == group], shown, digits=digits).iloc[0]
        for name, part in frame.groupby("run", sort=False)
    }
    return pd.DataFrame(rows).T.drop(columns="group").rename_axis("run").reset_index()


def by_setting(
    before: pd.DataFrame, runs: Mapping[float, Sequence[pd.DataFrame]], setting: str, *, seed: int = 0
) -> pd.DataFrame:
    """What the figures lora_scale and sft_by_k draw: metrics over a setting, averaged over training seeds.

    runs: value of the setting to outcome tables, one per training seed. Columns: `setting`, metric (of SETTING),
    value, low, high, n (items, all pooled). One draw of the bootstrap serves all runs, stratified by modality,
    and the seeds are averaged inside it. Raises OutcomeError as metrics.gain does.
    """
    exclude = failed(before, *(table for tables in runs.values() for table in tables))
    named = {"": {str(value): tables for value, tables in runs.items()}}
    options = {"by": None, "exclude": exclude, "n_boot": 2000, "level": 0.95, "seed": seed}
    test = resampled.pooled(list(resampled.tests(named, before, **options)))
    rows = [
        {setting: float(value), **found.row(metric, test.n, options["level"])}
        for metric in SETTING
        for value, found in test.averages("", metric).items()
    ]
    return pd.DataFrame(rows)[[setting, "metric", "value", "low", "high", "n"]]


def margin(before: pd.DataFrame, after: pd.DataFrame) -> float:
    """The share of wrong answers now refused less the share of right ones, in [-1, 1]; 0 for blind refusal.

    gains.refusal_excess is the logarithm of their ratio. The difference is finite where the ratio is not, and
    small for a model that hardly refuses, so that a setting can be chosen by it. A share of none is 0.
    """
    exclude = failed(before, after)
    (group,) = flows.grouped(before, after, exclude=exclude, by=None)
    counted = group.flows
    wrong = int(counted.between("wrong", "refused")) / max(int(counted.n_wrong), 1)
    right = int(counted.between("correct", "refused")) / max(int(counted.n_correct), 1)
    return wrong - right


def curves(adapters: Mapping[str, str | Path]) -> pd.DataFrame:
    """What the figure sft_curve draws: adapter (its name here), step (from 1), loss (nats per answer token)."""
    parts = [lora_files.curve(folder).assign(adapter=name) for name, folder in adapters.items()]
    return pd.concat(parts, ignore_index=True)[["adapter", "step", "loss"]]


def made(adapters: Mapping[str, str | Path]) -> pd.DataFrame:
    """One row per adapter: what it was trained on, how, and what came of it, as its provenance says."""
    rows = []
    for name, folder in adapters.items():
        facts = lora_files.provenance(folder)
        kept = {
            key: facts[key] for key in ("examples", "idk_share", "steps", "final_loss", "seconds", "seed")
        }
        how = {key: facts["recipe"][key] for key in ("learning_rate", "rank", "epochs")}
        rows.append({"adapter": name, **how, **kept})
    return pd.DataFrame(rows)


def failed(*tables: pd.DataFrame) -> list[str]:
    """The ids of items that failed in any of these tables, sorted."""
    for table in tables:
        outcomes.validate(table)
    return sorted(
        {item for table in tables for item in table.loc[table["outcome"] == Outcome.FAILED, "item"]}
    )
