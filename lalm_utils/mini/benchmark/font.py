"""Sampled music: a numpy SoundFont 2 sampler for the General MIDI font that ships inside `pretty_midi`.

In: notes. Out: a 16 kHz mono float32 mix. It plays samples by key and velocity with loops, tuning and volume
envelopes; it has no filter, no modulators besides velocity, no effects and no stereo.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import soxr

from lalm_utils.mini.benchmark import soundfont
from lalm_utils.mini.benchmark.scene import RATE
from lalm_utils.mini.benchmark.soundfont import Sample, Zone, sample_of, zones_of

PEAK = 0.9  # a louder mix is scaled down to this peak
LOUDNESS = 0.1  # RMS of every program's reference note in its loudest eighth of a second, at velocity 100
AUDIBLE = 0.7  # share of a release that is played; the rest lies more than 70 dB down

_FLOOR = 100.0  # dB over which decay and release times are counted
_STEPS = 2  # band-limited copies of a sample per octave


@dataclass(frozen=True, kw_only=True)
class Note:
    """One note: MIDI pitch, start and length in seconds, velocity; with `drum` the pitch names a drum."""

    pitch: int
    start: float
    seconds: float
    velocity: int = 100
    program: int = 0
    drum: bool = False

    def __post_init__(self) -> None:
        limits = {"pitch": (0, 127), "velocity": (1, 127), "program": (0, 127), "start": (0, math.inf)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                value = getattr(self, name)
                raise ValueError(f"a note's {name} {value!r} is outside {low}..{high}; choose a value inside")
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"a note's length {self.seconds!r} s is not positive and finite; lengthen it")


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """A General MIDI program, its family, and the MIDI pitches between which it sounds like itself."""

    program: int
    family: str
    low: int
    high: int


def _instruments(family: str, **rows: tuple[int, int, int]) -> dict[str, Instrument]:
    return {
        name.replace("_", " "): Instrument(program=program, family=family, low=low, high=high)
        for name, (program, low, high) in rows.items()
    }


# Families are General MIDI's. Left out: presets that others resemble too closely, whose pitch is unclear
# (tubular bells), or that two families would claim (harp, celesta, pizzicato strings).
INSTRUMENTS: Mapping[str, Instrument] = {
    **_instruments("keyboard", piano=(0, 48, 84), electric_piano=(4, 48, 84), harpsichord=(6, 45, 84)),
    **_instruments("organ", electric_organ=(16, 48, 84), church_organ=(19, 48, 84), accordion=(21, 55, 84)),
    **_instruments("organ", harmonica=(22, 60, 86)),
    **_instruments("percussion", music_box=(10, 67, 96), vibraphone=(11, 55, 86), marimba=(12, 48, 84)),
    **_instruments("percussion", xylophone=(13, 67, 98), timpani=(47, 38, 57), kalimba=(108, 60, 84)),
    **_instruments("percussion", steel_drums=(114, 57, 84)),
    **_instruments("guitar", acoustic_guitar=(24, 45, 76), distorted_electric_guitar=(30, 43, 74)),
    **_instruments("guitar", bass_guitar=(33, 30, 52), sitar=(104, 50, 74), banjo=(105, 52, 79)),
    **_instruments("strings", violin=(40, 57, 91), cello=(42, 38, 67), double_bass=(43, 30, 52)),
    **_instruments("strings", string_orchestra=(48, 48, 84)),
    **_instruments("brass", trumpet=(56, 57, 82), trombone=(57, 43, 67), tuba=(58, 31, 55)),
    **_instruments("brass", muted_trumpet=(59, 58, 82), french_horn=(60, 43, 72)),
    **_instruments("woodwind", saxophone=(65, 52, 79), oboe=(68, 60, 86), bassoon=(70, 38, 67)),
    **_instruments("woodwind", clarinet=(71, 52, 84), piccolo=(72, 76, 103), flute=(73, 62, 93)),
    **_instruments("woodwind", recorder=(74, 67, 91), pan_flute=(75, 62, 88), bagpipe=(109, 55, 77)),
    **_instruments("voice", choir=(52, 50, 77)),
}
IDK_INSTRUMENTS = ("electric piano", "harmonica", "steel drums", "sitar", "double bass", "tuba")
TEST_INSTRUMENTS = ("accordion", "xylophone", "banjo", "cello", "french horn", "bassoon")
TRAIN_INSTRUMENTS = tuple(name for name in INSTRUMENTS if name not in IDK_INSTRUMENTS + TEST_INSTRUMENTS)

DRUMS: Mapping[str, int] = {  # pieces of the kit by their General MIDI key
    "kick": 36, "snare": 38, "hand clap": 39, "closed hi-hat": 42, "low tom": 45, "open hi-hat": 46,
    "crash cymbal": 49, "high tom": 50, "tambourine": 54, "cowbell": 56,
}  # fmt: skip


def render(notes: Sequence[Note], *, seconds: float) -> np.ndarray:
    """Mix `notes` into a clip of `seconds`: float32 (round(seconds * 16000),), peak at most 0.9.

    Every program is equally loud at velocity 100 in its middle register; velocity and register stay audible.
    What reaches beyond the end is cut. Raises ValueError for a key that the drum kit does not have.
    """
    if not 0 < seconds < math.inf:
        raise ValueError(f"the clip's length {seconds!r} s is not positive and finite; give one above 0")
    mix = np.zeros(round(seconds * RATE), dtype=np.float32)
    for note in notes:
        first = round(note.start * RATE)
        sound = _play(note, len(mix) - first) * np.float32(_gain(note.program, note.drum))
        mix[first : first + len(sound)] += sound
    peak = float(np.abs(mix).max(initial=0.0))
    return mix * np.float32(PEAK / peak) if peak > PEAK else mix


@functools.lru_cache(maxsize=256)
def _gain(program: int, drum: bool) -> float:
    """The factor that brings the median of a program's low, middle and high note (or a snare) to LOUDNESS."""
    ranges = {i.program: (i.low, (i.low + i.high) // 2, i.high) for i in INSTRUMENTS.values()}
    pitches = (38,) if drum else ranges.get(program, (69,))
    notes = [Note(pitch=pitch, start=0, seconds=1.0, program=program, drum=drum) for pitch in pitches]
    middle = sorted(_loudness(note) for note in notes)[len(notes) // 2]
    return LOUDNESS / middle if middle > 0 else 1.0


def _loudness(note: Note) -> float:
    """RMS of the note's loudest eighth of a second, at the font's own level."""
    sound = np.zeros(RATE // 8 + RATE)
    alone = _play(note, RATE)
    sound[: len(alone)] = alone
    energy = np.concatenate([[0.0], np.cumsum(sound**2)])
    return math.sqrt(float((energy[RATE // 8 :] - energy[: -RATE // 8]).max()) / (RATE // 8))


def _play(note: Note, room: int) -> np.ndarray:
    """The note alone at the font's own level: float32, at most `room` samples."""
    layers = [_play_zone(note, zone, room) for zone in _zones_for(note)]
    sound = np.zeros(max(map(len, layers)), dtype=np.float32)
    for layer in layers:
        sound[: len(layer)] += layer
    return sound * np.float32((note.velocity / 127) ** 2)


def _zones_for(note: Note) -> list[Zone]:
    """The zones that sound for the note; the nearest ones fill holes such as the saxophone's E4."""
    zones = zones_of(note.program, note.drum)
    nearest = min(zone.distance(note.pitch) for zone in zones)
    if note.drum and nearest > 0:
        choices = ", ".join(map(str, sorted(DRUMS.values())))
        raise ValueError(f"the drum kit has no piece at pitch {note.pitch}; choose one of {choices}")
    zones = [zone for zone in zones if zone.distance(note.pitch) == nearest]
    return [zone for zone in zones if zone.velocities[0] <= note.velocity <= zone.velocities[1]] or zones[:1]


def _play_zone(note: Note, zone: Zone, room: int) -> np.ndarray:
    key_down = round(note.seconds * RATE)
    count = min(key_down + math.ceil(AUDIBLE * _release(zone) * RATE), room)
    if count <= 0:
        return np.zeros(0, dtype=np.float32)
    sample = sample_of(zone)
    step = _ratio(note.pitch, zone, sample) * sample.rate / RATE
    # A copy without anything above the new Nyquist frequency, in half octaves: no aliasing.
    level = max(0, math.ceil(_STEPS * math.log2(step) - 1e-9))
    wave, scale = _level(sample, level, zone.generators.get(soundfont.MODES, 0))
    positions = _positions(step, count, key_down, sample, zone.generators.get(soundfont.MODES, 0)) / scale
    sound = _interpolate(wave, positions)
    return sound * _envelope(note.pitch, zone, key_down, len(sound))


def _positions(step: float, count: int, key_down: int, sample: Sample, mode: int) -> np.ndarray:
    """Where in the sample (in its own samples) each output sample is read; mode 1 loops on, 3 while held."""
    positions = np.arange(count) * step
    (start, end), length = sample.loop, sample.loop[1] - sample.loop[0]
    if mode in (1, 3) and length > 0:
        last = count if mode == 1 else min(key_down, count)
        loop_part = positions[min(math.ceil(end / step), last) : last]
        loop_part -= np.floor((loop_part - start) / length) * length
        if 0 < last < count:
            positions[last:] = positions[last - 1] + step * np.arange(1, count - last + 1)
        if mode == 1:
            return positions
    return positions[positions < len(sample.data) - 1]


def _interpolate(wave: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Four-point Hermite interpolation; `wave` carries one sample of padding before its position 0."""
    whole = positions.astype(np.intp)
    x = (positions - whole).astype(np.float32)
    a, b, c, d = (wave[shift:].take(whole, mode="clip") for shift in range(4))
    slope, bend = (c - a) * np.float32(0.5), (d - b) * np.float32(0.5)
    curve = slope + bend - 2 * (c - b)
    return ((curve * x + (c - b - slope - curve)) * x + slope) * x + b


def _envelope(pitch: int, zone: Zone, key_down: int, n: int) -> np.ndarray:
    """The volume envelope and attenuation as factors, float32 (n,); `held` is where the release begins."""
    times = np.arange(n, dtype=np.float32) / np.float32(RATE)
    value = zone.generators
    delay, attack = zone.seconds(soundfont.DELAY), zone.seconds(soundfont.ATTACK)
    hold = zone.seconds(soundfont.HOLD) * 2 ** (value.get(soundfont.KEY_TO_HOLD, 0) * (60 - pitch) / 1200)
    decay = zone.seconds(soundfont.DECAY) * 2 ** (value.get(soundfont.KEY_TO_DECAY, 0) * (60 - pitch) / 1200)
    sustain = min(max(value.get(soundfont.SUSTAIN, 0) / 10, 0.0), _FLOOR)
    loss = np.minimum(np.maximum((times - (delay + attack + hold)) * (_FLOOR / decay), 0), sustain)
    loss[key_down:] = loss[key_down - 1 : key_down].sum() + np.arange(
        len(loss[key_down:]), dtype=np.float32
    ) * (_FLOOR / (_release(zone) * RATE))
    # Sound cards have always played 0.4 of the written attenuation, and fonts are voiced for them.
    loss += max(value.get(soundfont.ATTENUATION, 0), 0) / 10 * 0.4
    rise = np.clip((times - delay) / attack, 0, 1)
    rise[key_down:] = rise[key_down - 1 : key_down].sum()
    return np.exp(loss * np.float32(-math.log(10) / 20)) * rise


def _release(zone: Zone) -> float:
    return max(zone.seconds(soundfont.RELEASE), 0.01)  # shorter ones would click


def _ratio(pitch: int, zone: Zone, sample: Sample) -> float:
    """How much faster than recorded the sample is played."""
    value = zone.generators
    root = value[soundfont.ROOT_KEY] if value[soundfont.ROOT_KEY] >= 0 else sample.key
    cents = (pitch - root) * value[soundfont.SCALE_TUNING] + sample.cents
    return 2.0 ** (
        (cents + 100 * value.get(soundfont.COARSE_TUNE, 0) + value.get(soundfont.FINE_TUNE, 0)) / 1200
    )


@functools.lru_cache(maxsize=512)
def _level(sample: Sample, level: int, mode: int) -> tuple[np.ndarray, float]:
    """(the sample thinned by `level` half octaves, padded to interpolate, float32; the factor of it)."""
    data, scale = sample.data, 2.0 ** (level / _STEPS)
    if mode == 1 and sample.loop[1] > sample.loop[0]:
        # The filter and the interpolation must meet the loop's own continuation behind its end.
        loop = data[sample.loop[0] : sample.loop[1]]
        data = np.concatenate([data[: sample.loop[1]], np.resize(loop, round(64 * scale))])
    wave = data.astype(np.float32) / 32768
    if level:
        wave = soxr.resample(wave, scale, 1.0).astype(np.float32)
    return np.concatenate([wave[:1], wave, np.zeros(4, dtype=np.float32)]), scale
