"""Open answers: what is accepted, how a free reply is judged, and scores worked by hand on a model of known replies."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_model import FakeModel

from lalm_utils import items as items_module
from lalm_utils import open_answers, risk_coverage
from lalm_utils.items import Item
from lalm_utils.mini.benchmark import planned_records
from lalm_utils.models import ModelError, failed

pytestmark = pytest.mark.usefixtures("clip_file")
GOLDEN = "4b2219df5b45e60b43cb88a305b8b75595066fa7aeb6f26a540320e2da96c40f"


def item(number: int = 0, **more) -> Item:
    base = {
        "id": f"i{number}", "clip": Path("clip.wav"), "question": f"Which sound is it, {number}?", "gold": 1,
        "options": ("dog bark", "muted trumpet", "trumpet", "a weapon"), "modality": "sound", "benchmark": "none",
        "split": "test", "task": "Sound event",
    }  # fmt: skip
    return Item(**base | more)


SPOKEN = {"task": "Spoken word", "options": ("ladder", "giraffe"), "gold": 0,
          "annotations": {"transcript": "Look at the ladder over there."}}  # fmt: skip


@pytest.mark.parametrize(
    "case, reply, outcome, more",
    [
        ("the label", "muted trumpet", "correct", {}),
        ("case, article and full stop", "A Muted trumpet.", "correct", {}),
        ("in a sentence", "I hear a muted trumpet in it", "correct", {}),
        ("a shorter label is another", "trumpet", "wrong", {}),
        ("a second label", "a muted trumpet and a dog bark", "wrong", {}),
        ("a label of the task", "a muted trumpet and rain", "wrong", {}),
        (
            "another sound of the clip",
            "muted trumpet, thunder",
            "wrong",
            {"annotations": {"content": ["thunder"]}},
        ),
        ("a synonym is not listed", "a horn with a mute", "wrong", {}),
        ("nothing", "", "wrong", {}),
        ("a refusal", "IDK", "refused", {}),
        ("a refusal in words", "I don't know.", "refused", {}),
        ("a number in words", "three", "correct", {"options": ("2", "3"), "task": "Event count"}),
        ("another number", "three or 2", "wrong", {"options": ("2", "3"), "task": "Event count"}),
        ("a label with its article", "weapon", "correct", {"gold": 3}),
        ("any word that was said", "There", "correct", SPOKEN),
        ("the right word in a sentence", "The word is ladder", "correct", SPOKEN),
        ("a word that was said, in a sentence about another", "I look at a zebra", "wrong", SPOKEN),
    ],
)
def test_a_reply_is_judged_by_normalised_matching(case, reply, outcome, more):
    assert open_answers.grade(item(**more), reply, {"rain", "muted trumpet"}) == outcome, case


@pytest.mark.parametrize(
    "question, task, needs",
    [
        ("Which of these words is spoken?", "", True),
        ("Which of the following is heard?", "", True),
        ("Which sound is missing?", "Absent sound", True),
        ("In which language are these numbers spoken?", "Language", False),
        ("What is the first sound?", "Event order", False),
    ],
)
def test_questions_that_need_their_options_are_told(question, task, needs):
    each = item(question=question, task=task)
    assert open_answers.needs_options(each) is needs
    if needs:
        with pytest.raises(ValueError, match=r"item 'i0' .* cannot be asked without options"):
            open_answers.prompt(each)


def test_a_prompt_has_no_option_in_it():
    text = open_answers.prompt(item()).turns[0].text
    assert text.startswith("Which sound is it, 0?\n")
    assert not any(option in text for option in item().options)
    with pytest.raises(ValueError, match="cannot be asked without options, or has no right one"):
        open_answers.prompt(item(gold=None, answerable=False))


def test_what_the_embedded_benchmark_accepts_is_as_it_was():
    test = [items_module.from_record(record, "/nowhere") for record in planned_records("test")]
    open_ones = [each for each in test if not open_answers.needs_options(each)]
    rows = [[each.id, *open_answers.accepted_answers(each)] for each in open_ones]
    assert rows[0] == ["test-0000", "getting slower"]
    (spoken,) = (row for row in rows if row[1:2] == ["painter"] and "liked" in row)
    assert spoken[1:] == ["painter", "she", "never", "liked", "the"]
    assert len(rows) == 925
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest() == GOLDEN


class TrumpetModel(FakeModel):
    """Finds "muted trumpet" likelier than anything else, and says yes to it."""

    def option_logprobs(self, prompts):
        self.scored = [*getattr(self, "scored", []), *prompts]
        return [
            np.array([0.0, -1.0])[: len(p.options)] if "muted" in p.turns[-1].text or "muted" in p.options[0]
            else np.array([-6.0, 0.0])[: len(p.options)]
            for p in prompts
        ]  # fmt: skip


def test_replies_are_judged_and_scored_by_hand(store):
    replies = {"0": "muted trumpet", "1": "a zebra", "2": "IDK"}
    others = ["A muted trumpet!", "horn", "horn"]
    asked_before: dict[str, int] = {}

    def reply(text, sample):
        asked_before[text] = asked_before.get(text, -1) + 1  # the greedy reply comes first
        number = text.split("it, ")[1][0]
        return replies[number] if asked_before[text] == 0 else others[sample]

    model = TrumpetModel(reply)
    result = open_answers.ask(model, [item(0), item(1), item(2)], store=store, n=3)
    assert result["outcome"].tolist() == ["correct", "wrong", "refused"]
    assert result["right"].tolist() == [True, False, False]
    assert result["likelihood"].tolist() == [0, -6, -6]
    assert result["likelihood a token"].tolist() == [0, -2, -2]  # two tokens and the end of the turn
    assert result["agreement"].tolist() == pytest.approx([1 / 3, 0, 0])
    two_to_one = math.log(3) - 2 / 3 * math.log(2)
    assert result["semantic entropy"].tolist() == pytest.approx([-two_to_one] * 3)
    assert result["P(True)"].tolist() == pytest.approx([1 / (1 + math.exp(-1)), *[1 / (1 + math.exp(6))] * 2])
    assert not any("dog bark" in prompt.turns[-1].text for prompt in model.scored)
    for name in open_answers.SCORES:
        assert risk_coverage.measures(result[name].to_numpy(), result["right"].to_numpy())["aurc"] >= 0


def test_any_model_may_judge_in_text(store):
    model = TrumpetModel()
    p = open_answers.judge(
        model, [item(0, options=("muted", "x"), gold=0), item(1, gold=0)], ["a", "b"], store=store
    )
    assert p == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.exp(6))])
    assert all(not prompt.clips for prompt in model.scored)
    assert "Right answer: dog bark\nReply: b\n" in model.scored[1].turns[0].text


def test_a_failed_reply_is_named(store):
    model = TrumpetModel()
    model.generate = lambda prompts, **_: [[failed("gone")] * _.get("n", 1)] * len(prompts)
    with pytest.raises(ModelError, match=r"gave no reply to item 'i0' \(gone\)"):
        open_answers.ask(model, [item()], store=store)


def test_a_second_run_asks_nothing(store):
    model = TrumpetModel(lambda *_: "rain")
    first = open_answers.ask(model, [item(0), replace(item(1), question="What?")], store=store)
    n, model.generate, model.option_logprobs = len(store), None, None
    again = open_answers.ask(model, [item(0), replace(item(1), question="What?")], store=store)
    assert first.equals(again)
    assert len(store) == n
