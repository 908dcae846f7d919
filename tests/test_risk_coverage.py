"""Measures of scores and the promise: cases worked by hand, and scikit-learn and MAPIE as referees."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lalm_utils import risk_coverage

RNG = np.random.default_rng(1)
P = RNG.integers(0, 11, 200) / 10  # many ties
RIGHT = (RNG.random(200) < P).astype(int)


def test_areas_of_four_answers_by_hand():
    # From the surest: right, wrong, right, wrong. Risks 0, 1/2, 1/3, 1/2; the best order's 0, 0, 1/3, 1/2.
    result = risk_coverage.measures(np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 0, 1, 0]))
    aurc, best = (0 + 1 / 2 + 1 / 3 + 1 / 2) / 4, (1 / 3 + 1 / 2) / 4
    assert result["aurc"] == pytest.approx(aurc)
    assert result["e_aurc"] == pytest.approx(aurc - best)
    assert result["prr"] == pytest.approx((1 / 2 - aurc) / (1 / 2 - best))
    # errors 0, 0, 1, 1, 2 over n = 4: trapezoids 0, 1/2, 1, 3/2
    assert result["augrc"] == pytest.approx(3 / 16)
    assert (result["auroc"], result["coverage_at_5"], result["risk_at_80"]) == pytest.approx(
        (3 / 4, 1 / 4, 1 / 2)
    )


def test_ties_count_as_the_mean_over_their_orders():
    right = np.array([1, 0, 1, 0, 1])
    tied = risk_coverage.measures(np.array([0.9, 0.5, 0.5, 0.5, 0.1]), right)
    orders = [
        risk_coverage.measures(np.array([9.0, *order, 0.0]), right)
        for order in itertools.permutations((1.0, 2.0, 3.0))
    ]
    for name in ("aurc", "augrc", "auroc", "e_aurc", "prr"):
        assert tied[name] == pytest.approx(np.mean([each[name] for each in orders])), name


def test_a_threshold_does_not_cut_a_tie():
    result = risk_coverage.measures(np.array([0.9, 0.9, 0.1]), np.array([1, 0, 1]))
    assert result["coverage_at_5"] == 0


def test_the_curve_is_the_error_of_the_surest_and_linear_within_ties():
    result = risk_coverage.curve([0.5, 0.9, 0.8, 0.7], [0, 1, 1, 0], points=4)
    assert result["coverage"].tolist() == [0.25, 0.5, 0.75, 1]
    assert result["value"].tolist() == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert ((result["low"] <= result["value"]) & (result["value"] <= result["high"])).all()
    assert risk_coverage.curve([0.5, 0.5, 0.5], [1, 1, 0], points=3)["value"].tolist() == pytest.approx(
        [1 / 3] * 3
    )
    assert risk_coverage.curve([0.5, 0.9], [0, 1], points=40)["coverage"].tolist() == [0.5, 1]


def test_augrc_is_the_formula_of_its_paper():
    result, risk = risk_coverage.measures(P, RIGHT), 1 - RIGHT.mean()
    assert result["augrc"] == pytest.approx((1 - result["auroc"]) * (1 - risk) * risk + risk**2 / 2)


def test_an_oracle_gains_all_and_one_tie_nothing():
    assert risk_coverage.measures(RIGHT.astype(float), RIGHT)["prr"] == pytest.approx(1)
    assert risk_coverage.measures(np.zeros(200), RIGHT)["prr"] == pytest.approx(0)


def test_scikit_learn_agrees():
    sklearn = pytest.importorskip("sklearn.metrics")
    result = risk_coverage.measures(P, RIGHT, probability=True)
    assert result["auroc"] == pytest.approx(sklearn.roc_auc_score(RIGHT, P))
    assert result["brier"] == pytest.approx(sklearn.brier_score_loss(RIGHT, P))


def test_mapie_agrees_on_calibration():
    pytest.importorskip("mapie")
    from mapie.metrics.calibration import (
        expected_calibration_error,
        spiegelhalter_p_value,
        spiegelhalter_statistic,
    )

    p = np.clip(P + RNG.uniform(-0.04, 0.04, 200), 0.01, 0.99)
    result = risk_coverage.measures(p, RIGHT, probability=True)
    z = spiegelhalter_statistic(RIGHT, p)
    assert result["calibration_p"] == pytest.approx(
        2 * min(spiegelhalter_p_value(RIGHT, p), stats.norm.cdf(z))
    )
    assert result["ece"] == pytest.approx(
        expected_calibration_error(RIGHT, p, num_bins=11, split_strategy="uniform")
    )


def test_a_promise_by_hand():
    # alpha = delta = .5: one right answer passes (p = .5). Then right (p = .25), wrong (p = .5), wrong (p = .6875).
    promise = risk_coverage.promise([0.9, 0.8, 0.7, 0.6, 0.5], [1, 1, 0, 0, 1], alpha=0.5, delta=0.5)
    assert (promise.threshold, promise.coverage) == (0.6, 3 / 5)


@pytest.mark.parametrize("right, threshold", [([0] * 50, np.inf), ([1] * 50, -np.inf), ([1] * 5, np.inf)])
def test_nothing_and_all_may_be_promised(right, threshold):
    assert risk_coverage.promise(np.arange(len(right)), right, alpha=0.1).threshold == threshold


def test_mapie_promises_no_more():
    pytest.importorskip("mapie")
    from mapie.risk_control import BinaryClassificationController

    rng = np.random.default_rng(3)
    score = rng.random(400)
    right = (rng.random(400) < 0.5 + 0.5 * score).astype(int)
    # a threshold that keeps 10 of 400 cannot be shown: MAPIE's sequence begins where a hundred are kept
    grid = np.sort(score)[::-1][100::5]
    control = BinaryClassificationController(
        lambda x: np.column_stack([1 - x[:, 0], x[:, 0]]), risk="precision", target_level=0.8, confidence_level=0.9,
        best_predict_param_choice="recall", list_predict_params=grid, fwer_method="fixed_sequence",
    )  # fmt: skip
    with pytest.warns(UserWarning, match="monotonic"):
        control.calibrate(score[:, None], right)
    ours = risk_coverage.promise(score, right, alpha=0.2, delta=0.1).threshold
    assert 0 < ours <= control.best_predict_param


def test_the_promise_is_kept_where_new_answers_are_alike_and_broken_where_not():
    rng = np.random.default_rng(0)
    score = rng.random(2000)
    table = pd.DataFrame({"score": score, "right": rng.random(2000) < 0.5 + 0.5 * score})
    alike = risk_coverage.promise_violations(table, "score", alpha=0.2, splits=200)
    assert alike["broken"] <= 0.2
    assert alike["coverage"] > 0.1
    assert alike["excess"] < 0
    other = np.arange(2000) < 1000
    table.loc[~other, "right"] = rng.random(1000) < 0.5
    unlike = risk_coverage.promise_violations(table, "score", calibrate=other, alpha=0.2, splits=200)
    assert unlike["broken"] > 0.9
    assert unlike["excess"] > 0.2


def test_the_error_rate_of_a_promise_on_its_own_distribution_is_at_most_delta():
    # The true risk above t is known: 1 - mean(.5 + .5 s) for s > t is (1 - t)/4.
    rng, broken = np.random.default_rng(5), 0
    for _ in range(400):
        score = rng.random(300)
        promise = risk_coverage.promise(score, rng.random(300) < 0.5 + 0.5 * score, alpha=0.15, delta=0.1)
        broken += np.isfinite(promise.threshold) and (1 - promise.threshold) / 4 > 0.15
    assert broken <= stats.binom.ppf(0.999, 400, 0.1)


@pytest.mark.parametrize(
    "score, right, message",
    [([0.1], [1, 0], "one score per answer"), ([np.nan], [1], "NaN"), ([0.1], [2], "right holds 2"),
     ([], [], "at least one")],
)  # fmt: skip
def test_bad_input_is_refused(score, right, message):
    with pytest.raises(ValueError, match=message):
        risk_coverage.measures(score, right)


def test_a_score_that_is_no_probability_has_no_calibration():
    with pytest.raises(ValueError, match="from 1 to 3"):
        risk_coverage.measures([1, 3], [1, 0], probability=True)


def test_the_report_has_an_interval_around_each_measure():
    table = pd.DataFrame({"score": P, "right": RIGHT, "modality": ["sound", "music"] * 100})
    result = risk_coverage.report(table, "score", probability=True, n_boot=50)
    assert set(result["group"]) == {"sound", "music", "overall"}
    measured = result[result["metric"] == "auroc"]
    assert (measured["low"] <= measured["value"]).all()
    assert (measured["value"] <= measured["high"]).all()


def test_differences_are_paired_by_answer():
    table = pd.DataFrame({"a": P, "b": P, "worse": -P, "right": RIGHT, "modality": "sound"})
    result = risk_coverage.differences(table, "a", ["b", "worse"], n_boot=60).set_index("group")
    assert result.loc["b", "value"] == 0
    expected = [risk_coverage.measures(score, RIGHT)["e_aurc"] for score in (P, -P)]
    assert result.loc["worse", "value"] == pytest.approx(expected[0] - expected[1])
    assert result.loc["worse", "high"] < 0
