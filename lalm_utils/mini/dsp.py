"""Synthesisers of everyday sounds: each function renders one sound at an arbitrary level, from a generator alone.

Events take `(rng)` and return about 0.15-1.2 s that begin with their onset; textures take `(seconds, rng)`. All
return 16 kHz mono float arrays (n,). Every call draws pitch, rate, envelope and timbre anew. Levels, labels and
what is known about a sound are not this module's business.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

from lalm_utils.mini.scene import RATE

_GRID = 160  # samples between two control points: 10 ms
_NYQUIST = RATE / 2
_TABLE = 1 << 14  # points of one cycle; the error lies 50 dB below
COLOURS = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # how fast the amplitude falls with frequency

# --- material -------------------------------------------------------------------------------------------------


def noise(kind: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """White, pink (-3 dB an octave) or brown (-6 dB) noise of RMS 1, float32 (round(seconds * 16000),)."""
    if kind not in COLOURS:
        raise ValueError(f"no noise called {kind!r}; choose one of {', '.join(COLOURS)}")
    count = _length(seconds)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.maximum(np.fft.rfftfreq(count, 1 / RATE), 20.0)
    samples = np.fft.irfft(spectrum * frequency ** -COLOURS[kind], count)
    return (samples / np.sqrt(np.mean(samples**2))).astype(np.float32)


def room(samples: np.ndarray, rt60: float, rng: np.random.Generator) -> np.ndarray:
    """`samples` (n,) with the reverberation of a room, float32 (n + rt60 * 16000,).

    The impulse response is the direct sound followed by noise that decays by 60 dB in `rt60` seconds; the wet part
    has the energy that a listener a few steps away receives.
    """
    if not 0 < rt60 <= 10:
        raise ValueError(f"a reverberation time of {rt60!r} s is outside 0..10; choose a value inside")
    count = max(1, round(rt60 * RATE))
    response = rng.standard_normal(count) * 10 ** (-3 * np.arange(count) / count)
    response *= 0.7 / np.sqrt(np.sum(response**2))
    wet = fftconvolve(samples, np.concatenate([[1.0], response]))
    return wet[: len(samples) + count].astype(np.float32)


def _length(seconds: float) -> int:
    return max(1, round(seconds * RATE))


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Uniform on a ratio scale, as ears judge pitches, lengths and rates."""
    return float(low * (high / low) ** rng.random())


def _curve(count: int, *points: float) -> np.ndarray:
    """(count,) straight lines through evenly spaced points."""
    return np.interp(np.linspace(0, len(points) - 1, count), np.arange(len(points)), points)


def _drift(rng: np.random.Generator, count: int, rate: float, low: float, high: float) -> np.ndarray:
    """(count,) a random curve between low and high with `rate` turning points a second."""
    return _curve(count, *rng.uniform(low, high, max(2, int(count / RATE * rate) + 2)))


def _decay(count: int, tau: float) -> np.ndarray:
    return np.exp(-np.arange(count) / (tau * RATE))


def _shape(count: int, attack: float, release: float) -> np.ndarray:
    """Rises over `attack` seconds, stays at 1, falls over the last `release` seconds."""
    time = np.arange(count) / RATE
    return np.clip(np.minimum(time / attack, (count / RATE - time) / release), 0, 1)


def _tone(frequency: np.ndarray | float, count: int, start: float = 0.0) -> np.ndarray:
    """A sine of constant or changing frequency in Hz, (count,)."""
    return np.sin(2 * np.pi * (np.cumsum(np.broadcast_to(frequency, count)) / RATE + start))


def _harmonics(pitch: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Harmonics of a pitch curve (n,) with the given amplitudes; those beyond 7.8 kHz are left out."""
    weights = np.asarray(weights[: max(1, int(0.975 * _NYQUIST / pitch.max()))], dtype=float)
    # One cycle as a table: a lookup costs the same however many harmonics there are.
    cycle = np.fft.irfft(np.concatenate([[0.0], -1j * weights]), _TABLE) * (_TABLE / 2)
    return cycle[(np.cumsum(pitch) * (_TABLE / RATE)).astype(np.int64) % _TABLE]


def _voice(
    pitch: np.ndarray, formants: Sequence[tuple], tilt: float = 0.5, top: float = 6000.0
) -> np.ndarray:
    """A throat: harmonics of `pitch` (n,) shaped by formants (centre Hz or curve (n,), width Hz, gain)."""
    turn = np.exp(2j * np.pi * np.cumsum(pitch) / RATE)
    at, power, total = np.arange(0, len(pitch), _GRID), np.ones_like(turn), np.zeros(len(pitch))
    for number in range(1, max(2, int(min(top, 0.95 * _NYQUIST) / pitch.max()) + 1)):
        power = power * turn
        place, gain = number * pitch[at], np.full(len(at), 0.01)
        for centre, width, height in formants:
            centre = centre[at] if isinstance(centre, np.ndarray) else centre
            gain = gain + height * np.exp(-0.5 * ((place - centre) / width) ** 2)
        total += np.interp(np.arange(len(pitch)), at, gain) * number**-tilt * power.imag
    return total


def _resonate(samples: np.ndarray, frequency: float, width: float) -> np.ndarray:
    """A two-pole resonance at `frequency`, `width` Hz wide, of about unit gain at its peak."""
    radius, angle = np.exp(-np.pi * width / RATE), 2 * np.pi * frequency / RATE
    peak = (1 - radius) * np.abs(1 - radius * np.exp(-2j * angle))
    return lfilter([peak], [1, -2 * radius * np.cos(angle), radius**2], samples)


def _band(samples: np.ndarray, low: float, high: float) -> np.ndarray:
    """Second-order band pass; `low` 0 makes it a low pass, `high` 8000 a high pass."""
    if low <= 0:
        return sosfilt(butter(2, high, "lowpass", fs=RATE, output="sos"), samples)
    if high >= _NYQUIST:
        return sosfilt(butter(2, low, "highpass", fs=RATE, output="sos"), samples)
    return sosfilt(butter(2, (low, high), "bandpass", fs=RATE, output="sos"), samples)


def _unit(samples: np.ndarray) -> np.ndarray:
    """Scaled to RMS 1."""
    return samples / (np.sqrt(np.mean(samples**2)) + 1e-12)


def _loud(samples: np.ndarray) -> np.ndarray:
    """Scaled to peak 1."""
    return samples / (np.max(np.abs(samples)) + 1e-12)


def _modes(count: int, partials: Sequence[tuple[float, float, float]]) -> np.ndarray:
    """A struck body: decaying sines (Hz, decay time in s, gain), (count,)."""
    time, total = np.arange(count) / RATE, np.zeros(count)
    for frequency, tau, gain in partials:
        if frequency < 0.975 * _NYQUIST:
            total += gain * np.sin(2 * np.pi * frequency * time) * np.exp(-time / tau)
    return total


def _place(total: np.ndarray, part: np.ndarray, at: float, gain: float = 1.0) -> None:
    """Add `part` to `total` from `at` seconds on, cut at the end."""
    first = round(at * RATE)
    room_left = total[first : first + len(part)]
    room_left += gain * part[: len(room_left)]


def _burst(rng: np.random.Generator, seconds: float, tau: float, low: float, high: float) -> np.ndarray:
    """A decaying burst of band-limited noise with peak 1."""
    count = _length(seconds)
    return _loud(_band(rng.standard_normal(count) * _decay(count, tau), low, high))


def _impulses(rng: np.random.Generator, count: int, rate: float) -> np.ndarray:
    """(count,) zeros with `rate` random impulses a second on average, exponential in size, of either sign."""
    number = rng.poisson(rate * count / RATE)
    total = np.zeros(count)
    np.add.at(
        total, rng.integers(0, count, number), rng.exponential(1.0, number) * rng.choice((-1, 1), number)
    )
    return total


def _pulses(rng: np.random.Generator, rate: np.ndarray, jitter: float = 0.0) -> np.ndarray:
    """(n,) one impulse a cycle of the rate curve in Hz; sizes vary by `jitter`."""
    phase = np.floor(np.cumsum(rate) / RATE)
    at = np.flatnonzero(np.diff(phase, prepend=-1.0) > 0)
    total = np.zeros(len(rate))
    total[at] = 1 + jitter * rng.uniform(-1, 1, len(at))
    return total


# --- events: animals ------------------------------------------------------------------------------------------


def dog_bark(rng: np.random.Generator) -> np.ndarray:
    """One abrupt bark of a small or a large dog: the pitch jumps up and falls, half voice, half breath."""
    size, count = _between(rng, 0.75, 1.5), _length(_between(rng, 0.16, 0.28))
    pitch = _between(rng, 260, 420) * size * _curve(count, 0.8, 1.35, 1.2, 0.9, 0.6)
    formants = [(rng.uniform(650, 850) * size, 260, 1.0), (rng.uniform(1400, 1700) * size, 300, 0.6)]
    breath = sum(g * _unit(_resonate(rng.standard_normal(count), f, w)) for f, w, g in formants)
    voiced = _unit(_voice(pitch, formants, 0.2))
    bark = voiced + rng.uniform(0.3, 0.7) * breath
    return bark * _shape(count, 0.008, 0.6 * count / RATE)


def cat_meow(rng: np.random.Generator) -> np.ndarray:
    """A long gliding vowel, from closed over open to closed mouth."""
    count = _length(_between(rng, 0.55, 1.05))
    pitch = _between(rng, 480, 800) * _curve(
        count, 0.85, rng.uniform(1.1, 1.35), 1.15, 1.0, rng.uniform(0.65, 0.85)
    )
    pitch *= 1 + 0.015 * _tone(rng.uniform(5, 9), count)
    opening = _curve(count, 600, 1300, 1500, 1200, 700)
    formants = [(opening, 350, 1.0), (opening * rng.uniform(1.9, 2.3), 450, 0.8), (4200, 500, 0.2)]
    meow = _unit(_voice(pitch, formants, 0.1, 7000)) + 0.05 * rng.standard_normal(count)
    return meow * _shape(count, 0.08, 0.25)


def rooster_crow(rng: np.random.Generator) -> np.ndarray:
    """Cock-a-doodle-doo: three short rough calls and a long falling one."""
    base, scale, total, at = _between(rng, 600, 950), rng.uniform(0.9, 1.05), np.zeros(_length(1.2)), 0.0
    for seconds, rise in ((0.1, 0.7), (0.09, 0.9), (0.14, 1.05), (0.75, 1.25)):
        count = _length(seconds * scale)
        pitch = base * rise * _curve(count, 0.85, 1.0, 1.02, 0.95, 0.7 if seconds > 0.5 else 0.9)
        pitch *= 1 + rng.uniform(0.01, 0.03) * np.interp(
            np.arange(count), np.arange(0, count, 40), rng.standard_normal(len(range(0, count, 40)))
        )
        call = _voice(pitch, [(1800, 700, 1.0), (3200, 600, 0.7)], 0.0, 7500)
        _place(total, _unit(call) * _shape(count, 0.015, 0.04 if seconds < 0.5 else 0.3), at)
        at += seconds * scale + 0.025
    return total[: _length(at)]


def frog_croak(rng: np.random.Generator) -> np.ndarray:
    """A train of damped pulses; some frogs croak in two syllables with rising pitch."""
    tone, rate = _between(rng, 450, 1000), _between(rng, 30, 60)
    syllables = (0.14, 0.16) if rng.random() < 0.5 else (_between(rng, 0.3, 0.55),)
    total, at = np.zeros(_length(0.65)), 0.0
    for number, seconds in enumerate(syllables):
        count = _length(seconds)
        pulses = _pulses(rng, np.full(count, rate * 1.25**number), 0.2)
        call = _resonate(pulses, tone * 1.2**number, rng.uniform(60, 120))
        call += 0.5 * _resonate(pulses, 2.1 * tone * 1.2**number, 200)
        _place(total, _loud(call) * _shape(count, 0.03, 0.04), at)
        at += seconds + 0.05
    return total[: _length(at - 0.05)]


def bird_chirp(rng: np.random.Generator) -> np.ndarray:
    """A few quick whistled sweeps high up, all alike."""
    number, seconds, gap = int(rng.integers(2, 6)), _between(rng, 0.045, 0.1), rng.uniform(0.03, 0.07)
    count, low = _length(seconds), _between(rng, 3000, 4600)
    sweep = low * _curve(count, *rng.permutation([1.0, rng.uniform(1.2, 1.5), 1.05]))
    chirp = (_tone(sweep, count) + 0.1 * _tone(np.minimum(2 * sweep, 7800), count)) * np.hanning(count)
    total = np.zeros(_length(number * (seconds + gap)))
    for i in range(number):
        _place(total, chirp, i * (seconds + gap), rng.uniform(0.7, 1.0))
    return total


def cow_moo(rng: np.random.Generator) -> np.ndarray:
    """A long low vowel that opens."""
    count = _length(_between(rng, 0.8, 1.2))
    pitch = _between(rng, 95, 150) * _curve(count, 0.85, 1.1, 1.15, 1.1, 0.8)
    pitch *= 1 + _drift(rng, count, 12, -0.02, 0.02)
    opening = _curve(count, 260, 420, rng.uniform(520, 650), 500)
    moo = _voice(pitch, [(opening, 130, 1.0), (opening * 1.9, 160, 0.45), (2300, 250, 0.06)], 0.3, 3000)
    return moo * _shape(count, 0.1, 0.25)


def owl_hoot(rng: np.random.Generator) -> np.ndarray:
    """One or two soft, nearly pure hoots."""
    base, total, at = _between(rng, 330, 560), np.zeros(_length(1.1)), 0.0
    for seconds in (rng.uniform(0.12, 0.18), 0.5) if rng.random() < 0.5 else (rng.uniform(0.4, 0.7),):
        count = _length(seconds)
        pitch = base * _curve(count, 0.92, 1.0, 1.0, 0.93) * (1 + 0.01 * _tone(6, count))
        hoot = _harmonics(pitch, (1, 0.12, 0.05)) + 0.03 * _resonate(rng.standard_normal(count), base, 200)
        _place(total, hoot * _shape(count, 0.06, 0.1), at)
        at += seconds + 0.09
    return total[: _length(at - 0.09)]


def sheep_bleat(rng: np.random.Generator) -> np.ndarray:
    """Baa: a nasal vowel that shakes strongly."""
    count = _length(_between(rng, 0.55, 1.0))
    shake = _tone(rng.uniform(7.5, 11), count)
    pitch = _between(rng, 190, 300) * _curve(count, 1.0, 1.1, 1.0, 0.85) * (1 + 0.05 * shake)
    formants = [(rng.uniform(750, 900), 200, 1.0), (rng.uniform(1700, 2000), 250, 0.9), (3000, 350, 0.5)]
    baa = _unit(_voice(pitch, formants, 0.1)) + 0.1 * rng.standard_normal(count)
    return baa * (1 + 0.75 * shake) * _shape(count, 0.04, 0.12)


def duck_quack(rng: np.random.Generator) -> np.ndarray:
    """A short buzzing reed-like call of constant colour."""
    count = _length(_between(rng, 0.17, 0.3))
    pulses = _pulses(rng, _between(rng, 130, 210) * _curve(count, 1.1, 1.0, 0.85), 0.3)
    call = sum(
        g * _resonate(pulses, f * rng.uniform(0.93, 1.07), 180)
        for f, g in ((1250, 1), (2500, 0.9), (3700, 0.5))
    )
    return call * _shape(count, 0.015, 0.09)


# --- events: people and what they handle ----------------------------------------------------------------------


def cough(rng: np.random.Generator) -> np.ndarray:
    """An explosive breath followed by a hoarse voiced rest."""
    count = _length(_between(rng, 0.3, 0.45))
    tract = [(rng.uniform(600, 900), 350), (rng.uniform(1400, 1900), 450), (rng.uniform(2600, 3300), 600)]
    breath = sum(_unit(_resonate(rng.standard_normal(count), f, w)) for f, w in tract)
    pitch = (
        _between(rng, 110, 260) * _curve(count, 1.2, 1.0, 0.75) * (1 + _drift(rng, count, 60, -0.12, 0.12))
    )
    voiced = _unit(_voice(pitch, [(f, w / 2, 1.0) for f, w in tract], 0.5, 4000))
    rest = np.clip((np.arange(count) / RATE - 0.06) / 0.03, 0, 1)
    push = _decay(count, 0.035) + 0.22 * _shape(count, 0.06, 0.15)
    return (breath * push + 0.35 * voiced * rest * _shape(count, 0.06, 0.15)) * _shape(count, 0.004, 0.06)


def snore(rng: np.random.Generator) -> np.ndarray:
    """A long rattling intake of breath."""
    count = _length(_between(rng, 0.75, 1.15))
    rattle = lfilter(
        [1], [1, -0.985], _pulses(rng, _between(rng, 24, 38) * _curve(count, 0.8, 1.0, 1.15), 0.4)
    )
    breath = _band(rng.standard_normal(count), 150, rng.uniform(700, 1200))
    breath = breath + 0.5 * _resonate(rng.standard_normal(count), rng.uniform(350, 600), 150)
    return _unit(breath) * (0.1 + _loud(rattle)) * _shape(count, 0.3, 0.2)


def heartbeat(rng: np.random.Generator) -> np.ndarray:
    """Lub-dub: two soft low thumps."""
    gap, total = rng.uniform(0.24, 0.34), np.zeros(_length(0.65))
    for at, tone, gain in ((0.0, 1.0, 1.0), (gap, rng.uniform(1.15, 1.4), rng.uniform(0.5, 0.8))):
        count = _length(0.16)
        sweep = _between(rng, 55, 75) * tone * _curve(count, 1.3, 1.0, 0.9)
        _place(total, _tone(sweep, count) * np.hanning(count) ** 1.5, at, gain)
    return total


def footstep(rng: np.random.Generator) -> np.ndarray:
    """Heel and toe on a hard or a gritty floor."""
    total, grit = np.zeros(_length(0.42)), rng.random()
    roll = rng.uniform(0.08, 0.15)
    heel = _modes(
        _length(0.15), [(_between(rng, 70, 130), 0.025, 1.0), (_between(rng, 200, 300), 0.012, 0.5)]
    )
    _place(total, heel, 0.0)
    _place(total, _burst(rng, 0.08, 0.012, 900, 4000), 0.0, rng.uniform(0.25, 0.5))
    scrape = _impulses(rng, _length(0.2), 400 + 1600 * grit) * np.hanning(_length(0.2))
    _place(total, _loud(_band(scrape, 1500, 6500)), roll - 0.05, rng.uniform(0.35, 0.7))
    _place(total, _burst(rng, 0.1, 0.02, 300, 2000), roll, rng.uniform(0.3, 0.5))
    return total


def door_knock(rng: np.random.Generator) -> np.ndarray:
    """One knuckle on wood: a few low damped modes."""
    base = _between(rng, 170, 330)
    partials = [
        (base * r * rng.uniform(0.95, 1.05), t * rng.uniform(0.8, 1.3), g)
        for r, t, g in ((1, 0.035, 1.0), (1.6, 0.025, 0.8), (2.4, 0.016, 0.6), (3.7, 0.008, 0.4))
    ]
    total = _modes(_length(0.24), partials)
    _place(total, _burst(rng, 0.02, 0.003, 800, 3500), 0.0, 0.3)
    return total


def whistle(rng: np.random.Generator) -> np.ndarray:
    """A referee's whistle: a high tone that its pea makes trill."""
    count, tone = _length(_between(rng, 0.35, 0.95)), _between(rng, 2300, 3300)
    trill = _tone(_between(rng, 28, 48), count)
    pitch = tone * (1 + rng.uniform(0.015, 0.03) * trill) * _curve(count, 0.97, 1, 1, 1, 0.98)
    blow = _tone(pitch, count) + 0.6 * _tone(pitch * rng.uniform(1.08, 1.12), count)
    breath = _unit(_band(rng.standard_normal(count), 1500, 5500))
    return (blow + 0.15 * breath) * (1 + 0.6 * trill) * _shape(count, 0.02, 0.05)


def camera_click(rng: np.random.Generator) -> np.ndarray:
    """A shutter that opens and closes, and the motor that winds on."""
    gap, total = rng.uniform(0.07, 0.14), np.zeros(_length(rng.uniform(0.32, 0.5)))
    for at, gain in ((0.0, 1.0), (gap, rng.uniform(0.7, 1.1))):
        _place(total, _burst(rng, 0.05, 0.007, 1800, 7000), at, gain)
        _place(total, _burst(rng, 0.05, 0.01, 500, 1500), at + 0.004, 0.4)
    count = len(total) - _length(gap + 0.03)
    motor = _harmonics(
        _between(rng, 240, 420) * _curve(count, 0.7, 1, 1), np.ones(12) * 0.5
    ) + 0.5 * rng.standard_normal(count)
    _place(
        total,
        _loud(_band(motor, 1200, 5000)) * _shape(count, 0.02, 0.05),
        gap + 0.03,
        rng.uniform(0.12, 0.22),
    )
    return total


def zipper(rng: np.random.Generator) -> np.ndarray:
    """Teeth that close ever faster, ever higher."""
    count, rate = _length(_between(rng, 0.35, 0.8)), _between(rng, 70, 120)
    teeth = _pulses(rng, rate * _curve(count, 0.6, 1.0, 1.7), 0.5)
    grain = fftconvolve(teeth, rng.standard_normal(60) * _decay(60, 0.001))[:count]
    low, high = _resonate(grain, rng.uniform(1800, 2400), 700), _resonate(grain, rng.uniform(4200, 5500), 900)
    move = _curve(count, 0, 1)
    return (_unit(low) * (1 - move) + _unit(high) * move) * _shape(count, 0.03, 0.03)


def coin_drop(rng: np.random.Generator) -> np.ndarray:
    """A coin that falls on a table and bounces ever faster; each bounce rings with the same clear tones."""
    base, total = _between(rng, 2600, 3600), np.zeros(_length(1.0))
    ring = [(base * r, t, g) for r, t, g in ((1.0, 0.09, 1.0), (1.62, 0.07, 0.8), (2.05, 0.05, 0.5))]
    at, gap, gain = 0.0, rng.uniform(0.18, 0.26), 1.0
    while at < 0.9 and gain > 0.08:
        _place(total, _modes(_length(0.35), ring), at, gain)
        at, gap, gain = at + gap, gap * rng.uniform(0.68, 0.78), gain * 0.75
    return total


# --- events: things -------------------------------------------------------------------------------------------


def bell(rng: np.random.Generator) -> np.ndarray:
    """A struck bell with the usual hum, third and fifth."""
    base, ring = _between(rng, 420, 1000), _between(rng, 0.25, 0.6)
    ratios = ((0.5, 1.2, 0.4), (1, 1, 1), (1.19, 0.8, 0.7), (1.5, 0.6, 0.5), (2, 0.6, 0.8), (2.63, 0.4, 0.5),
              (3.01, 0.35, 0.4), (4.1, 0.25, 0.3))  # fmt: skip
    partials = [
        (base * r * rng.uniform(0.99, 1.01), ring * t, g * rng.uniform(0.6, 1.2)) for r, t, g in ratios
    ]
    count = _length(rng.uniform(0.9, 1.2))
    return _modes(count, partials) * _shape(count, 0.001, 0.1)


def clock_tick(rng: np.random.Generator) -> np.ndarray:
    """One dry tick of a small mechanism."""
    total = np.zeros(_length(0.16))
    base = _between(rng, 2200, 3600)
    tick = [(base, 0.006, 1.0), (base * rng.uniform(1.4, 1.6), 0.004, 0.7), (base * 0.45, 0.008, 0.35)]
    _place(total, _modes(_length(0.08), tick), 0.0)
    _place(total, _modes(_length(0.08), tick), rng.uniform(0.012, 0.03), rng.uniform(0.3, 0.6))
    return total


def water_drop(rng: np.random.Generator) -> np.ndarray:
    """A bubble whose pitch shoots up while it dies away, sometimes with a smaller one behind it."""
    total, base = np.zeros(_length(0.34)), _between(rng, 500, 1100)
    for at, high, gain in (
        (0.0, 1.0, 1.0),
        (rng.uniform(0.09, 0.15), rng.uniform(1.2, 1.5), rng.choice((0.0, 0.5))),
    ):
        count = _length(0.2)
        sweep = base * high * (1 + np.arange(count) / RATE * rng.uniform(6, 14))
        _place(total, _tone(sweep, count) * _decay(count, rng.uniform(0.025, 0.045)), at, gain)
    return total


def car_horn(rng: np.random.Generator) -> np.ndarray:
    """Two bright reeds a third apart, steady."""
    count, base = _length(_between(rng, 0.35, 0.9)), _between(rng, 340, 460)
    weights = [np.exp(-0.5 * ((k * base - 2000) / 1300) ** 2) + 0.25 for k in range(1, 19)]
    horn = _harmonics(np.full(count, base), weights)
    horn = horn + _harmonics(np.full(count, base * rng.uniform(1.18, 1.27)), weights)
    return horn * _shape(count, 0.015, 0.03)


def ship_horn(rng: np.random.Generator) -> np.ndarray:
    """A deep steady drone."""
    count = _length(_between(rng, 0.9, 1.2))
    pitch = _between(rng, 62, 92) * _curve(count, 0.95, 1, 1, 1, 1)
    horn = _harmonics(pitch, [1 / (1 + (k / 6) ** 3) for k in range(1, 24)])
    horn = _unit(horn) + 0.6 * _unit(_harmonics(pitch * 1.5, [1 / (1 + (k / 5) ** 3) for k in range(1, 16)]))
    return horn * _shape(count, 0.12, 0.15)


def gunshot(rng: np.random.Generator) -> np.ndarray:
    """A crack and the hiss of its echo."""
    count = _length(_between(rng, 0.5, 0.95))
    echo = _band(rng.standard_normal(count), 250, rng.uniform(2500, 4500)) * _decay(
        count, rng.uniform(0.08, 0.18)
    )
    shot = 0.35 * _unit(echo)
    _place(shot, _burst(rng, 0.12, rng.uniform(0.012, 0.025), 150, 8000), 0.0, 3.0)
    return shot * _shape(count, 0.001, 0.1)


def explosion(rng: np.random.Generator) -> np.ndarray:
    """A deep boom that rolls on."""
    count = _length(_between(rng, 0.95, 1.2))
    deep = _band(rng.standard_normal(count), 0, rng.uniform(90, 180)) * _decay(count, rng.uniform(0.35, 0.6))
    debris = _band(rng.standard_normal(count), 150, rng.uniform(600, 1000)) * _decay(
        count, rng.uniform(0.12, 0.25)
    )
    roll = _unit(deep) * _drift(rng, count, 14, 0.4, 1.0) + rng.uniform(0.3, 0.5) * _unit(debris)
    return roll * _shape(count, 0.012, 0.2)


def glass_break(rng: np.random.Generator) -> np.ndarray:
    """A crash and falling splinters, each with tones of its own."""
    total = np.zeros(_length(_between(rng, 0.7, 1.1)))
    _place(total, _burst(rng, 0.2, rng.uniform(0.025, 0.05), 2000, 8000), 0.0, 1.2)
    for at in np.minimum(rng.exponential(0.22, int(rng.integers(28, 46))), len(total) / RATE - 0.02):
        tones = [(f, rng.uniform(0.008, 0.035), 1.0) for f in rng.uniform(2200, 7600, 3)]
        _place(total, _modes(_length(0.12), tones), float(at), rng.uniform(0.08, 0.3))
    return total


def alarm_beep(rng: np.random.Generator) -> np.ndarray:
    """One beep of an electronic alarm: a hard-edged tone."""
    count, tone = _length(_between(rng, 0.16, 0.35)), _between(rng, 900, 1700)
    weights = [1 / k if k % 2 else rng.uniform(0, 0.1) for k in range(1, 8)]
    return _harmonics(np.full(count, tone), weights) * _shape(count, 0.004, 0.006)


def telephone_ring(rng: np.random.Generator) -> np.ndarray:
    """A clapper between two small gongs, or the warble of an electronic set."""
    count, base, rate = _length(_between(rng, 0.6, 1.05)), _between(rng, 1050, 1500), _between(rng, 18, 26)
    if rng.random() < 0.4:
        high = (np.arange(count) * rate / RATE) % 1 < 0.5
        return _harmonics(np.where(high, base * 1.25, base), (1, 0.4, 0.5, 0.2)) * _shape(count, 0.01, 0.03)
    strokes, total = _pulses(rng, np.full(count, rate), 0.2), np.zeros(count)
    for gong in (base, base * rng.uniform(1.2, 1.3)):
        for ratio, gain in ((1, 1.0), (2.32, 0.9), (4.25, 0.5)):
            if gong * ratio < 7500:
                total += gain * _unit(_resonate(np.roll(strokes, int(rng.integers(300))), gong * ratio, 12))
    return total * _shape(count, 0.02, 0.1)


def laser_zap(rng: np.random.Generator) -> np.ndarray:
    """A steep fall of a buzzing tone, as in old video games."""
    count = _length(_between(rng, 0.2, 0.45))
    high, low = _between(rng, 3000, 5000), _between(rng, 150, 400)
    sweep = low + (high - low) * np.exp(-np.arange(count) / count * rng.uniform(3, 5))
    sweep *= 1 + rng.uniform(0, 0.1) * _tone(rng.uniform(20, 40), count)
    zap = _tone(sweep, count) + rng.uniform(0.2, 0.5) * _tone(np.minimum(2 * sweep, 7800), count)
    return zap * _shape(count, 0.003, 0.4 * count / RATE)


def drill(rng: np.random.Generator) -> np.ndarray:
    """A power drill that spins up: a whine with its harmonics over grinding noise."""
    count, spin = _length(_between(rng, 0.6, 1.15)), rng.uniform(0.08, 0.2)
    pitch = _between(rng, 380, 620) * (1 - 0.55 * np.exp(-np.arange(count) / RATE / spin))
    whine = _harmonics(pitch, [1, 0.8, 0.9, 0.6, 0.7, 0.4, 0.5, 0.3, 0.3, 0.2])
    grind = _band(rng.standard_normal(count), 1500, 6000) * (1 + 0.5 * _tone(pitch / 8, count))
    return (_unit(whine) + rng.uniform(0.3, 0.6) * _unit(grind)) * _shape(count, 0.05, 0.05)


# --- textures -------------------------------------------------------------------------------------------------


def rain(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Dense hiss with drops that stand out."""
    count = _length(seconds)
    hiss = _unit(_band(rng.standard_normal(count), rng.uniform(1000, 1800), 8000))
    drops = _unit(_band(_impulses(rng, count, _between(rng, 60, 250)), 1800, 6500))
    return hiss + rng.uniform(0.25, 0.6) * drops


def wind(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Gusts: broad low noise and hollow howling that come and go."""
    count = _length(seconds)
    total = 0.5 * _unit(_band(rng.standard_normal(count), 0, 250)) * _drift(rng, count, 1.2, 0.4, 1.0)
    for centre in np.sort(rng.uniform(300, 1000, 3)):
        howl = _unit(_resonate(rng.standard_normal(count), centre, 0.12 * centre))
        total = total + howl * _drift(rng, count, 1.5, 0.1, 1.0)
    return total


def fire(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Crackles of all sizes over a soft roar."""
    count = _length(seconds)
    roar = _unit(_band(rng.standard_normal(count), 60, rng.uniform(300, 500))) * _drift(
        rng, count, 4, 0.5, 1.0
    )
    crackle = np.zeros(count)
    for frequency in rng.uniform(1200, 5500, 3):
        snaps = _impulses(rng, count, _between(rng, 4, 9))
        crackle += _resonate(snaps * np.abs(snaps), float(frequency), rng.uniform(400, 900))
    fine = _band(_impulses(rng, count, 60), 2500, 7000)
    return 0.25 * roar + _unit(crackle) + 0.25 * _unit(fine)


def engine_noise(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """An idling motor: uneven firing pulses through a pipe."""
    count = _length(seconds)
    firing = _pulses(rng, _between(rng, 22, 46) * _drift(rng, count, 3, 0.96, 1.04), 0.35)
    pipe = sum(
        g * _resonate(firing, rng.uniform(0.85, 1.15) * f, w)
        for f, w, g in ((90, 40, 1.0), (190, 60, 0.7), (420, 120, 0.4), (900, 300, 0.3))
    )
    chug = _band(rng.standard_normal(count), 150, 1200) * lfilter([1], [1, -0.985], firing)
    return _unit(pipe) + rng.uniform(0.2, 0.4) * _unit(chug)


def sirens(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Wailing, yelping or two-tone."""
    count, rate = _length(seconds), rng.uniform(0.3, 0.6)
    time, low = np.arange(count) / RATE + rng.uniform(0, 3), _between(rng, 550, 700)
    kind = rng.integers(3)
    if kind == 0:
        move = 0.5 - 0.5 * np.cos(2 * np.pi * rate * time)
    elif kind == 1:
        move = (time * _between(rng, 2.2, 3.6)) % 1
    else:
        move = 0.45 * ((time * rng.uniform(0.8, 1.2)) % 1 < 0.5)
    pitch = low * (1 + rng.uniform(0.9, 1.2) * move)
    return _harmonics(pitch, (1, 0.5, 0.5, 0.3, 0.2)) + 0.02 * rng.standard_normal(count)


def crickets(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Two to four crickets, each with its tone and its chirps of a few pulses."""
    count = _length(seconds)
    time, total = np.arange(count) / RATE, np.zeros(count)
    for gain in (1.0, 0.6, 0.4, 0.3)[: int(rng.integers(2, 5))]:
        pulse, chirp = _between(rng, 24, 36), _between(rng, 1.6, 3.0)
        on = ((time + rng.random()) * chirp) % 1 < rng.uniform(0.4, 0.6)
        beat = np.maximum(np.sin(2 * np.pi * pulse * time), 0)
        total += gain * np.sin(2 * np.pi * _between(rng, 4000, 5200) * time) * beat * on
    return total + 0.01 * rng.standard_normal(count)


def vacuum_cleaning(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A steady motor whine in rushing air."""
    count, whine = _length(seconds), _between(rng, 210, 300)
    pitch = whine * _drift(rng, count, 0.8, 0.985, 1.015)
    motor = _harmonics(pitch, [1, 0.9, 0.6, 0.7, 0.4, 0.5, 0.3, 0.3])
    motor = _unit(motor) + 0.5 * _unit(_harmonics(pitch * rng.uniform(9.5, 12.5), (1.0, 0.3)))
    air = _unit(_band(rng.standard_normal(count), 400, rng.uniform(2500, 4000)))
    return motor + rng.uniform(0.9, 1.3) * air * _drift(rng, count, 1.0, 0.85, 1.0)


def running_water(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Bubbling: a great many short rising tones over a murmur."""
    count = _length(seconds)
    total = 0.35 * _unit(_band(rng.standard_normal(count), 400, 1500))
    length, bubbles = _length(0.06), np.zeros(count + _length(0.06))
    time = np.arange(length) / RATE
    for at in rng.integers(0, count, int(seconds * _between(rng, 45, 80))):
        tone, size = 500 * 4.5 ** rng.random(), rng.exponential(1.0)
        phase = 2 * np.pi * tone * time * (1 + rng.uniform(1, 6) * time)
        bubbles[at : at + length] += size * np.sin(phase) * np.exp(-time / 0.014)
    return total + _unit(bubbles[:count])


def bees(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A few wings buzzing near, each wandering in pitch and distance."""
    count, base, total = _length(seconds), _between(rng, 170, 240), np.zeros(_length(seconds))
    for _ in range(int(rng.integers(3, 5))):
        pitch = base * rng.uniform(0.88, 1.12) * _drift(rng, count, 5, 0.95, 1.05)
        weights = [1 / (1 + ((k - 3) / 4) ** 2) for k in range(1, 14)]
        total += _harmonics(pitch, weights) * _drift(rng, count, 2.5, 0.1, 1.0)
    return total


def sawing(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Strokes of a hand saw, to and fro."""
    count, stroke, at, way = _length(seconds), _between(rng, 0.28, 0.45), 0.0, 0
    total, tone = np.zeros(count), _between(rng, 1300, 2200)
    while at < seconds:
        length = _length(stroke * rng.uniform(0.9, 1.1))
        teeth = _pulses(rng, _between(rng, 90, 130) * _curve(length, 0.6, 1.2, 0.7), 0.6)
        rasp = _resonate(teeth + 0.1 * rng.standard_normal(length), tone * (1.35 if way else 1.0), 600)
        _place(total, _unit(rasp) * np.hanning(length) ** 0.7, at, 0.7 if way else 1.0)
        at, way = at + length / RATE * 1.08, 1 - way
    return total


def train_wheels(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Pairs of wheels over the gaps of the rails, above a rumble."""
    count, period = _length(seconds), _between(rng, 0.42, 0.75)
    total = 0.5 * _unit(_band(rng.standard_normal(count), 50, 400)) + 0.12 * _unit(
        _band(rng.standard_normal(count), 400, 2500)
    )
    clank = [
        (f * rng.uniform(0.9, 1.1), t, g)
        for f, t, g in ((160, 0.05, 1), (480, 0.035, 0.8), (1300, 0.02, 0.6), (2600, 0.012, 0.4))
    ]
    at, pair = rng.uniform(0, 0.2), period * rng.uniform(0.25, 0.33)
    while at < seconds:
        for offset, gain in ((0.0, 1.0), (pair, 0.85)):
            _place(total, _modes(_length(0.2), clank), at + offset, 3.0 * gain * rng.uniform(0.85, 1.1))
        at += period * rng.uniform(0.98, 1.02)
    return total
