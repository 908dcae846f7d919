"""The report and the command line: counts, gains, what is withheld, valid JSON, exit codes."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from texts import strict_json

from lalm_utils.__main__ import main
from lalm_utils.cli.score import as_text, score

COUNTS = ("correct", "wrong", "refused", "unreadable", "failed")
REPLY = {"correct": "dog", "wrong": "cat", "refused": "IDK", "unreadable": "purple monkeys", "failed": None}


def file(path: Path, **outcomes: dict[str, int]) -> Path:
    """A predictions file from counts by modality, e.g. sound={"correct": 3}."""
    records = []
    for modality, counts in outcomes.items():
        found = [name for name, n in counts.items() for _ in range(n)]
        for i, outcome in enumerate(found):
            record = {"id": f"{modality}{i}", "task": modality, "choices": ["cat", "dog"], "answer": "dog"}
            records.append(record | {"audio_id": f"{i}.wav", "question": "?", "response": REPLY[outcome]})
    path.write_text(json.dumps(records))
    return path


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    """Sound: 10 right -> 6 right, 4 refused; 10 wrong -> 2 right, 8 refused. Music: nothing changes."""
    before = file(
        tmp_path / "before.json", sound={"correct": 10, "wrong": 10}, music={"correct": 3, "wrong": 1}
    )
    after = file(
        tmp_path / "after.json", sound={"correct": 6, "refused": 12, "_": 0}, music={"correct": 3, "wrong": 1}
    )
    records = json.loads(after.read_text())
    right = [dict(records[0], id=f"sound{i}") for i in (18, 19)]
    after.write_text(json.dumps(records + right))
    return before, after


def test_the_report_has_every_count_and_metric_per_modality_and_overall(tmp_path):
    counts = {"correct": 5, "wrong": 2, "refused": 2, "unreadable": 1}
    report = score(file(tmp_path / "p.json", sound=counts, speech={"correct": 10}), n_boot=50)
    assert list(report) == ["sound", "speech", "overall"]
    sound = report["sound"]
    assert {name: sound[name] for name in COUNTS} == counts | {"failed": 0}
    assert (sound["n"], sound["scored"], report["overall"]["n"]) == (10, 10, 20)
    rates = [sound[name] for name in ("accuracy", "truthfulness", "rejection_rate", "reliability")]
    assert rates == pytest.approx([0.5, 0.7, 0.2, 0.66])
    low, high = sound["intervals"]["accuracy"]
    assert 0 < low < 0.5 < high < 1
    assert report["overall"]["accuracy"] == 0.75


def test_gains_over_a_baseline_are_paired_and_undefined_ones_say_why(pair):
    before, after = pair
    report = score(after, before, n_boot=200)
    sound, music = report["sound"], report["music"]
    assert (sound["delta_con"], sound["delta_hum"]) == (0.2, 0.5)
    assert sound["rgi"] == pytest.approx(math.log10(2.5))
    assert (sound["rgi_null"], sound["rgi_excess"]) == (0, pytest.approx(math.log10(2.5)))
    assert sound["refusal_rgi"] == pytest.approx(math.log10(2))
    four = {"correct_to_refused": 4, "correct_to_wrong": 0, "wrong_to_refused": 8, "wrong_to_correct": 2}
    assert four.items() <= sound["flows"].items()
    assert sum(sound["flows"].values()) == sound["paired"] == 20
    assert len(sound["intervals"]["rgi"]) == len(sound["intervals"]["wrong_to_refused"]) == 2
    assert (sound["before"]["accuracy"], sound["accuracy"]) == (0.5, 0.4)
    assert music["rgi"] is None
    assert music["intervals"]["rgi"] is None
    assert music["status"]["rgi"] == "nan (delta_con = 0, delta_hum = 0)"
    assert music["delta_con"] == 0


def test_open_bounds_are_null_and_the_draws_behind_them_are_counted(tmp_path):
    before = file(tmp_path / "b.json", sound={"correct": 20, "wrong": 20})
    after = file(tmp_path / "a.json", sound={"refused": 1, "correct": 19, "wrong": 10, "unreadable": 0} | {})
    records = json.loads(after.read_text())
    records += [dict(records[0], id=f"sound{i}") for i in range(30, 40)]
    after.write_text(json.dumps(records))
    report = score(after, before, n_boot=500)
    low, high = report["sound"]["intervals"]["rgi"]
    assert low > 0
    assert high is None
    assert 100 < report["sound"]["resamples"]["rgi"]["infinite"] < 270
    assert "open]" in as_text(report)


def test_missing_replies_are_counted_said_and_withhold_the_metrics_of_their_group(tmp_path):
    path = file(tmp_path / "p.json", sound={"correct": 3, "failed": 1}, music={"correct": 1, "wrong": 1})
    report = score(path, n_boot=20)
    sound, overall = report["sound"], report["overall"]
    assert (sound["n"], sound["failed"], sound["scored"], sound["correct"]) == (4, 1, 3, 3)
    assert sound["accuracy"] is None
    assert sound["intervals"]["accuracy"] is None
    assert sound["status"]["accuracy"].startswith(
        "withheld: 1 of 4 items have no reply; ask them again, or give --ex"
    )
    assert overall["reliability"] is None
    assert overall["missing"] == {"predictions": ["sound3"]}
    assert report["music"]["accuracy"] == 0.5
    text = as_text(report)
    assert "1 items have no reply (failed): sound3" in text
    assert "overall: withheld: 1 of 6 items have no reply" in text


def test_failed_items_may_be_excluded_and_are_still_counted_and_listed(tmp_path):
    path = file(tmp_path / "p.json", sound={"correct": 3, "wrong": 1, "failed": 4})
    report = score(path, exclude_failed=True, n_boot=20)
    assert (report["sound"]["n"], report["sound"]["failed"], report["sound"]["scored"]) == (8, 4, 4)
    assert report["sound"]["accuracy"] == 0.75
    assert len(report["overall"]["missing"]["predictions"]) == 4


def test_an_item_that_failed_on_either_side_leaves_the_gain(tmp_path):
    before = file(tmp_path / "b.json", sound={"failed": 1, "correct": 4, "wrong": 5})
    after = file(tmp_path / "a.json", sound={"correct": 3, "refused": 6, "failed": 1})
    report = score(after, before, n_boot=20)
    assert report["sound"]["rgi"] is None
    assert report["sound"]["flows"]["correct_to_refused"] is None
    assert report["sound"]["status"]["rgi"].startswith("withheld: 2 of 10 items")
    report = score(after, before, exclude_failed=True, n_boot=20)
    assert report["sound"]["paired"] == 8
    assert (report["sound"]["delta_con"], report["sound"]["delta_hum"]) == (0.25, 0.5)


def test_a_modality_without_any_reply_is_shown_as_empty(tmp_path):
    path = file(tmp_path / "p.json", sound={"failed": 2}, music={"correct": 2})
    report = score(path, exclude_failed=True, n_boot=20)
    assert (report["sound"]["n"], report["sound"]["scored"], report["sound"]["accuracy"]) == (2, 0, None)
    assert report["sound"]["status"]["accuracy"] == "nan (no items)"
    assert report["overall"]["accuracy"] == 1


def test_the_command_prints_tables_and_writes_valid_json(pair, tmp_path, capsys):
    before, after = pair
    out = tmp_path / "report.json"
    assert main(["score", str(after), "--before", str(before), "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    for word in ("unreadable", "reliability", "delta_con", "rgi_null", "refusal_rgi", "wrong_to_refused"):
        assert word in printed
    assert "nan (delta_con = 0, delta_hum = 0)" in printed
    report = strict_json(out.read_text())
    assert set(report) == {"sound", "music", "overall"}
    assert report["overall"]["sources"] == {"predictions": str(after), "before": str(before)}
    assert main(["score", str(after), "--before", str(before), "--json", str(tmp_path / "again.json")]) == 0
    assert (tmp_path / "again.json").read_text() == out.read_text()


def refused(capsys, *words: str) -> str:
    """The one line of reason that a refused command prints, and nothing on stdout."""
    assert main(["score", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    return captured.err


def test_bad_input_ends_with_exit_code_2_and_a_reason(pair, tmp_path, capsys):
    before, after = map(str, pair)
    other = str(file(tmp_path / "other.json", sound={"correct": 2}))
    twisted = tmp_path / "twisted.json"
    twisted.write_text(Path(before).read_text().replace('"answer": "dog"', '"answer": "cat"', 1))
    missing = str(tmp_path / "nowhere.json")
    assert "No such file" in refused(capsys, missing)
    assert "No such file" in refused(capsys, after, "--before", missing)
    assert "hold different items: 0 only before [], 22 only after" in refused(
        capsys, after, "--before", other
    )
    assert "'sound0' has another gold before (0) than after (1)" in refused(
        capsys, after, "--before", str(twisted)
    )
    assert "cannot be written" in refused(capsys, after, "--json", str(tmp_path / "no" / "folder.json"))
    assert "would overwrite its own input" in refused(capsys, after, "--json", after)
    assert json.loads(Path(after).read_text())


def test_usage_errors_end_with_exit_code_2_too(capsys):
    for words in ([], ["score"], ["sing"]):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
    assert "usage: python -m lalm_utils" in capsys.readouterr().err


FINETUNE = ("finetune", "--model", "mini", "--benchmark", "mini", "--out", "x", "--k", "1")
RUN = ("run", "--model", "mini", "--benchmark", "mini")


@pytest.mark.parametrize(
    "words, option, value, least",
    [
        (("score", "p.json"), "--seed", "-1", 0),
        (("score", "p.json"), "--seed", "1.5", 0),
        (("score", "p.json"), "--seed", str(2**32), 0),
        (RUN, "--seed", "-1", 0),
        (RUN, "--option-order", "-1", 0),
        (RUN, "--n", "0", 1),
        (RUN, "--batch-size", "0", 1),
        (FINETUNE, "--sample-seed", "-1", 0),
        (FINETUNE, "--seed", "-1", 0),
        (FINETUNE, "--samples", "0", 1),
        (FINETUNE, "--rank", "0", 1),
        (FINETUNE, "--save-every", "0", 1),
        (("bench",), "--batch-sizes", "0", 1),
        (("bench",), "--repeats", "-2", 1),
    ],
)
def test_a_seed_or_a_count_that_is_none_is_refused_with_the_rule(words, option, value, least, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*words, option, value])
    assert stopped.value.code == 2
    reason = f"argument {option}: {value!r} is no whole number of at least {least} and at most "
    assert reason in capsys.readouterr().err


def test_options_of_a_promise_need_a_confidence(pair, capsys):
    for words in (["--alpha", "0.2"], ["--delta", "0.2"], ["--calibrate", "dev"]):
        reason = refused(capsys, str(pair[0]), *words)
        assert f"{' '.join(words)}: of a promise on a confidence, and --confidence is not given" in reason


def test_an_option_is_named_as_declining_only_where_that_can_be(pair, capsys):
    path = str(pair[0])
    assert "no item has the option 'horse'; give its text" in refused(capsys, path, "--declining", "horse")
    assert "its answer is 'dog', which is named as the option that declines" in refused(
        capsys, path, "--declining", "dog"
    )
    assert main(["score", path, "--declining", "cat"]) == 0
    note = "'cat' does not sound like declining; its choice counts as a refusal in 24 of 24 items"
    assert note in capsys.readouterr().out


def test_the_module_runs_as_a_command_without_a_model_or_a_traceback(tmp_path):
    path = file(tmp_path / "p.json", sound={"correct": 1})
    program = (
        "import sys, runpy; sys.argv[0] = 'x'\ntry: runpy.run_module('lalm_utils', run_name='__main__')\n"
    )
    program += "finally: print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, "score", path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("False False\n")
    strange = file(tmp_path / "\udce9.json", sound={"correct": 1})
    strange.write_text("no json")
    command = [sys.executable, "-m", "lalm_utils", "score", strange]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not JSON at line 1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_stops_early_gets_no_traceback(tmp_path):
    path = file(tmp_path / "p.json", sound={"correct": 1})
    program = "import os, sys; from lalm_utils.__main__ import main\n"
    program += (
        "read, write = os.pipe(); os.close(read); os.dup2(write, 1); sys.exit(main(['score', sys.argv[1]]))"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_command_calls_itself_as_it_was_called(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/lalm"])
    with pytest.raises(SystemExit):
        main(["--help"])
    assert capsys.readouterr().out.startswith("usage: lalm ")


def questions(path: Path, n: int = 3) -> Path:
    """A question file of the ids sound0, sound1, ... without replies."""
    records = json.loads(file(path, sound={"correct": n}).read_text())
    path.write_text(json.dumps([{k: v for k, v in record.items() if k != "response"} for record in records]))
    return path


REPLIES = [
    ("records", [{"id": "sound1", "response": "cat"}, {"id": "sound0", "response": "dog"}]),
    ("a leaderboard's records", [{"id": "sound0", "answer_prediction": "dog", "thinking_prediction": "hm"},
                                 {"id": "sound1", "answer_prediction": "cat"}]),
    ("a map from id to reply", {"sound0": "dog", "sound1": "cat"}),
]  # fmt: skip


@pytest.mark.parametrize("case, content", REPLIES, ids=[row[0] for row in REPLIES])
def test_replies_are_joined_with_their_questions_by_id(case, content, tmp_path, capsys):
    path = tmp_path / "replies.json"
    path.write_text(json.dumps(content))
    report = score(path, questions=questions(tmp_path / "q.json"), exclude_failed=True, n_boot=10)
    assert {name: report["sound"][name] for name in ("correct", "wrong", "failed")} == {
        "correct": 1, "wrong": 1, "failed": 1,
    }  # fmt: skip
    assert report["overall"]["missing"] == {"predictions": ["sound2"]}
    assert main(["score", str(path), "--questions", str(tmp_path / "q.json")]) == 0
    assert "3 items" in capsys.readouterr().out
    assert main(["score", str(path), "--questions", str(tmp_path / "q.json"), "--official"]) == 0
    assert "By the official scripts' rule" in capsys.readouterr().out


def test_replies_that_cannot_be_joined_say_why(tmp_path, capsys):
    path, question_file = tmp_path / "replies.json", str(questions(tmp_path / "q.json"))
    path.write_text(json.dumps([{"id": "sound9", "response": "dog"}]))
    assert "1 ids are not in" in refused(capsys, str(path), "--questions", question_file)
    assert "no question, only id, response; give the file of the questions too" in refused(capsys, str(path))
    path.write_text(json.dumps([{"response": "dog"}]))
    assert "no id; replies are joined" in refused(capsys, str(path), "--questions", question_file)
    path.write_text(json.dumps([{"id": "sound0", "response": "dog"}] * 2))
    assert "duplicate id 'sound0'" in refused(capsys, str(path), "--questions", question_file)
