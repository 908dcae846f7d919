"""Chains of thought: where steps end, when the form is kept, and what length and form go with."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lalm_utils.chains import forms, lengths, predictors, split, with_steps


@pytest.mark.parametrize(
    ("case", "reply", "steps", "keeps_form"),
    [
        ("as asked", "I hear a dog.\nAnswer: dog", "I hear a dog.", True),
        ("an empty line between", "I hear a dog.\n\nAnswer: dog\n", "I hear a dog.", True),
        ("several lines of steps", "One.\nTwo.\nAnswer: dog", "One.\nTwo.", True),
        ("emphasis and capitals", "I hear it.\n**ANSWER:** dog", "I hear it.", True),
        ("an answer that declines", "It is unclear.\nAnswer: IDK", "It is unclear.", True),
        ("no steps", "Answer: dog", "", False),
        ("no answer", "I hear a dog.", "I hear a dog.", False),
        ("an answer cut off", "I hear a dog.\nAnswer:", "I hear a dog.", False),
        ("only emphasis after it", "I hear a dog.\nAnswer: **", "I hear a dog.", False),
        ("steps after the answer", "I hear it.\nAnswer: dog\nBecause it barks.", "I hear it.", False),
        ("two answers", "I hear it.\nAnswer: dog\nMore.\nAnswer: cat", "I hear it.", False),
        ("another word for it", "I hear it.\nFinal answer: dog", "I hear it.", False),
        ("in the line of the steps", "I hear a dog. Answer: dog", "I hear a dog.", False),
        ("in the line of the steps, unpunctuated", "I hear **Answer:** dog", "I hear", False),
        ("in the line of the steps and below", "So my answer: dog\nAnswer: dog", "So my", False),
        ("the word alone is no answer", "The answer is a dog.", "The answer is a dog.", False),
        ("blank", " \n ", "", False),
    ],
)
def test_a_chain_is_split_before_its_first_answer(case, reply, steps, keeps_form):
    chain = split(reply)
    assert (chain.steps, chain.keeps_form) == (steps, keeps_form), case
    assert chain.words == len(steps.split()), case


def table(*rows: tuple[str, str], modality: str = "sound", finish: str = "stop") -> pd.DataFrame:
    """An outcome table of (outcome, reply)."""
    return pd.DataFrame([
        {"item": f"q{i}", "modality": modality, "outcome": outcome, "reply": reply, "finish": finish}
        for i, (outcome, reply) in enumerate(rows)
    ])  # fmt: skip


def chain(words: int, *, keeps_form: bool = True) -> str:
    return "x " * words + ("\nAnswer: dog" if keeps_form else "")


def test_failed_calls_are_no_replies():
    rows = with_steps(table(("correct", chain(3)), ("failed", "")))
    assert rows["item"].tolist() == ["q0"]
    assert (rows["words"].tolist(), rows["keeps_form"].tolist()) == ([3], [True])
    assert with_steps(table(("failed", ""))).empty


def test_forms_are_shares_of_replies():
    run = table(("correct", chain(3)), ("wrong", "dog"), ("unreadable", "hm"), ("failed", ""))
    frame = forms({"mcot": run, "all cut": table(("wrong", "a b"), finish="length"), "none": run[3:]})
    found = {(row.method, row.metric): (row.value, row.n) for row in frame.itertuples()}
    assert found["mcot", "form kept"] == (pytest.approx(1 / 3), 3)
    assert found["mcot", "unreadable"] == (pytest.approx(1 / 3), 3)
    assert found["mcot", "cut"] == (0, 3)
    assert found["all cut", "cut"] == (1, 1)
    assert np.isnan(found["none", "cut"][0])
    assert (frame["low"].dropna() <= frame["value"].dropna()).all()


def test_lengths_count_replies_of_so_many_words():
    run = table(("correct", chain(3)), ("correct", chain(3)), ("wrong", chain(5)), ("refused", chain(0)))
    rows = [tuple(row) for row in lengths({"mcot": run}).itertuples(index=False)]
    assert rows == [("mcot", "correct", 3, 2), ("mcot", "refused", 0, 1), ("mcot", "wrong", 5, 1)]
    assert lengths({"mcot": run[:0]}).columns.tolist() == ["method", "outcome", "words", "n"]


def value(frame: pd.DataFrame, metric: str, method: str = "mcot") -> pd.Series:
    (found,) = frame[(frame["group"] == method) & (frame["metric"] == metric)].to_dict("records")
    return pd.Series(found)


@pytest.mark.parametrize(
    ("case", "right", "wrong", "expected"),
    [
        ("all longer", [8, 9], [1, 2, 3], 1.0),
        ("all shorter", [1], [2, 3], 0.0),
        ("no difference", [4, 4], [4, 4], 0.5),
        ("some", [3, 1], [2, 1], 0.625),
    ],
)
def test_length_is_compared_over_all_pairs_of_right_and_wrong(case, right, wrong, expected):
    rows = [("correct", chain(n)) for n in right] + [("wrong", chain(n)) for n in wrong]
    found = value(predictors({"mcot": table(*rows)}), "auroc_words")
    assert found["value"] == expected, case
    if case == "some":
        assert found["low"] <= expected <= found["high"]
    else:  # every pair says the same, in all resamples: no interval may look certain
        assert np.isnan(found["low"])
        assert found["status"].startswith("no interval")


def test_steps_that_are_all_equally_long_have_no_interval():
    rows = [("correct", chain(4))] * 10 + [("wrong", chain(4))] * 8
    found = value(predictors({"mcot": table(*rows)}), "auroc_words")
    assert (found["value"], found["status"]) == (0.5, "no interval: all are equally long")
    assert np.isnan(found["low"])
    assert np.isnan(found["high"])
    assert found["n"] == len(rows)


def test_the_auroc_of_a_resample_is_that_of_its_items():
    # the bootstrap against a plain one on the rows, for a case with ties
    right, wrong = [3, 5, 5, 8, 2, 9], [1, 5, 4, 4, 7]
    rows = [("correct", chain(n)) for n in right] + [("wrong", chain(n)) for n in wrong]
    found = value(predictors({"mcot": table(*rows)}, n_boot=4000), "auroc_words")
    rng, draws = np.random.default_rng(5), []
    words, labels = np.array(right + wrong), np.array([1] * 6 + [0] * 5)
    for _ in range(4000):
        at = rng.integers(0, 11, 11)
        a, b = words[at][labels[at] == 1], words[at][labels[at] == 0]
        if len(a) and len(b):
            draws.append(np.mean((a[:, None] > b) + 0.5 * (a[:, None] == b)))
    assert found["low"] == pytest.approx(np.quantile(draws, 0.025), abs=0.04)
    assert found["high"] == pytest.approx(np.quantile(draws, 0.975), abs=0.04)


def test_form_is_a_difference_of_accuracies():
    rows = [
        ("correct", chain(2)),
        ("correct", chain(2)),
        ("wrong", chain(2)),
        ("wrong", chain(2, keeps_form=False)),
    ]
    found = value(predictors({"mcot": table(*rows)}), "accuracy_form")
    assert found["value"] == pytest.approx(2 / 3)
    assert found["undefined"] > 0


def test_refused_unreadable_and_failed_replies_are_left_out():
    rows = [
        ("correct", chain(5)),
        ("wrong", chain(1)),
        ("refused", chain(9)),
        ("unreadable", "x"),
        ("failed", ""),
    ]
    frame = predictors({"mcot": table(*rows)})
    assert value(frame, "auroc_words")["value"] == 1
    assert set(frame["n"]) == {2}


@pytest.mark.parametrize(
    ("case", "rows"),
    [
        ("all right, all kept", [("correct", chain(2))] * 3),
        ("nothing answered", [("refused", chain(2))]),
    ],
)
def test_a_measure_without_its_two_kinds_is_undefined_and_says_so(case, rows):
    frame = predictors({"mcot": table(*rows)})
    assert frame["value"].isna().all(), case
    assert set(frame["status"]) == {"one of the two kinds is missing"}, case


def test_settings_of_the_bootstrap_are_checked():
    with pytest.raises(ValueError, match="n_boot = 0"):
        predictors({"mcot": table(("correct", "x"))}, n_boot=0)
