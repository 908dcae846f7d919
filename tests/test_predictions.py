"""Reading replies made elsewhere: both official layouts, every reply key, and all that can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lalm_utils.cli import predictions
from lalm_utils.cli.predictions import PredictionError

SHARED = Path(__file__).parents[2] / "shared"


def mmau(i: int = 1, **fields) -> dict:
    record = {
        "id": f"u{i}",
        "audio_id": f"./audios/u{i}.wav",
        "question": "Which?",
        "choices": ["cat", "dog"],
    }
    return record | {"answer": "dog", "task": "sound", "difficulty": "easy", "model_output": "dog"} | fields


def mmar(i: int = 1, **fields) -> dict:
    record = {
        "id": f"r{i}",
        "audio_path": f"./audio/r{i}.wav",
        "question": "Which?",
        "choices": ["cat", "dog"],
    }
    return record | {"answer": "dog", "modality": "mix-sound-speech", "language": None} | fields


def read_predictions(path: Path):
    return predictions.table(predictions.records(path), path)


def write(folder: Path, records: list, *, lines: bool = False) -> Path:
    path = folder / "predictions.json"
    text = "\n".join(json.dumps(record) for record in records) if lines else json.dumps(records)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("key", predictions.REPLY_KEYS)
@pytest.mark.parametrize("lines", [False, True], ids=["array", "lines"])
def test_a_reply_is_read_from_every_key_in_both_layouts(tmp_path, key, lines):
    frame = read_predictions(write(tmp_path, [mmar(1, **{key: "dog"}), mmar(2, **{key: "IDK"})], lines=lines))
    assert list(frame["outcome"]) == ["correct", "refused"]
    assert list(frame["modality"]) == ["mix-sound-speech"] * 2
    assert (frame.loc[0, "item"], frame.loc[0, "model"]) == ("r1", "predictions.json")


MISSING = [
    ("the key is absent", {}),
    ("null", {"response": None}),
    ("an empty text", {"response": ""}),
    ("a blank text", {"response": " \n"}),
    ("NaN, as some writers put it", {"response": float("nan")}),
]


@pytest.mark.parametrize(("case", "fields"), MISSING, ids=[row[0] for row in MISSING])
def test_a_missing_reply_is_failed_and_stays_in_the_table(tmp_path, case, fields):
    frame = read_predictions(write(tmp_path, [mmau(1), mmar(2) | fields]))
    assert list(frame["outcome"]) == ["correct", "failed"]
    assert frame.loc[1, "error"] == "no reply in the file"


def test_one_reply_under_two_keys_is_one_reply(tmp_path):
    records = [mmau(1, response="dog"), mmau(2, model_output="", model_prediction="cat")]
    assert list(read_predictions(write(tmp_path, records))["outcome"]) == ["correct", "wrong"]


def test_audio_and_question_are_not_needed(tmp_path):
    bare = {"id": "a", "choices": ["cat", "dog"], "answer": "dog", "task": "music", "response": "dog"}
    far = mmau(2, audio_id="/elsewhere/u2.wav")
    frame = read_predictions(write(tmp_path, [bare, far]))
    assert list(frame["outcome"]) == ["correct", "correct"]


BROKEN = [
    ("a duplicate id", [mmau(1), mmau(1)], r"element 2: duplicate id 'u1'; an id names one item"),
    (
        "an answer that is no option",
        [mmau(answer="cow")],
        r"item 'u1': answer 'cow' is no option of \['cat', 'dog'\]",
    ),
    ("a withheld answer", [mmau(answer=None)], "item 'u1': its answer is withheld"),
    (
        "an unanswerable item",
        [mmau(answer=None, answerable=False)],
        "item 'u1': unanswerable, so no option is right",
    ),
    (
        "conflicting reply keys",
        [mmau(response="cat")],
        "item 'u1': conflicting replies under model_output and response",
    ),
    ("a reply that is a number", [mmau(model_output=1)], "item 'u1': model_output is 1, not a text"),
    (
        "a reply that is a list",
        [mmau(model_output=["dog"])],
        r"item 'u1': model_output is \['dog'\], not a text",
    ),
    (
        "no reply anywhere",
        [mmar(1), mmar(2)],
        "no reply in any of its 2 items; a reply stands under model_output",
    ),
    (
        "replies without words",
        [mmau(1, model_output=" "), mmau(2, model_output=None)],
        "all 2 replies are empty or null; see why the model said nothing",
    ),
    ("nothing in the item", [{}], "element 1: no modality; MMAU has it under task"),
    ("no modality", [{"id": "x"}], "item 'x': no modality; MMAU has it under task"),
    ("no id", [{"task": "sound", "choices": ["a", "b"], "answer": "a"}], "missing field id"),
    ("no choices", [{"id": "x", "task": "sound", "answer": "a"}], "item 'x': missing field choices"),
    ("choices that are a text", [mmau(choices="cat")], "item 'u1': choices 'cat' are no list"),
    ("an item that is a number", [3], "element 1: a number, but an item is a JSON object"),
    ("an empty array", [], "empty, an array without items"),
]


@pytest.mark.parametrize(("case", "records", "message"), BROKEN, ids=[row[0] for row in BROKEN])
def test_items_that_cannot_be_scored_are_refused_by_name(tmp_path, case, records, message):
    path = write(tmp_path, records)
    with pytest.raises(PredictionError, match=message) as excinfo:
        read_predictions(path)
    assert str(path) in str(excinfo.value)


TEXTS = [
    ("an empty file", b"", "empty file"),
    ("no JSON", b"id,answer\n1,dog\n", "not JSON at line 1, column 1"),
    ("a cut array", b'[{"id": "a"},', "not JSON at line 1"),
    ("a bad second line", b'{"id": "a"}\n{"id": \n', "not JSON at line 2"),
    ("not UTF-8", b'[{"id": "\xff"}]', "not UTF-8 at byte 9"),
    (
        "a key twice in one item",
        b'[{"id": "a", "response": "x", "response": "y"}]',
        "a key stands twice among id, response",
    ),
    ("absurdly nested", b"[" * 100_000, "JSON from line 1 on is refused"),
]


@pytest.mark.parametrize(("case", "content", "message"), TEXTS, ids=[row[0] for row in TEXTS])
def test_a_file_that_is_no_question_file_is_refused(tmp_path, case, content, message):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(PredictionError, match=message):
        read_predictions(path)


def test_a_path_without_a_file_is_refused(tmp_path):
    with pytest.raises(PredictionError, match=r"nowhere\.json: cannot be read .*No such file"):
        read_predictions(tmp_path / "nowhere.json")
    with pytest.raises(PredictionError, match="cannot be read"):
        read_predictions(tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the official question files are not at hand")
@pytest.mark.parametrize(
    ("name", "modalities"), [("mmau/mmau-test-mini.json", 3), ("mmar/MMAR-meta.jsonl", 7)]
)
def test_official_files_answered_with_their_own_answers_are_all_correct(tmp_path, name, modalities):
    text = (SHARED / name).read_text(encoding="utf-8")
    records = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    answered = [record | {"model_output": record["answer"]} for record in records]
    frame = read_predictions(write(tmp_path, answered, lines=name.endswith("l")))
    assert len(frame) == 1000
    assert frame["modality"].nunique() == modalities
    assert set(frame["outcome"]) == {"correct"}
