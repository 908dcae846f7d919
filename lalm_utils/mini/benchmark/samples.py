"""Recorded sounds: the example sounds inside `pygame-ce`, and the effects of the General MIDI font.

Packages are read as data; none of their code is imported. Each call varies a recording's speed, colour and
length a little. In: a random generator. Out: 16 kHz mono float arrays (n,) at an arbitrary level.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.ndimage import uniform_filter1d
from scipy.signal import lfilter

from lalm_utils.mini.benchmark import font
from lalm_utils.mini.benchmark.font import Note
from lalm_utils.mini.benchmark.scene import RATE

PACKAGE = "pygame-ce"
FOLDER = "pygame/examples/data"
SEA_WAVES, HELICOPTER, APPLAUSE = 122, 125, 126  # General MIDI programs, from 0


def path(name: str) -> Path:
    """The file of one recording. Raises ModuleNotFoundError or FileNotFoundError, both naming the package."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        raise ModuleNotFoundError(
            f"the recording {name!r} comes with the package {PACKAGE}, which is not installed; pip install {PACKAGE}"
        ) from None
    matches = [file for file in files if file.as_posix() == f"{FOLDER}/{name}"]
    if not matches or not Path(matches[0].locate()).is_file():
        raise FileNotFoundError(
            f"{PACKAGE} {metadata.version(PACKAGE)} has no {FOLDER}/{name}; reinstall it: "
            f"pip install --force-reinstall '{PACKAGE}>=2.5.5,<2.6'"
        )
    return Path(matches[0].locate())


@functools.lru_cache(maxsize=16)
def recording(name: str) -> np.ndarray:
    """One recording as float64 (n,), mono, 16 kHz, without its silent ends, peak 1; read-only."""
    samples, rate = soundfile.read(path(name), dtype="float64", always_2d=True)
    samples = soxr.resample(samples.mean(axis=1), rate, RATE)
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    samples = samples[loud[0] : loud[-1] + 1] / np.abs(samples).max()
    samples.flags.writeable = False
    return samples


def vary(samples: np.ndarray, rng: np.random.Generator, *, speed: tuple[float, float]) -> np.ndarray:
    """`samples` (n,) played at a random speed, tilted towards treble or bass and shortened by up to a tenth."""
    factor = rng.uniform(*speed)
    changed = np.asarray(soxr.resample(samples, RATE * factor, RATE, quality="MQ"))
    tilt = rng.uniform(-0.35, 0.35)
    changed = lfilter([1.0, tilt], [1.0], changed)[: int(len(changed) * rng.uniform(0.9, 1.0))]
    fade = min(len(changed), RATE // 50)
    changed[-fade:] *= np.linspace(1, 0, fade)
    return changed


def _varied(name: str, slowest: float, fastest: float) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: vary(recording(name), rng, speed=(slowest, fastest))


boom = _varied("boom.wav", 0.9, 1.25)
car_door = _varied("car_door.wav", 0.75, 1.2)
punch = _varied("punch.wav", 0.75, 1.25)
swing = _varied("whiff.wav", 0.75, 1.3)


def effect(
    program: int, seconds: float, rng: np.random.Generator, *, pitches: tuple[int, int], layers: int
) -> np.ndarray:
    """A looped effect of the font for `seconds`, as `layers` notes of random pitches that begin at random times.

    The first second, in which the notes enter one by one, is cut off.
    """
    notes = [
        Note(pitch=int(rng.integers(pitches[0], pitches[1] + 1)), start=float(rng.uniform(0, 0.9)),
             seconds=seconds + 1.0, velocity=int(rng.integers(80, 121)), program=program)
        for _ in range(layers)
    ]  # fmt: skip
    loop = font.render(notes, seconds=seconds + 1.0)[RATE : RATE + max(1, round(seconds * RATE))]
    return _even_level(loop.astype(np.float64))


def _even_level(samples: np.ndarray) -> np.ndarray:
    """Without the loops' slow drift in level (8 dB for waves), which would pass for a loudness trajectory."""
    if len(samples) < RATE:
        return samples
    level = np.sqrt(uniform_filter1d(np.square(samples), RATE, mode="reflect"))
    return samples / np.maximum(level, level.max() * 1e-3)


sea_waves = functools.partial(effect, SEA_WAVES, pitches=(54, 68), layers=2)
helicopter = functools.partial(effect, HELICOPTER, pitches=(54, 66), layers=1)
applause = functools.partial(effect, APPLAUSE, pitches=(56, 66), layers=2)
