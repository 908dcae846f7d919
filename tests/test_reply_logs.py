"""Replies made elsewhere, each layout from a small file of ours in exactly that layout; options that decline."""

from __future__ import annotations

import copy
import gzip
import json
import math
import sys
import zipfile
from pathlib import Path

import pytest
from openpyxl import Workbook
from records import a_record, an_item, official

from lalm_utils import benchmarks, declining, metrics, outcomes, parsing, reply_logs
from lalm_utils.__main__ import main
from lalm_utils.cli import predictions, rules
from lalm_utils.cli.score import as_text, score
from lalm_utils.items import BenchmarkError, from_record
from lalm_utils.models import Reply
from lalm_utils.refusals import is_declining

SH_FILES = (
    "qwen25omni3B_basic", "qwen25omni3B_selective", "qwen25omni_basic", "qwen25omni_basicnoidk",
    "qwen25omni_selective", "stepaudio_basic", "stepaudio_basicnoidk", "stepaudio_selective",
    "train_qwen25omni_basic", "train_qwen25omni_basicnoidk", "train_qwen25omni_selective",
)  # fmt: skip


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def table(log: reply_logs.ReplyLog) -> object:
    return predictions.table(log.predictions, Path("replies"))


def outcome(log: reply_logs.ReplyLog) -> list[str]:
    return list(table(log)["outcome"])


# ---- SH-Bench


def sh(question="Who calls?", pred="A", idk_at: int | None = 1, **fields) -> dict:
    options = ["The aunt", "The boss", "The vet"]
    if idk_at is not None:
        options.insert(idk_at, "I don't know")
    record = {
        "question": question,
        "options": options,
        "answer": "The aunt",
        "speaker": "main",
        "type": "real",
    }
    record |= {"audio": "real/Office/office_1.wav", "main_speaker_desc": "calm", "idk_answer": "I don't know"}
    return record | {"pred": pred, "logp": [0.4, 0.3, 0.2, 0.1]} | fields


def test_sh_bench_pairs_by_question_with_and_without_the_option_that_declines(tmp_path):
    after = [
        sh("Who calls?", "B. I don't know"),
        sh("Who pays?", "A", speaker="bystander", type="synth"),
        sh("Who?", "D"),
    ]
    before = [sh("Who?", "C", idk_at=None), sh("Who pays?", "B", idk_at=None, speaker="bystander", type="synth"),
              sh("Who calls?", "The aunt", idk_at=None)]  # fmt: skip
    packed = tmp_path / "after.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(after).encode()))
    after, before = reply_logs.read(packed), reply_logs.read(write(tmp_path / "before.json", before))
    assert (after.layout, outcome(after), outcome(before)) == (
        "SH-Bench", ["refused", "correct", "wrong"], ["wrong", "wrong", "correct"])  # fmt: skip
    rows = table(after)
    assert rows[["category", "task", "modality", "benchmark"]].values.tolist()[1] == [
        "bystander", "synth", "speech", "sh-bench"]  # fmt: skip
    assert rows[["gold", "declining", "choice", "n_options"]].values.tolist()[0] == [0, 1, 1, 4]
    assert metrics.rgi_excess(table(before), rows) == pytest.approx(
        math.log10(1 / 2)
    )  # one of two, one of one
    assert set(rows["item"]) == set(table(before)["item"])
    assert rows["item"][0].startswith("office_1-")


def test_an_options_own_probabilities_are_taken_and_what_is_dropped_or_missing_is_said(tmp_path):
    four, three = sh(), sh("Who else?", idk_at=None)
    five = sh("And who?", logp=[0.9, 0.05, 0.02, 0.02, 0.01])
    short = sh("Who not?", logp=[0.9, 0.1])
    log = reply_logs.read(write(tmp_path / "r.json", [four, three, five, short]))
    assert [each.probabilities for each in log.predictions[:3]] == [
        (0.4, 0.3, 0.2, 0.1), (0.4, 0.3, 0.2), (0.9, 0.05, 0.02, 0.02)]  # fmt: skip
    assert [math.isnan(p) for p in log.predictions[3].probabilities] == [False, False, True, True]
    assert [note.split(";")[0].removeprefix("option probabilities: ") for note in log.notes] == [
        "1 items do not offer their idk_answer: none of their options declines",
        "2 items have more than options", "1 items have fewer than options"]  # fmt: skip
    with pytest.raises(BenchmarkError, match=r"element 1: logp .* holds no probabilities; numbers from 0"):
        reply_logs.read(write(tmp_path / "r.json", [sh(logp=[-0.1, -2.3])]))


def test_sh_bench_loads_as_a_benchmark(tmp_path):
    path = write(tmp_path / "sh.json", [sh(), sh("Who?", idk_at=None)])
    items = benchmarks.load(path, need_clips=False)
    assert [item.declining for item in items] == [1, None]
    assert {(item.benchmark, item.category, item.task) for item in items} == {("sh-bench", "main", "real")}
    assert items[0].clip == tmp_path / "real/Office/office_1.wav"


# ---- the tools' logs: one right, one refusal, one without a reply


DOCUMENT = {"audio_id": "./a/1.wav", "question": "What barks?", "choices": '["A dog", "A cat"]', "answer": "A dog",
            "task": "sound", "id": "x1"}  # fmt: skip
PROMPT = "What barks?\nA. A dog\nB. A cat\nAnswer with the option's letter from the given choices directly."


def lmms(doc_id: int, reply: str, prompt: str = PROMPT, **fields) -> dict:
    record = {
        "doc_id": doc_id,
        "target": "A dog",
        "filtered_resps": [reply],
        "doc_hash": "0f",
        "input": prompt,
    }
    return record | {"accuracy": {"overall": 1.0, "task": "sound"}} | fields


def sample(id: int, reply: str | None, **fields) -> dict:
    content = [
        {"type": "text", "text": "What barks?"},
        {"type": "audio", "audio": f"clips/{id}.wav", "format": "wav"},
    ]
    message = {"role": "assistant", "content": reply, "source": "generate"}
    choices = [] if reply is None else [{"message": message, "stop_reason": "stop"}]
    record = {
        "id": id,
        "epoch": 1,
        "input": [{"role": "user", "content": content}],
        "choices": ["A dog", "A cat"],
    }
    record |= {
        "target": "A",
        "messages": [],
        "output": {"model": "m", "choices": choices, "completion": reply or ""},
    }
    return record | {"scores": {}, "metadata": {"modality": "sound"}} | fields


SAMPLES = [sample(1, "ANSWER: A"), sample(2, "I don't know."), sample(3, None)]
INSPECT = {"version": 2, "status": "success", "eval": {"task": "barks", "model": "m"}, "samples": SAMPLES}
TABLE = ("index,question,A,B,C,answer,category,prediction\r\n"
         "7,What barks?,A dog,A cat,,A,pets,(A)\r\n8,What barks?,A dog,A cat,,B,pets,I don't know.\r\n"
         "9,What barks?,A dog,A cat,A hen,C,pets,Failed to obtain answer via API.\r\n")  # fmt: skip


def archive(path: Path, entries: dict[str, object], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(name, content if isinstance(content, str) else json.dumps(content))
    return path


def eval_log(path: Path, samples: list[dict] = SAMPLES, **more) -> Path:
    entries = {f"samples/{item['id']}_epoch_{item['epoch']}.json": item for item in samples}
    header = {key: value for key, value in INSPECT.items() if key != "samples"}
    return archive(
        path, {"header.json": header, "_journal/start.json": {}, "summaries.json": []} | entries | more
    )


LOGS = [
    ("lmms-eval, the document in the submission", "lmms-eval", lambda folder: write(
        folder / "s_samples_mmau.jsonl", "\n".join(json.dumps(lmms(i, reply, submission=DOCUMENT | {
            "audio_id": f"{i}.wav"}, resps=[[reply]])) for i, reply in enumerate(["A", "I don't know.", ""])))),
    ("lmms-eval, the prompt alone", "lmms-eval", lambda folder: write(
        folder / "s_samples_mmau.jsonl", "\n".join(
            json.dumps(lmms(i, reply)) for i, reply in enumerate(["A", "I don't know.", ""])))),
    ("inspect_ai, json", "inspect_ai", lambda folder: write(folder / "log.json", json.dumps(INSPECT, indent=2))),
    ("inspect_ai, json on one line", "inspect_ai", lambda folder: write(folder / "log.json", INSPECT)),
    ("inspect_ai, eval", "inspect_ai", lambda folder: eval_log(folder / "log.eval")),
    ("VLMEvalKit, csv", "VLMEvalKit", lambda folder: write(folder / "M_D.csv", TABLE)),
    ("VLMEvalKit, tsv", "VLMEvalKit", lambda folder: write(folder / "M_D.tsv", TABLE.replace(",", "\t"))),
]  # fmt: skip


@pytest.mark.parametrize("case, layout, build", LOGS, ids=[row[0] for row in LOGS])
def test_each_tools_log_is_read_and_pairs_with_itself(tmp_path, case, layout, build):
    log = reply_logs.read(build(tmp_path))
    assert (log.layout, outcome(log), log.notes) == (layout, ["correct", "refused", "failed"], [])
    assert {each.item.question for each in log.predictions} == {"What barks?"}
    assert {each.item.benchmark for each in log.predictions} == {layout}
    said = layout == "inspect_ai" or "submission" in case
    assert {each.item.modality for each in log.predictions} == {"sound" if said else "mix-sound-music-speech"}
    path = build(tmp_path)
    report = score(path, path, exclude_failed=True, n_boot=20)
    assert report["overall"]["paired"] == 2


# ---- tools that evaluate audio models alone


def sakura(*replies: str | None, key: str = "response", **fields) -> dict:
    entry = {"instruction": "What barks? (a) a dog (b) a cat", "label": "(a) a dog"} | fields
    return {
        "judge_model": "j",
        "results": {f"{i}.wav": entry | {key: reply} for i, reply in enumerate(replies)},
    }


def ultraeval(id: int, reply: str | None, template: str = "{q}\nA. A dog\nB. A cat") -> list[dict]:
    contents = [
        {"type": "audio", "value": f"{id}.wav"},
        {"type": "text", "value": template.format(q="What barks?")},
    ]
    steps = {"prompt": {"content": [{"role": "user", "contents": contents}]}, "inference": {"content": reply},
             "post_process": {"content": "B"}, "eval": {"match": 0, "pred": "B", "ref": "a"}}  # fmt: skip
    return [{"type": name, "id": id, "data": data} for name, data in steps.items()]


def aqua(id: str, kind: str, reply: str, answer: str = "A dog") -> dict:
    options = ["A dog", "A cat", "None of the above"]
    return {"id": id, "type": kind, "question": "What barks? (a) A dog (b) A cat (c) None of the above",
            "options": options, "answer": answer, "audio_filename": "/net/ESC-50-master/1.wav",
            "response": reply}  # fmt: skip


AUDIO_LOGS = [
    ("answers to SAKURA", "SAKURA", lambda: sakura("a dog", "I don't know.", "(b) a cat"), []),
    ("SAKURA's judge", "SAKURA", lambda: sakura("a dog", "I don't know.", "(b) a cat", key="model_response",
                                                Judgement="correct", Explanation="e"),
     ["the file's judge calls 3 of 3 replies correct; it decides nothing here"]),
    ("UltraEval-Audio", "UltraEval-Audio",
     lambda: "\n".join(json.dumps(line) for i, reply in enumerate(["A", "I don't know.", "B"])
                       for line in ultraeval(i, reply)), []),
    ("UltraEval-Audio, MMAU's template, and an item that broke off", "UltraEval-Audio",
     lambda: "\n".join(json.dumps(line) for line in [
         *[line for i, reply in enumerate(["A", "I don't know.", "A cat"])
           for line in ultraeval(i, reply, "{q}  Select one option. A. A dog\nB. A cat\n")],
         {"type": "error", "id": 3, "data": {"info": "traceback"}}]),
     ["1 items broke off before eval and are left out"]),
    ("AQUA-Bench", "AQUA-Bench", lambda: [
        aqua("1", "Solvable", "(a)"), aqua("2", "Solvable", "I don't know."), aqua("3", "Solvable", "A cat"),
        aqua("4", "AAD", "(c)", "None of the above"), aqua("5", "AAD", "A cat", "None of the above")],
     ["2 unanswerable items (absent_answer) are not scored: 1 declined, 1 answered all the same"]),
]  # fmt: skip


@pytest.mark.parametrize("case, layout, build, notes", AUDIO_LOGS, ids=[row[0] for row in AUDIO_LOGS])
def test_results_of_tools_for_audio_are_read_by_the_raw_reply(tmp_path, case, layout, build, notes):
    path = write(tmp_path / "results.json", build())
    log = reply_logs.read(path)
    assert (log.layout, log.notes, outcome(log)) == (layout, notes, ["correct", "refused", "wrong"])
    assert {each.item.question for each in log.predictions} == {"What barks?"}
    assert score(path, path, n_boot=10)["overall"]["paired"] == 3


def harness(reply: str, metric: str = "judge", **fields) -> dict:
    line = {
        "dataset": "mmar",
        "metric": metric,
        "model": "m",
        "reference": "A dog",
        "candidate": reply,
        "score": 0,
    }
    lines = (
        "What barks?Select one option from the provided choices as the final answer:\n Choices: A dog A cat"
    )
    return line | {"instruction": lines} | fields


def test_a_log_of_au_harness_is_joined_with_the_questions_by_their_texts(tmp_path):
    question_records = [a_record(id=name, choices=["A dog", "A cat"], answer="A dog") for name in "xy"]
    questions = write(tmp_path / "q.json", question_records)
    lines = [
        harness("A dog"),
        harness("I don't know."),
        harness("A dog", "bleu"),
        harness("I don't know.", "bleu"),
    ]
    path = write(tmp_path / "run.log", "\n".join(map(json.dumps, lines)))
    log = reply_logs.read(path, questions=questions)
    assert [each.item.id for each in log.predictions] == ["x", "y"]
    assert (outcome(log), log.notes) == (
        ["correct", "refused"],
        ["2 metrics in the log; the lines of judge are read"],
    )
    for change, message in [
        ({"instruction": "What mews?"}, "is no question of the file"),
        ({"reference": "A cat"}, "with the reference 'A cat' is no question"),
        ({"model": "other"}, "2 runs in one log"),
    ]:
        write(path, "\n".join(map(json.dumps, [harness("A dog"), harness("A dog", **change)])))
        with pytest.raises(BenchmarkError, match=message):
            reply_logs.read(path, questions=questions)
    with pytest.raises(BenchmarkError, match=r"does not part its options.*--questions FILE"):
        reply_logs.read(path)


BROKEN_LOGS = [
    ("SAKURA without a label", sakura("a dog", label=None), "no texts instruction and label"),
    ("SAKURA without options", sakura("a dog", instruction="What barks?"), "options lettered"),
    (
        "lmms-eval, a later line without its document",
        [lmms(1, "A"), {k: v for k, v in lmms(2, "A").items() if k != "doc_id"}],
        "2: no doc_id",
    ),
    (
        "inspect_ai, an epoch in words",
        INSPECT | {"samples": [sample(1, "A", epoch="first")]},
        "epoch 'first'; a whole",
    ),
    ("UltraEval without an answer", ultraeval(0, "A")[:2], "no item with a step eval"),
    (
        "UltraEval with contents that are none",
        [
            line | {"data": {"content": [{"role": "user", "contents": 5}]}}
            if line["type"] == "prompt"
            else line
            for line in ultraeval(0, "A")
        ],
        "no document with question",
    ),
    ("UltraEval with another line", [*ultraeval(0, "A"), {"type": "x"}], "type, id and data are needed"),
    (
        "AQUA-Bench without a solvable question",
        [aqua("4", "AAD", "(c)", "None of the above")],
        "no solvable question",
    ),
]


@pytest.mark.parametrize("case, content, message", BROKEN_LOGS, ids=[row[0] for row in BROKEN_LOGS])
def test_results_that_cannot_be_scored_are_refused_by_name(tmp_path, case, content, message):
    with pytest.raises(BenchmarkError, match=message):
        reply_logs.read(write(tmp_path / "results.json", content))


def test_both_forms_of_an_inspect_log_give_the_same_items(tmp_path):
    plain = reply_logs.read(write(tmp_path / "log.json", INSPECT)).predictions
    packed = reply_logs.read(eval_log(tmp_path / "log.eval")).predictions
    assert [each.item for each in plain] == [each.item for each in packed]


def test_what_an_inspect_log_holds_beside_is_said(tmp_path):
    cut = sample(1, "B")
    cut["output"]["choices"][0]["stop_reason"] = "max_tokens"
    text = sample(
        2, "B", input="attachment://9f", attachments={"9f": "What mews?"}, target=["B"], metadata={}
    )
    reasoned = copy.deepcopy(sample(3, "B"))
    reasoned["output"]["choices"][0]["message"]["content"] = [
        {"type": "reasoning", "reasoning": "A cat"}, {"type": "text", "text": "A"}]  # fmt: skip
    samples = [cut, text, reasoned, sample(1, "A", epoch=2)]
    log = reply_logs.read(write(tmp_path / "log.json", INSPECT | {"status": "cancelled", "samples": samples}))
    assert [each.reply.finish for each in log.predictions] == ["length", "stop", "stop"]
    assert (log.predictions[1].item.question, outcome(log)) == ("What mews?", ["wrong", "correct", "correct"])
    assert log.notes[0] == "1 replies of further epochs are not read"
    assert "the log's status is 'cancelled'" in log.notes[1]


def test_of_each_question_the_first_epoch_in_the_log_is_read(tmp_path):
    samples = [
        sample(1, "A", epoch=2),
        sample(2, "B", epoch=3),
        sample(2, "A", epoch=2),
        sample(1, "B", epoch=4),
    ]
    log = reply_logs.read(write(tmp_path / "log.json", INSPECT | {"samples": samples}))
    assert outcome(log) == ["correct", "correct"]
    assert log.notes == ["2 replies of further epochs are not read"]


def test_without_the_name_of_the_option_that_declines_its_wording_tells_and_another_name_is_said(tmp_path):
    log = reply_logs.read(write(tmp_path / "r.json", [sh("Who?", "I don't know", idk_answer=None)]))
    assert outcome(log) == ["refused"]
    other = sh("Who pays?", "A", idk_answer="No idea")
    log = reply_logs.read(write(tmp_path / "r.json", [sh("Who?", "I don't know"), other]))
    assert outcome(log)[0] == "refused"
    assert log.notes == ["1 items do not offer their idk_answer: none of their options declines"]


@pytest.mark.parametrize("name", ["openpyxl at hand", "none"])
def test_a_workbook_is_read_where_the_package_is_at_hand(tmp_path, monkeypatch, name):
    path = tmp_path / "M_D.xlsx"
    if name == "none":
        monkeypatch.setitem(sys.modules, "openpyxl", None)
        archive(path, {"xl/workbook.xml": "<workbook/>"})
        with pytest.raises(
            BenchmarkError, match=r"needs the package openpyxl.*lalm_utils\[tables\].*save the table as \.tsv"
        ):
            reply_logs.read(path)
        return
    book = Workbook()
    for line in TABLE.splitlines():
        book.active.append([cell or None for cell in line.split(",")])
    book.save(path)
    assert outcome(reply_logs.read(path)) == ["correct", "refused", "failed"]


def two(first: dict, **changes) -> list[dict]:
    return [first, first | changes]


REFUSED = [
    ("an unknown layout", "r.json", [{"prompt": "?", "generation": "B"}],
     r"MMAU, MMAR, SH-Bench, .*, AU-Harness\) are the keys found: prompt, generation"),
    ("an unknown object", "r.json", json.dumps({"results": {}, "config": {}}, indent=1), "keys found: results, config"),
    ("the same question twice", "r.json", [sh(), sh()], "element 2: duplicate id 'office_1-"),
    ("log-likelihoods", "r.jsonl", lmms(0, "A", filtered_resps=[["-1.5", "True"], ["-2.5", "False"]]),
     "not one reply, but .*log-likelihoods of options are no replies"),
    ("a prompt without options", "r.jsonl", lmms(0, "A", prompt="What barks?"), "no lines A., B. ... below a question"),
    ("choices that are no list", "r.jsonl", lmms(0, "A", doc=DOCUMENT | {"choices": "dog|cat"}),
     "choices 'dog|cat' are no list"),
    ("inspect_ai without choices", "r.json", INSPECT | {"samples": [sample(1, "A", choices=None)]},
     "sample 1: no choices"),
    ("two right options", "r.json", INSPECT | {"samples": [sample(1, "A", target=["A", "B"])]}, "one right option"),
    ("samples that are none", "r.json", INSPECT | {"samples": "?"}, "no list of samples"),
    ("another table", "r.csv", "id,text\r\n1,a\r\n", "line 2: no table of VLMEvalKit.*found id, text"),
    ("a gap in the options", "r.csv", TABLE.replace("A dog,A cat,A hen", "A dog,,A hen"), "without a gap"),
    ("a table with a short row", "r.csv", TABLE + "1,2\r\n", "more or fewer fields than line 1"),
    ("a table of one line", "r.tsv", "question\tA", "no row below the first line"),
]  # fmt: skip


@pytest.mark.parametrize("case, name, content, message", REFUSED, ids=[row[0] for row in REFUSED])
def test_what_cannot_be_scored_is_refused_by_name(tmp_path, case, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(BenchmarkError, match=message) as excinfo:
        reply_logs.read(path)
    assert str(path) in str(excinfo.value)


ARCHIVES = [
    ("another zip", lambda path: archive(path, {"a.txt": "x"}), "so no log of inspect_ai; it holds a.txt"),
    ("in chunks", lambda path: archive(path, {"samples/1_epoch_1/sample.json": {}}), "in chunks .*inspect log convert"),
    ("a path that escapes", lambda path: archive(path, {"samples/../../evil.json": {}}), "a zip without samples/"),
    ("a sample that is a list", lambda path: eval_log(path, **{"samples/1_epoch_1.json": []}), "an array, but an item"),
    ("a sample that is no JSON", lambda path: eval_log(path, **{"samples/1_epoch_1.json": "{"}), "not JSON at line 1"),
    ("too large unpacked", lambda path: archive(path, {"samples/1.json": " " * 20_001}), "20,001 bytes of samples"),
    ("a damaged zip", lambda path: path.write_bytes(eval_log(path).read_bytes().replace(b"\x00", b"\x01", 40)), "zip"),
]  # fmt: skip


@pytest.mark.parametrize("case, build, message", ARCHIVES, ids=[row[0] for row in ARCHIVES])
def test_an_archive_is_read_within_bounds_and_never_unpacked(tmp_path, monkeypatch, case, build, message):
    monkeypatch.setattr("lalm_utils.inspect_logs.MAX_BYTES", 20_000)
    build(tmp_path / "log.eval")
    with pytest.raises(BenchmarkError, match=message):
        reply_logs.read(tmp_path / "log.eval")
    assert list(tmp_path.iterdir()) == [tmp_path / "log.eval"]
    assert not (tmp_path.parent / "evil.json").exists()


def test_a_gzipped_file_is_bounded_and_must_be_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks, "MAX_BYTES", 5_000)
    path = tmp_path / "r.json.gz"
    bomb, cut = gzip.compress(b" " * 5_001), gzip.compress(b"[]" * 99)[:-9]
    for content, message in [(bomb, "unpacks to over 5,000 bytes"), (cut, "not gzip throughout")]:
        path.write_bytes(content)
        with pytest.raises(BenchmarkError, match=message):
            reply_logs.read(path)


# ---- an option that declines

DECLINE = """I do not have an answer; I don’t know; I do not have the information to answer the question; Unanswerable;
None of the above; None of these.; Cannot be determined; Not enough information in the clip; Not sure; Not mentioned;
It is impossible to tell; The answer is not among the options; No correct answer; I am not sure; Unknown;
Cannot be reliably determined from audio"""
ANSWER = """None of the speakers; Not a dog; The man does not know her; They don't know; Nobody; Unclear speech;
Not clear; I don't care; Cannot answer because there are three melodies; No; He cannot be heard;
No answering machine"""
DECLINE, ANSWER = ([text.strip() for text in texts.split(";")] for texts in (DECLINE, ANSWER))


@pytest.mark.parametrize("text, expected", [*[(t, True) for t in DECLINE], *[(t, False) for t in ANSWER]])
def test_an_option_that_declines_is_known_by_its_wording(text, expected):
    assert is_declining(text) is expected


def test_wording_counts_only_where_the_answer_key_never_names_it():
    unsure, other = (
        an_item(id=str(i), options=("A dog", "A cat", "Not sure", "A hen"), gold=0) for i in (1, 2)
    )
    assert [item.declining for item in declining.mark([unsure, other])] == [2, 2]
    keyed = an_item(id="3", options=("Not sure", "A cat"), gold=0)
    assert [item.declining for item in declining.mark([unsure, keyed])] == [None, None]
    withheld = an_item(options=unsure.options, gold=None)
    assert declining.mark([withheld])[0].declining is None
    assert declining.mark([withheld], "not sure.")[0].declining == 2
    assert [item.declining for item in declining.mark([unsure, keyed], "A hen")] == [3, None]
    assert declining.mark([unsure], by_wording=False)[0].declining is None
    with pytest.raises(
        BenchmarkError, match="item '3': its answer is 'Not sure', which is named as the option that declines"
    ):
        declining.mark([unsure, keyed], "Not sure")


def test_a_record_can_name_the_option_that_declines():
    item = from_record(a_record(declining_option="a hen"), "/data")
    assert item.declining == 3
    for text, message in [
        ("A cow?", "declining_option 'A cow\\?' is no option"),
        ("A cat", "'A cat', is the answer"),
    ]:
        with pytest.raises(BenchmarkError, match=message):
            from_record(a_record(declining_option=text), "/data")


# ---- the command


def question_file(path: Path, replies: list[str]) -> Path:
    choices = ["A dog", "A cat", "Something else"]
    records = [a_record(id=str(i), choices=choices, model_output=reply) for i, reply in enumerate(replies)]
    return write(path, records)


def test_score_prints_both_readings_and_takes_the_options_name(tmp_path, capsys):
    path = question_file(tmp_path / "p.json", ["A cat", "C", "A dog"])
    assert "declining" not in score(path, n_boot=20)["overall"]
    assert main(["score", str(path), "--declining", "something else", "--by", "task"]) == 0
    output = capsys.readouterr().out
    assert "An option that declines, offered in 3 items, was chosen 1 times" in output
    result = score(path, declining="Something else", n_boot=20)["overall"]["declining"]
    assert [result[role][name] for role in ("as_refusal", "as_wrong") for name in ("wrong", "refused")] == [
        1,
        1,
        2,
        0,
    ]
    assert main(["score", str(path), "--declining", "a horse"]) == 2
    assert "no item has the option 'a horse'" in capsys.readouterr().err


def test_score_compares_rules_and_names_the_items_on_which_they_part(tmp_path, capsys):
    path = question_file(tmp_path / "p.json", ["A cat", "But it is the cat.", "B", "no idea"])
    report = score(path, by_rules=rules.RULES, n_boot=20)
    assert report["overall"]["rules"] == {
        "ours": {"n": 4, "accuracy": 0.75, "refused": 1, "unreadable": 0},
        "official": {"n": 4, "accuracy": 0.25, "refused": None, "unreadable": None},
        "first-letter": {"n": 4, "accuracy": 0.5, "refused": 0, "unreadable": 1},
    }
    assert set(report["overall"]["parting"]) == {"0", "1", "2", "3"}
    assert report["overall"]["parting"]["0"] == {
        "ours": "correct",
        "official": "correct",
        "first-letter": "wrong",
    }
    assert "Items on which these rules part: 4\n0: ours correct" in as_text(report)
    with pytest.raises(SystemExit):
        main(["score", str(path), "--rules", "ours,best"])
    assert "no rule 'best'; there are ours, official, first-letter" in capsys.readouterr().err


@pytest.mark.parametrize(
    "reply, index",
    [("(D) a dog", 3), ("The answer is b, But", 1), ("Because", 1), ("Answer: C", 2), ("none", None)],
)
def test_the_first_letter_is_read_as_sh_bench_does(reply, index):
    assert parsing.first_letter(reply) == index


# ---- SH-Bench's own files


@pytest.mark.parametrize("name", SH_FILES)
def test_every_released_file_is_read_whole(name):
    log = reply_logs.read(official("sh_bench") / f"{name}_qa.json.gz")
    assert len(log.predictions) == 2000
    offered = [each.item for each in log.predictions if each.item.declining is not None]
    assert len(offered) == (0 if "noidk" in name else 2000)
    own = [each.probabilities[: 5 if offered else 4] for each in log.predictions]
    lacking = sum(any(map(math.isnan, some)) for some in own)
    assert lacking == (2000 if name in SH_FILES[:3] + SH_FILES[4:5] else 0)


@pytest.mark.slow
def test_permission_as_an_option_gains_what_was_measured():
    folder = official("sh_bench")
    logs = [reply_logs.read(folder / f"qwen25omni_{name}_qa.json.gz") for name in ("basicnoidk", "basic")]
    before, after = map(table, logs)
    # 1,528 right, 300 wrong (193 of them unreadable) and an excess of 1.04 before the parser learnt from these replies
    assert (before["outcome"] == "correct").sum() == pytest.approx(1538, abs=15)
    assert before["outcome"].isin(["wrong", "unreadable"]).sum() == pytest.approx(109, abs=15)
    assert (after["choice"] == after["declining"]).sum() == pytest.approx(486, abs=10)
    assert metrics.rgi_excess(before, after) == pytest.approx(0.85, abs=0.1)
    assert len(list(outcomes.groups(after, "category"))) == 3


def test_replies_that_say_no_audio_arrived_are_counted_as_a_fault_of_the_set_up(tmp_path, capsys):
    path = question_file(tmp_path / "p.json", ["No audio was provided.", "I don't know.", "A dog"])
    assert score(path, n_boot=20)["overall"]["refusals"] == {
        "no_audio": 1, "will_not_say": 0, "none_fits": 0, "cannot_tell": 1,
    }  # fmt: skip
    assert main(["score", str(path)]) == 0
    assert "1 replies say that no audio arrived: a fault of the set-up" in capsys.readouterr().out


# ---- an option that declines, offered by us


@pytest.mark.parametrize(
    "case, index, options, gold, at",
    [("first", 0, ("Pass", "A dog", "A cat"), 2, 0), ("before the answer", 1, ("A dog", "Pass", "A cat"), 2, 1),
     ("last", None, ("A dog", "A cat", "Pass"), 1, 2)],
)  # fmt: skip
def test_an_option_that_declines_is_offered_at_a_place(case, index, options, gold, at):
    item = an_item(options=("A dog", "A cat"), gold=1)
    (offered,) = declining.offer([item], "Pass", index)
    assert (offered.options, offered.gold, offered.declining, offered.id) == (options, gold, at, item.id)


def test_an_offer_to_an_unanswerable_item_leaves_it_so():
    item = an_item(gold=None, answerable=False)
    assert declining.offer([item], "Pass", 0)[0].gold is None


@pytest.mark.parametrize(
    "case, fields, index, message",
    [("declines already", {"options": ("A dog", "IDK"), "gold": 0, "declining": 1}, None, "has the option 'IDK'"),
     ("the same text", {"options": ("A dog", "pass."), "gold": 0}, None, "has the option 'pass.' already"),
     ("beyond the list", {}, 5, "index 5 for a further option; its 4 options leave 0 to 4"),
     ("negative", {}, -1, "index -1 for a further option")],
)  # fmt: skip
def test_an_offer_that_cannot_be_made_is_refused(case, fields, index, message):
    with pytest.raises(BenchmarkError, match=message):
        declining.offer([an_item(**fields)], "Pass", index)


def test_runs_with_an_offered_option_pair_with_those_without(tmp_path):
    items = [an_item(id=str(i)) for i in range(4)]
    offered = declining.offer(items, "Pass", 0)
    replies = [Reply(text=text, n_tokens=1, finish="stop") for text in ("A dog", "A cat", "A dog", "A hen")]
    after = [Reply(text=text, n_tokens=1, finish="stop") for text in ("(B)", "(A)", "Pass", "A hen")]
    before_table = outcomes.table(items, replies, model="m", method="plain", seed=0)
    after_table = outcomes.table(offered, after, model="m", method="option", seed=0)
    assert list(after_table["outcome"]) == ["correct", "refused", "refused", "wrong"]
    gains = metrics.compare(before_table, after_table, ["correct_to_refused", "wrong_to_refused"], by=None)
    assert gains.set_index("metric")["value"][["correct_to_refused", "wrong_to_refused"]].tolist() == [1, 1]
