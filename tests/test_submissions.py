"""Official submission files and the official rule: every record is kept, and the scripts would agree."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from lalm_utils import benchmarks, items, outcomes, releases
from lalm_utils.__main__ import main
from lalm_utils.cli import predictions, submissions
from lalm_utils.cli.score import as_text, score
from lalm_utils.cli.submissions import SubmissionError
from lalm_utils.items import BenchmarkError
from lalm_utils.models import Reply, failed

SHARED = Path(__file__).parents[2] / "shared"


def mmau(i: int = 1, **fields) -> dict:
    record = {
        "id": f"u{i}",
        "audio_id": f"./audios/u{i}.wav",
        "question": "Which?",
        "choices": ["cat", "dog"],
    }
    return record | {"answer": "dog", "task": "sound", "sub-category": "Counting"} | fields


def mmar(i: int = 1, **fields) -> dict:
    record = {"id": f"r{i}", "audio_path": f"./audio/r{i}.wav", "question": "Which?"}
    record |= {"choices": ["cat", "dog", ""], "answer": "dog", "modality": "mix-sound-speech"}
    return record | {"category": "Signal Layer", "url": "https://example.org/\u00e9\u2028"} | fields


def questions(path: Path, *records: dict) -> Path:
    text = json.dumps(records) if path.suffix == ".json" else "\n".join(map(json.dumps, records))
    path.write_text(text, encoding="utf-8")
    return path


def run(path: Path, *texts: str | None, error: str = "gone") -> list[tuple[str, str | None, str]]:
    """A run's replies to the first items of a question file; None: the call failed."""
    items = benchmarks.load(path, need_clips=False)
    return [(item.id, text, "" if text else error) for item, text in zip(items, texts)]


def run_folder(folder: Path, asked: list[items.Item], *replies: str | None, **facts) -> Path:
    """A folder as `run` leaves it, a reply per item; None: the call failed."""
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"option_order": None} | facts))
    texts = [
        {"model_output": None, "error": "gone"} if text is None else {"model_output": text}
        for text in replies
    ]
    lines = [json.dumps({"id": item.id} | text) for item, text in zip(asked, texts, strict=True)]
    (folder / "plain.jsonl").write_text("\n".join(lines))
    return folder


# Writing


def test_mmau_s_records_are_kept_whole_and_get_the_reply_under_both_official_keys(tmp_path):
    path = questions(tmp_path / "mmau.json", mmau(1), mmau(2, task="music"))
    submission = submissions.write(tmp_path / "out.json", path, run(path, "A dog.", "cat"))
    assert submission.release == releases.identify(benchmarks.load(path, need_clips=False)).name
    assert (submission.n, submission.failed) == (2, ())
    assert json.loads((tmp_path / "out.json").read_text()) == [
        mmau(1) | {"model_output": "A dog.", "model_prediction": "A dog."},
        mmau(2, task="music") | {"model_output": "cat", "model_prediction": "cat"},
    ]


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_mmar_s_script_reads_another_key_and_both_layouts(tmp_path, ending):
    path = questions(tmp_path / "mmar.jsonl", mmar(1), mmar(2))
    out = submissions.write(tmp_path / f"out{ending}", path, run(path, "dog\u2028", "cat")).path
    # as the official script tells the layouts apart, in whatever encoding its machine has
    text = out.read_bytes().decode("ascii")
    records = json.loads(text) if ending == ".json" else [json.loads(line) for line in text.splitlines()]
    expected = {"answer_prediction": "dog\u2028", "model_prediction": "dog\u2028"}
    assert records[0] == mmar(1) | expected
    assert len(records) == 2


def test_mmar_s_leaderboard_gets_id_thoughts_and_answer(tmp_path):
    path = questions(tmp_path / "mmar.jsonl", mmar(1), mmar(2), mmar(3))
    replies = run(path, "<think>It barks.</think>\nThe answer is dog.", "cat", None)
    out = submissions.write(tmp_path / "out.jsonl", path, replies, parsed=True, leaderboard=True).path
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {"id": "r1", "thinking_prediction": "It barks.", "answer_prediction": "dog"},
        {"id": "r2", "thinking_prediction": "", "answer_prediction": "cat"},
        {"id": "r3", "thinking_prediction": "", "answer_prediction": "", "reply_failed": "gone"},
    ]
    report = score(out, questions=path, exclude_failed=True, n_boot=10)["overall"]
    assert (report["correct"], report["wrong"], report["failed"]) == (1, 1, 1)
    other = questions(tmp_path / "mmau.json", mmau(1))
    with pytest.raises(SubmissionError, match="is of MMAU; the leaderboard's layout is MMAR's"):
        submissions.write(tmp_path / "out.json", other, run(other, "dog"), leaderboard=True)


def sakura(folder: Path, *tracks: str) -> Path:
    for track in tracks:
        (folder / "data" / track).mkdir(parents=True)
        rows = ["file,attribute_label,single_instruction,single_answer,multi_instruction,multi_answer"]
        rows += [
            f"{i}.wav,dog,Which? (a) dog (b) cat,(a) dog,Says? (a) meow (b) woof,(b) woof" for i in (1, 2)
        ]
        (folder / "data" / track / "metadata.csv").write_text("\n".join(rows))
    return folder


def test_sakura_s_judge_gets_instruction_label_and_response_of_each_clip(tmp_path, capsys):
    folder = sakura(tmp_path / "sakura", "Animal")
    questions = benchmarks.load(folder, split="multi", need_clips=False)
    run_folder(tmp_path / "run", questions, "(b) woof", None)
    out = tmp_path / "out.json"
    assert main(["submit", str(tmp_path / "run"), "--benchmark", str(folder), "--out", str(out)]) == 0
    assert "2 records, 1 of them without a reply" in capsys.readouterr().out
    entry = {"instruction": "Says? (a) meow (b) woof", "label": "(b) woof"}
    assert json.loads(out.read_text())["results"] == {
        "1.wav": entry | {"response": "(b) woof"}, "2.wav": entry | {"response": "", "reply_failed": "gone"},
    }  # fmt: skip
    assert list(predictions.table(predictions.records(out), out)["outcome"]) == ["correct", "failed"]
    both = sakura(tmp_path / "both", "Animal", "Gender")
    for names, path, message in [
        (["Animal/1.wav/single", "Animal/1.wav/multi"], folder, "2 hops of SAKURA"),
        (["Animal/9.wav/multi"], folder, "are not in"),
        (["Animal/1.wav/multi"], both, "lies in two tracks; give one track's folder"),
    ]:
        with pytest.raises(SubmissionError, match=message):
            submissions.write_sakura(out, path, [(name, "dog", "") for name in names])
    with pytest.raises(SubmissionError, match=r"reads \.json"):
        submissions.write_sakura(tmp_path / "out.csv", folder, [("Animal/1.wav/multi", "dog", "")])


def test_missing_replies_are_written_as_failed_and_said(tmp_path, caplog):
    path = questions(tmp_path / "mmau.json", *map(mmau, range(5)))
    replies = [("u0", "dog", ""), ("u1", None, "HTTP 500"), ("u2", " ", ""), ("u3", None, "")]
    submission = submissions.write(tmp_path / "out.json", path, replies)
    records = json.loads(submission.path.read_text())
    assert [record["model_output"] for record in records] == ["dog", "", "", "", ""]
    why = [None, "HTTP 500", "empty reply", "failed", "not asked in this run"]
    assert [record.get("reply_failed") for record in records] == why
    assert submission.failed == ("u1", "u2", "u3", "u4")
    assert "4 of 5 replies are missing, written as failed" in caplog.text


def test_a_submission_is_read_back_as_the_run_that_it_holds(tmp_path):
    path = questions(tmp_path / "mmar.jsonl", *map(mmar, range(4)))
    texts = ("dog", "I don't know.", None, "cow")
    submission = submissions.write(tmp_path / "out.jsonl", path, run(path, *texts))
    replies = [Reply(text=t, n_tokens=1, finish="stop") if t else failed("gone") for t in texts]
    expected = outcomes.table(
        benchmarks.load(path, need_clips=False), replies, model="m", method="plain", seed=0
    )
    table = predictions.table(predictions.records(submission.path), submission.path)
    assert list(table["outcome"]) == list(expected["outcome"])


def test_parsed_writes_the_option_that_was_read_and_leaves_the_rest_as_it_is(tmp_path):
    path = questions(
        tmp_path / "mmau.json", *(mmau(i, choices=["A cat", "A dog"], answer="A dog") for i in range(4))
    )
    replies = run(path, "(B)", "Not the cat: the answer is a dog.", "I don't know.", "?")
    out = tmp_path / "out.json"
    submissions.write(out, path, replies, parsed=True)
    texts = [record["model_output"] for record in json.loads(out.read_text())]
    assert texts == ["A dog", "A dog", "I don't know.", "?"]
    assert submissions.compare(submissions.official(predictions.records(out)))["overall"]["matched"] == 2
    submissions.write(out, path, replies)
    assert submissions.compare(submissions.official(predictions.records(out)))["overall"]["matched"] == 0


def test_items_whose_answers_are_withheld_can_be_submitted(tmp_path):
    path = questions(tmp_path / "mmau.json", mmau(1, answer=""), mmau(2, answer=None))
    item_list = benchmarks.load(path, need_clips=False)
    replies = submissions.read_run(run_folder(tmp_path / "run", item_list, "(A)", None), "plain")
    submission = submissions.write(tmp_path / "out.json", path, replies, parsed=True)
    records = json.loads(submission.path.read_text())
    assert [record["model_output"] for record in records] == ["cat", ""]
    assert (records[0]["answer"], submission.failed) == ("", ("u2",))


FIRST = ("u1", "dog", "")
REFUSED = [
    ("mmau as lines", "out.jsonl", [FIRST], r"MMAU's script reads \.json$"),
    ("no ending", "out", [FIRST], r"MMAU's script reads \.json$"),
    ("over the questions", "mmau.json", [FIRST], "would overwrite the question file"),
    ("two runs", "out.json", [FIRST, FIRST], "item 'u1' stands more than once; give one run at a time"),
    (
        "other items",
        "out.json",
        [("u7", "dog", "")],
        "1 items, e.g. 'u7', are not in .*; give the file that was",
    ),
]


@pytest.mark.parametrize("case, name, replies, message", REFUSED, ids=[row[0] for row in REFUSED])
def test_what_cannot_be_submitted_is_refused_and_nothing_is_written(tmp_path, case, name, replies, message):
    path = questions(tmp_path / "mmau.json", mmau(1), mmau(2))
    before = path.read_text()
    with pytest.raises(SubmissionError, match=message):
        submissions.write(tmp_path / name, path, replies)
    assert [file.name for file in tmp_path.iterdir()] == ["mmau.json"]
    assert path.read_text() == before


def test_a_file_that_is_no_untouched_official_one_is_refused(tmp_path):
    path = questions(tmp_path / "mmau.json", mmau(1))
    replies = run(path, "dog")
    questions(path, mmau(1, response="cat"))
    with pytest.raises(SubmissionError, match=r"element 1: holds replies already \(response\)"):
        submissions.write(tmp_path / "out.json", path, replies)
    questions(path, mmau(1), mmau(1))
    with pytest.raises(BenchmarkError, match="duplicate id"):
        submissions.write(tmp_path / "out.json", path, replies)
    questions(path, {"id": "x"})
    with pytest.raises(BenchmarkError, match="neither MMAU"):
        submissions.write(tmp_path / "out.json", path, replies)
    with pytest.raises(BenchmarkError):
        submissions.write(tmp_path / "out.json", tmp_path, replies)


# The command


def test_the_command_writes_a_run_s_replies_whole_or_parsed(tmp_path, capsys):
    path = questions(tmp_path / "mmau.json", mmau(1), mmau(2, answer=""), mmau(3))
    folder = run_folder(tmp_path / "run", benchmarks.load(path, need_clips=False), "(B)", "cat", None)
    line = ["submit", str(folder), "--benchmark", str(path), "--out", str(tmp_path / "out.json")]
    for more, first in ([], "(B)"), (["--parsed"], "dog"):
        assert main([*line, *more]) == 0
        records = json.loads((tmp_path / "out.json").read_text())
        assert [record["model_output"] for record in records] == [first, "cat", ""]
        assert records[2]["reply_failed"] == "gone"
        assert "3 records, 1 of them without a reply" in capsys.readouterr().out


NO_RUNS = [
    ("another method", ["--method", "idk"], {}, "no run.json and idk.jsonl; give a folder of `run`"),
    ("options in another order", [], {"option_order": 5}, "was asked with --option-order 5"),
    (
        "another file",
        ["--benchmark", "other.json"],
        {},
        "are not in other.json; give the file that was asked",
    ),
    ("no question file", ["--benchmark", "gone.json"], {}, "gone.json"),
]


@pytest.mark.parametrize("case, more, facts, message", NO_RUNS, ids=[row[0] for row in NO_RUNS])
def test_what_is_no_run_of_these_questions_ends_with_exit_code_2(
    tmp_path, monkeypatch, capsys, case, more, facts, message
):
    monkeypatch.chdir(tmp_path)
    path = questions(tmp_path / "mmau.json", mmau(1), mmau(2))
    questions(tmp_path / "other.json", mmau(7))
    run_folder(tmp_path / "run", benchmarks.load(path, need_clips=False), "dog", "cat", **facts)
    assert main(["submit", "run", "--benchmark", "mmau.json", "--out", "out.json", *more]) == 2
    assert message in capsys.readouterr().err
    assert not Path("out.json").exists()


# The official rule


def test_both_rules_are_counted_side_by_side(tmp_path):
    expected = [
        ("dog", True),
        ("(B)", False),
        ("Not a dog.", True),
        ("The cat barks: dog.", False),
        ("cow", False),
    ]
    records = [mmau(i, model_output=text) for i, (text, _) in enumerate(expected)]
    frame = submissions.official(predictions.records(questions(tmp_path / "p.json", *records)))
    assert list(frame["official"]) == [matched for _, matched in expected]
    result = submissions.compare(frame)["sound"]
    counts = ("n", "answered", "matched", "both", "official_only", "ours_only", "neither")
    assert [result[name] for name in counts[:3]] == [5, 5, 2]
    assert result["both"] + result["official_only"] == 2
    assert result["ours_only"] >= 1, "a letter alone is right by our rule, and by the official one wrong"
    assert sum(result[name] for name in counts[3:]) == 5


def test_a_missing_reply_is_no_match_and_the_scripts_smaller_denominator_is_told_apart(tmp_path):
    records = [mmau(1, model_output="dog"), mmau(2, model_output=""), mmau(3), mmau(4, task="music")]
    result = submissions.compare(
        submissions.official(predictions.records(questions(tmp_path / "p.json", *records)))
    )
    assert list(result) == ["sound", "music", "overall"]
    assert (result["sound"]["n"], result["sound"]["answered"]) == (3, 1)
    assert (result["sound"]["accuracy"], result["sound"]["accuracy_answered"]) == (1 / 3, 1)
    assert (result["music"]["accuracy"], result["music"]["accuracy_answered"]) == (0, None)
    assert result["overall"]["accuracy"] == 1 / 4


def test_the_rule_sees_the_record_as_the_scripts_do_a_stray_choice_included(tmp_path):
    records = [mmar(1, response="dog"), mmar(2, response="dog", choices=["  cat", " DOG "], answer="dog")]
    frame = submissions.official(predictions.records(questions(tmp_path / "p.jsonl", *records)))
    assert list(frame["official"]) == [True, True]


def test_the_report_holds_the_official_numbers_only_if_asked(tmp_path):
    path = questions(
        tmp_path / "p.json", mmau(1, response="dog"), mmau(2, response="(B)"), mmau(3, task="music")
    )
    assert "official" not in score(path, n_boot=20)["overall"]
    report = score(path, official=True, n_boot=20)
    assert report["sound"]["accuracy"] == 1
    assert (report["sound"]["official"]["accuracy"], report["sound"]["official"]["ours_only"]) == (0.5, 1)
    assert report["music"]["official"]["answered"] == 0
    assert report["overall"]["accuracy"] is None, "ours withholds what the official rule counts as wrong"
    assert report["overall"]["official"]["matched"] == 1
    (line,) = [
        line for line in as_text(report).splitlines() if line.split()[:4] == ["overall", "3", "2", "1"]
    ]
    assert line.split() == ["overall", "3", "2", "1", "0.333", "1", "0", "1", "1"]


def test_the_command_takes_the_option_and_writes_it_as_json(tmp_path, capsys):
    path = questions(tmp_path / "p.json", mmau(1, response="dog"), mmau(2, response="cat"))
    assert main(["score", str(path)]) == 0
    assert "official" not in capsys.readouterr().out
    out = tmp_path / "report.json"
    before = questions(tmp_path / "b.json", mmau(1, response="cat"), mmau(2, response="cat"))
    assert main(["score", str(path), "--official", "--before", str(before), "--json", str(out)]) == 0
    assert "By the official scripts' rule" in capsys.readouterr().out
    assert json.loads(out.read_text())["overall"]["official"]["accuracy"] == 0.5


@pytest.mark.skipif(not SHARED.is_dir(), reason="the official question files are not at hand")
@pytest.mark.parametrize("name", ["mmau/mmau-test-mini.json", "mmar/MMAR-meta.jsonl"])
def test_official_files_answered_with_their_own_answers_are_all_right_by_both_rules(tmp_path, caplog, name):
    caplog.set_level(logging.ERROR)
    path = SHARED / name
    questions = benchmarks.load(path, need_clips=False)
    replies = run(path, *[item.options[item.gold] for item in questions])
    submission = submissions.write(tmp_path / path.name, path, replies)
    result = submissions.compare(submissions.official(predictions.records(submission.path)))
    assert (submission.n, result["overall"]["matched"], result["overall"]["both"]) == (1000, 1000, 1000)
    text = path.read_text(encoding="utf-8")
    official = json.loads(text) if path.suffix == ".json" else list(map(json.loads, text.splitlines()))
    text = submission.path.read_text(encoding="utf-8")
    ours = json.loads(text) if path.suffix == ".json" else list(map(json.loads, text.splitlines()))
    assert [{key: record[key] for key in first} for first, record in zip(official, ours)] == official
