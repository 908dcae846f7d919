"""Interventions on clips: exact strengths and ratios, nothing at strength 0, equal bytes for equal seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_chain_interventions import item

from lalm_utils import audio_interventions as audio
from lalm_utils import benchmarks
from lalm_utils.audio import RATE, read_clip, write_clip

TONE = (0.4 * np.sin(np.arange(16_003) / 7)).astype(np.float32)


@pytest.mark.parametrize("snr", [20, 10, 0, -10, -20])
def test_noise_has_the_ratio_within_a_tenth_of_a_decibel(snr):
    noisy = audio.white_noise(TONE, snr, seed=1)
    expected = np.random.default_rng(1).standard_normal(len(TONE))
    scale = (noisy @ TONE - (noisy @ expected) * (expected @ TONE) / (expected @ expected)) / (
        TONE @ TONE - (expected @ TONE) ** 2 / (expected @ expected)
    )
    rest = noisy - scale * TONE
    assert 10 * np.log10(audio.power(scale * TONE) / audio.power(rest)) == pytest.approx(snr, abs=0.1)
    assert np.abs(noisy).max() <= 1


def test_noise_repeats_and_infinity_adds_none():
    assert audio.white_noise(TONE, np.inf) is TONE
    assert np.array_equal(audio.white_noise(TONE, 0, seed=2), audio.white_noise(TONE, 0, seed=2))
    assert not np.array_equal(audio.white_noise(TONE, 0, seed=2), audio.white_noise(TONE, 0, seed=3))


@pytest.mark.parametrize("samples, snr", [(np.zeros(1600, np.float32), 0), (TONE, np.nan), (TONE, -np.inf)])
def test_a_ratio_without_a_meaning_is_refused(samples, snr):
    with pytest.raises(ValueError, match="SNR"):
        audio.white_noise(samples, snr)


@pytest.mark.parametrize("strength", [0.1, 0.2, 0.5, 0.77, 1])
@pytest.mark.parametrize("position", ["random", "start", "end"])
def test_a_mask_has_its_share_to_the_sample(strength, position):
    masked = audio.mask(TONE + 2, strength, position=position, seed=5) == 0
    assert masked.sum() == round(strength * len(TONE))
    if strength < 1:
        assert (masked[0], masked[-1]) == (position == "start", position == "end") or position == "random"
    if position == "random":
        shares = [block.mean() for block in np.array_split(masked, audio.CHUNKS)]
        assert max(abs(share - strength) for share in shares) < 0.01


def test_a_mask_of_noise_keeps_the_power_and_strength_0_the_samples():
    soft = TONE * 0.2
    assert audio.power(audio.mask(soft, 1, filler="noise")) == pytest.approx(audio.power(soft), rel=0.05)
    for position in ("random", "start", "end"):
        assert audio.mask(TONE, 0, position=position) is TONE
    with pytest.raises(ValueError, match=r"strength 1.2"):
        audio.mask(TONE, 1.2)


def test_a_voice_is_no_louder_than_the_clip():
    voice = (0.9 * np.sign(np.sin(np.arange(20_000) / 11))).astype(np.float32)
    mixed = audio.overlay(TONE * 0.1, voice)
    assert len(mixed) == len(voice)
    rest = mixed[: len(TONE)] - 0.1 * TONE
    assert audio.power(np.append(rest, mixed[len(TONE) :])) == pytest.approx(
        audio.power(TONE * 0.1), rel=1e-3
    )
    assert audio.overlay(TONE, voice, level=0) is TONE
    with pytest.raises(ValueError, match=r"level 1\.5"):
        audio.overlay(TONE, voice, level=1.5)


def test_the_synthesizer_speaks_an_option_through_its_door():
    voice = benchmarks.synthesise_speech("The answer is a bell.")
    assert voice.dtype == np.float32
    assert len(voice) > RATE / 2
    assert np.array_equal(voice, benchmarks.synthesise_speech("The answer is a bell."))


def test_fragments_are_the_clip_and_equally_long():
    for parts in (1, 2, 3, 5):
        pieces = [audio.fragment(TONE, number, parts) for number in range(parts)]
        assert np.array_equal(np.concatenate(pieces), TONE)
        assert max(map(len, pieces)) - min(map(len, pieces)) <= 1
    with pytest.raises(ValueError, match="fragment 2 of 2"):
        audio.fragment(TONE, 2, 2)


def test_changed_clips_are_kept_by_content_with_a_seed_per_item(tmp_path, monkeypatch):
    monkeypatch.setenv("LALM_UTILS_CACHE", str(tmp_path))
    write_clip(tmp_path / "a.wav", TONE)
    items = [replace(item(id=name), clip=tmp_path / "a.wav") for name in "ab"]
    noisy = audio.with_audio(items, lambda item, samples, seed: audio.white_noise(samples, 0, seed=seed))
    again = audio.with_audio(items[1:], lambda item, samples, seed: audio.white_noise(samples, 0, seed=seed))
    assert noisy[0].clip != noisy[1].clip == again[0].clip
    assert (
        audio.with_audio(items, lambda item, samples, seed: samples)[0].clip.read_bytes()
        == items[0].clip.read_bytes()
    )
    assert read_clip(noisy[0].clip).samples.std() > 0
