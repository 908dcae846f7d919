"""The embedded benchmark on disk: the same bytes however it is made, rebuilt when damaged, loaded as items."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

import lalm_utils
from lalm_utils import benchmarks, cache, items
from lalm_utils.audio import check_clip, read_clip, write_clip
from lalm_utils.items import BenchmarkError
from lalm_utils.mini.benchmark import plan, splits, voice, wav
from lalm_utils.mini.benchmark.scene import RATE

VOICES = (voice.TRAIN_VOICES, voice.IDK_VOICES, voice.TEST_VOICES)
VARIANTS = {variant for group in VOICES for names in group.values() for variant in names}
SMALL = {"dev": 9, "idk": 30, "test": 30, "unanswerable": 12, "final": 9}


@pytest.fixture
def small(monkeypatch):
    """Splits of a few items, rendered by this process alone (its workers would not know of the change)."""
    for split, size in SMALL.items():
        monkeypatch.setitem(plan.SIZES, split, size)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LALM_UTILS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def split_calls(monkeypatch) -> list[str]:
    """The splits that are generated during the test, in order."""
    calls, generate = [], splits.generate

    def noted(split: str, folder: Path) -> None:
        calls.append(split)
        generate(split, folder)

    monkeypatch.setattr(splits, "generate", noted)
    return calls


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != cache.MANIFEST]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# ---- generation


def test_two_generations_by_different_numbers_of_workers_have_equal_bytes(tmp_path):
    one, three = tmp_path / "one", tmp_path / "three"
    splits.generate("unanswerable", one, workers=1, size=12)
    splits.generate("unanswerable", three, workers=3, size=12)
    assert digests(one) == digests(three)
    assert len(digests(one)) == 12 + 1
    assert len(set(digests(one).values())) == 12 + 1


def test_clips_do_not_depend_on_the_clock():
    # Every voice once, then again in another second: noise seeded by the time would differ.
    chosen = {}
    for item in (item for split in ("idk", "test") for item in plan.plan(split) if item.modality == "speech"):
        for variant in VARIANTS:
            if f"'{variant}'" in repr(item.spec.build.args):
                chosen.setdefault(variant, item)
    assert set(chosen) == VARIANTS
    start, first = time.monotonic(), {name: plan.render(item).samples for name, item in chosen.items()}
    time.sleep(max(0.0, 1.1 - (time.monotonic() - start)))
    changed = [
        name for name, item in chosen.items() if not np.array_equal(first[name], plan.render(item).samples)
    ]
    assert not changed


def test_shares_of_any_size_and_order_render_the_same_clips(tmp_path):
    items_ = plan.plan("dev", size=9)
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    for folder in (whole, shared):
        (folder / "clips").mkdir(parents=True)
    splits.render_clips(items_, whole)
    for first in (2, 0, 3, 1):
        splits.render_clips(items_[first::4][::-1], shared)
    assert digests(whole) == digests(shared)
    assert len(digests(whole)) == 9


def test_a_worker_that_breaks_is_reported_with_its_complaint(tmp_path, monkeypatch):
    monkeypatch.setattr(splits.sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho 'no fonts here' >&2\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    expected = r"rendering mini's dev split failed \(exit 3\):\nno fonts here"
    with pytest.raises(RuntimeError, match=expected):
        splits.generate("dev", tmp_path / "out", workers=2, size=4)
    assert not (tmp_path / "out" / "items.json").exists()


def test_clips_are_16_khz_mono_16_bit_and_as_long_as_recorded(small, tmp_path):
    splits.generate("dev", tmp_path)
    records = json.loads((tmp_path / "items.json").read_text(encoding="utf-8"))
    assert len(records) == len(list((tmp_path / "clips").iterdir())) == 9
    for record in records:
        info = soundfile.info(tmp_path / record["audio_id"])
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert info.duration == pytest.approx(record["seconds"], abs=1e-3)
        assert 0.1 <= info.duration <= 6.0 + 1 / RATE


def test_a_thousand_clips_take_less_than_a_minute_on_two_cores(tmp_path):
    # Processor time of this process, so that other programs on the machine do not count.
    planned = plan.plan("test")
    plan.render(planned[0])  # fonts and voices are loaded once, whatever the number of clips
    sample = planned[1::25]
    start = time.process_time()
    for item in sample:
        splits.write_wav(tmp_path / f"{item.id}.wav", plan.render(item).samples)
    each = (time.process_time() - start) / len(sample)
    print(f"{1000 * each:.1f} ms a clip: 1,000 clips in {1000 * each / 2:.0f} s on two cores")
    assert len(sample) == 40
    assert 1000 * each / 2 <= 60


@pytest.mark.parametrize(
    "samples", [np.linspace(-1, 1, 1_600), np.zeros(1_601, np.float32), np.array([1 / 65536] * 1_600)]
)
def test_a_clip_is_written_as_the_package_writes_clips(tmp_path, samples):
    wav.write_wav(tmp_path / "ours.wav", samples)
    write_clip(tmp_path / "theirs.wav", samples)
    assert (tmp_path / "ours.wav").read_bytes() == (tmp_path / "theirs.wav").read_bytes()
    assert wav.seconds_of(tmp_path / "ours.wav") == check_clip(tmp_path / "theirs.wav")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, 1_600)), r"float64 samples of shape \(2, 1600\); give one axis"),
        (np.zeros(1_600, np.int16), "int16 samples"),
        (np.zeros(1_599), r"0\.0999 s long; a clip needs at least 0\.1 s"),
        (np.full(1_600, 1.5), r"samples reach 1\.5 where full scale is 1"),
        (np.full(1_600, np.nan), "samples reach nan"),
    ],
)
def test_what_is_no_clip_is_not_written(tmp_path, samples, message):
    with pytest.raises(ValueError, match=message):
        wav.write_wav(tmp_path / "x.wav", samples)
    assert not (tmp_path / "x.wav").exists()


# ---- the room

FOUNDATION = {"cache", "progress", "messages"}


@pytest.mark.parametrize("room", ["benchmark", "model"])
def test_generator_and_model_import_nothing_of_the_package_but_its_foundation(room):
    allowed = {f"lalm_utils.{name}" for name in FOUNDATION} | {f"lalm_utils.mini.{room}"}
    modules = list((Path(lalm_utils.__file__).parent / "mini" / room).glob("*.py"))
    assert len(modules) > 3
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert not node.level, path
                names = (
                    [node.module]
                    if node.module != "lalm_utils"
                    else [f"lalm_utils.{a.name}" for a in node.names]
                )
            for name in names:
                if name.split(".")[0] == "lalm_utils":
                    assert any(name == room_ or name.startswith(f"{room_}.") for room_ in allowed), (
                        path,
                        name,
                    )


@pytest.mark.parametrize("command", ["train", "acceptance"])
def test_documented_commands_of_the_model_are_there(command):
    code = ["-m", f"lalm_utils.mini.{command}", "--help"]
    process = subprocess.run([sys.executable, *code], capture_output=True, text=True, check=True, timeout=300)
    assert process.stdout.startswith(f"usage: python -m lalm_utils.mini.{command} ")


# ---- the cache


def test_a_split_is_rendered_once(small, own_cache, split_calls):
    first, again = benchmarks.load("mini", split="dev"), benchmarks.load("mini", split="dev")
    assert first == again
    assert split_calls == ["dev"]
    assert first[0].clip.is_relative_to(own_cache)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("case", "file", "damage"),
    [
        ("one bit of a clip", "clips/dev-0003.wav", flip),
        ("a clip that is cut short", "clips/dev-0003.wav", lambda path: os.truncate(path, 1000)),
        ("a clip that is gone", "clips/dev-0003.wav", Path.unlink),
        ("questions cut short", "items.json", lambda path: os.truncate(path, 500)),
        ("questions that are gone", "items.json", Path.unlink),
        ("no manifest", cache.MANIFEST, Path.unlink),
    ],
)
def test_a_damaged_split_is_rebuilt_to_the_same_bytes(small, own_cache, split_calls, case, file, damage):
    folder = splits.ensure("dev")
    before, loaded = digests(folder), benchmarks.load("mini", split="dev")
    damage(folder / file)
    assert benchmarks.load("mini", split="dev") == loaded, case
    assert digests(folder) == before, case
    assert split_calls == ["dev", "dev"], case


def test_another_generator_never_meets_old_clips(small, own_cache, split_calls, monkeypatch):
    old = splits.ensure("dev")
    monkeypatch.setattr(splits, "generator_version", lambda: "3-01234567")
    new = splits.ensure("dev")
    assert new != old
    assert split_calls == ["dev", "dev"]
    assert new.name == "mini-benchmark-3-01234567-dev"


def test_the_version_changes_with_a_package_and_with_the_generators_own(monkeypatch):
    result = {splits.generator_version()}
    monkeypatch.setattr(splits, "version", lambda package: "0")
    result.add(splits.generator_version())
    monkeypatch.setattr(splits, "VERSION", "3")
    result.add(splits.generator_version())
    assert len(result) == 3
    assert [name.split("-")[0] for name in sorted(result)] == ["2", "2", "3"]


# ---- items


@pytest.mark.parametrize("split", SMALL)
def test_a_split_loads_as_items_with_readable_clips(small, own_cache, split):
    loaded = benchmarks.load("mini", split=split)
    assert [item.id for item in loaded] == [planned.id for planned in plan.plan(split)]
    for item, planned in zip(loaded, plan.plan(split), strict=True):
        assert (item.benchmark, item.split, item.modality) == ("mini", split, planned.modality)
        assert (item.task, item.category, item.level) == (planned.task, planned.category, planned.level)
        assert (item.question, item.options) == (planned.spec.question, planned.spec.options)
        assert item.gold == (None if planned.reason else planned.spec.gold)
        assert (item.answerable, item.reason, item.novel) == (
            not planned.reason,
            planned.reason,
            planned.novel,
        )
        assert item.annotations["rationale"] == planned.spec.rationale
        assert item.annotations["seconds"] == pytest.approx(read_clip(item.clip).seconds, abs=1e-3)


def test_the_default_split_is_test(small, own_cache):
    assert {item.split for item in benchmarks.load("mini")} == {"test"}


def test_unanswerable_items_tell_their_sort(small, own_cache):
    loaded = benchmarks.load("mini", split="unanswerable")
    sorts = {item.reason: item.kind for item in loaded}
    assert sorts == {"silence": "inaudible", "masked": "inaudible", "option_removed": "ungrounded",
                     "wrong_category": "ungrounded"}  # fmt: skip
    assert all(item.gold is None and not item.answerable for item in loaded)


@pytest.mark.parametrize("split", ["dev", "unanswerable"])
def test_items_survive_being_written_and_read(small, own_cache, split):
    for item in benchmarks.load("mini", split=split):
        root = item.clip.parent.parent
        record = json.loads(json.dumps(items.to_record(item, root)))
        assert items.from_record(record, root) == item


@pytest.mark.parametrize("split", ["train", "Test", "validation"])
def test_an_unknown_split_is_refused_with_those_that_exist(own_cache, split):
    message = (
        rf"mini: no split '{split}'; choose one of dev, idk, test, unanswerable, final, "
        r"trust-hallucination, trust-safety, "
        r"trust-privacy, trust-fairness, trust-authentication \(train is generated on the fly by "
        r"lalm_utils\.mini\.benchmark\.plan\.plan\('train', size=\.\.\.\)\)"
    )
    with pytest.raises(BenchmarkError, match=message):
        benchmarks.load("mini", split=split)
    assert not own_cache.exists()


def test_a_clip_longer_than_six_seconds_is_refused(small):
    item = plan.plan("dev")[0]
    long = plan.Scene(samples=np.zeros(7 * RATE, np.float32), annotations=())
    item = plan.replace(item, spec=plan.replace(item.spec, build=lambda rng: long))
    with pytest.raises(ValueError, match=r"item dev-0000: clip of 7\.00 s exceeds 6\.0 s"):
        plan.render(item)
