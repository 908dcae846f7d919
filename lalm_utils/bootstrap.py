"""Intervals: resampled counts and items, percentile and Wilson intervals, and the rows and texts that show them.

In: counts of items per cell (an outcome, or a pair of outcomes before and after), or one number per item. Out:
bootstrap resamples of them, intervals, rows of a tidy DataFrame, and texts such as "0.61 [0.55, 0.66]".

Almost every metric here depends on the items only through such counts. Drawing N items with replacement and
counting them again is the same random experiment as one multinomial draw of N over the observed shares, so the
bootstrap by item is drawn that way: exact, and a thousand times cheaper than resampling rows. A cell of a
paired table is a pair (before, after) of one item, so an item drawn twice is drawn twice on both sides.
Statistics that need each item's own number are resampled by `weights`: how often each item is drawn.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

__all__ = [
    "COLUMNS", "check", "generator", "interval_text", "percentile", "ratio", "resample", "row", "seed_draws",
    "tidy", "weights", "wilson",
]  # fmt: skip
NO_WIDTH = "no interval: no resample differs"
COLUMNS = ("group", "metric", "value", "low", "high", "n", "infinite", "undefined", "status")


def resample(strata: Mapping[str, np.ndarray], *, n_boot: int, seed: int) -> np.ndarray:
    """Bootstrap the counts, shape (n_boot, *cells), summed over the strata.

    strata: a name (a modality) to an integer array of counts, all of one shape. Each stratum keeps its own
    number of items in every resample, so that a pooled interval does not vary the mix of modalities, which the
    benchmark fixed.
    """
    total = 0
    for name, cells in strata.items():
        n = int(cells.sum())
        shares = cells.ravel() / max(n, 1)
        resamples = generator(seed, name).multinomial(n, shares, size=n_boot)
        total = total + resamples.reshape(n_boot, *cells.shape)
    return np.asarray(total)


def generator(seed: int, stratum: str) -> np.random.Generator:
    """The random generator of one stratum, which depends on `seed` and the stratum's name alone.

    So an interval for sound is the same whether music is in the table or not, and whatever the order of rows.
    """
    return np.random.default_rng([seed, zlib.crc32(stratum.encode("utf-8", "surrogatepass"))])


def weights(strata: Sequence[str], *, n_boot: int = 2000, seed: int = 0) -> np.ndarray:
    """How often each of n items is drawn in each resample: ints, shape (n_boot, n).

    strata: one label per item, such as its modality. Each stratum keeps its number of items in every resample,
    and its draws depend on `seed`, its name and its size alone. Raises ValueError for no items.
    """
    labels = np.asarray(list(strata), dtype=object)
    if not labels.size:
        raise ValueError("no items to resample: check for none before")
    counts = np.empty((n_boot, labels.size), dtype=int)
    for name in dict.fromkeys(labels):
        members = labels == name
        ones = np.ones(members.sum(), dtype=int)
        counts[:, members] = resample({str(name): ones}, n_boot=n_boot, seed=seed)
    return counts


def seed_draws(n: int, *, n_boot: int, seed: int, name: str = "") -> np.ndarray | None:
    """Which of n training seeds each resample takes, the same for all items: ints, shape (n_boot, n - 1).

    Drawing rows (items) and columns (seeds) apart is the pigeonhole bootstrap (Owen 2007, Ann. Appl. Stat. 1,
    386-411). n - 1 columns are drawn and not n, so that the variance between a few seeds is not underestimated by
    (n - 1)/n (Rao and Wu 1988, J. Am. Stat. Assoc. 83, 231-241). None for n = 1: a single training says nothing of
    others. The draw depends on `seed`, `name` and n alone.
    """
    if n < 2:
        return None
    return generator(seed, f"training seeds of {name}").integers(n, size=(n_boot, n - 1))


def ratio(top: np.ndarray, bottom: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Sum of `top` over sum of `bottom`, both (n,), and its value in each resample (n_boot,).

    NaN where the items drawn have a `bottom` of 0. A mean over the items that have a value is the ratio of the
    values (0 where there is none) to an indicator of having one.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.divide(float(top.sum()), float(bottom.sum()))
        resamples = np.divide((weights @ top).astype(float), weights @ bottom)
    return float(value), resamples


def cluster_mean(
    values: np.ndarray, clusters: Sequence[str], order: Sequence[str], weights: np.ndarray
) -> np.ndarray:
    """The mean of `values` in each resample of the clusters (n_boot,); NaN where those drawn hold none.

    clusters : of each value; order : the clusters that `weights` (n_boot, len(order)) says how often to draw.
    """
    sums = (
        pd.DataFrame({"cluster": clusters, "value": values}).groupby("cluster")["value"].agg(["sum", "size"])
    )
    sums = sums.reindex(order, fill_value=0)
    return ratio(sums["sum"].to_numpy(), sums["size"].to_numpy(), weights)[1]


def percentile(values: np.ndarray, level: float = 0.95) -> tuple[float, float, int, int]:
    """Percentile interval of `values` (n_boot,), with how many were infinite and how many undefined.

    Infinite values keep their place at the ends of the order, so that a bound may be infinite; undefined ones
    (NaN) have no place, are left out, and counted. Bounds are resampled values, nothing is interpolated.
    Returns (low, high, infinite, undefined); low and high are NaN where more than half of the values are
    undefined: the rest would be an interval of other data.
    """
    defined = np.sort(values[~np.isnan(values)])
    infinite, undefined = int(np.isinf(defined).sum()), int(values.size - defined.size)
    if undefined > defined.size:
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


def row(group: str, metric: str, value: float, resamples: np.ndarray | None = None, *, n: int,
        level: float = 0.95, status: str = "", maximum: float | None = None) -> dict:  # fmt: skip
    """One row of a metric table. Without resamples, or where the value itself is not finite, it has no interval.

    A statistic that is infinite in the data is so in every resample: its percentile interval would only look
    sure. So would one of no width, where all resamples equal the value. `maximum` says that the metric is a share of
    the n items (1.0) or a number of them (n): it then gets Wilson's interval; any other metric gets none, and
    the status says so, as it does where more than half of the resamples are undefined.
    """
    value = float(value)
    low = high = np.nan
    infinite = undefined = 0
    if resamples is not None:
        resamples = np.asarray(resamples, dtype=float)
        low, high, infinite, undefined = percentile(resamples, level)
    if not np.isfinite(value):
        low = high = np.nan
    elif resamples is not None and undefined > resamples.size / 2:
        status = status or f"no interval: {undefined} of {resamples.size} resamples undefined"
    elif resamples is not None and np.allclose(resamples[~np.isnan(resamples)], value, rtol=0, atol=1e-12):
        if maximum is None or not n:
            low = high = np.nan
            status = status or NO_WIDTH
        else:
            low, high = (maximum * bound for bound in wilson(round(value / maximum * n), n, level))
    # What is 0 but for rounding is 0: its sign, which a verdict reads, would be that of the last bit.
    value, low, high = (0.0 if abs(number) < 1e-12 else number for number in (value, low, high))
    return dict(zip(COLUMNS, (group, metric, value, low, high, n, infinite, undefined, status), strict=True))


def tidy(rows: list[dict], excluded: list[str]) -> pd.DataFrame:
    """Rows to the tidy frame with COLUMNS; `excluded` (ids) is kept in frame.attrs["excluded"]."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame.attrs["excluded"] = excluded
    return frame


def interval_text(
    value: float, low: float, high: float, *, digits: int = 2, signed: bool = False, infinite: str = ""
) -> str:
    """A value with its interval as a text, "0.61 [0.55, 0.66]"; the value alone where a bound is NaN, else "undefined".

    signed : positive numbers get a plus; infinite : the text of an infinite bound, in place of "inf".

    >>> interval_text(0.6137, 0.5512, 0.6634)
    '0.61 [0.55, 0.66]'
    >>> interval_text(0.6137, math.nan, math.nan, digits=3, signed=True)
    '+0.614'
    """
    if math.isnan(value):
        return "undefined"
    form = f"{'+' if signed else ''}.{digits}f"
    if math.isnan(low) or math.isnan(high):
        return f"{value:{form}}"
    low_text, high_text = (
        infinite if infinite and math.isinf(end) else f"{end:{form}}" for end in (low, high)
    )
    return f"{value:{form}} [{low_text}, {high_text}]"


def check(*, n_boot: int, level: float) -> None:
    """Raise ValueError unless n_boot is a positive number of resamples and level lies inside (0, 1)."""
    if n_boot < 1:
        raise ValueError(f"n_boot = {n_boot}: at least one resample is needed, 2000 is usual")
    if not 0 < level < 1:
        raise ValueError(f"level = {level}: a share inside (0, 1) is needed, 0.95 is usual")
