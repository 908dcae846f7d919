"""A benchmark in MMAU's layout, made by hand, for the tests of runs on one or many processes.

Also run as a program, as one rank that can be killed: `questions.py LOG SECONDS ARGUMENTS...` is `python -m
lalm_utils ARGUMENTS...` with a model that logs rank and question, waits, and replies "bell".
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from fake_model import FakeModel

from lalm_utils.__main__ import main
from lalm_utils.audio import RATE, write_clip
from lalm_utils.cli import run

MODALITIES = ("sound", "music", "speech")


def write_benchmark(folder: Path, count: int = 6, *, clips: int = 3, **changes: Any) -> Path:
    """A question file of `count` items on `clips` clips, with `changes` to every record."""
    for number in range(clips):
        time_ = np.arange(round((0.3 + 0.05 * number % 1) * RATE)) / RATE
        (folder / "audio").mkdir(parents=True, exist_ok=True)
        tone = 0.5 * np.sin(2 * np.pi * (200 + 7 * number) * time_)
        write_clip(folder / "audio" / f"{number}.wav", tone.astype(np.float32))
    records = [
        {
            "id": f"q{number}",
            "audio_id": f"./audio/{number % clips}.wav",
            "question": f"Which sound is question {number} ?",
            "choices": ["bell", "rain"],
            "answer": ["bell", "rain"][number % 2],
            "task": MODALITIES[number % 3],
            **changes,
        }
        for number in range(count)
    ]
    file = folder / "mmau.json"
    file.write_text(json.dumps(records), encoding="utf-8")
    return file


def number_of(text: str) -> int:
    """The number of the item that a prompt of this benchmark asks about."""
    return int(text.split(" ?")[0].rpartition(" ")[2])


def logging_model(log: str, seconds: float) -> FakeModel:
    """Replies "bell" after `seconds`, and logs the rank and the item's number before."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def answer(text: str, sample: int) -> str:
        os.write(file, f"{os.environ.get('RANK', '0')} {number_of(text)}\n".encode())
        time.sleep(seconds)
        return "bell"

    return FakeModel(answer)


if __name__ == "__main__":
    slow = logging_model(sys.argv[1], float(sys.argv[2]))
    run.load_model = lambda name, **options: slow
    sys.exit(main(sys.argv[3:]))
