"""Hostile questions: names of clips, question files, items, SAKURA's tables and predictions.

Each builder writes into a folder and returns what the table's function takes: `named` a record and its folder,
`asked` a path, `scored` the path of a predictions file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostile import cases

from lalm_utils.benchmarks import MAX_BYTES, load
from lalm_utils.cli.score import score
from lalm_utils.items import Item, from_record

MMAU = {
    "id": "a1", "audio_id": "./clips/a1.wav", "question": "What barks?", "choices": ["A dog", "A cat"],
    "answer": "A dog", "task": "sound", "split": "test-mini", "difficulty": "hard",
}  # fmt: skip
MMAR = {
    "id": "r1", "audio_path": "./audio/r1.wav", "question": "Who?", "choices": ["A man", "A woman"],
    "answer": "A man", "modality": "speech",
}  # fmt: skip
HEADER = "file,attribute_label,single_instruction,single_answer,multi_instruction,multi_answer\n"
ROW = "dog1.wav,dog,Which? (a) cat (b) dog,(b) dog,What? (a) It barks. (b) It mews.,(a) It barks.\n"
Build = Callable[[Path], Any]


# What is done with what a builder returns


def parse_record(case: tuple[dict, Path]) -> Item:
    """The item of a record whose clips lie in a folder."""
    return from_record(*case)


def load_items(path: Path) -> list[Item]:
    """The items of a benchmark, without its audio."""
    return load(path, need_clips=False)


def load_checked_items(path: Path) -> list[Item]:
    """The items of a benchmark, whose clips are looked at."""
    return load(path)


def score_file(path: Path) -> dict[str, Any]:
    """The report on a predictions file."""
    return score(path, n_boot=10, official=True)


# Builders


def record(**changes: Any) -> Build:
    return lambda folder: ({**MMAU, **changes}, folder)


def without(key: str) -> Build:
    return lambda folder: ({name: value for name, value in MMAU.items() if name != key}, folder)


def file(content: Any, name: str = "q.json") -> Build:
    """A question file of these bytes, this text, or of this value as JSON."""

    def build(folder: Path) -> Path:
        path, value = folder / name, content() if callable(content) else content
        path.parent.mkdir(parents=True, exist_ok=True)
        text = value if isinstance(value, bytes | str) else json.dumps(value)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return build


def lines(*records: dict, end: str = "\n") -> str:
    return "".join(json.dumps(each) + end for each in records)


def padded(size: int) -> Build:
    """A question file that is followed by so many bytes of nothing."""

    def build(folder: Path) -> Path:
        path = file([MMAU])(folder)
        os.truncate(path, size)
        return path

    return build


def table(content: str | bytes, track: str = "Animal") -> Build:
    return lambda folder: file(content, f"data/{track}/metadata.csv")(folder).parents[2]


def with_row(**fields: str) -> Build:
    """SAKURA's table of one row, with fields in place of the good ones, written as they are."""
    names = HEADER.strip().split(",")
    good = dict(zip(names, ROW.strip().split(","), strict=True)) | fields
    return table(HEADER + ",".join(good[name] for name in names) + "\n")


def predictions(*changes: dict) -> Build:
    """A predictions file: one right reply, and one with these changes."""
    good = {**MMAU, "response": "A dog"}
    return file([{**good, "id": "first"}, *({**good, **change} for change in changes)], "p.json")


def linked(target: Callable[[Path], str | Path], link: str = "clips") -> Build:
    """A record whose clip lies behind a link in its folder; beside the folder lies a clip that is not its."""

    def build(folder: Path) -> tuple[dict, Path]:
        (folder / "elsewhere").mkdir()
        (folder / "elsewhere" / "a1.wav").write_bytes(b"secret")
        root = folder / "benchmark"
        root.mkdir()
        if "/" in link:
            (root / link).parent.mkdir(parents=True)
        (root / link).symlink_to(target(folder))
        return MMAU, root

    return build


def special(kind: str, name: str) -> Build:
    """A pipe, a folder or a link to a device in place of a file."""

    def build(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(kind)
        return path

    return build


def a_benchmark_of_pipes(folder: Path) -> Path:
    (folder / "clips").mkdir()
    os.mkfifo(folder / "clips" / "a1.wav")
    return file([MMAU])(folder)


def nested(opening: str, depth: int, closing: str = "") -> str:
    return opening * depth + closing * depth


# Checks


def inside(item: Item) -> bool:
    """The clip is where the name says, under the folder, whatever the name looks like."""
    return item.clip.is_absolute() and ".." not in item.clip.parts and item.gold == 0


def is_single(items: list[Item]) -> bool:
    return len(items) == 1 and items[0].options[items[0].gold] in ("A dog", "A man", "dog")


def has(**facts: Any) -> Callable[[Item], bool]:
    return lambda item: all(getattr(item, name) == value for name, value in facts.items())


def counts(**expected: int) -> Callable[[dict], bool]:
    """The five outcomes of a report, which sum to its items."""

    def check(report: dict) -> bool:
        overall = report["overall"]
        names = ("correct", "wrong", "refused", "unreadable", "failed")
        return {name: overall[name] for name in names if overall[name]} == expected and overall["n"] == sum(
            expected.values()
        )

    return check


SCRIPT = "<script>alert('A dog')</script>"
LEAVES, NO_PATH = "leaves the folder .*; clips, and links to them, stay inside", "is no path"
NAMES = [
    ("path escapes", "one up", record(audio_id="../a1.wav"), LEAVES),
    ("path escapes", "up and down again", record(audio_id="clips/../clips/a1.wav"), LEAVES),
    ("path escapes", "far up", record(audio_id="../" * 1_000 + "etc/passwd"), LEAVES),
    ("path escapes", "absolute", record(audio_id="/etc/passwd"), LEAVES),
    ("path escapes", "absolute, with two slashes", record(audio_id="//etc/passwd"), LEAVES),
    ("path escapes", "a drive", record(audio_id="C:\\clips\\a1.wav"), LEAVES),
    ("path escapes", "a drive without a slash", record(audio_id="C:a1.wav"), LEAVES),
    ("path escapes", "a share", record(audio_id="\\\\host\\share\\a1.wav"), LEAVES),
    ("path escapes", "up by backslashes", record(audio_id="..\\..\\a1.wav"), LEAVES),
    ("path escapes", "up by both slashes", record(audio_id="clips/..\\../a1.wav"), LEAVES),
    ("path escapes", "a null", record(audio_id="clips/a1\0.wav"), NO_PATH),
    ("path escapes", "half a surrogate pair", record(audio_id="a\ud800.wav"), NO_PATH),
    (
        "path escapes",
        "a million characters",
        record(audio_id="a" * 1_000_000),
        r"is no path: 1,000,000 characters, at most",
    ),
    (
        "path escapes",
        "half a million folders",
        record(audio_id="a/" * 500_000),
        r"is no path: 1,000,000 characters",
    ),
    ("path escapes", "2,000 folders", record(audio_id="a/" * 2_000 + "a.wav"), lambda item: inside(item)),
    ("path escapes", "a home", record(audio_id="~/a1.wav"), inside),
    ("path escapes", "the home of another", record(audio_id="~root/a1.wav"), inside),
    ("path escapes", "an address", record(audio_id="http://169.254.169.254/a1.wav"), inside),
    ("path escapes", "an address of a file", record(audio_id="file:///etc/passwd"), inside),
    ("path escapes", "per cent in place of dots", record(audio_id="%2e%2e/%2e%2e/etc/passwd"), inside),
    ("path escapes", "a variable", record(audio_id="$HOME/a1.wav"), inside),
    ("path escapes", "a command", record(audio_id="`id`;$(id)|a1.wav"), inside),
    ("path escapes", "dots that only look like dots", record(audio_id="\u2025/\uff0e\uff0e/a1.wav"), inside),
    ("path escapes", "an accent in two forms", record(audio_id="e\u0301.wav"), inside),
    ("path escapes", "three dots", record(audio_id=".../a1.wav"), inside),
    ("path escapes", "the folder itself", record(audio_id="."), inside),
    ("path escapes", "blank", record(audio_id=" "), "clip ' ' is blank"),
    ("path escapes", "a number", record(audio_id=7), "clip 7 is no text"),
    ("path escapes", "a list", record(audio_id=["a1.wav"]), r"clip \['a1.wav'\] is no text"),
    (
        "symlinks out of the folder",
        "a folder that leads out",
        linked(lambda folder: folder / "elsewhere"),
        LEAVES,
    ),
    ("symlinks out of the folder", "by a relative path", linked(lambda folder: "../elsewhere"), LEAVES),
    (
        "symlinks out of the folder",
        "a file that leads out",
        linked(lambda folder: folder / "elsewhere" / "a1.wav", "clips/a1.wav"),
        LEAVES,
    ),
    ("symlinks out of the folder", "to the root", linked(lambda folder: "/"), LEAVES),
    ("symlinks out of the folder", "to a device", linked(lambda folder: "/dev/zero", "clips/a1.wav"), LEAVES),
    (
        "symlinks out of the folder",
        "out by nothing that is there",
        linked(lambda folder: folder / "gone"),
        LEAVES,
    ),
    ("symlinks out of the folder", "to itself", linked(lambda folder: "clips"), NO_PATH),
    ("symlinks out of the folder", "within the folder", linked(lambda folder: "sounds"), inside),
]

ITEMS = [
    *[
        ("broken items", f"no {key}", without(key), f"item .*: missing field {key}")
        for key in ("id", "audio_id", "question", "choices", "answer", "task")
    ],
    ("broken items", "an id that is a number", record(id=7), "id 7 is no text; a text that is not blank"),
    ("broken items", "an id that is a list", record(id=["a"]), r"id \['a'\] is no text"),
    ("broken items", "an id of blanks", record(id=" \t"), r"id ' \\t' is blank"),
    (
        "broken items",
        "an id of a megabyte",
        record(id="x" * 1_000_000),
        "has 1,000,000 characters; a text has at most 100,000",
    ),
    ("broken items", "a question that is null", record(question=None), "question None is no text"),
    (
        "broken items",
        "a question of a megabyte",
        record(question="x" * 1_000_000),
        "has 1,000,000 characters",
    ),
    (
        "broken items",
        "choices that are a text",
        record(choices="A dog"),
        "choices 'A dog' are no list; a list of texts is needed",
    ),
    (
        "broken items",
        "choices that are an object",
        record(choices={"A": "A dog"}),
        r"choices \{'A': 'A dog'\} are no list",
    ),
    ("broken items", "choices that are numbers", record(choices=[1, 2], answer="1"), "option 1 is no text"),
    (
        "broken items",
        "choices that are lists",
        record(choices=[["A dog"], ["A cat"]]),
        r"option \['A dog'\] is no text",
    ),
    ("broken items", "a choice that is blank", record(choices=["A dog", " "]), "option ' ' is blank"),
    ("broken items", "an empty list of choices", record(choices=[]), "answer 'A dog' is no option of"),
    (
        "broken items",
        "one choice",
        record(choices=["A dog"]),
        "number of options is 1; there must be 2 to 26",
    ),
    ("broken items", "choices that are all alike", record(choices=["A dog"] * 3), has(gold=0, chance=1.0)),
    (
        "broken items",
        "the answer twice among them",
        record(choices=["A cat", "A dog", "A dog"]),
        has(gold=1, chance=2 / 3),
    ),
    (
        "broken items",
        "an answer that is none of them",
        record(answer="A horse"),
        r"answer 'A horse' is no option of \['A dog', 'A cat'\]",
    ),
    (
        "broken items",
        "an answer that is two of them",
        record(answer="DOG", choices=["dog", "Dog"]),
        "answer 'DOG' is more than one option",
    ),
    (
        "broken items",
        "an answer in another Unicode form",
        record(answer="Ｄog", choices=["Dog", "Cat"]),
        has(gold=0),
    ),
    ("broken items", "an answer that is its index", record(answer=0), "answer 0 is no text"),
    ("broken items", "an answer that is a list", record(answer=["A dog"]), r"answer \['A dog'\] is no text"),
    ("broken items", "an answer that is withheld", record(answer=""), has(gold=None, answerable=True)),
    (
        "broken items",
        "unanswerable with an answer",
        record(answerable=False),
        "answer 'A dog', but answerable is false",
    ),
    (
        "broken items",
        "answerable as a text",
        record(answerable="no"),
        "answerable 'no' is neither true nor false",
    ),
    ("broken items", "an unknown modality", record(task="video"), r"modality 'video' with \['video'\]"),
    (
        "broken items",
        "a mix that names one a thousand times",
        record(task="mix-" + "-".join(["sound"] * 1_000)),
        "names one twice",
    ),
    (
        "broken items",
        "a modality that is an object",
        record(task={"a": 1}),
        r"modality \{'a': 1\} is no text",
    ),
    (
        "broken items",
        "a difficulty of its own",
        record(difficulty="fiendish"),
        "level 'fiendish'; easy, medium, hard or empty",
    ),
    (
        "broken items",
        "a split that is an object",
        record(split={"a": [1] * 10_000}),
        r"split \{'a': \[1, 1, .*\.\.\..* is no text",
    ),
    ("broken items", "truth that is a list", record(truth=[1]), r"truth \[1\] is no object"),
    (
        "broken items",
        "novel that is not a number",
        record(novel=float("nan")),
        "novel nan; it must be true or false",
    ),
    ("broken items", "a dataset that is a list", record(dataset=["mini"]), has(benchmark="mmau")),
    ("HTML in questions", "a script", record(question=SCRIPT), has(question=SCRIPT)),
    ("HTML in questions", "a script in an id", record(id=SCRIPT), has(id=SCRIPT)),
    ("HTML in questions", "tags for options", record(choices=[SCRIPT, "<b>"], answer="<b>"), has(gold=1)),
    (
        "HTML in questions",
        "an answer without its tags",
        record(choices=["<b>dog</b>", "cat"], answer="dog"),
        "no option",
    ),
    (
        "million-option items",
        "26 options, the most",
        record(choices=[f"o{i}" for i in range(26)], answer="o25"),
        has(gold=25),
    ),
    (
        "million-option items",
        "27 options",
        record(choices=[f"o{i}" for i in range(27)], answer="o26"),
        "number of options is 27; there must be 2 to 26",
    ),
    (
        "million-option items",
        "a million, the answer first",
        record(choices=["A dog", *map(str, range(1_000_000))]),
        "number of options is 1000001",
    ),
    (
        "million-option items",
        "a million, the answer among none",
        record(choices=[str(i) for i in range(1_000_000)]),
        r"answer 'A dog' is no option of \['0', '1', .*\.\.\.",
    ),
    (
        "million-option items",
        "a million that are alike",
        record(choices=["A dog"] * 1_000_000),
        "number of options is 1000000",
    ),
    (
        "million-option items",
        "a million that are blank",
        record(choices=[""] * 1_000_000),
        "option '' is blank",
    ),
    (
        "million-option items",
        "an option of a megabyte",
        record(choices=["A dog", "x" * 1_000_000]),
        "has 1,000,000 characters; a text has at most 100,000",
    ),
    (
        "million-option items",
        "an option of 100,000 characters",
        record(choices=["A dog", "x" * 100_000]),
        has(gold=0),
    ),
]

NOT_JSON = r"not JSON at line \d+, column \d+ .*; .* mend that line or fetch the file again"
REFUSED, NOT_UTF8 = "JSON from line 1 on is refused", r"not UTF-8 at byte \d+; save it as UTF-8"
BOMB = "brackets, commas and line ends; a question file has at most 4,000,000; split it"
FILES = [
    ("JSON bombs", "100,000 open brackets", file("[" * 100_000), REFUSED),
    ("JSON bombs", "100,000 closed brackets", file(nested("[", 100_000, "]")), REFUSED),
    ("JSON bombs", "100,000 open objects", file(nested('{"a":', 100_000)), REFUSED),
    (
        "JSON bombs",
        "a field that is nested too deeply",
        file(json.dumps(MMAU)[:-1] + ',"truth":{"a":' + nested("[", 100_000, "]") + "}}"),
        REFUSED,
    ),
    ("JSON bombs", "five million empty lists", file(lambda: "[" + "[]," * 5_000_000 + "[]]"), BOMB),
    ("JSON bombs", "five million empty objects", file(lambda: "[" + "{}," * 5_000_000 + "{}]"), BOMB),
    ("JSON bombs", "five million zeros", file(lambda: '[{"a":[' + "0," * 5_000_000 + "0]}]"), BOMB),
    ("JSON bombs", "five million empty lines", file(lambda: "\n" * 5_000_000 + "{}"), BOMB),
    (
        "JSON bombs",
        "300,000 keys",
        file(lambda: [dict.fromkeys(map(str, range(300_000)), 1)]),
        r"the first record has 0, 1, .*\.\.\.; add",
    ),
    (
        "JSON bombs",
        "300,000 keys, one twice",
        file(lambda: "[{" + '"a":0,' * 300_000 + '"a":0}]'),
        r"a key stands twice among a, a, .*\.\.\.",
    ),
    ("JSON bombs", "a number of 5,000 digits", file('[{"id":' + "9" * 5_000 + "}]"), REFUSED),
    (
        "JSON bombs",
        "a number of 4,000 digits",
        file('[{"audio_id":"a","task":' + "9" * 4_000 + "}]"),
        "missing field question",
    ),
    (
        "JSON bombs",
        "a power of ten beyond floats",
        file(json.dumps([MMAU])[:-2] + ', "seconds": 1e999}]'),
        is_single,
    ),
    (
        "JSON bombs",
        "a file beyond the limit",
        padded(MAX_BYTES + 1),
        r"200,000,001 bytes; a question file has at most 200,000,000",
    ),
    ("JSON bombs", "20 MB of spaces", file(lambda: " " * 20_000_000), "empty file; fetch it again"),
    (
        "JSON bombs",
        "a text of 20 MB",
        file(lambda: json.dumps([{**MMAU, "note": "x" * 20_000_000}])),
        is_single,
    ),
    ("non-UTF-8", "UTF-16", file(json.dumps([MMAU]).encode("utf-16")), NOT_UTF8),
    ("non-UTF-8", "UTF-32", file(json.dumps([MMAU]).encode("utf-32")), NOT_UTF8),
    ("non-UTF-8", "Latin-1", file('[{"id": "é"}]'.encode("latin-1")), NOT_UTF8),
    ("non-UTF-8", "a byte that is in no text", file(json.dumps([MMAU]).encode() + b"\xff"), NOT_UTF8),
    ("non-UTF-8", "a character cut in two", file("[\u20ac".encode()[:-1]), NOT_UTF8),
    ("non-UTF-8", "a surrogate as UTF-8 would write it", file(b'[{"id": "\xed\xa0\x80"}]'), NOT_UTF8),
    ("non-UTF-8", "a slash in two bytes", file(b'[{"audio_id": "..\xc0\xaf"}]'), NOT_UTF8),
    (
        "non-UTF-8",
        "half a surrogate pair, escaped",
        file([{**MMAU, "question": "\ud83d?"}]),
        "element 1: half a surrogate pair",
    ),
    ("non-UTF-8", "a null, escaped", file([{**MMAU, "question": "What\0?"}]), is_single),
    ("non-UTF-8", "a byte order mark and items", file("\ufeff" + json.dumps([MMAU])), is_single),
    ("non-UTF-8", "a byte order mark alone", file("\ufeff"), "empty file; fetch it again"),
    ("non-UTF-8", "two byte order marks", file("\ufeff\ufeff" + json.dumps([MMAU])), NOT_JSON),
    ("broken question files", "nothing", file(""), "empty file; fetch it again"),
    ("broken question files", "a null byte", file(b"\0"), NOT_JSON),
    ("broken question files", "an empty array", file("[]"), "empty, an array without items"),
    (
        "broken question files",
        "an object at the top",
        file({"items": [MMAU]}),
        "neither MMAU .* nor MMAR .* has items; add",
    ),
    ("broken question files", "an object over many lines", file(json.dumps(MMAU, indent=1)), NOT_JSON),
    ("broken question files", "cut short", file(json.dumps([MMAU])[:-9]), NOT_JSON),
    ("broken question files", "a comma at the end", file(json.dumps([MMAU])[:-1] + ",]"), NOT_JSON),
    ("broken question files", "single quotes", file("[{'id': 'a1'}]"), NOT_JSON),
    ("broken question files", "a comment", file("// items\n" + json.dumps([MMAU])), NOT_JSON),
    ("broken question files", "two arrays", file(json.dumps([MMAU]) * 2), NOT_JSON),
    ("broken question files", "two objects on a line", file(json.dumps(MMAU) * 2), NOT_JSON),
    (
        "broken question files",
        "an array of arrays",
        file([[MMAU]]),
        "element 1: an array, but an item is a JSON object",
    ),
    (
        "broken question files",
        "an array of texts",
        file(["A dog"]),
        "element 1: a text, but an item is a JSON object",
    ),
    ("broken question files", "a null among items", file([MMAU, None]), "element 2: null, but an item"),
    ("broken question files", "a number", file("7"), "line 1: a number, but an item is a JSON object"),
    (
        "broken question files",
        "infinity where a text is due",
        file(
            '[{"id": Infinity, "audio_id": "a", "task": "sound", "question": "?", "choices": [], "answer": ""}]'
        ),
        "id inf is no text",
    ),
    (
        "broken question files",
        "a key twice",
        file('[{"id": "1", "id": "2"}]'),
        "a key stands twice among id, id",
    ),
    ("broken question files", "an id twice", file([MMAU, MMAU]), "item 'a1': duplicate id, 1 such"),
    (
        "broken question files",
        "an id twice but for blanks",
        file([MMAU, {**MMAU, "id": " a1 "}]),
        "item 'a1': duplicate id",
    ),
    (
        "broken question files",
        "ids that differ in case",
        file([MMAU, {**MMAU, "id": "A1"}]),
        lambda items: len(items) == 2,
    ),
    (
        "broken question files",
        "MMAR after MMAU",
        file([MMAU, MMAR]),
        "element 2, item 'r1': missing field audio_id, task",
    ),
    ("broken question files", "another program's JSON", file({"version": 1, "cells": []}), "neither MMAU"),
    (
        "broken question files",
        "a page of HTML",
        file("<!doctype html><title>404</title>"),
        "it is a web page .*; fetch the file itself again",
    ),
    ("broken question files", "a pickle", file(b"\x80\x04cos\nsystem\n(S'id'\ntR."), NOT_UTF8),
    (
        "broken question files",
        "lines with blanks between",
        file("\n\n" + lines(MMAR, end="\n\n \n"), "q.jsonl"),
        is_single,
    ),
    (
        "broken question files",
        "lines that end as in DOS",
        file(lines(MMAR, end="\r\n"), "q.jsonl"),
        is_single,
    ),
    (
        "broken question files",
        "a line that ends in the middle",
        file(lines(MMAR) + lines(MMAR)[:30], "q.jsonl"),
        r"not JSON at line 2",
    ),
    (
        "broken question files",
        "a line separator within a text",
        file(json.dumps([{**MMAU, "question": "a\u2028b\x85c"}], ensure_ascii=False)),
        is_single,
    ),
    (
        "broken question files",
        "5,000 splits",
        file(lambda: [{**MMAU, "id": str(i), "split": str(i)} for i in range(5_000)]),
        lambda items: len(items) == 5_000,
    ),
    (
        "broken question files",
        "a folder",
        special("folder", "q.json"),
        "holds one question file .* found none",
    ),
    ("broken question files", "a pipe", special("pipe", "q.json"), "no such file or folder"),
    (
        "broken question files",
        "a device, by a link",
        special("/dev/zero", "q.json"),
        "no such file or folder",
    ),
    (
        "broken question files",
        "a link to itself",
        special("q.json", "q.json"),
        "no such file or folder|cannot be opened",
    ),
    (
        "broken question files",
        "a name of 5,000 characters",
        lambda folder: folder / ("x" * 5_000),
        "cannot be opened|no such file",
    ),
]

MISSING = "missing field single_instruction, .* in line 1; add the column"
TABLES = [
    ("SAKURA tables", "as published", table(HEADER + ROW), is_single),
    ("SAKURA tables", "nothing", table(""), "empty file; fetch it again"),
    ("SAKURA tables", "a header alone", table(HEADER), "empty, no row below the first line"),
    ("SAKURA tables", "columns missing", table("file,single_answer\na,b\n"), MISSING),
    ("SAKURA tables", "semicolons", table((HEADER + ROW).replace(",", ";")), "missing field file"),
    (
        "SAKURA tables",
        "a short row",
        table(HEADER + "dog1.wav,dog\n"),
        "line 2: more or fewer fields than line 1",
    ),
    ("SAKURA tables", "a long row", table(HEADER + ROW.strip() + ",more\n"), "line 2: more or fewer fields"),
    ("SAKURA tables", "a quote left open", table(HEADER + '"' + ROW), "not CSV after line 1"),
    ("SAKURA tables", "a quote in the middle", table(HEADER + ROW.replace("cat", '"c"at')), is_single),
    (
        "SAKURA tables",
        "a field of 200,000 characters",
        with_row(single_answer="x" * 200_000),
        "not CSV after line 1 .*field larger",
    ),
    (
        "SAKURA tables",
        "20,000 options of one letter",
        with_row(single_instruction="Which?" + " (a) b" * 20_000),
        "options lettered 'a' in",
    ),
    ("SAKURA tables", "a null in a name", with_row(file="a\0.wav"), "is no path"),
    ("SAKURA tables", "not UTF-8", table(HEADER.encode() + b"\xff"), NOT_UTF8),
    ("SAKURA tables", "UTF-16", table((HEADER + ROW).encode("utf-16")), NOT_UTF8),
    ("SAKURA tables", "a byte order mark", table("\ufeff" + HEADER + ROW), is_single),
    ("SAKURA tables", "lines that end as in DOS", table((HEADER + ROW).replace("\n", "\r\n")), is_single),
    (
        "SAKURA tables",
        "an unknown track",
        table(HEADER + ROW, "Weather"),
        "unknown track 'Weather'; there are Animal",
    ),
    (
        "SAKURA tables",
        "a formula for a spreadsheet",
        with_row(attribute_label="=cmd|'/c calc'!A1"),
        is_single,
    ),
    ("SAKURA tables", "a file above", with_row(file="../../x.wav"), LEAVES),
    ("SAKURA tables", "an absolute file", with_row(file="/etc/passwd"), LEAVES),
    (
        "SAKURA tables",
        "a letter beyond the options",
        with_row(single_answer="(d) dog"),
        r"answer '\(d\) dog' is no option",
    ),
    (
        "SAKURA tables",
        "letter and text disagree",
        with_row(single_answer="(a) dog"),
        r"answer '\(a\) dog' is no option",
    ),
    (
        "SAKURA tables",
        "a pipe",
        lambda folder: special("pipe", "data/Animal/metadata.csv")(folder).parents[2],
        "cannot be read .a folder, pipe or device",
    ),
    (
        "SAKURA tables",
        "a device, by a link",
        lambda folder: special("/dev/zero", "data/Animal/metadata.csv")(folder).parents[2],
        "cannot be read .a folder, pipe or device|unknown track",
    ),
    ("SAKURA tables", "five million empty rows", table(HEADER + "\n" * 5_000_000), "empty, no row"),
]

LOOKED_AT = [
    (
        "no files",
        "items whose clips are pipes",
        a_benchmark_of_pipes,
        "1 of 1 items have a missing or unreadable clip",
    ),
    (
        "no files",
        "items whose clips are not there",
        file([MMAU]),
        "1 of 1 items have a missing or unreadable clip",
    ),
    (
        "no files",
        "10,000 items without clips",
        file(lambda: [{**MMAU, "id": str(i), "audio_id": f"{i}.wav"} for i in range(10_000)]),
        "10000 of 10000 items .* the first 5:",
    ),
]

NO_TEXT = "response is .*, not a text; give the model's raw reply"
PREDICTIONS = [
    ("broken predictions", "nothing", file(""), "empty file"),
    ("broken predictions", "bytes", file(bytes(range(256))), NOT_UTF8),
    ("broken predictions", "a pickle", file(b"\x80\x04N."), NOT_UTF8),
    ("broken predictions", "arrays in arrays", file([[[MMAU]]]), "element 1: an array, but an item"),
    ("broken predictions", "100,000 open brackets", file("[" * 100_000), REFUSED),
    (
        "broken predictions",
        "no reply at all",
        file([MMAU]),
        "no reply in any of its 1 items; a reply stands under",
    ),
    ("broken predictions", "one reply missing", predictions({"response": None}), counts(correct=1, failed=1)),
    ("broken predictions", "a blank reply", predictions({"response": " \n"}), counts(correct=1, failed=1)),
    (
        "broken predictions",
        "a reply that is not a number",
        predictions({"response": float("nan")}),
        counts(correct=1, failed=1),
    ),
    ("broken predictions", "a reply that is infinite", predictions({"response": float("inf")}), NO_TEXT),
    ("broken predictions", "a reply that is a list", predictions({"response": ["A dog"]}), NO_TEXT),
    (
        "broken predictions",
        "a reply that is an object",
        predictions({"response": {"text": "A dog"}}),
        NO_TEXT,
    ),
    ("broken predictions", "a reply that is true", predictions({"response": True}), NO_TEXT),
    (
        "broken predictions",
        "a reply that is a number of 4,000 digits",
        predictions({"response": 10**4_000}),
        NO_TEXT,
    ),
    (
        "broken predictions",
        "a reply of a million items",
        predictions({"response": [0] * 1_000_000}),
        r"response is \[0, 0, .*\.\.\.",
    ),
    (
        "broken predictions",
        "a reply of 10 MB",
        predictions({"response": "b " * 5_000_000}),
        counts(correct=1, unreadable=1),
    ),
    (
        "broken predictions",
        "a reply of numbers",
        predictions({"response": "one hundred " + "hundred " * 50_000, "choices": ["1", "2"], "answer": "1"}),
        counts(correct=1, unreadable=1),
    ),
    (
        "broken predictions",
        "HTML for a reply",
        predictions({"response": "<script>alert('A cat')</script>"}),
        counts(correct=1, wrong=1),
    ),
    (
        "broken predictions",
        "two replies that conflict",
        predictions({"model_output": "A cat"}),
        "conflicting replies under model_output and response",
    ),
    ("broken predictions", "an id twice", predictions({"id": "first"}), "duplicate id 'first'"),
    ("broken predictions", "no answer", predictions({"answer": ""}), "its answer is withheld"),
    (
        "broken predictions",
        "an unanswerable item",
        predictions({"answer": None, "answerable": False}),
        "unanswerable, so no option is right",
    ),
    ("broken predictions", "no modality", predictions({"task": None}), "no modality; MMAU has it under task"),
    (
        "broken predictions",
        "an answer that is none of them",
        predictions({"answer": "A horse"}),
        "is no option of",
    ),
    (
        "broken predictions",
        "a million options",
        predictions({"choices": [str(i) for i in range(1_000_000)]}),
        "is no option of",
    ),
    (
        "broken predictions",
        "300 modalities",
        predictions(*({"id": str(i), "task": "mix-" + "-".join(["sound"] * i)} for i in range(2, 300))),
        "names one twice",
    ),
    (
        "broken predictions",
        "a clip above, which is not opened",
        predictions({"audio_id": "../../../etc/passwd"}),
        counts(correct=2),
    ),
    (
        "broken predictions",
        "a path that is a pipe",
        special("pipe", "p.json"),
        "cannot be read .a folder, pipe or device",
    ),
    (
        "broken predictions",
        "a path that is a device",
        special("/dev/zero", "p.json"),
        "cannot be read .a folder, pipe or device",
    ),
    (
        "broken predictions",
        "a path that is a folder",
        special("folder", "p.json"),
        "cannot be read .a folder, pipe or device",
    ),
    (
        "broken predictions",
        "a path with a null",
        lambda folder: folder / "a\0b",
        "cannot be read .*embedded null",
    ),
]


TABLES_BY_FUNCTION = [
    (parse_record, cases([*NAMES, *ITEMS])),
    (load_items, cases([*FILES, *TABLES])),
    (load_checked_items, cases(LOOKED_AT)),
    (score_file, cases(PREDICTIONS)),
]
