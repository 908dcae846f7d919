"""Clips: an audio file in, 16 kHz mono samples out, and the same written back.

In: the path of any file libsndfile decodes (WAV, FLAC, Ogg, MP3; any rate, width and number of channels).
Out: a `Clip` of float32 samples at `RATE`, resampled here because models take arrays at face value.
Everything that is refused is an `AudioError`.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import re
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from lalm_utils import mp3

RATE = 16_000  # Hz, what Whisper-type encoders hear
MIN_SECONDS = 0.1  # shorter clips give an audio tower no token, and the model answers from the text alone
FULL_SCALE_LIMIT = 8.0  # float files may overshoot 1.0; integers stored as floats are far beyond this
_STREAM_LENGTH = 0x7F000000  # bytes; what encoders that do not know the length yet promise is above
RATES = (1_000, 768_000)  # Hz; beyond them a header is damaged, and 30 s take gigabytes
_BLOCK_SAMPLES = 8_000_000  # samples of all channels in one block; 30 s in stereo at 96 kHz are fewer
_MP3_FRAMES = 4  # by which a length may differ: what encoders pad is cut off
_CANCELLED = (
    0.01  # of the energy that unrelated channels leave in their mean; below it they have cancelled out
)
_MARGIN = 0.25  # seconds decoded past the cut, so that the resampler's edge lies behind it


log = logging.getLogger(__name__)


class AudioError(ValueError):
    """A clip that cannot be heard. The message names file, offending value, rule and next step."""


class MissingClip(AudioError):
    """There is no such file."""


class ShortClip(AudioError):
    """A clip of less than MIN_SECONDS."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """What a model hears. Two clips are the same if their `sha256` is."""

    samples: np.ndarray  # float32 (n,), mono, 16 kHz, within [-1, 1]
    seconds: float  # of the whole file; `len(samples) / RATE` is what is left of it
    truncated: bool  # whether the file was longer than max_seconds
    sha256: str  # of `samples` as 16-bit little-endian integers


def read_clip(path: str | Path, *, max_seconds: float = 30.0) -> Clip:
    """Decode, downmix, resample to 16 kHz, keep the first `max_seconds`.

    The mix is the mean of the channels, or the loudest of them, with a warning, where they cancel each other out.

    Samples beyond full scale are clipped to [-1, 1], as a player would. Raises AudioError if the file is
    missing or undecodable, of an absurd rate, empty, under 0.1 s, holds NaN or infinity, is not scaled to 1, or
    is cut short.
    """
    if not max_seconds >= MIN_SECONDS:
        raise AudioError(f"max_seconds = {max_seconds}: a clip is at least {MIN_SECONDS} s long")
    with _open(path) as file:
        seconds = _header_seconds(path, file)
        n_frames = int(min(file.frames, (max_seconds + _MARGIN) * file.samplerate))
        mono, rate = _decode(path, file, n_frames), file.samplerate
    samples = mono if rate == RATE else soxr.resample(mono, rate, RATE)
    length = int(min(len(samples), round(min(seconds, max_seconds) * RATE)))
    samples = np.ascontiguousarray(np.clip(samples[:length], -1.0, 1.0), dtype=np.float32)
    return Clip(
        samples=samples, seconds=seconds, truncated=seconds > max_seconds, sha256=content_hash(samples)
    )


def is_silent(path: str | Path, *, max_seconds: float = 30.0) -> bool:
    """Whether what a model would hear of a file stays below a step of 16-bit sound. AudioError as `read_clip`."""
    with _open(path) as file:
        _header_seconds(path, file)
        mono = _decode(path, file, int(min(file.frames, max_seconds * file.samplerate)))
    return float(np.abs(mono).max()) < 1 / 32768


def check_clip(path: str | Path) -> float:
    """Seconds of a file by its header, or its frames (MP3); AudioError if it is missing, unreadable, empty or under
    0.1 s."""
    with _open(path) as file:
        return _header_seconds(path, file)


def write_clip(path: str | Path, samples: np.ndarray) -> None:
    """Write (n,) samples at 16 kHz, floats within [-1, 1] or int16, as 16-bit mono PCM WAV.

    The bytes depend on the samples alone. Raises AudioError for another shape or type, for NaN or infinity,
    for floats beyond full scale (normalise first: nothing is clipped here) and for under 0.1 s.
    """
    samples = np.asarray(samples)
    _check_samples(path, samples)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(_pcm16(samples).tobytes())
    Path(path).write_bytes(buffer.getvalue())


def chirp() -> np.ndarray:
    """A second of a rising tone, (RATE,) float32: what a model is played that is to show that it hears."""
    time = np.arange(RATE) / RATE
    return (0.5 * np.sin(2 * np.pi * (200 + 900 * time) * time)).astype(np.float32)


def content_hash(samples: np.ndarray) -> str:
    """SHA-256 (hex) of samples as 16-bit little-endian integers: the same for a clip and its written WAV."""
    return hashlib.sha256(_pcm16(samples).tobytes()).hexdigest()


def _pcm16(samples: np.ndarray) -> np.ndarray:
    if samples.dtype == np.int16:
        return samples.astype("<i2")
    # 32768 is also what decoders divide by, so reading and writing again changes nothing.
    return np.clip(np.rint(samples.astype(np.float64) * 32768), -32768, 32767).astype("<i2")


def _open(path: str | Path) -> soundfile.SoundFile:
    try:
        if not Path(path).is_file():
            exists = Path(path).exists()
            fault = "a folder, pipe or device, no such file as a clip is" if exists else "no such file"
            raise MissingClip(f"{path}: {fault}; put the clip there or correct the path")
        file = soundfile.SoundFile(path)
        return _whole_mp3(path, file) if file.format == "MP3" else file
    except AudioError:
        raise
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        stand_in = stand_in_for(path)
        if stand_in:
            raise AudioError(f"{path}: not readable as audio: {stand_in}") from error
        raise AudioError(
            f"{path}: not readable as audio ({error}); give a WAV, FLAC, Ogg or MP3 file"
        ) from error


def stand_in_for(path: str | Path) -> str:
    """What lies in place of a file that was not fetched, and what to do; "" if it is nothing known."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(200).lstrip(b"\xef\xbb\xbf \t\r\n")
    except (OSError, ValueError):
        return ""
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself; fetch that with `git lfs pull`"
    if start.startswith(b"<"):
        return "it is a web page (HTML or XML) that was saved under this name; fetch the file itself again"
    return ""


def _whole_mp3(path: str | Path, file: soundfile.SoundFile) -> soundfile.SoundFile:
    """The same sound with its true length, where libsndfile was told another one or had to guess it.

    It believes the first frame: the count that encoders write there (Xing, Info), else its bitrate, which tells nothing
    of a variable one. What lies beyond that length, as a second MP3 behind the first, is never decoded.
    """
    content = Path(path).read_bytes()
    frames = list(mp3.frames(content))
    sound = [frame for frame in frames if not frame.is_count]
    if not sound:  # of another layer, or with a free bitrate
        return file
    length, most = sum(frame.samples for frame in sound), _MP3_FRAMES * sound[0].samples
    has_count = len(sound) < len(frames)
    if file.frames - length > most and has_count:
        file.close()
        raise AudioError(
            f"{path}: damaged, {length} of {file.frames} samples are there; fetch the clip again"
        )
    if abs(length - file.frames) <= most:
        return file
    file.close()
    if len({frame.form for frame in sound}) > 1:
        raise AudioError(
            f"{path}: holds MP3s of different rates or channels one behind the other; a clip is one sound; "
            "convert it to WAV"
        )
    return soundfile.SoundFile(io.BytesIO(mp3.with_count(content, sound)))


def _header_seconds(path: str | Path, file: soundfile.SoundFile) -> float:
    if file.frames <= 0:
        raise AudioError(f"{path}: empty, the file holds no samples; fetch or make the clip again")
    _check_length(path, file)
    if not RATES[0] <= file.samplerate <= RATES[1]:
        raise AudioError(
            f"{path}: damaged, a rate of {file.samplerate:,} Hz; {RATES[0]:,} to {RATES[1]:,} can be; fetch the "
            "clip again"
        )
    seconds = file.frames / file.samplerate
    # Compared in frames: 1,600 frames at 16 kHz are 0.1 s whatever the quotient's last bit says.
    if file.frames < math.floor(MIN_SECONDS * file.samplerate):
        raise ShortClip(
            f"{path}: {seconds:.4f} s long; a clip needs at least {MIN_SECONDS} s; leave it out or pad it"
        )
    return seconds


def _check_length(path: str | Path, file: soundfile.SoundFile) -> None:
    """A WAV that was cut while being copied plays as if it were whole; only libsndfile's log tells."""
    match = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    promised, present = map(int, match.groups()) if match else (0, 0)
    if 0.99 * promised > present and promised < _STREAM_LENGTH:
        raise AudioError(
            f"{path}: damaged, {present} of {promised} bytes of samples are there; fetch the clip again"
        )


def _decode(path: str | Path, file: soundfile.SoundFile, n_frames: int) -> np.ndarray:
    """(n_frames,) float32, the mean of the channels; as many as the header says, which are finite and on a scale of 1.

    Mixed block by block: a header may promise a thousand channels, or samples that are not there.
    """
    mono, total, bad, peak, energy = [], 0, 0, 0.0, np.zeros(file.channels)
    for frames in _blocks(path, file, n_frames):
        total, bad = total + len(frames), bad + frames.size - int(np.isfinite(frames).sum())
        peak = max(peak, float(np.abs(frames).max()))
        energy += np.einsum("ij,ij->j", frames, frames, dtype=np.float64)
        mono.append(frames.mean(axis=1, dtype=np.float32))
    if not total or total < n_frames - MIN_SECONDS * file.samplerate:
        raise AudioError(
            f"{path}: damaged, {total} of {n_frames} samples could be decoded; fetch the clip again"
        )
    _refuse_nonfinite(path, bad, total * file.channels)
    if peak > FULL_SCALE_LIMIT:
        raise AudioError(
            f"{path}: samples reach {peak:g} where full scale is 1; divide them by their full scale"
        )
    mixed = np.concatenate(mono)
    left = float(np.dot(mixed, mixed.astype(np.float64)))
    if file.channels > 1 and left < _CANCELLED * energy.sum() / file.channels**2:
        loudest = int(energy.argmax())
        log.warning(
            "%s: its %d channels cancel each other out; channel %d is heard alone",
            path, file.channels, loudest + 1,
        )  # fmt: skip
        file.seek(0)
        return np.concatenate([frames[:, loudest] for frames in _blocks(path, file, n_frames)])
    return mixed


def _blocks(path: str | Path, file: soundfile.SoundFile, n_frames: int) -> Iterator[np.ndarray]:
    left = n_frames
    while left > 0:
        try:
            frames = file.read(min(left, _BLOCK_SAMPLES // file.channels), dtype="float32", always_2d=True)
        except (RuntimeError, MemoryError, ValueError) as error:
            raise AudioError(
                f"{path}: damaged, decoding broke off ({error}); fetch the clip again"
            ) from error
        if not len(frames):
            return
        left -= len(frames)
        yield frames


def _refuse_nonfinite(path: str | Path, bad: int, size: int) -> None:
    if bad:
        raise AudioError(f"{path}: {bad} of {size} samples are NaN or infinite; none may be; export it again")


def _check_samples(path: str | Path, samples: np.ndarray) -> None:
    if samples.ndim != 1 or not (samples.dtype == np.int16 or samples.dtype.kind == "f"):
        raise AudioError(
            f"{path}: {samples.dtype} samples of shape {samples.shape}; give one axis of floats or of int16"
        )
    if len(samples) < round(MIN_SECONDS * RATE):
        raise AudioError(
            f"{path}: {len(samples) / RATE:.4f} s long; a clip needs at least {MIN_SECONDS} s; pad it"
        )
    if samples.dtype == np.int16:
        return
    _refuse_nonfinite(path, samples.size - int(np.isfinite(samples).sum()), samples.size)
    peak = float(np.abs(samples).max())
    if peak > 1:
        raise AudioError(
            f"{path}: samples reach {peak:g} where full scale is 1; normalise them before writing"
        )
