"""Hostile clips: files that are no audio, lie about themselves, or are audio of an unusual kind.

Each builder writes into a folder and returns the path to read. What is right is a check of the `Clip`.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hostile import Case, is_root

from lalm_utils.audio import RATE, Clip

PCM, FLOAT, MULAW, EXTENSIBLE = 1, 3, 7, 0xFFFE
UNREADABLE = "not readable as audio"


def wav(
    data: bytes = b"\x00\x10" * RATE, *, form: int = PCM, channels: int = 1, rate: int = RATE, bits: int = 16,
    align: int | None = None, said: int | None = None, riff: int | None = None, fmt: int = 16, size: int = 16,
    before: bytes = b"",
) -> bytes:  # fmt: skip
    """A RIFF file; every field of its header can be made to lie. `said`: bytes that the data chunk promises."""
    align = channels * bits // 8 & 0xFFFF if align is None else align
    head = struct.pack("<HHIIHH", form, channels, rate, rate * align & 0xFFFFFFFF, align, bits)[:size]
    length = len(data) if said is None else said
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", fmt) + head + b"data" + struct.pack("<I", length)
    return b"RIFF" + struct.pack("<I", len(body) + len(data) if riff is None else riff) + body + data


def tone(rate: int = RATE, peak: float = 0.5, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return peak * np.sin(2 * math.pi * hertz * np.arange(round(seconds * rate)) / rate)


def encoded(form: str, subtype: str, samples: np.ndarray | None = None, rate: int = RATE) -> bytes:
    """A file as libsndfile writes it."""
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(rate) if samples is None else samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def floats(values: np.ndarray, *, bits: int = 32) -> bytes:
    return wav(values.astype(f"<f{bits // 8}").tobytes(), form=FLOAT, bits=bits)


def holds(content: bytes | Callable[[], bytes], name: str = "clip.wav") -> Callable[[Path], Path]:
    """A builder of one file."""

    def build(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content())
        return path

    return build


def sparse(head: bytes, size: int) -> Callable[[Path], Path]:
    """A file of `size` bytes of which the disk holds the head alone."""

    def build(folder: Path) -> Path:
        path = holds(head)(folder)
        os.truncate(path, size)
        return path

    return build


def linked(target: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / "clip.wav").symlink_to(target)
        return folder / "clip.wav"

    return build


def a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "clip.wav")
    return folder / "clip.wav"


def a_folder(folder: Path) -> Path:
    (folder / "clip.wav").mkdir()
    return folder / "clip.wav"


def forbidden(folder: Path) -> Path:
    if is_root():
        pytest.skip("permissions do not stop root")
    path = holds(wav())(folder)
    path.chmod(0)
    return path


def a_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("clip.wav", b"\0" * 1_000_000)
    return buffer.getvalue()


class Runs:
    """Unpickling it would raise."""

    def __reduce__(self) -> tuple:
        return (pytest.fail, ("a pickle was read",))


def long_flac() -> bytes:
    """A FLAC file whose header promises 2**36 - 1 samples."""
    data = bytearray(encoded("FLAC", "PCM_16"))
    data[21], data[22:26] = data[21] | 0x0F, b"\xff" * 4
    return bytes(data)


def right(
    seconds: float = 1.0, *, truncated: bool = False, peak: tuple[float, float] = (0.0, 1.0)
) -> Callable:
    """Whether a clip is so long, heard to 30 s at most, finite, and as loud as said."""

    def check(clip: Clip) -> bool:
        seconds_heard = min(seconds, 30.0)
        loudest = float(np.abs(clip.samples).max())
        return (
            abs(len(clip.samples) / RATE - seconds_heard) < 0.02
            and abs(clip.seconds - seconds) < 0.06 * seconds
            and clip.truncated == truncated
            and peak[0] <= loudest <= peak[1]
        )

    return check


LOUD = (0.45, 0.55)
NAN, INF = float("nan"), float("inf")
THREE_HOURS = 3 * 3600 * RATE * 2
ROWS = [
    ("broken WAV headers", "four bytes", holds(b"RIFF"), UNREADABLE),
    ("broken WAV headers", "cut in the header", holds(wav()[:30]), UNREADABLE),
    ("broken WAV headers", "cut before the data", holds(wav()[:36]), UNREADABLE),
    (
        "broken WAV headers",
        "cut within the data",
        holds(wav()[:20_000]),
        r"damaged, 19956 of 32000 bytes of samples",
    ),
    (
        "broken WAV headers",
        "twice the data promised",
        holds(wav(said=64_000)),
        "damaged, 32000 of 64000 bytes",
    ),
    ("broken WAV headers", "4 GB promised, as a stream does", holds(wav(said=0xFFFFFFFF)), right()),
    ("broken WAV headers", "1.9 GB promised", holds(wav(said=0x70000000)), "damaged, 32000 of"),
    ("broken WAV headers", "a RIFF of no length", holds(wav(riff=0)), right()),
    ("broken WAV headers", "a RIFF of 4 GB", holds(wav(riff=0xFFFFFFFF)), right()),
    ("broken WAV headers", "big-endian by name alone", holds(b"RIFX" + wav()[4:]), UNREADABLE),
    ("broken WAV headers", "another form than WAVE", holds(wav().replace(b"WAVE", b"AVI ", 1)), UNREADABLE),
    (
        "broken WAV headers",
        "data without a format",
        holds(b"RIFF\x24\0\0\0WAVEdata\0\x10\0\0" + bytes(9)),
        UNREADABLE,
    ),
    ("broken WAV headers", "a format chunk of 4 GB", holds(wav(fmt=0xFFFFFFFF)), UNREADABLE),
    ("broken WAV headers", "a format chunk of nothing", holds(wav(fmt=0)), UNREADABLE),
    ("broken WAV headers", "a format chunk that is short", holds(wav(fmt=8, size=8)), UNREADABLE),
    (
        "broken WAV headers",
        "100,000 empty chunks",
        holds(b"RIFF\xff\xff\xff\x7fWAVE" + b"LIST\0\0\0\0" * 100_000),
        UNREADABLE,
    ),
    (
        "broken WAV headers",
        "a chunk of 4 GB before the format",
        holds(wav(before=b"JUNK\xff\xff\xff\xff")),
        UNREADABLE,
    ),
    ("broken WAV headers", "a rate of 0", holds(wav(rate=0)), UNREADABLE),
    ("broken WAV headers", "a rate of 1 Hz", holds(wav(rate=1)), r"a rate of 1 Hz; 1,000 to 768,000 can be"),
    ("broken WAV headers", "a rate of 999 Hz", holds(wav(rate=999)), r"a rate of 999 Hz"),
    ("broken WAV headers", "a rate of 2 GHz", holds(wav(rate=2**31 - 1)), r"a rate of 2,147,483,647 Hz"),
    ("broken WAV headers", "a rate below zero", holds(wav(rate=2**32 - 1)), UNREADABLE),
    (
        "broken WAV headers",
        "a gigahertz of a gigabyte",
        sparse(wav(b"", rate=10**9, said=10**9), 10**9),
        r"a rate of 1,000,000,000 Hz",
    ),
    ("broken WAV headers", "no channels", holds(wav(channels=0, align=2)), "Channel count is zero"),
    ("broken WAV headers", "65,535 channels", holds(wav(channels=65_535)), "Too many channels"),
    ("broken WAV headers", "samples of 0 bits", holds(wav(bits=0, align=2)), UNREADABLE),
    ("broken WAV headers", "samples of 65,535 bits", holds(wav(bits=65_535, align=2)), UNREADABLE),
    ("broken WAV headers", "samples of 64 bits", holds(wav(bits=64)), UNREADABLE),
    ("broken WAV headers", "frames of no bytes", holds(wav(align=0)), right()),
    ("broken WAV headers", "an unknown encoding", holds(wav(form=0x1234)), UNREADABLE),
    (
        "broken WAV headers",
        "an extensible format without its extension",
        holds(wav(form=EXTENSIBLE)),
        UNREADABLE,
    ),
    ("broken WAV headers", "ADPCM without its tables", holds(wav(form=2, bits=4, align=256)), UNREADABLE),
    ("broken WAV headers", "MP3 said to be within", holds(wav(form=0x55, bits=0, align=1)), UNREADABLE),
    ("broken WAV headers", "a byte too many", holds(wav(b"\x00\x10" * RATE + b"\x01")), right()),
    ("zero-length", "no byte", holds(b""), UNREADABLE),
    ("zero-length", "no sample", holds(wav(b"")), "empty, the file holds no samples; fetch or make"),
    ("zero-length", "half a sample", holds(wav(b"\x01")), "empty, the file holds no samples"),
    ("zero-length", "one sample", holds(wav(b"\x01\x00")), r"0\.0001 s long; a clip needs at least 0\.1 s"),
    ("zero-length", "just under 0.1 s", holds(wav(b"\x00\x10" * 1599)), r"0\.0999 s long; a clip needs"),
    ("zero-length", "just 0.1 s", holds(wav(b"\x00\x10" * 1600)), right(0.1)),
    (
        "zero-length",
        "an empty FLAC",
        holds(lambda: encoded("FLAC", "PCM_16", np.zeros(0))),
        "empty|not readable",
    ),
    (
        "NaN samples",
        "one of them",
        holds(floats(np.append(tone(), NAN))),
        "1 of 16001 samples are NaN or infinite",
    ),
    ("NaN samples", "all of them", holds(floats(np.full(RATE, NAN))), "16000 of 16000 samples are NaN"),
    (
        "NaN samples",
        "infinity",
        holds(floats(np.append(tone(), INF))),
        "1 of 16001 samples are NaN or infinite",
    ),
    ("NaN samples", "minus infinity", holds(floats(np.append(tone(), -INF))), "1 of 16001 samples are NaN"),
    (
        "NaN samples",
        "doubles beyond what floats hold",
        holds(floats(np.full(RATE, 1e300), bits=64)),
        "are NaN or infinite",
    ),
    (
        "NaN samples",
        "integers as floats",
        holds(floats(tone() * 32768)),
        "samples reach 16384 where full scale is 1; divide",
    ),
    ("NaN samples", "numbers near nothing", holds(floats(np.full(RATE, 1e-44))), right(peak=(0, 1e-40))),
    ("NaN samples", "a little beyond full scale", holds(floats(tone(peak=1.5))), right(peak=(1, 1))),
    ("8-bit", "unsigned", holds(lambda: encoded("WAV", "PCM_U8")), right(peak=LOUD)),
    ("8-bit", "mu-law", holds(lambda: encoded("WAV", "ULAW", rate=8_000)), right(peak=LOUD)),
    ("8-bit", "A-law", holds(lambda: encoded("WAV", "ALAW", rate=8_000)), right(peak=LOUD)),
    ("8-bit", "7 bits in 8", holds(wav(b"\xb0" * RATE, bits=7, align=1)), right(peak=(0.3, 0.4))),
    ("8-bit", "24 bits", holds(lambda: encoded("WAV", "PCM_24")), right(peak=LOUD)),
    ("8-bit", "32 bits", holds(lambda: encoded("WAV", "PCM_32")), right(peak=LOUD)),
    ("8-bit", "64-bit floats", holds(floats(tone(), bits=64)), right(peak=LOUD)),
    ("96 kHz", "96 kHz", holds(lambda: encoded("WAV", "PCM_24", rate=96_000)), right(peak=LOUD)),
    ("96 kHz", "192 kHz", holds(lambda: encoded("WAV", "FLOAT", rate=192_000)), right(peak=LOUD)),
    ("96 kHz", "768 kHz, the most", holds(lambda: encoded("WAV", "PCM_16", rate=768_000)), right(peak=LOUD)),
    ("96 kHz", "769 kHz", holds(lambda: encoded("WAV", "PCM_16", rate=769_000)), "a rate of 769,000 Hz"),
    ("96 kHz", "8 kHz", holds(lambda: encoded("WAV", "PCM_16", rate=8_000)), right(peak=LOUD)),
    ("96 kHz", "11,025 Hz", holds(lambda: encoded("WAV", "PCM_16", rate=11_025)), right(peak=LOUD)),
    (
        "96 kHz",
        "a prime number of hertz",
        holds(lambda: encoded("WAV", "PCM_16", rate=44_101)),
        right(peak=LOUD),
    ),
    (
        "stereo",
        "two channels",
        holds(lambda: encoded("WAV", "PCM_16", np.tile(tone()[:, None], 2))),
        right(peak=LOUD),
    ),
    (
        "stereo",
        "two that cancel out",
        holds(lambda: encoded("WAV", "FLOAT", np.stack([tone(), -tone()], 1))),
        right(peak=(0.05, 1.0)),  # one of them is heard: their mix would be silence
    ),
    (
        "stereo",
        "NaN in one of two",
        holds(lambda: encoded("WAV", "FLOAT", np.stack([tone(), tone() * NAN], 1))),
        "16000 of 32000 samples",
    ),
    (
        "stereo",
        "six channels",
        holds(lambda: encoded("WAV", "PCM_16", np.tile(tone()[:, None], 6))),
        right(peak=LOUD),
    ),
    ("stereo", "255 channels", holds(wav(b"\x00\x10" * 255 * RATE, channels=255)), right(peak=(0.12, 0.13))),
    (
        "stereo",
        "1,024 channels, half of which are there",
        sparse(wav(b"", channels=1024, rate=8_000, said=2**30), 2**29),
        "damaged, \\d+ of \\d+ bytes",
    ),
    (
        "stereo",
        "1,024 channels of silence",
        sparse(wav(b"", channels=1024, rate=8_000, said=100_000_768), 100_000_812),
        right(6.1, peak=(0, 0)),
    ),
    (
        "other encodings",
        "MP3 named WAV",
        holds(lambda: encoded("MP3", "MPEG_LAYER_III")),
        right(peak=(0.4, 0.6)),
    ),
    ("other encodings", "Ogg named WAV", holds(lambda: encoded("OGG", "VORBIS")), right(peak=(0.4, 0.6))),
    ("other encodings", "FLAC named WAV", holds(lambda: encoded("FLAC", "PCM_16")), right(peak=LOUD)),
    ("other encodings", "AIFF named WAV", holds(lambda: encoded("AIFF", "PCM_16")), right(peak=LOUD)),
    ("other encodings", "WAV named MP3", holds(wav(), "clip.mp3"), right(peak=(0.12, 0.13))),
    ("other encodings", "WAV without an ending", holds(wav(), "clip"), right(peak=(0.12, 0.13))),
    ("other encodings", "samples alone, called raw", holds(b"\x00\x10" * RATE, "clip.raw"), UNREADABLE),
    ("other encodings", "a FLAC cut short", holds(lambda: encoded("FLAC", "PCM_16")[:4_000]), "damaged"),
    ("other encodings", "a FLAC of 2**36 samples", holds(long_flac), "damaged, decoding broke off"),
    (
        "other encodings",
        "an MP3 cut short",
        holds(lambda: encoded("MP3", "MPEG_LAYER_III")[:1_000]),
        r"damaged, \d+ of 16000 samples",
    ),
    (
        "other encodings",
        "an Ogg cut short",
        holds(lambda: encoded("OGG", "VORBIS")[:3_000]),
        "empty|damaged|not readable",
    ),
    (
        "other encodings",
        "an AU file of 2**31 channels",
        holds(b".snd" + struct.pack(">5I", 24, 0xFFFFFFFF, 3, RATE, 2**31 - 1) + bytes(999)),
        "Too many channels",
    ),
    ("loudness", "silence", holds(wav(bytes(2 * RATE))), right(peak=(0, 0))),
    ("loudness", "a constant at the top", holds(wav(b"\xff\x7f" * RATE)), right(peak=(0.999, 1))),
    ("loudness", "all clipped", holds(wav(b"\xff\x7f\x00\x80" * (RATE // 2))), right(peak=(1, 1))),
    (
        "long clips",
        "just 30 s",
        sparse(wav(b"", said=30 * 2 * RATE), 30 * 2 * RATE + 44),
        right(30.0, peak=(0, 0)),
    ),
    (
        "long clips",
        "three hours",
        sparse(wav(b"", said=THREE_HOURS), THREE_HOURS + 44),
        right(3 * 3600.0, truncated=True, peak=(0, 0)),
    ),
    (
        "long clips",
        "4 GB",
        sparse(wav(b"", said=4_000_000_000, riff=4_000_000_036), 4_000_000_044),
        right(125_000.0, truncated=True, peak=(0, 0)),
    ),
    ("no audio", "a text", holds(b"What barks?\n"), UNREADABLE),
    ("no audio", "a page of HTML", holds(b"<!doctype html><title>404</title>"), UNREADABLE),
    ("no audio", "a zip", holds(a_zip), UNREADABLE),
    ("no audio", "a pickle", holds(lambda: pickle.dumps(Runs())), UNREADABLE),
    ("no audio", "a program", holds(b"\x7fELF\x02\x01\x01" + bytes(10_000)), UNREADABLE),
    ("no audio", "bytes that compress to nothing", holds(bytes(1_000_000)), UNREADABLE),
    (
        "no files",
        "a name without a file",
        lambda folder: folder / "clip.wav",
        "no such file; put the clip there",
    ),
    ("no files", "a folder", a_folder, "a folder, pipe or device, no such file as a clip is"),
    ("no files", "a pipe", a_pipe, "a folder, pipe or device"),
    ("no files", "a device, by a link", linked("/dev/zero"), "a folder, pipe or device"),
    ("no files", "a link to itself", linked("clip.wav"), "no such file|not readable"),
    ("no files", "a link to nowhere", linked("gone.wav"), "no such file"),
    ("no files", "a file that may not be read", forbidden, UNREADABLE),
    (
        "no files",
        "a name of 5,000 characters",
        lambda folder: folder / ("x" * 5_000),
        "not readable as audio|no such file",
    ),
    ("no files", "a name with a null", lambda folder: folder / "a\0b.wav", "no such file|not readable"),
]
CASES = [Case(kind=kind, name=name, build=build, expected=expected) for kind, name, build, expected in ROWS]
