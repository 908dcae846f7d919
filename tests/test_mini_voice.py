"""eSpeak NG: determinism, word times, speakers' pitch, languages, errors, and the groups of voices."""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import subprocess
import sys
import tempfile
from itertools import chain
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest

from lalm_utils.mini.benchmark import voice
from lalm_utils.mini.benchmark.voice import FEMALE, MALE, RATE, say

SENTENCE = "My brother Anna will bring seven yellow lemons home on Monday morning"
UTTERANCES = [
    ("three dogs", {}),
    ("The word is banana", {"variant": "f2", "rate": 130}),
    ("3 7 1", {"voice": "de", "variant": "m3", "pitch": 60}),
    ("hello there", {"variant": "whisper"}),
    ("hello there", {"variant": "klatt4", "range_": 90}),
    ("3 7 1", {"voice": "ja", "variant": "belinda"}),
    ("7 1 3", {"voice": "cmn"}),
    ("seven yellow lemons", {"variant": "croak", "rate": 220}),
]
GROUPS = [voice.TRAIN_VOICES, voice.IDK_VOICES, voice.TEST_VOICES]
LANGUAGES = {**voice.TRAIN_LANGUAGES, **voice.IDK_LANGUAGES, **voice.TEST_LANGUAGES}


def digest(index: int) -> str:
    text, settings = UTTERANCES[index]
    return hashlib.sha256(say(text, **settings).samples.tobytes()).hexdigest()


def frames(samples: np.ndarray, length: int, hop: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(samples, length)[::hop]


def fundamentals(samples: np.ndarray) -> np.ndarray:
    """Hz per voiced frame: the first autocorrelation peak within a tenth of the highest, 50 to 450 Hz."""
    result = []
    for frame in frames(samples, 1280, 160):
        if np.sqrt(np.mean(frame**2)) < 0.08 * np.abs(samples).max():
            continue
        energy = np.cumsum(np.concatenate([[0.0], (frame - frame.mean()) ** 2]))
        energy = energy[640:] - energy[:-640]
        likeness = np.correlate(frame - frame.mean(), (frame - frame.mean())[:640], "valid")
        likeness = (likeness / np.sqrt(energy[0] * energy + 1e-12))[RATE // 450 : RATE // 50]
        peaks = (likeness >= np.roll(likeness, 1)) & (likeness >= np.roll(likeness, -1))
        peaks &= likeness > 0.9 * likeness.max()
        if likeness.max() > 0.6 and peaks.any():
            result.append(RATE / (RATE // 450 + np.flatnonzero(peaks)[0]))
    return np.array(result)


def test_same_arguments_give_the_same_bytes_in_any_order_and_in_a_fresh_process():
    forward = [digest(i) for i in range(len(UTTERANCES))]
    backward = [digest(i) for i in reversed(range(len(UTTERANCES)))]
    assert backward[::-1] == forward
    assert len(set(forward)) == len(forward)
    code = "import sys; sys.path[:0] = ['tests']; import test_mini_voice as t\n"
    code += "print(*[t.digest(i) for i in (5, 2, 7, 0)])"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert fresh.stdout.split() == [forward[i] for i in (5, 2, 7, 0)]


def test_another_open_handle_on_the_library_and_used_up_random_numbers_change_nothing():
    before = digest(3)
    other = ctypes.CDLL(espeakng_loader.get_library_path())
    other.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0x8000)
    ctypes.CDLL(None).rand()
    assert digest(3) == before
    other.espeak_Terminate()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_give_the_same_bytes(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map(digest, [4, 1]) == [digest(4), digest(1)]


def test_no_copy_of_the_library_is_left_behind(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    say("one two")
    assert list(tmp_path.iterdir()) == []
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(tmp_path) not in maps.read_text()


def test_samples_are_loud_trimmed_and_of_the_promised_type():
    for text, settings in UTTERANCES:
        samples = say(text, **settings).samples
        heard = np.flatnonzero(np.abs(samples) > 0.005 * 0.9)
        assert samples.dtype == np.float32
        assert np.abs(samples).max() == pytest.approx(0.9, abs=1e-4)
        assert heard[0] <= 0.021 * RATE
        assert len(samples) - heard[-1] <= 0.021 * RATE


def test_words_follow_one_another_inside_the_clip():
    speech = say("The quick brown fox, of the 371 cats; it's 12.5 miles!", rate=180)
    assert [word.text for word in speech.words] == [
        "The", "quick", "brown", "fox", "of the", "371", "cats", "it's", "12.5", "miles"
    ]  # fmt: skip
    times = [speech.words[0].start, *chain.from_iterable((word.start, word.end) for word in speech.words)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] == pytest.approx(len(speech.samples) / RATE)
    assert all(word.end - word.start > 0.05 for word in speech.words)
    assert all(a.end == b.start for a, b in zip(speech.words, speech.words[1:]))


def test_a_words_time_holds_that_word():
    speech = say("cat, cat, hippopotamus, cat", rate=140)
    lengths = [word.end - word.start for word in speech.words]
    assert [word.text for word in speech.words] == ["cat", "cat", "hippopotamus", "cat"]
    assert lengths[2] == max(lengths)
    for word in speech.words:
        inside = speech.samples[round(word.start * RATE) : round(word.end * RATE)]
        assert np.sqrt(np.mean(inside**2)) > 0.03


def test_digits_have_a_word_each_in_every_language():
    for name, code in LANGUAGES.items():
        assert [word.text for word in say("3 7 1", voice=code).words] == ["3", "7", "1"], name


@pytest.mark.parametrize("spec", MALE, ids=lambda spec: spec.variant)
def test_men_speak_below_140_hertz(spec):
    for pitch in (spec.lowest_pitch, spec.highest_pitch):
        assert np.median(fundamentals(say(SENTENCE, variant=spec.variant, pitch=pitch).samples)) < 140


@pytest.mark.parametrize("spec", FEMALE, ids=lambda spec: spec.variant)
def test_women_speak_above_165_hertz(spec):
    for pitch in (spec.lowest_pitch, spec.highest_pitch):
        assert np.median(fundamentals(say(SENTENCE, variant=spec.variant, pitch=pitch).samples)) > 165


@pytest.mark.parametrize("gender, specs", [("male", MALE), ("female", FEMALE)])
def test_espeak_declares_each_variant_as_we_do(gender, specs):
    folder = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    for spec in specs:
        lines = [line.split() for line in (folder / spec.variant).read_text(encoding="utf-8").splitlines()]
        assert ["gender", gender] in [line[:2] for line in lines], spec.variant


def test_voice_groups_are_disjoint_and_cover_the_checked_voices():
    for gender, specs in (("male", MALE), ("female", FEMALE)):
        names = [name for group in GROUPS for name in group[gender]]
        assert sorted(names) == sorted(spec.variant for spec in specs)
        assert [len(group[gender]) for group in GROUPS] == [5, 2, 2]
    assert not {spec.variant for spec in MALE} & {spec.variant for spec in FEMALE}


def test_language_groups_are_disjoint():
    groups = [voice.TRAIN_LANGUAGES, voice.IDK_LANGUAGES, voice.TEST_LANGUAGES]
    assert [len(group) for group in groups] == [16, 5, 5]
    assert len(LANGUAGES) == len(set(LANGUAGES.values())) == 26


@pytest.mark.parametrize(
    "case, text, settings, message",
    [
        (
            "unknown voice",
            "hi",
            {"voice": "en-gb"},
            r"unknown voice 'en-gb'; choose one of .*\ben\b",
        ),
        ("variant as voice", "hi", {"voice": "f2"}, r"unknown voice 'f2'"),
        ("path as voice", "hi", {"voice": "../x"}, r"unknown voice '\.\./x'"),
        (
            "unknown variant",
            "hi",
            {"variant": "nosuch"},
            r"unknown variant 'nosuch'; choose .*\bf2\b",
        ),
        ("rate too low", "hi", {"rate": 20}, r"rate 20 is outside 80\.\.450; choose"),
        ("pitch too high", "hi", {"pitch": 100}, r"pitch 100 is outside 0\.\.99; choose"),
        ("range too low", "hi", {"range_": -1}, r"range_ -1 is outside 0\.\.99; choose"),
        ("empty text", "  ", {}, r"text '  ' is empty"),
        ("text that ends early", "a\0b", {}, r"holds a NUL character; give"),
        ("nothing to speak", "3", {"voice": "fo"}, r"'gmq/fo' makes no sound of '3'; choose another"),
    ],
)
def test_what_cannot_be_spoken_is_refused(case, text, settings, message):
    with pytest.raises(ValueError, match=message):
        say(text, **settings)


def test_a_refusal_does_not_change_the_next_utterance():
    before = digest(0)
    with pytest.raises(ValueError, match="makes no sound"):
        say("3", voice="fo")
    assert digest(0) == before


def test_a_temporary_folder_that_allows_no_code_is_named(monkeypatch):
    def refuse(path):
        raise OSError("failed to map segment")

    monkeypatch.setattr(voice.ctypes, "CDLL", refuse)
    with pytest.raises(RuntimeError, match=r"cannot load eSpeak from .*failed to map segment; set TMPDIR"):
        say("hello")


def test_missing_data_is_named(monkeypatch, tmp_path):
    say("hello")
    monkeypatch.setattr(voice.espeakng_loader, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(RuntimeError, match=r"eSpeak cannot read its data in .*reinstall espeakng-loader"):
        say("hello")
