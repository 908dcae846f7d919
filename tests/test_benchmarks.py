"""Question files are told apart by what is in them, read whole, and refused by file and line."""

from __future__ import annotations

import csv
import json
import sys
import types
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from records import a_folder, a_record, numbered, official

from lalm_utils import benchmarks
from lalm_utils.audio import RATE, read_clip, write_clip
from lalm_utils.benchmarks import SAKURA_COLUMNS, load, read_records, split_options
from lalm_utils.items import BenchmarkError

MMAU = {
    "id": "a1",
    "audio_id": "./clips/a1.wav",
    "question": "What barks?",
    "choices": ["A dog", "A cat"],
    "answer": "A dog",
    "dataset": "AudioSet",
    "task": "sound",
    "split": "test-mini",
    "category": ["Reasoning"],
    "sub-category": "Counting",
    "difficulty": "hard",
}
MMAR = {
    "id": "r1",
    "audio_path": "./audio/r1.wav",
    "question": "Who sings?",
    "choices": ["A man", "A woman", "Both"],
    "answer": "Both",
    "modality": "mix-music-speech",
    "category": "Semantic Layer",
    "sub-category": "Content Analysis",
    "language": None,
}
SAKURA = {
    "file": "dog1.wav",
    "attribute_label": "dog",
    "single_instruction": "Which animal? (a) cat (b) dog ",
    "single_answer": " (b) dog",
    "multi_instruction": "What does it do? (a) It barks, loudly. (b) It mews.",
    "multi_answer": "(a) It barks, loudly. ",
}


def write_file(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def lines(*records: dict) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def a_track(root: Path, *rows: dict, track: str = "Animal", columns: tuple[str, ...] = tuple(SAKURA)) -> Path:
    path = write_file(root / "data" / track / "metadata.csv", "")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return root


def load_questions(path: Path, **options):
    return load(path, need_clips=False, **options)


# ---- which layout it is ----------------------------------------------------------------------------

LAYOUTS = [
    ("MMAU as an array", "q.json", json.dumps([MMAU], indent=2), "mmau"),
    ("MMAU, one object a line", "q.json", lines(MMAU), "mmau"),
    ("MMAU under MMAR's name", "MMAR-meta.jsonl", lines(MMAU), "mmau"),
    ("MMAR, one object a line", "q.jsonl", lines(MMAR), "mmar"),
    ("MMAR as an array", "q.jsonl", json.dumps([MMAR]), "mmar"),
    ("MMAR under MMAU's name", "mmau-test-mini.json", json.dumps([MMAR]), "mmar"),
    ("the embedded benchmark's own", "items.json", json.dumps([{**MMAU, "dataset": "mini"}]), "mini"),
    ("no suffix at all", "questions", lines(MMAR), "mmar"),
    ("a byte order mark", "q.json", "\ufeff" + json.dumps([MMAU]), "mmau"),
    ("blank lines between", "q.jsonl", "\n" + lines(MMAR).replace("\n", "\r\n\r\n"), "mmar"),
]


@pytest.mark.parametrize("case, name, text, benchmark", LAYOUTS, ids=[row[0] for row in LAYOUTS])
def test_a_question_file_is_told_by_its_content(tmp_path, case, name, text, benchmark):
    (item,) = load_questions(write_file(tmp_path / name, text))
    assert item.benchmark == benchmark


def test_mmau_fields_find_their_place(tmp_path):
    (item,) = load_questions(write_file(tmp_path / "q.json", [MMAU]))
    assert (item.id, item.split, item.modality, item.level) == ("a1", "test-mini", "sound", "hard")
    assert (item.category, item.task, item.options, item.gold) == (
        "Reasoning",
        "Counting",
        ("A dog", "A cat"),
        0,
    )
    assert item.clip == tmp_path.resolve() / "clips" / "a1.wav"


def test_mmar_fields_find_their_place(tmp_path):
    (item,) = load_questions(write_file(tmp_path / "q.jsonl", lines(MMAR)))
    assert (item.id, item.split, item.modality, item.level) == ("r1", "test", "mix-music-speech", "")
    assert (item.category, item.task, item.gold) == ("Semantic Layer", "Content Analysis", 2)
    assert item.clip == tmp_path.resolve() / "audio" / "r1.wav"


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path):
    question = "Who\u2028sings\x85now?"
    (item,) = load_questions(write_file(tmp_path / "q.jsonl", lines({**MMAR, "question": question})))
    assert item.question == question


WITHHELD = [("null", None), ("empty", "")]


@pytest.mark.parametrize("case, answer", WITHHELD, ids=[row[0] for row in WITHHELD])
def test_a_withheld_answer_leaves_an_item_that_can_be_asked_but_not_graded(tmp_path, case, answer):
    (item,) = load_questions(write_file(tmp_path / "q.json", [{**MMAU, "answer": answer}]))
    assert (item.gold, item.answerable) == (None, True)


def test_an_unanswerable_item_says_so_itself(tmp_path):
    record = {**MMAU, "answer": None, "answerable": False, "unanswerable_reason": "silence"}
    (item,) = load_questions(write_file(tmp_path / "q.json", [record]))
    assert (item.gold, item.answerable, item.kind) == (None, False, "inaudible")


# ---- further layouts --------------------------------------------------------------------------------

AQUA = {
    "id": 3,
    "type": "IAQD",
    "subtype": "place",
    "question": "Where is the animal? (a) Library (b) Beach (c) Unanswerable\nSelect your answer.",
    "options": ["Library", "Beach", "Unanswerable"],
    "answer": "Unanswerable",
    "audio_verb": "barking",
    "question_verb": "barking",
    "audio_id": "5-2-A-0",
    "audio_filename": "ESC-50-master/audio_16k/5-2-A-0.wav",
    "audio_animal": "Dog",
}
DCASE = {
    "id": 12,
    "audio_path": "dev_audios/12.wav",
    "question_text": "What is heard first?",
    "multi_choice": ["A bell", "A horn"],
    "answer": "A horn",
}
PRO = {
    "id": "p1",
    "audio_path": ["data/p1.wav"],
    "question": "What plays?",
    "answer": "A harp",
    "choices": ["A harp", "A lute"],
    "length_type": "short",
    "perceptual_skills": ["Timbre"],
    "reasoning_skills": [],
    "category": "sound_music",
    "transcription": None,
    "task_classification": None,
    "sub-cat": "instruments",
}


def test_aqua_bench_s_unanswerable_questions_are_unanswerable_and_their_last_option_declines(tmp_path):
    solvable = AQUA | {
        "id": 0, "type": "Solvable", "question": "Which animal? (a) Dog (b) Cow\nPick one.", "options": ["Dog", "Cow"],
        "answer": "Cow", "audio_filename": "/net/someone/vocalsound_16k/audio_16k/m1_0_cough.wav",
    }  # fmt: skip
    record = AQUA | {"id": 4, "type": "AAD", "audio_filename": "/net/x/music_dataset/Piano/302.wav"}
    path = write_file(tmp_path / "AQUA-Bench.json", [solvable, AQUA, record])
    first, second, third = load_questions(path)
    assert (first.id, first.gold, first.answerable, first.declining) == ("0", 1, True, None)
    assert first.question == "Which animal?\nPick one."
    assert first.clip == tmp_path / "vocalsound_16k/audio_16k/m1_0_cough.wav"
    assert (second.gold, second.answerable, second.options[second.declining]) == (None, False, "Unanswerable")
    assert (second.reason, second.kind, second.category, second.task) == (
        "unfit_question", "ungrounded", "IAQD", "place")  # fmt: skip
    assert [item.modality for item in (first, second, third)] == ["sound", "sound", "music"]
    assert third.clip == tmp_path / "music_dataset/Piano/302.wav"
    assert {item.benchmark for item in (first, second, third)} == {"aqua-bench"}


def test_aqua_bench_s_hint_behind_the_options_stays_in_the_question(tmp_path):
    hint = 'Choose "Unanswerable" if the recording does not tell.'
    path = write_file(tmp_path / "q.json", [AQUA | {"question": AQUA["question"] + " " + hint}])
    assert load_questions(path)[0].question.endswith(hint)
    assert "(a)" not in load_questions(path)[0].question


def test_an_unknown_type_of_aqua_bench_is_refused(tmp_path):
    with pytest.raises(
        BenchmarkError, match=r"type 'Odd'; Solvable, AAD, IASD, IAQD are known; mend the record"
    ):
        load_questions(write_file(tmp_path / "q.json", [AQUA | {"type": "Odd"}]))


def test_dcase_2026_task_5_loads_with_and_without_answers(tmp_path):
    unanswered = {key: value for key, value in DCASE.items() if key != "answer"} | {"id": 13}
    first, second = load_questions(write_file(tmp_path / "dev.jsonl", lines(DCASE, unanswered)))
    assert (first.id, first.question, first.options[first.gold]) == ("12", "What is heard first?", "A horn")
    assert (first.benchmark, first.modality) == ("dcase", "mix-sound-music-speech")
    assert first.clip == tmp_path / "dev_audios/12.wav"
    assert (second.gold, second.answerable) == (None, True)  # withheld: asked, not graded


def test_mmau_pro_loads_and_says_what_it_leaves_out(tmp_path, caplog):
    both = PRO | {"id": "p2", "audio_path": ["data/a.wav", "data/b.wav"]}
    path = write_file(tmp_path / "test.jsonl", lines(PRO, both, PRO | {"id": "p3", "choices": None}))
    (item,) = load_questions(path)
    assert (item.id, item.gold, item.modality, item.task) == ("p1", 0, "mix-sound-music", "instruments")
    assert item.clip == tmp_path / "data/p1.wav"
    assert "1 of 3 records have several clips and are left out" in caplog.text
    assert "1 of 3 records have no options to choose from and are left out" in caplog.text
    with pytest.raises(BenchmarkError, match="no record is a multiple-choice question about one clip"):
        load_questions(write_file(tmp_path / "several.jsonl", lines(both)))


@pytest.mark.parametrize("category, modality", [("speech", "speech"), ("voice", "mix-sound-music-speech")])
def test_a_category_of_mmau_pro_names_the_modality_or_does_not(tmp_path, category, modality):
    path = write_file(tmp_path / "test.jsonl", lines(PRO | {"category": category}))
    assert load_questions(path)[0].modality == modality


def test_a_parquet_table_is_refused_with_the_way_to_convert_it(tmp_path):
    path = write_file(tmp_path / "test.parquet", b"PAR1\x15\x04\xff\xfePAR1")
    with pytest.raises(
        BenchmarkError, match=r"parquet table.*pandas.read_parquet\('test.parquet'\).to_json\("
    ):
        load_questions(path)


# ---- folders and splits ----------------------------------------------------------------------------


def test_a_folder_stands_for_its_only_question_file(tmp_path):
    write_file(tmp_path / "q.json", [MMAU])
    write_file(tmp_path / "evaluation.py", "print()")
    assert [item.id for item in load_questions(tmp_path)] == ["a1"]


def test_a_manifest_beside_the_questions_is_no_rival(tmp_path):
    write_file(tmp_path / "items.json", [MMAU])
    write_file(tmp_path / "manifest.json", json.dumps({"items.json": "0" * 64}, indent=1))
    write_file(tmp_path / "manifest_on_one_line.json", {"items.json": "0" * 64})
    assert [item.id for item in load_questions(tmp_path)] == ["a1"]


def test_two_question_files_in_a_folder_are_not_chosen_between(tmp_path):
    write_file(tmp_path / "a.json", [MMAU])
    write_file(tmp_path / "b.json", "[ damaged")
    write_file(tmp_path / "c.jsonl", lines(MMAR))
    with pytest.raises(BenchmarkError, match=r"found a\.json, b\.json, c\.jsonl; give the file's own path"):
        load_questions(tmp_path)


def test_a_folder_without_questions_says_what_is_expected(tmp_path):
    with pytest.raises(BenchmarkError, match=r"one question file .* or SAKURA's .* found none"):
        load_questions(tmp_path)


def test_a_split_chooses_its_items(tmp_path):
    file = write_file(tmp_path / "q.json", [MMAU, {**MMAU, "id": "a2", "split": "test"}])
    assert [item.id for item in load_questions(file)] == ["a1", "a2"]
    assert [item.id for item in load_questions(file, split="test")] == ["a2"]


def test_a_split_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    file = write_file(tmp_path / "q.json", [MMAU, {**MMAU, "id": "a2", "split": "test"}])
    with pytest.raises(BenchmarkError, match="no item of split 'dev'; it holds test, test-mini; choose one"):
        load_questions(file, split="dev")


# ---- MMAR's stray choices --------------------------------------------------------------------------


def test_an_empty_last_choice_of_mmar_is_left_out_and_said(tmp_path, caplog):
    (item,) = load_questions(
        write_file(tmp_path / "q.jsonl", lines({**MMAR, "choices": [*MMAR["choices"], ""]}))
    )
    assert item.options == ("A man", "A woman", "Both")
    assert caplog.messages == ["item 'r1' of MMAR: the last choice is empty and left out"]


STRAY = [
    ("in the middle of MMAR's", {**MMAR, "choices": ["A man", "", "Both"]}),
    ("twice at the end of MMAR's", {**MMAR, "choices": ["A man", "Both", "", ""]}),
    ("at the end of MMAU's", {**MMAU, "choices": ["A dog", "A cat", ""]}),
]


@pytest.mark.parametrize("case, record", STRAY, ids=[row[0] for row in STRAY])
def test_an_empty_choice_anywhere_else_is_an_error(tmp_path, case, record):
    with pytest.raises(BenchmarkError, match="option '' is blank"):
        load_questions(write_file(tmp_path / "q.jsonl", lines(record)))


# ---- files that are refused ------------------------------------------------------------------------

DEEP = "[" * 100_000
REFUSED = [
    ("nothing", "", "empty file; fetch it again"),
    ("spaces", " \n\t\n", "empty file; fetch it again"),
    ("an array of nothing", "[]", "empty, an array without items"),
    ("no JSON", "What barks?", r"not JSON at line 1, column 1 \(Expecting value\)"),
    ("a bad line", lines(MMAR) + "\n{'id': 1}\n", r"not JSON at line 3, column 2 \(Expecting property name"),
    ("a bad line of an array", '[\n{"id": 1},\n{"id" 2}\n]', "not JSON at line 3, column 7"),
    (
        "an array cut short",
        json.dumps([MMAU], indent=1)[:-20],
        r"not JSON at line \d+, .* fetch the file again",
    ),
    (
        "a pretty-printed object",
        json.dumps(MMAU, indent=1),
        "expected an array of objects or one object a line",
    ),
    ("two values on a line", lines(MMAR).strip() + " 7", r"not JSON at line 1, column \d+ \(Extra data\)"),
    ("a comment", lines(MMAR) + "# end", "not JSON at line 2, column 1"),
    ("brackets without end", DEEP, "JSON from line 1 on is refused"),
    ("a number without end", '[{"id": ' + "9" * 5000 + "}]", "JSON from line 1 on is refused"),
    ("a key that stands twice", '[{"id": "1", "id": "2"}]', r"a key stands twice among id, id"),
    ("an array of texts", '["A dog"]', "element 1: a text, but an item is a JSON object"),
    ("a null among items", json.dumps([MMAU, None]), "element 2: null, but an item is a JSON object"),
    ("a line that is an array", lines(MMAR) + "[1]", "line 2: an array, but an item is a JSON object"),
    ("not UTF-8", '[{"id": "é"}]'.encode("latin-1"), "not UTF-8 at byte 9; save it as UTF-8"),
    ("UTF-16", json.dumps([MMAU]).encode("utf-16"), "not UTF-8 at byte 0"),
    (
        "half a surrogate pair",
        json.dumps([{**MMAU, "question": "\ud83d?"}]),
        "element 1: half a surrogate pair",
    ),
    (
        "another benchmark",
        lines({"id": "1", "audio": "x.wav"}),
        r"neither MMAU .* nor MMAR .* has id, audio; add",
    ),
    ("an empty object", "{}", "the first record has no keys"),
    (
        "MMAU without question",
        [{k: v for k, v in MMAU.items() if k != "question"}],
        "'a1': missing field question",
    ),
    (
        "MMAR without answer and id",
        lines({k: v for k, v in MMAR.items() if k not in ("id", "answer")}),
        "line 1, item None: missing field id, answer; MMAR needs id, audio_path",
    ),
    ("MMAR after MMAU", [MMAU, MMAR], "element 2, item 'r1': missing field audio_id, task; MMAU needs"),
]


@pytest.mark.parametrize("case, content, message", REFUSED, ids=[row[0] for row in REFUSED])
def test_a_file_that_holds_no_items_is_refused_by_name(tmp_path, case, content, message):
    file = write_file(tmp_path / "q.json", content)
    with pytest.raises(BenchmarkError, match=message) as excinfo:
        load_questions(file)
    assert str(excinfo.value).startswith(str(file))


def test_a_file_beyond_the_limit_is_not_read(tmp_path, monkeypatch):
    file = write_file(tmp_path / "q.json", [MMAU])
    monkeypatch.setattr(benchmarks, "MAX_BYTES", file.stat().st_size)
    assert len(load_questions(file)) == 1
    monkeypatch.setattr(benchmarks, "MAX_BYTES", 100)
    with pytest.raises(BenchmarkError, match=r"\d+ bytes; a question file has at most 100; split it"):
        load_questions(file)


@pytest.mark.parametrize("name", ["nowhere", "no/where.json", "x" * 5000, "null\0byte"])
def test_a_path_that_is_not_there_is_no_benchmark(tmp_path, name):
    with pytest.raises(BenchmarkError, match=r'no such file or folder; give "mini"|cannot be opened'):
        load_questions(tmp_path / name)


# ---- SAKURA ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [".", "data", "data/Animal", "data/Animal/metadata.csv"])
def test_sakura_is_found_from_its_root_its_data_or_one_track(tmp_path, where):
    (item,) = load_questions(a_track(tmp_path, SAKURA) / where)
    assert (item.id, item.benchmark, item.split) == ("Animal/dog1.wav/single", "sakura", "single")
    assert (item.question, item.options, item.gold) == ("Which animal?", ("cat", "dog"), 1)
    assert item.clip == tmp_path.resolve() / "data" / "Animal" / "audio" / "dog1.wav"
    assert (item.category, item.annotations) == ("Animal", {"label": "dog"})


def test_the_second_hop_is_another_item_about_the_same_clip(tmp_path):
    (single,), (multi,) = (
        load_questions(a_track(tmp_path, SAKURA), split=hop) for hop in ("single", "multi")
    )
    assert single.clip == multi.clip
    assert (multi.id, multi.split) == ("Animal/dog1.wav/multi", "multi")
    assert (multi.options, multi.gold) == (("It barks, loudly.", "It mews."), 0)


@pytest.mark.parametrize("track, modality", benchmarks.TRACKS.items())
def test_a_track_decides_the_modality(tmp_path, track, modality):
    (item,) = load_questions(a_track(tmp_path, SAKURA, track=track))
    assert item.modality == modality


def test_the_same_file_name_in_two_tracks_is_no_duplicate(tmp_path):
    a_track(tmp_path, SAKURA, track="Emotion")
    assert len({item.id for item in load_questions(a_track(tmp_path, SAKURA))}) == 2


INSTRUCTIONS = [
    ("as published", "Which? (a) pig (b) dog", ("Which?", ["pig", "dog"])),
    ("on lines", "Which?\n(a) pig\n(b) dog\n(c) hen", ("Which?", ["pig", "dog", "hen"])),
    ("capitals", "Which? (A) pig (B) dog", ("Which?", ["pig", "dog"])),
    (
        "a plural in brackets",
        "Which sound(s)? (a) pig(s) (b) dog(s)",
        ("Which sound(s)?", ["pig(s)", "dog(s)"]),
    ),
    ("an (a) in the question", "Is (a) right? (a) yes (b) no", ("Is (a) right?", ["yes", "no"])),
    ("other brackets", "Which (one)? (a) pig (pink) (b) dog", ("Which (one)?", ["pig (pink)", "dog"])),
]


@pytest.mark.parametrize("case, text, expected", INSTRUCTIONS, ids=[row[0] for row in INSTRUCTIONS])
def test_options_are_cut_from_the_question(case, text, expected):
    assert split_options(text) == expected


ANSWERS = [
    ("spaces around", " (b)  dog ", 1),
    ("capital letter", "(B) Dog", 1),
    ("no letter", "dog", 1),
]


@pytest.mark.parametrize("case, answer, gold", ANSWERS, ids=[row[0] for row in ANSWERS])
def test_an_answer_with_its_letter_finds_its_option(tmp_path, case, answer, gold):
    (item,) = load_questions(a_track(tmp_path, {**SAKURA, "single_answer": answer}))
    assert item.gold == gold


ROWS = [
    (
        "letter and text disagree",
        {"single_answer": "(a) dog"},
        r"answer '\(a\) dog' is no option of \['cat', 'dog'\]",
    ),
    ("letter past the end", {"single_answer": "(d) dog"}, r"answer '\(d\) dog' is no option"),
    ("letter alone", {"single_answer": "(b)"}, r"answer '\(b\)' is no option"),
    ("answer no option", {"single_answer": "horse"}, "answer 'horse' is no option"),
    ("no options", {"single_instruction": "Which animal?"}, "options lettered '' in 'Which animal.'"),
    ("one option", {"single_instruction": "Which? (a) dog"}, "options lettered 'a' in"),
    ("a letter left out", {"single_instruction": "Which? (a) dog (c) cat"}, "options lettered 'ac' in"),
    ("letters glued to words", {"single_instruction": "Which? (a)dog(b)cat"}, "options lettered 'a' in"),
    ("a blank option", {"single_instruction": "Which? (a) (b) dog"}, "option '' is blank"),
    ("no question", {"single_instruction": "(a) cat (b) dog"}, "question '' is blank"),
    ("no file", {"file": " "}, "clip '' is blank"),
    ("a file above", {"file": "../../x.wav"}, r"clip 'data/Animal/audio/\.\./\.\./x\.wav' leaves the folder"),
    ("an absolute file", {"file": "/etc/passwd"}, "clip '/etc/passwd' leaves the folder"),
]


@pytest.mark.parametrize("case, changes, message", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_that_breaks_a_rule_is_refused_by_file_line_and_item(tmp_path, case, changes, message):
    a_track(tmp_path, {**SAKURA, "file": "first.wav"}, {**SAKURA, **changes})
    with pytest.raises(BenchmarkError, match=message) as excinfo:
        load_questions(tmp_path)
    text = str(excinfo.value)
    name = changes.get("file", SAKURA["file"]).strip()
    assert text.startswith(f"{tmp_path}/data/Animal/metadata.csv, line 3, item 'Animal/{name}/single'")
    assert "; mend " in text


TABLES = [
    ("no rows", ",".join(SAKURA) + "\n", "empty, no row below the first line"),
    ("empty", "", "empty file; fetch it again"),
    (
        "columns missing",
        "file,single_answer\nx,y\n",
        "missing field single_instruction, multi_instruction, multi_answer",
    ),
    ("a row too short", ",".join(SAKURA) + "\nx.wav,dog\n", "line 2: more or fewer fields than line 1"),
    ("a row too long", ",".join(SAKURA) + "\n" + "x," * 9 + "\n", "line 2: more or fewer fields than line 1"),
    ("a quote left open", ",".join(SAKURA) + '\nx.wav,dog,"Which', "not CSV after line 1"),
    ("a field without end", ",".join(SAKURA) + "\n" + "x" * 200_000, "not CSV after line 1"),
    ("not UTF-8", ",".join(SAKURA).encode() + b"\n\xff", "not UTF-8 at byte"),
]


@pytest.mark.parametrize("case, content, message", TABLES, ids=[row[0] for row in TABLES])
def test_a_table_that_holds_no_rows_is_refused_by_name(tmp_path, case, content, message):
    file = write_file(tmp_path / "data" / "Animal" / "metadata.csv", content)
    with pytest.raises(BenchmarkError, match=message) as excinfo:
        load_questions(tmp_path)
    assert str(excinfo.value).startswith(str(file))


def test_an_unknown_track_has_no_modality(tmp_path):
    with pytest.raises(
        BenchmarkError, match="unknown track 'Weather'; there are Animal, Emotion, Gender, Language"
    ):
        load_questions(a_track(tmp_path, SAKURA, track="Weather"))


def test_sakura_has_two_hops_only(tmp_path):
    with pytest.raises(BenchmarkError, match="SAKURA has no split 'test'; choose one of single, multi"):
        load_questions(a_track(tmp_path, SAKURA), split="test")


def test_the_label_may_be_missing(tmp_path):
    (item,) = load_questions(a_track(tmp_path, SAKURA, columns=SAKURA_COLUMNS))
    assert item.annotations == {}


def test_the_folder_that_clips_may_not_leave_is_the_benchmarks(tmp_path):
    root, records = read_records(a_track(tmp_path, SAKURA))
    assert (root, records[0][0]) == (tmp_path, f"{tmp_path}/data/Animal/metadata.csv, line 2")


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
    wrong = [
        item.id for item in items if item.options[item.gold].lower() != item.annotations["label"].lower()
    ]
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
    with pytest.raises(BenchmarkError) as excinfo:
        load(folder)
    message = str(excinfo.value)
    assert f"{folder}: 7 of 9 items have a missing or unreadable clip, the first 5" in message
    assert message.count("\n  item ") == 5
    assert "item '1': " in message
    assert "1.wav: not readable as audio" in message
    assert "2.wav: no such file" in message
    assert "need_clips=False" in message


def test_all_faulty_records_are_told_in_one_error(tmp_path):
    records = numbered(9)
    for i in range(1, 8):
        records[i] |= {"answer": "whale"}
    del records[0]["choices"]
    with pytest.raises(BenchmarkError, match="8 of 9 records cannot be used, the first 5:") as excinfo:
        load(a_folder(tmp_path, records))
    message = str(excinfo.value)
    assert message.count("\n  ") == 5
    assert "item '0': missing field choices" in message
    assert "item '1': answer 'whale' is no option of ['A dog', 'A cat', 'A cow', 'A hen']\n" in message
    assert message.endswith("\nMend or remove them in a copy of the file")


@pytest.mark.parametrize("in_file, on_disk", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_in_another_unicode_form_is_found(tmp_path, in_file, on_disk):
    name = "Übung/clip_é.wav"
    record = a_record(audio_id=unicodedata.normalize(in_file, name))
    path = tmp_path / unicodedata.normalize(on_disk, name)
    path.parent.mkdir()
    write_clip(path, np.full(RATE, 0.1))
    write_file(tmp_path / "questions.json", [record])
    (item,) = load(tmp_path)
    assert item.clip == path.resolve()


def test_a_name_with_the_slashes_of_windows_is_found(tmp_path):
    (folder := a_folder(tmp_path, [a_record()])).joinpath("questions.json").write_text(
        json.dumps([a_record(audio_id="clips\\1.wav")]), encoding="utf-8"
    )
    assert load(folder)[0].clip == folder / "clips" / "1.wav"


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
