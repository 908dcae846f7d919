"""Interventions on the audio: noise, masks, an adverse voice and fragments, at an exact strength.

In: 16 kHz mono samples in [-1, 1], shape (n,), and a strength. Out: samples of the same kind, scaled down as a whole
where they would exceed full scale. At strength 0 the samples come back as they are. After arXiv 2509.22363 (v3, v4)
and, for fragments, arXiv 2604.24401. Silence and swapped clips are in runs.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from lalm_utils import bootstrap, runs
from lalm_utils.audio import content_hash, read_clip, write_clip
from lalm_utils.cache import cache_dir
from lalm_utils.items import Item

__all__ = ["CHUNKS", "fragment", "mask", "overlay", "power", "white_noise", "with_audio"]
CHUNKS = 10  # blocks over which a mask is distributed, as in the follow-up's code
Samples = np.ndarray


def power(samples: Samples) -> float:
    """Mean square."""
    return float(np.mean(np.square(samples, dtype=np.float64)))


def white_noise(samples: Samples, snr_db: float, *, seed: int | np.random.Generator = 0) -> Samples:
    """White noise added at a signal-to-noise ratio in dB; infinity adds none. ValueError for a silent clip."""
    if np.isposinf(snr_db):
        return samples
    if not power(samples) or not np.isfinite(snr_db):
        raise ValueError(
            f"SNR {snr_db} dB on samples of power {power(samples):.3g}: the ratio is finite and the clip not silent; "
            "leave silent clips out"
        )
    noise = np.random.default_rng(seed).standard_normal(len(samples))
    noise *= np.sqrt(power(samples) / power(noise)) * 10 ** (-snr_db / 20)
    return _within_scale(samples + noise)


def mask(
    samples: Samples,
    strength: float,
    *,
    filler: Literal["silence", "noise"] = "silence",
    position: Literal["random", "start", "end"] = "random",
    chunks: int = CHUNKS,
    seed: int = 0,
) -> Samples:
    """That share of the samples gives way to silence, or to white noise of the clip's own power.

    random: the same share of each of `chunks` blocks, somewhere in it; start, end: one stretch there. To the sample,
    round(strength * n) are masked. ValueError for a strength outside [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength {strength}: a share of the clip in [0, 1] is needed, 0 masks nothing")
    n, rng = len(samples), np.random.default_rng(seed)
    masked = np.zeros(n, bool)
    if position == "random":
        bounds = np.round(np.linspace(0, n, chunks + 1)).astype(int)
        ends = np.round(strength * bounds).astype(int)  # so that rounding does not add up over the blocks
        for first, stop, size in zip(bounds[:-1], bounds[1:], np.diff(ends)):
            at = first + int(rng.integers(stop - first - size + 1))
            masked[at : at + size] = True
    else:
        size = round(strength * n)
        masked[slice(0, size) if position == "start" else slice(n - size, n)] = True
    noise = rng.standard_normal(n) * np.sqrt(power(samples)) if filler == "noise" else np.zeros(n)
    return _within_scale(np.where(masked, noise, samples)) if masked.any() else samples


def overlay(samples: Samples, voice: Samples, *, level: float = 1.0) -> Samples:
    """A voice laid over the clip from its start, with `level` times the clip's power where it speaks.

    Adversarial speech stays at a level of at most 1. A clip shorter than the voice is followed by silence.
    """
    if not 0 <= level <= 1:
        raise ValueError(f"level {level}: adversarial speech has at most the power of the clip, so in [0, 1]")
    mixed = np.zeros(max(len(samples), len(voice)))
    mixed[: len(samples)] = samples
    mixed[: len(voice)] += voice * np.sqrt(level * power(samples) / max(power(voice), 1e-12))
    return _within_scale(mixed) if level else samples


def fragment(samples: Samples, number: int, parts: int) -> Samples:
    """The `number`-th (from 0) of `parts` contiguous fragments, equally long to a sample."""
    if not 0 <= number < parts:
        raise ValueError(f"fragment {number} of {parts}: they are numbered from 0 to {parts - 1}")
    return np.array_split(samples, parts)[number]


def with_audio(
    items: Sequence[Item], change: Callable[[Item, Samples, int], Samples], *, seed: int = 0
) -> list[Item]:
    """The same questions on changed clips, which are kept in the user's cache by their content.

    change: (item, its samples, a seed of its own) to samples. Raises AudioError for a clip that cannot be read, or
    that is changed into one too short to be heard.
    """
    folder = cache_dir() / "changed_clips"
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for item in items:
        own_seed = int(bootstrap.generator(seed, item.id).integers(2**31))
        samples = np.asarray(change(item, read_clip(item.clip).samples, own_seed), np.float32)
        clips.append(folder / f"{content_hash(samples)}.wav")
        if not clips[-1].exists():
            write_clip(clips[-1], samples)
    return runs.with_clips(items, clips)


def _within_scale(samples: Samples) -> Samples:
    return (samples / max(1.0, float(np.abs(samples).max()))).astype(np.float32)
