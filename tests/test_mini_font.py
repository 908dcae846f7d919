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


def rms_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2) + 1e-20))


def phrase(order: int = 1) -> list[Note]:
    names = list(INSTRUMENTS)[::order]
    return [note_of(name, 60 + i % 12, start=0.1 * i, seconds=0.3) for i, name in enumerate(names)]


def digest(samples: np.ndarray) -> str:
    return hashlib.sha256(samples.tobytes()).hexdigest()


@pytest.mark.parametrize("name", IN_TUNE)
def test_a4_sounds_within_ten_cents_of_440_hertz(name):
    assert abs(cents_off(render([note_of(name)], seconds=2)[1600:], 440.0)) < 10


@pytest.mark.parametrize("name", ["piano", "violin", "clarinet", "trumpet"])
@pytest.mark.parametrize("pitch", [57, 64, 76, 81])
def test_other_keys_are_in_tune_too(name, pitch):
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    assert abs(cents_off(render([note_of(name, pitch)], seconds=2)[1600:], frequency)) < 12


def test_no_energy_folds_back_below_the_fundamental_of_a_high_note():
    samples = render([note_of("violin", 98, seconds=1.0)], seconds=1)[3200:14400]
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    below = np.arange(len(spectrum)) * RATE / len(samples) < 440 * 2 ** (29 / 12) * 0.8
    assert 10 * np.log10(spectrum[below].sum() / spectrum.sum()) < -25


def test_every_instrument_is_equally_loud_in_one_of_its_registers():
    for name, instrument in INSTRUMENTS.items():
        levels = []
        for pitch in (instrument.low, (instrument.low + instrument.high) // 2, instrument.high):
            samples = render([note_of(name, pitch, seconds=1.0)], seconds=1)
            levels.append(max(rms_db(samples[i : i + 2000]) for i in range(0, 14000, 250)))
        assert sorted(levels)[1] == pytest.approx(-20, abs=0.5), name


@pytest.mark.parametrize("name", ["piano", "trumpet", "choir"])
def test_velocity_stays_audible(name):
    loud, soft = (rms_db(render([note_of(name, velocity=v)], seconds=2)) for v in (120, 40))
    assert 12 < loud - soft < 26


def test_a_loud_mix_is_limited_to_the_peak_and_a_soft_one_is_left_alone():
    chord = [note_of("trumpet", pitch, velocity=127) for pitch in range(60, 84)]
    assert np.abs(render(chord, seconds=2)).max() == pytest.approx(0.9, abs=1e-6)
    assert np.abs(render([note_of("trumpet", velocity=30)], seconds=2)).max() < 0.1


def test_a_held_note_loops_as_long_as_it_is_held_and_dies_after_its_end():
    samples = render([note_of("electric organ", seconds=4.0)], seconds=6)
    assert abs(rms_db(samples[8000:16000]) - rms_db(samples[48000:62000])) < 3
    assert rms_db(samples[80000:]) < rms_db(samples[48000:62000]) - 40


def test_a_struck_note_decays_while_it_is_held():
    samples = render([note_of("vibraphone", seconds=4.0)], seconds=4)
    assert rms_db(samples[:8000]) > rms_db(samples[-8000:]) + 6


def test_a_note_starts_where_it_says():
    samples = render([note_of("piano", start=0.5, seconds=0.5)], seconds=2)
    assert not samples[: RATE // 2].any()
    assert rms_db(samples[RATE // 2 : RATE // 2 + 1600]) > -40


def test_what_reaches_beyond_the_end_is_cut():
    whole, part = (render([note_of("piano", start=0.2)], seconds=s) for s in (3, 1))
    assert np.array_equal(whole[: len(part)], part)
    assert not render([note_of("piano", start=5.0)], seconds=1).any()


def test_length_and_type_are_as_promised():
    samples = render([], seconds=1.5)
    assert samples.dtype == np.float32
    assert samples.shape == (24000,)
    assert render(phrase(), seconds=5).dtype == np.float32


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


def test_every_general_midi_program_sounds():
    for program in range(128):
        samples = render([Note(pitch=69, start=0, seconds=0.5, velocity=100, program=program)], seconds=1)
        assert np.isfinite(samples).all(), program
        assert np.abs(samples).max() > 0.02, program


def test_every_key_of_every_instrument_sounds_at_every_velocity():
    for name, instrument in INSTRUMENTS.items():
        for pitch in range(instrument.low - 12, instrument.high + 13):
            for velocity in (1, 64, 127):
                samples = render([note_of(name, pitch, velocity=velocity, seconds=0.1)], seconds=0.2)
                assert samples.any(), (name, pitch, velocity)


def test_the_hole_in_the_font_at_the_saxophones_e4_is_filled_in_tune():
    samples = render([note_of("saxophone", 64)], seconds=2)
    assert abs(cents_off(samples[1600:], 440 * 2 ** (-5 / 12))) < 10


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
