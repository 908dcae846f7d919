"""Deterministic synthetic speech from eSpeak NG.

In: a text, a language, a voice variant, a rate and a pitch. Out: 16 kHz mono float32 samples with the times
of the words.

eSpeak keeps hidden state between utterances that no call of its interface resets. Every utterance therefore
runs in its own copy of the library, loaded from a path never used before and unloaded afterwards: equal
arguments give equal bytes in any order, thread and process.
"""

from __future__ import annotations

import _ctypes
import ctypes
import functools
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import espeakng_loader
import numpy as np
import soxr

from lalm_utils.mini.benchmark.scene import RATE

PEAK = 0.9  # largest absolute sample of every utterance
SILENCE = 0.005  # share of the peak below which the ends of an utterance count as silence
MARGIN = 0.02  # seconds kept around the audible part, so that soft consonants survive the trim

_SYNCHRONOUS, _DONT_EXIT, _UTF8 = 2, 0x8000, 1
_RATE, _PITCH, _RANGE = 1, 3, 4  # eSpeak's parameter numbers
_END_OF_EVENTS, _WORD = 0, 1  # eSpeak's event types


@dataclass(frozen=True, kw_only=True)
class SpokenWord:
    """A spoken word (or a few that eSpeak runs together, such as "of the"); times in seconds of the clip."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Speech:
    """One utterance: `samples` is float32 (n,) at 16 kHz with peak 0.9 and both ends trimmed of silence."""

    samples: np.ndarray
    words: tuple[SpokenWord, ...]


@dataclass(frozen=True, kw_only=True)
class VoiceSpec:
    """A voice variant and the range of `say`'s pitch within which it is heard as its gender."""

    variant: str
    lowest_pitch: int
    highest_pitch: int


def _specs(**ranges: tuple[int, int]) -> tuple[VoiceSpec, ...]:
    return tuple(VoiceSpec(variant=name, lowest_pitch=a, highest_pitch=b) for name, (a, b) in ranges.items())


# eSpeak declares each of these variants male or female; inside the pitch range the median fundamental of a
# sentence stays below 140 Hz for a man and above 165 Hz for a woman. No group repeats another's timbre.
MALE = _specs(
    m1=(20, 65), m3=(20, 65), m4=(20, 65), m7=(20, 65), Diogo=(20, 65),
    antonio=(20, 60), m8=(20, 65), michel=(20, 65), sandro=(20, 65),
)  # fmt: skip
FEMALE = _specs(
    f1=(43, 70), f2=(35, 70), f3=(25, 65), f5=(35, 65), Annie=(25, 65),
    Alicia=(20, 60), grandma=(30, 70), Andrea=(25, 60), belinda=(30, 65),
)  # fmt: skip
TRAIN_VOICES = {"male": ("m1", "m3", "m4", "m7", "Diogo"), "female": ("f1", "f2", "f3", "f5", "Annie")}
IDK_VOICES = {"male": ("antonio", "m8"), "female": ("Alicia", "grandma")}
TEST_VOICES = {"male": ("michel", "sandro"), "female": ("Andrea", "belinda")}

# English names of languages -> eSpeak's voices; each speaks digits in its own words.
TRAIN_LANGUAGES = {
    "English": "en-us", "German": "de", "French": "fr", "Spanish": "es", "Italian": "it", "Portuguese": "pt",
    "Russian": "ru", "Mandarin Chinese": "cmn", "Japanese": "ja", "Hindi": "hi", "Turkish": "tr",
    "Arabic": "ar", "Polish": "pl", "Dutch": "nl", "Greek": "el", "Swedish": "sv",
}  # fmt: skip
IDK_LANGUAGES = {"Finnish": "fi", "Korean": "ko", "Czech": "cs", "Vietnamese": "vi", "Swahili": "sw"}
TEST_LANGUAGES = {"Hungarian": "hu", "Persian": "fa", "Indonesian": "id", "Danish": "da", "Georgian": "ka"}


def say(
    text: str, *, voice: str = "en-us", variant: str = "", rate: int = 160, pitch: int = 50, range_: int = 50
) -> Speech:
    """Speak `text`.

    voice: an eSpeak language file such as "en-us" or "de"; variant: an eSpeak voice variant such as "f2", ""
    for the language's own; rate: words a minute, 80 to 450; pitch, range_: 0 to 99 (50 is the variant's own).
    Raises ValueError for an unknown voice or variant, a number out of range and a text that gives no sound;
    RuntimeError when the library cannot be started.
    """
    if not text.strip() or "\0" in text:
        raise ValueError(f"text {text!r} is empty or holds a NUL character; give at least one plain word")
    limits = (("rate", rate, 80, 450), ("pitch", pitch, 0, 99), ("range_", range_, 0, 99))
    for name, value, low, high in limits:
        if not low <= value <= high:
            raise ValueError(f"{name} {value!r} is outside {low}..{high}; choose a value inside")
    full_name = _full_name(voice, variant)
    settings = {_RATE: int(rate), _PITCH: int(pitch), _RANGE: int(range_)}
    source_rate, raw, events = _synthesise(text, full_name, settings)
    samples = soxr.resample(raw.astype(np.float32) / 32768, source_rate, RATE)
    samples, cut = _trim(samples, text, full_name)
    return Speech(samples=samples, words=_words(text, events, cut, len(samples) / RATE))


@functools.lru_cache(maxsize=1)
def languages() -> Mapping[str, str]:
    """Lower-case language file name -> the path below eSpeak's `lang` folder, naming exactly that file."""
    folder = Path(espeakng_loader.get_data_path()) / "lang"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.name.lower(): path.relative_to(folder).as_posix() for path in files}


@functools.lru_cache(maxsize=1)
def variants() -> frozenset[str]:
    """The names of all voice variants that eSpeak ships."""
    folder = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    return frozenset(path.name for path in folder.iterdir())


_SEED = 1


class _Event(ctypes.Structure):
    """espeak_EVENT of eSpeak's speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # characters from the start of the text, counted from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


@functools.lru_cache(maxsize=1)
def _library_bytes() -> bytes:
    return Path(espeakng_loader.get_library_path()).read_bytes()


@contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """A copy of the library that no other handle can keep alive, unloaded and deleted at the end."""
    handle, path = tempfile.mkstemp(prefix="espeak-", suffix=Path(espeakng_loader.get_library_path()).suffix)
    library = None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_library_bytes())
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            raise RuntimeError(
                f"cannot load eSpeak from {path}: {error}; set TMPDIR to a folder that allows running code"
            ) from error
        yield library
    finally:
        if library is not None:
            (_ctypes.FreeLibrary if sys.platform == "win32" else _ctypes.dlclose)(library._handle)
        os.unlink(path)


def _synthesise(text: str, full_name: str, settings: Mapping[int, int]) -> tuple[int, np.ndarray, list]:
    """(sample rate, int16 samples, [(character position from 0, seconds) of each word event])."""
    chunks: list[bytes] = []
    events: list[tuple[int, float]] = []

    def receive(samples: int | None, count: int, event) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while event and event[index].type != _END_OF_EVENTS:
            if event[index].type == _WORD:
                events.append((event[index].text_position - 1, event[index].audio_position / 1000))
            index += 1
        return 0

    # These names keep the objects alive until the library has been closed.
    callback, name, words = _Callback(receive), full_name.encode(), text.encode()
    data = os.fsencode(espeakng_loader.get_data_path())
    with _fresh_library() as library:
        source_rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data, _DONT_EXIT)
        if source_rate <= 0:
            raise RuntimeError(
                f"eSpeak cannot read its data in {os.fsdecode(data)!r} (its limit is 159 bytes of path); "
                "reinstall espeakng-loader, in a folder with a shorter path if this one is longer"
            )
        # Breathy voices draw noise from a generator that eSpeak seeds by the clock.
        library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(name) != 0:
            library.espeak_Terminate()
            raise ValueError(f"eSpeak refuses the voice {full_name!r}; choose another language file")
        for number, value in settings.items():
            library.espeak_SetParameter(number, value, 0)
        library.espeak_Synth(words, ctypes.c_size_t(len(words) + 1), 0, 1, 0, _UTF8, None, None)
        library.espeak_Terminate()
    return source_rate, np.frombuffer(b"".join(chunks), dtype=np.int16), events


def _full_name(voice: str, variant: str) -> str:
    # Names are checked here because eSpeak ignores an unknown variant and may crash on some unknown voices.
    if voice.lower() not in languages():
        known = ", ".join(sorted(languages()))
        raise ValueError(f"unknown voice {voice!r}; choose one of eSpeak's language files: {known}")
    if variant and variant not in variants():
        raise ValueError(f"unknown variant {variant!r}; choose one of: {', '.join(sorted(variants()))}")
    return languages()[voice.lower()] + (f"+{variant}" if variant else "")


def _trim(samples: np.ndarray, text: str, full_name: str) -> tuple[np.ndarray, float]:
    """(samples with peak 0.9 and silent ends cut, seconds cut at the start)."""
    level = np.abs(samples)
    peak = float(level.max(initial=0.0))
    if peak < 1e-3:
        raise ValueError(f"voice {full_name!r} makes no sound of {text!r}; choose another text or voice")
    audible = np.flatnonzero(level > SILENCE * peak)
    first = max(int(audible[0]) - round(MARGIN * RATE), 0)
    last = min(int(audible[-1]) + 1 + round(MARGIN * RATE), len(samples))
    return samples[first:last] * np.float32(PEAK / peak), first / RATE


def _words(text: str, events: list[tuple[int, float]], cut: float, seconds: float) -> tuple[SpokenWord, ...]:
    """Blank-separated words with times; a word without an event of its own joins the one before it."""
    tokens = [(match.start(), match.group()) for match in re.finditer(r"\S+", text)]
    starts: dict[int, float] = {}
    for position, time in events:
        index = max((i for i, (begin, _) in enumerate(tokens) if begin <= position), default=0)
        # eSpeak repeats events for the parts of a number; the first one is the word's start.
        starts.setdefault(index, min(max(time - cut, 0.0), seconds))
    order = sorted(starts, key=lambda index: (starts[index], index))
    words = []
    for rank, index in enumerate(order):
        following = order[rank + 1] if rank + 1 < len(order) else None
        last = following if following is not None and following > index else len(tokens)
        word = " ".join(token for _, token in tokens[index:last])
        end = seconds if following is None else starts[following]
        words.append(SpokenWord(text=word.strip(".,;:!?\"'()"), start=starts[index], end=end))
    return tuple(words)
