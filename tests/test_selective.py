"""Option and threshold at one share of refusals, and what is withheld of what was heard: cases worked by hand."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lalm_utils import bootstrap, metrics, selective
from lalm_utils.outcomes import OutcomeError

OPTIONS = ["red", "green", "blue", "grey"]
IDK = "I do not have an answer"


def forced(right: str, confidence: list[float]) -> pd.DataFrame:
    """A table of forced answers: a 1 for a right one, a 0 for a wrong one."""
    return pd.DataFrame({"forced_correct": [float(x) for x in right], "confidence": confidence})


def outcome_table(outcomes: str) -> pd.DataFrame:
    """c correct, w wrong, r refused, one letter per item."""
    words = {"c": "correct", "w": "wrong", "r": "refused"}
    names = [words[letter] for letter in outcomes]
    return pd.DataFrame(
        {"item": range(len(names)), "modality": "speech", "outcome": names, "answerable": True}
    )


@pytest.mark.parametrize(
    "case, confidence, declined, weights, expected",
    [
        ("the least confident, as many", [0.9, 0.3, 0.5, 0.7], [1, 0, 0, 1], [1, 1, 1, 1], [0, 1, 1, 0]),
        ("none", [0.9, 0.3], [0, 0], [1, 1], [0, 0]),
        ("all", [0.9, 0.3], [1, 1], [1, 1], [1, 1]),
        ("ties by the items' order", [0.5, 0.5, 0.5], [0, 0, 1], [1, 1, 1], [1, 0, 0]),
        ("an item drawn twice may be refused once", [0.9, 0.3, 0.5], [1, 0, 0], [1, 2, 0], [0, 1, 0]),
        ("the share is that of the resample", [0.9, 0.3, 0.5], [1, 0, 0], [0, 2, 1], [0, 0, 0]),
    ],
)
def test_a_threshold_refuses_the_least_confident_as_often_as_was_declined(
    case, confidence, declined, weights, expected
):
    found = selective.refusal_share(np.array(confidence), np.array(declined), np.array([weights]))
    assert found.tolist() == [expected], case


def test_youden_and_error_of_both_ways_and_their_differences():
    # Wrong: items 0, 1. The option refuses items 0 and 2; the threshold the two least confident, 0 and 1.
    table = forced("00111111", [0.3, 0.4, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8])
    declined = np.array([True, False, True, False, False, False, False, False])
    rows = selective.compare_with_threshold(table, declined, n_boot=200)
    assert {row["metric"]: row["value"] for row in rows} == pytest.approx({
        "J, option": 1 / 2 - 1 / 6, "error, option": 1 / 6, "J, threshold": 1.0, "error, threshold": 0.0,
        "J, threshold - option": 2 / 3, "error, threshold - option": -1 / 6,
    })  # fmt: skip
    assert {row["n"] for row in rows} == {8}


def test_two_ways_that_refuse_the_same_differ_in_no_resample_and_so_have_no_interval():
    table = forced("0011", [0.1, 0.2, 0.8, 0.9])
    rows = selective.compare_with_threshold(table, np.array([True, True, False, False]), n_boot=100)
    (row,) = (row for row in rows if row["metric"] == "J, threshold - option")
    assert (row["value"], row["status"]) == (0, bootstrap.NO_WIDTH)
    assert math.isnan(row["low"])
    assert math.isnan(row["high"])


def test_what_is_withheld_of_what_was_heard():
    free, selective_run = outcome_table("cccwr"), outcome_table("rcwrr")
    assert selective.withholding_counts(free, selective_run.iloc[::-1]) == {
        "withheld, heard": (1, 3), "withheld, not heard": (2, 2), "heard, of all withheld": (1, 3),
    }  # fmt: skip


# ---- files


def record(n: int, pred: str, *, idk: bool, logp: list[float]) -> dict:
    """A record of SH-Bench's layout; the option that declines stands first."""
    options = ([IDK] if idk else []) + OPTIONS
    return {
        "question": f"Which colour, {n}?", "options": options, "answer": "red", "speaker": ["main", "bystander"][n % 2],
        "type": "real", "scene": "office", "audio": f"real/office_{n}.wav", "main_speaker_desc": "calm",
        "idk_answer": IDK, "pred": pred, "logp": logp,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    free = [record(n, "A. red", idk=False, logp=[0.7, 0.1, 0.1, 0.1]) for n in range(3)]
    free.append(record(3, "B. green", idk=False, logp=[0.3, 0.4, 0.2, 0.1]))
    permitted = [record(n, "B. red", idk=True, logp=[0.9, 0.05, 0.03, 0.02, 0]) for n in range(3)]
    permitted.append(record(3, "A", idk=True, logp=[0.9, 0.02, 0.05, 0.02, 0.01]))
    (tmp_path / "stepaudio_basicnoidk_qa.json").write_text(json.dumps(free))
    (tmp_path / "stepaudio_basic_qa.json.gz").write_bytes(gzip.compress(json.dumps(permitted).encode()))
    (tmp_path / "stepaudio_selective_qa.json").write_text(json.dumps(permitted))
    return tmp_path


def test_a_forced_answer_is_the_most_probable_of_the_options_that_do_not_decline(folder):
    runs = selective.load(folder)
    assert set(runs) == {("Step-Audio-2-mini", prompt) for prompt in ("basicnoidk", "basic", "selective")}
    free, permitted = (runs["Step-Audio-2-mini", prompt] for prompt in ("basicnoidk", "basic"))
    assert free["confidence"].tolist() == [0.7, 0.7, 0.7, 0.4]
    assert free["forced_correct"].tolist() == [1, 1, 1, 0]
    assert permitted["confidence"].tolist() == [0.05, 0.05, 0.05, 0.05]
    assert permitted["forced_correct"].tolist() == [1, 1, 1, 0]
    assert permitted["outcome"].tolist() == ["correct", "correct", "correct", "refused"]


def test_what_was_declined_before_is_no_credit_of_the_option(folder):
    replies = [record(n, "A. red", idk=False, logp=[0.7, 0.1, 0.1, 0.1]) for n in range(3)]
    replies.append(record(3, "I cannot tell.", idk=False, logp=[0.3, 0.4, 0.2, 0.1]))
    (folder / "stepaudio_basicnoidk_qa.json").write_text(json.dumps(replies))
    rows = selective.rows(selective.load(folder))
    share = rows[rows["metric"].eq("share refused")].set_index("group")
    assert share.loc["overall", ["value", "n"]].tolist() == [0.25, 4]
    assert share.loc[selective.ANSWERED, ["value", "n"]].tolist() == [0, 3]


def test_all_results_of_a_folder(folder):
    runs = selective.load(folder)
    rows = selective.rows(runs).set_index(["part", "prompt", "group", "metric"])["value"]
    counts = ("N", "Nc", "Nw", "wrong_to_refused")
    assert [rows["gain", "", "overall", name] for name in counts] == [4, 3, 1, 1]
    assert rows["decline", "", "overall", "share refused"] == 0.25
    assert rows["outcomes", "basic", "bystander", "refused"] == 0.5
    assert rows["withheld", "basicnoidk", "overall", "withheld, heard"] == 0
    assert rows["place", "basic", "A", "refused"] == 0.25
    assert math.isinf(rows["gain", "", "overall", "rgi"])
    curves = selective.curves(runs)
    option = curves[(curves["source"] == "option") & (curves["group"] == "overall")].iloc[0]
    assert (option["coverage"], option["value"], option["n"]) == (0.75, 0, 4)


def test_a_folder_without_files_says_which_are_needed(tmp_path):
    with pytest.raises(FileNotFoundError, match="give SH-Bench's results"):
        selective.load(tmp_path)


def test_the_digest_is_of_the_unpacked_file(tmp_path):
    (tmp_path / "a.json").write_bytes(b"[]")
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"[]"))
    digests = {selective.digest(path) for path in tmp_path.iterdir()}
    assert digests == {hashlib.sha256(b"[]").hexdigest()}


def test_excess_of_a_threshold_and_a_method_at_its_share():
    # The method gives up 2 of 4 wrong and 1 of 4 right answers; the three least confident are 3 wrong, or 2 and 1.
    before, after = outcome_table("wwwwcccc"), outcome_table("rrwwrccc")
    sure = np.array([0.1, 0.2, 0.5, 0.9, 0.3, 0.8, 0.8, 0.8])
    found = {
        (row["metric"], row["group"]): row
        for row in selective.excess_at_share(before, [after], sure, n_boot=400)
    }
    assert found["refusal_excess", "method"]["value"] == pytest.approx(math.log10(2))
    assert found["refusal_excess", "threshold"]["value"] == pytest.approx(math.log10(2))
    assert found["refusal_excess", "threshold - method"]["value"] == pytest.approx(0)
    perfect = np.where(before["outcome"].eq("wrong"), 0.1, 0.9)
    rows = selective.excess_at_share(before, [after], perfect, n_boot=400)
    assert [row["value"] for row in rows if row["group"] == "threshold"] == [math.inf] * 2


def test_the_excess_counts_changed_answers_and_averages_training_seeds():
    # One adapter as above; another refuses 1 of 4 wrong and 1 of 4 right, and changes a wrong answer to a right one.
    before, changed = outcome_table("wwwwcccc"), outcome_table("rcwwrccc")
    sure = np.array([0.1, 0.2, 0.5, 0.9, 0.3, 0.8, 0.8, 0.8])
    rows = selective.excess_at_share(before, [outcome_table("rrwwrccc"), changed], sure, n_boot=400)
    found = {(row["metric"], row["group"]): row["value"] for row in rows}
    assert found["rgi_excess", "method"] == pytest.approx(math.log10(2))
    assert found["refusal_excess", "method"] == pytest.approx(math.log10(2) / 2)
    expected = metrics.rgi_excess(before, changed)
    alone = selective.excess_at_share(before, [changed], sure, n_boot=50)
    assert alone[0]["metric"] == "rgi_excess"
    assert alone[0]["value"] == pytest.approx(expected)


def test_what_the_baseline_refused_is_not_in_the_share_of_a_threshold():
    # Two were refused before; the method refuses 2 wrong and 1 right more, and so must the threshold.
    before, after = outcome_table("rrwwwwwccccc"), outcome_table("rrrrwwwrcccc")
    sure = np.array([0.0, 0.0, 0.1, 0.2, 0.7, 0.7, 0.7, 0.3, 0.8, 0.8, 0.8, 0.8])
    found = {
        (row["metric"], row["group"]): row["value"]
        for row in selective.excess_at_share(before, [after], sure)
    }
    assert (
        found["refusal_excess", "threshold"]
        == found["refusal_excess", "method"]
        == pytest.approx(math.log10(2))
    )


@pytest.mark.parametrize("score", [lambda t: selective.excess_at_share(t, [t], np.ones(3)),
                                   lambda t: selective.operating_point([t])])  # fmt: skip
def test_a_failed_reply_is_no_answer(score):
    table = outcome_table("ccw")
    with pytest.raises(OutcomeError, match="1 of 3 rows failed"):
        score(table.assign(outcome=["correct", "failed", "wrong"]))


def test_the_point_of_a_method_is_the_mean_of_its_training_seeds():
    found = selective.operating_point([outcome_table("ccwr"), outcome_table("cwrr")])
    assert (found["coverage"], found["value"], found["n"]) == (5 / 8, 2 / 5, 4)
    assert (found["low"], found["high"]) == bootstrap.wilson(1, 2)
    assert math.isnan(selective.operating_point([outcome_table("rr")])["value"])
