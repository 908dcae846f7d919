"""The embedded benchmark on disk: splits rendered once into the user's cache, verified each time they are read.

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

from lalm_utils.audio import check_clip, write_clip
from lalm_utils.cache import build_once
from lalm_utils.items import BenchmarkError, Item, from_record
from lalm_utils.mini.plan import SIZES, Planned, plan, render

VERSION = "1"  # of questions and clips
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


def planned(split: str) -> list[Item]:
    """The split's items as planned: all that `load` gives but their clips, of which none is rendered."""
    return [from_record(record(item, 0.0), Path.cwd(), benchmark="mini") for item in plan(split)]


def ensure(split: str) -> Path:
    """The folder of a split, every file as its manifest says; rendered if it is missing or damaged."""
    return build_once(
        f"mini-benchmark-{generator_version()}-{split}",
        lambda folder: generate(split, folder),
        notice=f"rendering the {SIZES[split]} clips of the embedded benchmark's {split} split, once",
    )


def packages() -> tuple[str, ...]:
    """What decides the samples beside this generator: "numpy==2.4.6" and the like."""
    return tuple(f"{package}=={version(package)}" for package in PACKAGES)


def generator_version() -> str:
    """VERSION and eight hex digits over the versions of the packages that the generator draws on."""
    return f"{VERSION}-{hashlib.sha256(' '.join(packages()).encode()).hexdigest()[:8]}"


def generate(split: str, folder: Path, *, workers: int | None = None, size: int | None = None) -> None:
    """Render a split into `folder`. Clips do not depend on the number of workers.

    The workers are processes of their own, not multiprocessing's: those would run the caller's script again, and
    a script without a `__main__` guard would then wait for itself. `size` replaces the split's own, for tests.
    """
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    items = plan(split, size=size)
    workers = workers or min(4, os.cpu_count() or 1)
    if workers == 1:
        render_share(items, folder)
    else:
        shares = [_start_share(split, folder, i, workers, len(items)) for i in range(workers)]
        complaints = [share.communicate()[1] for share in shares]  # all of them, before any is raised
        for share, complaint in zip(shares, complaints):
            _check_share(share, complaint, split)
    seconds = [round(check_clip(folder / "clips" / f"{item.id}.wav"), 3) for item in items]
    records = [record(item, length) for item, length in zip(items, seconds)]
    (folder / "items.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


def render_share(items: Sequence[Planned], folder: Path) -> None:
    """Render these items' clips into `folder`/clips."""
    for item in items:
        write_clip(folder / "clips" / f"{item.id}.wav", render(item).samples)


def _start_share(split: str, folder: Path, first: int, step: int, size: int) -> subprocess.Popen:
    """A process that renders every `step`-th item from `first` on."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    words = [sys.executable, "-m", "lalm_utils.mini.benchmark", split, folder, first, step, size]
    return subprocess.Popen(
        list(map(str, words)), env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE, text=True
    )


def _check_share(share: subprocess.Popen, complaint: str, split: str) -> None:
    if share.returncode:
        raise RuntimeError(
            f"rendering mini's {split} split failed (exit {share.returncode}):\n{complaint[-2000:]}"
        )


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


if __name__ == "__main__":
    split, folder, first, step, size = sys.argv[1:]
    render_share(plan(split, size=int(size))[int(first) :: int(step)], Path(folder))
