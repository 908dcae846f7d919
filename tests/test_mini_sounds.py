"""Everyday sounds: ranges, determinism, groups, facts, how well classes can be told apart, and errors."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from lalm_utils.mini import dsp, font, samples, sounds, words
from lalm_utils.mini.scene import RATE, active_rms
from lalm_utils.mini.sounds import IDK_SOUNDS, SOUNDS, TEST_SOUNDS, TRAIN_SOUNDS

EVENTS = [label for label, sound in SOUNDS.items() if sound.kind == "event"]
TEXTURES = [label for label, sound in SOUNDS.items() if sound.kind == "texture"]
RECORDED = ["explosion", "sword swing", "punch", "car door"]


def draw(label: str, seed: int = 0, seconds: float = 1.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return sounds.event(label, rng) if label in EVENTS else sounds.texture(label, seconds, rng)


def digest(labels: list[str]) -> str:
    return hashlib.sha256(b"".join(draw(label, 5).tobytes() for label in labels)).hexdigest()


def spectra(clip: np.ndarray) -> np.ndarray:
    """Log power in 40 bands that are equally wide in mel: (frames, 40), 60 dB deep."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(clip, 200), 400)[::160] * np.hanning(400)
    mel = 2595 * np.log10(1 + np.fft.rfftfreq(400, 1 / RATE) / 700)
    edges = np.linspace(0, mel[-1], 42)
    bands = np.maximum(0, 1 - np.abs(mel - edges[1:-1, None]) / edges[1])
    log = np.log10(np.abs(np.fft.rfft(frames)) ** 2 @ bands.T + 1e-9)
    return np.maximum(log, log.max() - 6)


def statistics(clip: np.ndarray) -> np.ndarray:
    """What a nearest-centroid classifier sees: each band's level, spread, peak, movement and onset."""
    log = spectra(clip)
    movement = np.abs(np.diff(log, axis=0)).mean(0)
    return np.concatenate([log.mean(0), log.std(0), log.max(0), movement, log[:12].mean(0)])


@pytest.mark.parametrize("label", SOUNDS)
def test_a_sound_is_in_range_for_many_draws(label):
    for seed in range(6):
        clip = draw(label, seed)
        assert clip.dtype == np.float32
        assert clip.ndim == 1
        assert np.isfinite(clip).all()
        assert np.abs(clip).max() <= sounds.PEAK + 1e-6
        assert 0.08 <= active_rms(clip) <= 0.101


@pytest.mark.parametrize("label", EVENTS)
def test_an_event_lasts_as_long_as_promised_and_begins_with_its_onset(label):
    for seed in range(6):
        clip = draw(label, seed)
        assert round(0.15 * RATE) <= len(clip) <= round(1.2 * RATE)
        assert np.abs(clip[: RATE // 10]).max() > 0.02 * np.abs(clip).max()


@pytest.mark.parametrize("seconds", [0.1, 1.23456, 6.0])
@pytest.mark.parametrize("label", TEXTURES)
def test_a_texture_is_as_long_as_asked_for(label, seconds):
    assert len(draw(label, seconds=seconds)) == round(seconds * RATE)


@pytest.mark.parametrize("label", SOUNDS)
def test_the_same_generator_gives_the_same_bytes_and_another_gives_others(label):
    assert draw(label, 3).tobytes() == draw(label, 3).tobytes()
    assert draw(label, 3).tobytes() != draw(label, 4).tobytes()


def test_a_fresh_process_renders_the_same_bytes_in_another_order():
    code = "import hashlib, numpy as np\nfrom lalm_utils.mini import sounds\nparts = {}\n"
    code += "for label, sound in reversed(sounds.SOUNDS.items()):\n    rng = np.random.default_rng(5)\n"
    code += (
        "    made = sounds.event(label, rng) if sound.kind == 'event' else sounds.texture(label, 1.5, rng)\n"
    )
    code += "    parts[label] = made.tobytes()\n"
    code += "print(hashlib.sha256(b''.join(parts[label] for label in sounds.SOUNDS)).hexdigest())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == digest(list(SOUNDS)), done.stderr


def test_global_random_state_is_neither_read_nor_moved():
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = digest(list(SOUNDS))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert digest(list(SOUNDS)) == first


def test_groups_share_no_sound_and_leave_none_out():
    groups = (TRAIN_SOUNDS, IDK_SOUNDS, TEST_SOUNDS)
    assert sum(map(len, groups)) == len(set().union(*groups)) == len(SOUNDS)


@pytest.mark.parametrize(
    "name, group, events, textures",
    [("train", TRAIN_SOUNDS, 18, 9), ("idk", IDK_SOUNDS, 5, 1), ("test", TEST_SOUNDS, 5, 1)],
)
def test_a_group_has_enough_sounds_for_its_questions(name, group, events, textures):
    assert sum(SOUNDS[label].kind == "event" for label in group) >= events
    assert sum(SOUNDS[label].kind == "texture" for label in group) >= textures


def test_every_sound_has_its_facts_and_vocabularies_are_shared():
    for label, sound in SOUNDS.items():
        assert sound.label == label == label.lower()
        assert sound.kind in ("event", "texture")
        assert sound.family
        assert set(sound.fact) >= {"made_by", "place"}
        assert all(value.startswith(("a ", "an ", "the ", "burning ")) for value in sound.fact.values())
    for key, largest in (("made_by", 13), ("place", 36)):
        values = [sound.fact[key] for sound in SOUNDS.values()]
        assert 4 <= len(set(values)) <= largest < len(values)


def test_no_label_names_an_instrument_a_drum_or_a_spoken_word():
    spoken = {
        word for group in (words.TRAIN, words.IDK, words.TEST) for row in group.values() for word in row
    }
    assert not set(SOUNDS) & (spoken | set(words.NUMBERS) | set(font.INSTRUMENTS) | set(font.DRUMS))


def test_classes_can_be_told_apart_by_their_nearest_centroid():
    known = np.array([[statistics(draw(label, seed)) for seed in range(8)] for label in SOUNDS])
    fresh = np.array([[statistics(draw(label, 100 + seed)) for seed in range(4)] for label in SOUNDS])
    scale = known.reshape(-1, known.shape[-1]).std(0) + 1e-6
    distance = ((fresh[:, :, None] - known.mean(1)) / scale) ** 2
    right = distance.sum(-1).argmin(-1) == np.arange(len(SOUNDS))[:, None]
    assert right.mean() >= 0.75, {label: row.mean() for label, row in zip(SOUNDS, right) if not row.all()}


@pytest.mark.parametrize("label", SOUNDS)
def test_two_draws_of_a_sound_differ_in_more_than_their_samples(label):
    first, second = (statistics(draw(label, seed)) for seed in (1, 2))
    assert np.abs(first - second).mean() > 0.01


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 20.0])
def test_a_background_lies_below_the_active_foreground(snr_db):
    front, back = np.pad(draw("bell"), (0, 2 * RATE)), draw("rain", seconds=4.0)
    behind = sounds.mix_at_snr(front, back, snr_db) - np.pad(front, (0, len(back) - len(front)))
    assert 20 * np.log10(active_rms(front) / active_rms(behind)) == pytest.approx(snr_db, abs=0.05)


def test_a_foreground_may_begin_later_and_outlast_its_background():
    front, back = draw("bell"), draw("rain", seconds=0.5)
    mixed = sounds.mix_at_snr(front, back, 10.0, at=0.25)
    assert len(mixed) == round(0.25 * RATE) + len(front)
    np.testing.assert_array_equal(mixed[len(back) :], front[len(back) - round(0.25 * RATE) :])


@pytest.mark.parametrize("kind, slope", [("white", 0.0), ("pink", -3.0), ("brown", -6.0)])
def test_noise_falls_by_its_slope_in_db_an_octave(kind, slope):
    noise = sounds.noise(kind, 4.0, np.random.default_rng(0))
    power, frequency = np.abs(np.fft.rfft(noise)) ** 2, np.fft.rfftfreq(len(noise), 1 / RATE)
    levels = [10 * np.log10(power[(frequency >= f) & (frequency < 1.1 * f)].mean()) for f in (250, 4000)]
    assert (levels[1] - levels[0]) / 4 == pytest.approx(slope, abs=0.3)
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("rt60", [0.3, 1.5])
def test_a_room_decays_by_60_db_in_its_reverberation_time(rt60):
    click = np.zeros(100, np.float32)
    click[0] = 1.0
    wet = sounds.room(click, rt60, np.random.default_rng(0))
    assert wet.dtype == np.float32
    assert len(wet) == 100 + round(rt60 * RATE)
    tail, count = wet[100:], round(rt60 * RATE)
    levels = [10 * np.log10(np.mean(tail[int(a * count) : int((a + 0.1) * count)] ** 2)) for a in (0.1, 0.8)]
    assert (levels[0] - levels[1]) / 0.7 == pytest.approx(60.0, abs=4.0)


@pytest.mark.parametrize(
    "case, call, arguments, message",
    [
        ("unknown event", sounds.event, ("unicorn",), "no event called 'unicorn'.*dog bark"),
        ("a texture as event", sounds.event, ("rain",), "no event called 'rain'; choose one of"),
        ("an event as texture", sounds.texture, ("bell", 1.0), "no texture called 'bell'.*wind"),
        ("too short a texture", sounds.texture, ("rain", 0.0), r"rain: a length of 0.0 s is outside 0.1..60"),
        ("unknown noise", dsp.noise, ("blue", 1.0), "no noise called 'blue'.*white, pink, brown"),
        ("no reverberation", dsp.room, (np.zeros(9), 0.0), r"time of 0.0 s is outside 0..10; choose"),
    ],
)
def test_an_impossible_wish_is_refused_with_what_is_possible(case, call, arguments, message):
    with pytest.raises(ValueError, match=message):
        call(*arguments, np.random.default_rng(0))


@pytest.fixture
def no_recordings_kept():
    """Recordings are read afresh in this test and in those after it."""
    samples.recording.cache_clear()
    yield
    samples.recording.cache_clear()


def test_a_missing_package_is_named_with_the_way_out(monkeypatch, no_recordings_kept):
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"'punch.wav' comes with the package pygame-ce.*pip install"
    ):
        draw("punch")


def test_a_recording_that_its_package_lacks_is_named():
    with pytest.raises(FileNotFoundError, match=r"pygame-ce has no recording .*meow\.wav; install it anew"):
        samples.recording("meow.wav")


def test_recordings_are_read_without_importing_their_package():
    code = "import sys, numpy as np\nfrom lalm_utils.mini import sounds\n"
    code += f"for l in {RECORDED!r}:\n  for s in range(4): sounds.event(l, np.random.default_rng(s))\n"
    code += "print('pygame' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr
