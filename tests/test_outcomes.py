"""Grading one reply, building the table, and which rows a metric may use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lalm_utils import outcomes
from lalm_utils.items import Item
from lalm_utils.models import Reply, failed
from lalm_utils.outcomes import COLUMNS, Outcome, OutcomeError

ITEM = Item(
    id="q1", benchmark="mini", split="test", modality="sound", question="What is heard?",
    options=("dog bark", "rain", "siren"), gold=0, clip=Path("/clips/q1.wav"), task="source", level="easy",
)  # fmt: skip
TWICE = replace(ITEM, id="q2", options=("dog bark", "rain", "dog bark"), gold=2)
SILENT = replace(ITEM, id="q3", gold=None, answerable=False, reason="silence")


def say(text: str, **fields) -> Reply:
    return Reply(**{"text": text, "n_tokens": 2, "finish": "stop"} | fields)


def build(items: list[Item], replies: list[Reply]) -> pd.DataFrame:
    return outcomes.table(items, replies, model="m", method="plain", seed=3)


def rows(*names: str, **columns) -> pd.DataFrame:
    frame = pd.DataFrame(
        {"item": [f"q{i}" for i in range(len(names))], "modality": "sound", "outcome": names}
    )
    return frame.assign(answerable=True, **columns)


GRADES = [
    ("the gold option's text", ITEM, say("dog bark"), "correct", 0),
    ("another option's text", ITEM, say("rain"), "wrong", 1),
    ("a refusal", ITEM, say("I don't know"), "refused", None),
    ("no option and no refusal", ITEM, say("purple monkeys"), "unreadable", None),
    ("an empty reply that the model ended", ITEM, say(""), "unreadable", None),
    ("no reply", ITEM, failed("out of memory"), "failed", None),
    ("text beside a failure is not an answer", ITEM, say("dog bark", finish="failed"), "failed", None),
    (
        "a reply cut at the token limit is read all the same",
        ITEM,
        say("dog bark", finish="length"),
        "correct",
        0,
    ),
    ("a refusal of an unanswerable item", SILENT, say("IDK"), "refused", None),
    ("an option on an unanswerable item", SILENT, say("rain"), "wrong", 1),
]


@pytest.mark.parametrize(
    ("case", "item", "reply", "outcome", "choice"), GRADES, ids=[row[0] for row in GRADES]
)
def test_a_reply_has_exactly_one_outcome(case, item, reply, outcome, choice):
    graded = outcomes.grade(item, reply)
    assert (graded.outcome, graded.choice) == (Outcome(outcome), choice)


def test_an_option_listed_twice_is_right_whichever_is_read():
    graded = outcomes.grade(TWICE, say("dog bark"))
    assert graded.outcome is Outcome.CORRECT
    assert TWICE.options[graded.choice] == "dog bark"


def test_an_item_whose_answer_is_withheld_cannot_be_graded():
    with pytest.raises(OutcomeError, match="'q1' has no answer: it is withheld"):
        outcomes.grade(replace(ITEM, gold=None), say("IDK"))


def test_the_table_has_the_documented_columns_and_one_row_per_item():
    replies = [say("rain", n_tokens=7, truncated=True), say("IDK"), failed("broke")]
    frame = build([ITEM, TWICE, SILENT], replies)
    assert tuple(frame.columns) == COLUMNS
    assert list(frame["item"]) == ["q1", "q2", "q3"]
    assert list(frame["outcome"]) == ["wrong", "refused", "failed"]
    first = frame.iloc[0]
    assert (first["model"], first["method"], first["seed"], first["benchmark"]) == ("m", "plain", 3, "mini")
    assert (first["reply"], first["choice"], first["gold"], first["n_tokens"]) == ("rain", 1, 0, 7)
    assert first["truncated"]
    assert first["chance"] == pytest.approx(1 / 3)
    assert first["level"] == "easy"
    assert frame.iloc[1]["chance"] == pytest.approx(2 / 3)
    assert (frame.iloc[2]["kind"], frame.iloc[2]["reason"], frame.iloc[2]["error"]) == (
        "inaudible",
        "silence",
        "broke",
    )


def test_gold_and_choice_are_nullable_integers_even_when_all_are_empty():
    frame = build([SILENT], [say("IDK")])
    assert str(frame["gold"].dtype) == str(frame["choice"].dtype) == "Int64"
    assert frame["gold"].isna().all()
    assert frame["choice"].isna().all()


BAD_TABLES = [
    ("fewer replies than items", [ITEM, TWICE], [say("rain")], "2 items but 1 replies"),
    ("samples instead of replies", [ITEM], [[say("rain")]], r"lists of samples: pick one per item"),
    (
        "the same item twice",
        [ITEM, ITEM],
        [say("rain"), say("rain")],
        "1 items occur more than once, e.g. 'q1'",
    ),
]


@pytest.mark.parametrize(
    ("case", "items", "replies", "message"), BAD_TABLES, ids=[row[0] for row in BAD_TABLES]
)
def test_a_table_that_cannot_be_built_says_why(case, items, replies, message):
    with pytest.raises(OutcomeError, match=message):
        build(items, replies)


UNSCORABLE = [
    ("a failed row", rows("correct", "failed"), {}, r"1 of 2 rows failed, e.g. 'q1': .* exclude=\[\.\.\.\]"),
    (
        "an unanswerable row",
        rows("correct").assign(answerable=False),
        {},
        "1 unanswerable items, e.g. 'q0'.*refusal_by_kind",
    ),
    ("an item twice", pd.concat([rows("correct"), rows("wrong")]), {}, "more than once, e.g. 'q0'"),
    ("an unknown outcome", rows("right"), {}, "unknown outcomes 'right': they are correct, wrong, refused"),
    ("no rows", rows(), {}, "no rows"),
    ("no modality column", rows("correct").drop(columns="modality"), {}, r"lacks the columns \['modality'\]"),
    ("an empty modality", rows("correct").assign(modality=None), {}, "column 'modality' has empty cells"),
    (
        "an excluded id that is not there",
        rows("correct"),
        {"exclude": ["x"]},
        "exclude names 'x', not in the table",
    ),
    ("a text instead of a list", rows("correct"), {"exclude": "q0"}, r"give a list of ids, exclude=\['q0'\]"),
]


@pytest.mark.parametrize(
    ("case", "frame", "options", "message"), UNSCORABLE, ids=[row[0] for row in UNSCORABLE]
)
def test_rows_that_no_metric_may_use_are_refused(case, frame, options, message):
    with pytest.raises(OutcomeError, match=message):
        outcomes.scorable(frame, **options)


def test_a_table_saved_as_csv_is_read_back_as_it_was(tmp_path):
    frame = build([replace(ITEM, id="007"), TWICE, SILENT], [say("rain"), say("NA"), failed("null")])
    frame.to_csv(tmp_path / "plain.csv", index=False)
    back = outcomes.read_table(tmp_path / "plain.csv")
    pd.testing.assert_frame_equal(back, frame)
    assert back["item"].tolist() == ["007", "q2", "q3"]


def test_no_unanswerable_item_enters_accuracy_by_way_of_a_csv(tmp_path):
    frame = rows("correct", "wrong", "wrong").assign(answerable=[True, True, False])
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(OutcomeError, match=r"1 unanswerable items, e\.g\. 'q2'"):
        outcomes.scorable(outcomes.read_table(tmp_path / "t.csv"))
    text = pd.read_csv(tmp_path / "t.csv", dtype=str)
    with pytest.raises(
        OutcomeError, match=r"'answerable' holds text, .* read the CSV with outcomes.read_table"
    ):
        outcomes.scorable(text)


@pytest.mark.parametrize("column", outcomes.BOOLS)
def test_text_in_a_column_of_truth_values_is_refused(column):
    frame = rows("correct", "wrong").assign(**{column: ["True", "False"]})
    with pytest.raises(OutcomeError, match=f"column '{column}' holds text"):
        outcomes.validate(frame)


UNREAD = [
    ("an empty file", "", "not an outcome table as CSV"),
    ("a truth value that is none", "item,answerable\nq0,perhaps\n", "'answerable' holds 'perhaps'"),
    ("an empty truth value", "item,answerable\nq0,True\nq1,\n", "'answerable' holds ''"),
    ("a number that is none", "item,seed\nq0,first\n", "not an outcome table as CSV"),
]


@pytest.mark.parametrize(("case", "text", "message"), UNREAD, ids=[row[0] for row in UNREAD])
def test_a_csv_that_is_no_outcome_table_says_why(tmp_path, case, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(OutcomeError, match=message):
        outcomes.read_table(tmp_path / "t.csv")


def test_a_failed_row_may_be_left_out_by_name():
    kept = outcomes.scorable(rows("correct", "failed", "wrong"), exclude=["q1"])
    assert list(kept["item"]) == ["q0", "q2"]


def test_groups_come_in_the_papers_order_and_end_with_all_rows():
    frame = rows(*["correct"] * 5).assign(modality=["speech", "mix-a", "sound", "music", "sound"])
    found = [(label, len(part)) for label, part in outcomes.groups(frame)]
    assert found == [("sound", 2), ("music", 1), ("speech", 1), ("mix-a", 1), ("overall", 5)]


def test_an_empty_group_value_has_a_name():
    frame = rows("correct", "wrong", level=["easy", ""])
    assert [label for label, _ in outcomes.groups(frame, "level")] == ["easy", "(none)", "overall"]
    odd = rows("correct", "wrong", level=["\0", ""])
    assert [(label, len(part)) for label, part in outcomes.groups(odd, "level")] == [
        ("\0", 1), ("(none)", 1), ("overall", 2)]  # fmt: skip


def test_grouping_by_what_is_not_there_or_by_the_pooled_name_is_refused():
    with pytest.raises(OutcomeError, match="no column 'colour' to group by: the table has item, modality"):
        list(outcomes.groups(rows("correct"), "colour"))
    with pytest.raises(OutcomeError, match="value 'overall', the name of the pooled group"):
        list(outcomes.groups(rows("correct").assign(modality="overall")))


@pytest.mark.parametrize(
    "text, kind",
    [
        ("No audio was provided.", "no_audio"),
        ("I can't share private details about the speaker.", "will_not_say"),
        ("None of these options is correct.", "none_fits"),
        ("IDK", "cannot_tell"),
        ("rain", ""),
    ],
)
def test_a_refusal_has_its_kind_in_the_table(text, kind):
    table = build([ITEM], [say(text)])
    assert table["refusal"].tolist() == [kind]
    expected = {name: int(name == kind) for name in ("no_audio", "will_not_say", "none_fits", "cannot_tell")}
    assert outcomes.refusal_kinds(table) == expected


def test_choosing_the_option_that_declines_is_a_refusal_with_its_place():
    item = replace(ITEM, options=(*ITEM.options, "None of the above"), declining=len(ITEM.options))
    graded = outcomes.grade(item, say("None of the above"))
    assert graded == outcomes.Grade(outcome=Outcome.REFUSED, choice=len(ITEM.options), refusal="none_fits")
