"""A split of the embedded benchmark on disk, rendered once into the user's cache and verified each time it is read.

A split's folder holds `items.json` (MMAU's schema plus `answerable`, `novel`, `truth`), `clips/*.wav` (16 kHz
mono, 16 bit) and the cache's manifest (SHA-256 of every file). The folder's name carries the generator's version and a
digest of the versions of the packages it draws on, so that a changed generator never meets old clips. The version is
raised by hand when questions or clips change; tests/test_mini_golden.py fails when they do and it was not.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lalm_utils.cache import build_once
from lalm_utils.mini.benchmark import plan as questions
from lalm_utils.mini.benchmark import probes
from lalm_utils.mini.benchmark.plan import SIZES, PlannedItem, render
from lalm_utils.mini.benchmark.wav import seconds_of, write_wav

VERSION = "2"  # of questions and clips
PACKAGES = ("espeakng-loader", "pretty_midi", "pygame-ce", "numpy", "scipy", "soxr")


def ensure(split: str) -> Path:
    """The folder of `dev` (300), `idk` (900), `test` (999), `final` (600), `unanswerable` (160) or a probe of trust
    (240 each, see probes.py), every file as its manifest says.

    Rendered if a file is missing or not as the manifest says. Raises ValueError for any other split; `train` has no
    fixed size and is sampled by `plan`.
    """
    _check_split(split)
    return build_once(
        f"mini-benchmark-{generator_version()}-{split}",
        lambda folder: generate(split, folder),
        notice=f"rendering the clips of the embedded benchmark's {split} split, once",
    )


def planned_records(split: str) -> list[dict[str, Any]]:
    """The records of the split's `items.json` as planned, `seconds` 0: no clip is rendered."""
    _check_split(split)
    return [record(item, 0.0) for item in plan(split)]


def plan(split: str, *, size: int | None = None) -> list[PlannedItem]:
    """The items of a split in their final order, as plan.py or probes.py makes them."""
    return (probes if split in probes.SPLITS else questions).plan(split, size=size)


def _check_split(split: str) -> None:
    if split not in (*SIZES, *probes.SPLITS):
        raise ValueError(
            f"no split {split!r}; choose one of {', '.join((*SIZES, *probes.SPLITS))} (train is generated on the "
            "fly by lalm_utils.mini.benchmark.plan.plan('train', size=...))"
        )


def generator_version() -> str:
    """VERSION and eight hex digits over the versions of the packages that the generator draws on."""
    return f"{VERSION}-{hashlib.sha256(' '.join(packages()).encode()).hexdigest()[:8]}"


def packages() -> tuple[str, ...]:
    """What decides the samples beside this generator: "numpy==2.4.6" and the like."""
    return tuple(f"{package}=={version(package)}" for package in PACKAGES)


def generate(split: str, folder: Path, *, workers: int | None = None, size: int | None = None) -> None:
    """Render a split into `folder`. Clips do not depend on the number of workers.

    The workers are processes of their own, not multiprocessing's: those would run the caller's script again, and
    a script without a `__main__` guard would then wait for itself. `size` replaces the split's own, for tests.
    """
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    items = plan(split, size=size)
    workers = workers or min(4, os.cpu_count() or 1)
    if workers == 1:
        render_clips(items, folder)
    else:
        processes = [_start_worker(split, folder, i, workers, len(items)) for i in range(workers)]
        errors = [process.communicate()[1] for process in processes]  # all of them, before any is raised
        for process, error in zip(processes, errors):
            _check_worker(process, error, split)
    records = [record(item, round(seconds_of(_clip(folder, item)), 3)) for item in items]
    (folder / "items.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


def render_clips(items: Sequence[PlannedItem], folder: Path) -> None:
    """Render these items' clips into `folder`/clips."""
    for clip, item in {_clip(folder, item): item for item in items}.items():
        write_wav(clip, render(item).samples)


def _clip(folder: Path, item: PlannedItem) -> Path:
    return folder / "clips" / f"{item.seed}.wav"  # items of one seed share their clip


def _start_worker(split: str, folder: Path, first: int, step: int, size: int) -> subprocess.Popen:
    """A process that renders every `step`-th item from `first` on."""
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "lalm_utils.mini.benchmark", split, folder, first, step, size]
    return subprocess.Popen(
        list(map(str, command)), env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE, text=True
    )


def _check_worker(process: subprocess.Popen, error: str, split: str) -> None:
    if process.returncode:
        raise RuntimeError(
            f"rendering mini's {split} split failed (exit {process.returncode}):\n{error[-2000:]}"
        )


def record(item: PlannedItem, seconds: float) -> dict[str, Any]:
    """The item in MMAU's schema, with the benchmark's own fields behind it."""
    spec = item.spec
    return {
        "id": item.id,
        "audio_id": f"./clips/{item.seed}.wav",
        "question": spec.question,
        "choices": list(spec.options),
        "answer": None if item.reason else spec.options[spec.gold],
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
        "truth": {**spec.truth, "rationale": spec.rationale},
    }
