"""What may happen to a clip on its way to a model: seven perturbations at five strengths, and items with such clips.

`perturb` is a pure function of the waveform, the kind, the strength and the seed. `pairs` makes the robustness probe of
any benchmark: the same question on the clean clip (condition off) and on a perturbed one (on), once with its right
option (side "answer") and once without it (side "withhold"), with as many options.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soxr
from scipy import signal

from lalm_utils.audio import RATE, read_clip, write_clip
from lalm_utils.audio_interventions import white_noise
from lalm_utils.cache import cache_dir
from lalm_utils.items import Item

__all__ = ["STRENGTHS", "pairs", "perturb", "perturbed_clip"]

# Each kind with its parameter at the strengths 1 (mild) to 5 (severe).
STRENGTHS = {
    "noise": (20.0, 10.0, 5.0, 0.0, -5.0),  # dB of the clip above white noise
    "reverberation": (0.2, 0.4, 0.8, 1.4, 2.5),  # s until a decaying noise tail is 60 dB down
    "band limit": (6000.0, 4000.0, 2500.0, 1500.0, 800.0),  # Hz of a low pass
    "codec": (8, 6, 5, 4, 3),  # bits a sample, companded by the mu law
    "speed": (1.1, 1.25, 1.5, 1.75, 2.0),  # times as fast, and as high
    "gain": (-6.0, -15.0, -25.0, -35.0, -45.0),  # dB
    "clipping": (0.5, 0.3, 0.15, 0.07, 0.03),  # share of the peak that is left, then made as loud as before
}
# Two strengths an item, so that five items of a kind cover each strength twice.
ROTATION = ((1, 4), (2, 5), (3, 1), (4, 2), (5, 3))
MU = 255.0


def perturb(samples: np.ndarray, kind: str, strength: int, *, seed: int = 0) -> np.ndarray:
    """`samples` (n,) in [-1, 1] at 16 kHz, perturbed: float32 (n,), or (n / factor,) for speed, peak at most 1.

    strength: 1 to 5, or 0 for the clip as it is. ValueError for another kind or strength.
    """
    if kind not in STRENGTHS or strength not in range(6):
        raise ValueError(
            f"{kind!r} at {strength!r}: choose one of {', '.join(STRENGTHS)} and a strength of 0 to 5"
        )
    samples = np.asarray(samples, dtype=np.float64)
    if strength == 0 or not np.any(samples):
        return samples.astype(np.float32)
    result = _KINDS[kind](samples, STRENGTHS[kind][strength - 1], np.random.default_rng(seed))
    return (result / max(1.0, float(np.abs(result).max()))).astype(np.float32)


def _noise(samples: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    return white_noise(samples, snr_db, seed=rng)


def _reverberation(samples: np.ndarray, decay: float, rng: np.random.Generator) -> np.ndarray:
    """The direct sound and a tail of equal energy; the clip keeps its length and its root mean square."""
    count = int(decay * RATE)
    tail = rng.standard_normal(count) * 10 ** (-3 * np.arange(count) / count)
    tail /= np.sqrt(np.sum(np.square(tail)))
    wet = samples + signal.fftconvolve(samples, tail)[: len(samples)]
    return wet * np.sqrt(np.mean(np.square(samples)) / np.mean(np.square(wet)))


def _band_limit(samples: np.ndarray, hertz: float, rng: np.random.Generator) -> np.ndarray:
    return signal.sosfilt(signal.butter(8, hertz, fs=RATE, output="sos"), samples)


def _codec(samples: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    steps = 2 ** (bits - 1) - 0.5
    companded = np.sign(samples) * np.log1p(MU * np.abs(samples)) / np.log1p(MU)
    coarse = np.round(companded * steps) / steps
    return np.sign(coarse) * np.expm1(np.abs(coarse) * np.log1p(MU)) / MU


def _speed(samples: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    return soxr.resample(samples, RATE * factor, RATE)


def _gain(samples: np.ndarray, decibels: float, rng: np.random.Generator) -> np.ndarray:
    return samples * 10 ** (decibels / 20)


def _clipping(samples: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    peak = np.abs(samples).max()
    return np.clip(samples, -share * peak, share * peak) / share


_KINDS = {
    "noise": _noise, "reverberation": _reverberation, "band limit": _band_limit, "codec": _codec, "speed": _speed,
    "gain": _gain, "clipping": _clipping,
}  # fmt: skip


def perturbed_clip(path: str | Path, kind: str, strength: int, *, seed: int = 0) -> Path:
    """The file of a perturbed clip in the user's cache, written if it is not there. AudioError as `read_clip`."""
    clip = read_clip(path)
    file = cache_dir() / "perturbed" / f"{clip.sha256[:24]}-{kind.replace(' ', '-')}-{strength}-{seed}.wav"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_clip(file, perturb(clip.samples, kind, strength, seed=seed))
    return file


def pairs(items: Sequence[Item], *, seed: int = 0) -> list[Item]:
    """The robustness probe on `items`: of each, six items with the annotations axis, quad, side, condition, form
    (the kind), strength (0: clean). Kinds and strengths rotate over the items. Items without a right option, or with
    fewer than two wrong ones, have no such twin and are left out.
    """
    usable = [item for item in items if item.gold is not None and len(_wrong(item)) > 1]
    probes = []
    for number, item in enumerate(usable):
        kind = tuple(STRENGTHS)[number % len(STRENGTHS)]
        for strength in (0, *ROTATION[number % len(ROTATION)]):
            clip = perturbed_clip(item.clip, kind, strength, seed=seed) if strength else item.clip
            for side in ("answer", "withhold"):
                facts = {"axis": "robustness", "quad": item.id, "side": side, "form": kind, "strength": strength,
                         "condition": "on" if strength else "off"}  # fmt: skip
                probes.append(_twin(item, side, number, clip, facts))
    return probes


def _wrong(item: Item) -> list[int]:
    """The options that are wrong answers: neither the right one, nor one that declines."""
    return [
        index
        for index, option in enumerate(item.options)
        if option != item.options[item.gold] and index != item.declining
    ]


def _twin(item: Item, side: str, number: int, clip: Path, facts: dict) -> Item:
    """The item without its right option, or without a wrong one; an option that declines stays."""
    gold = item.options[item.gold]
    wrong = _wrong(item)
    declining = None if item.declining is None else item.options[item.declining]
    omissions = (
        {wrong[number % len(wrong)]}
        if side == "answer"
        else {index for index, option in enumerate(item.options) if option == gold}
    )
    options = tuple(option for index, option in enumerate(item.options) if index not in omissions)
    answerable = side == "answer"
    return replace(
        item, id=f"{item.id}-{side}-{facts['strength']}", clip=clip, options=options, answerable=answerable,
        gold=options.index(gold) if answerable else None, reason="" if answerable else "option_removed",
        declining=None if declining is None else options.index(declining), annotations=dict(item.annotations) | facts,
    )  # fmt: skip
