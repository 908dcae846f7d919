"""Recorded sounds that ship in the pip package pygame-ce, read as data: none of its code is imported."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, files

import numpy as np

from lalm_utils.audio import read_clip
from lalm_utils.mini.scene import RATE

PACKAGE = "pygame-ce"
RECORDED = {"explosion": "boom.wav", "car door": "car_door.wav", "punch": "punch.wav"}
LONGEST = 1.2  # seconds


def recorded(label: str, rng: np.random.Generator) -> np.ndarray:
    """A recording (n,), its speed drawn within +-12 % by linear interpolation."""
    samples = _read(RECORDED[label])
    speed = rng.uniform(0.88, 1.12)
    places = np.arange(0, len(samples) - 1, speed)
    return np.interp(places, np.arange(len(samples)), samples)[: int(LONGEST * RATE)]


@cache
def _read(name: str) -> np.ndarray:
    """The file's samples without leading silence. FileNotFoundError names the package if it is missing."""
    try:
        listed = [path for path in files(PACKAGE) or () if path.name == name and "data" in path.parts]
    except PackageNotFoundError:
        listed = []
    if not listed:
        raise FileNotFoundError(f"{name} of package {PACKAGE} not found: pip install {PACKAGE}==2.5.8")
    samples = read_clip(listed[0].locate()).samples
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.max(np.abs(samples)))
    return samples[loud[0] :]
