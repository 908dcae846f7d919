"""What a method changed: the same items before and after, paired.

In: two outcome tables over the same items. Out: tidy metric rows. This module knows nothing about what the
method was; who is paired with whom, and how flows are counted, is in flows.py.

Conventions
-----------
Items are paired by id, whatever the order of the rows; unequal sets are refused. N counts all paired items.
As in the paper (arXiv 2505.19294), `unreadable` counts as wrong; how many there were is shown beside it. Nc
and Nw are the items right and wrong *before*. A baseline may itself refuse: such items count in N and have
flows of their own (refused_to_...), but are neither right nor wrong, so they enter neither ΔCon nor ΔHum.

Metrics
-------
* :func:`delta_con`, conservativeness: share of all items that were right and no longer are.
* :func:`delta_hum`, humbleness: share of all items that were wrong and no longer are.
* :func:`rgi`, reliability gain index: log10(ΔHum/ΔCon).
* :func:`rgi_null`: the RGI of refusing a random share of the items. It is not zero.
* :func:`rgi_excess`: RGI above that null.
* :func:`refusal_con`, :func:`refusal_hum`, :func:`refusal_rgi`, :func:`refusal_excess`: the same from
refusals only.

An RGI with ΔCon = 0, ΔHum = 0 or both is +inf, -inf or NaN, and the row's `status` says which. Resamples
may be so too: infinite ones keep their place in the order (a bound may be infinite), undefined ones are
left out; the columns `infinite` and `undefined` count both. A percentile interval of no width (as at ΔCon =
0) says that no resample can differ from the data, not that the value is certain.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from lalm_utils import bootstrap
from lalm_utils.flows import NAMES, Flows, Group, grouped


def delta_con(flows: Flows) -> np.ndarray:
    """ΔCon = (Nc - Ncc)/N in [0, 1], Ncc = right before and still right. Lower is better.

    The denominator is N, not the Nc of a third-party note on the paper: the printed numbers decide it.
    """
    return _share(flows.n_correct - flows.between("correct", "correct"), flows.n)


def delta_hum(flows: Flows) -> np.ndarray:
    """ΔHum = (Nw - Nww)/N in [0, 1], Nww = wrong before and still wrong. Higher is better."""
    return _share(flows.n_wrong - flows.between("wrong", "wrong"), flows.n)


def rgi(flows: Flows) -> np.ndarray:
    """RGI = log10(ΔHum/ΔCon), in [-inf, inf] or NaN if both are 0.

    ΔCon and ΔHum hold every change, so an answer re-rolled to another one counts like a refusal.
    """
    return _log_ratio(delta_hum(flows), delta_con(flows))


def rgi_null(flows: Flows) -> np.ndarray:
    """log10(Nw/Nc): where RGI stands when nothing is known about what is not known.

    Derivation. Let a method refuse each item with probability p, independently of whether the item was
    answered right, and repeat its answer otherwise. Of the Nc right items p·Nc are expected to be lost, of
    the Nw wrong ones p·Nw:

        E[ΔCon] = p·Nc/N,    E[ΔHum] = p·Nw/N,    log10(E[ΔHum]/E[ΔCon]) = log10(Nw/Nc),

    for any p in (0, 1]; RGI converges to it as N grows. The zero of RGI is therefore a property of the
    baseline: a model right on 61 % gets -0.19 for refusing blindly, a model right on 30 % gets +0.37.
    """
    return _log_ratio(flows.n_wrong, flows.n_correct)


def rgi_excess(flows: Flows) -> np.ndarray:
    """RGI - log10(Nw/Nc), zero for blind refusal whatever the baseline.

    It equals log10[((Nw-Nww)/Nw) / ((Nc-Ncc)/Nc)]: a wrong answer's chance to be given up over a right
    answer's. Answer churn has a zero of its own: if every reply is drawn anew, blind to the old one, the
    excess is log10(truthfulness after / (1 - accuracy after)); :func:`refusal_excess` is 0 there too.
    """
    return _less(rgi(flows), rgi_null(flows))


def refusal_con(flows: Flows) -> np.ndarray:
    """Share of all items that were right and are now refused, in [0, 1]."""
    return _share(flows.between("correct", "refused"), flows.n)


def refusal_hum(flows: Flows) -> np.ndarray:
    """Share of all items that were wrong and are now refused, in [0, 1]."""
    return _share(flows.between("wrong", "refused"), flows.n)


def refusal_rgi(flows: Flows) -> np.ndarray:
    """Refusal-only gain: RGI from correct→refused and wrong→refused alone, blind to answer churn."""
    return _log_ratio(refusal_hum(flows), refusal_con(flows))


def refusal_excess(flows: Flows) -> np.ndarray:
    """Refusal-only gain above the null; the derivation of :func:`rgi_null` holds for it unchanged."""
    return _less(refusal_rgi(flows), rgi_null(flows))


METRICS = {
    "delta_con": delta_con, "delta_hum": delta_hum,
    "rgi": rgi, "rgi_null": rgi_null, "rgi_excess": rgi_excess,
    "refusal_con": refusal_con, "refusal_hum": refusal_hum,
    "refusal_rgi": refusal_rgi, "refusal_excess": refusal_excess,
}  # fmt: skip


def gain(
    before: pd.DataFrame, after: pd.DataFrame, *, exclude: Collection[str] = (), by: str | None = "modality",
    n_boot: int = 2000, level: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Every gain metric and flow, per group and overall, with paired-bootstrap percentile intervals by item.

    Returns a tidy frame with bootstrap.COLUMNS. Per group: n and excluded (items), unreadable before and
    after (items, a part of wrong), the nine flows (items, e.g. correct_to_refused) and METRICS. Overall is
    stratified by modality. Raises OutcomeError as flows.pair does.

    >>> gain(baseline, idk).query("metric == 'rgi'")  # doctest: +SKIP
    """
    bootstrap.check(n_boot=n_boot, level=level)
    rows = []
    for group in grouped(before, after, exclude=exclude, by=by):
        draws = Flows(cells=bootstrap.resample(group.strata, n_boot=n_boot, seed=seed))
        rows += _rows(group, draws, level)
    return bootstrap.tidy(rows, sorted(exclude))


def _rows(group: Group, draws: Flows, level: float) -> list[dict]:
    flows, label, n = group.flows, group.label, int(group.flows.n)
    unreadable_before, unreadable_after = flows.cells[3].sum(), flows.cells[:, 3].sum()
    plain = {"n": n, "excluded": group.excluded}
    plain |= {"unreadable_before": unreadable_before, "unreadable_after": unreadable_after}
    rows = [bootstrap.row(label, name, value, n=n) for name, value in plain.items()]
    for name in NAMES:
        ends = name.split("_to_")
        rows.append(bootstrap.row(label, name, flows.between(*ends), draws.between(*ends), n=n, level=level))
    for name, metric in METRICS.items():
        status = why_not_finite(name, flows)
        rows.append(bootstrap.row(label, name, metric(flows), metric(draws), n=n, level=level, status=status))
    return rows


def why_not_finite(name: str, flows: Flows) -> str:
    """Why an index is not finite, "" if it is."""
    if "rgi" not in name and "excess" not in name:
        return "" if flows.n else "no items"
    if name.startswith("refusal"):
        parts = {"refusal_con": refusal_con(flows), "refusal_hum": refusal_hum(flows)}
    else:
        parts = {"delta_con": delta_con(flows), "delta_hum": delta_hum(flows)}
    baseline = {"Nc": flows.n_correct, "Nw": flows.n_wrong}
    if name == "rgi_null":
        parts = baseline
    elif name.endswith("excess"):
        parts = parts | baseline
    return ", ".join(f"{part} = 0" for part, value in parts.items() if not value > 0)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(part / whole, dtype=float)


def _log_ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return _less(np.log10(top), np.log10(bottom))


def _less(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    # inf - inf is NaN, as it should be: the row's status tells it, a warning would only repeat it.
    with np.errstate(invalid="ignore"):
        return left - right
