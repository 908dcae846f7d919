"""What is heard of a long clip: by the policy alone, and through a tiny Qwen2-Audio with a window of 2 s."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny import WINDOW_SECONDS, ask, save_tiny, write_tone

from lalm_utils.audio import RATE, AudioError, read_clip, write_clip
from lalm_utils.engine import weights
from lalm_utils.engine.windows import Windows
from lalm_utils.load_model import load_model
from lalm_utils.models import ModelError
from lalm_utils.store import Store

CONSECUTIVE = Windows(policy="consecutive", seconds=2.0, most=3)


def noise(path: Path, seconds: float) -> Path:
    write_clip(path, np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * RATE)))
    return path


COUNTS = [
    ("less than a window", 0.5, 1),
    ("exactly a window", 2.0, 1),
    ("a window and too little to be a clip", 2.05, 1),
    ("a window and just enough", 2.1001, 2),
    ("two windows", 4.0, 2),
    ("two and a half", 5.0, 3),
    ("more than the most", 60.0, 3),
]


@pytest.mark.parametrize("case, seconds, count", COUNTS, ids=[row[0] for row in COUNTS])
def test_a_clip_has_as_many_windows_as_it_fills_and_no_scrap(case, seconds, count):
    assert CONSECUTIVE.count(seconds) == count
    assert Windows(seconds=2.0).count(seconds) == 1


@pytest.mark.parametrize(
    "seconds, truncated", [(1.2, False), (2.05, True), (4.7, False), (6.0, False), (6.3, True)]
)
def test_windows_follow_each_other_without_gap_and_what_is_lost_is_recorded(tmp_path, seconds, truncated):
    path = noise(tmp_path / "noise.wav", seconds)
    parts = CONSECUTIVE.heard(path)
    whole = read_clip(path, max_seconds=100.0).samples
    heard = np.concatenate([part.samples for part in parts])
    np.testing.assert_array_equal(heard, whole[: len(heard)])
    assert len(whole) - len(heard) == max(0, round((seconds - len(parts) * 2.0) * RATE))
    assert {len(part.samples) for part in parts[:-1]} <= {2 * RATE}
    assert {part.truncated for part in parts} == {truncated}
    assert len({part.sha256 for part in parts}) == len(parts), "each window is a clip of its own"


def test_a_clip_at_another_rate_has_the_same_windows(tmp_path):
    time = np.arange(round(4.5 * 44_100)) / 44_100
    soundfile.write(tmp_path / "44.wav", 0.5 * np.sin(2 * np.pi * 300 * time), 44_100)
    assert [len(part.samples) for part in CONSECUTIVE.heard(tmp_path / "44.wav")] == [32_000, 32_000, 8_000]


def test_the_first_window_is_the_clip_as_it_was_always_read(tmp_path):
    path = noise(tmp_path / "noise.wav", 3.0)
    (heard,) = Windows(seconds=2.0).heard(path)
    assert (heard.sha256, heard.truncated) == (read_clip(path, max_seconds=2.0).sha256, True)


def test_a_prompt_names_a_clip_once_for_each_window(tmp_path):
    short, long = noise(tmp_path / "short.wav", 1.0), noise(tmp_path / "long.wav", 5.0)
    prompt = ask("What is it ?", short, long)
    assert CONSECUTIVE.over(prompt).clips == (short, long, long, long)
    assert Windows().over(ask("?", tmp_path / "not there.wav")).clips == (tmp_path / "not there.wav",)
    with pytest.raises(AudioError, match="no such file"):
        CONSECUTIVE.over(ask("?", tmp_path / "not there.wav"))


@pytest.mark.parametrize(
    "settings, message",
    [({"policy": "middle"}, "window='middle'.*one of first, consecutive"), ({"most": 0}, "max_windows=0")],
)
def test_a_policy_that_does_not_exist_is_refused(settings, message):
    with pytest.raises(ModelError, match=message):
        Windows(**settings)


# ---- through a model


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "model")


def test_consecutive_windows_are_heard_as_that_many_clips_of_one_turn(folder, tmp_path):
    assert WINDOW_SECONDS == 2
    model = load_model(folder, dtype="float32", window="consecutive", max_windows=3, check=False)
    first = load_model(folder, dtype="float32", check=False)
    long = noise(tmp_path / "long.wav", 4.7)
    parts = []
    for number, part in enumerate(CONSECUTIVE.heard(long)):
        parts.append(tmp_path / f"{number}.wav")
        write_clip(parts[-1], part.samples)
    windows, clips = ask("Which sound ?", long), ask("Which sound ?", *parts)
    assert model.render(windows) == first.render(clips)
    assert model.render(windows).count("<|AUDIO|>") == 3
    assert model.generate([windows], max_new_tokens=6) == first.generate([clips], max_new_tokens=6)
    logits = first.engine.first_logits([first.ready(windows)])
    assert (model.engine.first_logits([model.ready(windows)]) - logits).abs().max() > 1e-3
    torch.testing.assert_close(
        model.engine.first_logits([model.ready(windows)]), first.engine.first_logits([first.ready(clips)])
    )


def test_what_the_cap_cuts_off_is_recorded_in_the_reply(folder, tmp_path):
    model = load_model(folder, dtype="float32", window="consecutive", max_windows=2, check=False)
    whole, cut = noise(tmp_path / "4.wav", 4.0), noise(tmp_path / "5.wav", 5.0)
    (kept,), (lost,) = model.generate([ask("Loud ?", whole), ask("Loud ?", cut)], max_new_tokens=2)
    assert (kept.truncated, lost.truncated) == (False, True)
    assert (model.description["window"], model.description["max_windows"]) == ("consecutive", 2)


def test_the_fingerprint_depends_on_the_policy_and_not_on_the_default(folder):
    found = weights.fingerprint(weights.find(folder), "float32")
    first = load_model(folder, dtype="float32", check=False)
    several = [
        load_model(folder, dtype="float32", window="consecutive", max_windows=most, check=False).fingerprint
        for most in (2, 3)
    ]
    assert first.fingerprint == found, "replies stored before there were policies stay valid"
    assert len({found, *several}) == 3


def test_a_missing_clip_fails_its_own_prompt_only_and_is_not_stored(folder, tmp_path):
    model = load_model(folder, dtype="float32", window="consecutive", check=True)
    good = ask("What do you hear ?", write_tone(tmp_path / "good.wav", 400, 3.0))
    bad = ask("What do you hear ?", tmp_path / "gone.wav")
    (reply,), (failed,) = model.generate([good, bad], max_new_tokens=8)
    assert (reply.finish != "failed", failed.finish) == (True, "failed")
    assert "no such file" in failed.error
    with Store(tmp_path / "replies.db") as store:
        assert store.ask(model, [bad], max_new_tokens=8)[0][0].finish == "failed"
        assert len(store) == 0


def test_a_policy_that_does_not_exist_is_refused_before_anything_is_loaded(folder):
    with pytest.raises(ModelError, match="window='all'"):
        load_model(folder, window="all")
