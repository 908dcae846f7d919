"""The General MIDI SoundFont that ships inside `pretty_midi`, parsed.

In: a program's number. Out: its zones (which keys and velocities a recording answers to, and how it is
played) and the recordings. Numbers and defaults are those of the SoundFont 2.04 specification, section 8.1;
modulators are not read. `font` plays them.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_DRUM_BANK = 128
# Generator numbers of the SoundFont 2.04 specification, section 8.1.2.
DELAY, ATTACK, HOLD, DECAY, SUSTAIN, RELEASE = 33, 34, 35, 36, 37, 38
KEY_TO_HOLD, KEY_TO_DECAY, _INSTRUMENT, _KEYS, _VELOCITIES, ATTENUATION = 39, 40, 41, 43, 44, 48
COARSE_TUNE, FINE_TUNE, SAMPLE, MODES, SCALE_TUNING, ROOT_KEY = 51, 52, 53, 54, 56, 58
_START_OFFSETS, _END_OFFSETS, _LOOP_START_OFFSETS, _LOOP_END_OFFSETS = (0, 4), (1, 12), (2, 45), (3, 50)
_DEFAULTS = {
    **dict.fromkeys((DELAY, ATTACK, HOLD, DECAY, RELEASE), -12000),
    SCALE_TUNING: 100,
    ROOT_KEY: -1,
}
_NOT_ADDED = {_INSTRUMENT, _KEYS, _VELOCITIES, SAMPLE, MODES, ROOT_KEY}  # mean nothing in a preset's sum
_BAG, _GENERATOR = [("generator", "<u2"), ("modulator", "<u2")], [("number", "<u2"), ("amount", "<i2")]
_NUMBERS = [(name, "<u4") for name in ("start", "end", "loop_start", "loop_end", "rate")]
_LAYOUTS = {
    "phdr": [("name", "S20"), ("program", "<u2"), ("bank", "<u2"), ("bag", "<u2"), ("unused", "S12")],
    "inst": [("name", "S20"), ("bag", "<u2")],
    "shdr": [("name", "S20"), *_NUMBERS, ("key", "u1"), ("cents", "i1"), ("link", "<u2"), ("type", "<u2")],
    "smpl": "<i2", "pbag": _BAG, "ibag": _BAG, "pgen": _GENERATOR, "igen": _GENERATOR,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Zone:
    """One layer of a preset: which keys and velocities it answers to, and its summed generators."""

    keys: tuple[int, int]
    velocities: tuple[int, int]
    generators: Mapping[int, int]

    def distance(self, pitch: int) -> int:
        """Keys between the pitch and the zone, 0 inside."""
        return max(self.keys[0] - pitch, pitch - self.keys[1], 0)

    def seconds(self, number: int) -> float:
        """A generator in timecents as seconds."""
        return 2.0 ** (self.generators[number] / 1200)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One recording: int16 `data`, its `rate` in Hz, root `key`, `cents` of correction, `loop` ends."""

    data: np.ndarray
    rate: int
    key: int
    cents: int
    loop: tuple[int, int]


def sample_of(zone: Zone) -> Sample:
    """The zone's recording, between the ends that its generators move."""
    value, pairs = zone.generators, (_START_OFFSETS, _END_OFFSETS, _LOOP_START_OFFSETS, _LOOP_END_OFFSETS)
    return _cut(value[SAMPLE], *(value.get(fine, 0) + 32768 * value.get(coarse, 0) for fine, coarse in pairs))


@functools.lru_cache(maxsize=512)
def _cut(number: int, start: int, end: int, loop_start: int, loop_end: int) -> Sample:
    head = _font()["shdr"][number]
    first = int(head["start"]) + start
    loop = (int(head["loop_start"]) + loop_start - first, int(head["loop_end"]) + loop_end - first)
    data = _font()["smpl"][first : int(head["end"]) + end]
    rate, key, cents = (int(head[name]) for name in ("rate", "key", "cents"))
    return Sample(data=data, rate=rate, key=key, cents=cents, loop=loop)


@functools.lru_cache(maxsize=256)
def zones_of(program: int, drum: bool) -> tuple[Zone, ...]:
    """Every layer of a preset: preset zones crossed with the zones of their instruments."""
    font, bank = _font(), _DRUM_BANK if drum else 0
    presets = np.flatnonzero((font["phdr"]["program"][:-1] == program) & (font["phdr"]["bank"][:-1] == bank))
    if not len(presets):
        raise ValueError(f"the font has no program {program} in bank {bank}; choose another program")
    zones = []
    for outer in _bags("phdr", "pbag", "pgen", int(presets[0]), _INSTRUMENT):
        for inner in _bags("inst", "ibag", "igen", _unsigned(outer[_INSTRUMENT]), SAMPLE):
            total = {**_DEFAULTS, **inner, SAMPLE: _unsigned(inner[SAMPLE])}
            for number in outer.keys() - _NOT_ADDED:
                total[number] = total.get(number, 0) + outer[number]
            keys, velocities = (_overlap(outer, inner, number) for number in (_KEYS, _VELOCITIES))
            zones.append(Zone(keys=keys, velocities=velocities, generators=total))
    return tuple(zones)


def _bags(heads: str, bags: str, generators: str, index: int, last: int) -> list[dict[int, int]]:
    """The generators of each zone of one preset or instrument, a global zone spread over the others."""
    font = _font()
    first, end = (int(font[heads]["bag"][i]) for i in (index, index + 1))
    common: dict[int, int] = {}
    zones = []
    for number in range(first, end):
        begin, stop = (int(font[bags]["generator"][i]) for i in (number, number + 1))
        zone = {int(row["number"]): int(row["amount"]) for row in font[generators][begin:stop]}
        if last in zone:
            zones.append({**common, **zone})
        elif number == first:
            common = zone
    return zones


def _overlap(outer: Mapping[int, int], inner: Mapping[int, int], number: int) -> tuple[int, int]:
    ranges = [divmod(_unsigned(zone[number]), 256)[::-1] for zone in (outer, inner) if number in zone]
    return max([low for low, _ in ranges], default=0), min([high for _, high in ranges], default=127)


def _unsigned(amount: int) -> int:
    return amount & 0xFFFF


@functools.lru_cache(maxsize=1)
def _font() -> dict[str, np.ndarray]:
    """The chunks of the font: records of phdr, pbag, pgen, inst, ibag, igen, shdr, and smpl as int16."""
    path = font_path()
    content = path.read_bytes()
    if content[:4] != b"RIFF" or content[8:12] != b"sfbk":
        raise ValueError(f"{path} is not a SoundFont 2 file; reinstall pretty_midi")
    chunks: dict[str, np.ndarray] = {}
    position = 12
    while position + 8 <= len(content):
        name, size = content[position : position + 4].decode(), content[position + 4 : position + 8]
        body, length = position + 8, int.from_bytes(size, "little")
        position = body + (4 if name == "LIST" else length + length % 2)
        if name in _LAYOUTS:
            dtype = np.dtype(_LAYOUTS[name])
            chunks[name] = np.frombuffer(content, dtype=dtype, count=length // dtype.itemsize, offset=body)
    return chunks


def font_path() -> Path:
    """TimGM6mb.sf2 inside the installed `pretty_midi`, found without importing it."""
    package = importlib.util.find_spec("pretty_midi")
    path = Path(package.submodule_search_locations[0]) / "TimGM6mb.sf2" if package else None
    if path is None or not path.is_file():
        location = path or "the package pretty_midi"
        raise FileNotFoundError(
            f"{location} is missing, and music is played from it; install pretty_midi again"
        )
    return path
