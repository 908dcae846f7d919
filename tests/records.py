"""Items, records in MMAU's schema and folders of them, for the tests of items and benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lalm_utils.audio import RATE, write_clip
from lalm_utils.items import Item

SHARED = Path(__file__).resolve().parents[2] / "shared"


def official(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"needs the official files of {name} in {SHARED}")
    return SHARED / name


def an_item(**changes) -> Item:
    fields = {
        "id": "1",
        "benchmark": "mini",
        "split": "test",
        "modality": "sound",
        "question": "What barks?",
        "options": ("A dog", "A cat", "A cow", "A hen"),
        "gold": 0,
        "clip": Path("/data/clips/1.wav"),
    }
    return Item(**{**fields, **changes})


def a_record(**changes) -> dict:
    fields = {
        "id": "1",
        "audio_id": "./clips/1.wav",
        "question": "What barks?",
        "choices": ["A dog", "A cat", "A cow", "A hen"],
        "answer": "A cat",
        "dataset": "AudioSet",
        "task": "sound",
        "split": "test-mini",
        "category": "Reasoning",
        "sub-category": "Acoustic Source Inference",
        "difficulty": "easy",
    }
    return {**fields, **changes}


def a_folder(tmp_path: Path, records: list[dict], *, clips: bool = True) -> Path:
    """An MMAU folder with a tone for every record."""
    (tmp_path / "questions.json").write_text(json.dumps(records), encoding="utf-8")
    (tmp_path / "clips").mkdir(exist_ok=True)
    for record in records if clips else ():
        write_clip(tmp_path / record["audio_id"], np.full(RATE, 0.1))
    return tmp_path


def numbered(count: int, **changes) -> list[dict]:
    return [a_record(id=f"{i}", audio_id=f"./clips/{i}.wav", **changes) for i in range(count)]
