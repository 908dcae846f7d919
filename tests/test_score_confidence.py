"""`score --confidence`: measures of a column of numbers, the promised threshold, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lalm_utils import risk_coverage
from lalm_utils.__main__ import main
from lalm_utils.cli import confidence
from lalm_utils.cli.predictions import PredictionError
from lalm_utils.cli.score import as_text, score

RNG = np.random.default_rng(2)
P = RNG.random(400).round(3)
RIGHT = RNG.random(400) < P


def records(p=P, right=RIGHT, **more) -> list[dict]:
    question = {"task": "sound", "choices": ["cat", "dog"], "answer": "dog", "question": "?"}
    rows = enumerate(zip(p, right, strict=True))
    return [
        question
        | {"id": f"s{i}", "audio_id": f"{i}.wav", "response": "dog" if r else "cat", "p": float(value)}
        | {"split": "dev" if i % 2 else "test"}
        | more
        for i, (value, r) in rows
    ]


def write(path, rows):
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(confidence, "N_BOOT", 40)


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "p.json", records())


def test_the_measures_are_those_of_risk_coverage(file):
    result = score(file, confidence_column="p", n_boot=20)["overall"]["confidence"]
    expected = risk_coverage.measures(P, RIGHT, probability=True)
    assert {name: result[name] for name in expected} == pytest.approx(expected)
    low, high = result["intervals"]["auroc"]
    assert low < result["auroc"] < high


def test_the_threshold_is_fixed_on_one_split_and_tested_on_the_other(file):
    result = score(file, confidence_column="p", alpha=0.3, calibrate="dev", n_boot=20)
    promise = result["overall"]["confidence"]["promise"]
    own = risk_coverage.promise(P[1::2], RIGHT[1::2], alpha=0.3)
    answers = RIGHT[::2][P[::2] > own.threshold]
    assert (promise["threshold"], promise["calibration"]["answers"]) == (own.threshold, 200)
    assert (promise["test"]["kept"], promise["test"]["wrong"]) == (len(answers), (~answers).sum())
    assert f"answer above {own.threshold:g}" in as_text(result)
    json.dumps(result, allow_nan=False)


def test_the_random_half_goes_by_the_seed(file):
    halves = [score(file, confidence_column="p", alpha=0.3, seed=s, n_boot=20) for s in (0, 0, 1)]
    first, again, other = (each["overall"]["confidence"]["promise"] for each in halves)
    assert first == again != other


def test_all_or_none_may_be_promised(tmp_path):
    for right, answer in ((np.ones(100, bool), "all"), (np.zeros(100, bool), "none")):
        path = write(tmp_path / "p.json", records(P[:100], right))
        report = score(path, confidence_column="p", n_boot=20)
        promise = report["overall"]["confidence"]["promise"]
        assert (promise["answer"], promise["threshold"]) == (answer, None)
        assert ("answer all" if right.all() else "No threshold can promise") in as_text(report)
        json.dumps(report, allow_nan=False)


def test_a_score_beyond_one_is_ranked_alone(tmp_path):
    path = write(tmp_path / "p.json", records(10 * P))
    report = score(path, confidence_column="p", n_boot=20)
    assert "ece" not in report["overall"]["confidence"]
    assert report["overall"]["confidence"]["auroc"] == pytest.approx(
        risk_coverage.measures(P, RIGHT)["auroc"]
    )


def test_refusals_are_no_answers_and_need_no_number(tmp_path):
    rows = records()
    rows[0] |= {"response": "IDK", "p": None}
    result = score(write(tmp_path / "p.json", rows), confidence_column="p", n_boot=20)["overall"]
    assert (result["refused"], result["confidence"]["answers"]) == (1, 399)


def test_missing_replies_withhold_it_unless_they_are_excluded(tmp_path):
    rows = records()
    rows[0]["response"] = None
    path = write(tmp_path / "p.json", rows)
    report = score(path, confidence_column="p", n_boot=20)
    assert "1 of 400 items have no reply" in report["overall"]["confidence"]["withheld"]
    assert "withheld: 1 of 400" in as_text(report)
    fields = score(path, confidence_column="p", exclude_failed=True, n_boot=20)["overall"]["confidence"]
    assert fields["answers"] == 399


@pytest.mark.parametrize(
    "change, options, message",
    [
        ({}, {"confidence_column": "q"}, "has no 'q' in 400 of 400 answers, e.g. 's0'; the keys are .*p, "),
        ({"p": None}, {}, "'p' is missing in 1 of 400 answers"),
        ({"p": "sure"}, {}, "item 's0': p is 'sure'; a confidence is a finite number"),
        ({"p": True}, {}, "p is True"),
        ({"p": "nan"}, {}, "p is 'nan'"),
        ({"p": 10**400}, {}, "a finite number"),
        ({}, {"alpha": 0.001}, "200 answers to fix the threshold on; alpha 0.001 and delta 0.1 need at least 2302,"),
        ({}, {"calibrate": "train"}, "0 of 400 answers .* by split: test 200, dev 200; name one of several"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(tmp_path, change, options, message):
    rows = records()
    rows[0] |= change
    path = write(tmp_path / "p.json", rows)
    with pytest.raises(PredictionError, match=message):
        score(path, **{"confidence_column": "p"} | options, n_boot=20)


def test_a_split_to_calibrate_on_must_be_in_the_file(tmp_path):
    rows = [{key: value for key, value in row.items() if key != "split"} for row in records()]
    path = write(tmp_path / "p.json", rows)
    with pytest.raises(PredictionError, match="none of 400 answers has a split, so none is of 'dev'; leave"):
        score(path, confidence_column="p", calibrate="dev", n_boot=20)


def test_the_fewest_answers_could_just_show_it():
    n = risk_coverage.fewest(0.1, 0.1)
    assert 0.9**n <= 0.1 < 0.9 ** (n - 1)


def test_numbers_are_kept_where_replies_and_questions_are_joined(tmp_path):
    rows = records()
    questions = [{k: v for k, v in row.items() if k not in ("response", "p")} for row in rows]
    replies = [{k: row[k] for k in ("id", "response", "p")} for row in rows]
    paths = write(tmp_path / "r.json", replies), write(tmp_path / "q.json", questions)
    result = score(paths[0], questions=paths[1], confidence_column="p", n_boot=20)
    assert result["overall"]["confidence"]["answers"] == 400


def test_the_command_prints_it_and_refuses_a_share_out_of_range(file, capsys):
    assert main(["score", str(file), "--confidence", "p", "--alpha", "0.3", "--calibrate", "dev"]) == 0
    printed = capsys.readouterr().out
    assert "Is p a confidence?" in printed
    assert "at most 30.0% of the answers wrong, with confidence 90%" in printed
    assert main(["score", str(file), "--confidence", "q"]) == 2
    with pytest.raises(SystemExit):
        main(["score", str(file), "--confidence", "p", "--alpha", "1"])
    assert confidence.share("0.25") == 0.25
