"""Options in another order: places are dealt evenly, nothing else changes, and choices are told by their text."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lalm_utils import benchmarks, option_order, outcomes
from lalm_utils.items import Item
from lalm_utils.models import Reply
from lalm_utils.option_order import agreement, in_order_of, reordered
from lalm_utils.outcomes import OutcomeError

SHARED = Path(__file__).resolve().parents[2] / "shared"


def an_item(number: int = 0, options: str = "abcd", gold: int | None = 0, **changes) -> Item:
    fields = {"benchmark": "mmau", "split": "", "modality": "sound", "question": "Which?"}
    fields |= {"options": tuple(f"option {letter}" for letter in options), "gold": gold}
    return Item(id=f"q{number}", clip=Path("/nowhere.wav"), **fields | changes)


def run(asked: list[Item], *texts: str) -> pd.DataFrame:
    replies = [Reply(text=text, n_tokens=1, finish="stop") for text in texts]
    return outcomes.table(asked, replies, model="m", method="plain", seed=0)


@given(st.lists(st.tuples(st.integers(2, 6), st.booleans()), min_size=1, max_size=40), st.integers())
def test_options_rotate_the_gold_follows_and_all_else_stays(shapes, seed):
    asked = [
        an_item(
            i, "abcdef"[:k], k - 1 if known else None, answerable=known, reason="" if known else "silence"
        )
        for i, (k, known) in enumerate(shapes)
    ]
    for item, other in zip(asked, reordered(asked, seed=seed), strict=True):
        shift = other.options.index(item.options[0])
        assert other.options[shift:] + other.options[:shift] == item.options
        if item.gold is not None:
            assert other.options[other.gold] == item.options[item.gold]
        assert (other.id, other.clip, other.question, other.answerable) == (
            item.id,
            item.clip,
            "Which?",
            item.answerable,
        )
        assert (other.gold is None) == (item.gold is None)


@pytest.mark.parametrize("count, expected", [(40, [10, 10, 10, 10]), (6, [2, 2, 1, 1])])
def test_gold_options_are_dealt_to_all_places_alike(count, expected):
    asked = [an_item(i) for i in range(count)]  # all at A
    found = Counter(item.gold for item in reordered(asked, seed=0))
    assert [found[place] for place in range(4)] == expected


def test_items_of_other_numbers_of_options_are_dealt_places_of_their_own():
    asked = [an_item(i, "ab" if i % 2 else "abcde") for i in range(20)]
    made = reordered(asked, seed=3)
    assert Counter(item.gold for item in made if len(item.options) == 2) == {0: 5, 1: 5}
    assert Counter(item.gold for item in made if len(item.options) == 5) == dict.fromkeys(range(5), 2)


def test_mmau_s_skew_to_the_first_option_is_gone():
    if not (SHARED / "mmau").exists():
        pytest.skip(f"needs MMAU's official file in {SHARED}")
    asked = benchmarks.load(SHARED / "mmau", need_clips=False)
    first = [sum(item.gold == 0 for item in some) for some in (asked, reordered(asked, seed=0))]
    assert first[0] == 395
    assert 250 <= first[1] <= 275  # chance is 25.9 %


def test_the_order_depends_on_the_seed_and_not_on_the_order_of_the_items():
    asked = [an_item(i) for i in range(12)]
    made = reordered(asked, seed=1)
    assert reordered(asked, seed=1) == made
    assert reordered(asked[::-1], seed=1) == made[::-1]
    assert reordered(asked, seed=2) != made


def test_a_repeated_gold_option_keeps_the_first_of_its_places():
    asked = [an_item(i, "abac") for i in range(4)]
    for item in reordered(asked, seed=0):
        assert item.gold == item.options.index("option a")


def test_choices_are_mapped_back_to_the_order_of_the_file():
    asked = [an_item(i, gold=1) for i in range(4)]
    other = reordered(asked, seed=0)
    table = in_order_of(asked, run(other, "option d", "(B)", "I don't know", "option b"), other)
    assert table["gold"].tolist() == [1, 1, 1, 1]
    second = asked[1].options.index(other[1].options[1])
    assert table["choice"].fillna(-1).tolist() == [3, second, -1, 1]
    assert table["outcome"].tolist()[0::2] == ["wrong", "refused"]
    assert table["outcome"].tolist()[3] == "correct"
    assert table["reply"].tolist()[1] == "(B)"


AGREEMENT = [
    ("the same texts", ["option a", "option b"], ["option a", "option b"], (2, 1.0)),
    ("the same places", ["(A)", "(A)"], ["(A)", "(A)"], (2, 0.5)),
    ("refused once", ["option a", "IDK"], ["option a", "option b"], (1, 1.0)),
    ("refused in turn", ["option a", "IDK"], ["IDK", "option b"], (0, math.nan)),
    ("other texts", ["option a", "option b"], ["option b", "option a"], (2, 0.0)),
]


@pytest.mark.parametrize("name, one, two, expected", AGREEMENT, ids=[case[0] for case in AGREEMENT])
def test_agreement_is_of_texts_among_items_answered_twice(name, one, two, expected):
    asked = [an_item(0), an_item(1)]
    other = reordered(asked, seed=0)
    assert sorted(item.options.index("option a") for item in other) == [0, 1]  # one stays, one moves
    frame = agreement(asked, run(asked, *one), in_order_of(asked, run(other, *two), other))
    assert list(frame["group"]) == ["sound", "overall"]
    for row in frame.itertuples():
        assert (row.n, row.share) == pytest.approx(expected, nan_ok=True)
        assert not row.n or row.low <= row.share <= row.high


def test_an_option_that_stands_twice_is_one_text():
    asked = [an_item(0, "abab")]
    assert agreement(asked, run(asked, "(A)"), run(asked, "(C)"))["share"].tolist() == [1.0, 1.0]


def test_tables_of_other_items_are_refused():
    asked = [an_item(0), an_item(1)]
    table = run(asked, "(A)", "(A)")
    for call in (
        lambda: in_order_of(asked[::-1], table, asked),
        lambda: in_order_of(asked, table, asked[:1]),
        lambda: agreement(asked, table, table[:1]),
    ):
        with pytest.raises(OutcomeError, match="which are not the same in the same order"):
            call()
    assert option_order.in_order_of(asked, table, asked).equals(table)
