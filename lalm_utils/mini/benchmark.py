"""The embedded benchmark on disk: splits rendered once into the user's cache, verified each time they are read.

A split's folder holds `items.json` (MMAU's schema plus `answerable`, `novel`, `truth`), `clips/*.wav` (16 kHz
mono, 16 bit) and the cache's manifest (SHA-256 of every file). The folder's name carries a digest of the generator's
own source and of the packages it draws on, so that a changed generator never meets old clips.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lalm_utils.audio import write_clip
from lalm_utils.cache import build_once
from lalm_utils.items import BenchmarkError, Item, from_record
from lalm_utils.mini.plan import SIZES, Planned, plan, render
from lalm_utils.mini.scene import RATE

SOURCES = ("scene", "draw", "plan", "words", "tasks_sound", "tasks_music", "tasks_speech", "sounds", "dsp",
           "samples", "font", "soundfont", "voice")  # fmt: skip
PACKAGES = ("espeakng-loader", "pretty_midi", "pygame-ce", "numpy", "scipy", "soxr")


def load(split: str = "test") -> list[Item]:
    """Items of `dev` (300), `idk` (900), `test` (999) or `unanswerable` (160), rendered first if need be.

    Raises BenchmarkError for any other split; `train` has no fixed size and is drawn by `plan`.
    """
    if split not in SIZES:
        raise BenchmarkError(
            f"mini: no split {split!r}; choose one of {', '.join(SIZES)} (train is generated on the fly by "
            "lalm_utils.mini.plan.plan('train', size=...))"
        )
    folder = ensure(split)
    records = json.loads((folder / "items.json").read_text(encoding="utf-8"))
    return [from_record(record, folder, benchmark="mini") for record in records]


def ensure(split: str) -> Path:
    """The folder of a split, every file as its manifest says; rendered if it is missing or damaged."""
    return build_once(
        f"mini-benchmark-{digest()}-{split}",
        lambda folder: generate(split, folder),
        notice=f"rendering the {SIZES[split]} clips of the embedded benchmark's {split} split, once",
    )


@cache
def digest() -> str:
    """Twelve hex digits over the generator's source and the versions of the packages it draws on."""
    here, total = Path(__file__).parent, hashlib.sha256()
    for name in SOURCES:
        total.update((here / f"{name}.py").read_bytes())
    for package in PACKAGES:
        total.update(f"{package}=={version(package)}".encode())
    return total.hexdigest()[:12]


def generate(split: str, folder: Path, *, workers: int | None = None) -> None:
    """Render a split into `folder`. Clips do not depend on the number of workers."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    items = plan(split)
    workers = workers or min(4, os.cpu_count() or 1)
    if workers == 1:
        seconds = _render_share(split, folder, 0, 1)
    else:
        # Spawned, not forked: the caller may be a notebook whose process already runs native threads.
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            shares = [pool.submit(_render_share, split, folder, i, workers) for i in range(workers)]
            seconds = {name: value for share in shares for name, value in share.result().items()}
    records = [record(item, seconds[item.id]) for item in items]
    (folder / "items.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


def _render_share(split: str, folder: Path, first: int, step: int) -> dict[str, float]:
    """Render every `step`-th item from `first` on; returns the clips' seconds by id."""
    seconds = {}
    for item in plan(split)[first::step]:
        scene = render(item)
        write_clip(folder / "clips" / f"{item.id}.wav", scene.samples)
        seconds[item.id] = round(len(scene.samples) / RATE, 3)
    return seconds


def record(item: Planned, seconds: float) -> dict[str, Any]:
    """The item in MMAU's schema, with the benchmark's own fields behind it."""
    draft = item.draft
    return {
        "id": item.id,
        "audio_id": f"./clips/{item.id}.wav",
        "question": draft.question,
        "choices": list(draft.options),
        "answer": None if item.reason else draft.options[draft.gold],
        "dataset": "mini",
        "task": item.modality,
        "split": item.split,
        "category": item.category,
        "sub-category": item.task,
        "difficulty": item.level,
        "answerable": not item.reason,
        "unanswerable_reason": item.reason,
        "novel": item.novel,
        "seconds": seconds,
        "truth": {**draft.truth, "rationale": draft.rationale},
    }

