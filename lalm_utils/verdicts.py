"""What the numbers say, in sentences made from intervals: does a claim of the paper carry over?

In: tidy rows with value, low, high. Out: the same rows with a verdict and a sentence, and the answer to the
question of transfer. Nothing is measured here, and no verdict is typed: each follows from where an interval
lies. An interval that holds zero settles nothing, and a value without an interval cannot be judged.

The claims are those of arXiv 2505.19294, its printed numbers those of paper.py (totals over its modalities).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from lalm_utils import paper

# metric: what the paper claims of each method, and on which side of zero the metric must then lie
CLAIMS = {
    "reliability_change": ("reliability rises", 1),
    "accuracy_change": ("accuracy falls", -1),
    "rgi": ("more wrong answers than right ones are given up (RGI above 0)", 1),
    "rgi_excess": ("wrong answers are given up more readily than by blind refusal (RGI above its null)", 1),
    "youden": ("wrong answers are given up more readily than right ones (Youden's J above 0)", 1),
}
NAMES = {"rgi": "the RGI", "rgi_excess": "the RGI's excess over its null", "youden": "Youden's J"}
HOLDS, FAILS = "carries over", "does not carry over"
OPEN, UNDEFINED = "is not settled here", "cannot be judged here"


def judged(measured: pd.DataFrame) -> pd.DataFrame:
    """Each row's claim, the paper's own number, the verdict, and all of it as a sentence.

    measured : columns method, metric (a key of CLAIMS), value, low, high. Returns it with claim, printed (NaN
    where the paper prints nothing it follows from), verdict and sentence. Raises ValueError for a metric
    about which nothing is claimed.
    """
    unknown = sorted(set(measured["metric"]) - set(CLAIMS))
    if unknown:
        raise ValueError(f"nothing is claimed about {unknown[0]!r}: the claims are on {', '.join(CLAIMS)}")
    rows = measured.reset_index(drop=True)
    rows = rows.assign(
        claim=[CLAIMS[row.metric][0] for row in rows.itertuples()],
        printed=[printed(row.method, row.metric) for row in rows.itertuples()],
        verdict=[_verdict(CLAIMS[row.metric][1], row.low, row.high) for row in rows.itertuples()],
    )
    return rows.assign(sentence=[_sentence(row) for row in rows.itertuples()])


def tally(rows: pd.DataFrame) -> str:
    """How many of the claims in `rows` (from `judged`) carry over, and how many do not, as a sentence."""
    counts = rows["verdict"].value_counts()
    said = {
        HOLDS: "carry over",
        FAILS: "do not carry over",
        OPEN: "are not settled",
        UNDEFINED: "cannot be judged",
    }
    parts = [f"{counts[verdict]} {words}" for verdict, words in said.items() if verdict in counts]
    return f"Of {len(rows)} claims, each of one method, {', '.join(parts)} here."


def printed(method: str, metric: str) -> float:
    """The paper's total from which a claim was read, in our units; NaN where it prints none.

    Changes are differences of shares to its baseline: reliability as printed, accuracy from the reconstructed
    counts. The RGI's null is that of its baseline.
    """
    known = {name for name, _ in paper.COUNTS}
    if method not in known - {"Baseline"} or metric not in CLAIMS or metric == "youden":
        return math.nan
    if metric == "reliability_change":
        totals = [paper.printed(name, "overall", "reliability").value for name in (method, "Baseline")]
        return (totals[0] - totals[1]) / 100
    if metric == "accuracy_change":
        return _accuracy(method) - _accuracy("Baseline")
    baseline = [paper.COUNTS["Baseline", modality] for modality in paper.MODALITIES]
    null = math.log10(sum(c.wrong for c in baseline) / sum(c.correct for c in baseline))
    return paper.printed(method, "overall", "rgi").value - (null if metric == "rgi_excess" else 0)


def meta_ability(
    outside: pd.DataFrame, controls: Mapping[str, pd.DataFrame], *, metric: str = "youden"
) -> str:
    """The answer to whether knowing one's ignorance carries over to modalities that were not trained.

    outside : from transfer.out_of_domain, with `metric`, whose null is zero. controls : what the adapters must
    beat besides blind refusal, in words, to the frame of transfer.against_control. "Yes" needs every interval
    above zero, averaged over all tested modalities; "No" says which is not, and how.
    """
    gain = _only(outside, metric, tested_on="overall", domain="out")
    beats = {"blind refusal": (gain, NAMES.get(metric, metric))}
    for name, frame in controls.items():
        beats[name] = (
            _only(frame, metric, trained_on="mean", tested_on="overall", domain="out"),
            "difference",
        )
    verdicts = {name: _verdict(1, row["low"], row["high"]) for name, (row, _) in beats.items()}
    words = {
        HOLDS: "beat",
        FAILS: "fall behind",
        OPEN: "do not measurably beat",
        UNDEFINED: "cannot be held to",
    }
    parts = [f"{words[verdicts[name]]} {name} ({what} {_number(row)})" for name, (row, what) in beats.items()]
    return (
        f"{'Yes' if set(verdicts.values()) == {HOLDS} else 'No'}: on modalities that they were not trained on, "
        f"adapters {', '.join(parts)}; mean over tested modalities, 95 % intervals, n = {int(gain['n'])} items."
    )


def pairs_above(matrix: pd.DataFrame, *, metric: str = "rgi", domain: str = "out") -> str:
    """In how many pairs of a domain a metric lies above zero, and in how many its whole interval does.

    matrix : from transfer.matrix; its means over the seeds are counted. The paper reports RGI above zero in
    every pair. An RGI of +inf is above zero; one that is undefined is above nothing, and is said.
    """
    rows = matrix[(matrix["metric"] == metric) & (matrix["seed"] == "mean") & (matrix["domain"] == domain)]
    value, low = rows["value"].to_numpy(float), rows["low"].to_numpy(float)
    undefined = int(np.isnan(value).sum())
    where = {"out": "out of domain", "in": "in domain"}[domain]
    return (
        f"Of {len(rows)} pairs {where}, {NAMES.get(metric, metric)} is above zero in {int((value > 0).sum())}, "
        f"with its whole interval in {int((low > 0).sum())}"
        + (f", and undefined in {undefined}." if undefined else ".")
    )


def _verdict(sign: int, low: float, high: float) -> str:
    if math.isnan(low) or math.isnan(high):
        return UNDEFINED
    nearest, farthest = sorted((sign * low, sign * high))
    return HOLDS if nearest > 0 else FAILS if farthest < 0 else OPEN


def _sentence(row) -> str:
    paper_said = "not printed" if math.isnan(row.printed) else f"{row.printed:+.2f} printed"
    here = _number({"value": row.value, "low": row.low, "high": row.high})
    return f"{row.method}: that {row.claim} {row.verdict} ({here} here, {paper_said})."


def _number(row) -> str:
    value = f"{row['value']:+.2f}"
    if math.isnan(row["low"]) or math.isnan(row["high"]):
        return f"{value}, no interval"
    return f"{value} [{row['low']:+.2f}, {row['high']:+.2f}]"


def _accuracy(method: str) -> float:
    counts = [paper.COUNTS[method, modality] for modality in paper.MODALITIES]
    return sum(c.correct for c in counts) / sum(c.n for c in counts)


def _only(frame: pd.DataFrame, metric: str, **where: str) -> pd.Series:
    wanted = {"metric": metric} | where | ({"part": "all"} if "part" in frame else {})
    rows = frame[np.logical_and.reduce([frame[column] == value for column, value in wanted.items()])]
    if len(rows) != 1:
        raise ValueError(f"{len(rows)} rows where {wanted}: give the frame of one analysis, with this metric")
    return rows.iloc[0]
