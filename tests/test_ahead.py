"""Clips are decoded before they are asked for, once, and by their own rules."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import tiny

from lalm_utils.audio import AudioError
from lalm_utils.engine.ahead import Ahead
from lalm_utils.engine.transformers_model import TransformersModel
from lalm_utils.store import Store

SOON = 20  # seconds that nothing here takes


class Reader:
    """Reads a path as its name; waits for leave where there is something to wait for."""

    def __init__(self) -> None:
        self.read: list[tuple[str, str]] = []
        self.leave = threading.Event()
        self.leave.set()

    def __call__(self, path: Path) -> str:
        self.read.append((path.name, threading.current_thread().name))
        assert self.leave.wait(SOON)
        if path.name == "broken":
            raise AudioError("broken: no audio")
        return path.name.upper()

    def by(self, name: str) -> list[str]:
        """The threads that read `name`."""
        return [thread for read, thread in self.read if read == name]


def test_what_is_expected_is_read_by_another_thread_and_handed_out_once():
    reader = Reader()
    ahead = Ahead(reader)
    ahead.expect([Path("a"), Path("a")])
    while not reader.by("a"):
        pass
    assert ahead(Path("a")) == "A"
    assert [name.startswith("decode") for name in reader.by("a")] == [True]
    assert ahead(Path("a")) == "A"
    assert len(reader.by("a")) == 2, "the file may have changed since"


def test_the_thread_works_while_the_caller_does_other_things():
    reader = Reader()
    reader.leave.clear()
    ahead = Ahead(reader)
    ahead.expect([Path("a"), Path("b")])  # returns although nothing is read
    reader.leave.set()
    assert (ahead(Path("a")), ahead(Path("b"))) == ("A", "B")


def test_an_error_is_raised_where_the_clip_is_asked_for_and_nowhere_else():
    ahead = Ahead(Reader())
    ahead.expect([Path("broken"), Path("a")])
    assert ahead(Path("a")) == "A"
    with pytest.raises(AudioError, match="broken: no audio"):
        ahead(Path("broken"))


def test_what_nobody_asks_for_makes_room():
    reader = Reader()
    ahead = Ahead(reader, most=2)
    for number in range(20):
        ahead.expect([Path(f"{number} {letter}") for letter in "abc"])
        assert len(ahead._coming) <= 4
    assert not reader.by("0 c"), "no more than two at once"
    assert ahead(Path("19 b")) == "19 B"


def test_the_store_tells_a_model_what_comes_next(tmp_path):
    folder = tiny.save_tiny(tmp_path / "model")
    model = TransformersModel(folder, dtype="float32", device="cpu", batch_size=2, check=False)
    clips = [tiny.write_tone(tmp_path / f"{n}.wav", 200 + 40 * n, 0.3) for n in range(6)]
    expected: list[list[Path]] = []
    own = model.expect

    def expect(prompts):
        expected.append([clip for prompt in prompts for clip in prompt.clips])
        own(prompts)

    model.expect = expect
    with Store(tmp_path / "replies.sqlite") as store:
        asked = [tiny.ask("What is it ?", clip) for clip in clips]
        replies = store.ask(model, asked, max_new_tokens=2, chunk=2)
    assert [paths for paths in expected if paths] == [clips[2:4], clips[4:]]
    assert all(several[0].finish != "failed" for several in replies)
