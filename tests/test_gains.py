"""Gains: known flows, what is undefined, pairing, and the moving zero of RGI."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome_tables import cells, counted, moved, run, value

from lalm_utils import gains, metrics
from lalm_utils.flows import ANSWERED, NAMES, Flows
from lalm_utils.outcomes import OutcomeError

PAIR = {
    "correct_to_correct": 50, "correct_to_refused": 6, "correct_to_wrong": 3, "correct_to_unreadable": 1,
    "wrong_to_wrong": 20, "wrong_to_refused": 15, "wrong_to_correct": 4, "unreadable_to_wrong": 1,
}  # fmt: skip


def test_gain_of_known_flows():
    frame = metrics.gain(*moved(**PAIR), n_boot=50)
    expected = {
        "n": 100, "correct_to_refused": 6, "correct_to_wrong": 4, "wrong_to_refused": 15,
        "wrong_to_correct": 4, "correct_to_correct": 50, "wrong_to_wrong": 21,
        "unreadable_before": 1, "unreadable_after": 1,
        "delta_con": 0.10, "delta_hum": 0.19, "rgi": math.log10(1.9), "rgi_null": math.log10(40 / 60),
        "rgi_excess": math.log10(1.9) - math.log10(40 / 60),
        "refusal_con": 0.06, "refusal_hum": 0.15, "refusal_rgi": math.log10(2.5),
        "refusal_excess": math.log10(2.5) - math.log10(40 / 60),
    }  # fmt: skip
    assert {name: value(frame, name) for name in expected} == pytest.approx(expected)
    assert (frame["status"] == "").all()


def test_an_unreadable_reply_that_stays_unreadable_or_wrong_is_no_humbleness():
    flows = cells(
        unreadable_to_unreadable=2,
        unreadable_to_wrong=1,
        wrong_to_unreadable=1,
        wrong_to_refused=1,
        correct_to_correct=5,
    )
    assert gains.delta_hum(flows) == pytest.approx(0.1)


def test_what_the_baseline_refused_is_neither_right_nor_wrong_but_is_shown():
    frame = metrics.gain(
        *moved(correct_to_wrong=2, wrong_to_correct=4, refused_to_correct=3, refused_to_wrong=1), n_boot=10
    )
    assert (value(frame, "delta_con"), value(frame, "delta_hum")) == (0.2, 0.4)
    assert (value(frame, "refused_to_correct"), value(frame, "refused_to_wrong")) == (3, 1)
    assert value(frame, "rgi_null") == pytest.approx(math.log10(4 / 2))


def test_rows_are_paired_by_item_not_by_position():
    before, after = moved(**PAIR)
    shuffled = after.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(metrics.gain(before, shuffled), metrics.gain(before, after))


UNDEFINED = [
    ("nothing right was lost", {"correct_to_correct": 5, "wrong_to_refused": 5}, math.inf, "delta_con = 0"),
    (
        "nothing wrong was given up",
        {"correct_to_refused": 5, "wrong_to_wrong": 5},
        -math.inf,
        "delta_hum = 0",
    ),
    (
        "nothing changed",
        {"correct_to_correct": 5, "wrong_to_wrong": 5},
        math.nan,
        "delta_con = 0, delta_hum = 0",
    ),
    ("the baseline was never wrong", {"correct_to_refused": 5}, -math.inf, "delta_hum = 0"),
]


@pytest.mark.parametrize(("case", "flows", "index", "status"), UNDEFINED, ids=[row[0] for row in UNDEFINED])
def test_an_rgi_that_is_not_finite_says_so_and_has_no_interval(case, flows, index, status):
    frame = metrics.gain(*moved(**flows), n_boot=100)
    assert value(frame, "rgi") == pytest.approx(index, nan_ok=True)
    assert value(frame, "rgi", column="status") == status
    assert math.isnan(value(frame, "rgi", column="low"))
    assert math.isnan(value(frame, "rgi", column="high"))


def test_a_null_without_right_or_wrong_answers_says_so():
    frame = metrics.gain(*moved(correct_to_refused=3, correct_to_correct=5), n_boot=10)
    assert value(frame, "rgi_null", column="status") == "Nw = 0"
    assert value(frame, "rgi_excess", column="status") == "delta_hum = 0, Nw = 0"


def test_resamples_that_are_not_finite_are_counted_and_may_open_a_bound():
    frame = metrics.gain(
        *moved(correct_to_correct=50, correct_to_refused=1, wrong_to_refused=1, wrong_to_wrong=48)
    )
    [row] = frame[(frame["metric"] == "rgi") & (frame["group"] == "overall")].to_dict("records")
    # Neither of the two moved items is drawn with probability 0.98^100 = 0.13, one of them alone with 0.47.
    assert 200 < row["undefined"] < 330
    assert 780 < row["infinite"] < 1100
    assert row["low"] == -math.inf
    assert row["high"] == math.inf
    assert row["value"] == 0


REFUSED_PAIRS = [
    (
        "an item only before",
        run(["correct", "wrong"]),
        run(["correct"]),
        r"1 only before \['q1'\], 0 only after",
    ),
    (
        "an item only after",
        run(["wrong"]),
        run(["wrong", "wrong"]),
        r"0 only before \[\], 1 only after \['q1'\]",
    ),
    ("a failed row before", run(["failed"]), run(["correct"]), "before: 1 of 1 rows failed, e.g. 'q0'"),
    ("a failed row after", run(["correct"]), run(["failed"]), "after: 1 of 1 rows failed, e.g. 'q0'"),
    (
        "an item twice",
        run(["wrong"]),
        pd.concat([run(["wrong"])] * 2),
        "after: 1 items occur more than once, e.g. 'q0'",
    ),
    (
        "an unanswerable item",
        run(["wrong"], answerable=False),
        run(["wrong"]),
        "before: 1 unanswerable items",
    ),
    (
        "another modality",
        run(["wrong"]),
        run(["wrong"], "music"),
        r"'q0' has another modality before \(sound\) than after",
    ),
    (
        "another gold option",
        run(["wrong"], gold=1),
        run(["wrong"], gold=2),
        r"another gold before \(1\) than after \(2\)",
    ),
]


@pytest.mark.parametrize(
    ("case", "before", "after", "message"), REFUSED_PAIRS, ids=[row[0] for row in REFUSED_PAIRS]
)
def test_tables_that_do_not_pair_are_refused(case, before, after, message):
    with pytest.raises(OutcomeError, match=message):
        metrics.gain(before, after)


def test_an_item_that_failed_on_one_side_is_excluded_by_name_from_both():
    before, after = run(["correct", "wrong", "wrong"]), run(["correct", "failed", "refused"])
    frame = metrics.gain(before, after, exclude=["q1"], n_boot=10)
    assert (value(frame, "n"), value(frame, "excluded"), value(frame, "delta_hum")) == (2, 1, 0.5)
    with pytest.raises(OutcomeError, match=r"exclude names \['q9'\], in neither table"):
        metrics.gain(before, after, exclude=["q9"])


def test_the_flow_table_holds_every_item_once():
    before, after = moved(**PAIR)
    folded = metrics.flow_table(before, after).query("group == 'overall'")
    apart = metrics.flow_table(before, after, unreadable="apart").query("group == 'overall'")
    assert len(folded) == 9
    assert len(apart) == 16
    assert folded["count"].sum() == apart["count"].sum() == 100
    assert folded["share"].sum() == pytest.approx(1)
    assert folded.set_index(["before", "after"])["count"]["correct", "wrong"] == 4
    assert apart.set_index(["before", "after"])["count"]["correct", "unreadable"] == 1
    with pytest.raises(ValueError, match="unreadable = 'hidden'"):
        metrics.flow_table(before, after, unreadable="hidden")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ANSWERED), st.sampled_from(ANSWERED)), min_size=1, max_size=40))
def test_flows_account_for_every_change_of_the_metrics(pairs):
    before, after = run([old for old, _ in pairs]), run([new for _, new in pairs])
    change = metrics.accuracy(metrics.count(after)) - metrics.accuracy(metrics.count(before))
    frame = metrics.gain(before, after, n_boot=1)
    flow = {name: value(frame, name) for name in NAMES}
    assert sum(flow.values()) == len(pairs)
    won = flow["wrong_to_correct"] + flow["refused_to_correct"]
    lost = flow["correct_to_wrong"] + flow["correct_to_refused"]
    assert change == pytest.approx((won - lost) / len(pairs))


def test_a_run_gains_nothing_over_itself():
    table = counted(correct=5, wrong=3, refused=2)
    frame = metrics.gain(table, table, n_boot=10)
    assert value(frame, "delta_con") == value(frame, "delta_hum") == 0
    assert math.isnan(value(frame, "rgi"))


# The moving zero of RGI.


@pytest.mark.parametrize(
    ("n_correct", "n_wrong", "null"), [(203, 130, -0.19), (300, 700, 0.37), (500, 500, 0.0)]
)
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_refusing_a_random_share_gives_log10_of_wrong_over_right(n_correct, n_wrong, null, share):
    rng = np.random.default_rng(7)
    scale, times = 100, 400  # so many items that the logarithm of a ratio has no visible bias
    lost, gained = rng.binomial(n_correct * scale, share, times), rng.binomial(n_wrong * scale, share, times)
    table = np.zeros((times, 4, 4), int)
    table[:, 0, 0], table[:, 0, 2] = n_correct * scale - lost, lost
    table[:, 1, 1], table[:, 1, 2] = n_wrong * scale - gained, gained
    flows = Flows(cells=table)
    assert gains.rgi(flows).mean() == pytest.approx(math.log10(n_wrong / n_correct), abs=0.003)
    assert gains.rgi_null(flows)[0] == pytest.approx(null, abs=0.005)
    assert gains.rgi_excess(flows).mean() == pytest.approx(0, abs=0.003)
    assert gains.refusal_excess(flows).mean() == pytest.approx(0, abs=0.003)


def test_pure_answer_churn_moves_rgi_but_not_the_refusal_only_gain():
    frame = metrics.gain(
        *moved(correct_to_correct=40, correct_to_wrong=10, wrong_to_correct=20, wrong_to_wrong=30), n_boot=10
    )
    assert value(frame, "rgi") == pytest.approx(math.log10(2))
    assert value(frame, "refusal_rgi", column="status") == "refusal_con = 0, refusal_hum = 0"


def test_replies_drawn_anew_move_the_excess_but_not_the_refusal_only_one():
    before, after = np.array([600, 400, 0, 0]), np.array([50, 30, 20, 0])
    flows = Flows(cells=np.outer(before, after) // 100)
    assert gains.rgi_excess(flows) == pytest.approx(math.log10((0.5 + 0.2) / (1 - 0.5)))
    assert gains.refusal_excess(flows) == pytest.approx(0)


def test_the_excess_is_the_ratio_of_the_chances_to_be_given_up():
    flows = cells(correct_to_correct=150, correct_to_refused=50, wrong_to_wrong=60, wrong_to_refused=40)
    assert gains.rgi_excess(flows) == pytest.approx(math.log10((40 / 100) / (50 / 200)))
