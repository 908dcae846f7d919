"""Options as replies are compared with them: folded, without labels of their own, and in other forms that they take.

In: the texts of the options. Out: `prepare`, an `Options`. Not known here: replies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from lalm_utils.cues import CUES
from lalm_utils.refusals import find_refusals, is_declining
from lalm_utils.wording import holds_number, tidy, words

CLASH = -1  # stands where there is no option's index: two options, or none on offer
_LONGEST_MENTION = 200  # words
_SPOKEN = {"yes": ("yeah", "yep", "yup"), "no": ("nope", "nah")}
_LONE = frozenset(
    (*"none both neither either maybe all other same".split(), *_SPOKEN, *sum(_SPOKEN.values(), ()))
)
_OPPOSITES = {
    "true": "false", "right": "wrong", "present": "absent", "correct": "incorrect", "audible": "inaudible",
    "accurate": "inaccurate", "consistent": "inconsistent", "valid": "invalid",
}  # fmt: skip
_PREFIXES = ("un", "im", "dis", "non")  # "intense" does not deny "tense"
_IS_NOT = ("not", "isnt", "wasnt", "arent")
_CHANGES = frozenset(  # verbs of questions on how something goes: it increases, it is increasing
    "increase decrease rise fall ascend descend accelerate decelerate slow speed fade grow drop stay remain vary "
    "fluctuate alternate change".split()
)


@dataclass(frozen=True)
class Options:
    """The options as they are compared. raw: as given; texts: without labels of their own; aliases: other forms that
    one option alone has; table: by first word, every (words, choice, kind) to look for, as `join_words` joins them."""

    raw: tuple[str, ...]
    texts: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    aliases: dict[tuple[str, ...], int]
    table: dict[str, list[tuple[str, int, str]]]
    numeric: bool

    def first(self, hits: Iterable[int]) -> int | None:
        """The option that all hits mean, the first of its text; CLASH if they differ, None without hits."""
        meanings = {self.texts.index(self.texts[hit]) if hit >= 0 else CLASH for hit in hits}
        return None if not meanings else meanings.pop() if len(meanings) == 1 else CLASH

    @cached_property
    def casefolds(self) -> tuple[str, ...]:
        return tuple(text.casefold() for text in self.texts)

    @cached_property
    def longest(self) -> int:
        """More characters than any text that gives an option and nothing else."""
        return 80 + 2 * max(map(len, self.raw))

    @cached_property
    def letters(self) -> frozenset[str]:
        """The options that are themselves one letter, if one of these also names a position."""
        letters = frozenset(text.casefold() for text in self.texts if is_letter(text))
        return letters if any(ord(letter) - ord("a") < len(self.texts) for letter in letters) else frozenset()

    @cached_property
    def refusals(self) -> frozenset[int]:
        return frozenset(i for i, text in enumerate(self.texts) if find_refusals(text) or is_declining(text))

    def equal(self, text: str) -> int | None:
        """The option whose text this is: exactly, else but for case, else word by word, else in another form."""
        for forms, form in ((self.raw, text), (self.texts, text), (self.casefolds, text.casefold())):
            if form in forms and form:
                return self.first(i for i, option in enumerate(forms) if option == form)
        if len(text) > self.longest:
            return None
        key = _key(text, self.numeric)
        hits = [i for i, option in enumerate(self.keys) if option and option == key]
        return self.first(hits) if hits else self.aliases.get(key)

    def is_text(self, letter: str) -> bool:
        """Whether a bare letter may be an option's text, so that it is no position."""
        return len(self.letters) > 1 or letter.casefold() in self.letters

    def at(self, letter: str) -> int:
        """The option at a letter; CLASH beyond the last."""
        index = ord(letter.lower()) - ord("a")
        return self.texts.index(self.texts[index]) if index < len(self.texts) else CLASH


@lru_cache(maxsize=4096)  # the questions of a whole benchmark, which each method asks anew
def prepare(option_texts: tuple[str, ...]) -> Options:
    raw = tuple(tidy(option).strip() for option in option_texts)
    texts = without_labels(raw)
    keys = tuple(_key(text, False) for text in texts)
    numeric = all(map(holds_number, keys))
    if numeric:  # perhaps: "one of them" holds none
        number_keys = tuple(_key(text, True) for text in texts)
        numeric = all(any(word[-1:].isdigit() for word in key) for key in number_keys)
        numeric = numeric and len(set(number_keys)) == len(set(texts))
        keys = number_keys if numeric else keys
    entries = [(key, _mention_kind(key), i) for i, key in enumerate(keys)]
    if numeric and len({key[1:] for key in keys}) == 1 and keys[0][1:]:
        entries += [(key[:1], "value", i) for i, key in enumerate(keys)]
    aliases = _aliases(texts, keys, numeric)
    aliases |= {_key(text, numeric): i for i, text in enumerate(raw) if text != texts[i]}
    entries += [(key, _mention_kind(key), choice) for key, choice in aliases.items()]
    options = Options(raw, texts, keys, aliases, {}, numeric)
    for key, kind, _ in sorted(entries, key=lambda entry: -len(entry[0])):
        if len(key) > _LONGEST_MENTION:
            continue
        same = [choice for other, _, choice in entries if other == key]
        options.table.setdefault("".join(key[:1]), []).append((join_words(key), options.first(same), kind))
    return options


def _mention_kind(key: tuple[str, ...]) -> str:
    if len(key) != 1 or not (key[0] in _LONE or is_letter(key[0])):
        return "text"
    return "lone" if key[0] in _LONE else "value"


def without_labels(raw: tuple[str, ...]) -> tuple[str, ...]:
    """The options without labels of their own ("(A) Man", "1. Man"), where all have one, in order."""
    labels = [CUES.OWN_LABEL.match(text) for text in raw]
    names = [(label["a"] or label["b"]).lower() for label in labels if label]
    letters, numbers = (
        ([chr(ord("a") + i) for i in range(len(raw))] if len(raw) < 27 else []),
        [str(i + 1) for i in range(len(raw))],
    )
    if not 2 <= len(raw) == len(names) or names not in (letters, numbers):
        return raw
    return tuple(text[label.end() :] for text, label in zip(raw, labels))


def _aliases(
    texts: Sequence[str], keys: Sequence[tuple[str, ...]], numeric: bool
) -> dict[tuple[str, ...], int]:
    """Other forms of the options' texts, where one option alone has them."""
    forms: dict[tuple[str, ...], set[int]] = {}
    for text, key in zip(texts, keys):
        if len(key) <= 12:
            for form in {
                *_derived_forms(key),
                *_verb_forms(key),
                *_key_forms(text),
                *_pair_forms(text, numeric),
            }:
                forms.setdefault(form, set()).add(texts.index(text))
    for choice, form in _denials_of_the_other(keys):
        forms.setdefault(form, set()).add(choice)
    return {form: choices.pop() for form, choices in forms.items() if len(choices) == 1 and form not in keys}


def _derived_forms(key: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """sad: sadness; disgust: disgusted; lawn mower: lawnmower; it plays softly: plays softly; yes: yeah."""
    word = key[0] if len(key) == 1 else ""
    yield from ((form,) for form in _SPOKEN.get(word, ()))
    if word.isalpha() and word.isascii() and len(word) > 2 and word not in _LONE:
        yield ((word[:-1] + "i" if word[-1] == "y" else word) + "ness",)
        yield from [(word + ("d" if word[-1] == "e" else "ed"),)] if len(word) > 3 else []
        if word.endswith("ness") and len(word) > 6:
            stem = word.removesuffix("ness")
            yield (stem[:-1] + "y" if stem[-1] == "i" else stem,)
        if word.endswith("ed") and len(word) > 7:
            yield from ((word[:-2],), (word[:-1],))
    if len(key) == 2 and len("".join(key)) > 6 and all(part.isalpha() for part in key):
        yield ("".join(key),)
    if len(key) > 1 and key[-1] in ("speaker", "voice", "singer", "person"):
        yield (*key[:-1], key[-1] + "'s")
    if len(key) > 2 and key[0] in ("it", "they", "he", "she"):
        yield key[1:]


def _denials_of_the_other(keys: Sequence[tuple[str, ...]]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Of two options that exclude each other, what denies the other: false: not true; correct: not incorrect."""
    names = [key[0] if len(key) == 1 else "" for key in keys]
    for i, name in enumerate(names if len(names) == 2 else ()):
        other = names[1 - i]
        opposite = _OPPOSITES.get(name) == other or _OPPOSITES.get(other) == name
        prefixed = any(
            long == prefix + short for prefix in _PREFIXES for long, short in ((name, other), (other, name))
        )
        if name and other and (opposite or prefixed):
            yield from ((i, (word, other)) for word in _IS_NOT)


def _verb_forms(key: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """increase then fall: increases then falls, increasing then falling; each of these from any other."""
    stems = [_STEMS.get(word) for word in key]
    if any(stems):
        for form in range(3):
            yield tuple(_inflected(stem)[form] if stem else word for stem, word in zip(stems, key))


def _inflected(verb: str) -> tuple[str, str, str]:
    """increase, increases, increasing; of the verbs of _CHANGES."""
    third = verb[:-1] + "ies" if verb == "vary" else verb + "s"
    return verb, third, verb.removesuffix("e") + ("ping" if verb == "drop" else "ing")


_STEMS = {form: verb for verb in _CHANGES for form in _inflected(verb)}


def _key_forms(text: str) -> Iterator[tuple[str, ...]]:
    """C#m: c# minor, c sharp minor; Gb major: g flat major, gb; the keys and chords of music in words."""
    note = re.fullmatch(r"([A-G])([#♯b♭]?)\s?-?(m|min|minor|M|maj|major)", text)
    if note:
        letter, accidental = note[1].lower(), {"♯": "#", "♭": "b"}.get(note[2], note[2])
        mode = "minor" if note[3] in ("m", "min", "minor") else "major"
        for root in (
            (letter + accidental,),
            (letter, "sharp" if accidental == "#" else "flat") if accidental else (letter,),
        ):
            yield from ((*root, mode), (*root, mode[:3]))
            yield from [(*root, "m")] if mode == "minor" else []


def _pair_forms(text: str, numeric: bool) -> Iterator[tuple[str, ...]]:
    """barista-customer: barista and customer; 0.0 - 1.6: 0.0 to 1.6 seconds."""
    if text.count(",") > 1:
        yield _key(" and".join(text.rsplit(",", 1)), numeric)
    pair = re.fullmatch(r"([^\W\d_]{3,})-([^\W\d_]{3,})", text)
    if pair:
        yield (pair[1].casefold(), "and", pair[2].casefold())
    span = re.fullmatch(
        r"(\d[\d.:]*)\s*(?:s|sec|seconds)?\s*(?:-|to)\s*(\d[\d.:]*)\s*(?:s|sec|seconds)?", text
    )
    if span and numeric:
        start, end = _key(span[1], numeric) + _key(span[2], numeric)
        yield from ((start, "to", end), (start, "and", end), (start, end))
        yield from (
            (start, "second", "to", end, "second"),
            (start, "to", end, "second"),
            (start, "and", end, "second"),
        )


@lru_cache(maxsize=1024)  # a sentence is compared by several rules
def _key(text: str, numbers: bool) -> tuple[str, ...]:
    return tuple(word.text for word in words(text, numbers))


def join_words(key: Iterable[str]) -> str:
    """Words on one line, each with its end, so that a run of words is found by comparing texts."""
    return "".join(f"{word}\0" for word in key)


def is_letter(text: str) -> bool:
    return len(text) == 1 and text.isascii() and text.isalpha()
