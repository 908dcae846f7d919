"""Synthesised sounds of animals and people.

Each function takes `(rng)` and returns about 0.15-1.2 s that begin with their onset, 16 kHz mono float (n,), at an
arbitrary level. Every call draws pitch, rate, envelope and timbre anew.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve, lfilter

from lalm_utils.mini.benchmark.scene import RATE
from lalm_utils.mini.benchmark.synth import (
    add_at,
    at_peak,
    band_pass,
    between,
    count_of,
    curve_through,
    envelope,
    exponential_decay,
    glottal,
    harmonics,
    impulse_train,
    modes,
    noise_burst,
    pulse_train,
    random_curve,
    resonate,
    sine,
    unit,
)


def dog_bark(rng: np.random.Generator) -> np.ndarray:
    """One abrupt bark of a small or a large dog: the pitch jumps up and falls, half voice, half breath."""
    size, count = between(rng, 0.75, 1.5), count_of(between(rng, 0.16, 0.28))
    pitch = between(rng, 260, 420) * size * curve_through(count, 0.8, 1.35, 1.2, 0.9, 0.6)
    formants = [(rng.uniform(650, 850) * size, 260, 1.0), (rng.uniform(1400, 1700) * size, 300, 0.6)]
    breath = sum(g * unit(resonate(rng.standard_normal(count), f, w)) for f, w, g in formants)
    voiced = unit(glottal(pitch, formants, 0.2))
    bark = voiced + rng.uniform(0.3, 0.7) * breath
    return bark * envelope(count, 0.008, 0.6 * count / RATE)


def cat_meow(rng: np.random.Generator) -> np.ndarray:
    """A long gliding vowel, from closed over open to closed mouth."""
    count = count_of(between(rng, 0.55, 1.05))
    pitch = between(rng, 480, 800) * curve_through(
        count, 0.85, rng.uniform(1.1, 1.35), 1.15, 1.0, rng.uniform(0.65, 0.85)
    )
    pitch *= 1 + 0.015 * sine(rng.uniform(5, 9), count)
    opening = curve_through(count, 600, 1300, 1500, 1200, 700)
    formants = [(opening, 350, 1.0), (opening * rng.uniform(1.9, 2.3), 450, 0.8), (4200, 500, 0.2)]
    meow = unit(glottal(pitch, formants, 0.1, 7000)) + 0.05 * rng.standard_normal(count)
    return meow * envelope(count, 0.08, 0.25)


def rooster_crow(rng: np.random.Generator) -> np.ndarray:
    """Cock-a-doodle-doo: three short rough calls and a long falling one."""
    base, scale, total, at = between(rng, 600, 950), rng.uniform(0.9, 1.05), np.zeros(count_of(1.2)), 0.0
    for seconds, rise in ((0.1, 0.7), (0.09, 0.9), (0.14, 1.05), (0.75, 1.25)):
        count = count_of(seconds * scale)
        pitch = base * rise * curve_through(count, 0.85, 1.0, 1.02, 0.95, 0.7 if seconds > 0.5 else 0.9)
        pitch *= 1 + rng.uniform(0.01, 0.03) * np.interp(
            np.arange(count), np.arange(0, count, 40), rng.standard_normal(len(range(0, count, 40)))
        )
        call = glottal(pitch, [(1800, 700, 1.0), (3200, 600, 0.7)], 0.0, 7500)
        add_at(total, unit(call) * envelope(count, 0.015, 0.04 if seconds < 0.5 else 0.3), at)
        at += seconds * scale + 0.025
    return total[: count_of(at)]


def frog_croak(rng: np.random.Generator) -> np.ndarray:
    """A train of damped pulses; some frogs croak in two syllables with rising pitch."""
    tone, rate = between(rng, 450, 1000), between(rng, 30, 60)
    syllables = (0.14, 0.16) if rng.random() < 0.5 else (between(rng, 0.3, 0.55),)
    total, at = np.zeros(count_of(0.65)), 0.0
    for number, seconds in enumerate(syllables):
        count = count_of(seconds)
        pulses = pulse_train(rng, np.full(count, rate * 1.25**number), 0.2)
        call = resonate(pulses, tone * 1.2**number, rng.uniform(60, 120))
        call += 0.5 * resonate(pulses, 2.1 * tone * 1.2**number, 200)
        add_at(total, at_peak(call) * envelope(count, 0.03, 0.04), at)
        at += seconds + 0.05
    return total[: count_of(at - 0.05)]


def bird_chirp(rng: np.random.Generator) -> np.ndarray:
    """A few quick whistled sweeps high up, all alike."""
    number, seconds, gap = int(rng.integers(2, 6)), between(rng, 0.045, 0.1), rng.uniform(0.03, 0.07)
    count, low = count_of(seconds), between(rng, 3000, 4600)
    sweep = low * curve_through(count, *rng.permutation([1.0, rng.uniform(1.2, 1.5), 1.05]))
    chirp = (sine(sweep, count) + 0.1 * sine(np.minimum(2 * sweep, 7800), count)) * np.hanning(count)
    total = np.zeros(count_of(number * (seconds + gap)))
    for i in range(number):
        add_at(total, chirp, i * (seconds + gap), rng.uniform(0.7, 1.0))
    return total


def cow_moo(rng: np.random.Generator) -> np.ndarray:
    """A long low vowel that opens."""
    count = count_of(between(rng, 0.8, 1.2))
    pitch = between(rng, 95, 150) * curve_through(count, 0.85, 1.1, 1.15, 1.1, 0.8)
    pitch *= 1 + random_curve(rng, count, 12, -0.02, 0.02)
    opening = curve_through(count, 260, 420, rng.uniform(520, 650), 500)
    moo = glottal(pitch, [(opening, 130, 1.0), (opening * 1.9, 160, 0.45), (2300, 250, 0.06)], 0.3, 3000)
    return moo * envelope(count, 0.1, 0.25)


def owl_hoot(rng: np.random.Generator) -> np.ndarray:
    """One or two soft, nearly pure hoots."""
    base, total, at = between(rng, 330, 560), np.zeros(count_of(1.1)), 0.0
    for seconds in (rng.uniform(0.12, 0.18), 0.5) if rng.random() < 0.5 else (rng.uniform(0.4, 0.7),):
        count = count_of(seconds)
        pitch = base * curve_through(count, 0.92, 1.0, 1.0, 0.93) * (1 + 0.01 * sine(6, count))
        hoot = harmonics(pitch, (1, 0.12, 0.05)) + 0.03 * resonate(rng.standard_normal(count), base, 200)
        add_at(total, hoot * envelope(count, 0.06, 0.1), at)
        at += seconds + 0.09
    return total[: count_of(at - 0.09)]


def sheep_bleat(rng: np.random.Generator) -> np.ndarray:
    """Baa: a nasal vowel that shakes strongly."""
    count = count_of(between(rng, 0.55, 1.0))
    shake = sine(rng.uniform(7.5, 11), count)
    pitch = between(rng, 190, 300) * curve_through(count, 1.0, 1.1, 1.0, 0.85) * (1 + 0.05 * shake)
    formants = [(rng.uniform(750, 900), 200, 1.0), (rng.uniform(1700, 2000), 250, 0.9), (3000, 350, 0.5)]
    baa = unit(glottal(pitch, formants, 0.1)) + 0.1 * rng.standard_normal(count)
    return baa * (1 + 0.75 * shake) * envelope(count, 0.04, 0.12)


def duck_quack(rng: np.random.Generator) -> np.ndarray:
    """A short buzzing reed-like call of constant colour."""
    count = count_of(between(rng, 0.17, 0.3))
    pulses = pulse_train(rng, between(rng, 130, 210) * curve_through(count, 1.1, 1.0, 0.85), 0.3)
    call = sum(
        g * resonate(pulses, f * rng.uniform(0.93, 1.07), 180)
        for f, g in ((1250, 1), (2500, 0.9), (3700, 0.5))
    )
    return call * envelope(count, 0.015, 0.09)


# --- people and what they handle


def cough(rng: np.random.Generator) -> np.ndarray:
    """An explosive breath followed by a hoarse voiced rest."""
    count = count_of(between(rng, 0.3, 0.45))
    tract = [(rng.uniform(600, 900), 350), (rng.uniform(1400, 1900), 450), (rng.uniform(2600, 3300), 600)]
    breath = sum(unit(resonate(rng.standard_normal(count), f, w)) for f, w in tract)
    pitch = (
        between(rng, 110, 260)
        * curve_through(count, 1.2, 1.0, 0.75)
        * (1 + random_curve(rng, count, 60, -0.12, 0.12))
    )
    voiced = unit(glottal(pitch, [(f, w / 2, 1.0) for f, w in tract], 0.5, 4000))
    rest = np.clip((np.arange(count) / RATE - 0.06) / 0.03, 0, 1)
    push = exponential_decay(count, 0.035) + 0.22 * envelope(count, 0.06, 0.15)
    return (breath * push + 0.35 * voiced * rest * envelope(count, 0.06, 0.15)) * envelope(count, 0.004, 0.06)


def snore(rng: np.random.Generator) -> np.ndarray:
    """A long rattling intake of breath."""
    count = count_of(between(rng, 0.75, 1.15))
    rattle = lfilter(
        [1], [1, -0.985], pulse_train(rng, between(rng, 24, 38) * curve_through(count, 0.8, 1.0, 1.15), 0.4)
    )
    breath = band_pass(rng.standard_normal(count), 150, rng.uniform(700, 1200))
    breath = breath + 0.5 * resonate(rng.standard_normal(count), rng.uniform(350, 600), 150)
    return unit(breath) * (0.1 + at_peak(rattle)) * envelope(count, 0.3, 0.2)


def heartbeat(rng: np.random.Generator) -> np.ndarray:
    """Lub-dub: two soft low thumps."""
    gap, total = rng.uniform(0.24, 0.34), np.zeros(count_of(0.65))
    for at, tone, gain in ((0.0, 1.0, 1.0), (gap, rng.uniform(1.15, 1.4), rng.uniform(0.5, 0.8))):
        count = count_of(0.16)
        sweep = between(rng, 55, 75) * tone * curve_through(count, 1.3, 1.0, 0.9)
        add_at(total, sine(sweep, count) * np.hanning(count) ** 1.5, at, gain)
    return total


def footstep(rng: np.random.Generator) -> np.ndarray:
    """Heel and toe on a hard or a gritty floor."""
    total, grit = np.zeros(count_of(0.42)), rng.random()
    roll = rng.uniform(0.08, 0.15)
    heel = modes(count_of(0.15), [(between(rng, 70, 130), 0.025, 1.0), (between(rng, 200, 300), 0.012, 0.5)])
    add_at(total, heel, 0.0)
    add_at(total, noise_burst(rng, 0.08, 0.012, 900, 4000), 0.0, rng.uniform(0.25, 0.5))
    scrape = impulse_train(rng, count_of(0.2), 400 + 1600 * grit) * np.hanning(count_of(0.2))
    add_at(total, at_peak(band_pass(scrape, 1500, 6500)), roll - 0.05, rng.uniform(0.35, 0.7))
    add_at(total, noise_burst(rng, 0.1, 0.02, 300, 2000), roll, rng.uniform(0.3, 0.5))
    return total


def door_knock(rng: np.random.Generator) -> np.ndarray:
    """One knuckle on wood: a few low damped modes."""
    base = between(rng, 170, 330)
    partials = [
        (base * r * rng.uniform(0.95, 1.05), t * rng.uniform(0.8, 1.3), g)
        for r, t, g in ((1, 0.035, 1.0), (1.6, 0.025, 0.8), (2.4, 0.016, 0.6), (3.7, 0.008, 0.4))
    ]
    total = modes(count_of(0.24), partials)
    add_at(total, noise_burst(rng, 0.02, 0.003, 800, 3500), 0.0, 0.3)
    return total


def whistle(rng: np.random.Generator) -> np.ndarray:
    """A referee's whistle: a high tone that its pea makes trill."""
    count, tone = count_of(between(rng, 0.35, 0.95)), between(rng, 2300, 3300)
    trill = sine(between(rng, 28, 48), count)
    pitch = tone * (1 + rng.uniform(0.015, 0.03) * trill) * curve_through(count, 0.97, 1, 1, 1, 0.98)
    blow = sine(pitch, count) + 0.6 * sine(pitch * rng.uniform(1.08, 1.12), count)
    breath = unit(band_pass(rng.standard_normal(count), 1500, 5500))
    return (blow + 0.15 * breath) * (1 + 0.6 * trill) * envelope(count, 0.02, 0.05)


def camera_click(rng: np.random.Generator) -> np.ndarray:
    """A shutter that opens and closes, and the motor that winds on."""
    gap, total = rng.uniform(0.07, 0.14), np.zeros(count_of(rng.uniform(0.32, 0.5)))
    for at, gain in ((0.0, 1.0), (gap, rng.uniform(0.7, 1.1))):
        add_at(total, noise_burst(rng, 0.05, 0.007, 1800, 7000), at, gain)
        add_at(total, noise_burst(rng, 0.05, 0.01, 500, 1500), at + 0.004, 0.4)
    count = len(total) - count_of(gap + 0.03)
    motor = harmonics(
        between(rng, 240, 420) * curve_through(count, 0.7, 1, 1), np.ones(12) * 0.5
    ) + 0.5 * rng.standard_normal(count)
    add_at(
        total,
        at_peak(band_pass(motor, 1200, 5000)) * envelope(count, 0.02, 0.05),
        gap + 0.03,
        rng.uniform(0.12, 0.22),
    )
    return total


def zipper(rng: np.random.Generator) -> np.ndarray:
    """Teeth that close ever faster, ever higher."""
    count, rate = count_of(between(rng, 0.35, 0.8)), between(rng, 70, 120)
    teeth = pulse_train(rng, rate * curve_through(count, 0.6, 1.0, 1.7), 0.5)
    grain = fftconvolve(teeth, rng.standard_normal(60) * exponential_decay(60, 0.001))[:count]
    low, high = resonate(grain, rng.uniform(1800, 2400), 700), resonate(grain, rng.uniform(4200, 5500), 900)
    move = curve_through(count, 0, 1)
    return (unit(low) * (1 - move) + unit(high) * move) * envelope(count, 0.03, 0.03)


def coin_drop(rng: np.random.Generator) -> np.ndarray:
    """A coin that falls on a table and bounces ever faster; each bounce rings with the same clear tones."""
    base, total = between(rng, 2600, 3600), np.zeros(count_of(1.0))
    ring = [(base * r, t, g) for r, t, g in ((1.0, 0.09, 1.0), (1.62, 0.07, 0.8), (2.05, 0.05, 0.5))]
    at, gap, gain = 0.0, rng.uniform(0.18, 0.26), 1.0
    while at < 0.9 and gain > 0.08:
        add_at(total, modes(count_of(0.35), ring), at, gain)
        at, gap, gain = at + gap, gap * rng.uniform(0.68, 0.78), gain * 0.75
    return total
