"""The SoundFont sampler: tuning, loudness, envelopes, determinism, errors, and the instruments' groups."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from lalm_utils.mini.benchmark import font, soundfont
from lalm_utils.mini.benchmark.font import (
    DRUMS,
    IDK_INSTRUMENTS,
    INSTRUMENTS,
    RATE,
    TEST_INSTRUMENTS,
    TRAIN_INSTRUMENTS,
    Note,
    render,
)

# Usual instruments that can play A4; the font's flute, harmonica and steel drums are themselves out of tune.
IN_TUNE = [
    "piano", "electric piano", "harpsichord", "electric organ", "church organ", "vibraphone", "marimba",
    "xylophone", "kalimba", "music box", "acoustic guitar", "distorted electric guitar", "sitar", "banjo",
    "violin", "string orchestra", "trumpet", "muted trumpet", "french horn", "saxophone", "oboe", "clarinet",
    "recorder", "pan flute", "bagpipe", "choir", "accordion", "cello",
]  # fmt: skip


def note_of(name: str, pitch: int = 69, **changes) -> Note:
    settings = {"start": 0.0, "seconds": 1.9, "velocity": 100, "program": INSTRUMENTS[name].program}
    return Note(pitch=pitch, **{**settings, **changes})


def cents_off(samples: np.ndarray, frequency: float) -> float:
    """How far the fundamental's spectral peak lies from `frequency`, looked for within 90 cents of it."""
    size = 1 << 19
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), size))
    cents = 1200 * np.log2(np.maximum(np.arange(len(spectrum)), 1) * RATE / size / frequency)
    return float(cents[np.argmax(np.where(np.abs(cents) < 90, spectrum, 0))])


def phrase(order: int = 1) -> list[Note]:
    names = list(INSTRUMENTS)[::order]
    return [note_of(name, 60 + i % 12, start=0.1 * i, seconds=0.3) for i, name in enumerate(names)]


def digest(samples: np.ndarray) -> str:
    return hashlib.sha256(samples.tobytes()).hexdigest()


@pytest.mark.parametrize("name", IN_TUNE)
def test_a4_sounds_within_ten_cents_of_440_hertz(name):
    assert abs(cents_off(render([note_of(name)], seconds=2)[1600:], 440.0)) < 10


def test_what_reaches_beyond_the_end_is_cut():
    whole, part = (render([note_of("piano", start=0.2)], seconds=s) for s in (3, 1))
    assert np.array_equal(whole[: len(part)], part)
    assert not render([note_of("piano", start=5.0)], seconds=1).any()


def test_same_notes_give_the_same_bytes_in_any_order_of_calls_and_in_a_fresh_process():
    forward = digest(render(phrase(), seconds=5))
    font._level.cache_clear()
    font._gain.cache_clear()
    render(phrase(-1), seconds=5)
    assert digest(render(phrase(), seconds=5)) == forward
    code = "import sys; sys.path[:0] = ['tests']; from test_mini_font import *\n"
    code += "print(digest(render(phrase(), seconds=5)))"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == forward


def test_every_drum_sounds_and_no_two_are_the_same():
    hits = {}
    for name, pitch in DRUMS.items():
        hits[name] = render([Note(pitch=pitch, start=0, seconds=0.2, velocity=110, drum=True)], seconds=1)
        assert np.abs(hits[name]).max() > 0.02, name
    assert len({digest(samples) for samples in hits.values()}) == len(DRUMS)


def test_every_key_of_every_instrument_sounds_at_every_velocity():
    for name, instrument in INSTRUMENTS.items():
        for pitch in range(instrument.low - 12, instrument.high + 13):
            for velocity in (1, 64, 127):
                samples = render([note_of(name, pitch, velocity=velocity, seconds=0.1)], seconds=0.2)
                assert samples.any(), (name, pitch, velocity)


@pytest.mark.parametrize(
    "case, wrong, message",
    [
        ("pitch above MIDI", {"pitch": 128}, r"pitch 128 is outside 0\.\.127; choose"),
        ("velocity of none", {"velocity": 0}, r"velocity 0 is outside 1\.\.127; choose"),
        ("program above MIDI", {"program": 128}, r"program 128 is outside 0\.\.127; choose"),
        ("start before the clip", {"start": -0.1}, r"start -0\.1 is outside 0"),
        ("no length", {"seconds": 0.0}, r"length 0\.0 s is not positive"),
    ],
)
def test_impossible_notes_are_refused(case, wrong, message):
    settings = {"pitch": 60, "start": 0.0, "seconds": 1.0, "velocity": 100, "program": 0, **wrong}
    with pytest.raises(ValueError, match=message):
        Note(**settings)


def test_a_key_outside_the_kit_and_an_empty_clip_are_refused():
    with pytest.raises(ValueError, match=r"the drum kit has no piece at pitch 2; choose one of 36, 38"):
        render([Note(pitch=2, start=0, seconds=0.2, velocity=100, drum=True)], seconds=1)
    with pytest.raises(ValueError, match=r"the clip's length 0 s is not positive"):
        render([], seconds=0)


def test_a_missing_font_says_what_to_install(monkeypatch):
    monkeypatch.setattr(soundfont.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pretty_midi is missing.*install pretty_midi again"):
        soundfont.font_path()


def test_instrument_groups_are_disjoint_and_cover_enough_families():
    groups = [set(TRAIN_INSTRUMENTS), set(IDK_INSTRUMENTS), set(TEST_INSTRUMENTS)]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert set().union(*groups) == set(INSTRUMENTS)
    assert [len(group) for group in groups][1:] == [6, 6]
    families = [{INSTRUMENTS[name].family for name in group} for group in groups]
    assert families[0] == {instrument.family for instrument in INSTRUMENTS.values()}
    assert min(map(len, families)) >= 4


def test_instruments_have_their_own_program_and_an_octave_of_range():
    assert len({instrument.program for instrument in INSTRUMENTS.values()}) == len(INSTRUMENTS)
    assert all(name == name.lower() and "_" not in name for name in INSTRUMENTS)
    assert all(instrument.high - instrument.low >= 12 for instrument in INSTRUMENTS.values())
