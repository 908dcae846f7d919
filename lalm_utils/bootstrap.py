"""Intervals: resampled counts, percentile intervals, Wilson intervals, and the tidy rows they are shown in.

In: counts of items per cell (an outcome, or a pair of outcomes before and after). Out: bootstrap draws of
those counts, intervals, rows of a tidy DataFrame. This module knows nothing about what the cells mean.

Every metric here depends on the items only through such counts. Drawing N items with replacement and counting
them again is the same random experiment as one multinomial draw of N over the observed shares, so the
bootstrap by item is drawn that way: exact, and a thousand times cheaper than resampling rows. A cell of a
paired table is a pair (before, after) of one item, so an item drawn twice is drawn twice on both sides.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

COLUMNS = ("group", "metric", "value", "low", "high", "n", "infinite", "undefined", "status")


def resample(strata: Mapping[str, np.ndarray], *, n_boot: int, seed: int) -> np.ndarray:
    """Bootstrap the counts, shape (n_boot, *cells), summed over the strata.

    strata: a name (a modality) to an integer array of counts, all of one shape. Each stratum keeps its own
    number of items in every draw, so that a pooled interval does not vary the mix of modalities, which the
    benchmark fixed. A stratum's draws depend on `seed` and its name alone: an interval for sound is the
    same whether music is in the table or not, and whatever the order of the rows.
    """
    total = 0
    for name, cells in strata.items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode("utf-8", "surrogatepass"))])
        n = int(cells.sum())
        shares = cells.ravel() / max(n, 1)
        total = total + rng.multinomial(n, shares, size=n_boot).reshape(n_boot, *cells.shape)
    return np.asarray(total)


def percentile(values: np.ndarray, level: float = 0.95) -> tuple[float, float, int, int]:
    """Percentile interval of `values` (n_boot,), with how many were infinite and how many undefined.

    Infinite values keep their place at the ends of the order, so that a bound may be infinite; undefined ones
    (NaN) have no place, are left out, and counted. Bounds are drawn values, nothing is interpolated.
    Returns (low, high, infinite, undefined); low and high are NaN where no value is defined.
    """
    defined = np.sort(values[~np.isnan(values)])
    infinite, undefined = int(np.isinf(defined).sum()), int(values.size - defined.size)
    if not defined.size:
        return np.nan, np.nan, infinite, undefined
    tail = (1 - level) / 2
    low = defined[int(np.floor(tail * (defined.size - 1)))]
    high = defined[int(np.ceil((1 - tail) * (defined.size - 1)))]
    return float(low), float(high), infinite, undefined


def wilson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share k/n, in [0, 1]; it has a width even at k = 0 and k = n.

    Returns (nan, nan) for n = 0. Wilson (1927), J. Am. Stat. Assoc. 22, 209-212.
    """
    if n == 0:
        return np.nan, np.nan
    interval = stats.binomtest(k, n).proportion_ci(confidence_level=level, method="wilson")
    return float(interval.low), float(interval.high)


def row(group: str, metric: str, value: float, draws: np.ndarray | None = None, *, n: int,
        level: float = 0.95, status: str = "") -> dict:  # fmt: skip
    """One row of a metric table. Without draws, or where the value itself is not finite, it has no interval.

    A statistic that is infinite in the data is so in every draw: its percentile interval would only look
    sure.
    """
    value = float(value)
    low = high = np.nan
    infinite = undefined = 0
    if draws is not None:
        low, high, infinite, undefined = percentile(np.asarray(draws, dtype=float), level)
    if not np.isfinite(value):
        low = high = np.nan
    return dict(zip(COLUMNS, (group, metric, value, low, high, n, infinite, undefined, status), strict=True))


def tidy(rows: list[dict], excluded: list[str]) -> pd.DataFrame:
    """Rows to the tidy frame with COLUMNS; `excluded` (ids) is kept in frame.attrs["excluded"]."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame.attrs["excluded"] = excluded
    return frame


def check(*, n_boot: int, level: float) -> None:
    """Raise ValueError unless n_boot is a positive number of resamples and level lies inside (0, 1)."""
    if n_boot < 1:
        raise ValueError(f"n_boot = {n_boot}: at least one resample is needed, 2000 is usual")
    if not 0 < level < 1:
        raise ValueError(f"level = {level}: a share inside (0, 1) is needed, 0.95 is usual")
