"""Bootstrap by item for statistics that need each item's own number, not only counts per cell.

In: one number or label per item. Out: how often each resample drew each item, and ratios with their resampled
values. `intervals` does the same for counts, cheaper; rows and percentile bounds are made there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lalm_utils import bootstrap


def weights(strata: Sequence[str], *, n_boot: int = 2000, seed: int = 0) -> np.ndarray:
    """How often each of n items is drawn in each resample: ints, shape (n_boot, n).

    strata: one label per item, such as its modality. Each stratum keeps its number of items in every resample,
    and its draws depend on `seed`, its name and its size alone. Raises ValueError for no items.
    """
    labels = np.asarray(list(strata), dtype=object)
    if not labels.size:
        raise ValueError("no items to resample: check for none before")
    drawn = np.empty((n_boot, labels.size), dtype=int)
    for name in dict.fromkeys(labels):
        here = labels == name
        ones = np.ones(here.sum(), dtype=int)
        drawn[:, here] = bootstrap.resample({str(name): ones}, n_boot=n_boot, seed=seed)
    return drawn


def ratio(top: np.ndarray, bottom: np.ndarray, drawn: np.ndarray) -> tuple[float, np.ndarray]:
    """Sum of `top` over sum of `bottom`, both (n,), and its value in each resample (n_boot,).

    NaN where the items drawn have a `bottom` of 0. A mean over the items that have a value is the ratio of the
    values (0 where there is none) to an indicator of having one.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.divide(float(top.sum()), float(bottom.sum()))
        resampled = np.divide((drawn @ top).astype(float), drawn @ bottom)
    return float(value), resampled
