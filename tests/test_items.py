"""Items keep their rules, are sampled evenly, and come back from records."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import a_folder, a_record, an_item, official

from lalm_utils.audio import RATE, write_clip
from lalm_utils.benchmarks import load
from lalm_utils.items import BenchmarkError, from_record, sample, to_record

# ---- the noun ------------------------------------------------------------------------------------

CHANCES = [
    ("four options", an_item(), 1 / 4),
    ("two options", an_item(options=("yes", "no"), gold=1), 1 / 2),
    ("the gold stands twice", an_item(options=("C", "G", "C", "D"), gold=0), 2 / 4),
    ("another stands twice", an_item(options=("C", "G", "G", "D"), gold=0), 1 / 4),
    ("unanswerable", an_item(gold=None, answerable=False, reason="silence"), 1 / 4),
    ("withheld", an_item(gold=None), 1 / 4),
]


@pytest.mark.parametrize("case, item, chance", CHANCES, ids=[row[0] for row in CHANCES])
def test_chance_is_the_share_of_options_that_are_right(case, item, chance):
    assert item.chance == chance


KINDS = [
    ("silence", "inaudible"),
    ("masked", "inaudible"),
    ("option_removed", "ungrounded"),
    ("wrong_category", "ungrounded"),
    ("", ""),
]


@pytest.mark.parametrize("reason, kind", KINDS)
def test_an_unanswerable_items_reason_tells_its_kind(reason, kind):
    assert an_item(gold=None, answerable=False, reason=reason).kind == kind


def test_an_answerable_item_is_of_no_kind():
    assert an_item().kind == ""


def test_an_item_is_frozen():
    with pytest.raises(AttributeError, match="cannot assign to field 'gold'"):
        an_item().gold = 1


def test_options_in_another_order_take_the_right_and_the_declining_one_along():
    item = an_item(options=("bell", "rain", "unsure", "rain"), gold=1, declining=2)
    moved = item.reordered((3, 2, 0, 1))
    assert (moved.options, moved.gold, moved.declining) == (("rain", "unsure", "bell", "rain"), 0, 1)
    assert moved.reordered((2, 0, 1, 3)) == item
    without = an_item(options=("bell", "rain"), gold=None, answerable=False).reordered((1, 0))
    assert (without.options, without.gold, without.declining) == (("rain", "bell"), None, None)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 1, 2, 2), (1, 2, 3, 4), (0, 1, 2, -1)])
def test_an_order_is_each_index_once(order):
    with pytest.raises(BenchmarkError, match=r"order \[.*\] of 4 options; give each index from 0 to 3 once"):
        an_item().reordered(order)


BROKEN = [
    ("blank id", {"id": " "}, "blank or no text among id, question and options"),
    ("blank question", {"question": ""}, "blank or no text among id, question and options"),
    ("blank option", {"options": ("a", " ")}, "blank or no text among id, question and options"),
    ("a number as option", {"options": ("a", 2)}, "blank or no text among id, question and options"),
    ("one option", {"options": ("a",)}, "number of options is 1; there must be 2 to 26"),
    ("27 options", {"options": tuple(map(str, range(27)))}, "number of options is 27"),
    ("gold past the end", {"gold": 4}, "gold 4; an index of the options"),
    ("gold before the start", {"gold": -1}, "gold -1; an index of the options"),
    ("gold as text", {"gold": "A dog"}, "gold 'A dog'; an index of the options"),
    ("gold of an unanswerable item", {"answerable": False}, "or None, which an unanswerable item must have"),
    ("reason of an answerable item", {"reason": "silence"}, "reason 'silence'; none if answerable"),
    (
        "unknown reason",
        {"gold": None, "answerable": False, "reason": "tired"},
        "one of silence, masked, option_",
    ),
    ("unknown modality", {"modality": "video"}, r"modality 'video' with \['video'\]; sound, music, speech"),
    (
        "unknown part of a mix",
        {"modality": "mix-sound-video"},
        r"modality 'mix-sound-video' with \['video'\]",
    ),
    ("unknown level", {"level": "Medium"}, "level 'Medium'; easy, medium, hard or empty"),
    ("novel as number", {"novel": 1}, "novel 1; it must be true or false"),
]


@pytest.mark.parametrize("case, changes, message", BROKEN, ids=[row[0] for row in BROKEN])
def test_an_item_that_breaks_a_rule_cannot_be_made(case, changes, message):
    with pytest.raises(BenchmarkError, match=message):
        an_item(**changes)


# ---- sampling ------------------------------------------------------------------------------------

MODALITIES = ("sound", "music", "speech", "mix-sound-speech")
some_items = st.lists(st.sampled_from(MODALITIES), min_size=1, max_size=40).map(
    lambda modalities: [an_item(id=f"item {i}", modality=m) for i, m in enumerate(modalities)]
)


@settings(max_examples=60, deadline=None)
@given(items=some_items, n=st.integers(1, 50), seed=st.integers(0, 5))
def test_a_sample_is_even_ordered_repeatable_and_nested(items, n, seed):
    chosen = sample(items, n, seed=seed)
    ids = [item.id for item in chosen]
    assert len(chosen) == min(n, len(items))
    assert ids == [item.id for item in items if item.id in set(ids)]
    assert chosen == sample(items, n, seed=seed)
    assert set(ids) <= {item.id for item in sample(items, n + 1, seed=seed)}
    assert set(ids) == {item.id for item in sample(items[::-1], n, seed=seed)}
    item_counts, sample_counts = Counter(i.modality for i in items), Counter(i.modality for i in chosen)
    for modality in item_counts:
        # Less than another by two or more only where there is no more of it.
        assert (
            sample_counts[modality] >= max(sample_counts.values()) - 1
            or sample_counts[modality] == item_counts[modality]
        )


def test_another_seed_takes_another_sample():
    items = [an_item(id=f"{i}") for i in range(200)]
    first, second = ({item.id for item in sample(items, 100, seed=seed)} for seed in (0, 1))
    assert 30 < len(first & second) < 70


def test_every_item_is_taken_equally_often_over_seeds():
    items = [an_item(id=f"{i}") for i in range(10)]
    counts = Counter(item.id for seed in range(2000) for item in sample(items, 3, seed=seed))
    assert all(count == pytest.approx(600, abs=110) for count in counts.values())  # 5 standard deviations


def test_a_sample_stays_the_same_in_later_versions():
    items = [an_item(id=f"{i}", modality=MODALITIES[i % 3]) for i in range(30)]
    assert [item.id for item in sample(items, 6, seed=0)] == ["10", "16", "23", "24", "26", "27"]


def test_mmau_is_sampled_a_third_each():
    items = load(official("mmau"), n=300, need_clips=False)
    assert Counter(item.modality for item in items) == {"sound": 100, "music": 100, "speech": 100}


# ---- records -------------------------------------------------------------------------------------

ROUND_TRIPS = [
    ("plain", {}),
    ("duplicate options", {"options": ("C", "G", "C"), "gold": 0}),
    ("withheld", {"gold": None}),
    ("unanswerable", {"gold": None, "answerable": False, "reason": "masked"}),
    ("unanswerable for no reason told", {"gold": None, "answerable": False}),
    ("novel", {"novel": True, "level": "hard", "category": "perception", "task": "count"}),
    ("with annotations", {"annotations": {"caption": "a dog barks", "seconds": 3.5}}),
    ("of MMAR", {"benchmark": "mmar", "modality": "mix-sound-music-speech"}),
    ("of SAKURA", {"benchmark": "sakura", "split": "multi", "annotations": {"label": "dog"}}),
    ("unicode", {"question": "Où\u2028? ½", "options": ("é", "e\u0301x"), "gold": 1}),
]


@pytest.mark.parametrize("case, changes", ROUND_TRIPS, ids=[row[0] for row in ROUND_TRIPS])
def test_an_item_comes_back_from_its_record(case, changes):
    item = an_item(**changes)
    record = json.loads(json.dumps(to_record(item, "/data")))
    assert from_record(record, "/data") == item


def test_official_items_come_back_from_their_records():
    root = official("sakura")
    items = load(root, need_clips=False)
    assert [from_record(to_record(item, root), root) for item in items] == items


def test_a_record_has_mmaus_fields_and_a_path_below_its_root():
    record = to_record(an_item())
    assert record["audio_id"] == "./clips/1.wav"
    assert set(a_record()) <= set(record)
    assert (record["answer"], record["task"], record["answerable"]) == ("A dog", "sound", True)


def test_only_a_withheld_answer_leaves_answerable_out():
    assert "answerable" not in to_record(an_item(gold=None))
    assert to_record(an_item(gold=None, answerable=False))["answerable"] is False


def test_a_clip_outside_the_root_has_no_record():
    with pytest.raises(BenchmarkError, match=r"item '1': clip /data/clips/1\.wav lies outside /other"):
        to_record(an_item(), "/other")


BENCHMARKS = [
    ("MMAU's own sources", {"dataset": "AudioSet"}, None, "mmau"),
    ("no source", {"dataset": None}, None, "mmau"),
    ("the embedded benchmark's", {"dataset": "mini"}, None, "mini"),
    ("as the caller says", {"dataset": "AudioSet"}, "mini", "mini"),
]


@pytest.mark.parametrize("case, changes, said, benchmark", BENCHMARKS, ids=[row[0] for row in BENCHMARKS])
def test_a_records_benchmark_is_told_by_its_dataset(case, changes, said, benchmark):
    assert from_record(a_record(**changes), "/data", benchmark=said).benchmark == benchmark


def test_the_generators_extra_fields_are_kept():
    extras = {"answer": None, "answerable": False, "unanswerable_reason": "wrong_category", "novel": True}
    item = from_record(a_record(**extras, seconds=4.2, truth={"type": "music"}), "/data")
    assert (item.gold, item.answerable, item.reason, item.kind) == (
        None,
        False,
        "wrong_category",
        "ungrounded",
    )
    assert item.novel is True
    assert item.annotations == {"type": "music", "seconds": 4.2}


ANSWERS = [
    ("exact", "A cat", ["A dog", "A cat"], 1),
    ("spaces around", "  A cat\n", ["A dog", " A cat "], 1),
    ("another case", "a CAT", ["A dog", "A cat"], 1),
    ("another Unicode form", "cafe\u0301 ①", ["the", "Café 1"], 1),
    ("first of duplicates", "C", ["G", "C", "C"], 1),
    ("exact before folded", "cm7", ["CM7", "cm7"], 1),
]


@pytest.mark.parametrize("case, answer, choices, gold", ANSWERS, ids=[row[0] for row in ANSWERS])
def test_the_answer_finds_its_option(case, answer, choices, gold):
    assert from_record(a_record(answer=answer, choices=choices), "/data").gold == gold


REFUSED = [
    ("answer no option", {"answer": "A horse"}, "answer 'A horse' is no option of"),
    ("answer a letter", {"answer": "B"}, "answer 'B' is no option of"),
    (
        "answer two options but for case",
        {"answer": "Cm7", "choices": ["CM7", "cm7"]},
        "'Cm7' is more than one option",
    ),
    ("answer a number", {"answer": 2}, "answer 2 is no text"),
    ("answer blank", {"answer": "  "}, "answer '  ' is blank"),
    ("answer of an unanswerable item", {"answerable": False}, "answer 'A cat', but answerable is false"),
    (
        "no answer though answerable",
        {"answerable": True, "answer": None},
        "answerable is true, but answer empty",
    ),
    ("answerable as text", {"answerable": "no"}, "answerable 'no' is neither true nor false"),
    ("choices as text", {"choices": "A dog, A cat"}, "choices 'A dog, A cat' are no list"),
    ("a choice that is a number", {"choices": [1, 2], "answer": "1"}, "option 1 is no text"),
    ("a blank choice", {"choices": ["A cat", " "]}, "option ' ' is blank"),
    ("one choice", {"choices": ["A cat"]}, "number of options is 1; there must be 2 to 26"),
    ("no choices", {"choices": [], "answer": None}, "number of options is 0"),
    ("blank question", {"question": " \t"}, r"question ' \\t' is blank"),
    ("blank id", {"id": ""}, "item '': id '' is blank"),
    ("id a number", {"id": 7}, "item 7: id 7 is no text"),
    ("modality a list", {"task": ["sound"]}, r"modality \['sound'\] is no text"),
    ("unknown modality", {"task": "vision"}, "modality 'vision'"),
    ("unknown level", {"difficulty": "brutal"}, "level 'brutal'"),
    ("category an object", {"category": {"a": 1}}, "category {'a': 1} is no text"),
    ("truth a text", {"truth": "dog"}, "truth 'dog' is no object"),
    ("novel a text", {"novel": "yes"}, "novel 'yes'"),
    ("reason of an answerable item", {"unanswerable_reason": "silence"}, "reason 'silence'"),
    ("clip blank", {"audio_id": ""}, "clip '' is blank"),
    ("clip not told", {"audio_id": None}, "clip None is no text"),
    ("clip above", {"audio_id": "../1.wav"}, r"clip '\.\./1\.wav' leaves the folder /data"),
    ("clip above and back", {"audio_id": "a/../../data/1.wav"}, "leaves the folder /data"),
    ("clip above, with backslashes", {"audio_id": "..\\1.wav"}, "leaves the folder /data"),
    ("clip absolute", {"audio_id": "/etc/passwd"}, "clip '/etc/passwd' leaves the folder /data"),
    ("clip on a drive", {"audio_id": "C:\\1.wav"}, "leaves the folder /data"),
    ("clip with a null", {"audio_id": "a\0.wav"}, r"clip 'a\\x00\.wav' is no path"),
]


@pytest.mark.parametrize("case, changes, message", REFUSED, ids=[row[0] for row in REFUSED])
def test_a_record_that_breaks_a_rule_is_refused(case, changes, message):
    with pytest.raises(BenchmarkError, match=message) as excinfo:
        from_record(a_record(**changes), "/data")
    assert str(excinfo.value).startswith(f"item {a_record(**changes)['id']!r}: ")


def test_the_error_of_a_file_names_file_place_item_rule_and_next_step(tmp_path):
    folder = a_folder(tmp_path, [a_record(), a_record(id="2", answer="A horse")], clips=False)
    with pytest.raises(BenchmarkError) as excinfo:
        load(folder, need_clips=False)
    assert str(excinfo.value) == (
        f"{folder}/questions.json, element 2, item '2': answer 'A horse' is no option of "
        "['A dog', 'A cat', 'A cow', 'A hen']; mend or remove it in a copy of the file"
    )


@pytest.mark.parametrize("key", ["id", "audio_id", "question", "choices", "answer", "task"])
def test_a_missing_field_is_named(key):
    record = a_record()
    del record[key]
    with pytest.raises(BenchmarkError, match=f"missing field {key}"):
        from_record(record, "/data")


def test_a_link_may_not_lead_out_of_the_folder(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    write_clip(outside / "1.wav", np.zeros(RATE))
    (folder / "clips").symlink_to(outside)
    with pytest.raises(BenchmarkError, match=r"clip '\./clips/1\.wav' leaves the folder"):
        from_record(a_record(), folder)


def test_a_link_within_the_folder_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    write_clip(tmp_path / "real" / "1.wav", np.zeros(RATE))
    (tmp_path / "clips").symlink_to(tmp_path / "real")
    assert from_record(a_record(), tmp_path).clip == (tmp_path / "real" / "1.wav").resolve()


def test_links_in_a_circle_are_an_error(tmp_path):
    (tmp_path / "clips").symlink_to(tmp_path / "clips")
    folder = a_folder_without_clips(tmp_path)
    with pytest.raises(BenchmarkError, match=r"item '1': "):
        load(folder)


def a_folder_without_clips(tmp_path: Path) -> Path:
    (tmp_path / "questions.json").write_text(json.dumps([a_record()]), encoding="utf-8")
    return tmp_path
