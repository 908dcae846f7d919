"""The everyday sounds: what is known about each, determinism, ranges, errors, and whether ears could part them."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from collections import Counter
from functools import cache
from importlib import metadata
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from lalm_utils.mini.benchmark import font, samples, sounds, words
from lalm_utils.mini.benchmark.scene import RATE, active_rms
from lalm_utils.mini.benchmark.sounds import IDK_SOUNDS, SOUNDS, TEST_SOUNDS, TRAIN_SOUNDS

EVENTS = [label for label, sound in SOUNDS.items() if sound.kind == "event"]
TEXTURES = [label for label, sound in SOUNDS.items() if sound.kind == "texture"]
GROUPS = {"train": TRAIN_SOUNDS, "idk": IDK_SOUNDS, "test": TEST_SOUNDS}


@cache
def rendered(label: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 11])
    return sounds.event(label, rng) if SOUNDS[label].kind == "event" else sounds.texture(label, 1.2, rng)


# ---- what is known


def test_the_three_groups_share_no_sound_and_are_all_there_are():
    for one, other in combinations(GROUPS.values(), 2):
        assert not set(one) & set(other)
    assert sum(map(len, GROUPS.values())) == len(SOUNDS)
    assert {label for group in GROUPS.values() for label in group} == set(SOUNDS)
    assert all(sound.label == label for label, sound in SOUNDS.items())
    assert len({sound.make for sound in SOUNDS.values()}) == len(SOUNDS)


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_has_enough_sounds_for_a_question_of_four_options(group):
    kinds = Counter(SOUNDS[label].kind for label in GROUPS[group])
    assert kinds["event"] >= 5  # three that are heard, one that is not, one to swap in
    assert kinds["texture"] >= (8 if group == "train" else 1)


def test_every_sound_has_a_maker_a_place_and_a_family():
    for label, sound in SOUNDS.items():
        assert sound.kind in ("event", "texture"), label
        assert set(sound.fact) == {"made_by", "place"}, label
        assert all(fact.startswith(("a ", "an ", "the ", "burning ")) for fact in sound.fact.values()), label
        assert sound.family, label


@pytest.mark.parametrize("key", ["made_by", "place"])
def test_facts_are_shared_between_sounds_so_that_no_option_names_one_of_them(key):
    facts = Counter(sound.fact[key] for sound in SOUNDS.values())
    trained = {SOUNDS[label].fact[key] for label in TRAIN_SOUNDS}
    assert max(facts.values()) >= 3
    assert 5 <= len(trained) < len(TRAIN_SOUNDS)
    assert not any(label in fact for label in SOUNDS for fact in facts)


def test_no_sound_is_called_like_an_instrument_or_a_spoken_word():
    groups = (words.TRAIN, words.IDK, words.TEST)
    spoken = {word for group in groups for kind in group.values() for word in kind} | set(words.NUMBERS)
    assert not set(SOUNDS) & (spoken | set(font.INSTRUMENTS))


# ---- how they sound


@pytest.mark.parametrize("label", EVENTS)
def test_an_event_is_short_begins_at_once_and_has_the_common_loudness(label):
    for seed in range(4):
        samples = rendered(label, seed)
        check_level(label, samples)
        assert 0.15 <= len(samples) / RATE <= 1.2, label
        onset = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())[0] / RATE
        assert onset < 0.05, (label, onset)


@pytest.mark.parametrize("label", TEXTURES)
def test_a_texture_has_the_length_asked_for_and_goes_on_to_its_end(label):
    for seconds in (0.1, 1.2, 4.5):
        samples = sounds.texture(label, seconds, np.random.default_rng(3))
        check_level(label, samples)
        assert len(samples) == round(seconds * RATE), label
    thirds = [np.sqrt(np.mean(np.square(part))) for part in np.array_split(samples, 3)]
    assert min(thirds) > 0.1 * max(thirds), (label, thirds)


def check_level(label: str, samples: np.ndarray) -> None:
    assert samples.dtype == np.float32, label
    assert samples.ndim == 1, label
    assert np.isfinite(samples).all(), label
    assert np.abs(samples).max() <= 0.95, label
    # Peaks that were bent down cost a little loudness.
    assert 0.075 <= active_rms(samples) <= 0.105, (label, active_rms(samples))
    assert abs(samples[-1]) < 0.02, label  # no click at the end


@pytest.mark.parametrize("label", SOUNDS)
def test_one_seed_gives_one_sound_and_another_seed_another(label):
    first, other = rendered(label, 0), rendered(label, 1)
    rng = np.random.default_rng([0, 11])
    again = sounds.event(label, rng) if SOUNDS[label].kind == "event" else sounds.texture(label, 1.2, rng)
    assert np.array_equal(first, again)
    count = min(len(first), len(other))
    likeness = np.corrcoef(first[:count], other[:count])[0, 1]
    assert first.shape != other.shape or likeness < 0.98, label


def test_the_global_random_state_is_neither_read_nor_moved():
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = [rendered.__wrapped__(label, 9) for label in SOUNDS]
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert all(np.array_equal(rendered.__wrapped__(label, 9), one) for label, one in zip(SOUNDS, first))


PRINT_DIGEST = """
import hashlib, numpy as np
from lalm_utils.mini.benchmark import sounds
total = hashlib.sha256()
for label in reversed({labels!r}):
    rng = np.random.default_rng([5, 11])
    kind = sounds.SOUNDS[label].kind
    heard = sounds.event(label, rng) if kind == "event" else sounds.texture(label, 1.2, rng)
    total.update(hashlib.sha256(heard.tobytes()).digest())
print(total.hexdigest())
"""


def test_another_process_makes_the_same_sounds_in_another_order():
    labels = ["dog bark", "sea waves", "gunshot", "sword swing", "rain", "heartbeat", "applause"]
    here = {label: hashlib.sha256(rendered(label, 5).tobytes()).digest() for label in labels}
    expected = hashlib.sha256(b"".join(here[label] for label in reversed(labels))).hexdigest()
    assert printed_by(PRINT_DIGEST.format(labels=labels)) == expected


def printed_by(code: str) -> str:
    """What a fresh Python prints that runs `code`."""
    command, folder = [sys.executable, "-c", code], Path(__file__).parents[1]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, cwd=folder)
    return result.stdout.strip()


# ---- errors


@pytest.mark.parametrize(
    ("case", "call", "message"),
    [
        (
            "an unknown event",
            lambda rng: sounds.event("dragon", rng),
            "no event called 'dragon'; choose one of dog",
        ),
        ("a texture asked for as an event", lambda rng: sounds.event("rain", rng), "no event called 'rain'"),
        (
            "an event asked for as a texture",
            lambda rng: sounds.texture("bell", 1, rng),
            "no texture called 'bell'",
        ),
        (
            "a texture too short",
            lambda rng: sounds.texture("rain", 0.05, rng),
            r"0\.05 s is outside 0\.1\.\.60",
        ),
        (
            "a texture too long",
            lambda rng: sounds.texture("rain", 61, rng),
            r"61 s is outside 0\.1\.\.60; choose",
        ),
    ],
)
def test_a_wrong_argument_is_named_with_its_rule(case, call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0))


def not_installed(name: str):
    raise metadata.PackageNotFoundError(name)


def test_without_the_package_of_recordings_the_error_names_it(monkeypatch):
    # Absent both for its metadata and for the import system.
    monkeypatch.setattr(metadata, "files", not_installed)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    expected = (
        r"'boom\.wav' comes with the package pygame-ce, which is not installed[;:] pip install pygame-ce$"
    )
    with pytest.raises(ModuleNotFoundError, match=expected):
        samples.path("boom.wav")


def test_a_recording_that_its_package_lacks_is_named_with_the_way_out():
    with pytest.raises(
        FileNotFoundError, match=r"pygame-ce.* has no .*meow\.wav;.*pip install --force-reinstall"
    ):
        samples.path("meow.wav")


def test_recordings_are_read_without_running_their_package():
    code = "import sys; from lalm_utils.mini.benchmark import samples; samples.recording('boom.wav')"
    assert printed_by(f"{code}; print('pygame' in sys.modules)") == "False"


@pytest.mark.parametrize("name", ["boom.wav", "car_door.wav", "punch.wav", "whiff.wav"])
def test_a_recording_is_trimmed_scaled_and_cannot_be_changed(name):
    heard = samples.recording(name)
    assert np.abs(heard).max() == pytest.approx(1.0)
    assert abs(heard[0]) > 0.009
    with pytest.raises(ValueError, match="read-only"):
        heard[0] = 0.0
