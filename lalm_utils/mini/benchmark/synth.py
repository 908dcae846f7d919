"""What the synthesised sounds are made of: noises, tones, resonances, envelopes and trains of pulses.

All take and return 16 kHz mono float arrays (n,); what is random comes from the generator passed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

from lalm_utils.mini.benchmark.scene import RATE

_GRID = 160  # samples between two control points: 10 ms
_NYQUIST = RATE / 2
_TABLE = 1 << 14  # points of one cycle; the error lies 50 dB below


def count_of(seconds: float) -> int:
    return max(1, round(seconds * RATE))


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Uniform on a ratio scale, as ears judge pitches, lengths and rates."""
    return float(low * (high / low) ** rng.random())


def curve_through(count: int, *points: float) -> np.ndarray:
    """(count,) straight lines through evenly spaced points."""
    return np.interp(np.linspace(0, len(points) - 1, count), np.arange(len(points)), points)


def random_curve(rng: np.random.Generator, count: int, rate: float, low: float, high: float) -> np.ndarray:
    """(count,) a random curve between low and high with `rate` turning points a second."""
    return curve_through(count, *rng.uniform(low, high, max(2, int(count / RATE * rate) + 2)))


def exponential_decay(count: int, tau: float) -> np.ndarray:
    return np.exp(-np.arange(count) / (tau * RATE))


def envelope(count: int, attack: float, release: float) -> np.ndarray:
    """Rises over `attack` seconds, stays at 1, falls over the last `release` seconds."""
    time = np.arange(count) / RATE
    return np.clip(np.minimum(time / attack, (count / RATE - time) / release), 0, 1)


def sine(frequency: np.ndarray | float, count: int, start: float = 0.0) -> np.ndarray:
    """A sine of constant or changing frequency in Hz, (count,)."""
    return np.sin(2 * np.pi * (np.cumsum(np.broadcast_to(frequency, count)) / RATE + start))


def harmonics(pitch: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Harmonics of a pitch curve (n,) with the given amplitudes; those beyond 7.8 kHz are left out."""
    weights = np.asarray(weights[: max(1, int(0.975 * _NYQUIST / pitch.max()))], dtype=float)
    # One cycle as a table: a lookup costs the same however many harmonics there are.
    cycle = np.fft.irfft(np.concatenate([[0.0], -1j * weights]), _TABLE) * (_TABLE / 2)
    return cycle[(np.cumsum(pitch) * (_TABLE / RATE)).astype(np.int64) % _TABLE]


def glottal(
    pitch: np.ndarray, formants: Sequence[tuple], tilt: float = 0.5, top: float = 6000.0
) -> np.ndarray:
    """A throat: harmonics of `pitch` (n,) shaped by formants (centre Hz or curve (n,), width Hz, gain)."""
    turn = np.exp(2j * np.pi * np.cumsum(pitch) / RATE)
    at, power, total = np.arange(0, len(pitch), _GRID), np.ones_like(turn), np.zeros(len(pitch))
    for number in range(1, max(2, int(min(top, 0.95 * _NYQUIST) / pitch.max()) + 1)):
        power = power * turn
        frequency, gain = number * pitch[at], np.full(len(at), 0.01)
        for centre, width, height in formants:
            centre = centre[at] if isinstance(centre, np.ndarray) else centre
            gain = gain + height * np.exp(-0.5 * ((frequency - centre) / width) ** 2)
        total += np.interp(np.arange(len(pitch)), at, gain) * number**-tilt * power.imag
    return total


def resonate(samples: np.ndarray, frequency: float, width: float) -> np.ndarray:
    """A two-pole resonance at `frequency`, `width` Hz wide, of about unit gain at its peak."""
    radius, angle = np.exp(-np.pi * width / RATE), 2 * np.pi * frequency / RATE
    peak = (1 - radius) * np.abs(1 - radius * np.exp(-2j * angle))
    return lfilter([peak], [1, -2 * radius * np.cos(angle), radius**2], samples)


def band_pass(samples: np.ndarray, low: float, high: float) -> np.ndarray:
    """Second-order band pass; `low` 0 makes it a low pass, `high` 8000 a high pass."""
    if low <= 0:
        return sosfilt(butter(2, high, "lowpass", fs=RATE, output="sos"), samples)
    if high >= _NYQUIST:
        return sosfilt(butter(2, low, "highpass", fs=RATE, output="sos"), samples)
    return sosfilt(butter(2, (low, high), "bandpass", fs=RATE, output="sos"), samples)


def unit(samples: np.ndarray) -> np.ndarray:
    """Scaled to RMS 1."""
    return samples / (np.sqrt(np.mean(samples**2)) + 1e-12)


def at_peak(samples: np.ndarray) -> np.ndarray:
    """Scaled to peak 1."""
    return samples / (np.max(np.abs(samples)) + 1e-12)


def modes(count: int, partials: Sequence[tuple[float, float, float]]) -> np.ndarray:
    """A struck body: decaying sines (Hz, decay time in s, gain), (count,)."""
    time, total = np.arange(count) / RATE, np.zeros(count)
    for frequency, tau, gain in partials:
        if frequency < 0.975 * _NYQUIST:
            total += gain * np.sin(2 * np.pi * frequency * time) * np.exp(-time / tau)
    return total


def add_at(total: np.ndarray, part: np.ndarray, at: float, gain: float = 1.0) -> None:
    """Add `part` to `total` from `at` seconds on, cut at the end."""
    first = round(at * RATE)
    room_left = total[first : first + len(part)]
    room_left += gain * part[: len(room_left)]


def noise_burst(rng: np.random.Generator, seconds: float, tau: float, low: float, high: float) -> np.ndarray:
    """A decaying burst of band-limited noise with peak 1."""
    count = count_of(seconds)
    return at_peak(band_pass(rng.standard_normal(count) * exponential_decay(count, tau), low, high))


def impulse_train(rng: np.random.Generator, count: int, rate: float) -> np.ndarray:
    """(count,) zeros with `rate` random impulses a second on average, exponential in size, of either sign."""
    number = rng.poisson(rate * count / RATE)
    total = np.zeros(count)
    np.add.at(
        total, rng.integers(0, count, number), rng.exponential(1.0, number) * rng.choice((-1, 1), number)
    )
    return total


def pulse_train(rng: np.random.Generator, rate: np.ndarray, jitter: float = 0.0) -> np.ndarray:
    """(n,) one impulse a cycle of the rate curve in Hz; sizes vary by `jitter`."""
    phase = np.floor(np.cumsum(rate) / RATE)
    at = np.flatnonzero(np.diff(phase, prepend=-1.0) > 0)
    total = np.zeros(len(rate))
    total[at] = 1 + jitter * rng.uniform(-1, 1, len(at))
    return total
