"""Clips are read at 16 kHz whatever the file is, or refused with a text that says why."""

from __future__ import annotations

import hashlib
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lalm_utils import benchmarks, mp3
from lalm_utils.audio import RATE, AudioError, check_clip, content_hash, is_silent, read_clip, write_clip
from lalm_utils.items import BenchmarkError


def tone(hertz: float = 440.0, seconds: float = 1.0, rate: int = RATE, peak: float = 0.5) -> np.ndarray:
    return peak * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def loudest_hertz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.fft.rfftfreq(len(samples), 1 / RATE)[spectrum.argmax()])


FORMATS = [
    ("8-bit WAV", "clip.wav", "PCM_U8", RATE),
    ("16-bit WAV", "clip.wav", "PCM_16", RATE),
    ("24-bit WAV", "clip.wav", "PCM_24", RATE),
    ("32-bit WAV", "clip.wav", "PCM_32", RATE),
    ("float WAV", "clip.wav", "FLOAT", RATE),
    ("double WAV", "clip.wav", "DOUBLE", RATE),
    ("8 kHz telephone", "clip.wav", "ULAW", 8_000),
    ("11.025 kHz", "clip.wav", "PCM_16", 11_025),
    ("44.1 kHz FLAC", "clip.flac", "PCM_16", 44_100),
    ("48 kHz Ogg", "clip.ogg", "VORBIS", 48_000),
    ("44.1 kHz MP3", "clip.mp3", "MPEG_LAYER_III", 44_100),
    ("96 kHz WAV", "clip.wav", "PCM_24", 96_000),
]


@pytest.mark.parametrize("case, name, subtype, rate", FORMATS, ids=[row[0] for row in FORMATS])
def test_every_format_keeps_a_tones_pitch_level_and_length(tmp_path, case, name, subtype, rate):
    path = tmp_path / name
    kind = {"flac": "FLAC", "ogg": "OGG", "mp3": "MP3"}.get(path.suffix[1:], "WAV")
    soundfile.write(path, tone(1000, rate=rate), rate, subtype=subtype, format=kind)
    clip = read_clip(path)
    assert clip.samples.dtype == np.float32
    assert clip.samples.flags.c_contiguous
    assert clip.samples.ndim == 1
    assert len(clip.samples) / RATE == pytest.approx(1.0, abs=0.06)
    assert not clip.truncated
    middle = clip.samples[2000:14000]
    assert loudest_hertz(middle) == pytest.approx(1000, abs=2)
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.03)


def test_a_tone_above_8_khz_is_filtered_out_not_folded_down(tmp_path):
    soundfile.write(tmp_path / "high.wav", tone(11_000, rate=44_100), 44_100)
    assert np.abs(read_clip(tmp_path / "high.wav").samples[1000:-1000]).max() < 1e-3


def test_channels_are_mixed_by_their_mean(tmp_path):
    left, right = tone(500), tone(500, peak=0.1)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_clip(tmp_path / "stereo.wav").samples, (left + right) / 2, atol=1e-6)


def test_six_channels_are_mixed_too(tmp_path):
    soundfile.write(tmp_path / "six.wav", np.tile(tone()[:, None], (1, 6)), RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_clip(tmp_path / "six.wav").samples, tone(), atol=1e-6)


def test_what_is_written_is_read_back_bit_for_bit(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 4000).astype(np.int16)
    write_clip(tmp_path / "a.wav", samples)
    clip = read_clip(tmp_path / "a.wav")
    np.testing.assert_array_equal(np.rint(clip.samples * 32768).astype(np.int16), samples)
    write_clip(tmp_path / "b.wav", clip.samples)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert clip.sha256 == content_hash(samples) == hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()


def test_a_written_file_is_plain_pcm_with_a_44_byte_header(tmp_path):
    write_clip(tmp_path / "a.wav", tone().astype(np.float32))
    data = (tmp_path / "a.wav").read_bytes()
    assert data[:4] == b"RIFF"
    assert len(data) == 44 + 2 * RATE
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)


def test_full_scale_is_written_without_wrapping_round(tmp_path):
    write_clip(tmp_path / "a.wav", np.array([1.0, -1.0] * 1000))
    samples = read_clip(tmp_path / "a.wav").samples
    assert (samples.max(), samples.min()) == (pytest.approx(1.0, abs=1e-4), -1.0)


def test_the_hash_is_of_content_not_of_name_or_container(tmp_path):
    write_clip(tmp_path / "a.wav", tone())
    same = read_clip(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.flac", same.samples, RATE, subtype="PCM_16")
    write_clip(tmp_path / "c.wav", tone(441))
    assert read_clip(tmp_path / "b.flac").sha256 == same.sha256
    assert read_clip(tmp_path / "c.wav").sha256 != same.sha256


def test_a_long_clip_is_cut_and_says_so(tmp_path):
    soundfile.write(tmp_path / "long.wav", tone(seconds=3.0, rate=22_050), 22_050)
    whole, cut = read_clip(tmp_path / "long.wav"), read_clip(tmp_path / "long.wav", max_seconds=1.5)
    assert (cut.seconds, cut.truncated, len(cut.samples)) == (3.0, True, 24_000)
    assert (whole.seconds, whole.truncated, len(whole.samples)) == (3.0, False, 48_000)
    np.testing.assert_allclose(cut.samples, whole.samples[:24_000], atol=1e-4)


def test_a_clip_of_exactly_the_limit_is_not_called_truncated(tmp_path):
    write_clip(tmp_path / "a.wav", tone(seconds=2.0))
    assert not read_clip(tmp_path / "a.wav", max_seconds=2.0).truncated


def test_a_clip_may_be_read_without_a_limit(tmp_path):
    write_clip(tmp_path / "a.wav", tone(seconds=2.0))
    assert len(read_clip(tmp_path / "a.wav", max_seconds=float("inf")).samples) == 2 * RATE


def test_float_samples_just_beyond_full_scale_are_clipped(tmp_path):
    soundfile.write(tmp_path / "hot.wav", tone(peak=1.5), RATE, subtype="FLOAT")
    assert np.abs(read_clip(tmp_path / "hot.wav").samples).max() == 1.0


def test_silence_is_a_clip(tmp_path):
    write_clip(tmp_path / "silence.wav", np.zeros(RATE))
    assert not read_clip(tmp_path / "silence.wav").samples.any()


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100])
def test_a_tenth_of_a_second_is_enough_at_any_rate(tmp_path, rate):
    soundfile.write(tmp_path / "short.wav", tone(seconds=0.1, rate=rate), rate)
    assert check_clip(tmp_path / "short.wav") == pytest.approx(0.1, abs=1e-4)
    assert len(read_clip(tmp_path / "short.wav").samples) >= 1590


def a_float_file(path: Path, samples: np.ndarray) -> None:
    soundfile.write(path, samples, RATE, subtype="FLOAT")


def a_truncated_flac(path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, RATE)
    soundfile.write(path, noise, RATE, subtype="PCM_16", format="FLAC")
    path.write_bytes(path.read_bytes()[:12_000])


def a_truncated_wav(path: Path) -> None:
    write_clip(path, tone())
    path.write_bytes(path.read_bytes()[:20_000])


def with_a_bad_sample(value: float) -> np.ndarray:
    samples = tone()
    samples[777] = value
    return samples


REFUSED = [
    ("missing", lambda path: None, "no such file; put the clip there"),
    ("a folder", lambda path: path.mkdir(), "no such file"),
    ("zero bytes", lambda path: path.write_bytes(b""), "not readable as audio"),
    ("text", lambda path: path.write_text("<html>Not found</html>"), "not readable as audio"),
    ("a header alone", lambda path: a_float_file(path, np.zeros(0)), "empty, the file holds no samples"),
    ("too short", lambda path: a_float_file(path, tone(seconds=0.09)), r"0\.0900 s long; .* at least 0\.1 s"),
    ("NaN", lambda path: a_float_file(path, with_a_bad_sample(np.nan)), "1 of 16000 samples are NaN or inf"),
    (
        "infinity",
        lambda path: a_float_file(path, with_a_bad_sample(np.inf)),
        "1 of 16000 samples are NaN or inf",
    ),
    (
        "integers as floats",
        lambda path: a_float_file(path, tone() * 32768),
        "samples reach 16384 where full scale",
    ),
    ("a FLAC cut short", a_truncated_flac, "damaged"),
    ("a WAV cut short", a_truncated_wav, "damaged, 19956 of 32000 bytes of samples are there; fetch"),
]


@pytest.mark.parametrize("case, make, message", REFUSED, ids=[row[0] for row in REFUSED])
def test_what_cannot_be_heard_is_refused_by_name(tmp_path, case, make, message):
    path = tmp_path / "clip.wav"
    make(path)
    with pytest.raises(AudioError, match=message) as excinfo:
        read_clip(path)
    assert str(path) in str(excinfo.value)


def test_samples_without_a_header_are_refused(tmp_path):
    write_clip(tmp_path / "clip.raw", tone())
    with pytest.raises(AudioError, match="not readable as audio"):
        read_clip(tmp_path / "clip.raw")


HEADER_ONLY = [
    row
    for row in REFUSED
    if row[0] in ("missing", "zero bytes", "text", "a header alone", "too short", "a WAV cut short")
]


@pytest.mark.parametrize("case, make, message", HEADER_ONLY, ids=[row[0] for row in HEADER_ONLY])
def test_the_cheap_check_refuses_what_a_header_can_tell(tmp_path, case, make, message):
    make(tmp_path / "clip.wav")
    with pytest.raises(AudioError, match=message):
        check_clip(tmp_path / "clip.wav")


def test_a_wav_whose_header_promises_more_than_there_is_has_the_length_it_has(tmp_path):
    # What a streaming encoder writes when it does not know the length yet.
    write_clip(tmp_path / "stream.wav", tone())
    data = bytearray((tmp_path / "stream.wav").read_bytes())
    data[40:44] = struct.pack("<I", 0xFFFFFFFF)
    (tmp_path / "stream.wav").write_bytes(data)
    assert check_clip(tmp_path / "stream.wav") == pytest.approx(1.0)
    assert len(read_clip(tmp_path / "stream.wav").samples) == RATE


def an_mp3(path: Path, samples: np.ndarray, rate: int = 44_100, *, count: bool = True) -> Path:
    """Of variable bitrate; without the frame in which encoders count the others where not `count`."""
    with soundfile.SoundFile(
        path, "w", rate, samples.ndim, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5
    ) as file:
        file.write(samples)
    content = path.read_bytes()
    first, *rest = mp3.frames(content)
    assert first.is_count
    assert not any(frame.is_count for frame in rest)
    path.write_bytes(content if count else content[rest[0].start :])
    return path


def soft_and_loud(rate: int) -> np.ndarray:
    """6 s of noise whose first frame tells nothing of the others' bitrate."""
    noise = np.random.default_rng(0).standard_normal(3 * rate)
    return np.clip(np.concatenate([0.0005 * noise, 0.2 * noise]), -1, 1)


@pytest.mark.parametrize("rate", [44_100, 16_000])
def test_an_mp3_without_a_count_of_its_frames_is_heard_whole(tmp_path, rate):
    samples = soft_and_loud(rate)
    with_count, bare = (
        an_mp3(tmp_path / f"{count}.mp3", samples, rate, count=count) for count in (True, False)
    )
    assert check_clip(bare) == pytest.approx(6, abs=0.1)
    whole, clip = read_clip(with_count).samples, read_clip(bare).samples
    assert len(clip) == pytest.approx(len(whole), abs=0.1 * RATE)
    for part in (slice(8_000, 40_000), slice(56_000, 88_000)):
        assert np.std(clip[part]) == pytest.approx(np.std(whole[part]), rel=0.2)


def test_a_second_mp3_behind_the_first_is_heard_too_or_refused(tmp_path):
    first = an_mp3(tmp_path / "a.mp3", tone(rate=44_100)).read_bytes()
    other = an_mp3(tmp_path / "b.mp3", tone(880, rate=44_100)).read_bytes()
    tag = b"ID3\x04\0\0\0\0\0\x08" + b"\xff\xfb\x90\0" * 2
    (tmp_path / "both.mp3").write_bytes(tag + first + tag + other + b"TAG" + bytes(125))
    samples = read_clip(tmp_path / "both.mp3").samples
    assert len(samples) / RATE == pytest.approx(2, abs=0.15)
    assert loudest_hertz(samples[2_000:14_000]) == pytest.approx(440, abs=3)
    assert loudest_hertz(samples[-12_000:-2_000]) == pytest.approx(880, abs=3)
    slower = an_mp3(tmp_path / "c.mp3", tone(rate=22_050), 22_050).read_bytes()
    (tmp_path / "mixed.mp3").write_bytes(first + slower)
    with pytest.raises(AudioError, match="MP3s of different rates or channels one behind the other"):
        read_clip(tmp_path / "mixed.mp3")


def test_an_mp3_that_was_cut_while_being_copied_is_damaged_for_the_cheap_check_too(tmp_path):
    path = an_mp3(tmp_path / "cut.mp3", soft_and_loud(44_100))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for read in (check_clip, read_clip):
        with pytest.raises(AudioError, match=r"damaged, \d+ of 264600 samples are there; fetch"):
            read(path)


@pytest.mark.parametrize("other", [-1.0, -0.98])
def test_channels_that_cancel_each_other_out_are_not_mixed_to_silence(tmp_path, caplog, other):
    sound = np.stack([tone(), other * tone()], axis=1)
    soundfile.write(tmp_path / "opposite.wav", sound, RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_clip(tmp_path / "opposite.wav").samples, tone(), atol=1e-6)
    assert "opposite.wav: its 2 channels cancel each other out; channel 1 is heard alone" in caplog.text
    assert not is_silent(tmp_path / "opposite.wav")


def test_silence_can_be_told(tmp_path):
    write_clip(tmp_path / "silence.wav", np.zeros(RATE))
    write_clip(tmp_path / "soft.wav", tone(peak=0.001))
    assert is_silent(tmp_path / "silence.wav")
    assert not is_silent(tmp_path / "soft.wav")
    write_clip(tmp_path / "late.wav", np.concatenate([np.zeros(RATE), tone()]))
    assert is_silent(tmp_path / "late.wav", max_seconds=0.5)


STAND_INS = [
    (
        "a pointer",
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
        "Git LFS pointer.*git lfs pull",
    ),
    ("a web page", "\n<!DOCTYPE html><title>Sign in</title>", r"a web page \(HTML or XML\)"),
]


@pytest.mark.parametrize("case, text, message", STAND_INS, ids=[row[0] for row in STAND_INS])
def test_what_lies_in_place_of_a_clip_or_of_questions_is_named(tmp_path, case, text, message):
    for name, read, error in (("a.wav", read_clip, AudioError), ("a.json", benchmarks.load, BenchmarkError)):
        (tmp_path / name).write_text(text)
        with pytest.raises(error, match=message):
            read(tmp_path / name)


UNWRITABLE = [
    ("two axes", np.zeros((RATE, 2)), r"float64 samples of shape \(16000, 2\); give one axis"),
    ("wider integers", np.zeros(RATE, dtype=np.int32), "int32 samples of shape"),
    ("NaN", with_a_bad_sample(np.nan), "1 of 16000 samples are NaN or infinite"),
    ("too loud", tone(peak=1.01), "where full scale is 1; normalise them before writing"),
    ("too short", np.zeros(1599), r"0\.0999 s long; a clip needs at least 0\.1 s"),
    ("nothing", np.zeros(0), r"0\.0000 s long"),
]


@pytest.mark.parametrize("case, samples, message", UNWRITABLE, ids=[row[0] for row in UNWRITABLE])
def test_samples_that_are_no_clip_are_not_written(tmp_path, case, samples, message):
    with pytest.raises(AudioError, match=message):
        write_clip(tmp_path / "clip.wav", samples)
    assert not (tmp_path / "clip.wav").exists()


@pytest.mark.parametrize("limit", [0, -1, 0.05, float("nan")])
def test_a_limit_under_a_tenth_of_a_second_is_refused(tmp_path, limit):
    write_clip(tmp_path / "a.wav", tone())
    with pytest.raises(AudioError, match="max_seconds"):
        read_clip(tmp_path / "a.wav", max_seconds=limit)
