"""The audit finds what was put in, counts the official files as a one-liner does, and says what it did not look at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from questions import write_benchmark

from lalm_utils import benchmarks, items, outcomes
from lalm_utils.__main__ import main
from lalm_utils.audio import RATE, write_clip
from lalm_utils.cli import audit
from lalm_utils.models import Reply, failed
from lalm_utils.outcomes import OutcomeError

SHARED = Path(__file__).resolve().parents[2] / "shared"


def an_item(number: int, **changes) -> items.Item:
    fields = {"benchmark": "mmau", "split": "", "modality": "sound", "question": f"Which {number}?"}
    fields |= {"options": ("bell", "rain"), "gold": 0, "clip": Path(f"/nowhere/{number}.wav")}
    return items.Item(id=f"q{number}", **fields | changes)


def measures_of(questions: list[items.Item], group: str = "overall", **options) -> dict[str, float]:
    frame = audit.table(audit.facts(questions, clips=False), **options)
    return frame[frame["group"] == group].set_index("measure")["value"].to_dict()


def test_a_run_reads_headers_alone_and_leaves_silence_to_the_audit():
    frame = audit.facts([an_item(0)], silence=False)
    assert "silent_clip" not in frame
    assert frame["missing_clip"].tolist() == [True]
    assert "silent_clip" in audit.facts([an_item(0)])


def outcome_table(questions: list[items.Item], *texts: str | None) -> pd.DataFrame:
    """The outcome table of a run; None: no reply came."""
    replies = [
        failed("lost") if text is None else Reply(text=text, n_tokens=1, finish="stop") for text in texts
    ]
    return outcomes.table(questions, replies, model="m", method="text only", seed=0)


CLEAN = [an_item(0), an_item(1, gold=1)]
FINDINGS = [
    ("nothing", CLEAN, {}),
    (
        "the same question of the same clip",
        [an_item(0), an_item(1, clip=Path("/nowhere/0.wav"), question="which  0?")],
        {"duplicate_question": 1},
    ),
    ("the same question of another clip", [an_item(0), an_item(1, question="Which 0?")], {}),
    ("another question of the same clip", [an_item(0), an_item(1, clip=Path("/nowhere/0.wav"))], {}),
    ("a wrong option twice", [an_item(0, options=("bell", "rain", "rain"))], {"repeated_option": 1}),
    (
        "the gold option twice",
        [an_item(0, options=("bell", "rain", "bell"))],
        {"repeated_option": 1, "repeated_gold": 1},
    ),
    (
        "an option twice where none is right",
        [an_item(0, options=("a", "a"), gold=None, answerable=False)],
        {"repeated_option": 1},
    ),
]


@pytest.mark.parametrize("name, asked, expected", FINDINGS, ids=[case[0] for case in FINDINGS])
def test_a_finding_is_counted_and_nothing_else_is(name, asked, expected):
    result = {name: n for name, n in measures_of(asked).items() if name in audit.FINDINGS and n}
    assert result == expected


def test_items_are_counted_by_what_is_known_of_their_answers():
    questions = [an_item(0), an_item(1, gold=None), an_item(2, gold=None, answerable=False)]
    counts = measures_of(questions)
    assert [counts[name] for name in ("items", "answerable", "withheld", "unanswerable")] == [3, 2, 1, 1]
    assert counts["always_first"] == 1.0  # of the one item that has a gold option


def test_groups_are_the_modalities_and_all_items():
    questions = [an_item(0), an_item(1, modality="music", gold=1), an_item(2, modality="music", gold=1)]
    assert [measures_of(questions, group)["always_first"] for group in ("sound", "music", "overall")] == [
        1,
        0,
        1 / 3,
    ]


BASELINES = [
    ("the gold option is A", {"gold": 0}, (1, 0.5, 0.5)),
    ("the gold option is the longest", {"options": ("a", "longest"), "gold": 1}, (0, 1, 0.5)),
    ("one of two longest is right", {"options": ("b", "four", "long"), "gold": 2}, (0, 0.5, 1 / 3)),
    ("two of three longest are right", {"options": ("long", "four", "long")}, (1, 2 / 3, 2 / 3)),
]


@pytest.mark.parametrize("name, changes, expected", BASELINES, ids=[case[0] for case in BASELINES])
def test_a_baseline_that_hears_nothing_scores(name, changes, expected):
    values = measures_of([an_item(0, **changes)])
    assert tuple(values[name] for name in ("always_first", "always_longest", "chance")) == pytest.approx(
        expected
    )


def test_places_are_compared_by_the_number_of_options():
    two = [an_item(i, gold=int(i >= 9)) for i in range(10)]  # 9 of 10 at A
    four = [
        an_item(10 + i, options=("a", "b", "c", "d"), gold=int(i >= 14)) for i in range(20)
    ]  # 14, 6, 0, 0
    values = measures_of(two + four)
    assert (values["options_2"], values["options_4"]) == (10, 20)
    assert [values[f"gold_{letter}_of_4"] for letter in "ABCD"] == [0.7, 0.3, 0, 0]
    assert values["gold_p_of_2"] == pytest.approx(2 * 11 / 2**10)  # nine or ten of ten coins, on either side
    # chi-square of 3 degrees: (81 + 1 + 25 + 25) / 5 = 26.4
    assert values["gold_p_of_4"] == pytest.approx(7.8e-6, rel=0.02)


def test_too_few_items_for_a_chi_square_give_no_p():
    questions = [an_item(i, options=("a", "b", "c", "d")) for i in range(19)]
    assert np.isnan(measures_of(questions)["gold_p_of_4"])
    assert measures_of([*questions, an_item(19, options=("a", "b", "c", "d"))])["gold_p_of_4"] < 1e-9


def test_a_run_without_audio_is_one_more_baseline():
    questions = [*CLEAN, an_item(2, gold=None, answerable=False)]
    run = outcome_table(questions, "bell", "bell", "bell")
    assert measures_of(questions, text_only=run)["text_only"] == 0.5
    assert "no run without audio" not in audit.summary(
        audit.table(audit.facts(questions, clips=False), text_only=run)
    )


def test_without_such_a_run_there_is_no_text_only_row_and_the_summary_says_so():
    frame = audit.table(audit.facts(CLEAN, clips=False))
    assert "text_only" not in set(frame["measure"])
    assert audit.summary(frame) == (
        "nothing found; always_first 50.0%, always_longest 50.0%, chance 50.0%; no run without audio was given"
    )


RUNS = [
    (
        "a run of other items",
        lambda: outcome_table(CLEAN[:1], "bell"),
        "1 items, e.g. 'q1', are not in the run",
    ),
    (
        "a run with a failed reply",
        lambda: outcome_table(CLEAN, "bell", None),
        "1 of 2 rows failed, e.g. 'q1'",
    ),
]


@pytest.mark.parametrize("name, run, message", RUNS, ids=[case[0] for case in RUNS])
def test_a_run_that_cannot_be_a_baseline_is_refused(name, run, message):
    with pytest.raises(OutcomeError, match=message):
        measures_of(CLEAN, text_only=run())


# ---- clips


def short(path: Path) -> None:
    write_clip(path, np.zeros(RATE // 5, np.float32))
    data = bytearray(path.read_bytes()[: 44 + 2 * 800])  # 0.05 s
    data[4:8], data[40:44] = (36 + 1600).to_bytes(4, "little"), (1600).to_bytes(4, "little")
    path.write_bytes(data)


CLIPS = [
    ("missing_clip", Path.unlink),
    ("unreadable_clip", lambda path: path.write_text("no sound")),
    ("short_clip", short),
    ("long_clip", lambda path: write_clip(path, np.full(31 * RATE, 0.1, np.float32))),
    ("silent_clip", lambda path: write_clip(path, np.zeros(RATE, np.float32))),
]


@pytest.mark.parametrize("name, spoil", CLIPS, ids=[case[0] for case in CLIPS])
def test_a_clip_is_counted_for_what_is_wrong_with_it(tmp_path, name, spoil):
    questions = benchmarks.load(write_benchmark(tmp_path, 6))  # two items a clip
    spoil(tmp_path / "audio" / "1.wav")
    result = audit.facts(questions)
    assert {column: result[column].sum() for column in audit.CLIPS} == dict.fromkeys(audit.CLIPS, 0) | {
        name: 2
    }
    assert audit.items_by_finding(result)[name] == ["q1", "q4"]


def test_the_window_is_the_callers(tmp_path):
    questions = benchmarks.load(write_benchmark(tmp_path, 3))  # clips of 0.30 s, 0.35 s and 0.40 s
    assert audit.facts(questions, window=0.35)["long_clip"].tolist() == [False, False, True]


# ---- the official files, counted once more from their text


def mmau_records() -> list[dict]:
    (file,) = (SHARED / "mmau").glob("*.json") if (SHARED / "mmau").exists() else [None]
    if file is None:
        pytest.skip(f"needs MMAU's official file in {SHARED}")
    return json.loads(file.read_text())


def official(name: str, split: str | None = None, group: str = "overall") -> dict[str, float]:
    if not (SHARED / name).exists():
        pytest.skip(f"needs the official files of {name} in {SHARED}")
    return measures_of(benchmarks.load(SHARED / name, split=split, need_clips=False), group)


def test_mmau_is_counted_as_its_text_says():
    records, values = mmau_records(), official("mmau")
    first = sum(r["choices"][0] == r["answer"] for r in records)
    twice = sum(len(set(r["choices"])) < len(r["choices"]) for r in records)
    gold = sum(r["choices"].count(r["answer"]) > 1 for r in records)
    chance = sum(r["choices"].count(r["answer"]) / len(r["choices"]) for r in records) / len(records)
    assert (first, twice, gold) == (395, 27, 16)  # two in five gold options are A
    assert (values["always_first"], values["repeated_option"], values["repeated_gold"]) == (
        first / 1000,
        twice,
        gold,
    )
    assert values["chance"] == pytest.approx(chance)
    assert [values[f"options_{k}"] for k in (2, 4, 5, 8)] == [27, 948, 24, 1]
    sound = [r["choices"][0] == r["answer"] for r in records if r["task"] == "sound"]
    assert official("mmau", group="sound")["always_first"] == pytest.approx(sum(sound) / len(sound))
    assert values["gold_p_of_4"] < 1e-20


def test_mmar_is_counted_as_its_text_says():
    values = official("mmar")
    records = [json.loads(line) for line in next((SHARED / "mmar").glob("*.jsonl")).read_text().splitlines()]
    first = sum(r["choices"][0].strip() == r["answer"].strip() for r in records)
    assert values["always_first"] == first / 1000 == 0.273
    assert values["options_4"] == sum(len([c for c in r["choices"] if c]) == 4 for r in records) == 818
    assert values["gold_p_of_4"] > 0.05


@pytest.mark.parametrize("hop, expected", [("single", 148), ("multi", 146)])
def test_sakura_is_counted_as_its_text_says(hop, expected):
    values = official("sakura", hop)
    rows = pd.concat([pd.read_csv(file) for file in (SHARED / "sakura").rglob("metadata.csv")])
    first = rows[f"{hop}_answer"].str.strip().str.startswith("(a)").sum()
    assert values["always_first"] * 480 == pytest.approx(first)
    assert first == expected
    assert (values["options_2"], values["options_4"]) == (120, 360)


# ---- the command


def test_the_command_prints_and_writes_what_it_found(tmp_path, capsys):
    file = write_benchmark(tmp_path / "data", 6, choices=["bell", "rain", "rain"])
    (tmp_path / "data" / "audio" / "2.wav").unlink()
    assert main(["audit", str(file), "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["measures"]["overall"]["always_first"] == {"value": 0.5, "n": 6}
    assert report["measures"]["overall"]["gold_p_of_3"] == {"value": None, "n": 6}
    assert report["found"]["missing_clip"] == ["q2", "q5"]
    assert report["found"]["repeated_gold"] == ["q1", "q3", "q5"]
    assert report["release"]["name"].startswith("unknown release, ")
    printed = capsys.readouterr().out
    assert printed.startswith(f"benchmark: {report['release']['name']}\n")
    assert "missing_clip: 2 items; each has no clip: q2, q5" in printed
    assert "text_only: no run without audio was given (--text-only TABLE)" in printed
    lines = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.strip()}
    assert lines["always_first"] == ["0.500"] * 4
    assert lines["gold_p_of_3"][-2:] == ["too", "few"]


def test_records_that_are_no_items_are_counted_and_unreadable_clips_explained(tmp_path, capsys):
    file = write_benchmark(tmp_path / "data", 8)
    records = json.loads(file.read_text())
    for number in range(1, 8):
        records[number] |= {"answer": "whale"} if number < 6 else {"choices": None}
    file.write_text(json.dumps([*records, records[0] | {"id": "none", "answer": ["bell", "rain"]}]))
    (tmp_path / "data" / "audio" / "0.wav").write_text("version https://git-lfs.github.com/spec/v1")
    assert main(["audit", str(file), "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["measures"]["overall"]["items"]["n"], len(report["faults"])) == (1, 8)
    assert (
        "answer ['bell', 'rain'] is no text but a list; one answer an item is needed" in report["faults"][-1]
    )
    printed = capsys.readouterr().out
    assert "faulty records: 8, left out above, and `run` refuses the file; the first 5:" in printed
    assert "0.wav: not readable as audio: it is a Git LFS pointer" in printed


def test_the_command_need_not_look_for_clips(tmp_path, capsys):
    file = write_benchmark(tmp_path / "data", 6)
    assert main(["audit", str(file), "--no-clips"]) == 0
    printed = capsys.readouterr().out
    assert "clips: not looked for" in printed
    assert "missing_clip" not in printed


def test_the_command_takes_the_table_of_a_run_without_audio(tmp_path, capsys):
    file = write_benchmark(tmp_path / "data", 6)
    questions = benchmarks.load(file)
    outcome_table(questions, *["bell"] * 6).to_csv(tmp_path / "text.csv", index=False)
    assert main(["audit", str(file), "--text-only", str(tmp_path / "text.csv")]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "text_only" in line)
    assert line.split() == ["text_only", *["0.500"] * 4]


FAULTS = [
    ("no such benchmark", ["nowhere.json"], "nowhere.json: no such file or folder"),
    ("no such table", ["{file}", "--text-only", "nowhere.csv"], "nowhere.csv"),
    ("a split that is not there", ["{file}", "--split", "dev"], "no item of split 'dev'"),
]


@pytest.mark.parametrize("name, words, message", FAULTS, ids=[case[0] for case in FAULTS])
def test_an_input_at_fault_ends_the_command_with_a_reason(tmp_path, capsys, name, words, message):
    file = str(write_benchmark(tmp_path / "data", 6))
    assert main(["audit", *[word.format(file=file) for word in words]]) == 2
    assert message in capsys.readouterr().err
