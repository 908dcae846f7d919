"""Releases are told by content: the official files by name, whatever they are called and however they are written."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from questions import write_benchmark

from lalm_utils import benchmarks, items, releases

SHARED = Path(__file__).resolve().parents[2] / "shared"
OFFICIAL = {
    "MMAU test-mini v05.15.25": ("mmau", None),
    "MMAR": ("mmar", None),
    "SAKURA single hop, a subset of 120 clips a track": ("sakura", "single"),
    "SAKURA multi hop, a subset of 120 clips a track": ("sakura", "multi"),
}


def official(name: str) -> list[items.Item]:
    folder, split = OFFICIAL[name]
    if not (SHARED / folder).exists():
        pytest.skip(f"needs the official files of {folder} in {SHARED}")
    return benchmarks.load(SHARED / folder, split=split, need_clips=False)


def known_releases() -> dict[str, dict[str, str]]:
    return json.loads(releases.TABLE.read_text())["releases"]


def of_mini(split: str = "test") -> list[items.Item]:
    return benchmarks.planned_items(split)


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_official_file_is_named_and_is_what_the_package_knows(name):
    questions = official(name)
    known = known_releases()
    digests = sorted(map(releases.digest, questions))
    ids = sorted(hashlib.sha256(item.id.encode()).hexdigest()[: releases.SHORT] for item in questions)
    assert known[name] == {
        "sha256": releases.content_hash(digests),
        "items": "".join(full[: releases.SHORT] for full in digests),
        "ids": "".join(ids),
    }
    result = releases.identify(questions)
    assert (result.name, result.sha256, result.known) == (name, known[name]["sha256"], True)


def test_the_package_names_these_releases_and_no_two_items_look_alike():
    known = known_releases()
    assert set(known) == set(OFFICIAL)
    text = "".join(release["items"] for release in known.values())
    short = {text[start : start + releases.SHORT] for start in range(0, len(text), releases.SHORT)}
    assert len(short) == 1000 + 1000 + 480 + 480


# One of MMAU's questions as its first file has it: without an id, and revised in v05.15.25.
FIRST = {
    "audio_id": "./test-mini-audios/f386c957-c4f4-40c9-828f-d14ab58a25f0.wav",
    "question": "What is the duration of the chord 'A#:maj/5' in the audio?",
    "choices": ["1.69 seconds", "2.18 seconds", "1.88 seconds", "2.45 seconds"],
    "answer": "1.69 seconds",
    "dataset": "guitarset",
    "task": "music",
    "category": "Reasoning",
    "sub-category": "Temporal Reasoning",
    "difficulty": "hard",
    "split": "test-mini",
}


def test_mmau_before_may_2025_is_named_and_its_files_are_told_apart(tmp_path):
    official("MMAU test-mini v05.15.25")
    (file,) = (SHARED / "mmau").glob("*.json")
    records = {Path(record["audio_id"]).stem: record for record in json.loads(file.read_text())}
    assert Path(FIRST["audio_id"]).stem in records  # today's file asks something else of this clip
    old = [
        {**record, **(FIRST if record["audio_id"] == FIRST["audio_id"] else {})}
        for record in records.values()
    ]
    for record in old:
        del record["id"]
    result = []
    for copy in (old, old[:-1]):
        path = tmp_path / f"{len(copy)}.json"
        path.write_text(json.dumps(copy))
        result.append(releases.identify(benchmarks.load(path, need_clips=False)))
    for release, size in zip(result, (1000, 999), strict=True):
        assert release.name == (
            f"MMAU test-mini before v05.15.25, {release.sha256[:12]} ({size:,} items, "
            f"among them {size - 1} of the 1,000 items of MMAU test-mini v05.15.25)"
        )
        assert not release.known
    assert result[0].sha256 != result[1].sha256


def test_a_version_that_is_not_at_hand_is_known_by_its_ids():
    questions = official("MMAR")
    revised = [replace(item, question=f"{item.question} ") for item in questions]
    result = releases.identify(revised)
    assert result.name == f"another version of MMAR, {result.sha256[:12]}"
    strange = [replace(item, id=f"{item.id}'") for item in revised[:600]] + revised[600:]
    assert releases.identify(strange).name.startswith("unknown release, ")


def test_name_layout_and_orders_of_a_file_do_not_count(tmp_path):
    official("MMAU test-mini v05.15.25")
    (file,) = (SHARED / "mmau").glob("*.json")
    records = [dict(reversed(record.items())) for record in json.loads(file.read_text())]
    random.Random(0).shuffle(records)
    copy = tmp_path / "mmau-test-mini-before-May-2025.jsonl"
    copy.write_text("\n".join(map(json.dumps, records)))
    assert releases.identify(benchmarks.load(copy, need_clips=False)).name == "MMAU test-mini v05.15.25"


def test_sakura_is_known_whatever_the_order_of_its_columns(tmp_path):
    official("SAKURA multi hop, a subset of 120 clips a track")
    for file in (SHARED / "sakura").rglob("metadata.csv"):
        rows = list(csv.DictReader(io.StringIO(file.read_text(), newline="")))
        copy = tmp_path / file.parent.name / "metadata.csv"
        copy.parent.mkdir()
        with copy.open("w", newline="") as opened:
            writer = csv.DictWriter(opened, list(reversed(rows[0])), quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(reversed(rows))
    result = releases.identify(benchmarks.load(tmp_path, split="multi", need_clips=False))
    assert result.name == "SAKURA multi hop, a subset of 120 clips a track"


CHANGES = [
    ("another question", lambda item: {"question": item.question + "?"}),
    ("another option", lambda item: {"options": ("another", *item.options[1:])}),
    ("another order of options", lambda item: {"options": item.options[::-1]}),
    ("another gold option", lambda item: {"gold": (item.gold + 1) % len(item.options)}),
    ("a withheld answer", lambda item: {"gold": None}),
    ("another id", lambda item: {"id": "another"}),
    ("another modality", lambda item: {"modality": "mix-sound-speech"}),
]


@pytest.mark.parametrize("name, change", CHANGES, ids=[case[0] for case in CHANGES])
def test_a_changed_copy_is_not_the_release(name, change):
    first, *others = of_mini()
    whole = releases.identify([first, *others])
    result = releases.identify([replace(first, **change(first)), *others])
    assert not result.known
    assert result.sha256 != whole.sha256
    assert result.name == (
        f"unknown release, {result.sha256[:12]} (999 items, among them 998 of the 999 items of {whole.name})"
    )


def test_a_part_of_a_release_says_so():
    questions, name = of_mini("idk"), f"mini idk of generator {benchmarks.generator_version()}"
    assert releases.identify(questions).name == name
    result = releases.identify(items.sample(questions, 12))
    assert (result.name, result.known) == (f"12 of the 900 items of {name}", True)


def test_items_of_two_splits_are_named_as_both():
    result = releases.identify([*of_mini("dev"), *of_mini("unanswerable")[:5]])
    generator = benchmarks.generator_version()
    assert result.name == (
        f"mini dev of generator {generator} and 5 of the 160 items of mini unanswerable of generator {generator}"
    )


def test_unknown_content_is_named_by_its_hash_alone(tmp_path):
    questions = benchmarks.load(write_benchmark(tmp_path))
    result = releases.identify(questions)
    assert (result.name, result.known) == (f"unknown release, {result.sha256[:12]}", False)
    assert releases.identify(questions[::-1]) == result


@pytest.mark.slow
def test_the_embedded_benchmark_as_loaded_is_what_its_generator_plans():
    assert releases.identify(benchmarks.load("mini", split="dev")).name.startswith("mini dev of generator ")
