"""Clips as 16-bit mono WAV files at 16 kHz.

The package has a writer of its own in `lalm_utils.audio`; the embedded benchmark keeps this one, of equal bytes (a test
sees to it), so that it stands alone.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from lalm_utils.mini.benchmark.scene import RATE

MIN_SECONDS = 0.1  # shorter clips give an audio tower no token
_FULL_SCALE = 32768  # what decoders divide by, so reading and writing again changes nothing


def write_wav(path: Path, samples: np.ndarray) -> None:
    """Write (n,) floats within [-1, 1]; the bytes depend on the samples alone.

    Raises ValueError for what is no clip: another shape, under 0.1 s, NaN, infinity or beyond full scale.
    """
    if samples.ndim != 1 or samples.dtype.kind != "f":
        raise ValueError(f"{path}: {samples.dtype} samples of shape {samples.shape}; give one axis of floats")
    if len(samples) < round(MIN_SECONDS * RATE):
        raise ValueError(f"{path}: {len(samples) / RATE:.4f} s long; a clip needs at least {MIN_SECONDS} s")
    peak = float(np.abs(samples).max())
    if not peak <= 1:  # also where it is NaN
        raise ValueError(f"{path}: samples reach {peak:g} where full scale is 1")
    pcm = np.clip(np.rint(samples.astype(np.float64) * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1)
    with path.open("wb") as file, wave.open(file, "wb") as clip:
        clip.setnchannels(1)
        clip.setsampwidth(2)
        clip.setframerate(RATE)
        clip.writeframes(pcm.astype("<i2").tobytes())


def seconds_of(path: Path) -> float:
    """The length of a clip by its header."""
    with wave.open(str(path), "rb") as clip:
        return clip.getnframes() / clip.getframerate()
