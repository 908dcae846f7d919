"""Training features on disk: rendered `train` items as log-mel features and time-stamped annotations, in chunks.

A chunk holds `CHUNK` answerable items and `UNANSWERABLE` ones of the four reasons. Its features are what the
model's own feature extractor gives, cut to the clip's length and kept as float16; its texts are not stored, since
`plan` gives them again from the chunk's number.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm
from transformers import WhisperFeatureExtractor

from lalm_utils.engine.audio_features import EDGE
from lalm_utils.mini.benchmark.plan import MODALITIES, REASONS, PlannedItem, plan, render, unanswerable
from lalm_utils.mini.benchmark.sampling import BalancedPositions
from lalm_utils.mini.benchmark.scene import RATE, Annotation

CHUNK = 1000
UNANSWERABLE = 60
HOP = 160  # samples a mel frame


@dataclass(frozen=True, kw_only=True)
class TrainingClip:
    """One clip: `mel` float16 (frames + EDGE, 80), `frames` of signal, its annotations and its planned item."""

    item: PlannedItem
    mel: np.ndarray
    frames: int
    annotations: tuple[Annotation, ...]

    @property
    def tokens(self) -> int:
        """Audio tokens the model spends on the clip: 25 a second."""
        return ((self.frames - 1) // 2 + 1 - 2) // 2 + 1


def chunk_items(chunk: int) -> list[PlannedItem]:
    """The planned items of a chunk: CHUNK answerable ones, then UNANSWERABLE others."""
    items, positions, kinds = plan("train", chunk=chunk, size=CHUNK), BalancedPositions(), tuple(MODALITIES)
    extra = [
        unanswerable(f"train-{chunk}-u{i:03d}", "train", kinds[i % 3], REASONS[i % 4], positions)
        for i in range(UNANSWERABLE)
    ]
    return items + extra


def prepare(chunks: Sequence[int], folder: Path, extractor_dir: Path, *, workers: int = 2) -> None:
    """Render the chunks that `folder` lacks. Interrupted, a rerun renders only what is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [chunk for chunk in chunks if not (folder / f"{chunk}.json").exists()]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_render_chunk, chunk, folder, extractor_dir) for chunk in missing]
        for future in tqdm(futures, desc=f"rendering chunks of {CHUNK} clips", unit="chunk"):
            future.result()


def _render_chunk(chunk: int, folder: Path, extractor_dir: Path) -> None:
    extractor = WhisperFeatureExtractor.from_pretrained(extractor_dir)
    mels, rows = [], []
    for item in chunk_items(chunk):
        scene = render(item)
        mel, frames = features(extractor, scene.samples)
        mels.append(mel)
        rows.append(
            {"frames": frames, "marks": [[m.group, m.label, m.start, m.end] for m in scene.annotations]}
        )
    np.save(folder / f"{chunk}.npy", np.concatenate(mels))
    # Written last: the chunk counts as rendered only with it.
    (folder / f"{chunk}.json").write_text(json.dumps(rows), encoding="utf-8")


def features(extractor: WhisperFeatureExtractor, samples: np.ndarray) -> tuple[np.ndarray, int]:
    """Log-mel features (frames + EDGE, 80) float16 of samples as a 16-bit file holds them, and the frames of signal."""
    pcm = np.clip(np.round(samples * 32767), -32768, 32767).astype(np.float32) / 32768
    mel = extractor(pcm, sampling_rate=RATE, padding="max_length", return_tensors="np").input_features[0]
    frames = -(-len(pcm) // HOP)
    return mel[:, : frames + EDGE].T.astype(np.float16), frames


def load(chunks: Sequence[int], folder: Path) -> list[TrainingClip]:
    """The rendered clips of the chunks, features mapped from disk."""
    clips = []
    for chunk in chunks:
        rows = json.loads((folder / f"{chunk}.json").read_text(encoding="utf-8"))
        mels, first = np.load(folder / f"{chunk}.npy", mmap_mode="r"), 0
        for item, row in zip(chunk_items(chunk), rows, strict=True):
            length = row["frames"] + EDGE
            annotations = tuple(
                Annotation(group=g, label=label, start=start, end=end)
                for g, label, start, end in row["marks"]
            )
            mel = mels[first : first + length]
            clips.append(TrainingClip(item=item, mel=mel, frames=row["frames"], annotations=annotations))
            first += length
    return clips
