"""Questions and clips of the embedded benchmark, as its tasks return them.

A `QuestionSpec` has the text of a question and `build(rng)`, which renders its clip: a `Scene` of 16 kHz mono samples
with annotations of what sounds when. A `Mixer` is where a scene is put together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

RATE = 16_000  # Hz, what Whisper-type encoders take
MAX_SECONDS = 6.0
LEVELS = ("easy", "medium", "hard")


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """Something true of the clip from `start` to `end` (seconds): in `group` "content", the label "bell"."""

    group: str
    label: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A rendered clip: `samples` float32 (n,), 16 kHz, peak at most 0.95, at most 6 s, and its annotations."""

    samples: np.ndarray
    annotations: tuple[Annotation, ...]


@dataclass(frozen=True, kw_only=True)
class QuestionSpec:
    """One question before its clip is rendered.

    `pool` holds every label that could stand among the options (training redraws distractors from it);
    `wordings` are all phrasings of the question, one of which is `question`. `rationale` reports what is heard,
    without naming the answer unless the answer *is* what is heard. `truth` is stored with the item.
    """

    question: str
    wordings: tuple[str, ...]
    options: tuple[str, ...]
    gold: int
    pool: tuple[str, ...]
    build: Callable[[np.random.Generator], Scene]
    rationale: str
    truth: Mapping[str, Any] = field(default_factory=dict)


class Mixer:
    """A timeline of sounds; `finish` adds noise, trims to 6 s and sets the level."""

    def __init__(self, modality: str) -> None:
        self.modality = modality
        self._parts: list[tuple[int, np.ndarray]] = []
        self.annotations: list[Annotation] = []
        self.end = 0.0

    def add(self, samples: np.ndarray, *, at: float, gain_db: float = 0.0) -> float:
        """Add `samples` (n,) from `at` seconds on; returns the second at which they end."""
        self._parts.append((round(at * RATE), samples.astype(np.float32) * 10 ** (gain_db / 20)))
        stop = at + len(samples) / RATE
        self.end = max(self.end, stop)
        return stop

    def annotate(self, group: str, label: str, start: float, end: float) -> None:
        self.annotations.append(Annotation(group=group, label=label, start=start, end=end))

    def annotate_all(self, group: str, label: str) -> None:
        """Annotate from the start to wherever the clip will end."""
        self.annotate(group, label, 0.0, MAX_SECONDS)

    def mixdown(self) -> np.ndarray:
        """The sum of all parts, (n,), cut at 6 s."""
        total = np.zeros(min(int(self.end * RATE) + 1, int(MAX_SECONDS * RATE)), np.float32)
        for first, samples in self._parts:
            room = len(total) - first
            if room > 0:
                piece = samples[:room]
                total[first : first + len(piece)] += piece
        return total

    def finish(self, rng: np.random.Generator, *, snr_db: float | None = None) -> Scene:
        """Render: optional noise at `snr_db` below the active sound, then a level between -12 and -1 dB of peak."""
        samples = self.mixdown()
        if snr_db is not None:
            samples = samples + noise_like(rng, len(samples)) * active_rms(samples) * 10 ** (-snr_db / 20)
        peak = float(np.max(np.abs(samples))) or 1.0
        samples = samples * (10 ** (rng.uniform(-12.0, -1.0) / 20) / peak)
        seconds = len(samples) / RATE
        self.annotate_all("type", self.modality)
        annotations = tuple(
            Annotation(group=m.group, label=m.label, start=m.start, end=min(m.end, seconds))
            for m in self.annotations
            if m.start < seconds
        )
        return Scene(samples=samples.astype(np.float32), annotations=annotations)


def active_rms(samples: np.ndarray) -> float:
    """Root mean square over the parts of `samples` within 30 dB of their loudest 20 ms; at least 1e-6."""
    frame = RATE // 50
    count = max(1, len(samples) // frame)
    power = np.array([np.mean(np.square(part)) for part in np.array_split(samples, count)])
    loud = power[power > power.max() * 1e-3]
    return float(np.sqrt(loud.mean())) if loud.size else 1e-6


def noise_like(rng: np.random.Generator, count: int) -> np.ndarray:
    """Unit-RMS noise (count,), its colour random between white and brownish by a one-pole filter in frequency."""
    tilt = rng.uniform(0.0, 0.9)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.maximum(np.fft.rfftfreq(count, 1 / RATE), 50.0)
    shaped = np.fft.irfft(spectrum * frequency**-tilt, count)
    return (shaped / np.sqrt(np.mean(np.square(shaped)))).astype(np.float32)
