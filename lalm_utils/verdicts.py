"""What the numbers say, in sentences made from intervals: does a method help, does a claim of the paper carry over?

In: tidy rows with value, low, high. Out: a sentence (`verdict`), the same rows with a verdict and a sentence each
(`judge`), and the answer to the question of transfer. Nothing is measured here, and no verdict is typed: each
follows from where an interval lies. An interval that holds zero settles nothing, and a value without an interval
cannot be judged.

The claims are those of arXiv 2505.19294, its printed numbers those of paper.py (totals over its modalities).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from lalm_utils import bootstrap, paper
from lalm_utils.comparison import LESS_IS_BETTER
from lalm_utils.transfer import AT_EQUAL_SHARE, WITHIN_PARTS

__all__ = [
    "CLAIMS", "judge", "only_row", "pairs_above", "paper_total", "tally", "transfer_verdict", "verdict",
]  # fmt: skip
# metric: what the paper claims of each method, and on which side of zero the metric must then lie
CLAIMS = {
    "reliability_change": ("a rise in reliability", 1),
    "accuracy_change": ("a fall in accuracy", -1),
    "rgi": ("giving up more wrong answers than right ones (RGI above 0)", 1),
    # These two count answers drawn anew as given up; so churn alone puts them above 0 (metrics.churn_excess).
    "rgi_excess": ("changing wrong answers more readily than right ones, churn included (RGI above its null)", 1),
    "youden": ("changing wrong answers more readily than right ones, churn included (Youden's J above 0)", 1),
    "refusal_youden": (
        "refusing wrong answers more readily than blind refusal does (Youden's J of refusals above 0)", 1,
    ),
}  # fmt: skip
NAMES = {
    "rgi": "the RGI", "rgi_excess": "the RGI's excess over its null", "youden": "Youden's J",
    "refusal_youden": "Youden's J of refusals", "refusal_excess": "the refusal-only excess",
}  # fmt: skip
QUESTIONS = {  # what a claim asks, and of whom the question is
    "reliability_change": "the paper's: refusals are credited, whichever they are",
    "accuracy_change": "the paper's, of a cost: every refusal adds to it",
    "rgi": "the paper's: its zero moves with the baseline, and churn counts",
    "rgi_excess": "ours, in place of the RGI's zero: churn counts",
    "youden": "that of the excess again, as a difference",
    "refusal_youden": "ours, in place of the RGI: refusals alone, zero for blind refusal and for churn",
}  # fmt: skip
REFUSAL_ONLY = ("refusal_excess", "refusal_youden")  # above 0 by no churn: these may be held to blind refusal
SUBJECTS = {
    "rgi": "the RGI", "rgi_null": "the null of the RGI", "rgi_excess": "the excess",
    "refusal_rgi": "the refusal-only RGI", "refusal_excess": "the refusal-only excess",
    "youden": "Youden's J", "refusal_youden": "Youden's J of refusals",
    AT_EQUAL_SHARE: "Youden's J of refusals, at equal share,",
    WITHIN_PARTS: "Youden's J of refusals above blind refusal within parts", "delta_con": "ΔCon", "delta_hum": "ΔHum",
    "accuracy_change": "the change in accuracy", "truthfulness_change": "the change in truthfulness",
    "rejection_rate_change": "the change in the rejection rate",
    "reliability_change": "the change in reliability",
}  # fmt: skip
WITH_ARTICLE = ("IDK prompt", "MCoT prompt", "Task Agent")
HOLDS, FAILS = "carries over", "does not carry over"
OPEN, UNDEFINED = "is neither shown nor excluded", "cannot be judged here"
ABOVE, BELOW, AROUND = "above", "below", "around"  # where an interval lies


def verdict(
    row: Mapping | pd.Series, *, model: str, method: str, seed: int | None = None, trainings: int | None = None,
    reference: float = 0.0,
) -> str:  # fmt: skip
    """The finding of one row: "On mini, 300 items: the excess of the IDK prompt is +0.31 [+0.12, +0.50]: it helps."

    row : metric, value, low, high, n and status, as metrics.compare returns it (`only_row` picks one). method : what
    the row is about, with its article. trainings : how many training seeds it is a mean of, if any. reference : what
    the interval is held against, such as 1 for a ratio.
    "It helps" where the whole interval lies on the better side of it, "it harms" on the other side; else "it is
    not settled", and without an interval "it cannot be judged".
    """
    metric, value, low, high = row["metric"], *(float(row[key]) for key in ("value", "low", "high"))
    better, worse = (BELOW, ABOVE) if metric in LESS_IS_BETTER else (ABOVE, BELOW)
    findings = {better: "it helps", worse: "it harms", AROUND: "it is not settled"}
    side = _side(low, high, reference)
    number = bootstrap.interval_text(value, low, high, signed=reference == 0)
    if side is None:
        status = f" ({row['status']})" if row.get("status") else ""
        number = f"{'undefined' if math.isnan(value) else number}{status}, without an interval"
    subject = SUBJECTS.get(metric, f"the {metric.replace('_', ' ')}")
    where = f"On {model}, {int(row['n'])} items" + ("" if seed is None else f", seed {seed}")
    where += "" if trainings is None else f", {trainings} training seed{'s' if trainings > 1 else ''}"
    return f"{where}: {subject} of {method} is {number}: {findings.get(side, 'it cannot be judged')}."


def only_row(frame: pd.DataFrame, metric: str, **labels: str) -> pd.Series:
    """The only row of a metric with these labels, e.g. only_row(gains, "rgi_excess", group="overall").

    Raises ValueError where there is none or more than one.
    """
    conditions = {"metric": metric} | labels
    rows = frame[np.logical_and.reduce([frame[column] == value for column, value in conditions.items()])]
    if len(rows) != 1:
        raise ValueError(
            f"{len(rows)} rows where {conditions}: give the frame of one analysis, with this metric"
        )
    return rows.iloc[0]


def judge(frame: pd.DataFrame) -> pd.DataFrame:
    """Each row's claim, the paper's own number, the verdict, and all of it as a sentence.

    frame : columns method, metric (a key of CLAIMS), value, low, high. Returns it with claim, printed (NaN
    where the paper prints nothing it follows from), question (whose it is), verdict and sentence. Raises
    ValueError for a metric about which nothing is claimed.
    """
    unknown = sorted(set(frame["metric"]) - set(CLAIMS))
    if unknown:
        raise ValueError(f"nothing is claimed about {unknown[0]!r}: the claims are on {', '.join(CLAIMS)}")
    rows = frame.reset_index(drop=True)
    rows = rows.assign(
        claim=[CLAIMS[row.metric][0] for row in rows.itertuples()],
        question=[QUESTIONS[row.metric] for row in rows.itertuples()],
        printed=[paper_total(row.method, row.metric) for row in rows.itertuples()],
        verdict=[_verdict(CLAIMS[row.metric][1], row.low, row.high) for row in rows.itertuples()],
    )
    return rows.assign(sentence=[_sentence(row) for row in rows.itertuples()])


def tally(rows: pd.DataFrame) -> str:
    """How many of the claims in `rows` (from `judge`) carry over, and how many do not, as a sentence."""
    counts = rows["verdict"].value_counts()
    words = {
        HOLDS: ("carries over", "carry over"),
        FAILS: ("does not carry over", "do not carry over"),
        OPEN: ("is not settled", "are not settled"),
        UNDEFINED: ("cannot be judged", "cannot be judged"),
    }
    parts = [f"{counts[name]} {words[name][int(counts[name] > 1)]}" for name in words if name in counts]
    return f"Of {len(rows)} claims, each of one method, {', '.join(parts)} here."


def paper_total(method: str, metric: str) -> float:
    """The paper's total from which a claim was read, in our units; NaN where it prints none.

    Changes are differences of shares to its baseline: reliability as printed, accuracy from the reconstructed
    counts. The RGI's null is that of its baseline.
    """
    methods = {name for name, _ in paper.COUNTS}
    if method not in methods - {"Baseline"} or metric not in CLAIMS or metric.endswith("youden"):
        return math.nan
    if metric == "reliability_change":
        totals = [paper.cell(name, "overall", "reliability").value for name in (method, "Baseline")]
        return (totals[0] - totals[1]) / 100
    if metric == "accuracy_change":
        return _accuracy(method) - _accuracy("Baseline")
    baseline = [paper.COUNTS["Baseline", modality] for modality in paper.MODALITIES]
    null = math.log10(sum(c.wrong for c in baseline) / sum(c.correct for c in baseline))
    return paper.cell(method, "overall", "rgi").value - (null if metric == "rgi_excess" else 0)


def transfer_verdict(
    outside: pd.DataFrame, controls: Mapping[str, pd.DataFrame], *, metric: str = "refusal_youden"
) -> str:
    """The answer to whether knowing one's ignorance carries over to modalities that were not trained.

    outside : from transfer.out_of_domain, with `metric`, whose null is zero. controls : what the adapters must
    beat besides that null, in words, to the frame of transfer.against_control. "Yes" needs every interval
    above zero, averaged over all tested modalities; "No" says which is not, and how. The null is blind refusal for
    a metric of refusals alone; others count answers drawn anew, and are held to changing answers blindly.
    """
    gain = _overall(outside, metric)
    null = "blind refusal" if metric in REFUSAL_ONLY else "changing right and wrong answers alike"
    rivals = {null: (gain, NAMES.get(metric, metric))}
    rivals |= {
        name: (_overall(frame, metric, trained_on="mean"), "difference") for name, frame in controls.items()
    }
    verdicts = {name: _verdict(1, row["low"], row["high"]) for name, (row, _) in rivals.items()}
    words = {
        HOLDS: "beat",
        FAILS: "fall behind",
        OPEN: "do not measurably beat",
        UNDEFINED: "cannot be held to",
    }
    parts = [
        f"{words[verdicts[name]]} {name} ({what} {_number(row)})" for name, (row, what) in rivals.items()
    ]
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


def _side(low: float, high: float, reference: float = 0.0) -> str | None:
    """Where an interval lies beside a number; None where there is no interval."""
    if math.isnan(low) or math.isnan(high):
        return None
    return ABOVE if low > reference else BELOW if high < reference else AROUND


def _verdict(sign: int, low: float, high: float) -> str:
    claim, opposite = (ABOVE, BELOW) if sign > 0 else (BELOW, ABOVE)
    return {claim: HOLDS, opposite: FAILS, AROUND: OPEN, None: UNDEFINED}[_side(low, high)]


def _sentence(row) -> str:
    method = f"the {row.method}" if row.method in WITH_ARTICLE else row.method
    printed = "not printed" if math.isnan(row.printed) else f"{row.printed:+.2f} printed"
    number = _number({"value": row.value, "low": row.low, "high": row.high})
    return f"With {method}, {row.claim} {row.verdict} ({number} here, {printed})."


def _number(row: Mapping | pd.Series) -> str:
    text = bootstrap.interval_text(row["value"], row["low"], row["high"], signed=True)
    return text if _side(row["low"], row["high"]) else f"{text}, no interval"


def _accuracy(method: str) -> float:
    counts = [paper.COUNTS[method, modality] for modality in paper.MODALITIES]
    return sum(c.correct for c in counts) / sum(c.n for c in counts)


def _overall(frame: pd.DataFrame, metric: str, **labels: str) -> pd.Series:
    """The mean over all tested modalities out of domain."""
    part = {"part": "all"} if "part" in frame else {}
    return only_row(frame, metric, **labels, tested_on="overall", domain="out", **part)
