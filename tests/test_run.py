"""The command `run`: tables, predictions and provenance of one process, of many, and of one that was killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from fake_model import FakeModel
from questions import number_of, write_benchmark

from lalm_utils import benchmarks, outcomes, releases
from lalm_utils.__main__ import main
from lalm_utils.cli import option_order, run
from lalm_utils.models import ModelError, Reply, failed
from lalm_utils.store import Store

pytestmark = pytest.mark.usefixtures("one_process")
ROOT = Path(__file__).resolve().parents[1]
PROGRAM = Path(__file__).with_name("questions.py")


@pytest.fixture
def use(monkeypatch):
    """Has the command load a given model; gives the options that it is loaded with."""

    def give(model: FakeModel) -> list[dict]:
        loaded: list[dict] = []
        monkeypatch.setattr(run, "load_model", lambda name, **options: loaded.append(options) or model)
        return loaded

    return give


def parrot(*replies: str) -> FakeModel:
    """Replies to item i with the i-th text, over and over."""
    return FakeModel(lambda text, sample: replies[number_of(text) % len(replies)])


def words(folder: Path, file: Path, *more: str) -> list[str]:
    """The command's words for a store and results in `folder`."""
    places = ["--store", str(folder / "replies.sqlite"), "--out", str(folder / "out")]
    return ["run", "--model", "fake", "--benchmark", str(file), *places, *more]


def facts(folder: Path) -> dict:
    return json.loads((folder / "out" / "run.json").read_text())


# ---- one process


def test_every_option_of_a_server_can_be_given(tmp_path, use):
    loaded = use(parrot("bell"))
    line = words(tmp_path, write_benchmark(tmp_path / "data", 2), "--methods", "plain")
    line[line.index("fake")] = "openai:http://127.0.0.1:1/v1#tiny"
    arguments = [
        "revision=v2",
        'extra={"top_k": 5}',
        "audio_part=audio_url",
        "one_request=false",
        "window_seconds=10",
    ]
    assert main([*line, *(word for option in arguments for word in ("--server-option", option))]) == 0
    expected = {"revision": "v2", "extra": {"top_k": 5}, "audio_part": "audio_url", "one_request": False}
    assert loaded == [expected | {"window_seconds": 10}]


def test_an_option_of_a_server_is_refused_of_other_models_and_in_another_form(tmp_path, use, capsys):
    use(parrot("bell"))
    line = words(tmp_path, write_benchmark(tmp_path / "data", 2))
    assert main([*line, "--server-option", "concurrency=3"]) == 2
    assert (
        "--server-option concurrency: fake is no server's model; leave it out, or give"
        in capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        main([*line, "--server-option", "concurrency"])
    assert "'concurrency' is not of the form NAME=JSON, as in concurrency=16" in capsys.readouterr().err


def test_a_run_writes_a_table_and_predictions_per_method_and_says_whence(tmp_path, use, capsys):
    use(parrot("bell", "rain", "I don't know"))
    file = write_benchmark(tmp_path / "data", 6)
    assert main(words(tmp_path, file, "--methods", "plain", "idk", "--seed", "3")) == 0
    names = {"run.json", "plain.csv", "plain.jsonl", "idk.csv", "idk.jsonl"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    table = pd.read_csv(tmp_path / "out" / "plain.csv")
    assert tuple(table.columns) == outcomes.COLUMNS
    assert table["item"].tolist() == [f"q{i}" for i in range(6)]
    assert table["outcome"].tolist() == ["correct", "correct", "refused", "wrong", "wrong", "refused"]
    assert set(table["method"]) == {"plain"}
    report = facts(tmp_path)
    assert report["benchmark"]["items"] == 6
    assert (report["benchmark"]["name"], report["seed"], report["processes"]) == ("mmau", 3, 1)
    release = releases.identify(benchmarks.load(file))
    assert (report["benchmark"]["release"], report["benchmark"]["content"]) == (release.name, release.sha256)
    assert report["model"]["fingerprint"] == "f" * 64
    assert report["methods"]["idk"]["asked_in_this_run"] == 6
    assert report["methods"]["idk"]["instruction"].endswith("reply only with IDK.")
    assert report["methods"]["idk"]["max_new_tokens"] == 32
    counts = {"correct": 2, "wrong": 2, "refused": 2, "unreadable": 0, "failed": 0}
    assert report["methods"]["plain"]["outcomes"] == counts
    assert {"lalm_utils", "python", "numpy"} <= set(report["versions"])
    printed = capsys.readouterr()
    assert printed.out.startswith(f"benchmark: unknown release, {release.sha256[:12]}\n")
    assert "\naudit: nothing found; always_first 50.0%" in printed.out
    assert (report["audit"]["items"], report["audit"]["always_first"], report["audit"]["long_clip"]) == (
        6,
        0.5,
        0,
    )
    assert "metrics: python -m lalm_utils score" in printed.out
    assert printed.err == ""


def test_score_reads_the_predictions_and_counts_the_same_outcomes(tmp_path, use, capsys):
    use(parrot("bell", "rain", "I don't know", "(A)", "a whale"))
    assert main(words(tmp_path, write_benchmark(tmp_path / "data", 9))) == 0
    before, after = (str(tmp_path / "out" / f"{method}.jsonl") for method in ("plain", "idk"))
    assert main(["score", after, "--before", before, "--json", str(tmp_path / "report.json")]) == 0
    overall = json.loads((tmp_path / "report.json").read_text())["overall"]
    outcomes = facts(tmp_path)["methods"]["idk"]["outcomes"]
    assert {name: overall[name] for name in outcomes} == outcomes
    assert overall["n"] == 9
    assert overall["release"]["sha256"] == facts(tmp_path)["benchmark"]["content"]
    assert f"benchmark: {overall['release']['name']}\n" in capsys.readouterr().out.partition("metrics:")[2]


def test_the_limit_of_tokens_is_a_setting_of_the_run_and_cut_replies_are_counted(tmp_path, use, capsys):
    def cut(text: str, sample: int) -> Reply:
        return Reply(text="bell", n_tokens=300, finish="length" if number_of(text) % 3 == 0 else "stop")

    use(model := FakeModel(cut))
    calls = words(tmp_path, write_benchmark(tmp_path / "data", 6), "--methods", "plain", "mcot")
    assert main([*calls, "--max-new-tokens", "300"]) == 0
    assert {call["max_new_tokens"] for call in model.calls} == {300}
    found = {m: (s["max_new_tokens"], s["cut_replies"]) for m, s in facts(tmp_path)["methods"].items()}
    assert found == {"plain": (300, 2), "mcot": (300, 2)}
    line = (
        "replies cut at the limit of tokens: plain 2 of 6 at 300 tokens, mcot 2 of 6 at 300 tokens; --max-new"
    )
    assert line in capsys.readouterr().out
    report = tmp_path / "report.json"
    assert main(["score", str(tmp_path / "out" / "plain.jsonl"), "--json", str(report)]) == 0
    assert json.loads(report.read_text())["overall"]["cut_replies"] == 2
    assert "2 replies were cut at the limit of tokens" in capsys.readouterr().out
    assert main(calls) == 2  # another limit is another run, and asks anew
    assert "holds another run, of another max_new_tokens" in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_of_tokens_is_at_least_one(tmp_path, limit, capsys):
    with pytest.raises(SystemExit):
        main(words(tmp_path, tmp_path, "--max-new-tokens", limit))
    assert "no whole number of at least 1" in capsys.readouterr().err


def test_cut_clips_are_counted_by_run_and_by_score_with_the_accuracy_without_them(tmp_path, use, capsys):
    def half_heard(text: str, sample: int) -> Reply:
        number = number_of(text)
        return Reply(text="bell", n_tokens=1, finish="stop", truncated=number in (1, 4))

    use(FakeModel(half_heard))
    assert main(words(tmp_path, write_benchmark(tmp_path / "data", 6), "--methods", "plain")) == 0
    assert facts(tmp_path)["methods"]["plain"]["clips"] == {
        "cut": 2,
        "accuracy": 0.5,
        "accuracy_without": 0.5,
    }
    header, row, note = capsys.readouterr().out.splitlines()[2:5]
    assert dict(zip(header.split(), row.split()))["cut"] == "2"
    assert note == "cut: clips longer than the model's window; accuracy with them, and without"
    report = tmp_path / "report.json"
    assert main(["score", str(tmp_path / "out" / "plain.jsonl"), "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["music"]["clips"] == {"n": 2, "cut": 2, "accuracy": 0.5, "accuracy_without": None}
    assert found["overall"]["clips"] == {"n": 6, "cut": 2, "accuracy": 0.5, "accuracy_without": 0.5}
    assert "Clips cut at the model's window" in capsys.readouterr().out


def test_without_cut_clips_no_report_speaks_of_them(tmp_path, use, capsys):
    use(parrot("bell"))
    assert main(words(tmp_path, write_benchmark(tmp_path / "data"), "--methods", "plain")) == 0
    assert main(["score", str(tmp_path / "out" / "plain.jsonl")]) == 0
    assert facts(tmp_path)["methods"]["plain"]["clips"]["cut"] == 0
    printed = capsys.readouterr().out
    assert "accuracy_without" not in printed
    assert "Clips cut" not in printed


def test_options_in_another_order_are_asked_and_the_table_is_as_the_file_has_them(tmp_path, use, capsys):
    file = write_benchmark(tmp_path / "data", 6)  # gold options at A, B, A, B, ...
    use(FakeModel(lambda text, sample: "(A)"))
    assert main(words(tmp_path, file, "--methods", "plain", "--option-order", "5")) == 0
    calls = option_order.rotate(benchmarks.load(file), seed=5)
    assert [item.gold for item in calls] != [0, 1, 0, 1, 0, 1]
    table = pd.read_csv(tmp_path / "out" / "plain.csv")
    assert table["gold"].tolist() == [0, 1, 0, 1, 0, 1]
    assert table["choice"].tolist() == [["bell", "rain"].index(item.options[0]) for item in calls]
    assert table["outcome"].eq("correct").tolist() == [item.gold == 0 for item in calls]
    report = facts(tmp_path)
    assert report["option_order"] == 5
    assert report["benchmark"]["content"] == releases.identify(benchmarks.load(file)).sha256
    # letters are read in the order that was asked, which the predictions therefore keep
    assert (
        main(["score", str(tmp_path / "out" / "plain.jsonl"), "--json", str(tmp_path / "report.json")]) == 0
    )
    assert json.loads((tmp_path / "report.json").read_text())["overall"]["correct"] == 3
    capsys.readouterr()
    assert main(words(tmp_path, file, "--methods", "plain")) == 2
    assert "holds another run, of another benchmark" in capsys.readouterr().err


def test_a_rerun_asks_nothing_and_writes_the_same(tmp_path, use):
    file = write_benchmark(tmp_path / "data")
    first, second = parrot("bell"), parrot("rain")
    use(first)
    assert main(words(tmp_path, file)) == 0
    tables = [(tmp_path / "out" / f"{name}.csv").read_bytes() for name in ("plain", "idk")]
    use(second)
    assert main(words(tmp_path, file)) == 0
    assert (len(first.requests), second.requests) == (12, [])
    assert [(tmp_path / "out" / f"{name}.csv").read_bytes() for name in ("plain", "idk")] == tables
    assert facts(tmp_path)["methods"]["plain"]["asked_in_this_run"] == 0


def test_a_method_can_be_added_to_a_run_later(tmp_path, use):
    file, model = write_benchmark(tmp_path / "data"), parrot("bell")
    use(model)
    assert main(words(tmp_path, file, "--methods", "plain")) == 0
    assert main(words(tmp_path, file, "--methods", "idk", "idk", "plain")) == 0
    assert len(model.requests) == 12
    assert list(facts(tmp_path)["methods"]) == ["plain", "idk"]


def test_all_methods_of_a_block_come_before_the_next_block(tmp_path, use, monkeypatch):
    monkeypatch.setattr("lalm_utils.cli.distributed.BLOCK", 2)
    model = parrot("bell")
    use(model)
    main(words(tmp_path, write_benchmark(tmp_path / "data", 4, clips=4)))
    calls = [(number_of(text), "reply only with IDK" in text) for text, _ in model.requests]
    first, second = calls[:4], calls[4:]
    assert {number for number, _ in first}.isdisjoint({number for number, _ in second})
    assert [idk for _, idk in calls] == [False, False, True, True] * 2


def test_a_sample_is_balanced_and_options_reach_the_model(tmp_path, use):
    loaded = use(parrot("bell"))
    file = write_benchmark(tmp_path / "data", 12)
    options = ["--n", "3", "--batch-size", "5", "--dtype", "float32", "--device", "cpu", "--no-check"]
    assert main(words(tmp_path, file, *options)) == 0
    table = pd.read_csv(tmp_path / "out" / "plain.csv")
    assert sorted(table["modality"]) == ["music", "sound", "speech"]
    settings = {"batch_size": 5, "dtype": "float32", "device": "cpu"}
    assert loaded == [settings | {"check": False}]


def test_questions_can_be_asked_without_clips_for_the_audit(tmp_path, use, capsys, monkeypatch):
    file = write_benchmark(tmp_path / "data")
    model, rendered = parrot("bell"), []

    def render(prompt):
        rendered.append(FakeModel.render(model, prompt))
        return rendered[-1]

    monkeypatch.setattr(model, "render", render)
    use(model)
    shutil.rmtree(tmp_path / "data" / "audio")  # not needed
    assert main(words(tmp_path, file, "--methods", "plain", "--no-audio")) == 0
    assert rendered
    assert not any("<clip>" in text for text in rendered)
    assert facts(tmp_path)["audio"] is False
    capsys.readouterr()
    assert main(["audit", str(file), "--no-clips", "--text-only", str(tmp_path / "out" / "plain.csv")]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "text_only" in line)
    assert line.split()[0] == "text_only"
    assert line.split()[-1] == "0.500"  # half of the right options are a bell
    write_benchmark(tmp_path / "data")
    assert main(words(tmp_path, file, "--methods", "idk")) == 2
    assert "of another benchmark and audio" in capsys.readouterr().err


def test_a_folder_that_says_nothing_of_audio_is_of_a_run_that_heard(tmp_path, use):
    file = write_benchmark(tmp_path / "data")
    use(parrot("bell"))
    assert main(words(tmp_path, file, "--methods", "plain")) == 0
    older = facts(tmp_path)
    del older["identity"]["audio"]
    (tmp_path / "out" / "run.json").write_text(json.dumps(older))
    assert main(words(tmp_path, file, "--methods", "idk")) == 0
    assert set(facts(tmp_path)["methods"]) == {"plain", "idk"}


def test_failed_replies_are_shown_cost_the_exit_code_and_are_asked_again(tmp_path, use, capsys):
    file = write_benchmark(tmp_path / "data")
    use(FakeModel(lambda text, s: failed("no luck") if number_of(text) == 4 else "bell"))
    assert main(words(tmp_path, file, "--methods", "plain")) == 1
    assert "1 replies failed; the tables say why" in capsys.readouterr().out
    assert facts(tmp_path)["methods"]["plain"]["failed"] == ["q4"]
    lines = [json.loads(line) for line in (tmp_path / "out" / "plain.jsonl").read_text().splitlines()]
    assert (lines[4]["model_output"], lines[4]["error"]) == (None, "no luck")
    assert lines[3]["model_output"] == "bell"
    again = parrot("bell")
    use(again)
    assert main(words(tmp_path, file, "--methods", "plain")) == 0
    assert [number_of(text) for text, _ in again.requests] == [4]


def test_withheld_answers_are_asked_and_only_predicted(tmp_path, use):
    use(parrot("bell", "I don't know"))
    file = write_benchmark(tmp_path / "data", 4, answer="")
    assert main(words(tmp_path, file, "--methods", "plain")) == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "plain.jsonl").read_text().splitlines()]
    assert [line["model_output"] for line in lines] == ["bell", "I don't know"] * 2
    assert [line["answer"] for line in lines] == [None] * 4
    assert pd.read_csv(tmp_path / "out" / "plain.csv").empty
    about = facts(tmp_path)["methods"]["plain"]
    assert (about["withheld"], sum(about["outcomes"].values())) == (4, 0)


def test_unanswerable_items_are_in_the_table_only(tmp_path, use):
    use(parrot("bell", "I don't know"))
    file = write_benchmark(tmp_path / "data", 4, answer=None, answerable=False)
    assert main(words(tmp_path, file, "--methods", "idk")) == 0
    table = pd.read_csv(tmp_path / "out" / "idk.csv")
    assert table["outcome"].tolist() == ["wrong", "refused"] * 2
    assert (tmp_path / "out" / "idk.jsonl").read_text() == ""


def test_a_run_that_is_stopped_by_hand_keeps_what_it_has(tmp_path, use, capsys):
    def answer(text, sample):
        if len(model.requests) > 40:
            raise KeyboardInterrupt
        return "bell"

    model = FakeModel(answer)
    use(model)
    file = write_benchmark(tmp_path / "data", 60)
    assert main(words(tmp_path, file, "--methods", "plain")) == 130
    assert "the same command goes on" in capsys.readouterr().err
    with Store(tmp_path / "replies.sqlite") as store:
        assert len(store) == 32
    assert not (tmp_path / "out" / "run.json").exists()
    rest = parrot("bell")
    use(rest)
    assert main(words(tmp_path, file, "--methods", "plain")) == 0
    assert len(rest.requests) == 28


def test_shards_left_by_a_killed_launch_are_merged_before_anything_is_asked(tmp_path, use):
    file, model = write_benchmark(tmp_path / "data"), parrot("bell")
    use(model)
    store, elsewhere = tmp_path / "replies.sqlite", tmp_path / "elsewhere"
    assert main(words(elsewhere, file, "--n", "4", "--methods", "plain")) == 0
    shutil.move(elsewhere / "replies.sqlite", store.with_name("replies.rank3-of-8.sqlite"))
    assert main(words(tmp_path, file, "--methods", "plain")) == 0
    assert sorted(number_of(text) for text, _ in model.requests) == list(range(6))
    assert [path.name for path in tmp_path.glob("replies*")] == ["replies.sqlite"]


# ---- refusals: nothing is asked, nothing is lost


def refused(capsys, line: list[str]) -> str:
    assert main(line) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    return captured.err


def test_bad_input_ends_with_exit_code_2_and_a_reason(tmp_path, use, capsys, monkeypatch):
    file, model = write_benchmark(tmp_path / "data"), parrot("bell")
    loaded = use(model)
    good = words(tmp_path, file)
    assert "no such file or folder" in refused(capsys, words(tmp_path, tmp_path / "nowhere.json"))
    notes = tmp_path / "notes.txt"
    notes.write_text("do not lose")
    assert "cannot be written to" in refused(capsys, [*good, "--out", str(notes / "out")])
    assert "cannot be written to" in refused(capsys, [*good, "--out", str(notes)])
    assert "not a store" in refused(capsys, [*good, "--store", str(notes)])
    assert "notes.txt" in refused(capsys, [*good, "--store", str(notes / "replies.sqlite")])
    assert notes.read_text() == "do not lose"
    assert "no item of split" in refused(capsys, [*good, "--split", "dev"])
    assert (loaded, model.requests) == ([], [])

    def none(name, **options):
        raise ModelError(f"there is no model {name!r}")

    monkeypatch.setattr(run, "load_model", none)
    assert "there is no model 'fake'" in refused(capsys, good)


@pytest.mark.parametrize("more", [["--methods", "best"], ["--n", "few"], ["--methods"]])
def test_usage_errors_end_with_exit_code_2_too(tmp_path, more, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words(tmp_path, tmp_path, *more))
    assert stopped.value.code == 2
    assert "usage: python -m lalm_utils run" in capsys.readouterr().err


def test_a_folder_of_another_run_is_left_as_it_is(tmp_path, use, capsys):
    file, model = write_benchmark(tmp_path / "data"), parrot("bell")
    use(model)
    assert main(words(tmp_path, file)) == 0
    capsys.readouterr()
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert "of another seed" in refused(capsys, words(tmp_path, file, "--seed", "1"))
    assert "of another benchmark" in refused(capsys, words(tmp_path, file, "--n", "2"))
    use(FakeModel(fingerprint="0" * 64))
    assert "of another model" in refused(capsys, words(tmp_path, file))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    (tmp_path / "out" / "run.json").write_text("[]")
    assert "not written by this command" in refused(capsys, words(tmp_path, file))
    (tmp_path / "out" / "run.json").unlink()
    assert "holds plain.csv but no run.json" in refused(capsys, words(tmp_path, file))
    assert len(model.requests) == 12


def test_a_shard_of_another_schema_stops_the_run_and_stays(tmp_path, use, capsys):
    model = parrot("bell")
    use(model)
    shard = tmp_path / "replies.rank1-of-2.sqlite"
    Store(shard).close()
    content = shard.read_bytes()
    shard.write_bytes(content[:60] + (99).to_bytes(4, "big") + content[64:])  # the header's user_version
    assert "schema 99" in refused(capsys, words(tmp_path, write_benchmark(tmp_path / "data")))
    assert shard.exists()
    assert model.requests == []


def test_the_folder_of_results_is_named_after_model_and_benchmark(tmp_path, use, monkeypatch):
    monkeypatch.chdir(tmp_path)
    use(parrot("bell"))
    file = write_benchmark(tmp_path / "data")
    line = ["run", "--model", "owner/some model", "--benchmark", str(file), "--store", "replies.sqlite"]
    assert main(line) == 0
    assert (tmp_path / "out" / "owner_some_model-mmau" / "run.json").is_file()


# ---- several processes


def launch(command: list[str], number: int, world: int, port: int) -> subprocess.Popen:
    """One rank, with the environment that torchrun sets."""
    ranked = {"RANK": number, "WORLD_SIZE": world, "LOCAL_RANK": number, "MASTER_PORT": port}
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{PROGRAM.parent}", "OMP_NUM_THREADS": "1"}
    environment |= {name: str(value) for name, value in ranked.items()} | {"MASTER_ADDR": "127.0.0.1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ended(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
    """Exit code and stderr of each; all are killed if one hangs."""
    try:
        outputs = [process.communicate(timeout=1500)[1] for process in processes]
        return [(process.returncode, text) for process, text in zip(processes, outputs)]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.timeout(1800)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_rank_that_is_killed_costs_its_chunk_in_flight_and_the_rerun_asks_the_rest(tmp_path, use):
    file, log = write_benchmark(tmp_path / "data", 160, clips=160), tmp_path / "log"
    log.touch()
    program = [sys.executable, str(PROGRAM), str(log)]
    line, port = words(tmp_path, file, "--methods", "plain", "--wait", "20"), free_port()
    processes = [launch([*program, pause, *line], i, 2, port) for i, pause in enumerate(("0", "0.15"))]
    while sum(calls.startswith("1 ") for calls in log.read_text().splitlines()) < 40:
        assert processes[1].poll() is None, processes[1].stderr.read()
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGKILL)
    (code, said), (killed, _) = ended(processes)
    assert killed == -signal.SIGKILL
    assert code == 1, said
    assert "rank 1: its process has ended before its work was done" in said
    assert not (tmp_path / "out" / "run.json").exists()
    calls = [tuple(map(int, calls.split())) for calls in log.read_text().splitlines()]
    zero, one = ({number for rank, number in calls if rank == which} for which in (0, 1))
    assert len(zero) == 80
    assert zero.isdisjoint(one)
    with Store(tmp_path / "replies.sqlite") as store:
        stored = len(store)
    assert len(calls) - 32 <= stored < len(calls)
    rest = parrot("bell")
    use(rest)
    assert main(words(tmp_path, file, "--methods", "plain")) == 0
    assert len(rest.requests) == 160 - stored
    assert pd.read_csv(tmp_path / "out" / "plain.csv")["reply"].tolist() == ["bell"] * 160
    assert list(tmp_path.glob("replies.rank*")) == []


@pytest.fixture
def tiny_model(tmp_path) -> Path:
    from tiny import save_tiny

    return save_tiny(tmp_path / "model")


def tiny_words(folder: Path, model: Path, file: Path) -> list[str]:
    line = words(folder, file, "--dtype", "float32", "--device", "cpu", "--batch-size", "3")
    line[line.index("fake")] = str(model)
    return line


def replies(folder: Path) -> dict[str, list[str]]:
    """The replies of each method, in order, which is all of a table that asking decides."""
    tables = {path.stem: pd.read_csv(path, keep_default_na=False) for path in folder.glob("out/*.csv")}
    return {method: table["reply"].tolist() for method, table in tables.items()}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_processes_get_the_replies_of_one_and_a_rerun_asks_nothing(tmp_path, tiny_model):
    file = write_benchmark(tmp_path / "data", 10, clips=4)
    first, second = tmp_path / "one", tmp_path / "two"
    code = main(tiny_words(first, tiny_model, file))
    port = free_port()
    command = [sys.executable, "-m", "lalm_utils", *tiny_words(second, tiny_model, file), "--wait", "20"]
    done = ended([launch(command, number, 2, port) for number in range(2)])
    assert [ends for ends, _ in done] == [code, 0], done
    assert set(replies(first)) == {"plain", "idk"}
    assert replies(second) == replies(first)
    assert len(set(replies(first)["plain"])) > 3, "replies so alike show nothing"
    assert facts(second)["processes"] == 2
    assert [path.name for path in second.glob("replies*")] == ["replies.sqlite"]
    assert main(tiny_words(second, tiny_model, file)) == code
    calls = {method: about["asked_in_this_run"] for method, about in facts(second)["methods"].items()}
    failed_calls = {method: len(about["failed"]) for method, about in facts(second)["methods"].items()}
    assert calls == failed_calls


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_accelerate_launch_starts_ranks_that_share_the_work(tmp_path, tiny_model):
    file = write_benchmark(tmp_path / "data", 10, clips=4)
    first, second = tmp_path / "one", tmp_path / "two"
    code = main(tiny_words(first, tiny_model, file))
    # --multi_gpu is how accelerate says "several processes": its --cpu starts one only, unless MPI is there
    settings = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no"
    port = ["--main_process_port", str(free_port())]
    command = [sys.executable, "-m", "accelerate.commands.launch", *settings.split(), *port]
    command += ["-m", "lalm_utils", *tiny_words(second, tiny_model, file), "--wait", "20"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert replies(second) == replies(first)
    assert facts(second)["processes"] == 2
