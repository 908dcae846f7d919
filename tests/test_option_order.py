"""Options in another order: gold options at all positions alike, nothing else changes, choices keep their text."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lalm_utils import benchmarks, outcomes
from lalm_utils.cli.option_order import restore, rotate
from lalm_utils.items import Item
from lalm_utils.models import Reply
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
    items = [
        an_item(
            i, "abcdef"[:k], k - 1 if known else None, answerable=known, reason="" if known else "silence"
        )
        for i, (k, known) in enumerate(shapes)
    ]
    for item, other in zip(items, rotate(items, seed=seed), strict=True):
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
    items = [an_item(i) for i in range(count)]  # all at A
    result = Counter(item.gold for item in rotate(items, seed=0))
    assert [result[index] for index in range(4)] == expected


def test_items_of_other_numbers_of_options_are_dealt_places_of_their_own():
    items = [an_item(i, "ab" if i % 2 else "abcde") for i in range(20)]
    result = rotate(items, seed=3)
    assert Counter(item.gold for item in result if len(item.options) == 2) == {0: 5, 1: 5}
    assert Counter(item.gold for item in result if len(item.options) == 5) == dict.fromkeys(range(5), 2)


def test_mmau_s_skew_to_the_first_option_is_gone():
    if not (SHARED / "mmau").exists():
        pytest.skip(f"needs MMAU's official file in {SHARED}")
    items = benchmarks.load(SHARED / "mmau", need_clips=False)
    first = [sum(item.gold == 0 for item in some) for some in (items, rotate(items, seed=0))]
    assert first[0] == 395
    assert 250 <= first[1] <= 275  # chance is 25.9 %


def test_the_order_depends_on_the_seed_and_not_on_the_order_of_the_items():
    items = [an_item(i) for i in range(12)]
    result = rotate(items, seed=1)
    assert rotate(items, seed=1) == result
    assert rotate(items[::-1], seed=1) == result[::-1]
    assert rotate(items, seed=2) != result


def test_a_repeated_gold_option_keeps_the_first_of_its_places():
    items = [an_item(i, "abac") for i in range(4)]
    for item in rotate(items, seed=0):
        assert item.gold == item.options.index("option a")


def test_choices_are_mapped_back_to_the_order_of_the_file():
    items = [an_item(i, gold=1) for i in range(4)]
    other = rotate(items, seed=0)
    table = restore(items, run(other, "option d", "(B)", "I don't know", "option b"), other)
    assert table["gold"].tolist() == [1, 1, 1, 1]
    second = items[1].options.index(other[1].options[1])
    assert table["choice"].fillna(-1).tolist() == [3, second, -1, 1]
    assert table["outcome"].tolist()[0::2] == ["wrong", "refused"]
    assert table["outcome"].tolist()[3] == "correct"
    assert table["reply"].tolist()[1] == "(B)"


def test_tables_of_other_items_are_refused():
    items = [an_item(0), an_item(1)]
    table = run(items, "(A)", "(A)")
    for call in (
        lambda: restore(items[::-1], table, items),
        lambda: restore(items, table, items[:1]),
    ):
        with pytest.raises(OutcomeError, match="which are not the same in the same order"):
            call()
    assert restore(items, table, items).equals(table)


def test_the_option_that_declines_moves_with_the_others():
    items = [an_item(number, gold=0, declining=2) for number in range(4)]
    rotated = rotate(items, seed=0)
    assert {each.options[each.declining] for each in rotated} == {"option c"}
    table = run(rotated, *["option c"] * 4)
    assert set(table["declining"]) == {0, 1, 2, 3}
    restored = restore(items, table, rotated)
    assert restored[["gold", "declining", "choice"]].values.tolist() == [[0, 2, 2]] * 4
    assert set(restored["outcome"]) == {"refused"}
