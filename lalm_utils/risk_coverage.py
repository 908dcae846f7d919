"""How well a score ranks right answers above wrong ones, whether it is a probability, and a threshold with a promise.

In: a score per answer, higher being surer, and whether the answer is right, both (n,). Out: numbers, tidy rows, curves.

Ties: answers of equal score are kept together by a threshold. Where a measure runs over every coverage k/n, equal
ones count as if drawn at random: errors grow linearly within a tie, which is the mean over all their orders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from lalm_utils import bootstrap, outcomes

__all__ = [
    "PROBABILITY", "RANKING", "Promise", "curve", "differences", "fewest", "measures", "promise",
    "promise_violations", "report", "roc_auc",
]  # fmt: skip
RANKING = ("auroc", "aurc", "e_aurc", "augrc", "prr", "risk_at_80", "coverage_at_5")
PROBABILITY = ("ece", "brier", "calibration_p")


def validate(score: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, float and int; ValueError for other lengths, no answer, or a score that is not a number."""
    score, right = np.asarray(score, float), np.asarray(right, float)
    if score.shape != right.shape or score.ndim != 1 or not score.size:
        raise ValueError(
            f"{score.shape} scores, {right.shape} answers: give one score per answer, at least one"
        )
    if np.isnan(score).any():
        raise ValueError(
            f"{np.isnan(score).sum()} of {score.size} scores are NaN: leave these answers out, and say so"
        )
    if not np.isin(right, (0, 1)).all():
        raise ValueError(f"right holds {np.setdiff1d(right, (0, 1))[0]}: an answer is right (1) or not (0)")
    return score, right.astype(int)


def errors(score: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Wrong answers among the k surest for k = 0 to n, (n + 1,); linear within ties."""
    values, group = np.unique(-score, return_inverse=True)
    size = np.bincount(group, minlength=len(values))
    wrong = np.bincount(group, weights=1 - right, minlength=len(values))
    ends, total = np.append(0, size.cumsum()), np.append(0, wrong.cumsum())
    return np.interp(np.arange(len(score) + 1), ends, total)


def roc_auc(score: np.ndarray, right: np.ndarray) -> float:
    """The chance that a right answer scores above a wrong one, a tie counting half; NaN if all are alike."""
    n, n_right = len(right), right.sum()
    if n_right in (0, n):
        return np.nan
    ranks = stats.rankdata(score)
    return float((ranks[right == 1].sum() - n_right * (n_right + 1) / 2) / (n_right * (n - n_right)))


def measures(score: np.ndarray, right: np.ndarray, *, probability: bool = False) -> dict[str, float]:
    """All measures of one score. `probability` adds those that need a score in [0, 1].

    auroc: of right over wrong answers. aurc: mean risk over the coverages k/n (Geifman and El-Yaniv 2017); e_aurc: that
    above the best order's. augrc: area under wrong-and-answered, as a share of all n, over coverage (arXiv 2407.01032).
    prr: (r - aurc)/(r - the best order's), 1 for an oracle, 0 for chance. risk_at_80: risk among the 80 % surest;
    coverage_at_5: the largest coverage of a threshold with at most 5 % wrong. ece: expected calibration error in ten
    equal bins; brier: mean squared error; calibration_p: Spiegelhalter's test, two-sided (1986, Stat. Med. 5, 421).
    """
    score, right = validate(score, right)
    n, wrong = len(score), errors(score, right)
    best = np.maximum(np.arange(n + 1) - right.sum(), 0)
    steps = np.arange(1, n + 1)
    aurc, least, risk = (wrong[1:] / steps).mean(), (best[1:] / steps).mean(), 1 - right.mean()
    cuts = np.append(np.flatnonzero(np.diff(np.sort(-score))) + 1, n)  # where a threshold can cut
    cuts_at_5 = cuts[wrong[cuts] / cuts <= 0.05 + 1e-12]
    eighty = int(np.ceil(0.8 * n))
    values = {
        "auroc": roc_auc(score, right), "aurc": aurc, "e_aurc": aurc - least,
        "augrc": (wrong[1:] + wrong[:-1]).sum() / (2 * n * n),
        "prr": (risk - aurc) / (risk - least) if risk > least else np.nan,
        "risk_at_80": wrong[eighty] / eighty, "coverage_at_5": cuts_at_5.max() / n if cuts_at_5.size else 0.0,
    }  # fmt: skip
    return {k: float(v) for k, v in values.items()} | (_calibration(score, right) if probability else {})


def _calibration(p: np.ndarray, right: np.ndarray) -> dict[str, float]:
    if p.min() < 0 or p.max() > 1:
        raise ValueError(
            f"probabilities from {p.min():.3g} to {p.max():.3g}: they lie in [0, 1]; ask for ranks only"
        )
    bins = np.minimum((p * 10).astype(int), 9)
    gaps = np.bincount(bins, weights=right - p, minlength=10)
    spread = np.sqrt(((1 - 2 * p) ** 2 * p * (1 - p)).sum())
    z = ((right - p) * (1 - 2 * p)).sum() / spread if spread else np.nan
    return {
        "ece": float(np.abs(gaps).sum() / len(p)), "brier": float(((p - right) ** 2).mean()),
        "calibration_p": float(2 * stats.norm.sf(abs(z))),
    }  # fmt: skip


def report(
    table: pd.DataFrame, score: str, right: str = "right", *, by: str | None = "modality",
    probability: bool = False, n_boot: int = 500, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """All measures of the column `score`, by group and overall, with bootstrap intervals by item (bootstrap.row)."""
    rows = []
    for group, part in outcomes.groups(table, by):
        values, truth = validate(part[score], part[right])
        resamples = bootstrap.generator(seed, group).integers(len(part), size=(n_boot, len(part)))
        resample_values = pd.DataFrame(
            [measures(values[i], truth[i], probability=probability) for i in resamples]
        )
        for name, value in measures(values, truth, probability=probability).items():
            draws = None if name == "calibration_p" else resample_values[name].to_numpy()
            rows.append(bootstrap.row(group, name, value, draws, n=len(part)))
    return pd.DataFrame(rows)


def differences(
    table: pd.DataFrame, against: str, names: Sequence[str], metric: str = "e_aurc", *, right: str = "right",
    n_boot: int = 500, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """`metric` of the score `against` less that of each of `names`, paired by item: rows of bootstrap.row by score.

    table : a row per answer, with modality (each keeps its number of items in a resample) and the scores' columns.
    """
    truth = table[right].to_numpy()
    weights = bootstrap.weights(table["modality"].tolist(), n_boot=n_boot, seed=seed)
    picks = [np.arange(len(table)), *(np.repeat(np.arange(len(table)), row) for row in weights)]

    def values(name: str) -> np.ndarray:
        score = table[name].to_numpy()
        return np.array([measures(score[i], truth[i])[metric] for i in picks])

    reference, n = values(against), len(table)
    gaps = {name: reference - values(name) for name in names}
    return pd.DataFrame([bootstrap.row(name, metric, gap[0], gap[1:], n=n) for name, gap in gaps.items()])


def curve(score: np.ndarray, right: np.ndarray, *, points: int = 40) -> pd.DataFrame:
    """The risk at `points` coverages: coverage, value, low, high (Wilson; errors in a tie are rounded), n."""
    score, right = validate(score, right)
    n, wrong = len(score), errors(score, right)
    counts = np.unique(np.ceil(np.arange(1, points + 1) * n / points).astype(int))
    rows = [(k / n, wrong[k] / k, *bootstrap.wilson(round(wrong[k]), int(k)), n) for k in counts]
    return pd.DataFrame(rows, columns=["coverage", "value", "low", "high", "n"])


# ---- a promise


@dataclass(frozen=True, kw_only=True)
class Promise:
    """Answer what scores above `threshold` (inf: nothing): at most `alpha` wrong, with confidence 1 - `delta`."""

    alpha: float
    delta: float
    threshold: float
    coverage: float  # share of the calibration answers above the threshold
    n: int  # answers it was fixed on


def fewest(alpha: float, delta: float) -> int:
    """How many answers could show a risk of at most `alpha` if none of them is wrong: (1 - alpha)^n <= delta."""
    return math.ceil(math.log(delta) / math.log1p(-alpha))


def promise(score: np.ndarray, right: np.ndarray, *, alpha: float, delta: float = 0.1) -> Promise:
    """The lowest threshold whose risk is shown to be at most `alpha`: Learn then Test (arXiv 2110.01052).

    Thresholds are tried from strict to lax, and the first failure ends it (fixed-sequence testing), so no correction is
    paid. The p-value is the exact binomial's; Hoeffding-Bentkus bounds, as in MAPIE, are up to e times larger. The
    first threshold keeps as few answers as could pass without a single error; a stricter one could never pass.
    A threshold is itself a score, and only answers strictly above it count. Given it, they are a sample of all answers
    above it, so the test is exact; the sequence assumes that risk does not fall as the threshold does. It holds for new
    answers that are exchangeable with these, and for no others. ValueError for alpha or delta outside (0, 1).
    """
    if not (0 < alpha < 1 and 0 < delta < 1):
        raise ValueError(f"alpha = {alpha}, delta = {delta}: both lie inside (0, 1); .1 is usual")
    score, right = validate(score, right)
    order = np.argsort(-score, kind="stable")
    descending, wrong = score[order], (1 - right[order]).cumsum()
    cuts = np.append(
        np.flatnonzero(np.diff(descending)) + 1, len(score)
    )  # answers strictly above each next score
    cuts = cuts[cuts >= fewest(alpha, delta)]
    failures = stats.binom.cdf(wrong[cuts - 1], cuts, alpha) > delta
    valid_cuts = cuts[: failures.argmax() if failures.any() else len(cuts)]
    if not valid_cuts.size:
        return Promise(alpha=alpha, delta=delta, threshold=np.inf, coverage=0.0, n=len(score))
    k = int(valid_cuts[-1])
    threshold = descending[k] if k < len(score) else -np.inf
    return Promise(
        alpha=alpha, delta=delta, threshold=float(threshold), coverage=k / len(score), n=len(score)
    )


def promise_violations(
    table: pd.DataFrame, score: str, right: str = "right", *, calibrate: np.ndarray | None = None,
    alpha: float, delta: float = 0.1, splits: int = 500, seed: int = 0,
) -> dict[str, float]:  # fmt: skip
    """How often the promise is broken on answers that it was not fixed on, over random splits.

    calibrate: bool (n,), the rows that thresholds may be fixed on, where the others are of another kind; each split
    then fixes on a random half of them, and tests on all others. None: halves of all rows.

    Returns broken (share of splits with more than alpha wrong among the answered), low, high (Wilson over splits, which
    share items: chance of the splitting alone), risk and coverage (means over splits), silent (share without a
    threshold, which break nothing). On few test answers risk exceeds alpha by chance: broken is above delta's bound
    only where the true risk is above alpha, so `excess`, the mean of risk - alpha, stands beside it.
    """
    values, truth = validate(table[score], table[right])
    kind = np.ones(len(values), bool) if calibrate is None else np.asarray(calibrate, bool)
    rng, rows = np.random.default_rng(seed), []
    for _ in range(splits):
        order = rng.permutation(np.flatnonzero(kind))
        calibration, test = order[: len(order) // 2], order[len(order) // 2 :]
        test = test if calibrate is None else np.flatnonzero(~kind)
        rule = promise(values[calibration], truth[calibration], alpha=alpha, delta=delta)
        answers = truth[test][values[test] > rule.threshold]
        no_threshold = rule.threshold == np.inf
        rows.append((1 - answers.mean() if answers.size else np.nan, answers.size / len(test), no_threshold))
    risk, coverage, no_threshold = (np.array(column, float) for column in zip(*rows))
    broken = int((risk > alpha + 1e-12).sum())
    low, high = bootstrap.wilson(broken, splits)
    mean = float(np.nanmean(risk)) if np.isfinite(risk).any() else np.nan
    return {
        "alpha": alpha, "delta": delta, "broken": broken / splits, "low": low, "high": high, "risk": mean,
        "excess": mean - alpha, "coverage": float(coverage.mean()), "silent": float(no_threshold.mean()),
        "n": len(values), "splits": splits,
    }  # fmt: skip
