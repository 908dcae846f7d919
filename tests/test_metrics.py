"""Metrics: golden counts, identities, groups, refusals by kind; known transitions, pairing, the moving zero of RGI."""

from __future__ import annotations

import doctest
import inspect
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome_tables import cells, count_table, letters, run, transition_tables, value

from lalm_utils import bootstrap, comparison, metrics
from lalm_utils.metrics import Transitions
from lalm_utils.outcomes import REPLY_OUTCOMES, OutcomeError

GOLDEN = [
    # name, counts, accuracy, truthfulness, rejection rate, reliability
    ("all correct", {"correct": 8}, 1, 1, 0, 1),
    ("all wrong", {"wrong": 8}, 0, 0, 0, 0),
    ("refuse everything", {"refused": 8}, 0, 1, 1, 0),
    ("never refuse: reliability is accuracy", {"correct": 3, "wrong": 1}, 0.75, 0.75, 0, 0.75),
    ("ten rows by hand", {"correct": 5, "wrong": 2, "refused": 2, "unreadable": 1}, 0.5, 0.7, 0.2, 0.66),
    ("unreadable counts as wrong", {"correct": 1, "unreadable": 3}, 0.25, 0.25, 0, 0.25),
    ("half refused, half right", {"correct": 4, "refused": 4}, 0.5, 1, 0.5, 0.75),
]


@pytest.mark.parametrize(
    ("case", "numbers", "acc", "truth", "rej", "rel"), GOLDEN, ids=[row[0] for row in GOLDEN]
)
def test_metrics_of_known_counts(case, numbers, acc, truth, rej, rel):
    frame = metrics.evaluate(count_table(**numbers), n_boot=10)
    got = [value(frame, name) for name in ("accuracy", "truthfulness", "rejection_rate", "reliability")]
    assert got == pytest.approx([acc, truth, rej, rel])
    assert value(frame, "unreadable") == numbers.get("unreadable", 0)
    assert value(frame, "wrong") == numbers.get("wrong", 0)


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(sum))
def test_reliability_is_accuracy_plus_rej_times_one_minus_rej(numbers):
    counts = metrics.Counts(cells=np.array(numbers))
    acc, rej = metrics.accuracy(counts), metrics.rejection_rate(counts)
    assert metrics.reliability(counts) == pytest.approx(acc + rej * (1 - rej))
    assert metrics.truthfulness(counts) == pytest.approx(acc + rej)


def test_refusing_blindly_raises_reliability_as_the_docstring_says():
    share, accuracy = 0.2, 0.55
    answered_share = 1 - share
    counts = metrics.Counts(
        cells=np.array(
            [1000 * accuracy * answered_share, 1000 * (1 - accuracy) * answered_share, 1000 * share, 0]
        )
    )
    assert metrics.reliability(counts) == pytest.approx(answered_share * (accuracy + share))
    assert metrics.reliability(counts) > accuracy


def test_evaluate_gives_every_modality_and_the_pooled_group_in_one_tidy_frame():
    table = run(["correct", "wrong", "refused", "correct"], ["speech", "sound", "sound", "music"])
    frame = metrics.evaluate(table, n_boot=10)
    assert list(frame.columns) == list(bootstrap.COLUMNS)
    assert list(dict.fromkeys(frame["group"])) == ["sound", "music", "speech", "overall"]
    assert value(frame, "rejection_rate", "sound") == 0.5
    assert value(frame, "accuracy") == 0.5
    assert value(frame, "n") == 4


def test_evaluate_groups_by_any_column():
    table = count_table(correct=6, wrong=4).assign(level=["easy"] * 5 + ["hard"] * 5)
    frame = metrics.evaluate(table, by="level", n_boot=10)
    assert (value(frame, "accuracy", "easy"), value(frame, "accuracy", "hard")) == (1, 0.2)


def test_an_excluded_failed_row_is_reported_and_not_counted():
    table = count_table(correct=3, wrong=1, failed=2)
    with pytest.raises(OutcomeError, match=r"2 of 6 rows failed, e.g. 'q4', 'q5'"):
        metrics.evaluate(table)
    frame = metrics.evaluate(table, exclude=["q4", "q5"], n_boot=10)
    assert [value(frame, name) for name in ("n", "failed", "excluded", "accuracy")] == [4, 2, 2, 0.75]
    assert frame.attrs["excluded"] == ["q4", "q5"]


def test_a_group_of_which_nothing_is_left_is_shown_as_empty():
    table = run(["correct", "failed"], ["sound", "music"])
    frame = metrics.evaluate(table, exclude=["q1"], n_boot=10)
    assert math.isnan(value(frame, "accuracy", "music"))
    assert value(frame, "accuracy", "music", "status") == "no items"
    assert value(frame, "accuracy") == 1


def test_unanswerable_rows_never_enter_accuracy():
    table = count_table(correct=3).assign(answerable=[True, True, False])
    with pytest.raises(OutcomeError, match=r"1 unanswerable items, e.g. 'q2'.*refusal_by_kind"):
        metrics.evaluate(table)


CUT = [
    # name, outcomes, whether each item's clip was cut, (cut, accuracy, accuracy without)
    ("none is cut", "cw", [False, False], (0, 0.5, 0.5)),
    ("the wrong one is cut", "cw", [False, True], (1, 0.5, 1.0)),
    ("a refused one is cut", "ccrw", [False, False, True, False], (1, 0.5, 2 / 3)),
    ("all are cut", "cw", [True, True], (2, 0.5, math.nan)),
]


@pytest.mark.parametrize(("case", "letters", "cut", "expected"), CUT, ids=[row[0] for row in CUT])
def test_cut_clips_are_counted_and_left_out(case, letters, cut, expected):
    names = {"c": "correct", "w": "wrong", "r": "refused"}
    frame = metrics.cut_clips(run([names[letter] for letter in letters], truncated=cut))
    assert list(frame["group"]) == ["sound", "overall"]
    for row in frame.itertuples():
        assert (row.cut, row.accuracy, row.accuracy_without) == pytest.approx(expected, nan_ok=True)
        assert row.n == len(letters)


# Refusals by kind.


def mixed_table() -> pd.DataFrame:
    table = count_table(correct=60, wrong=20, refused=20)
    silent = count_table(wrong=5, refused=45).assign(answerable=False, kind="inaudible", reason="silence")
    wrong_clip = count_table(wrong=28, refused=20, unreadable=2).assign(
        answerable=False, kind="ungrounded", reason="wrong_category"
    )
    joined = pd.concat([table.assign(kind="", reason=""), silent, wrong_clip], ignore_index=True)
    return joined.assign(item=[f"q{i}" for i in range(len(joined))], novel=joined.index < 30)


def test_refusals_of_each_kind_stand_beside_those_of_answerable_items():
    frame = metrics.refusal_by_kind(mixed_table())
    overall = frame[(frame["group"] == "overall")]
    assert list(dict.fromkeys(overall["kind"])) == ["answerable", "inaudible", "ungrounded"]
    rates = overall.set_index(["kind", "metric"])["value"]
    assert rates["answerable", "refusal_rate"] == 0.2
    assert rates["answerable", "answer_rate"] == 0.8
    assert rates["inaudible", "refusal_rate"] == 0.9
    assert rates["ungrounded", "unreadable_rate"] == 0.04
    first = overall.iloc[0]
    assert (first["low"], first["high"]) == pytest.approx((0.133367, 0.288829), abs=1e-6)  # Wilson, 20 of 100


def test_refusals_split_by_reason_and_by_novel_content():
    by_reason = metrics.refusal_by_kind(mixed_table(), by="reason", novel=True)
    assert list(dict.fromkeys(by_reason["kind"])) == [
        "answerable, known content", "answerable, novel content", "silence", "wrong_category",
    ]  # fmt: skip


def test_refusals_are_refused_for_failed_rows_and_for_items_without_a_kind():
    table = mixed_table()
    with pytest.raises(OutcomeError, match=r"1 of 200 rows failed, e.g. 'q0'"):
        metrics.refusal_by_kind(table.assign(outcome=["failed", *table["outcome"][1:]]))
    with pytest.raises(OutcomeError, match="'q100' is unanswerable but has no kind"):
        metrics.refusal_by_kind(table.assign(kind=""))
    with pytest.raises(OutcomeError, match="by = 'modality': it is 'kind' or 'reason'"):
        metrics.refusal_by_kind(table, by="modality")


# What changed from one run to another.

PAIR = {
    "correct_to_correct": 50, "correct_to_refused": 6, "correct_to_wrong": 3, "correct_to_unreadable": 1,
    "wrong_to_wrong": 20, "wrong_to_refused": 15, "wrong_to_correct": 4, "unreadable_to_wrong": 1,
}  # fmt: skip


def test_gains_of_known_transitions():
    frame = metrics.compare(*transition_tables(**PAIR), n_boot=50)
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
    assert metrics.delta_hum(flows, flows) == pytest.approx(0.1)


def test_what_the_baseline_refused_is_neither_right_nor_wrong_but_is_shown():
    frame = metrics.compare(
        *transition_tables(correct_to_wrong=2, wrong_to_correct=4, refused_to_correct=3, refused_to_wrong=1),
        n_boot=10,
    )
    assert (value(frame, "delta_con"), value(frame, "delta_hum")) == (0.2, 0.4)
    assert (value(frame, "refused_to_correct"), value(frame, "refused_to_wrong")) == (3, 1)
    assert value(frame, "rgi_null") == pytest.approx(math.log10(4 / 2))


def test_rows_are_paired_by_item_not_by_position():
    before, after = transition_tables(**PAIR)
    shuffled = after.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(metrics.compare(before, shuffled), metrics.compare(before, after))


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
    frame = metrics.compare(*transition_tables(**flows), n_boot=100)
    assert value(frame, "rgi") == pytest.approx(index, nan_ok=True)
    assert value(frame, "rgi", column="status") == status
    assert math.isnan(value(frame, "rgi", column="low"))
    assert math.isnan(value(frame, "rgi", column="high"))


def test_a_null_without_right_or_wrong_answers_says_so():
    frame = metrics.compare(*transition_tables(correct_to_refused=3, correct_to_correct=5), n_boot=10)
    assert value(frame, "rgi_null", column="status") == "Nw = 0"
    assert value(frame, "rgi_excess", column="status") == "delta_hum = 0, Nw = 0"


def test_resamples_that_are_not_finite_are_counted_and_may_open_a_bound():
    frame = metrics.compare(
        *transition_tables(correct_to_correct=50, correct_to_refused=1, wrong_to_refused=1, wrong_to_wrong=48)
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
        metrics.compare(before, after)


def test_an_item_that_failed_on_one_side_is_excluded_by_name_from_both():
    before, after = run(["correct", "wrong", "wrong"]), run(["correct", "failed", "refused"])
    frame = metrics.compare(before, after, exclude=["q1"], n_boot=10)
    assert (value(frame, "n"), value(frame, "excluded"), value(frame, "delta_hum")) == (2, 1, 0.5)
    with pytest.raises(OutcomeError, match=r"exclude names \['q9'\], in neither table"):
        metrics.compare(before, after, exclude=["q9"])


def test_the_transition_table_holds_every_item_once():
    before, after = transition_tables(**PAIR)
    folded = metrics.transition_table(before, after).query("group == 'overall'")
    apart = metrics.transition_table(before, after, unreadable="apart").query("group == 'overall'")
    assert len(folded) == 9
    assert len(apart) == 16
    assert folded["count"].sum() == apart["count"].sum() == 100
    assert folded["share"].sum() == pytest.approx(1)
    assert folded.set_index(["before", "after"])["count"]["correct", "wrong"] == 4
    assert apart.set_index(["before", "after"])["count"]["correct", "unreadable"] == 1
    with pytest.raises(ValueError, match="unreadable = 'hidden'"):
        metrics.transition_table(before, after, unreadable="hidden")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(REPLY_OUTCOMES), st.sampled_from(REPLY_OUTCOMES)), min_size=1, max_size=40
    )
)
def test_transitions_account_for_every_change_of_the_metrics(pairs):
    before, after = run([old for old, _ in pairs]), run([new for _, new in pairs])
    change = metrics.accuracy(after) - metrics.accuracy(before)
    frame = metrics.compare(before, after, n_boot=1)
    count = {name: value(frame, name) for name in metrics.TRANSITIONS}
    assert sum(count.values()) == len(pairs)
    won = count["wrong_to_correct"] + count["refused_to_correct"]
    n_lost = count["correct_to_wrong"] + count["correct_to_refused"]
    assert change == pytest.approx((won - n_lost) / len(pairs))


def test_a_run_gains_nothing_over_itself():
    table = count_table(correct=5, wrong=3, refused=2)
    frame = metrics.compare(table, table, n_boot=10)
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
    n_lost, n_gained = (
        rng.binomial(n_correct * scale, share, times),
        rng.binomial(n_wrong * scale, share, times),
    )
    table = np.zeros((times, 4, 4), int)
    table[:, 0, 0], table[:, 0, 2] = n_correct * scale - n_lost, n_lost
    table[:, 1, 1], table[:, 1, 2] = n_wrong * scale - n_gained, n_gained
    flows = Transitions(cells=table)
    assert metrics.rgi(flows, flows).mean() == pytest.approx(math.log10(n_wrong / n_correct), abs=0.003)
    assert metrics.rgi_null(flows, flows)[0] == pytest.approx(null, abs=0.005)
    assert metrics.rgi_excess(flows, flows).mean() == pytest.approx(0, abs=0.003)
    assert metrics.refusal_excess(flows, flows).mean() == pytest.approx(0, abs=0.003)


def test_pure_answer_churn_moves_rgi_but_not_the_refusal_only_gain():
    frame = metrics.compare(
        *transition_tables(
            correct_to_correct=40, correct_to_wrong=10, wrong_to_correct=20, wrong_to_wrong=30
        ),
        n_boot=10,
    )
    assert value(frame, "rgi") == pytest.approx(math.log10(2))
    assert value(frame, "refusal_rgi", column="status") == "refusal_con = 0, refusal_hum = 0"


def test_replies_drawn_anew_move_the_excess_but_not_the_refusal_only_one():
    before, after = np.array([600, 400, 0, 0]), np.array([50, 30, 20, 0])
    flows = Transitions(cells=np.outer(before, after) // 100)
    assert metrics.rgi_excess(flows, flows) == pytest.approx(math.log10((0.5 + 0.2) / (1 - 0.5)))
    assert metrics.refusal_excess(flows, flows) == pytest.approx(0)


def test_the_excess_is_the_ratio_of_the_chances_to_be_given_up():
    flows = cells(correct_to_correct=150, correct_to_refused=50, wrong_to_wrong=60, wrong_to_refused=40)
    assert metrics.rgi_excess(flows, flows) == pytest.approx(math.log10((40 / 100) / (50 / 200)))


# Plain tables in, numbers out.


@pytest.mark.parametrize("module", [metrics, bootstrap], ids=lambda module: module.__name__)
def test_the_examples_of_the_docstrings_are_true(module):
    failures, tests = doctest.testmod(module)
    assert (failures, tests > 0) == (0, True)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_a_metric_of_a_plain_table_is_the_value_that_evaluate_gives(name):
    table = count_table(correct=5, wrong=2, refused=2, unreadable=1)
    result = metrics.METRICS[name](table)
    assert isinstance(result, float)
    assert result == value(metrics.evaluate(table, n_boot=1), name)


@pytest.mark.parametrize("name", [*metrics.GAINS, *metrics.OTHERS])
def test_a_metric_of_two_plain_tables_is_the_value_that_compare_gives(name):
    before, after = transition_tables(**PAIR)
    result = (metrics.GAINS | metrics.OTHERS)[name](before, after)
    assert isinstance(result, float)
    assert result == value(metrics.compare(before, after, [name], n_boot=1), name)


def test_metrics_of_plain_tables_refuse_what_evaluate_and_compare_refuse():
    table = count_table(correct=1, failed=1)
    with pytest.raises(OutcomeError, match=r"1 of 2 rows failed, e.g. 'q1'"):
        metrics.accuracy(table)
    with pytest.raises(OutcomeError, match=r"before: 1 of 2 rows failed, e.g. 'q1'"):
        metrics.rgi(table, table)
    with pytest.raises(OutcomeError, match=r"1 only before \['q1'\]"):
        metrics.delta_con(run(["correct", "wrong"]), run(["correct"]))


def test_functions_that_a_notebook_shows_are_short():
    functions = [*metrics.METRICS.values(), *metrics.GAINS.values(), *metrics.OTHERS.values()]
    functions += [metrics.blind_refusals, metrics.stratified_excess, metrics.stratified_youden]
    for function in (*functions, metrics.refusal_share, metrics.youden_at_share, comparison.random_refusal):
        assert len(inspect.getsource(function).splitlines()) <= 12, function.__name__


MARGINS = [
    ("nothing changed", "ccccwwww", 0.0),
    ("every wrong answer refused", "ccccrrrr", 1.0),
    ("every right answer refused", "rrrrwwww", -1.0),
    ("all refused", "rrrrrrrr", 0.0),
    ("half of each refused", "ccrrwwrr", 0.0),
    ("answers that changed without a refusal", "wccccwcw", 0.0),
    ("two wrong ones and a right one refused", "cccrcrrw", 0.25),
]


@pytest.mark.parametrize("case, after, expected", MARGINS, ids=[row[0] for row in MARGINS])
def test_youdens_j_of_refusals_is_zero_for_random_refusal_and_always_finite(case, after, expected):
    before = letters("ccccwwww")
    assert metrics.refusal_youden_j(before, letters(after)) == pytest.approx(expected)
    excess = value(metrics.compare(before, letters(after)), "refusal_excess")
    assert expected == 0 or np.isnan(excess) or np.sign(excess) == np.sign(expected)


def test_youdens_j_of_refusals_without_wrong_answers_is_what_was_given_up():
    assert metrics.refusal_youden_j(letters("cccc"), letters("cccr")) == -0.25


def test_youdens_j_of_refusals_leaves_out_what_failed_on_either_side():
    assert metrics.refusal_youden_j(letters("ccwwf"), letters("ccrfr")) == 1.0


# Zeros of their own: blind refusal within parts of the items, and answers drawn anew.


def blind_within_parts(seed: int, n: int = 4000) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A model that is mostly wrong on novel items, and a policy that refuses most of these without listening."""
    rng = np.random.default_rng(seed)
    novel = rng.random(n) < 0.3
    before = run(list(np.where(rng.random(n) < np.where(novel, 0.2, 0.8), "correct", "wrong")), novel=novel)
    refusals = rng.random(n) < np.where(novel, 0.6, 0.1)
    return before, before.assign(outcome=before["outcome"].mask(refusals, "refused"))


def test_refusing_at_random_within_parts_beats_the_pooled_null_and_not_the_stratified_one():
    pairs = [blind_within_parts(seed) for seed in range(10)]
    pooled = [metrics.refusal_excess(*pair) for pair in pairs]
    within = [metrics.stratified_excess(*pair, ["novel"]) for pair in pairs]
    assert min(pooled) > 0.3
    assert np.mean(within) == pytest.approx(0, abs=0.02)
    assert np.mean([metrics.stratified_youden(*pair, ["novel"]) for pair in pairs]) == pytest.approx(
        0, abs=0.01
    )
    assert np.mean([metrics.refusal_youden_j(*pair) for pair in pairs]) > 0.15


def test_with_one_part_the_stratified_excess_is_the_refusal_only_one():
    before, after = transition_tables(**PAIR)
    assert metrics.stratified_excess(before, after) == pytest.approx(metrics.refusal_excess(before, after))
    assert metrics.stratified_youden(before, after) == pytest.approx(metrics.refusal_youden_j(before, after))
    assert metrics.stratified_excess(before, after, ["modality"]) == metrics.stratified_excess(before, after)


def test_blind_refusals_within_parts_by_hand():
    parts = [cells(correct_to_refused=1, correct_to_correct=3, wrong_to_wrong=4),  # 1 of 8 answers refused
             cells(correct_to_correct=2, wrong_to_refused=2, refused_to_refused=5)]  # 2 of 4  # fmt: skip
    assert metrics.blind_refusals(parts) == pytest.approx((0.5 + 1, 0.5 + 1))
    assert metrics.stratified_excess(parts, parts) == pytest.approx(math.log10(2 / 1))
    assert metrics.stratified_youden(parts, parts) == pytest.approx((2 - 1.5) / 6 - (1 - 1.5) / 6)


@given(st.integers(1, 99), st.integers(1, 99), st.integers(1, 9), st.integers(0, 9))
def test_giving_up_the_same_share_of_both_sides_has_an_excess_of_exactly_zero(right, wrong, parts, others):
    refusals = {"correct_to_refused": right * parts, "wrong_to_refused": wrong * parts}
    pairs = cells(**refusals, correct_to_correct=right * others, wrong_to_wrong=wrong * others)
    assert repr(metrics.rgi_excess(pairs, pairs)) == repr(metrics.refusal_excess(pairs, pairs)) == "0.0"


def test_churn_where_no_right_answer_is_repeated_is_undefined_without_a_warning():
    pairs = cells(correct_to_refused=2, wrong_to_correct=2)
    resamples = Transitions(cells=np.stack([pairs.cells, pairs.cells]))
    assert np.isnan(metrics.churn_youden(resamples, resamples)).all()


@pytest.mark.parametrize("accuracy, excess", [(0.65, 0.269), (0.5, 0.0), (0.3, -0.368)])
def test_churn_alone_gives_its_own_excess_and_j(accuracy, excess):
    rng, n, share = np.random.default_rng(3), 200_000, 0.1
    right = rng.random(n) < accuracy
    redrawn = np.where(rng.random(n) < share, rng.random(n) < accuracy, right)
    table = np.zeros((4, 4), int)
    table[:2, :2] = np.histogram2d(~right, ~redrawn, bins=2, range=[[0, 1], [0, 1]])[0]
    before = after = Transitions(cells=table)
    assert metrics.churn_excess(before, after) == pytest.approx(excess, abs=0.01)
    assert metrics.rgi_excess(before, after) == pytest.approx(excess, abs=0.03)
    assert metrics.churn_share(before, after) == pytest.approx(share, abs=0.005)
    assert metrics.churn_youden(before, after) == pytest.approx(share * (2 * accuracy - 1), abs=0.003)
    assert metrics.youden_j(before, after) == pytest.approx(metrics.churn_youden(before, after), abs=0.005)
    assert metrics.refusal_youden_j(before, after) == 0


def test_at_an_equal_share_a_run_keeps_its_refusals_by_chance():
    before, after = transition_tables(
        correct_to_correct=40, correct_to_refused=20, wrong_to_refused=30, wrong_to_wrong=10
    )
    assert metrics.refusal_share(before, after) == 0.5
    assert metrics.refusal_youden_j(before, after) == pytest.approx(3 / 4 - 1 / 3)
    kept = np.random.default_rng(0).hypergeometric(30, 20, 20, 4000)  # wrong ones of 20 that stay refused
    draws = kept / 40 - (20 - kept) / 60
    assert metrics.youden_at_share(before, after, 0.2) == pytest.approx(np.mean(draws), abs=0.01)
    assert metrics.youden_at_share(before, after, 0.2) == pytest.approx((3 / 4 - 1 / 3) * 0.4)
    assert metrics.youden_at_share(before, after, 0.9) == metrics.refusal_youden_j(before, after)
    assert metrics.youden_at_share(before, before, 0.0) == 0
