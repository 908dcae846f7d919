"""The wording of replies: one unicode form, words folded for comparison, quotations; patterns over several lines.

In: texts. Out: `tidy`, one unicode form of a text; `words`, what comparisons see of it (no case, no articles, no
punctuation, numbers and units in one form on request); `quotations`; `mask`; `expand` and `parts`, with which long
patterns are written as tables. Not known here: options and refusals.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

_MARKS = "".join(mark for mark in map(chr, range(0x300, 0x10000)) if unicodedata.category(mark)[0] == "M")
_FOLD = str.maketrans(
    dict.fromkeys("‘’‚‛`´ʼ′", "'")
    | dict.fromkeys("“”„‟«»「」『』″", '"')
    | dict.fromkeys("‐‑‒–−﹣", "-")
    | dict.fromkeys("—―", " - ")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad\r")
    | {"İ": "I"}
)
# Patterns that begin with what may repeat, and the ordering of combining marks, take the square of a run's length.
_RUN = re.compile(r"([\W\uff9e\uff9f]{100})[\W\uff9e\uff9f]+")
_WORD = re.compile(
    rf"(?:(?<!\S)-(?=\d))?[^\W_](?:[^\W_]|[{_MARKS}]|(?<=\d)[.,:](?=\d)|'(?=[^\W\d_]))*[#♯♭°+%]*"
)
_SMALL = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen".split()
    )
} | {
    word: 10 * tens
    for tens, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_TIMES = {"once": "1", "twice": "2", "thrice": "3"}
_NUMBERS = frozenset((*_SMALL, *_TIMES, "none"))
_PRONOUN_BEFORE = frozenset("the this that which each every no any another".split())
_PRONOUN_AFTER = frozenset("of can could may might must would should cannot has hears".split())
_JOINTS = ("", "-", "/", "_", "&")
_UNITS = {
    form: unit
    for unit, forms in {
        "second": "s sec secs second seconds", "minute": "min mins minute minutes", "hour": "h hr hrs hour hours",
        "hz": "hz hertz", "khz": "khz kilohertz", "db": "db decibel decibels", "bpm": "bpm", "percent": "percent",
        "ms": "ms millisecond milliseconds", "km": "km kilometer kilometers kilometre kilometres",
        "meter": "m meter meters metre metres",
    }.items()
    for form in forms.split()
}  # fmt: skip
_QUOTE = re.compile(r"\"|(?P<opening>(?<!\w)'(?=\w))|(?P<closing>(?<=[\w.,!?])'(?!\w))|\n")
_GLUED = re.compile(r"(\d[\d.,:]*)([a-z]+)")
_ZEROS = re.compile(r"(-?\d+)(?:\.0+|(\.\d*[1-9])0+)")
_ACCIDENTALS = {"♯": "#", "♭": "b"}
_LITTLE = frozenset(("a", "an", "and", "the"))  # the only words that _article looks at
_KEYS = frozenset("major minor maj min flat sharp dorian phrygian lydian mixolydian".split())


class Word(NamedTuple):
    """A folded word, where it stands, and whether it is joined to the one before (post-rock)."""

    text: str
    start: int
    end: int
    joined: bool = False


def tidy(text: str) -> str:
    """NFKC with straight quotes, plain hyphens and no invisible characters; letter case and lines stay.

    Of a run of blanks, punctuation or combining marks, the first 100 are kept.
    """
    return unicodedata.normalize("NFKC", _RUN.sub(r"\1", text.translate(_FOLD))).translate(_FOLD)


def words(text: str, numbers: bool) -> list[Word]:
    """The words of a tidied text without articles; numbers: number words become digits."""
    result, last = [], 0
    for match in _WORD.finditer(text):
        start, end = match.span()
        raw = match[0]
        plain = raw.casefold()
        if not raw.isalpha():
            if plain[-1] in _ACCIDENTALS:  # F♯ is F#, and B♭ is Bb
                plain = plain[:-1] + _ACCIDENTALS[plain[-1]]
            if "'" in plain or "," in plain:
                plain = re.sub(r"'(?!s$)|(?<=\d),(?=\d{3})", "", plain)
            glued = _GLUED.fullmatch(plain) if numbers and len(plain) == end - start else None
        else:
            glued = None  # most words: nothing but letters
        joined = last > 0 and text[last:start] in _JOINTS
        if glued and glued[2] in _UNITS:
            joint = start + len(glued[1])
            result += [Word(glued[1], start, joint, joined), Word(glued[2], joint, end)]
        else:
            result.append(Word(plain, start, end, joined))
        last = end
    result = _digits([_without_zeros(word) for word in result], text) if numbers else result
    telling = [
        word
        for word, after in zip(result, [*result[1:], None])
        if word.text not in _LITTLE or not _article(word, after, text)
    ]
    return telling or result


def _without_zeros(word: Word) -> Word:
    """60.0 as 60, and 2.50 as 2.5."""
    number = _ZEROS.fullmatch(word.text) if "." in word.text else None
    return word._replace(text=number[1] + (number[2] or "")) if number else word


def holds_number(key: Iterable[str]) -> bool:
    """Whether any of the folded words may be read as a number."""
    return any(word in _NUMBERS or any(map(str.isdigit, word)) for word in key)


def _article(word: Word, after: Word | None, text: str) -> bool:
    if word.text != "a":
        return word.text in ("the", "an") or (
            word.text == "and" and text[max(0, word.start - 3) : word.start].rstrip(" ")[-1:] == ","
        )
    return after is not None and text[word.end : after.start].isspace() and after.text not in _KEYS


def _digits(words: list[Word], text: str) -> list[Word]:
    """Number words as digits ("twice": "2", "time"); the unit after a number loses its plural s."""
    result: list[Word] = []
    i = 0
    while i < len(words):
        word, (value, stop) = words[i], _number(words, i, text)
        if word.text in _TIMES:
            result += [word._replace(text=_TIMES[word.text]), Word("time", word.start, word.end)]
        elif stop > i and not (word.text == "one" and _pronoun(words, i)):
            result.append(Word(str(value), word.start, words[stop - 1].end, word.joined))
        elif word.text == "none" and not (i + 1 < len(words) and words[i + 1].text == "of"):
            result.append(word._replace(text="0"))
        elif result and result[-1].text[-1].isdigit():
            if [part.text for part in words[i : i + 3]] == ["beats", "per", "minute"]:
                word, stop = Word("bpm", word.start, words[i + 2].end), i + 3
            unit = _UNITS.get(word.text, word.text.removesuffix("s") or word.text)
            result.append(word._replace(text=unit))
        else:
            result.append(word)
        i = max(stop, i + 1)
    return result


def _pronoun(words: list[Word], i: int) -> bool:
    return (i > 0 and words[i - 1].text in _PRONOUN_BEFORE) or (
        i + 1 < len(words) and words[i + 1].text in _PRONOUN_AFTER
    )


def _number(words: list[Word], i: int, text: str) -> tuple[int, int]:
    """The number that starts at word i and the index after it; (0, i) if there is none."""
    total, current, room, stop = 0, 0, 1_000, i
    for j in range(i, len(words)):
        word = words[j].text
        if j > i and text[words[j - 1].end : words[j].start] not in (
            (" ", "-", ", ") if room >= 100 else (" ", "-")
        ):
            break
        if word in _SMALL and _SMALL[word] < room and (_SMALL[word] or j == i):
            current, room = current + _SMALL[word], 10 if _SMALL[word] >= 20 else 0
        elif word in _SCALES and current and (word != "hundred" or current < 100):
            total, current = (
                (total, current * 100) if word == "hundred" else (total + current * _SCALES[word], 0)
            )
            room = 100 if word == "hundred" else 1_000
        elif not (word == "and" and room >= 100 and j > i):
            break
        if word != "and":
            stop = j + 1
    return total + current, stop


def quotations(text: str) -> Iterator[tuple[int, int]]:
    """Spans between paired quotation marks, double or single, opened and closed within one line."""
    starts: dict[str, int] = {}
    if '"' not in text and "'" not in text:
        return
    for mark in _QUOTE.finditer(text):
        if mark[0] == "\n":
            starts.clear()
        elif mark[0] in starts and mark.lastgroup != "opening":
            yield starts.pop(mark[0]), mark.end()
        elif mark.lastgroup != "closing":
            starts[mark[0]] = mark.start()


def mask(text: str, spans: Iterable[tuple[int, int]], sign: str = "_") -> str:
    """The text with a sign in place of each character of the (start, end) spans."""
    letters = list(text)
    for start, end in spans:
        letters[start:end] = sign * (end - start)
    return "".join(letters)


def expand(pattern: str, definitions: Mapping[str, str]) -> str:
    """A pattern that is written over several lines, with the parts that it names in braces."""
    return re.sub(r"\{([A-Z_]+)\}", lambda name: definitions[name[1]], re.sub(r"\n\s*", "", pattern))


def parts(table: str) -> dict[str, str]:
    """The patterns of a table of `NAME = pattern`, with comments; a pattern may name those above it."""
    definitions: dict[str, str] = {}
    table = re.sub(r"^ *# .*\n", "", table, flags=re.MULTILINE)
    for name, pattern in re.findall(
        r"^ *([A-Z_]+) =((?:.*\n)(?:(?! *[A-Z_]+ =).*\n?)*)", table, re.MULTILINE
    ):
        definitions[name] = expand(pattern.strip(), definitions)
    return definitions
