"""Paired tests: McNemar against its definition, Holm against published examples, pairing, changes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome_tables import cells, counted, moved, run, value

from lalm_utils import bootstrap, gains, metrics, paired
from lalm_utils.outcomes import OutcomeError

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_mcnemar_doubles_the_smaller_tail_of_a_fair_coin():
    tail = sum(math.comb(10, k) for k in range(2)) / 2**10
    assert paired.mcnemar(1, 9) == pytest.approx(2 * tail)
    assert paired.mcnemar(9, 1) == pytest.approx(2 * tail)


@pytest.mark.parametrize("gained, lost", [(0, 0), (3, 3), (1, 0)])
def test_mcnemar_finds_nothing_where_there_is_nothing_to_find(gained, lost):
    assert paired.mcnemar(gained, lost) == 1


def test_mcnemar_errs_no_more_often_than_it_says():
    chance = {k: math.comb(40, k) / 2**40 for k in range(41)}
    errs = sum(share for k, share in chance.items() if paired.mcnemar(k, 40 - k) < 0.05)
    assert 0.01 < errs <= 0.05


PUBLISHED = [
    ("Wikipedia, Holm-Bonferroni method", [0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
    ("stdlib.io, stats/padjust", [0.319, 0.201, 0.4, 0.374, 0.113], [0.957, 0.804, 0.957, 0.957, 0.565]),
]


@pytest.mark.parametrize("source, raw, adjusted", PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_holm_gives_the_published_values(source, raw, adjusted):
    assert paired.holm(raw) == pytest.approx(adjusted, abs=1e-9)


@settings(deadline=None)
@given(p_values)
def test_holm_keeps_the_order_and_lies_between_the_raw_value_and_bonferronis(raw):
    adjusted, raw = paired.holm(raw), np.array(raw)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(raw * len(raw), 1) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= 0).all()
    assert adjusted[raw.argmin()] == pytest.approx(min(raw.min() * len(raw), 1))


@settings(deadline=None)
@given(p_values, st.randoms())
def test_holm_does_not_depend_on_the_order_of_the_tests(raw, random):
    order = list(range(len(raw)))
    random.shuffle(order)
    assert paired.holm([raw[k] for k in order]) == pytest.approx(paired.holm(raw)[order])


def test_holm_of_one_test_is_that_test_and_of_none_is_none():
    assert paired.holm([0.04]) == pytest.approx([0.04])
    assert paired.holm([]).size == 0


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_p_value(p):
    with pytest.raises(ValueError, match=r"each lies in \[0, 1\]"):
        paired.holm([0.5, p])


def three() -> dict[str, pd.DataFrame]:
    plain = run(["correct"] * 4 + ["wrong"] * 4 + ["unreadable"] * 2)
    idk = run(["correct"] * 3 + ["refused"] + ["refused"] * 3 + ["correct"] + ["refused", "wrong"])
    return {"plain": plain, "idk": idk, "same": plain}


def test_compare_counts_what_was_gained_and_lost():
    table = paired.compare(three(), against="plain").set_index("second")
    assert list(table.loc["idk", ["first", "gained", "lost", "n"]]) == ["plain", 1, 1, 10]
    truthful = paired.compare(three(), against="plain", on="truthful").set_index("second")
    assert list(truthful.loc["idk", ["gained", "lost"]]) == [5, 0]
    assert truthful.loc["idk", "p"] == pytest.approx(2 / 2**5)
    assert truthful.loc["idk", "p_holm"] == pytest.approx(4 / 2**5)
    assert list(truthful.loc["same", ["gained", "lost", "p", "p_holm"]]) == [0, 0, 1, 1]


def test_an_unreadable_reply_is_neither_correct_nor_truthful():
    runs = {"a": run(["unreadable", "wrong"]), "b": run(["wrong", "unreadable"])}
    for on in ("correct", "truthful"):
        assert list(paired.compare(runs, on=on)[["gained", "lost"]].iloc[0]) == [0, 0]


def test_compare_makes_every_pair_once_unless_told_against_which():
    assert paired.compare(three())[["first", "second"]].to_numpy().tolist() == [
        ["plain", "idk"], ["plain", "same"], ["idk", "same"],
    ]  # fmt: skip
    assert list(paired.compare(three(), against="idk")["second"]) == ["plain", "same"]


def test_the_order_of_the_rows_does_not_matter():
    runs = three()
    shuffled = runs | {"idk": runs["idk"].sample(frac=1, random_state=2)}
    pd.testing.assert_frame_equal(paired.compare(shuffled), paired.compare(runs))


REFUSED = [
    ("one run", {"a": run(["wrong"])}, {}, "needs two or more runs by name"),
    (
        "an unknown reference",
        three(),
        {"against": "baseline"},
        "against = 'baseline' is not among the runs plain",
    ),
    ("an unknown property", three(), {"on": "refused"}, "on = 'refused': it is one of correct, truthful"),
    (
        "unequal items",
        {"a": run(["wrong"] * 2), "b": run(["wrong"])},
        {},
        r"'a' \(before\) against 'b' \(after\): .*1 only before",
    ),
    (
        "a failed row",
        {"a": run(["wrong"]), "b": run(["failed"])},
        {},
        r"'b' \(after\): after: 1 of 1 rows failed",
    ),
]


@pytest.mark.parametrize("case, runs, options, message", REFUSED, ids=[row[0] for row in REFUSED])
def test_what_cannot_be_compared_is_refused(case, runs, options, message):
    with pytest.raises(OutcomeError, match=message):
        paired.compare(runs, **options)


def test_a_failed_row_is_left_out_by_name_from_both():
    runs = {"a": run(["correct", "correct"]), "b": run(["failed", "wrong"])}
    assert list(paired.compare(runs, exclude=["q0"])[["gained", "lost", "n"]].iloc[0]) == [0, 1, 1]


def test_changes_are_the_difference_of_the_two_runs():
    before, after = three()["plain"], three()["idk"]
    frame = paired.measured(before, after, n_boot=20)
    for name, metric in metrics.METRICS.items():
        expected = metric(metrics.count(after)) - metric(metrics.count(before))
        assert value(frame, f"{name}_change") == pytest.approx(expected), name
    assert list(frame.columns) == list(bootstrap.COLUMNS)


def test_the_interval_of_a_change_is_that_of_paired_items():
    before, after = moved(correct_to_correct=60, wrong_to_wrong=20, wrong_to_refused=20)
    frame = paired.measured(before, after, n_boot=4000)
    low, high = (value(frame, "truthfulness_change", column=end) for end in ("low", "high"))
    # The change is the share of moved items, 20 of 100: a binomial interval, and not that of two unpaired runs.
    assert low == pytest.approx(0.2 - 1.96 * 0.04, abs=0.015)
    assert high == pytest.approx(0.2 + 1.96 * 0.04, abs=0.015)


def test_measure_knows_gains_levels_changes_and_no_more():
    flows = cells(correct_to_correct=5, correct_to_refused=5, wrong_to_refused=10, refused_to_wrong=5)
    assert paired.measure("rgi", flows) == pytest.approx(gains.rgi(flows))
    assert paired.measure("rejection_rate", flows) == pytest.approx(15 / 25)
    assert paired.measure("rejection_rate_change", flows) == pytest.approx(10 / 25)
    with pytest.raises(ValueError, match="no metric 'rgi_change' of paired runs: there are delta_con"):
        paired.measure("rgi_change", flows)


SIGNS = [
    ("blind refusal", {"correct_to_correct": 30, "correct_to_refused": 10, "wrong_to_wrong": 15,
                       "wrong_to_refused": 5}, 0.0),
    ("wrong answers alone", {"correct_to_correct": 10, "wrong_to_refused": 10}, 1.0),
    ("right answers alone", {"correct_to_refused": 10, "wrong_to_wrong": 10}, -1.0),
    ("answers anew", {"correct_to_wrong": 2, "correct_to_correct": 8, "wrong_to_correct": 5,
                      "wrong_to_unreadable": 5}, 0.3),
]  # fmt: skip


@pytest.mark.parametrize("case, flows, expected", SIGNS, ids=[row[0] for row in SIGNS])
def test_youden_is_zero_for_blind_refusal_and_finite_where_the_rgi_is_not(case, flows, expected):
    assert paired.youden(cells(**flows)) == pytest.approx(expected)


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=4, max_size=4))
def test_youden_has_the_sign_of_the_excess(counts):
    names = ("correct_to_correct", "correct_to_refused", "wrong_to_wrong", "wrong_to_refused")
    flows = cells(**dict(zip(names, counts)))
    excess, index = gains.rgi_excess(flows), paired.youden(flows)
    assert np.sign(np.round(excess, 9)) == np.sign(np.round(index, 9))


def test_youden_without_wrong_answers_says_so():
    before, after = counted(correct=3), counted(correct=1, refused=2)
    frame = paired.measured(before, after, ["youden"], n_boot=10)
    assert math.isnan(value(frame, "youden"))
    assert value(frame, "youden", column="status") == "Nw = 0"
