"""Asking one by one against asking together: the counts are exact, the seconds are only there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tiny import save_tiny, write_tone

from lalm_utils import prompts
from lalm_utils.cli import speed
from lalm_utils.engine.plain_engine import PlainEngine
from lalm_utils.items import Item
from lalm_utils.load_model import load_model
from lalm_utils.models import ModelError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_tiny(tmp_path_factory.mktemp("tiny") / "model"), dtype="float32", check=False)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    place = tmp_path_factory.mktemp("clips")
    return [
        Item(
            id=f"i{i}", benchmark="mini", split="test", modality="sound", question="Which ?",
            options=("bell", "rain"), gold=0, clip=write_tone(place / f"{i % 2}.wav", 300 + 90 * (i % 2), 0.4),
        )
        for i in range(3)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def table(model, asked):
    return speed.compare(model, asked, repeats=2)


def test_every_task_is_timed_in_both_ways_at_each_repeat(table):
    assert list(table.columns) == list(speed.COLUMNS)
    assert len(table) == 3 * 2 * 2
    assert not table.duplicated(["task", "way", "repeat"]).any()
    assert (table["seconds"] > 0).all()


def test_both_ways_give_as_many_replies(table):
    replies = table.groupby("task")["replies"].agg(set).to_dict()
    assert replies == {speed.GREEDY: {3}, speed.SAMPLED: {15}, speed.SEVERAL: {12}}


def test_together_each_clip_is_heard_once_whatever_is_asked_of_it(table):
    heard = table.groupby(["way", "task"])["passes_per_clip"].agg(set)
    assert heard[speed.TOGETHER].tolist() == [{1.0}] * 3
    assert heard[speed.LOOP, speed.SEVERAL] == {6.0}  # three questions on two clips, by four methods


def test_the_models_own_engine_and_caches_are_left_alone(model, asked):
    engine, passes = model.engine, model.engine.audio.passes
    speed.compare(model, asked[:1], repeats=1)
    assert model.engine is engine
    assert engine.audio.passes == passes


def test_ratios_are_of_medians_with_their_lowest_and_highest_repeat():
    rows = [("one reply", way, repeat, 2, 2, seconds, passes)
            for repeat, (slow, fast) in enumerate([(8, 2), (6, 3), (10, 2)])
            for way, seconds, passes in ((speed.LOOP, slow, 1.0), (speed.TOGETHER, fast, 1.0))]  # fmt: skip
    shown = speed.ratios(pd.DataFrame(rows, columns=list(speed.COLUMNS))).loc["one reply"]
    assert (shown[speed.LOOP], shown[speed.TOGETHER]) == (4.0, 1.0)
    assert (shown["ratio"], shown["lowest"], shown["highest"]) == (4.0, 2.0, 5.0)


def test_a_long_run_is_timed_block_by_block(model, asked):
    frame = speed.over_many(model, asked * 2, block=2)
    assert list(frame["block"]) == [1, 2, 3]
    assert (frame[["forward", "backward"]] > 0).all(axis=None)
    with pytest.raises(ValueError, match="3 items are not two blocks of 2"):
        speed.over_many(model, asked, block=2)


def test_a_drift_is_told_from_blocks_that_take_longer():
    place, heavy = np.arange(4), np.array([1.0, 3.0, 1.5, 2.0])
    grown = 1.1 ** (place / 3)
    frame = pd.DataFrame({"forward": heavy * grown, "backward": heavy * grown[::-1]})
    assert speed.drift(frame) == pytest.approx(0.1)
    assert speed.drift(frame.assign(backward=frame["forward"])) == pytest.approx(0)
    assert speed.drift(frame.rename(columns={"forward": "backward", "backward": "forward"})) < 0


def test_what_cannot_be_compared_is_refused(model, asked):
    with pytest.raises(ValueError, match="0 items, 3 repeats"):
        speed.compare(model, [])
    other = load_model(model.files.folder, dtype="float32", check=False)
    other.engine = PlainEngine(other.model, other.processor, ends=other.parts.ends)
    with pytest.raises(ModelError, match="its engine shares nothing between prompts"):
        speed.compare(other, asked)


def test_one_by_one_and_together_reply_the_same_in_float32(model, asked):
    frame = speed.side_by_side(model, [prompts.render(item, "plain") for item in asked])
    assert list(frame.columns) == [speed.LOOP, speed.TOGETHER, "equal"]
    assert frame["equal"].all()


def test_a_goal_that_is_missed_is_said_to_be_missed():
    frame = pd.DataFrame({"ratio": [5.0, 9.0, 3.0], "passes_per_clip": 1.0},
                         index=[speed.GREEDY, speed.SAMPLED, speed.SEVERAL])  # fmt: skip
    goals = pd.Series({speed.GREEDY: 4.0, speed.SAMPLED: 10.0, speed.SEVERAL: float("nan")})
    table = speed.verdicts(frame, goals, drift=0.04, peak_gb=3.2)
    assert table["met"].tolist() == [True, False, True, True, False]
    assert table["measured"].tolist() == [5.0, 9.0, 1.0, 0.04, 3.2]
