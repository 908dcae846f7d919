"""Synthesised steady sounds: weather, water, machines, insects.

Each function takes `(seconds, rng)` and returns 16 kHz mono float (n,) at an arbitrary level. Every call draws
rates and timbre anew.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from lalm_utils.mini.benchmark.scene import RATE
from lalm_utils.mini.benchmark.synth import (
    add_at,
    band_pass,
    between,
    count_of,
    curve_through,
    harmonics,
    impulse_train,
    modes,
    pulse_train,
    random_curve,
    resonate,
    unit,
)


def rain(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Dense hiss with drops that stand out."""
    count = count_of(seconds)
    hiss = unit(band_pass(rng.standard_normal(count), rng.uniform(1000, 1800), 8000))
    drops = unit(band_pass(impulse_train(rng, count, between(rng, 60, 250)), 1800, 6500))
    return hiss + rng.uniform(0.25, 0.6) * drops


def wind(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Gusts: broad low noise and hollow howling that come and go."""
    count = count_of(seconds)
    total = (
        0.5 * unit(band_pass(rng.standard_normal(count), 0, 250)) * random_curve(rng, count, 1.2, 0.4, 1.0)
    )
    for centre in np.sort(rng.uniform(300, 1000, 3)):
        howl = unit(resonate(rng.standard_normal(count), centre, 0.12 * centre))
        total = total + howl * random_curve(rng, count, 1.5, 0.1, 1.0)
    return total


def fire(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Crackles of all sizes over a soft roar."""
    count = count_of(seconds)
    roar = unit(band_pass(rng.standard_normal(count), 60, rng.uniform(300, 500))) * random_curve(
        rng, count, 4, 0.5, 1.0
    )
    crackle = np.zeros(count)
    for frequency in rng.uniform(1200, 5500, 3):
        snaps = impulse_train(rng, count, between(rng, 4, 9))
        crackle += resonate(snaps * np.abs(snaps), float(frequency), rng.uniform(400, 900))
    fine = band_pass(impulse_train(rng, count, 60), 2500, 7000)
    return 0.25 * roar + unit(crackle) + 0.25 * unit(fine)


def engine_noise(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """An idling motor: uneven firing pulses through a pipe."""
    count = count_of(seconds)
    firing = pulse_train(rng, between(rng, 22, 46) * random_curve(rng, count, 3, 0.96, 1.04), 0.35)
    pipe = sum(
        g * resonate(firing, rng.uniform(0.85, 1.15) * f, w)
        for f, w, g in ((90, 40, 1.0), (190, 60, 0.7), (420, 120, 0.4), (900, 300, 0.3))
    )
    chug = band_pass(rng.standard_normal(count), 150, 1200) * lfilter([1], [1, -0.985], firing)
    return unit(pipe) + rng.uniform(0.2, 0.4) * unit(chug)


def sirens(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Wailing, yelping or two-tone."""
    count, rate = count_of(seconds), rng.uniform(0.3, 0.6)
    time, low = np.arange(count) / RATE + rng.uniform(0, 3), between(rng, 550, 700)
    kind = rng.integers(3)
    if kind == 0:
        move = 0.5 - 0.5 * np.cos(2 * np.pi * rate * time)
    elif kind == 1:
        move = (time * between(rng, 2.2, 3.6)) % 1
    else:
        move = 0.45 * ((time * rng.uniform(0.8, 1.2)) % 1 < 0.5)
    pitch = low * (1 + rng.uniform(0.9, 1.2) * move)
    return harmonics(pitch, (1, 0.5, 0.5, 0.3, 0.2)) + 0.02 * rng.standard_normal(count)


def crickets(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Two to four crickets, each with its tone and its chirps of a few pulses."""
    count = count_of(seconds)
    time, total = np.arange(count) / RATE, np.zeros(count)
    for gain in (1.0, 0.6, 0.4, 0.3)[: int(rng.integers(2, 5))]:
        pulse, chirp = between(rng, 24, 36), between(rng, 1.6, 3.0)
        on = ((time + rng.random()) * chirp) % 1 < rng.uniform(0.4, 0.6)
        beat = np.maximum(np.sin(2 * np.pi * pulse * time), 0)
        total += gain * np.sin(2 * np.pi * between(rng, 4000, 5200) * time) * beat * on
    return total + 0.01 * rng.standard_normal(count)


def vacuum_cleaning(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A steady motor whine in rushing air."""
    count, whine = count_of(seconds), between(rng, 210, 300)
    pitch = whine * random_curve(rng, count, 0.8, 0.985, 1.015)
    motor = harmonics(pitch, [1, 0.9, 0.6, 0.7, 0.4, 0.5, 0.3, 0.3])
    motor = unit(motor) + 0.5 * unit(harmonics(pitch * rng.uniform(9.5, 12.5), (1.0, 0.3)))
    air = unit(band_pass(rng.standard_normal(count), 400, rng.uniform(2500, 4000)))
    return motor + rng.uniform(0.9, 1.3) * air * random_curve(rng, count, 1.0, 0.85, 1.0)


def running_water(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Bubbling: a great many short rising tones over a murmur."""
    count = count_of(seconds)
    total = 0.35 * unit(band_pass(rng.standard_normal(count), 400, 1500))
    length, bubbles = count_of(0.06), np.zeros(count + count_of(0.06))
    time = np.arange(length) / RATE
    for at in rng.integers(0, count, int(seconds * between(rng, 45, 80))):
        tone, size = 500 * 4.5 ** rng.random(), rng.exponential(1.0)
        phase = 2 * np.pi * tone * time * (1 + rng.uniform(1, 6) * time)
        bubbles[at : at + length] += size * np.sin(phase) * np.exp(-time / 0.014)
    return total + unit(bubbles[:count])


def bees(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A few wings buzzing near, each wandering in pitch and distance."""
    count, base, total = count_of(seconds), between(rng, 170, 240), np.zeros(count_of(seconds))
    for _ in range(int(rng.integers(3, 5))):
        pitch = base * rng.uniform(0.88, 1.12) * random_curve(rng, count, 5, 0.95, 1.05)
        weights = [1 / (1 + ((k - 3) / 4) ** 2) for k in range(1, 14)]
        total += harmonics(pitch, weights) * random_curve(rng, count, 2.5, 0.1, 1.0)
    return total


def sawing(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Strokes of a hand saw, to and fro."""
    count, stroke, at, way = count_of(seconds), between(rng, 0.28, 0.45), 0.0, 0
    total, tone = np.zeros(count), between(rng, 1300, 2200)
    while at < seconds:
        length = count_of(stroke * rng.uniform(0.9, 1.1))
        teeth = pulse_train(rng, between(rng, 90, 130) * curve_through(length, 0.6, 1.2, 0.7), 0.6)
        rasp = resonate(teeth + 0.1 * rng.standard_normal(length), tone * (1.35 if way else 1.0), 600)
        add_at(total, unit(rasp) * np.hanning(length) ** 0.7, at, 0.7 if way else 1.0)
        at, way = at + length / RATE * 1.08, 1 - way
    return total


def train_wheels(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Pairs of wheels over the gaps of the rails, above a rumble."""
    count, period = count_of(seconds), between(rng, 0.42, 0.75)
    total = 0.5 * unit(band_pass(rng.standard_normal(count), 50, 400)) + 0.12 * unit(
        band_pass(rng.standard_normal(count), 400, 2500)
    )
    clank = [
        (f * rng.uniform(0.9, 1.1), t, g)
        for f, t, g in ((160, 0.05, 1), (480, 0.035, 0.8), (1300, 0.02, 0.6), (2600, 0.012, 0.4))
    ]
    at, pair = rng.uniform(0, 0.2), period * rng.uniform(0.25, 0.33)
    while at < seconds:
        for offset, gain in ((0.0, 1.0), (pair, 0.85)):
            add_at(total, modes(count_of(0.2), clank), at + offset, 3.0 * gain * rng.uniform(0.85, 1.1))
        at += period * rng.uniform(0.98, 1.02)
    return total
