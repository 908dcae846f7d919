"""Metrics: golden counts, identities, groups, refusals by sort, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcome_tables import counted, moved, run, value

from lalm_utils import bootstrap, gains, metrics
from lalm_utils.flows import ANSWERED
from lalm_utils.outcomes import OutcomeError

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
    frame = metrics.evaluate(counted(**numbers), n_boot=10)
    got = [value(frame, name) for name in ("accuracy", "truthfulness", "rejection_rate", "reliability")]
    assert got == pytest.approx([acc, truth, rej, rel])
    assert value(frame, "unreadable") == numbers.get("unreadable", 0)
    assert value(frame, "wrong") == numbers.get("wrong", 0)


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(sum))
def test_reliability_is_accuracy_plus_rej_times_one_minus_rej(numbers):
    counts = metrics.Counts(**dict(zip(ANSWERED, map(np.array, numbers), strict=True)))
    acc, rej = metrics.accuracy(counts), metrics.rejection_rate(counts)
    assert metrics.reliability(counts) == pytest.approx(acc + rej * (1 - rej))
    assert metrics.truthfulness(counts) == pytest.approx(acc + rej)


def test_refusing_blindly_raises_reliability_as_the_docstring_says():
    share, accuracy = 0.2, 0.55
    kept = 1 - share
    counts = metrics.Counts(
        correct=np.array(1000 * accuracy * kept), wrong=np.array(1000 * (1 - accuracy) * kept),
        refused=np.array(1000 * share), unreadable=np.array(0),
    )  # fmt: skip
    assert metrics.reliability(counts) == pytest.approx(kept * (accuracy + share))
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
    table = counted(correct=6, wrong=4).assign(level=["easy"] * 5 + ["hard"] * 5)
    frame = metrics.evaluate(table, by="level", n_boot=10)
    assert (value(frame, "accuracy", "easy"), value(frame, "accuracy", "hard")) == (1, 0.2)


def test_an_excluded_failed_row_is_reported_and_not_counted():
    table = counted(correct=3, wrong=1, failed=2)
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
    table = counted(correct=3).assign(answerable=[True, True, False])
    with pytest.raises(OutcomeError, match=r"1 unanswerable items, e.g. 'q2'.*refusal_by_sort"):
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


def test_wide_shows_one_line_per_group():
    table = metrics.wide(metrics.evaluate(counted(correct=30, wrong=10)), ["n", "correct", "accuracy"])
    assert list(table.columns) == ["group", "n", "correct", "accuracy"]
    assert list(table["group"]) == ["sound", "overall"]
    assert table.loc[0, "n"] == "40"
    assert table.loc[0, "correct"] == "30"
    assert table.loc[0, "accuracy"].startswith("0.750 [0.")


def test_wide_does_not_hide_an_undefined_index():
    frame = gains.gain(*moved(correct_to_correct=5, wrong_to_refused=5))
    assert metrics.wide(frame, ["rgi"]).loc[0, "rgi"] == "inf (delta_con = 0)"
    with pytest.raises(ValueError, match="no metric 'rgy' in this frame: it has n, excluded"):
        metrics.wide(frame, ["rgy"])


# Refusals by sort.


def mixed() -> pd.DataFrame:
    table = counted(correct=60, wrong=20, refused=20)
    silent = counted(wrong=5, refused=45).assign(answerable=False, sort="inaudible", reason="silence")
    wrong_clip = counted(wrong=28, refused=20, unreadable=2).assign(
        answerable=False, sort="ungrounded", reason="wrong_category"
    )
    joined = pd.concat([table.assign(sort="", reason=""), silent, wrong_clip], ignore_index=True)
    return joined.assign(item=[f"q{i}" for i in range(len(joined))], novel=joined.index < 30)


def test_refusals_of_each_sort_stand_beside_those_of_answerable_items():
    frame = metrics.refusal_by_sort(mixed())
    overall = frame[(frame["group"] == "overall")]
    assert list(dict.fromkeys(overall["sort"])) == ["answerable", "inaudible", "ungrounded"]
    rates = overall.set_index(["sort", "metric"])["value"]
    assert rates["answerable", "refusal_rate"] == 0.2
    assert rates["answerable", "answer_rate"] == 0.8
    assert rates["inaudible", "refusal_rate"] == 0.9
    assert rates["ungrounded", "unreadable_rate"] == 0.04
    first = overall.iloc[0]
    assert (first["low"], first["high"]) == pytest.approx((0.133367, 0.288829), abs=1e-6)  # Wilson, 20 of 100


def test_refusals_split_by_reason_and_by_novel_content():
    by_reason = metrics.refusal_by_sort(mixed(), by="reason", novel=True)
    assert list(dict.fromkeys(by_reason["sort"])) == [
        "answerable, known content", "answerable, novel content", "silence", "wrong_category",
    ]  # fmt: skip


def test_refusals_are_refused_for_failed_rows_and_for_items_without_a_sort():
    table = mixed()
    with pytest.raises(OutcomeError, match=r"1 of 200 rows failed, e.g. 'q0'"):
        metrics.refusal_by_sort(table.assign(outcome=["failed", *table["outcome"][1:]]))
    with pytest.raises(OutcomeError, match="'q100' is unanswerable but has no sort"):
        metrics.refusal_by_sort(table.assign(sort=""))
    with pytest.raises(OutcomeError, match="by = 'modality': it is 'sort' or 'reason'"):
        metrics.refusal_by_sort(table, by="modality")
