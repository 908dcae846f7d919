"""Several processes: who asks what, which file is whose, how replies come together, and what a lost process costs.

Ranks are threads here, which send each other values through queues; `test_run` has real processes.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from accelerate import PartialState
from fake_model import FakeModel, questions
from questions import number_of, write_benchmark

from lalm_utils import benchmarks
from lalm_utils.audio import write_clip
from lalm_utils.cli import distributed
from lalm_utils.cli.distributed import (
    Group,
    Job,
    RankError,
    claim,
    merge_shards,
    partition,
    shard_of,
    shards_of,
)
from lalm_utils.items import Item
from lalm_utils.models import failed
from lalm_utils.store import Store


@dataclass(frozen=True, kw_only=True)
class ThreadGroup(Group):
    """A group of threads: `queues` has one for each pair of sender and receiver."""

    queues: dict = field(default_factory=dict)

    def send(self, value, rank):
        self.queues.setdefault((self.rank, rank), queue.Queue()).put(value)

    def receive(self, rank):
        with self._reporting():
            try:
                return self.queues.setdefault((rank, self.rank), queue.Queue()).get(timeout=self.wait)
            except queue.Empty as error:
                raise RuntimeError("Timed out") from error


def ranks(count: int, wait: float = 20.0) -> list[ThreadGroup]:
    queues = {(i, j): queue.Queue() for i in range(count) for j in range(count)}
    return [ThreadGroup(rank=rank, world_size=count, wait=wait, queues=queues) for rank in range(count)]


@pytest.fixture
def file(tmp_path) -> Path:
    return write_benchmark(tmp_path / "data", 24, clips=8)


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "replies.sqlite"


def job(file: Path, model: FakeModel, *methods: str) -> Job:
    return Job(model=model, items=benchmarks.load(file), methods=methods or ("plain", "idk"), seed=0)


def together(file: Path, store: Path, models: list[FakeModel]) -> tuple[dict[str, int], list[str]]:
    """All ranks at once, each with its model, rank 0 in this thread: what it returns, and what the others raise."""
    groups, errors = ranks(len(models)), []

    def follow(model, group):
        try:
            distributed.run_together(job(file, model), store, group)
        except Exception as error:
            errors.append(str(error))

    threads = [threading.Thread(target=follow, args=pair) for pair in zip(models[1:], groups[1:])]
    for thread in threads:
        thread.start()
    try:
        return distributed.run_together(job(file, models[0]), store, groups[0]), errors
    finally:
        for thread in threads:
            thread.join()


def count(store: Path) -> int:
    with Store(store) as replies:
        return len(replies)


def tables(file: Path, store: Path, model: FakeModel) -> dict:
    with Store(store) as replies:
        return job(file, model).tables(replies)


# ---- a job


def test_ranks_ask_everything_once_and_the_replies_are_those_of_one_process(file, store, tmp_path):
    models = [FakeModel() for _ in range(3)]
    assert together(file, store, models) == ({"plain": 24, "idk": 24}, [])
    numbers = [number_of(text) for model in models for text, _ in model.requests]
    assert sorted(numbers) == sorted([*range(24)] * 2)
    assert all(len(model.requests) >= 12 for model in models)
    assert count(store) == 48
    assert shards_of(store) == []
    alone = tmp_path / "alone.sqlite"
    assert distributed.run_together(job(file, FakeModel()), alone, Group()) == {"plain": 24, "idk": 24}
    again = FakeModel()
    ours, theirs = tables(file, store, again), tables(file, alone, again)
    assert again.requests == []
    assert all(len(ours[method]) == 24 and ours[method].equals(theirs[method]) for method in ("plain", "idk"))


def test_what_is_stored_is_not_asked_by_any_rank(file, store):
    distributed.run_together(job(file, FakeModel(), "plain"), store, Group())
    models = [FakeModel() for _ in range(2)]
    assert together(file, store, models) == ({"plain": 0, "idk": 24}, [])
    texts = [text for model in models for text, _ in model.requests]
    assert len(texts) == 24
    assert all("reply only with IDK" in text for text in texts)


def test_a_rank_that_breaks_is_reported_and_its_replies_are_kept(file, store):
    def answer(text, sample):
        if len(broken.requests) > 9:
            raise SystemError("the device is gone")
        return "bell"

    broken = FakeModel(answer)
    message = r"rank 1: SystemError: the device is gone.*the same command asks the rest"
    with pytest.raises(RankError, match=message):
        together(file, store, [FakeModel(), broken])
    n_stored, rest = count(store), FakeModel()
    distributed.run_together(job(file, rest), store, Group())
    assert len(rest.requests) == 48 - n_stored
    assert n_stored >= 24


def test_a_rank_that_never_answers_is_given_up_after_a_time(file, store):
    with pytest.raises(RankError, match="rank 1: nothing was heard for 0 s; --wait allows longer"):
        distributed.run_together(job(file, FakeModel()), store, ranks(2, wait=0.05)[0])
    assert 0 < count(store) < 48


def test_where_rank_0_gives_up_the_others_do_too(file, store):
    first, second = ranks(2)

    def fail():
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        first.broadcast(fail)
    model = FakeModel()
    with pytest.raises(RankError, match="rank 0 gave up: no space left"):
        distributed.run_together(job(file, model), store, second)
    assert model.requests == []


def test_two_launches_over_one_store_do_not_write_to_one_shard(file, store):
    first, second = ranks(2)
    first.broadcast(lambda: {"plain": [0, 1], "idk": []})
    with claim(shard_of(store, 1, 2)), pytest.raises(RankError, match="another process is writing to it"):
        distributed.run_together(job(file, FakeModel()), store, second)


def test_calls_that_fail_stay_missing_and_are_asked_once_more_for_the_tables(file, store):
    unlucky = [FakeModel(lambda text, s: failed("no") if number_of(text) == 5 else "bell") for _ in range(2)]
    assert together(file, store, unlucky)[0] == {"plain": 24, "idk": 24}
    with Store(store) as replies:
        assert job(file, FakeModel()).missing(replies) == {"plain": [5], "idk": [5]}
    last = FakeModel(lambda text, sample: "bell")
    assert set(tables(file, store, last)["plain"]["outcome"]) == {"correct", "wrong"}
    assert [number_of(text) for text, _ in last.requests] == [5, 5]


# ---- files


def make_shard(store: Path, rank: int, prompts: list) -> Path:
    path = shard_of(store, rank, 8)
    with Store(path) as shard:
        shard.ask(FakeModel(lambda text, sample: f"{text} shard"), prompts)
    return path


def test_a_shard_is_named_after_its_store_and_rank_and_found_again(tmp_path, store):
    names = ["replies.rank3-of-8.sqlite", "replies.rank0-of-2.sqlite"]
    others = (
        "replies.rank3-of-8.sqlite-wal",
        "other.rank3-of-8.sqlite",
        "replies.rank-of-8.sqlite",
        "replies.db",
    )
    for name in (*names, *others):
        (tmp_path / name).touch()
    assert shard_of(store, 3, 8).name == names[0]
    assert [path.name for path in shards_of(store)] == sorted(names)


def test_merging_shards_removes_them_keeps_what_was_there_and_leaves_what_a_process_holds(store, caplog):
    with Store(store) as main:
        main.ask(FakeModel(lambda text, sample: f"{text} first"), questions(2))
        make_shard(store, 1, questions(5))
        other = make_shard(store, 2, questions(9))
        shard_of(store, 3, 8).touch()  # of a process killed at its start
        with claim(other), caplog.at_level(logging.WARNING):
            assert merge_shards(main) == 3
            with pytest.raises(RankError, match="another process is writing to it"), claim(other):
                pass
        assert "replies.rank2-of-8.sqlite: another process is writing to it" in caplog.text
        assert shards_of(store) == [other]
        assert [merge_shards(main), merge_shards(main), len(main)] == [4, 0, 9]
        model = FakeModel()
        replies = [reply.text for (reply,) in main.ask(model, questions(9))]
    assert replies == [f"question {i} {'first' if i < 2 else 'shard'}" for i in range(9)]
    assert model.requests == []
    assert [path.name for path in store.parent.glob("replies.*") if "rank" in path.name] == []


# ---- shares


def load(folder: Path, number: int, clips: int) -> list[Item]:
    return benchmarks.load(write_benchmark(folder, number, clips=clips))


@pytest.mark.parametrize("number, clips, size", [(1, 1, 4), (40, 40, 3), (60, 7, 4), (50, 1, 4), (0, 1, 3)])
def test_every_missing_item_is_in_exactly_one_share(tmp_path, number, clips, size):
    missing = {"plain": list(range(number)), "idk": list(range(0, number, 3))}
    shares = partition(load(tmp_path, max(number, 1), clips), missing, size)
    assert len(shares) == size
    assert Counter(index for share in shares for index in share) == Counter(range(number))


@pytest.mark.parametrize(
    "case, number, clips, missing, size, lengths",
    [
        ("a clip each", 60, 12, range(60), 4, [15] * 4),
        ("one clip for all", 64, 1, range(64), 4, [16] * 4),
        ("only what is missing", 40, 40, range(30, 40), 5, [2] * 5),
    ],
)
def test_shares_are_balanced_and_keep_items_on_one_clip_together(
    tmp_path, case, number, clips, missing, size, lengths
):
    loaded = load(tmp_path, number, clips)
    shares = partition(loaded, {"plain": list(missing)}, size)
    assert [len(share) for share in shares] == lengths, case
    if clips > 1:
        by_rank = [{loaded[index].clip for index in share} for share in shares]
        assert sum(map(len, by_rank)) == len(set.union(*by_rank)), case


def test_a_share_begins_with_its_longest_clips_and_a_lost_clip_is_shared_out_too(tmp_path):
    loaded = load(tmp_path, 7, 7)
    for index, seconds in enumerate((1, 4, 2, 6, 3, 5)):
        write_clip(loaded[index].clip, [0.0] * (seconds * 16_000))
    loaded[6].clip.unlink()
    missing = {"plain": list(range(7))}
    assert partition(loaded, missing, 1) == [[3, 5, 1, 4, 2, 0, 6]]
    assert partition(loaded, missing, 2) == [[3, 1, 2, 6], [5, 4, 0]]


# ---- launches


@pytest.fixture
def launched(monkeypatch):
    """Sets the environment of a launcher."""
    names = (*distributed.RANK, *distributed.WORLD_SIZE, "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    for name in (*names, "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)
    yield lambda **variables: [monkeypatch.setenv(name, value) for name, value in variables.items()]
    PartialState._reset_state()


@pytest.mark.parametrize("variables", [{}, {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}])
def test_a_single_process_is_alone_and_makes_no_process_group(launched, variables):
    import torch.distributed as dist

    launched(**variables)
    group = distributed.join(0.0)
    assert group == Group()
    assert group.broadcast(lambda: 3) == 3
    group.leave()
    assert not dist.is_initialized()


@pytest.mark.parametrize(
    "variables, message",
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, "a rank is less than the world's size"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK=-1"),
        ({"RANK": "first", "WORLD_SIZE": "2"}, "whole numbers"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "less than the world's size"),
        ({"PMI_RANK": "4", "PMI_SIZE": "4"}, "RANK=4, WORLD_SIZE=4"),
    ],
)
def test_an_environment_that_makes_no_sense_is_refused(launched, variables, message):
    launched(MASTER_ADDR="127.0.0.1", MASTER_PORT="29500", **variables)
    with pytest.raises(RankError, match=message):
        distributed.join(1.0)


def test_a_process_that_no_other_meets_gives_up(launched):
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9", "OMP_NUM_THREADS": "1"}
    launched(RANK="1", WORLD_SIZE="2", LOCAL_RANK="1", LOCAL_WORLD_SIZE="2", **meeting)
    message = "rank 1 of 2: the others were not met within 1 s.* torchrun or accelerate launch.* MASTER_ADDR"
    with pytest.raises(RankError, match=message):
        distributed.join(1.0)


def test_one_process_where_accelerate_was_to_start_several_is_reported(launched, caplog):
    launched(ACCELERATE_USE_CPU="True", MASTER_ADDR="127.0.0.1")
    with caplog.at_level(logging.WARNING):
        assert distributed.join(1.0) == Group()
    assert "--multi_gpu" in caplog.text
