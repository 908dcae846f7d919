"""Rows of the model card: a claim with its value, interval, N and the bound that it is held against."""

from __future__ import annotations

import pandas as pd

from lalm_utils import bootstrap


def row(
    claim: str, group: str, value: float, low: float, high: float, n: int, bound: str, met: bool | None
) -> dict:
    return {"claim": claim, "group": group, "value": round(value, 4), "low": round(low, 4), "high": round(high, 4),
            "n": int(n), "bound": bound, "met": met}  # fmt: skip


def share_row(claim: str, group: str, good: pd.Series, bound: str, least: float) -> dict:
    low, high = bootstrap.wilson(int(good.sum()), len(good))
    return row(claim, group, good.mean(), low, high, len(good), bound, bool(good.mean() >= least))


def is_readable(table: pd.DataFrame) -> pd.Series:
    return table["outcome"].isin(["correct", "wrong", "refused"])
