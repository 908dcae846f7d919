"""The model card's tables are those of the measurements beside it, and its prose survives a rewrite."""

from __future__ import annotations

import json
import shutil

import pytest

from lalm_utils.mini.model import WEIGHTS
from lalm_utils.mini.training import card

ROWS = [
    {"claim": "accuracy", "group": "overall", "value": 0.5, "low": 0.4, "high": 0.6, "n": 90, "bound": "0.50 to 0.85",
     "met": True},
    {"claim": "audio type", "group": "overall", "value": 0.25, "low": 0.2, "high": 0.3, "n": 90, "bound": "0.90",
     "met": False},
    {"claim": "control", "group": "silence", "value": 0.2, "low": 0.1, "high": 0.3, "n": 90, "bound": "", "met": None},
    {"claim": card.BY_TASK, "group": "Tempo", "value": 1.0, "low": 1.0, "high": 1.0, "n": 3, "bound": "chance 0.250",
     "met": None},
]  # fmt: skip


def test_the_committed_card_shows_what_was_measured(tmp_path):
    for name in ("README.md", "acceptance.json", "training.json"):
        shutil.copy(WEIGHTS / name, tmp_path)
    card.write(tmp_path)
    assert (tmp_path / "README.md").read_text() == (WEIGHTS / "README.md").read_text(), (
        "run lalm_utils.mini.training.card"
    )


def test_a_missed_claim_says_so_and_one_without_a_bound_says_nothing():
    lines = card.claims_table(ROWS).splitlines()
    assert [line.rsplit("|", 2)[1].strip() for line in lines[2:]] == ["yes", "**missed**", ""]
    assert "| accuracy | overall | 0.500 [0.400, 0.600] | 90 | 0.50 to 0.85 | yes |" in lines


def test_tasks_stand_in_a_table_of_their_own():
    assert card.BY_TASK not in card.claims_table(ROWS)
    assert card.task_table(ROWS).splitlines()[2:] == ["| Tempo | 1.000 [1.000, 1.000] | 3 | chance 0.250 |"]


def test_only_what_stands_between_the_markers_changes():
    text = "prose\n<!-- a -->\nold \\1 table\n<!-- end of a -->\nmore prose\n"
    assert card.fill(text, {"a": r"new \g<1> table"}) == (
        "prose\n<!-- a -->\nnew \\g<1> table\n<!-- end of a -->\nmore prose\n"
    )
    assert card.fill(text, {}) == text


def test_a_card_without_its_markers_is_refused():
    with pytest.raises(ValueError, match="no markers <!-- b -->"):
        card.fill("<!-- a -->\n<!-- end of a -->\n", {"b": "table"})


def test_the_gates_name_run_stage_and_step():
    training = json.loads((WEIGHTS / "training.json").read_text())
    assert len(card.evaluation_table(training).splitlines()) == 2 + sum(
        row["stage"] != "hear" for row in training
    )
    assert card.alignment_table(training).count("\n") == 1 + len(training[0]["held_out"])
