"""Intervals: the bootstrap against row resampling, coverage, strata, weights by item, what is left out; its speed."""

from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd
import pytest
from outcome_tables import count_table, run, transition_tables, value

from lalm_utils import bootstrap, metrics
from lalm_utils.outcomes import REPLY_OUTCOMES


def test_resampling_counts_equals_resampling_rows_of_paired_items():
    before, after = transition_tables(
        correct_to_correct=40, correct_to_refused=12, wrong_to_wrong=25, wrong_to_refused=23
    )
    frame = metrics.compare(before, after, n_boot=4000)
    rng = np.random.default_rng(0)
    old, new = before["outcome"].to_numpy(), after["outcome"].to_numpy()
    draws = rng.integers(0, 100, (4000, 100))
    con = ((old == "correct") & (new != "correct"))[draws].mean(1)
    hum = ((old == "wrong") & (new != "wrong"))[draws].mean(1)
    low, high = np.quantile(np.log10(hum / con), [0.025, 0.975])
    assert value(frame, "rgi", column="low") == pytest.approx(low, abs=0.03)
    assert value(frame, "rgi", column="high") == pytest.approx(high, abs=0.03)


def test_pairing_makes_the_interval_of_a_difference_narrower_than_two_unpaired_runs():
    before, after = transition_tables(
        correct_to_correct=480, correct_to_refused=20, wrong_to_wrong=450, wrong_to_refused=50
    )
    low, high = (value(metrics.compare(before, after), "delta_con", column=end) for end in ("low", "high"))
    unpaired = 2 * 1.96 * math.sqrt(0.5 * 0.5 / 1000 + 0.48 * 0.52 / 1000)
    assert high - low < unpaired / 3


def test_the_interval_of_accuracy_covers_the_truth_about_as_often_as_it_says():
    rng, truth, times = np.random.default_rng(5), 0.6, 400
    hits = 0
    for k, right in enumerate(rng.binomial(200, truth, times)):
        draws = bootstrap.resample({"sound": np.array([right, 200 - right])}, n_boot=400, seed=k)
        low, high, *_ = bootstrap.percentile(draws[:, 0] / 200)
        hits += low <= truth <= high
    assert 0.91 < hits / times < 0.985


def test_the_pooled_interval_keeps_the_mix_of_modalities():
    table = run(["correct"] * 100 + ["wrong"] * 100, ["sound"] * 100 + ["music"] * 100)
    draws = bootstrap.resample({"sound": np.array([100, 0]), "music": np.array([0, 100])}, n_boot=50, seed=0)
    # Each stratum is all right or all wrong: with the mix held there is nothing left to vary.
    assert set(draws[:, 0]) == {100}
    # No width is no certainty: the interval is Wilson's.
    bounds = [value(metrics.evaluate(table), "accuracy", column=end) for end in ("low", "high")]
    assert bounds == pytest.approx(bootstrap.wilson(100, 200))


ALIKE = [  # outcomes, metric, value, low, high, status: what 25 items of one kind say
    ("all right", {"correct": 25}, "accuracy", 1, 0.8668, 1, ""),
    ("all wrong", {"wrong": 25}, "accuracy", 0, 0, 0.1332, ""),
    ("all wrong, so none truthful", {"wrong": 20, "unreadable": 5}, "truthfulness", 0, 0, 0.1332, ""),
    ("none refused", {"correct": 15, "wrong": 10}, "rejection_rate", 0, 0, 0.1332, ""),
    ("all refused", {"refused": 25}, "rejection_rate", 1, 0.8668, 1, ""),
    ("a mix of shares", {"correct": 25}, "reliability", 1, math.nan, math.nan, bootstrap.NO_WIDTH),
]


@pytest.mark.parametrize(
    "case, numbers, metric, share, low, high, status", ALIKE, ids=[row[0] for row in ALIKE]
)
def test_a_share_of_0_or_1_has_an_interval_with_a_width(case, numbers, metric, share, low, high, status):
    frame = metrics.evaluate(count_table(**numbers))
    result = [value(frame, metric, column=name) for name in ("value", "low", "high")]
    assert result == pytest.approx([share, low, high], abs=1e-4, nan_ok=True)
    assert value(frame, metric, column="status") == status


UNMOVED = [  # metric, low, high, status: what 20 right and 5 wrong answers that nothing changed say
    ("delta_con", 0, 0.1332, ""),
    ("refusal_hum", 0, 0.1332, ""),
    ("wrong_to_refused", 0, 25 * 0.1332, ""),
    ("accuracy_change", math.nan, math.nan, bootstrap.NO_WIDTH),
    ("youden", math.nan, math.nan, bootstrap.NO_WIDTH),
]


@pytest.mark.parametrize("metric, low, high, status", UNMOVED, ids=[row[0] for row in UNMOVED])
def test_nothing_that_changed_among_25_items_is_no_certainty_that_nothing_changes(metric, low, high, status):
    table = count_table(correct=20, wrong=5)
    frame = metrics.compare(table, table, [metric])
    result = [value(frame, metric, column=end) for end in ("low", "high")]
    assert result == pytest.approx([low, high], abs=0.003, nan_ok=True)
    assert (value(frame, metric), value(frame, metric, column="status")) == (0, status)


@pytest.mark.parametrize("share", [0.9, 0.98])
def test_the_interval_of_a_rare_event_covers_the_truth_where_the_bootstrap_has_no_width(share):
    rng, times, hits = np.random.default_rng(1), 300, 0
    for k, right in enumerate(rng.binomial(25, share, times)):
        draws = bootstrap.resample({"sound": np.array([right, 25 - right])}, n_boot=400, seed=k)[:, 0] / 25
        row = bootstrap.row("overall", "accuracy", right / 25, draws, n=25, maximum=1.0)
        hits += row["low"] <= share <= row["high"]
    assert hits / times > 0.9


def test_an_interval_from_which_most_resamples_fell_is_refused_and_says_so():
    resamples = np.array([math.nan] * 51 + [0.1, 0.2] * 24 + [0.3])
    row = bootstrap.row("overall", "rgi_excess", 0.2, resamples, n=4)
    assert math.isnan(row["low"])
    assert math.isnan(row["high"])
    assert (row["value"], row["undefined"]) == (0.2, 51)
    assert row["status"] == "no interval: 51 of 100 resamples undefined"
    half = bootstrap.row("overall", "rgi_excess", 0.2, resamples[2:], n=4)
    assert (half["low"], half["high"], half["status"]) == (0.1, 0.2, "")


def test_intervals_repeat_with_the_seed_and_ignore_row_order_and_other_modalities():
    table = run(["correct", "wrong", "refused"] * 40, ["sound", "music"] * 60)
    first = metrics.evaluate(table, seed=1)
    pd.testing.assert_frame_equal(first, metrics.evaluate(table.iloc[::-1], seed=1))
    alone = metrics.evaluate(table[table["modality"] == "sound"], seed=1)
    left, right = (frame[frame["group"] == "sound"].reset_index(drop=True) for frame in (first, alone))
    pd.testing.assert_frame_equal(left, right)
    assert not first["low"].equals(metrics.evaluate(table, seed=2)["low"])


PERCENTILES = [
    ("plain values", [1.0, 2, 3, 4, 5], (1, 5, 0, 0)),
    ("one undefined value is left out", [math.nan, 2, 3], (2, 3, 0, 1)),
    ("infinite values keep their place", [-math.inf, 2, math.inf], (-math.inf, math.inf, 2, 0)),
    ("nothing is defined", [math.nan], (math.nan, math.nan, 0, 1)),
]


@pytest.mark.parametrize(("case", "draws", "expected"), PERCENTILES, ids=[row[0] for row in PERCENTILES])
def test_percentile_intervals_say_what_they_left_out(case, draws, expected):
    assert bootstrap.percentile(np.array(draws)) == pytest.approx(expected, nan_ok=True)


def test_wilson_has_a_width_at_both_ends_and_none_without_items():
    assert bootstrap.wilson(0, 100) == pytest.approx((0, 0.03699348))
    assert bootstrap.wilson(100, 100) == pytest.approx((1 - 0.03699348, 1))
    assert all(math.isnan(bound) for bound in bootstrap.wilson(0, 0))


def test_nonsense_settings_are_refused():
    with pytest.raises(ValueError, match="n_boot = 0: at least one resample"):
        metrics.evaluate(count_table(correct=1), n_boot=0)
    with pytest.raises(ValueError, match="level = 95: a share inside"):
        metrics.compare(count_table(correct=1), count_table(correct=1), level=95)


def test_two_thousand_resamples_of_a_thousand_items_take_under_a_third_of_a_second():
    rng = np.random.default_rng(0)
    modality = list(rng.choice(["sound", "music", "speech"], 1000))
    before, after = (run(list(rng.choice(REPLY_OUTCOMES, 1000)), modality) for _ in range(2))
    seconds = []
    for _ in range(3):
        start = time.process_time()
        metrics.compare(before, after)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.3


def test_what_is_zero_but_for_rounding_is_zero_and_has_no_sign():
    row = bootstrap.row("all", "youden", -2.8e-17, np.array([-5.6e-17, 0.1, 5.6e-17, 0.2]), n=4)
    assert repr((row["value"], row["low"])) == "(0.0, 0.0)"


INTERVALS = [
    ("two digits", (0.6137, 0.5512, 0.6634), {}, "0.61 [0.55, 0.66]"),
    ("three digits", (0.6137, 0.5512, 0.6634), {"digits": 3}, "0.614 [0.551, 0.663]"),
    ("signed", (0.2, -0.1, 0.5), {"signed": True}, "+0.20 [-0.10, +0.50]"),
    ("no interval", (0.2, math.nan, math.nan), {}, "0.20"),
    ("no value", (math.nan, math.nan, math.nan), {"signed": True}, "undefined"),
    ("an infinite value", (math.inf, math.nan, math.nan), {"signed": True}, "+inf"),
    ("an infinite bound", (0.2, 0.1, math.inf), {}, "0.20 [0.10, inf]"),
    ("an open bound", (0.2, -math.inf, 0.5), {"infinite": "open"}, "0.20 [open, 0.50]"),
]


@pytest.mark.parametrize("case, numbers, options, text", INTERVALS, ids=[row[0] for row in INTERVALS])
def test_an_interval_is_written_in_one_form(case, numbers, options, text):
    assert bootstrap.interval_text(*numbers, **options) == text


# Weights by item.

STRATA = ["sound"] * 3 + ["music"] * 2


def test_every_stratum_keeps_its_number_of_items_in_every_resample():
    draws = bootstrap.weights(STRATA, n_boot=200, seed=1)
    assert draws.shape == (200, 5)
    assert set(draws[:, :3].sum(1)) == {3}
    assert set(draws[:, 3:].sum(1)) == {2}
    assert len({tuple(row) for row in draws}) > 10


def test_each_item_is_drawn_once_on_average():
    draws = bootstrap.weights(["sound"] * 20, n_boot=4000, seed=0)
    assert np.allclose(draws.mean(0), 1, atol=0.1)


def test_a_stratum_is_drawn_the_same_whatever_is_beside_it():
    together, alone = bootstrap.weights(STRATA, n_boot=50), bootstrap.weights(["sound"] * 3, n_boot=50)
    assert np.array_equal(together[:, :3], alone)
    assert not np.array_equal(bootstrap.weights(STRATA, n_boot=50, seed=9), together)


def test_no_items_cannot_be_resampled():
    with pytest.raises(ValueError, match=r"^no items to resample: check for none before$"):
        bootstrap.weights([])


def test_a_ratio_is_that_of_the_sums_over_the_items_drawn():
    top, bottom = np.array([1, 0, 3]), np.array([2, 4, 3])
    value, resampled = bootstrap.ratio(top, bottom, np.array([[1, 1, 1], [3, 0, 0], [0, 2, 1]]))
    assert value == pytest.approx(4 / 9)
    assert resampled == pytest.approx([4 / 9, 1 / 2, 3 / 11])


def test_a_ratio_over_nothing_is_undefined_not_zero():
    value, resampled = bootstrap.ratio(np.array([0.0, 1.0]), np.array([0, 1]), np.array([[2, 0], [1, 1]]))
    assert value == 1
    assert np.isnan(resampled[0])
    assert resampled[1] == 1
    assert np.isnan(bootstrap.ratio(np.zeros(2), np.zeros(2), np.ones((1, 2)))[0])
