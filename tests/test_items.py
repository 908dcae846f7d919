"""Items keep their rules, load whole from real files, sample evenly, and come back from records."""

from __future__ import annotations

import json
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from lalm_utils.audio import RATE, read_clip, write_clip
from lalm_utils.benchmarks import load
from lalm_utils.items import BenchmarkError, Item, from_record, sample, to_record

SHARED = Path(__file__).resolve().parents[2] / "shared"


def official(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"needs the official files of {name} in {SHARED}")
    return SHARED / name


def an_item(**changes) -> Item:
    fields = {
        "id": "1",
        "benchmark": "mini",
        "split": "test",
        "modality": "sound",
        "question": "What barks?",
        "options": ("A dog", "A cat", "A cow", "A hen"),
        "gold": 0,
        "clip": Path("/data/clips/1.wav"),
    }
    return Item(**{**fields, **changes})


def a_record(**changes) -> dict:
    fields = {
        "id": "1",
        "audio_id": "./clips/1.wav",
        "question": "What barks?",
        "choices": ["A dog", "A cat", "A cow", "A hen"],
        "answer": "A cat",
        "dataset": "AudioSet",
        "task": "sound",
        "split": "test-mini",
        "category": "Reasoning",
        "sub-category": "Acoustic Source Inference",
        "difficulty": "easy",
    }
    return {**fields, **changes}


def a_folder(tmp_path: Path, records: list[dict], *, clips: bool = True) -> Path:
    """An MMAU folder with a tone for every record."""
    (tmp_path / "questions.json").write_text(json.dumps(records), encoding="utf-8")
    (tmp_path / "clips").mkdir(exist_ok=True)
    for record in records if clips else ():
        write_clip(tmp_path / record["audio_id"], np.full(RATE, 0.1))
    return tmp_path


def numbered(count: int, **changes) -> list[dict]:
    return [a_record(id=f"{i}", audio_id=f"./clips/{i}.wav", **changes) for i in range(count)]


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


SORTS = [
    ("silence", "inaudible"),
    ("masked", "inaudible"),
    ("option_removed", "ungrounded"),
    ("wrong_category", "ungrounded"),
    ("", ""),
]


@pytest.mark.parametrize("reason, sort", SORTS)
def test_an_unanswerable_items_reason_tells_its_sort(reason, sort):
    assert an_item(gold=None, answerable=False, reason=reason).sort == sort


def test_an_answerable_item_is_of_no_sort():
    assert an_item().sort == ""


def test_an_item_is_frozen():
    with pytest.raises(AttributeError, match="cannot assign to field 'gold'"):
        an_item().gold = 1


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


# ---- official files ------------------------------------------------------------------------------


def test_mmau_loads_whole():
    items = load(official("mmau"), need_clips=False)
    assert Counter(item.modality for item in items) == {"sound": 333, "music": 334, "speech": 333}
    assert Counter(len(item.options) for item in items) == {4: 948, 2: 27, 5: 24, 8: 1}
    assert sum(len(set(item.options)) < len(item.options) for item in items) == 27
    assert (
        sum(item.chance > 1 / len(item.options) for item in items) == 16
    )  # the gold is among the duplicates
    assert Counter(item.level for item in items) == {"easy": 224, "medium": 540, "hard": 236}
    assert {item.category for item in items} == {"Reasoning", "Information Extraction"}
    assert {(item.benchmark, item.split, item.answerable) for item in items} == {("mmau", "test-mini", True)}


def test_every_gold_of_mmau_and_mmar_is_the_files_answer():
    rows = json.loads((official("mmau") / "mmau-test-mini.json").read_text(encoding="utf-8"))
    lines = (official("mmar") / "MMAR-meta.jsonl").read_text(encoding="utf-8")
    rows += [json.loads(line) for line in lines.splitlines()]
    items = load(official("mmau"), need_clips=False) + load(official("mmar"), need_clips=False)
    assert [item.id for item in items] == [row["id"] for row in rows]
    assert [item.options[item.gold] for item in items] == [row["answer"].strip() for row in rows]
    assert [item.gold for item in items] == [row["choices"].index(row["answer"]) for row in rows]


def test_mmar_loads_whole_with_its_mixes():
    items = load(official("mmar"), need_clips=False)
    assert Counter(item.modality for item in items) == {
        "speech": 294,
        "music": 206,
        "sound": 165,
        "mix-sound-speech": 218,
        "mix-music-speech": 82,
        "mix-sound-music-speech": 24,
        "mix-sound-music": 11,
    }
    assert {(item.benchmark, item.split) for item in items} == {("mmar", "test")}
    assert items[0].task == "Professional Knowledge and Reasoning"


def test_mmars_four_empty_last_choices_are_left_out_and_said(caplog):
    options = Counter(len(item.options) for item in load(official("mmar"), need_clips=False))
    assert options == {4: 815 + 3, 2: 171 + 1, 3: 10 - 1, 6: 1}
    assert [record.getMessage().split("the ")[1] for record in caplog.records] == [
        "last choice is empty and left out"
    ] * 4


@pytest.mark.parametrize("hop", ["single", "multi"])
def test_sakura_loads_whole_with_clips_that_can_be_read(hop):
    items = load(official("sakura"), split=hop)
    assert Counter(item.category for item in items) == dict.fromkeys(
        ("Animal", "Emotion", "Gender", "Language"), 120
    )
    assert {(item.category == "Animal", item.modality) for item in items} == {
        (True, "sound"),
        (False, "speech"),
    }
    assert Counter(len(item.options) for item in items) == {4: 360, 2: 120}
    assert not any("(a)" in text for item in items for text in (item.question, *item.options))
    assert {item.split for item in items} == {hop}
    assert all(item.clip.is_absolute() for item in items)
    assert read_clip(items[0].clip).seconds > 0.1


def test_sakuras_single_hop_gold_is_the_clips_label():
    items = load(official("sakura"), need_clips=False)
    wrong = [item.id for item in items if item.options[item.gold].lower() != item.truth["label"].lower()]
    assert wrong == []


# ---- clips ---------------------------------------------------------------------------------------


def test_clips_that_are_there_pass(tmp_path):
    items = load(a_folder(tmp_path, numbered(3)))
    assert [item.clip for item in items] == [tmp_path.resolve() / "clips" / f"{i}.wav" for i in range(3)]


def test_missing_and_unreadable_clips_are_listed_in_one_error(tmp_path):
    folder = a_folder(tmp_path, numbered(9))
    for i in range(2, 8):
        (folder / "clips" / f"{i}.wav").unlink()
    (folder / "clips" / "1.wav").write_text("no audio")
    with pytest.raises(BenchmarkError) as caught:
        load(folder)
    message = str(caught.value)
    assert f"{folder}: 7 of 9 items have a missing or unreadable clip, the first 5" in message
    assert message.count("\n  item ") == 5
    assert "item '1': " in message
    assert "1.wav: not readable as audio" in message
    assert "2.wav: no such file" in message
    assert "need_clips=False" in message


def test_a_clip_under_a_tenth_of_a_second_is_an_error(tmp_path):
    folder = a_folder(tmp_path, numbered(1))
    soundfile.write(folder / "clips" / "0.wav", np.zeros(1000), RATE)
    with pytest.raises(BenchmarkError, match=r"1 of 1 items .*\n.*s long; a clip needs at least 0\.1 s"):
        load(folder)


def test_a_name_too_long_for_the_disk_is_a_missing_clip(tmp_path):
    folder = a_folder(tmp_path, [a_record(audio_id="x" * 300 + ".wav")], clips=False)
    with pytest.raises(BenchmarkError, match="1 of 1 items have a missing or unreadable clip"):
        load(folder)


def test_questions_load_without_audio_when_asked(tmp_path):
    assert len(load(a_folder(tmp_path, numbered(3), clips=False), need_clips=False)) == 3


def test_only_the_clips_of_the_sample_are_needed(tmp_path):
    folder = a_folder(tmp_path, numbered(5))
    chosen = load(folder, n=2)
    for i in set("01234") - {item.id for item in chosen}:
        (folder / "clips" / f"{i}.wav").unlink()
    assert load(folder, n=2) == chosen


# ---- what else load refuses ----------------------------------------------------------------------


def test_an_id_that_stands_twice_is_an_error(tmp_path):
    folder = a_folder(tmp_path, [*numbered(3), a_record(id="1")])
    with pytest.raises(BenchmarkError, match="item '1': duplicate id, 1 such; an id names one item"):
        load(folder)


def test_ids_that_differ_by_spaces_alone_are_duplicates(tmp_path):
    folder = a_folder(tmp_path, [a_record(id="1"), a_record(id=" 1")])
    with pytest.raises(BenchmarkError, match="item '1': duplicate id"):
        load(folder)


@pytest.mark.parametrize("n", [0, -3, 1.5, "10", True])
def test_a_sample_size_that_is_no_positive_integer_is_refused(tmp_path, n):
    with pytest.raises(BenchmarkError, match="a sample has at least 1 item; give an integer, or None"):
        load(a_folder(tmp_path, numbered(3)), n=n)


def test_numpys_integers_are_integers(tmp_path):
    assert len(load(a_folder(tmp_path, numbered(3)), n=np.int64(2))) == 2


@pytest.fixture
def fake_mini(monkeypatch, tmp_path):
    """Stands in for the embedded benchmark: remembers which split was asked for."""
    splits = []

    def ensure(split):
        splits.append(split)
        return a_folder(tmp_path, numbered(5, split=split, dataset="mini"), clips=False)

    package, module = types.ModuleType("lalm_utils.mini"), types.ModuleType("lalm_utils.mini.benchmark")
    module.ensure = ensure
    package.benchmark = module
    monkeypatch.setitem(sys.modules, "lalm_utils.mini", package)
    monkeypatch.setitem(sys.modules, "lalm_utils.mini.benchmark", module)
    return splits


def test_mini_is_the_embedded_benchmark_and_its_test_split_the_default(fake_mini):
    assert len(load("mini", need_clips=False)) == 5
    assert len(load("mini", split="idk", n=2, need_clips=False)) == 2
    assert fake_mini == ["test", "idk"]


def test_minis_clips_are_checked_like_any_others(fake_mini):
    with pytest.raises(BenchmarkError, match="mini: 5 of 5 items have a missing or unreadable clip"):
        load("mini")


def test_a_folder_called_mini_is_reached_by_a_path(tmp_path, monkeypatch):
    (tmp_path / "mini").mkdir()
    a_folder(tmp_path / "mini", numbered(2))
    monkeypatch.chdir(tmp_path)
    assert len(load("./mini")) == 2


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
    there, taken = Counter(i.modality for i in items), Counter(i.modality for i in chosen)
    for modality in there:
        # Less than another by two or more only where there is no more of it.
        assert taken[modality] >= max(taken.values()) - 1 or taken[modality] == there[modality]


def test_another_seed_takes_another_sample():
    items = [an_item(id=f"{i}") for i in range(200)]
    first, second = ({item.id for item in sample(items, 100, seed=seed)} for seed in (0, 1))
    assert 30 < len(first & second) < 70


def test_every_item_is_taken_equally_often_over_seeds():
    items = [an_item(id=f"{i}") for i in range(10)]
    taken = Counter(item.id for seed in range(2000) for item in sample(items, 3, seed=seed))
    assert all(count == pytest.approx(600, abs=110) for count in taken.values())  # 5 standard deviations


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
    ("with truth", {"truth": {"caption": "a dog barks", "seconds": 3.5}}),
    ("of MMAR", {"benchmark": "mmar", "modality": "mix-sound-music-speech"}),
    ("of SAKURA", {"benchmark": "sakura", "split": "multi", "truth": {"label": "dog"}}),
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
    assert (item.gold, item.answerable, item.reason, item.sort) == (
        None,
        False,
        "wrong_category",
        "ungrounded",
    )
    assert item.novel is True
    assert item.truth == {"type": "music", "seconds": 4.2}


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
    with pytest.raises(BenchmarkError, match=message) as caught:
        from_record(a_record(**changes), "/data")
    assert str(caught.value).startswith(f"item {a_record(**changes)['id']!r}: ")


def test_the_error_of_a_file_names_file_place_item_rule_and_next_step(tmp_path):
    folder = a_folder(tmp_path, [a_record(), a_record(id="2", answer="A horse")], clips=False)
    with pytest.raises(BenchmarkError) as caught:
        load(folder, need_clips=False)
    assert str(caught.value) == (
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
