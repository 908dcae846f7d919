"""Jobs: rank 0 and the others, here as threads that talk through a dictionary."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from fake_model import FakeModel
from questions import number_of, write_benchmark
from test_ranks import Board

from lalm_utils import benchmarks
from lalm_utils.cli import jobs, ranks, shards
from lalm_utils.cli.jobs import Job
from lalm_utils.cli.ranks import Rank, RankError
from lalm_utils.models import failed
from lalm_utils.store import Store


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(ranks, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(ranks, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr(jobs, "PATIENCE_SECONDS", 5.0)


@pytest.fixture
def file(tmp_path) -> Path:
    return write_benchmark(tmp_path / "data", 24, clips=8)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "replies.sqlite", progress=False) as opened:
        yield opened


def job(file: Path, model: FakeModel, *methods: str) -> Job:
    return Job(model=model, items=benchmarks.load(file), methods=methods or ("plain", "idk"), seed=0)


def following(work: Job, store: Path, number: int, world: int, board: Board) -> threading.Thread:
    """Another rank as a thread that is already running."""

    def follow():
        try:
            jobs.follow(work, store, Rank(number=number, world=world), board, wait=20)
        except Exception as error:
            board.say(f"done {number}", f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=follow)
    thread.start()
    return thread


def together(file: Path, store: Store, models: list[FakeModel], **how) -> dict[str, int]:
    """All ranks at once, each with its model; rank 0 in this thread."""
    board, world = Board(), len(models)
    others = [following(job(file, models[i]), store.path, i, world, board) for i in range(1, world)]
    try:
        return jobs.lead(job(file, models[0]), store, Rank(world=world), board, **{"wait": 20.0} | how)
    finally:
        board.texts.setdefault("plan", json.dumps({"error": "test over"}))
        for other in others:
            other.join()


def numbers(model: FakeModel) -> list[int]:
    return sorted(number_of(text) for text, _ in model.asked)


def test_three_ranks_ask_everything_once_and_the_store_has_it_all(file, store):
    models = [FakeModel() for _ in range(3)]
    assert together(file, store, models) == {"plain": 24, "idk": 24}
    assert sorted(number for model in models for number in numbers(model)) == sorted([*range(24)] * 2)
    assert all(len(model.asked) >= 12 for model in models)
    assert len(store) == 48
    assert shards.shards_of(store.path) == []
    alone = FakeModel()
    tables = job(file, alone).tables(store)
    assert alone.asked == []
    assert [len(table) for table in tables.values()] == [24, 24]


def test_the_tables_are_those_of_one_process(file, store, tmp_path):
    together(file, store, [FakeModel() for _ in range(4)])
    with Store(tmp_path / "alone.sqlite") as other:
        work = job(file, FakeModel())
        assert jobs.lead(work, other) == {"plain": 24, "idk": 24}
        for method, table in work.tables(other).items():
            assert table.equals(job(file, FakeModel()).tables(store)[method])


def test_what_is_stored_is_not_asked_by_any_rank(file, store):
    first = job(file, FakeModel(), "plain")
    jobs.lead(first, store)
    models = [FakeModel() for _ in range(2)]
    assert together(file, store, models) == {"plain": 0, "idk": 24}
    asked = [text for model in models for text, _ in model.asked]
    assert len(asked) == 24
    assert all("reply only with IDK" in text for text in asked)


def test_a_rank_that_breaks_is_reported_and_its_replies_are_kept(file, store):
    def answer(text, sample):
        if len(broken.asked) > 9:
            raise SystemError("the device is gone")
        return "bell"

    broken = FakeModel(answer)
    with pytest.raises(
        RankError, match=r"rank 1: SystemError: the device is gone.*the same command asks the rest"
    ):
        together(file, store, [FakeModel(), broken])
    kept = len(store)
    rest = FakeModel()
    jobs.lead(job(file, rest), store)
    assert len(rest.asked) == 48 - kept
    assert kept >= 24


def test_a_rank_that_never_answers_is_given_up_after_a_time(file, store):
    with pytest.raises(RankError, match="rank 1: nothing was heard for 0 s"):
        jobs.lead(job(file, FakeModel()), store, Rank(world=2), Board(), wait=0.05)
    assert 0 < len(store) < 48


def test_a_rank_that_ended_without_a_word_is_noticed_at_once(file, store):
    board = Board()
    board.say("host 1", jobs.socket.gethostname())
    with pytest.raises(RankError, match="rank 1: its process has ended"):
        jobs.lead(job(file, FakeModel()), store, Rank(world=2), board, wait=600)


def test_a_rank_on_another_host_is_waited_for(file, store):
    board = Board()
    board.say("host 1", "elsewhere")
    with pytest.raises(RankError, match="rank 1: nothing was heard"):
        jobs.lead(job(file, FakeModel()), store, Rank(world=2), board, wait=0.05)


def test_where_rank_0_gives_up_the_others_do_too(file, store):
    board = Board()
    board.say("plan", json.dumps({"error": "no space left"}))
    model = FakeModel()
    with pytest.raises(RankError, match="rank 0 gave up: no space left"):
        jobs.follow(job(file, model), store.path, Rank(number=1, world=2), board, wait=1)
    assert model.asked == []


def test_two_launches_over_one_store_do_not_write_to_one_shard(file, store):
    board, rank = Board(), Rank(number=1, world=2)
    board.say("plan", json.dumps({"shares": [[], [[0, ["plain"]]]]}))
    with (
        shards.claimed(shards.shard_of(store.path, rank)),
        pytest.raises(RankError, match="another process is writing to it"),
    ):
        jobs.follow(job(file, FakeModel()), store.path, rank, board, wait=1)


def test_calls_that_fail_stay_missing_and_are_asked_once_more_for_the_tables(file, store):
    unlucky = [FakeModel(lambda text, s: failed("no") if number_of(text) == 5 else "bell") for _ in range(2)]
    assert together(file, store, unlucky) == {"plain": 24, "idk": 24}
    assert job(file, FakeModel()).missing(store) == {"plain": [5], "idk": [5]}
    last = FakeModel(lambda text, sample: "bell")
    tables = job(file, last).tables(store)
    assert numbers(last) == [5, 5]
    assert set(tables["plain"]["outcome"]) == {"correct", "wrong"}
