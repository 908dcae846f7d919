"""The command `finetune`, on one process and on two: what it samples, learns, writes and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
import torch
from fake_model import FakeModel
from questions import number_of, write_benchmark
from safetensors.torch import load_file
from stepping import record_gradients

from lalm_utils.__main__ import main
from lalm_utils.cli import finetune
from lalm_utils.cli.distributed import Group
from lalm_utils.engine.transformers_model import TransformersModel
from lalm_utils.finetuning import idk_data, k_of_n, lora_files
from lalm_utils.finetuning.lora import Recipe
from lalm_utils.finetuning.training_step import TrainingStep, load_state

pytestmark = pytest.mark.usefixtures("one_process")
ROOT = Path(__file__).resolve().parents[1]
CONFIGURATION = ROOT / "lalm_utils" / "cli" / "accelerate" / "ddp.yaml"


def weights(folder: Path) -> torch.Tensor:
    tensors = load_file(folder / lora_files.WEIGHTS)
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


def assert_same(first: Path, second: Path, tolerance: float = 1e-5) -> None:
    """The same adapter and curve, of trainings that have moved the weights a thousand times as far."""
    assert (weights(first) - weights(second)).abs().max() <= tolerance
    pd.testing.assert_frame_equal(
        lora_files.curve(first), lora_files.curve(second), atol=tolerance, rtol=tolerance
    )
    configs = [json.loads((folder / "adapter_config.json").read_text()) for folder in (first, second)]
    assert configs[0] == configs[1]


def relative(result: torch.Tensor, expected: torch.Tensor) -> float:
    return ((result - expected).norm() / expected.norm()).item()


@pytest.fixture
def benchmark_file(tmp_path) -> Path:
    return write_benchmark(tmp_path / "data", 40, clips=20)


def words(folder: Path, model: str | Path, file: Path, *more: str) -> list[str]:
    """The command's words for an adapter and a store in `place`."""
    recipe = "--rank 4 --dropout 0.2 --learning-rate 5e-3 --batch-size 2 --accumulate 2 --epochs 2"
    device = "--dtype float32 --device cpu"
    places = ["--out", str(folder / "adapter"), "--store", str(folder / "replies.sqlite")]
    return [
        "finetune",
        "--model",
        str(model),
        "--benchmark",
        str(file),
        *places,
        *recipe.split(),
        *device.split(),
        *more,
    ]


def write_dataset(folder: Path, model: TransformersModel, file: Path) -> Path:
    """An IDK dataset of the items to learn from, every third of them to be refused."""
    items = k_of_n.splits(file)["idk"]
    counts = pd.DataFrame(
        {"item": [i.id for i in items], "n": 2, "right": [2 * (n % 3 > 0) for n in range(len(items))]}
    )
    return idk_data.save(folder / "set.jsonl", idk_data.build(items, counts, k=1), model=model, k=1, n=2)


def accelerate(logs: Path, step: int, line: list[str]) -> subprocess.CompletedProcess:
    """The command on two processes by the configuration that comes with the package, watched."""
    logs.mkdir(exist_ok=True)
    launch = ["--config_file", str(CONFIGURATION), "--num_processes", "2", "--main_process_port", "0"]
    program = [str(ROOT / "tests" / "stepping.py"), str(logs), str(step), *line]
    return subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *launch, *program],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
        timeout=500,
    )  # fmt: skip


@pytest.mark.parametrize("last, code", [(0.41, 0), (8.27, 1)])
def test_a_training_that_diverged_says_so_and_fails(tmp_path, monkeypatch, caplog, capsys, last, code):
    facts = {
        "digest": "x",
        "steps": 2,
        "seconds": 1.0,
        "final_loss": last,
        "final_loss_is": "mean of the last 1 steps",
    }
    lora_files.write_facts(tmp_path, facts, [{"step": 1, "loss": 0.674}, {"step": 2, "loss": last}])
    monkeypatch.setattr(finetune, "_finetune", lambda args, group: (tmp_path, []))
    monkeypatch.setattr(idk_data, "idk_share", lambda examples: 0.5)
    assert main(words(tmp_path, "model", tmp_path / "file", "--k", "1")) == code
    assert f"0.674 at first, {last:.3f} at last" in capsys.readouterr().out
    message = (
        "the training diverged: the loss is 8.270 at last, above 0.674 at first; do not use this adapter"
    )
    assert (message in caplog.text) is bool(code)


def recorded(monkeypatch) -> list[torch.Tensor]:
    """Gradients of the steps of this process from here on."""
    monkeypatch.setattr(TrainingStep, "_mean_gradient", TrainingStep._mean_gradient)  # put back afterwards
    return record_gradients()


def test_two_processes_sample_and_learn_what_one_does(
    tmp_path, tiny_folder, benchmark_file, monkeypatch, capsys
):
    first, second = tmp_path / "one", tmp_path / "two"
    line = ["--k", "1", "--samples", "2", "--max-grad-norm", "1e9"]
    seen = recorded(monkeypatch)
    assert main(words(first, tiny_folder, benchmark_file, *line)) == 0
    assert "loss per answer token" in capsys.readouterr().out
    done = accelerate(tmp_path / "logs", 0, words(second, tiny_folder, benchmark_file, *line))
    assert done.returncode == 0, done.stderr
    assert (second / "adapter.idk.jsonl").read_bytes() == (first / "adapter.idk.jsonl").read_bytes()
    assert lora_files.provenance(second / "adapter")["processes"] == 2
    assert_same(second / "adapter", first / "adapter")
    for rank in (0, 1):
        theirs = torch.load(tmp_path / "logs" / f"gradients-{rank}.pt")
        assert len(theirs) == len(seen) > 2
        assert relative(theirs[0], seen[0]) < 1e-5
        assert max(map(relative, theirs, seen)) < 1e-4, "later ones are of weights that differ by rounding"
    assert done.stdout.count("written to") == 1
    logs = [(tmp_path / "logs" / f"writes-{rank}").read_text() for rank in (0, 1)]
    assert "curve.csv" in logs[0]
    assert "adapter" not in "".join(line.partition(str(second))[2] for line in logs[1].splitlines())


def test_a_launch_that_is_killed_is_finished_by_the_same_command(
    tmp_path, tiny_folder, tiny_model, benchmark_file, monkeypatch
):
    data = write_dataset(tmp_path, tiny_model, benchmark_file)
    line = ["--dataset", str(data), "--save-every", "2"]
    killed = accelerate(tmp_path / "logs", 5, words(tmp_path / "two", tiny_folder, benchmark_file, *line))
    assert killed.returncode != 0
    assert not (tmp_path / "two" / "adapter").exists()
    state = load_state(tmp_path / "two" / ".adapter.training" / "state.pt")
    assert state["step"]["number"] == len(state["curve"]) == 4
    seen = recorded(monkeypatch)  # on one process, which is also seen to take up what two have left
    assert main(words(tmp_path / "two", tiny_folder, benchmark_file, *line)) == 0
    rest = len(seen)
    assert main(words(tmp_path / "one", tiny_folder, benchmark_file, *line)) == 0
    steps = lora_files.provenance(tmp_path / "one" / "adapter")["steps"]
    assert lora_files.provenance(tmp_path / "two" / "adapter")["steps"] == steps == rest + 4
    assert_same(tmp_path / "two" / "adapter", tmp_path / "one" / "adapter")


def test_the_test_items_are_not_learnt_from_unless_it_is_said(tmp_path, benchmark_file, caplog):
    parts = k_of_n.splits(benchmark_file)
    items = finetune.training_items(str(benchmark_file), "idk", None, None, 0)
    assert {item.id for item in items} == {item.id for item in parts["idk"]}
    assert {item.clip for item in items}.isdisjoint({item.clip for item in parts["test"] + parts["dev"]})
    assert caplog.text == ""
    assert len(finetune.training_items(str(benchmark_file), "all", None, None, 0)) == 40
    assert "its test items too: report on another benchmark" in caplog.text
    speech = finetune.training_items(str(benchmark_file), "idk", "speech", 2, 0)
    assert [item.modality for item in speech] == ["speech", "speech"]


def test_samples_are_labelled_stored_and_written_beside_the_adapter(tmp_path, benchmark_file):
    model = FakeModel(lambda text, sample: ("bell", "rain")[number_of(text) % 2] if sample < 2 else "thunder")
    items = finetune.training_items(str(benchmark_file), "idk", None, None, 0)
    job = finetune.SamplingJob(
        model=model, items=items, methods=(k_of_n.METHOD,), n=3, temperature=k_of_n.TEMPERATURE, seed=0
    )
    call = {"store": tmp_path / "s.sqlite", "group": Group()}
    examples = finetune.make_dataset(job, tmp_path / "set.jsonl", k=3, **call)
    assert {example.target for example in examples} == {"IDK"}
    assert len(model.requests) == 3 * len(items)
    again = finetune.make_dataset(job, tmp_path / "set.jsonl", k=3, **call)
    assert again == examples == idk_data.load(tmp_path / "set.jsonl", items)[0]
    assert len(model.requests) == 3 * len(items), "nothing is asked twice"
    with pytest.raises(ValueError, match=r"set\.jsonl: holds another IDK dataset"):
        finetune.make_dataset(job, tmp_path / "set.jsonl", k=2, **call)
    assert idk_data.load(tmp_path / "set.jsonl", items)[0] == examples


def test_defaults_are_those_of_the_recipe_and_of_the_paper():
    defaults = {name: default for name, (_, default, _) in finetune.RECIPE.items()}
    assert defaults == {field.name: field.default for field in fields(Recipe) if field.name != "targets"}
    parsed = vars(parsed_words("--k", "3"))
    assert (parsed["samples"], parsed["temperature"]) == (k_of_n.N, k_of_n.TEMPERATURE)


def parsed_words(*more: str):
    import argparse

    parser = argparse.ArgumentParser()
    finetune.add_command(parser.add_subparsers())
    return parser.parse_args(["finetune", "--model", "m", "--benchmark", "b", "--out", "o", *more])


FAULTS = [
    ("no such benchmark", ["--benchmark", "nowhere.json", "--k", "1"], "nowhere.json"),
    ("no such model", ["--model", "nothing", "--k", "1"], "there is no model 'nothing'"),
    ("k beyond N", ["--k", "4", "--samples", "2"], "k=4: it counts right samples, so it is from 1 to 2"),
    ("an unknown modality", ["--k", "1", "--modality", "smell"], "no item of modality 'smell' among the"),
    ("no such dataset", ["--dataset", "nowhere.jsonl"], "nowhere.jsonl"),
    ("greedy samples", ["--k", "1", "--temperature", "0"], "temperature above 0"),
    ("half precision", ["--k", "1", "--dtype", "float16"], "float16 loses small gradients"),
]


@pytest.mark.parametrize("case, more, message", FAULTS, ids=[row[0] for row in FAULTS])
def test_bad_input_ends_with_exit_code_2_and_a_reason(
    tmp_path, tiny_folder, benchmark_file, capsys, case, more, message
):
    line = words(tmp_path / "place", tiny_folder, benchmark_file)
    for name in ("--benchmark", "--model", "--rank", "--dtype"):
        if name in more:
            line[line.index(name) + 1] = more[more.index(name) + 1]
            more = [word for i, word in enumerate(more) if word != name and (i == 0 or more[i - 1] != name)]
    assert main([*line, *more]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "place" / "adapter").exists()


def test_a_dataset_of_test_items_is_refused(tmp_path, tiny_folder, tiny_model, benchmark_file, capsys):
    items = k_of_n.splits(benchmark_file)["test"]
    counts = pd.DataFrame({"item": [i.id for i in items], "n": 2, "right": 0})
    file = idk_data.save(
        tmp_path / "set.jsonl", idk_data.build(items, counts, k=1), model=tiny_model, k=1, n=2
    )
    assert main(words(tmp_path / "place", tiny_folder, benchmark_file, "--dataset", str(file))) == 2
    assert "is not among those given" in capsys.readouterr().err
