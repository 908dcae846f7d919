"""The engine against its peers and its own parts: the counts are exact, the seconds are only there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tiny import write_tone

from lalm_utils import prompts
from lalm_utils.cli import speed
from lalm_utils.items import Item
from lalm_utils.models import ModelError


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return [
        Item(
            id=f"i{i}", benchmark="mini", split="test", modality="sound", question="Which ?",
            options=("bell", "rain"), gold=0, clip=write_tone(folder / f"{i % 2}.wav", 300 + 90 * (i % 2), 0.4),
        )
        for i in range(3)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def table(tiny_model, items):
    return speed.compare(tiny_model, items, repeats=2)


def test_every_task_is_timed_in_every_way_at_each_repeat(table):
    assert list(table.columns) == list(speed.COLUMNS)
    assert len(table) == 3 * 3 * 2
    assert not table.duplicated(["task", "way", "repeat"]).any()
    assert (table["seconds"] > 0).all()


def test_all_ways_give_as_many_replies(table):
    replies = table.groupby("task")["replies"].agg(set).to_dict()
    assert replies == {speed.GREEDY: {3}, speed.SAMPLED: {15}, speed.SEVERAL: {12}}


def test_together_each_clip_is_heard_once_whatever_is_asked_of_it(table):
    passes = table.groupby(["way", "task"])["passes_per_clip"].agg(set)
    assert passes[speed.TOGETHER].tolist() == [{1.0}] * 3
    assert (
        passes[speed.LOOP, speed.SEVERAL] == passes[speed.BATCHED, speed.SEVERAL] == {6.0}
    )  # three questions on two clips, by four methods


def test_the_models_own_engine_and_caches_are_left_alone(tiny_model, items):
    engine, passes = tiny_model.engine, tiny_model.engine.audio.passes
    speed.compare(tiny_model, items[:1], repeats=1)
    assert tiny_model.engine is engine
    assert engine.audio.passes == passes


def test_ratios_are_medians_with_the_range_of_the_repeats():
    rows = [("one reply", way, repeat, 2, 2, seconds, passes)
            for repeat, (slow, batched, fast) in enumerate([(8, 4, 2), (6, 4, 3), (10, 3, 2)])
            for way, seconds, passes in (
                (speed.LOOP, slow, 1.0), (speed.BATCHED, batched, 1.0), (speed.TOGETHER, fast, 1.0))]  # fmt: skip
    frame = speed.ratios(pd.DataFrame(rows, columns=list(speed.COLUMNS)))
    columns = ["value", "low", "high", "n", "status"]
    assert frame.loc[("one reply", speed.LOOP), columns].tolist() == [4.0, 2.0, 5.0, 2, ""]
    assert frame.loc[("one reply", speed.BATCHED), columns].tolist() == [1.5, 4 / 3, 2.0, 2, ""]


def test_a_single_repeat_has_no_range(table):
    frame = speed.ratios(table[table["repeat"] == 0])
    assert len(frame) == 2 * len(speed.TASKS)
    assert frame[["low", "high"]].isna().all(axis=None)
    assert set(frame["status"]) == {"a single repeat"}


def test_a_long_run_is_timed_block_by_block(tiny_model, items):
    frame = speed.over_many(tiny_model, items * 2, block=2)
    assert list(frame["block"]) == [1, 2, 3]
    assert (frame[["forward", "backward"]] > 0).all(axis=None)
    with pytest.raises(ValueError, match="3 items are not two blocks of 2"):
        speed.over_many(tiny_model, items, block=2)


def test_a_drift_is_told_from_blocks_that_take_longer():
    index, heavy = np.arange(4), np.array([1.0, 3.0, 1.5, 2.0])
    grown = 1.1 ** (index / 3)
    frame = pd.DataFrame({"forward": heavy * grown, "backward": heavy * grown[::-1]})
    assert speed.drift(frame) == pytest.approx(0.1)
    assert speed.drift(frame.assign(backward=frame["forward"])) == pytest.approx(0)
    assert speed.drift(frame.rename(columns={"forward": "backward", "backward": "forward"})) < 0


def test_what_cannot_be_compared_is_refused(tiny_model, items):
    with pytest.raises(ValueError, match="0 items, 3 repeats"):
        speed.compare(tiny_model, [])
    with pytest.raises(ModelError, match="its engine shares nothing between prompts"):
        speed.compare(tiny_model.with_generic_engine(), items)


def test_one_by_one_and_together_reply_the_same_in_float32(tiny_model, items):
    frame = speed.side_by_side(tiny_model, [prompts.render(item, "plain") for item in items])
    assert list(frame.columns) == [speed.LOOP, speed.TOGETHER, "equal"]
    assert frame["equal"].all()


def test_a_goal_that_is_missed_is_said_to_be_missed():
    index = pd.MultiIndex.from_product([speed.TASKS, [speed.BATCHED]])
    frame = pd.DataFrame({"value": [5.0, 9.0, 1.5]}, index=index)
    goals = dict(zip(speed.TASKS, (4.0, 10.0, 1.5)))
    table = speed.verdicts(frame, goals, passes=1.0, drift=0.04, peak_gb=3.2)
    assert table["met"].tolist() == [True, False, True, True, True, False]
    assert table["measured"].tolist() == [5.0, 9.0, 1.5, 1.0, 0.04, 3.2]
    worse = speed.verdicts(frame, goals, passes=1.5, drift=0.06, peak_gb=2.9)
    assert worse["met"].tolist() == [True, False, True, False, False, True]


def test_batched_generate_gives_the_engines_greedy_replies_in_float32(tiny_model, items, monkeypatch):
    texts, tokenizer = [], tiny_model.processor.tokenizer
    real = tokenizer.batch_decode
    monkeypatch.setattr(tokenizer, "batch_decode", lambda *a, **k: texts.extend(real(*a, **k)) or texts)
    speed._batched(tiny_model, speed._calls(speed.GREEDY, items), 0)
    (call,) = speed._calls(speed.GREEDY, items)
    replies = tiny_model.generate(call[0], max_new_tokens=call[3])
    assert sorted(texts) == sorted(reply.text for (reply,) in replies)


def test_parts_are_switched_off_in_turn_and_change_no_reply(tiny_model, items):
    switches = {name: speed.SWITCHES[name] for name in (speed.WHOLE, "no drafts", "no prefix cache")}
    table = speed.ablation(tiny_model, items, switches=switches, repeats=2)
    assert len(table) == 3 * 3 * 2
    assert (table[["seconds", "cpu_seconds"]] > 0).all(axis=None)
    frame = speed.slowdowns(table)
    assert (frame.xs(speed.WHOLE, level="switch")[["ratio", "lowest", "highest"]] == 1).all(axis=None)
    rendered = [prompts.render(item, method) for item in items for method in speed.METHODS]
    settings = {"n": 2, "temperature": 1.0, "max_new_tokens": 6}
    expected = tiny_model.generate(rendered, **settings)
    for options in speed.SWITCHES.values():
        assert speed._with_empty_caches(tiny_model, **options).generate(rendered, **settings) == expected
