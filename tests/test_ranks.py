"""Ranks: what the environment says, and what processes hear of each other."""

from __future__ import annotations

import logging
import socket
import threading

import pytest

from lalm_utils.cli import ranks
from lalm_utils.cli.ranks import Channel, Rank, RankError, here

MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
ENVIRONMENTS = [
    ("nothing said", {}, Rank()),
    ("one process of torchrun", {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"} | MEETING, Rank()),
    (
        "the second host's first process",
        {"RANK": "8", "WORLD_SIZE": "16", "LOCAL_RANK": "0"} | MEETING,
        Rank(number=8, world=16, local=0),
    ),
    (
        "a process of Open MPI",
        {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
        | MEETING,
        Rank(number=3, world=4, local=1),
    ),
    (
        "torch's names before MPI's",
        {"RANK": "1", "WORLD_SIZE": "2", "PMI_RANK": "0", "PMI_SIZE": "1"} | MEETING,
        Rank(number=1, world=2, local=1),
    ),
    ("no local rank", {"RANK": "1", "WORLD_SIZE": "2"} | MEETING, Rank(number=1, world=2, local=1)),
]


@pytest.mark.parametrize("case, environment, rank", ENVIRONMENTS, ids=[row[0] for row in ENVIRONMENTS])
def test_a_rank_is_what_the_launcher_says(case, environment, rank):
    assert here(environment) == rank, case


@pytest.mark.parametrize(
    "environment, message",
    [
        ({"RANK": "2", "WORLD_SIZE": "2"} | MEETING, "a rank is less than the world's size"),
        ({"RANK": "-1", "WORLD_SIZE": "2"} | MEETING, "RANK=-1"),
        ({"RANK": "one", "WORLD_SIZE": "2"} | MEETING, "whole numbers"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "less than the world's size"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, "MASTER_ADDR and MASTER_PORT not set.* torchrun or accelerate"),
    ],
)
def test_an_environment_that_makes_no_sense_is_refused(environment, message):
    with pytest.raises(RankError, match=message):
        here(environment)


def test_one_process_where_accelerate_was_asked_for_several_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        assert here({"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1"}) == Rank()
    assert "--multi_gpu" in caplog.text
    caplog.clear()
    here({"ACCELERATE_USE_CPU": "True"})
    assert caplog.text == ""


class Board(Channel):
    """A channel within one process."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def say(self, key, text):
        self.texts[key] = text

    def heard(self, key):
        return self.texts.get(key)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(ranks, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(ranks, "GRACE_SECONDS", 0.05)


def test_waiting_ends_with_the_word_with_the_patience_or_with_the_other(monkeypatch):
    board = Board()
    board.say("plan", "all")
    assert board.wait("plan", patience=0) == "all"
    with pytest.raises(RankError, match="nothing was heard for 0 s; --wait allows longer"):
        board.wait("done 1", patience=0.05)
    with pytest.raises(RankError, match="its process has ended before its work was done"):
        board.wait("done 1", patience=60, ended=lambda: True)


def test_a_last_word_that_comes_late_is_heard():
    board = Board()

    def ended():
        threading.Timer(0.01, board.say, ("done 1", "")).start()
        return True

    assert board.wait("done 1", patience=60, ended=ended) == ""


def test_real_channels_carry_texts_between_ranks_and_fail_where_rank_0_has_gone(monkeypatch):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    for name, value in {**MEETING, "MASTER_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    made: dict[int, Channel] = {}

    def meet(number):
        made[number] = Channel(Rank(number=number, world=2, local=number), patience=120)

    other = threading.Thread(target=meet, args=(1,))
    other.start()
    meet(0)
    other.join()
    made[0].say("plan", "ä")
    assert made[1].wait("plan", patience=30) == "ä"
    assert made[1].heard("nothing") is None
    del made[0]  # the server goes with it
    with pytest.raises(RankError, match="rank 0 has gone"):
        made[1].wait("done 0", patience=60)


def test_a_rank_that_stays_alone_gives_up(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "9")
    with pytest.raises(RankError, match="rank 1 of 2: the others were not met within 1 s"):
        Channel(Rank(number=1, world=2), patience=1)
