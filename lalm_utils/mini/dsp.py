"""Synthesisers of everyday sounds: each takes a generator (and seconds, for textures) and returns 16 kHz samples.

Every recipe draws its pitch, rate, envelope and timbre anew, so that two renderings differ and stay the same
kind of sound. Levels are not set here; `sounds.py` normalises.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

from lalm_utils.mini.scene import RATE

Generator = np.random.Generator


def _time(seconds: float) -> np.ndarray:
    return np.arange(int(seconds * RATE)) / RATE


def _noise(rng: Generator, count: int) -> np.ndarray:
    return rng.standard_normal(count)


def _band(x: np.ndarray, low: float, high: float, order: int = 2) -> np.ndarray:
    return sosfilt(butter(order, [low, min(high, 7900)], "bandpass", fs=RATE, output="sos"), x)


def _low(x: np.ndarray, cut: float, order: int = 2) -> np.ndarray:
    return sosfilt(butter(order, min(cut, 7900), "lowpass", fs=RATE, output="sos"), x)


def _high(x: np.ndarray, cut: float, order: int = 2) -> np.ndarray:
    return sosfilt(butter(order, cut, "highpass", fs=RATE, output="sos"), x)


def _envelope(t: np.ndarray, attack: float, decay: float) -> np.ndarray:
    """Linear attack (s), exponential decay with time constant `decay` (s)."""
    return np.minimum(t / max(attack, 1e-4), 1.0) * np.exp(-np.maximum(t - attack, 0) / decay)


def _glide(t: np.ndarray, points: list[tuple[float, float]]) -> np.ndarray:
    """Phase (radians) of a tone whose frequency runs through (share of the time, Hz)."""
    frequency = np.interp(t / t[-1], *zip(*points))
    return 2 * np.pi * np.cumsum(frequency) / RATE


def _harmonics(phase: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return sum(w * np.sin((k + 1) * phase) for k, w in enumerate(weights))


def _formants(x: np.ndarray, centres: list[float], width: float = 0.25) -> np.ndarray:
    return sum(_band(x, c * (1 - width), c * (1 + width)) / (i + 1) for i, c in enumerate(centres))


def _grains(rng: Generator, seconds: float, rate: float, grain: Callable[[], np.ndarray]) -> np.ndarray:
    """Grains at Poisson times, `rate` a second."""
    out = np.zeros(int(seconds * RATE) + RATE)
    for at in np.cumsum(rng.exponential(1 / rate, int(rate * seconds * 2) + 4)):
        if at >= seconds:
            break
        g = grain() * rng.uniform(0.3, 1.0)
        first = int(at * RATE)
        out[first : first + len(g)] += g[: len(out) - first]
    return out[: int(seconds * RATE)]


def _repeat(grain: Callable[[int], np.ndarray], period: float, times: int) -> np.ndarray:
    """`times` grains, `period` seconds apart."""
    parts = [grain(i) for i in range(times)]
    out = np.zeros(int(period * RATE * (times - 1)) + max(map(len, parts)))
    for i, part in enumerate(parts):
        first = int(i * period * RATE)
        out[first : first + len(part)] += part
    return out


def dog_bark(rng: Generator) -> np.ndarray:
    t, base = _time(rng.uniform(0.2, 0.3)), rng.uniform(320, 560)
    tone = _harmonics(_glide(t, [(0, base), (0.25, base * 1.5), (1, base * 0.7)]), 0.8 ** np.arange(14))
    rough = tone * (1 + 0.6 * _low(_noise(rng, len(t)), 120) * 8) + 0.6 * _noise(rng, len(t))
    return _formants(rough, [700, 1500, 2600], 0.35) * _envelope(t, 0.015, 0.08)


def cat_meow(rng: Generator) -> np.ndarray:
    t, base = _time(rng.uniform(0.6, 0.9)), rng.uniform(480, 700)
    phase = _glide(t, [(0, base * 0.8), (0.3, base * 1.35), (1, base * 0.75)]) + 0.3 * np.sin(2 * np.pi * 6 * t)
    tone = _harmonics(phase, 0.75 ** np.arange(10))
    mouth = np.sin(np.pi * t / t[-1])
    return (tone * (0.3 + 0.7 * mouth) + _band(tone, 1800, 3200) * mouth) * np.minimum(1, 8 * (1 - t / t[-1]))


def rooster(rng: Generator) -> np.ndarray:
    base = rng.uniform(650, 850)
    parts = [(0.12, 1.0, 1.1), (0.1, 1.2, 1.2), (0.16, 1.3, 1.5), (0.45, 1.6, 1.0)]
    out = []
    for seconds, start, end in parts:
        t = _time(seconds)
        out += [_harmonics(_glide(t, [(0, base * start), (1, base * end)]), 0.85 ** np.arange(8)) * np.sin(np.pi * t / seconds) ** 0.4, np.zeros(int(0.03 * RATE))]
    return np.concatenate(out)


def frog(rng: Generator) -> np.ndarray:
    pulse, centre = rng.uniform(28, 40), rng.uniform(700, 1100)
    t = _time(0.35)
    buzz = np.maximum(0, np.sin(2 * np.pi * pulse * t)) ** 3
    return buzz * np.sin(2 * np.pi * centre * t + np.sin(2 * np.pi * 2 * centre * t)) * np.sin(np.pi * t / 0.35)


def cow(rng: Generator) -> np.ndarray:
    t, base = _time(rng.uniform(0.9, 1.2)), rng.uniform(105, 150)
    tone = _harmonics(_glide(t, [(0, base), (0.4, base * 1.3), (1, base * 0.9)]), 0.93 ** np.arange(24))
    return _formants(tone, [380, 800, 2300], 0.3) * np.sin(np.pi * t / t[-1]) ** 0.5


def sheep(rng: Generator) -> np.ndarray:
    t, base = _time(rng.uniform(0.6, 0.9)), rng.uniform(300, 420)
    tone = _harmonics(_glide(t, [(0, base), (1, base * 0.9)]), 0.9 ** np.arange(14))
    tremble = 1 + 0.8 * np.sin(2 * np.pi * rng.uniform(7, 10) * t)
    return _formants(tone * tremble, [900, 1700, 2800], 0.3) * np.sin(np.pi * t / t[-1]) ** 0.4


def owl(rng: Generator) -> np.ndarray:
    base = rng.uniform(330, 420)

    def hoot(i: int) -> np.ndarray:
        t = _time(0.28)
        return np.sin(_glide(t, [(0, base * 0.92), (0.4, base), (1, base * 0.9)])) * np.sin(np.pi * t / 0.28)

    return _repeat(hoot, 0.4, 2)


def duck(rng: Generator) -> np.ndarray:
    base = rng.uniform(220, 290)

    def quack(i: int) -> np.ndarray:
        t = _time(0.17)
        tone = _harmonics(_glide(t, [(0, base * 1.15), (1, base * 0.85)]), np.ones(16))
        return _formants(tone, [1250, 2300], 0.2) * _envelope(t, 0.01, 0.07)

    return _repeat(quack, 0.24, int(rng.integers(2, 4)))


def bird_chirp(rng: Generator) -> np.ndarray:
    top = rng.uniform(3200, 4800)

    def tweet(i: int) -> np.ndarray:
        t = _time(0.07)
        return np.sin(_glide(t, [(0, top), (0.5, top * 1.3), (1, top * 0.85)])) * np.sin(np.pi * t / 0.07)

    return _repeat(tweet, rng.uniform(0.09, 0.13), int(rng.integers(3, 6)))


def bell(rng: Generator) -> np.ndarray:
    t, base = _time(1.1), rng.uniform(500, 950)
    ratios, decay = np.array([0.5, 1, 1.19, 1.5, 2, 2.74, 3.76]), rng.uniform(0.3, 0.5)
    return sum(np.sin(2 * np.pi * base * r * t) * np.exp(-t * (0.6 + 0.4 * r) / decay) / (1 + 0.4 * i) for i, r in enumerate(ratios)) * np.minimum(t / 0.002, 1)


def door_knock(rng: Generator) -> np.ndarray:
    pitch = rng.uniform(140, 230)

    def knock(i: int) -> np.ndarray:
        t = _time(0.12)
        return (np.sin(2 * np.pi * pitch * t) + 0.5 * _band(_noise(rng, len(t)), 300, 1400)) * _envelope(t, 0.001, 0.025)

    return _repeat(knock, rng.uniform(0.15, 0.2), 3)


def clock_tick(rng: Generator) -> np.ndarray:
    tone = rng.uniform(2200, 3000)

    def tick(i: int) -> np.ndarray:
        t = _time(0.04)
        return (np.sin(2 * np.pi * tone * (1 - 0.2 * (i % 2)) * t) + _high(_noise(rng, len(t)), 3000)) * _envelope(t, 0.0005, 0.006)

    return _repeat(tick, rng.uniform(0.22, 0.28), 4)


def water_drop(rng: Generator) -> np.ndarray:
    base = rng.uniform(700, 1200)

    def drop(i: int) -> np.ndarray:
        t = _time(0.12)
        return np.sin(_glide(t, [(0, base), (1, base * 2.2)])) * _envelope(t, 0.002, 0.03)

    return _repeat(drop, 0.22, int(rng.integers(1, 3)))


def car_horn(rng: Generator) -> np.ndarray:
    t, base = _time(rng.uniform(0.45, 0.8)), rng.uniform(340, 440)
    tone = sum(_harmonics(2 * np.pi * f * t, 0.85 ** np.arange(12)) for f in (base, base * 1.26))
    return np.tanh(tone) * np.minimum(1, np.minimum(t / 0.02, (t[-1] - t) / 0.04))


def train_horn(rng: Generator) -> np.ndarray:
    t, base = _time(1.1), rng.uniform(230, 290)
    chord = sum(_harmonics(2 * np.pi * base * r * t, 0.7 ** np.arange(8)) for r in (1, 1.2, 1.5, 1.78))
    return (chord + 0.4 * _band(_noise(rng, len(t)), 500, 3000)) * np.minimum(1, np.minimum(t / 0.12, (t[-1] - t) / 0.25))


def whistle(rng: Generator) -> np.ndarray:
    t, base = _time(rng.uniform(0.4, 0.6)), rng.uniform(2300, 2900)
    trill = base * (1 + 0.03 * np.sin(2 * np.pi * rng.uniform(22, 32) * t))
    tone = np.sin(2 * np.pi * np.cumsum(trill) / RATE)
    return (tone + 0.1 * _noise(rng, len(t))) * np.minimum(1, np.minimum(t / 0.02, (t[-1] - t) / 0.03))


def footsteps(rng: Generator) -> np.ndarray:
    def step(i: int) -> np.ndarray:
        t = _time(0.14)
        heel = _low(_noise(rng, len(t)), 500) * _envelope(t, 0.002, 0.02) * 4
        return heel + np.roll(_band(_noise(rng, len(t)), 1500, 4500) * _envelope(t, 0.003, 0.02), 700) * 0.6

    return _repeat(step, rng.uniform(0.4, 0.5), 3)


def alarm_beep(rng: Generator) -> np.ndarray:
    tone = rng.uniform(1800, 2300)

    def beep(i: int) -> np.ndarray:
        t = _time(0.09)
        return np.sign(np.sin(2 * np.pi * tone * t)) * np.minimum(1, np.minimum(t, 0.09 - t) / 0.004)

    return _repeat(beep, 0.15, 4)


def phone_ring(rng: Generator) -> np.ndarray:
    t = _time(0.9)
    gate = 1 / (1 + np.exp(-20 * np.sin(2 * np.pi * rng.uniform(18, 24) * t)))
    tone = np.sin(2 * np.pi * 1000 * t) + np.sin(2 * np.pi * rng.uniform(1230, 1350) * t) + 0.4 * np.sin(2 * np.pi * 3100 * t)
    return tone * gate


def glass_break(rng: Generator) -> np.ndarray:
    t = _time(0.8)
    crash = _high(_noise(rng, len(t)), 2500) * _envelope(t, 0.001, 0.06)
    shards = np.zeros(len(t))
    for _ in range(25):
        at, f = int(rng.exponential(0.15) * RATE), rng.uniform(2500, 7000)
        piece = np.sin(2 * np.pi * f * t) * np.exp(-t / rng.uniform(0.01, 0.05)) * rng.uniform(0.1, 0.6)
        if at < len(t):
            shards[at:] += piece[: len(t) - at]
    return crash + shards


def gunshot(rng: Generator) -> np.ndarray:
    t = _time(0.6)
    return _low(_noise(rng, len(t)), 3500) * _envelope(t, 0.0005, 0.03) * 3 + _low(_noise(rng, len(t)), 400) * _envelope(t, 0.005, 0.15) * 4


def camera_click(rng: Generator) -> np.ndarray:
    def click(i: int) -> np.ndarray:
        t = _time(0.03)
        return _band(_noise(rng, len(t)), 1200 + 1500 * i, 6000) * _envelope(t, 0.0005, 0.006)

    return _repeat(click, rng.uniform(0.07, 0.1), 2)


def hand_saw(rng: Generator) -> np.ndarray:
    period = rng.uniform(0.28, 0.36)

    def stroke(i: int) -> np.ndarray:
        t = _time(period * 0.85)
        teeth = 1 + 0.9 * np.sign(np.sin(_glide(t, [(0, 60), (0.5, 130), (1, 60)])))
        return _band(_noise(rng, len(t)), 1200 + 700 * (i % 2), 5000) * teeth * np.sin(np.pi * t / t[-1])

    return _repeat(stroke, period, 3)


def drill(rng: Generator) -> np.ndarray:
    t, base = _time(rng.uniform(0.7, 1.0)), rng.uniform(150, 210)
    whine = _harmonics(_glide(t, [(0, base * 0.6), (0.2, base), (1, base * 1.05)]), np.ones(22))
    return (whine + 0.8 * _high(_noise(rng, len(t)), 2000)) * np.minimum(1, np.minimum(t / 0.1, (t[-1] - t) / 0.1))


def cough(rng: Generator) -> np.ndarray:
    def burst(i: int) -> np.ndarray:
        t = _time(0.22)
        return _formants(_noise(rng, len(t)), [600, 1300, 2500], 0.4) * _envelope(t, 0.006, 0.05)

    return _repeat(burst, rng.uniform(0.26, 0.34), 2)


def snore(rng: Generator) -> np.ndarray:
    t, rate = _time(1.1), rng.uniform(22, 32)
    flutter = np.maximum(0, np.sin(2 * np.pi * rate * t)) ** 2
    return _low(_noise(rng, len(t)), 900) * flutter * np.sin(np.pi * t / t[-1]) + 0.3 * _low(_noise(rng, len(t)), 1500) * np.sin(np.pi * t / t[-1])


def heartbeat(rng: Generator) -> np.ndarray:
    def beat(i: int) -> np.ndarray:
        t = _time(0.14)
        return np.sin(2 * np.pi * (62 - 8 * (i % 2)) * t) * _envelope(t, 0.015, 0.035) + 0.1 * _low(_noise(rng, len(t)), 250)  * _envelope(t, 0.01, 0.03)

    return np.concatenate([_repeat(beat, 0.2, 2), np.zeros(int(0.3 * RATE)), _repeat(beat, 0.2, 2)])


def zipper(rng: Generator) -> np.ndarray:
    t = _time(rng.uniform(0.4, 0.6))
    teeth = np.maximum(0, np.sin(_glide(t, [(0, 70), (1, rng.uniform(160, 240))]))) ** 4
    return _high(_noise(rng, len(t)), 3500) * (0.2 + teeth) * np.sin(np.pi * t / t[-1]) ** 0.3


def coin(rng: Generator) -> np.ndarray:
    base = rng.uniform(3800, 4800)

    def bounce(i: int) -> np.ndarray:
        t = _time(0.3)
        return sum(np.sin(2 * np.pi * base * r * t) for r in (1, 1.34, 1.57)) * _envelope(t, 0.0005, 0.05) * 0.7**i

    return np.concatenate([_repeat(bounce, 0.16, 2), _repeat(lambda i: bounce(i + 2), 0.09, 3)])


def laser(rng: Generator) -> np.ndarray:
    t, top = _time(rng.uniform(0.25, 0.4)), rng.uniform(2500, 3800)
    return np.sign(np.sin(_glide(t, [(0, top), (0.4, top * 0.3), (1, 150)]))) * _envelope(t, 0.002, 0.15)


def rain(rng: Generator, seconds: float) -> np.ndarray:
    hiss = _high(_noise(rng, int(seconds * RATE)), rng.uniform(1500, 2500))
    drops = _grains(rng, seconds, 60, lambda: _band(_noise(rng, 200), 2000, 6500) * np.exp(-np.arange(200) / 40) * 4)
    return hiss * 0.5 + drops


def wind(rng: Generator, seconds: float) -> np.ndarray:
    count = int(seconds * RATE)
    t = np.arange(count) / RATE
    gust = 0.55 + 0.45 * np.sin(2 * np.pi * rng.uniform(0.2, 0.4) * t + rng.uniform(0, 6))
    x = _noise(rng, count)
    return _band(x, 150, 500) * (1 - gust) + _band(x, 400, 900) * gust * 1.3


def fire(rng: Generator, seconds: float) -> np.ndarray:
    crackle = _grains(rng, seconds, 16, lambda: _band(_noise(rng, 160), 900, 6000) * np.exp(-np.arange(160) / rng.uniform(8, 40)) * 7)
    return crackle + 0.35 * _low(_noise(rng, int(seconds * RATE)), 220) * 3


def engine(rng: Generator, seconds: float) -> np.ndarray:
    t, base = _time(seconds), rng.uniform(32, 55)
    phase = 2 * np.pi * base * t + 0.5 * np.sin(2 * np.pi * 0.7 * t)
    return _low(np.maximum(0, np.sin(phase)) ** 6 * (1 + 0.5 * _noise(rng, len(t))), 1200) + 0.3 * np.sin(2 * phase)


def siren(rng: Generator, seconds: float) -> np.ndarray:
    t, sweep = _time(seconds), rng.uniform(0.4, 0.9)
    frequency = 950 + 350 * np.sin(2 * np.pi * sweep * t + rng.uniform(0, 6))
    return _harmonics(2 * np.pi * np.cumsum(frequency) / RATE, 0.5 ** np.arange(5))


def crickets(rng: Generator, seconds: float) -> np.ndarray:
    t, tone, rate = _time(seconds), rng.uniform(4200, 5200), rng.uniform(2.2, 3.2)
    chirp = (np.sin(2 * np.pi * rate * t) > 0.2) * (0.5 + 0.5 * np.sin(2 * np.pi * 32 * t))
    return np.sin(2 * np.pi * tone * t) * chirp + 0.4 * np.sin(2 * np.pi * tone * 1.06 * t) * np.roll(chirp, 2500)


def bees(rng: Generator, seconds: float) -> np.ndarray:
    t = _time(seconds)
    out = np.zeros(len(t))
    for _ in range(4):
        base = rng.uniform(190, 250)
        drift = base * (1 + 0.04 * np.sin(2 * np.pi * rng.uniform(1, 4) * t + rng.uniform(0, 6)))
        out += _harmonics(2 * np.pi * np.cumsum(drift) / RATE, 0.8 ** np.arange(9))
    return out


def vacuum(rng: Generator, seconds: float) -> np.ndarray:
    t, base = _time(seconds), rng.uniform(270, 340)
    return _band(_noise(rng, len(t)), 500, 4000) + 0.5 * _harmonics(2 * np.pi * base * t, np.array([1, 0.2, 0.8, 0.1, 0.5]))


def stream(rng: Generator, seconds: float) -> np.ndarray:
    def bubble() -> np.ndarray:
        t, base = _time(0.06), rng.uniform(500, 1600)
        return np.sin(_glide(t, [(0, base), (1, base * 1.5)])) * np.exp(-t / 0.015)

    return _grains(rng, seconds, 70, bubble) + 0.25 * _band(_noise(rng, int(seconds * RATE)), 600, 3000)


def train_rails(rng: Generator, seconds: float) -> np.ndarray:
    period, count = rng.uniform(0.55, 0.75), int(seconds * RATE)
    out = 1.2 * _low(_noise(rng, count), 300)
    for start in np.arange(0.1, seconds - 0.2, period):
        for shift in (0, 0.13):
            t = _time(0.12)
            clack = _band(_noise(rng, len(t)), 250, 2500) * _envelope(t, 0.002, 0.025) * 4
            first = int((start + shift) * RATE)
            out[first : first + len(clack)] += clack[: max(0, count - first)]
    return out


def waves(rng: Generator, seconds: float) -> np.ndarray:
    t = _time(seconds)
    swell = np.sin(np.pi * (t / rng.uniform(1.6, 2.2) + rng.uniform(0, 1))) ** 2
    x = _noise(rng, len(t))
    return _low(x, 700) * (0.3 + swell) + _band(x, 1000, 5000) * swell**3 * 0.8


def helicopter(rng: Generator, seconds: float) -> np.ndarray:
    t, rate = _time(seconds), rng.uniform(11, 15)
    chop = np.maximum(0, np.sin(2 * np.pi * rate * t)) ** 5
    return _low(_noise(rng, len(t)), 700) * chop * 3 + 0.25 * _band(_noise(rng, len(t)), 1500, 2500)


def applause(rng: Generator, seconds: float) -> np.ndarray:
    return _grains(rng, seconds, 110, lambda: _band(_noise(rng, 320), 700, 3000) * np.exp(-np.arange(320) / 60))


def hum(rng: Generator, seconds: float) -> np.ndarray:
    t, base = _time(seconds), rng.choice([50.0, 60.0])
    return _harmonics(2 * np.pi * base * t, np.array([0.6, 1, 0.1, 0.7, 0.1, 0.4])) + 0.03 * _noise(rng, len(t))


def geiger(rng: Generator, seconds: float) -> np.ndarray:
    return _grains(rng, seconds, rng.uniform(9, 14), lambda: np.sin(2 * np.pi * 1500 * np.arange(120) / RATE) * np.exp(-np.arange(120) / 20) * 5)


def smoothed(x: np.ndarray) -> np.ndarray:
    """Without the steps at both ends that would click: 3 ms ramps, and no offset."""
    x = lfilter([1, -1], [1, -0.999], x)
    ramp = np.minimum(1, np.arange(len(x)) / 48)
    return x * ramp * ramp[::-1]
