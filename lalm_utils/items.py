"""Items: one clip + one multiple-choice question with its options and gold index.

In: a record in MMAU's schema. Out: a frozen `Item` that keeps every rule, or a `BenchmarkError` that names item,
rule and next step. Reading whole benchmarks is the business of benchmarks.py.
"""

from __future__ import annotations

import hashlib
import json
import logging
import operator
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from pathlib import Path, PureWindowsPath
from typing import Any

from lalm_utils.messages import short_repr

# What a record in MMAU's schema must have.
FIELDS = ("id", "audio_id", "question", "choices", "answer", "task")
BENCHMARKS = ("mini", "mmau", "mmar", "sakura", "sh-bench", "aqua-bench", "dcase", "mmau-pro")
MODALITIES = ("sound", "music", "speech")
LEVELS = ("", "easy", "medium", "hard")
UNANSWERABLE_KINDS = {
    "silence": "inaudible",
    "masked": "inaudible",
    "option_removed": "ungrounded",
    "wrong_category": "ungrounded",
    # AQUA-Bench's three kinds: no option is right, no option is of the right kind, the clip cannot tell
    "absent_answer": "ungrounded",
    "unfit_options": "ungrounded",
    "unfit_question": "ungrounded",
}
MAX_OPTIONS = 26  # one letter each
MAX_TEXT = 100_000  # characters of an id, a question or an option
MAX_PATH = 4096  # characters of a clip's path; resolving longer ones takes minutes

log = logging.getLogger(__name__)


class BenchmarkError(ValueError):
    """A benchmark that cannot be used as it is. The message names file, item, rule and next step."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question about one clip. Raises BenchmarkError if it breaks a rule of its own."""

    id: str  # unique within a benchmark and split
    benchmark: str  # one of BENCHMARKS, or the tool whose log the item comes from
    split: str  # "" if the file names none
    modality: str  # "sound", "music", "speech", or a mix such as "mix-sound-speech"
    question: str  # without its options
    options: tuple[str, ...]  # 2 to 26; duplicates occur in MMAU
    gold: int | None  # index of the first right option; None: unanswerable, or the answers are withheld
    declining: int | None = None  # index of an option that declines ("I don't know"); never the gold one
    clip: Path  # absolute
    category: str = ""  # SAKURA: the track; SH-Bench: the speaker; AQUA-Bench: the type
    task: str = ""  # MMAU's and MMAR's sub-category; SH-Bench: the type of clip
    level: str = ""  # "easy", "medium", "hard" or ""
    answerable: bool = True  # False only if the benchmark says so
    reason: str = ""  # why it is unanswerable, a key of UNANSWERABLE_KINDS; "" if answerable or not said
    novel: bool = False  # its content never occurs in mini's train split
    annotations: Mapping[str, Any] = field(
        default_factory=dict
    )  # ground truth of the clip; SAKURA: its label

    def __post_init__(self) -> None:
        if rule := _broken_rule(self):
            raise BenchmarkError(f"item {short_repr(self.id)}: {rule}")

    @property
    def chance(self) -> float:
        """Probability that a uniform guess is right; duplicates of the gold option are right as well."""
        right = 1 if self.gold is None else self.options.count(self.options[self.gold])
        return right / len(self.options)

    @property
    def kind(self) -> str:
        """An unanswerable item's kind, "inaudible" or "ungrounded"; "" if answerable or the benchmark does not say."""
        return UNANSWERABLE_KINDS.get(self.reason, "")

    def reordered(self, order: Sequence[int]) -> Item:
        """The same question with its options in another order: order[k] is the index of the option that comes k-th.

        The right option and the one that declines move along; of duplicates the first counts, as everywhere. Raises
        BenchmarkError for an order that is no permutation of the options' indices.
        """
        if sorted(order) != list(range(len(self.options))):
            raise BenchmarkError(
                f"item {short_repr(self.id)}: order {short_repr(list(order))} of {len(self.options)} options; give "
                f"each index from 0 to {len(self.options) - 1} once"
            )
        options = tuple(self.options[index] for index in order)
        gold, declining = (
            None if index is None else options.index(self.options[index])
            for index in (self.gold, self.declining)
        )
        return replace(self, options=options, gold=gold, declining=declining)


def question_id(clip: str, question: str, options: Sequence[str]) -> str:
    """An id from what is asked, for files whose records have none: the same question has the same id in every file.

    clip: its name, or what stands for it. options: without one that declines, so that a question asked with such an
    option and without it is one question.
    """
    digest = hashlib.sha256(json.dumps([clip, question, list(options)]).encode()).hexdigest()
    return f"{PureWindowsPath(clip).stem[:40] or 'item'}-{digest[:12]}"


def sample(items: Sequence[Item], n: int, *, seed: int = 0) -> list[Item]:
    """`n` items in their given order, as equally many of each modality as it has; all if there are no more.

    Items are ranked within their modality by a hash of seed and id, then taken in turn from each modality. So
    a sample does not depend on the order of the file, and a larger n only adds to a smaller one. A mix of
    modalities counts as a modality. Raises BenchmarkError if n is no integer of at least 1.
    """
    if isinstance(n, bool) or not hasattr(n, "__index__") or operator.index(n) < 1:
        raise BenchmarkError(f"n = {n!r}: a sample has at least 1 item; give an integer, or None for all")
    ranked: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: hashlib.sha256(f"{seed}/{item.id}".encode()).digest()):
        ranked.setdefault(item.modality, []).append(item)
    turns = zip_longest(*(ranked[modality] for modality in sorted(ranked)))
    ids = {item.id for item in [item for item in chain.from_iterable(turns) if item][:n]}
    return [item for item in items if item.id in ids]


def from_record(record: Mapping[str, Any], root: str | Path, *, benchmark: str | None = None) -> Item:
    """The item that a record in MMAU's schema describes; its clip lies under `root`, or will.

    Beyond MMAU's fields it reads answerable, unanswerable_reason, novel, declining_option (the text of the option that
    declines), truth and seconds (both in `annotations`).
    `benchmark` defaults to the record's dataset if that is one of ours, else "mmau", which names its sources
    there. MMAR alone: an empty last choice is left out and logged, as four official items end with one.
    Raises BenchmarkError.
    """
    missing = [key for key in FIELDS if key not in record]
    if missing:
        raise BenchmarkError(f"item {short_repr(record.get('id'))}: missing field {', '.join(missing)}")
    dataset = record.get("dataset")
    benchmark = benchmark or (dataset if dataset in BENCHMARKS else "mmau")
    try:
        fields = _fields(_without_stray_choice(record) if benchmark == "mmar" else record, Path(root))
    except BenchmarkError as error:
        raise BenchmarkError(f"item {short_repr(record['id'])}: {error}") from error
    return Item(benchmark=benchmark, **fields)


def _without_stray_choice(record: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = record["choices"]
    if not isinstance(choices, list) or choices[-1:] != [""]:
        return record
    log.warning("item %r of MMAR: the last choice is empty and left out", record["id"])
    return {**record, "choices": choices[:-1]}


def to_record(item: Item, root: str | Path | None = None) -> dict[str, Any]:
    """The item in MMAU's schema, so that `from_record(to_record(item, root), root)` equals it.

    `root` is the folder that audio_id is relative to, by default the one above the clip's own folder.
    `answerable` is left out where the answer is withheld. Raises BenchmarkError for a clip outside `root`.
    """
    folder = (Path(root) if root is not None else item.clip.parent.parent).resolve()
    if not item.clip.resolve().is_relative_to(folder):
        raise BenchmarkError(
            f"item {item.id!r}: clip {item.clip} lies outside {folder}; give a root above it"
        )
    truth = dict(item.annotations)
    declining = None if item.declining is None else item.options[item.declining]
    extras = {"unanswerable_reason": item.reason, "declining_option": declining}
    extras |= {"seconds": truth.pop("seconds", None), "truth": truth}
    withheld = item.gold is None and item.answerable
    return {
        "id": item.id,
        "audio_id": f"./{item.clip.resolve().relative_to(folder).as_posix()}",
        "question": item.question,
        "choices": list(item.options),
        "answer": None if item.gold is None else item.options[item.gold],
        "dataset": item.benchmark,
        "task": item.modality,
        "split": item.split,
        "category": item.category,
        "sub-category": item.task,
        "difficulty": item.level,
        **({} if withheld else {"answerable": item.answerable}),
        "novel": item.novel,
        **{key: value for key, value in extras.items() if value},
    }


def _fields(record: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Keyword arguments of Item, all but `benchmark`."""
    if not isinstance(record["choices"], list):
        raise BenchmarkError(
            f"choices {short_repr(record['choices'])} are no list; a list of texts is needed"
        )
    options = tuple(_text(option, "option") for option in record["choices"])
    gold, answerable = _gold(record, options)
    return {
        "id": _text(record["id"], "id"),
        "split": _label(record, "split"),
        "modality": _text(record["task"], "modality"),
        "question": _text(record["question"], "question"),
        "options": options,
        "gold": gold,
        "declining": _declining(record, options),
        "clip": _clip(record["audio_id"], root),
        "category": _label(record, "category"),
        "task": _label(record, "sub-category"),
        "level": _label(record, "difficulty").lower(),
        "answerable": answerable,
        "reason": _label(record, "unanswerable_reason"),
        "novel": record.get("novel", False),
        "annotations": _annotations(record),
    }


def _gold(record: Mapping[str, Any], options: tuple[str, ...]) -> tuple[int | None, bool]:
    """(index of the answer or None, answerable)."""
    answer, answerable = record["answer"], record.get("answerable", True)
    if not isinstance(answerable, bool):
        raise BenchmarkError(f"answerable {short_repr(answerable)} is neither true nor false")
    if answer is None or answer == "":
        if answerable and "answerable" in record:
            raise BenchmarkError("answerable is true, but answer empty; leave answerable out if withheld")
        return None, answerable
    if not answerable:
        raise BenchmarkError(
            f"answer {short_repr(answer)}, but answerable is false; the answer must be null then"
        )
    if isinstance(answer, list):
        raise BenchmarkError(
            f"answer {short_repr(answer)} is no text but a list; one answer an item is needed, which is an option: "
            "ask for one right option, or leave the item out"
        )
    return _index(answer, options), True


def _declining(record: Mapping[str, Any], options: tuple[str, ...]) -> int | None:
    text = record.get("declining_option")
    return None if text is None else _index(text, options, "declining_option")


def _index(answer: Any, options: tuple[str, ...], name: str = "answer") -> int:
    """First option of the same text, else the only one the same but for case, spaces and Unicode form."""
    answer = _text(answer, name)
    if answer in options:
        return options.index(answer)
    matches = [option for option in options if _normalise(option) == _normalise(answer)]
    if len(set(matches)) != 1:
        which = "more than one" if matches else "no"
        raise BenchmarkError(f"{name} {short_repr(answer)} is {which} option of {short_repr(list(options))}")
    return options.index(matches[0])


def _normalise(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        fault = "blank" if isinstance(value, str) else "no text"
        raise BenchmarkError(f"{name} {short_repr(value)} is {fault}; a text that is not blank is needed")
    return value.strip()


def _label(record: Mapping[str, Any], key: str) -> str:
    """An optional text; MMAU has 13 categories that are a list of one text. null and absent are ""."""
    value = record.get(key)
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(value, str) for value in values):
        raise BenchmarkError(f"{key} {short_repr(value)} is no text")
    return ", ".join(value.strip() for value in values)


def _annotations(record: Mapping[str, Any]) -> dict[str, Any]:
    truth, seconds = record.get("truth") or {}, record.get("seconds")
    if not isinstance(truth, Mapping):
        raise BenchmarkError(f"truth {short_repr(truth)} is no object")
    return dict(truth) if seconds is None else {**truth, "seconds": seconds}


def _clip(name: Any, root: Path) -> Path:
    """Absolute path of a clip, which may not leave `root` by its name nor through a link."""
    name = _text(name, "clip")
    if len(name) > MAX_PATH:
        raise BenchmarkError(
            f"clip {short_repr(name)} is no path: {len(name):,} characters, at most {MAX_PATH:,}"
        )
    parts = PureWindowsPath(name)  # knows both kinds of slash, and drives
    try:
        folder = root.resolve()
        clip = _in_any_form(folder, name).resolve()
        # Python 3.13 leaves a loop of links as it is, and raises nothing
        if any(map(os.path.islink, (clip, *clip.parents))):
            raise RuntimeError("a link that leads to itself")
    except (OSError, RuntimeError, ValueError) as error:
        raise BenchmarkError(f"clip {short_repr(name)} is no path ({error})") from error
    if parts.anchor or ".." in parts.parts or not clip.is_relative_to(folder):
        raise BenchmarkError(
            f"clip {short_repr(name)} leaves the folder {folder}; clips, and links to them, stay inside"
        )
    return clip


def _in_any_form(folder: Path, name: str) -> Path:
    """The file of that name, if need be with Windows' slashes turned or in another Unicode form.

    Some systems decompose the letters of names.
    """
    path = folder / name
    if (name.isascii() and "\\" not in name) or path.exists():
        return path
    name = name.replace("\\", "/")
    path = folder
    for part in Path(name).parts:
        forms = (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD")))
        path /= next((form for form in forms if (path / form).exists()), part)
    return path


def _broken_rule(item: Item) -> str:
    """The first rule that the item breaks, in words; "" if none."""
    texts = (item.id, item.question, *item.options)
    if not all(isinstance(text, str) and text.strip() for text in texts):
        return f"blank or no text among id, question and options {short_repr(texts)}"
    if longest := next((text for text in texts if len(text) > MAX_TEXT), ""):
        return f"{short_repr(longest)} has {len(longest):,} characters; a text has at most {MAX_TEXT:,}"
    parts = item.modality.removeprefix("mix-").split("-")
    if unknown := set(parts) - set(MODALITIES):
        return (
            f"modality {short_repr(item.modality)} with {short_repr(sorted(unknown))}; sound, music, speech, "
            "mix-... of them"
        )
    if len(set(parts)) < len(parts):
        return f"modality {short_repr(item.modality)} names one twice; sound, music, speech, mix-... of them"
    if not 2 <= len(item.options) <= MAX_OPTIONS:
        return f"number of options is {len(item.options)}; there must be 2 to {MAX_OPTIONS}"
    if item.gold is not None and not (item.answerable and item.gold in range(len(item.options))):
        return f"gold {short_repr(item.gold)}; an index of the options, or None, which an unanswerable item must have"
    if item.declining is not None and item.declining not in range(len(item.options)):
        return f"declining {short_repr(item.declining)}; an index of the options, or None"
    if None not in (item.declining, item.gold) and item.options[item.declining] == item.options[item.gold]:
        return f"the option that declines, {short_repr(item.options[item.gold])}, is the answer; it is one or the other"
    if item.reason and (item.answerable or item.reason not in UNANSWERABLE_KINDS):
        return f"reason {short_repr(item.reason)}; none if answerable, otherwise one of {', '.join(UNANSWERABLE_KINDS)}"
    if item.level not in LEVELS:
        return f"level {short_repr(item.level)}; easy, medium, hard or empty"
    if not isinstance(item.novel, bool):
        return f"novel {short_repr(item.novel)}; it must be true or false"
    return ""
