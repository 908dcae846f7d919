"""Synthesised sounds of objects: bells, horns, devices, weapons.

Each function takes `(rng)` and returns about 0.15-1.2 s that begin with their onset, 16 kHz mono float (n,), at an
arbitrary level. Every call draws pitch, rate, envelope and timbre anew.
"""

from __future__ import annotations

import numpy as np

from lalm_utils.mini.benchmark.scene import RATE
from lalm_utils.mini.benchmark.synth import (
    add_at,
    band_pass,
    between,
    count_of,
    curve_through,
    envelope,
    exponential_decay,
    harmonics,
    modes,
    noise_burst,
    pulse_train,
    random_curve,
    resonate,
    sine,
    unit,
)


def bell(rng: np.random.Generator) -> np.ndarray:
    """A struck bell with the usual hum, third and fifth."""
    base, ring = between(rng, 420, 1000), between(rng, 0.25, 0.6)
    ratios = ((0.5, 1.2, 0.4), (1, 1, 1), (1.19, 0.8, 0.7), (1.5, 0.6, 0.5), (2, 0.6, 0.8), (2.63, 0.4, 0.5),
              (3.01, 0.35, 0.4), (4.1, 0.25, 0.3))  # fmt: skip
    partials = [
        (base * r * rng.uniform(0.99, 1.01), ring * t, g * rng.uniform(0.6, 1.2)) for r, t, g in ratios
    ]
    count = count_of(rng.uniform(0.9, 1.2))
    return modes(count, partials) * envelope(count, 0.001, 0.1)


def clock_tick(rng: np.random.Generator) -> np.ndarray:
    """One dry tick of a small mechanism."""
    total = np.zeros(count_of(0.16))
    base = between(rng, 2200, 3600)
    tick = [(base, 0.006, 1.0), (base * rng.uniform(1.4, 1.6), 0.004, 0.7), (base * 0.45, 0.008, 0.35)]
    add_at(total, modes(count_of(0.08), tick), 0.0)
    add_at(total, modes(count_of(0.08), tick), rng.uniform(0.012, 0.03), rng.uniform(0.3, 0.6))
    return total


def water_drop(rng: np.random.Generator) -> np.ndarray:
    """A bubble whose pitch shoots up while it dies away, sometimes with a smaller one behind it."""
    total, base = np.zeros(count_of(0.34)), between(rng, 500, 1100)
    for at, high, gain in (
        (0.0, 1.0, 1.0),
        (rng.uniform(0.09, 0.15), rng.uniform(1.2, 1.5), rng.choice((0.0, 0.5))),
    ):
        count = count_of(0.2)
        sweep = base * high * (1 + np.arange(count) / RATE * rng.uniform(6, 14))
        add_at(total, sine(sweep, count) * exponential_decay(count, rng.uniform(0.025, 0.045)), at, gain)
    return total


def car_horn(rng: np.random.Generator) -> np.ndarray:
    """Two bright reeds a third apart, steady."""
    count, base = count_of(between(rng, 0.35, 0.9)), between(rng, 340, 460)
    weights = [np.exp(-0.5 * ((k * base - 2000) / 1300) ** 2) + 0.25 for k in range(1, 19)]
    horn = harmonics(np.full(count, base), weights)
    horn = horn + harmonics(np.full(count, base * rng.uniform(1.18, 1.27)), weights)
    return horn * envelope(count, 0.015, 0.03)


def ship_horn(rng: np.random.Generator) -> np.ndarray:
    """A deep steady drone."""
    count = count_of(between(rng, 0.9, 1.2))
    pitch = between(rng, 62, 92) * curve_through(count, 0.95, 1, 1, 1, 1)
    horn = harmonics(pitch, [1 / (1 + (k / 6) ** 3) for k in range(1, 24)])
    horn = unit(horn) + 0.6 * unit(harmonics(pitch * 1.5, [1 / (1 + (k / 5) ** 3) for k in range(1, 16)]))
    return horn * envelope(count, 0.12, 0.15)


def gunshot(rng: np.random.Generator) -> np.ndarray:
    """A crack and the hiss of its echo."""
    count = count_of(between(rng, 0.5, 0.95))
    echo = band_pass(rng.standard_normal(count), 250, rng.uniform(2500, 4500)) * exponential_decay(
        count, rng.uniform(0.08, 0.18)
    )
    shot = 0.35 * unit(echo)
    add_at(shot, noise_burst(rng, 0.12, rng.uniform(0.012, 0.025), 150, 8000), 0.0, 3.0)
    return shot * envelope(count, 0.001, 0.1)


def explosion(rng: np.random.Generator) -> np.ndarray:
    """A deep boom that rolls on."""
    count = count_of(between(rng, 0.95, 1.2))
    deep = band_pass(rng.standard_normal(count), 0, rng.uniform(90, 180)) * exponential_decay(
        count, rng.uniform(0.35, 0.6)
    )
    debris = band_pass(rng.standard_normal(count), 150, rng.uniform(600, 1000)) * exponential_decay(
        count, rng.uniform(0.12, 0.25)
    )
    roll = unit(deep) * random_curve(rng, count, 14, 0.4, 1.0) + rng.uniform(0.3, 0.5) * unit(debris)
    return roll * envelope(count, 0.012, 0.2)


def glass_break(rng: np.random.Generator) -> np.ndarray:
    """A crash and falling splinters, each with tones of its own."""
    total = np.zeros(count_of(between(rng, 0.7, 1.1)))
    add_at(total, noise_burst(rng, 0.2, rng.uniform(0.025, 0.05), 2000, 8000), 0.0, 1.2)
    for at in np.minimum(rng.exponential(0.22, int(rng.integers(28, 46))), len(total) / RATE - 0.02):
        tones = [(f, rng.uniform(0.008, 0.035), 1.0) for f in rng.uniform(2200, 7600, 3)]
        add_at(total, modes(count_of(0.12), tones), float(at), rng.uniform(0.08, 0.3))
    return total


def alarm_beep(rng: np.random.Generator) -> np.ndarray:
    """One beep of an electronic alarm: a hard-edged tone."""
    count, tone = count_of(between(rng, 0.16, 0.35)), between(rng, 900, 1700)
    weights = [1 / k if k % 2 else rng.uniform(0, 0.1) for k in range(1, 8)]
    return harmonics(np.full(count, tone), weights) * envelope(count, 0.004, 0.006)


def telephone_ring(rng: np.random.Generator) -> np.ndarray:
    """A clapper between two small gongs, or the warble of an electronic set."""
    count, base, rate = count_of(between(rng, 0.6, 1.05)), between(rng, 1050, 1500), between(rng, 18, 26)
    if rng.random() < 0.4:
        high = (np.arange(count) * rate / RATE) % 1 < 0.5
        return harmonics(np.where(high, base * 1.25, base), (1, 0.4, 0.5, 0.2)) * envelope(count, 0.01, 0.03)
    strokes, total = pulse_train(rng, np.full(count, rate), 0.2), np.zeros(count)
    for gong in (base, base * rng.uniform(1.2, 1.3)):
        for ratio, gain in ((1, 1.0), (2.32, 0.9), (4.25, 0.5)):
            if gong * ratio < 7500:
                total += gain * unit(resonate(np.roll(strokes, int(rng.integers(300))), gong * ratio, 12))
    return total * envelope(count, 0.02, 0.1)


def laser_zap(rng: np.random.Generator) -> np.ndarray:
    """A steep fall of a buzzing tone, as in old video games."""
    count = count_of(between(rng, 0.2, 0.45))
    high, low = between(rng, 3000, 5000), between(rng, 150, 400)
    sweep = low + (high - low) * np.exp(-np.arange(count) / count * rng.uniform(3, 5))
    sweep *= 1 + rng.uniform(0, 0.1) * sine(rng.uniform(20, 40), count)
    zap = sine(sweep, count) + rng.uniform(0.2, 0.5) * sine(np.minimum(2 * sweep, 7800), count)
    return zap * envelope(count, 0.003, 0.4 * count / RATE)


def drill(rng: np.random.Generator) -> np.ndarray:
    """A power drill that spins up: a whine with its harmonics over grinding noise."""
    count, spin = count_of(between(rng, 0.6, 1.15)), rng.uniform(0.08, 0.2)
    pitch = between(rng, 380, 620) * (1 - 0.55 * np.exp(-np.arange(count) / RATE / spin))
    whine = harmonics(pitch, [1, 0.8, 0.9, 0.6, 0.7, 0.4, 0.5, 0.3, 0.3, 0.2])
    grind = band_pass(rng.standard_normal(count), 1500, 6000) * (1 + 0.5 * sine(pitch / 8, count))
    return (unit(whine) + rng.uniform(0.3, 0.6) * unit(grind)) * envelope(count, 0.05, 0.05)
