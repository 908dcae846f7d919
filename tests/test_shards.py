"""Shards: who asks what, which file is whose, and how replies come together."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pytest
from fake_model import FakeModel, questions
from questions import write_benchmark

from lalm_utils import benchmarks, items
from lalm_utils.cli import shards
from lalm_utils.cli.ranks import Rank, RankError
from lalm_utils.cli.shards import claimed, deal, gather, is_free, shard_of, shards_of
from lalm_utils.store import Store


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "replies.sqlite") as opened:
        yield opened


def make_shard(store: Store, number: int, prompts: list, *, reply: str = "shard") -> Path:
    path = shard_of(store.path, Rank(number=number, world=8))
    with Store(path) as shard:
        shard.ask(FakeModel(lambda text, sample: f"{text} {reply}"), prompts)
    return path


# ---- files


def test_a_shard_is_named_after_its_store_and_rank_and_found_again(tmp_path, store):
    names = ["replies.rank3-of-8.sqlite", "replies.rank0-of-2.sqlite"]
    others = [
        "replies.rank3-of-8.sqlite-wal",
        "other.rank3-of-8.sqlite",
        "replies.rank-of-8.sqlite",
        "replies.db",
    ]
    for name in [*names, *others]:
        (tmp_path / name).touch()
    assert shard_of(store.path, Rank(number=3, world=8)).name == names[0]
    assert [path.name for path in shards_of(store.path)] == sorted(names)


def test_gathering_merges_removes_and_finds_nothing_the_second_time(tmp_path, store):
    store.ask(FakeModel(lambda text, sample: f"{text} first"), questions(2))
    make_shard(store, 1, questions(5))
    make_shard(store, 2, questions(9))
    assert gather(store) == 7
    assert gather(store) == 0
    assert len(store) == 9
    model = FakeModel()
    replies = [reply.text for (reply,) in store.ask(model, questions(9))]
    assert replies == [f"question {i} {'first' if i < 2 else 'shard'}" for i in range(9)]
    assert model.asked == []
    assert [path.name for path in tmp_path.glob("replies.*") if "rank" in path.name] == []


def test_a_shard_that_a_process_holds_is_left_alone(store, caplog):
    shard = make_shard(store, 1, questions(3))
    with claimed(shard), caplog.at_level(logging.WARNING):
        assert not is_free(shard)
        assert gather(store) == 0
        with pytest.raises(RankError, match="another process is writing to it"), claimed(shard):
            pass
    assert "replies.rank1-of-8.sqlite: another process is writing to it" in caplog.text
    assert shard.exists()
    assert is_free(shard)
    assert gather(store) == 3


def test_an_empty_shard_of_a_process_killed_at_its_start_is_no_obstacle(store):
    shard_of(store.path, Rank(number=1, world=8)).touch()
    assert gather(store) == 0
    assert shards_of(store.path) == []


# ---- dealing


def load(folder: Path, count: int, clips: int) -> list[items.Item]:
    return benchmarks.load(write_benchmark(folder, count, clips=clips))


@pytest.mark.parametrize("count, clips, world", [(1, 1, 4), (40, 40, 3), (60, 7, 4), (50, 1, 4), (0, 1, 3)])
def test_every_missing_question_is_dealt_exactly_once(tmp_path, count, clips, world):
    loaded = load(tmp_path, max(count, 1), clips)
    missing = {"plain": list(range(count)), "idk": list(range(0, count, 3))}
    shares = deal(loaded, missing, world)
    assert len(shares) == world
    dealt = Counter((method, place) for share in shares for place, methods in share for method in methods)
    assert dealt == Counter((method, place) for method, places in missing.items() for place in places)
    assert all(len({place for place, _ in share}) == len(share) for share in shares)


def test_items_on_one_clip_stay_with_one_rank(tmp_path):
    loaded = load(tmp_path, 60, 12)
    shares = deal(loaded, {"plain": list(range(60))}, 4)
    clips = [{loaded[place].clip for place, _ in share} for share in shares]
    assert sum(map(len, clips)) == len(set.union(*clips)) == 12


def test_the_load_is_balanced_even_where_all_items_share_a_clip(tmp_path):
    shares = deal(load(tmp_path, 64, 1), {"plain": list(range(64))}, 4)
    assert [len(share) for share in shares] == [shards.MOST_TOGETHER] * 4


def test_what_an_earlier_launch_has_asked_is_not_dealt_and_the_rest_is_balanced_anew(tmp_path):
    loaded = load(tmp_path, 40, 40)
    shares = deal(loaded, {"plain": list(range(30, 40))}, 5)
    assert [len(share) for share in shares] == [2] * 5


def test_a_share_begins_with_its_longest_clips(tmp_path):
    from lalm_utils.audio import write_clip

    loaded = load(tmp_path, 6, 6)
    for place, seconds in enumerate((1, 4, 2, 6, 3, 5)):
        write_clip(loaded[place].clip, [0.0] * (seconds * 16_000))
    (share,) = deal(loaded, {"plain": list(range(6))}, 1)
    assert [place for place, _ in share] == [3, 5, 1, 4, 2, 0]
    two = deal(loaded, {"plain": list(range(6))}, 2)
    assert [[place for place, _ in share] for share in two] == [[3, 4, 2], [5, 1, 0]]


def test_an_item_without_a_clip_is_dealt_and_fails_where_it_is_asked(tmp_path):
    loaded = load(tmp_path, 2, 2)
    loaded[1].clip.unlink()
    assert sum(map(len, deal(loaded, {"plain": [0, 1]}, 2))) == 2
