"""The command `bench`: on a tiny shape, and on a stand-in that runs out of memory."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
import torch
from texts import strict_json

from lalm_utils.__main__ import main
from lalm_utils.cli import bench, bench_rig
from lalm_utils.cli.bench_rig import Rig
from lalm_utils.cli.costs import Workload
from lalm_utils.models import Decoding

LIMITS = {"matmul_tflops": 0.1, "copy_gb_per_s": 10.0}
SMALL = Workload(clip_seconds=1, text_tokens=8, new_tokens=4, samples=2)
SMALL_WORDS = "--clip-seconds 1 --text-tokens 8 --new-tokens 4 --samples 2 --repeats 1".split()


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    monkeypatch.setattr(bench, "SIZES", {"cpu": (64, 2**16), "cuda": (1024, 2**26)})


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig("tiny", device="cpu", dtype="float32")


def test_a_row_per_batch_has_every_rate_and_share(rig):
    table = bench.measure("tiny", batch_sizes=(3, 1, 3), work=SMALL, repeats=1, device_limits=LIMITS, rig=rig)
    assert tuple(table.columns) == bench.COLUMNS
    assert table["batch"].tolist() == [1, 3]
    assert table["status"].tolist() == ["ok", "ok"]
    assert table["prompt_tokens"].tolist() == [8 + 25] * 2
    numbers = table.drop(columns=["batch", "status"])
    assert (numbers.drop(columns="peak_gb") > 0).all(axis=None)
    row = table.iloc[1]
    assert row["items_per_s"] == pytest.approx(3 / (row["hear_s"] + row["prefill_s"] + row["decode_s"]))
    assert row["sample_tokens_per_s"] == pytest.approx(3 * 2 * 3 / row["sample_s"])
    assert row["prefill_tokens_per_s"] == pytest.approx(3 * 33 / row["prefill_s"])


def test_shares_are_of_the_limits_that_were_measured(rig):
    stages = {"prompt_tokens": 33, "features_s": 0.5, "hear_s": 1.0, "prefill_s": 2.0, "decode_s": 4.0,
              "sample_s": 8.0, "peak_bytes": 2e9}  # fmt: skip
    one, double = (
        bench._row(4, stages, rig, SMALL, {name: factor * value for name, value in LIMITS.items()})
        for factor in (1, 2)
    )
    for name in ("hear_share", "prefill_share", "decode_share", "sample_share", "sample_matmul_share"):
        assert one[name] == pytest.approx(2 * double[name])
    assert one["items_per_s"] == double["items_per_s"] == 4 / 7
    assert one["sampled_items_per_s"] == 4 / 11
    assert one["peak_gb"] == 2


def test_replies_have_their_full_length_and_samples_share_one_reading(rig):
    inputs = rig.questions(2, SMALL)
    decoding = Decoding(n=3, first_sample=0, temperature=1.0, max_new_tokens=6, seed=0)
    replies = rig.engine.generate(inputs, decoding)
    assert [[len(sequence.tokens) for sequence in samples] for samples in replies] == [[6] * 3] * 2
    assert not any(sequence.complete for samples in replies for sequence in samples)
    assert len({clip.sha256 for prompt in inputs for clip in prompt.clips}) == 2, (
        "each prompt has a clip of its own"
    )


def test_limits_are_measured_on_the_device():
    limits = bench.limits("cpu", "float32")
    assert set(limits) == {"matmul_tflops", "copy_gb_per_s"}
    assert all(math.isfinite(value) and value > 0 for value in limits.values())


def test_the_clock_takes_the_median_and_leaves_warming_up_and_preparing_out(monkeypatch):
    clock = iter([0, 100, 200, 203, 300, 301, 400, 405])
    monkeypatch.setattr(bench_rig.time, "perf_counter", lambda: next(clock))
    made: list[int] = []
    prepare = lambda: made.append(len(made)) or len(made)  # noqa: E731
    seen: list[int] = []
    assert bench_rig.seconds(seen.append, torch.device("cpu"), repeats=3, prepare=prepare) == 3
    assert seen == [1, 2, 3, 4]


class Small:
    """A rig on which batches above `room` do not fit."""

    device, dtype, parameters = torch.device("cpu"), torch.float32, 7

    def __init__(self, room: int, error: Exception | None = None) -> None:
        self.room, self.config, self.tried = room, bench_rig.SHAPES["tiny"](), []
        self.error = error or RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")

    def measure(self, size: int, work: Workload, *, repeats: int) -> dict[str, float]:
        self.tried.append(size)
        if size > self.room:
            raise self.error
        names = ("features_s", "hear_s", "prefill_s", "decode_s", "sample_s")
        return dict.fromkeys(names, 1.0) | {"prompt_tokens": 9, "peak_bytes": math.nan}


MEMORIES = [
    ("all fit", 64, (1, 4, 16), [1, 4, 16], ["ok"] * 3),
    ("half of it fits", 9, (1, 4, 16, 64), [1, 4, 16, 8], ["ok", "ok", "ok", "out of memory", "not tried"]),
    ("nothing between", 2, (2, 4), [2, 4], ["ok", "out of memory"]),
    ("only far smaller ones fit", 2, (16,), [16, 8, 4, 2], ["ok"] + ["out of memory"] * 3),
    ("none fits", 0, (2,), [2, 1], ["out of memory"] * 2),
]


@pytest.mark.parametrize("case, room, sizes, tried, statuses", MEMORIES, ids=[row[0] for row in MEMORIES])
def test_out_of_memory_it_goes_on_with_smaller_batches_and_says_so(case, room, sizes, tried, statuses):
    rig = Small(room)
    table = bench.measure("tiny", batch_sizes=sizes, device_limits=LIMITS, rig=rig)
    assert rig.tried == tried, case
    assert table["status"].tolist() == statuses
    assert table["batch"].is_monotonic_increasing
    text = bench.as_text(table)
    for row in table[table["status"] != "ok"].itertuples():
        assert f"batch {row.batch}: {row.status}" in text
    rows = strict_json(json.dumps(bench.as_json(table), allow_nan=False))["rows"]
    assert [row["items_per_s"] is None for row in rows] == [status != "ok" for status in statuses]


def test_progress_is_reported_after_each_batch():
    seen: list[list[str]] = []
    bench.measure(
        "tiny",
        batch_sizes=(1, 4),
        device_limits=LIMITS,
        rig=Small(2),
        report=lambda t: seen.append([*t["status"]]),
    )
    assert seen == [["ok"], ["ok", "out of memory"], ["ok", "ok", "out of memory"]]


def test_a_measurement_that_breaks_midway_leaves_the_batches_before_it(tmp_path, monkeypatch):
    rig = Small(2, RuntimeError("illegal instruction"))
    monkeypatch.setattr(bench_rig, "Rig", lambda *a, **k: rig)
    out = tmp_path / "bench.json"
    with pytest.raises(RuntimeError, match="illegal instruction"):
        main(["bench", "--device", "cpu", "--batch-sizes", "1", "2", "4", "--json", str(out)])
    assert [row["batch"] for row in strict_json(out.read_text())["rows"]] == [1, 2]


def test_any_other_error_is_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="illegal instruction"):
        bench.measure("tiny", device_limits=LIMITS, rig=Small(2, RuntimeError("illegal instruction")))


def test_the_command_prints_a_table_and_writes_what_a_reader_needs(tmp_path, capsys):
    out = tmp_path / "bench.json"
    line = ["bench", "--shape", "tiny", "--device", "cpu", "--dtype", "float32", "--batch-sizes", "2"]
    assert main([*line, *SMALL_WORDS, "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "measured limits: " in printed
    assert "sampled_items_per_s" in printed
    report = strict_json(out.read_text())
    assert set(report) == {
        "shape", "parameters", "device", "device_name", "dtype", "work", "repeats", "limits", "versions", "rows"
    }  # fmt: skip
    assert (report["shape"], report["dtype"], report["work"]["samples"]) == ("tiny", "float32", 2)
    (row,) = report["rows"]
    assert tuple(row) == bench.COLUMNS
    assert (row["batch"], row["status"]) == (2, "ok")


FAULTS = [
    (
        "an unknown shape",
        ["--shape", "huge"],
        "no shape 'huge': choose one of qwen2-audio-7b, mini-like, tiny",
    ),
    ("an unknown device", ["--device", "abacus"], "device 'abacus'"),
    ("an unknown dtype", ["--dtype", "int3"], "dtype 'int3'"),
    ("a reply of one token", ["--new-tokens", "1"], "a reply at least 2 tokens"),
]


@pytest.mark.parametrize("case, more, reason", FAULTS, ids=[row[0] for row in FAULTS])
def test_bad_input_ends_with_exit_code_2_and_a_reason(case, more, reason, capsys):
    assert main(["bench", "--device", "cpu", *more]) == 2, case
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert reason in captured.err


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_measured(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(bench, "measure", lambda *a, **k: pytest.fail("it measured"))
    (tmp_path / "notes").write_text("mine")
    assert main(["bench", "--json", str(tmp_path / "notes" / "bench.json")]) == 2
    assert "cannot be written to" in capsys.readouterr().err


def test_where_no_batch_fits_the_exit_code_says_so(monkeypatch, capsys):
    table = bench.measure("tiny", batch_sizes=(1,), device_limits=LIMITS, rig=Small(0))
    monkeypatch.setattr(bench, "measure", lambda *a, **k: table)
    assert main(["bench"]) == 1
    assert "batch 1: out of memory" in capsys.readouterr().out


def test_the_shape_like_the_embedded_model_is_of_its_size():
    with torch.device("meta"):
        config = bench_rig.SHAPES["mini-like"]()
        model = bench_rig.AutoModelForMultimodalLM.from_config(config)
    assert 165e6 < sum(parameter.numel() for parameter in model.parameters()) < 175e6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_no_share_exceeds_its_limit():
    bench.SIZES = {"cuda": (8192, 2**31)}
    table = bench.measure("mini-like", device="cuda", batch_sizes=(1, 32))
    shares = table[[name for name in bench.COLUMNS if name.endswith("_share")]]
    assert (shares < 1.1).all(axis=None)
    assert (table["peak_gb"] > 0.3).all()


def test_the_ablation_is_printed_by_both_clocks_and_written(tmp_path, capsys, monkeypatch):
    rows = [
        ("one reply", switch, 0, seconds, 2 * seconds)
        for switch, seconds in (("whole engine", 2.0), ("x", 3.0))
    ]
    frame = pd.DataFrame(rows, columns=["task", "switch", "repeat", "seconds", "cpu_seconds"])
    monkeypatch.setattr(bench, "load_model", lambda name, **options: name)
    monkeypatch.setattr("lalm_utils.benchmarks.load", lambda name, n: ["item"] * n)
    monkeypatch.setattr("lalm_utils.cli.speed.ablation", lambda model, items, repeats: frame)
    assert main(["bench", "--ablation", "--items", "2", "--json", str(tmp_path / "ablation.json")]) == 0
    printed = capsys.readouterr().out
    assert "cpu_seconds" in printed
    assert "1.5" in printed, "three seconds to two"
    assert len(strict_json((tmp_path / "ablation.json").read_text())) == 2


def test_facts_of_a_measurement_go_with_the_table():
    table = bench.measure("tiny", batch_sizes=(1,), device_limits=LIMITS, rig=Small(1))
    assert isinstance(table, pd.DataFrame)
    assert table.attrs["limits"] == LIMITS
    assert table.attrs["parameters"] == 7
