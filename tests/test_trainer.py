"""The Trainer learns what our own loop learns: on one process, on two, after an interruption, and by `finetune`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from fake_model import FakeModel
from families import FAMILIES
from questions import number_of, write_benchmark
from safetensors.torch import load_file
from stepping import gradients_of
from tiny import idk_examples, save_tiny

from lalm_utils.__main__ import main
from lalm_utils.cli import finetune, sampling
from lalm_utils.engine.engines import PlainEngine
from lalm_utils.engine.transformers_model import TransformersModel
from lalm_utils.finetuning import idk_data, k_of_n, lora, lora_files, trainer
from lalm_utils.finetuning.idk_data import Example
from lalm_utils.finetuning.lora import Recipe
from lalm_utils.finetuning.lora_data import Collator, TrainingSet, accumulate_gradient, schedule
from lalm_utils.load_model import load_model
from lalm_utils.models import ModelError
from lalm_utils.prompts import render

ROOT = Path(__file__).resolve().parents[1]
CONFIGURATIONS = ROOT / "lalm_utils" / "cli" / "accelerate"
FAST = Recipe(rank=4, learning_rate=5e-3, batch_size=2)
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_DEEPSPEED")


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def model(folder) -> TransformersModel:
    return load_model(folder, dtype="float32", check=False)


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> TransformersModel:
    """Another family, read through its own processor and forward."""
    tiny = FAMILIES["audioflamingo3"]
    tiny.save(tmp_path_factory.mktemp("flamingo") / "model")
    return load_model(tmp_path_factory.getbasetemp() / "flamingo0" / "model", dtype="float32", check=False)


@pytest.fixture(params=["Qwen2-Audio", "another family"])
def either(request, model, other) -> TransformersModel:
    return {"Qwen2-Audio": model, "another family": other}[request.param]


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> list[Example]:
    """Seven, of clips, questions and answers of different lengths, so that an epoch ends in a smaller step."""
    return idk_examples(tmp_path_factory.mktemp("clips"), 7)


def weights(folder: Path) -> torch.Tensor:
    tensors = load_file(folder / lora_files.WEIGHTS)
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


def assert_same(one: Path, two: Path, tolerance: float = 1e-5) -> None:
    """The same adapter and curve, of trainings that have moved the weights a thousand times as far."""
    assert (weights(one) - weights(two)).abs().max() <= tolerance
    pd.testing.assert_frame_equal(
        lora_files.curve(one), lora_files.curve(two), atol=tolerance, rtol=tolerance
    )
    configs = [json.loads((folder / "adapter_config.json").read_text()) for folder in (one, two)]
    assert configs[0] == configs[1]


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


# ---- one process

CUTS = [
    ("one pass a step", {"batch_size": 4, "accumulate": 1, "epochs": 3}),
    ("two passes a step", {"batch_size": 2, "accumulate": 2, "epochs": 3}),
    ("four passes a step", {"batch_size": 1, "accumulate": 4, "epochs": 3}),
    ("dropout", {"batch_size": 1, "accumulate": 2, "dropout": 0.4}),
    ("clipped gradients", {"batch_size": 2, "accumulate": 2, "max_grad_norm": 0.1}),
]


@pytest.mark.parametrize("case, cut", CUTS, ids=[row[0] for row in CUTS])
def test_the_trainer_leaves_the_adapter_that_our_loop_leaves(model, examples, tmp_path, case, cut):
    recipe = replace(FAST, **cut)
    ours = lora.train(model, examples, tmp_path / "ours", recipe)
    theirs = trainer.train(model, examples, tmp_path / "theirs", recipe)
    assert_same(theirs, ours)
    assert weights(ours).abs().max() > 0.01
    assert sorted(path.name for path in theirs.iterdir()) == sorted(path.name for path in ours.iterdir())
    assert not list(tmp_path.glob(".*.training")), "no checkpoints are left"


def test_another_family_learns_what_our_loop_teaches_it(other, examples, tmp_path):
    recipe = replace(FAST, accumulate=2, epochs=2)
    ours = lora.train(other, examples, tmp_path / "ours", recipe)
    assert_same(trainer.train(other, examples, tmp_path / "theirs", recipe), ours)


def with_loud_lora(real):
    """LoRA that changes something from the first step on, so that both of its matrices have gradients."""

    @contextmanager
    def loud(model, recipe):
        with real(model, recipe) as wrapped:
            for parameter in wrapped.parameters():
                if parameter.requires_grad:
                    parameter.data.normal_(0, 0.1)
            yield wrapped

    return loud


def gradient_of_the_loop(model, examples, recipe) -> torch.Tensor:
    data = TrainingSet(model, examples)
    how = {name: getattr(recipe, name) for name in ("batch_size", "accumulate", "epochs", "seed")}
    batches = [[data[place] for place in places] for places in schedule(data.lengths, **how)[0]]
    with lora.own_randomness(model.device), with_loud_lora(lora.with_lora)(model, recipe) as wrapped:
        accumulate_gradient(model.model, Collator(model), batches)
        return torch.cat([p.grad.flatten() for p in wrapped.parameters() if p.requires_grad])


@pytest.mark.parametrize("passes", [1, 2, 4])
def test_the_gradient_of_a_step_is_that_of_our_loop_however_it_is_accumulated(
    either, examples, tmp_path, monkeypatch, passes
):
    recipe = replace(FAST, batch_size=8 // passes, accumulate=passes, max_grad_norm=1e9)
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(trainer, "with_lora", with_loud_lora(lora.with_lora))
    monkeypatch.setattr(trainer._Watch, "on_pre_optimizer_step", None)
    gradients_of(trainer._Watch, seen)
    trainer.train(either, examples, tmp_path / "adapter", recipe)
    expected = gradient_of_the_loop(either, examples, recipe)
    assert len(seen) == 1
    assert expected.norm() > 0.1
    assert relative(seen[0], expected) < 1e-5
    whole = gradient_of_the_loop(either, examples, replace(recipe, batch_size=8, accumulate=1))
    assert relative(seen[0], whole) < 1e-5, (
        "the mean is over the tokens of the step, not over means of passes"
    )


def test_the_base_is_as_it_was_and_so_is_all_randomness(either, examples, tmp_path):
    before = {name: tensor.clone() for name, tensor in either.model.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    trainer.train(either, examples, tmp_path / "adapter", FAST)
    after = either.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert "forward" not in vars(either.model)
    assert not any(module.training for module in either.model.modules())


def test_the_adapter_is_loaded_by_its_folder_and_changes_replies(model, examples, tmp_path):
    path = trainer.train(model, examples, tmp_path / "adapter", replace(FAST, epochs=4))
    asked = [render(example.item, "idk") for example in examples]
    learnt = load_model(path, dtype="float32", check=False)
    assert learnt.fingerprint == lora.adapted(model, path).fingerprint
    assert learnt.generate(asked, max_new_tokens=6) != model.generate(asked, max_new_tokens=6)
    facts = lora_files.provenance(path)
    assert (facts["stepped_by"], facts["processes"], facts["steps"]) == ("transformers.Trainer", 1, 16)
    assert "accelerate" in facts["versions"]
    assert len(load_file(path / lora_files.WEIGHTS)) == 2 * 7 * 2, "the language model alone"


def test_the_trainer_and_the_loop_take_each_others_adapters_as_finished(model, examples, tmp_path):
    path = trainer.train(model, examples, tmp_path / "adapter", FAST)
    steps: list = []
    assert lora.train(model, examples, path, FAST, on_step=steps.append) == path
    assert trainer.train(model, examples, path, FAST, on_step=steps.append) == path
    assert steps == []
    with pytest.raises(ModelError, match="holds the adapter of another training"):
        trainer.train(model, examples, path, replace(FAST, seed=1))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(ModelError, match="not empty, and no adapter of this package"):
        trainer.train(model, examples, tmp_path / "notes", FAST)


def stopped_after(model, examples, path: Path, recipe: Recipe, step: int) -> None:
    def stop(row) -> None:
        if row["step"] == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.train(model, examples, path, recipe, on_step=stop, save_every=2)
    assert not path.exists()


def test_an_interrupted_training_goes_on_from_the_last_whole_checkpoint(model, examples, tmp_path):
    recipe = replace(FAST, batch_size=1, accumulate=2, epochs=2, dropout=0.4)
    whole = trainer.train(model, examples, tmp_path / "whole", recipe)
    stopped_after(model, examples, tmp_path / "parts", recipe, 6)
    (place,) = (tmp_path / ".parts.training").iterdir()
    assert [path.name for path in place.glob("checkpoint-*")] == ["checkpoint-4"]
    shutil.copytree(place / "checkpoint-4", place / "checkpoint-6")
    (place / "checkpoint-6" / trainer.STATE).write_text('{"global_st')  # killed while it was written
    steps: list = []
    parts = trainer.train(
        model, examples, tmp_path / "parts", recipe, on_step=lambda row: steps.append(row["step"])
    )
    assert steps == [5, 6, 7, 8]
    assert lora_files.provenance(parts)["steps"] == 8
    assert_same(parts, whole)


def test_a_checkpoint_of_another_training_is_not_taken_up(model, examples, tmp_path):
    stopped_after(model, examples, tmp_path / "a", FAST, 3)
    steps: list = []
    trainer.train(
        model, examples, tmp_path / "a", replace(FAST, seed=1), on_step=lambda row: steps.append(row["step"])
    )
    assert steps == [1, 2, 3, 4]


def test_a_loss_that_is_not_finite_stops_the_training_and_leaves_nothing(folder, examples, tmp_path):
    broken = load_model(folder, dtype="float32", check=False)
    broken.model.lm_head.weight.data.fill_(torch.nan)
    with pytest.raises(ModelError, match=r"step 1 of 4: the loss is nan .*lower learning_rate"):
        trainer.train(broken, examples, tmp_path / "adapter", FAST)
    assert not (tmp_path / "adapter").exists()


PRECISIONS = [
    ("autocast by the launcher", {"ACCELERATE_MIXED_PRECISION": "bf16"}, "=bf16 with a model in float32"),
    ("DeepSpeed on float32",
     {"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_DEEPSPEED": "true"}, "a model in float32"),
    ("DeepSpeed in float16", {"ACCELERATE_MIXED_PRECISION": "fp16", "ACCELERATE_USE_DEEPSPEED": "true"}, "=fp16"),
]  # fmt: skip


@pytest.mark.parametrize("case, environment, message", PRECISIONS, ids=[row[0] for row in PRECISIONS])
def test_a_launchers_precision_that_is_not_the_models_is_refused(
    model, examples, tmp_path, monkeypatch, case, environment, message
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ModelError, match=message):
        trainer.train(model, examples, tmp_path / "adapter", FAST)


def test_passes_that_processes_cannot_share_are_refused(model, examples, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ModelError, match="accumulate=3: 2 processes share the passes of a step"):
        trainer.train(model, examples, tmp_path / "adapter", replace(FAST, accumulate=3))


def test_weights_in_pieces_are_left_to_the_models_own_forward(model, monkeypatch):
    assert trainer._of_whole_weights(model) is model
    monkeypatch.setattr(trainer, "is_deepspeed_zero3_enabled", lambda: True)
    twin = trainer._of_whole_weights(model)
    assert isinstance(twin.engine, PlainEngine)
    assert Collator(twin).audio is None
    assert model.engine is not twin.engine


def test_rotary_frequencies_that_deepspeed_has_rounded_are_exact_again(folder):
    whole = load_model(folder, dtype="float32", check=False).model
    exact = trainer.float32_buffers(whole)
    name = "model.language_model.rotary_emb.inv_freq"
    whole.bfloat16()
    assert whole.get_buffer(name).dtype == torch.bfloat16
    trainer.restore(whole, exact)
    assert torch.equal(whole.get_buffer(name), exact[name])
    assert whole.get_buffer(name).dtype == torch.float32


# ---- the configurations

STAGES = [("zero2", 2), ("zero3", 3)]


def launched(name: str) -> SimpleNamespace:
    """What `accelerate launch` makes of a configuration."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    line = ["--config_file", str(CONFIGURATIONS / f"{name}.yaml"), "--num_processes", "4", "-m", "lalm_utils"]
    return _validate_launch_command(launch_command_parser().parse_args(line))[0]


def test_ddp_is_what_accelerate_reads():
    args = launched("ddp")
    assert (args.multi_gpu, args.use_deepspeed, args.mixed_precision, args.num_processes) == (
        True,
        False,
        "no",
        4,
    )


def completing(found: dict):
    """What transformers completes a configuration with: its own class, which without deepspeed lacks its base."""
    from accelerate.utils.deepspeed import HfDeepSpeedConfig
    from transformers.integrations import HfTrainerDeepSpeedConfig

    class Completing(HfTrainerDeepSpeedConfig, HfDeepSpeedConfig):
        def __init__(self) -> None:
            HfDeepSpeedConfig.__init__(self, found)
            self._dtype, self.mismatches = None, []

    return Completing()


@pytest.mark.parametrize("name, stage", STAGES)
def test_deepspeeds_are_read_and_completed_from_the_recipe(model, tmp_path, monkeypatch, name, stage):
    from accelerate.utils import DeepSpeedPlugin
    from accelerate.utils.launch import prepare_deepspeed_cmd_env

    args = launched(name)
    assert (args.use_deepspeed, args.mixed_precision) == (True, "bf16")
    args.deepspeed_fields_from_accelerate_config = ""
    _, environment = prepare_deepspeed_cmd_env(args)
    for key, value in environment.items():
        if key.startswith("ACCELERATE_"):
            monkeypatch.setenv(key, value)
    config = completing(DeepSpeedPlugin().deepspeed_config)
    for key in ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(key)
    recipe = replace(FAST, accumulate=4, max_grad_norm=0.5)
    arguments = trainer._arguments(model, recipe, tmp_path, 50)
    config.trainer_config_process(arguments)
    config.trainer_config_finalize(arguments, model.model, 10)  # raises where the two disagree
    assert config.config["zero_optimization"]["stage"] == stage
    assert config.config["gradient_accumulation_steps"] == 4
    assert config.config["gradient_clipping"] == 0.5
    assert config.config["train_micro_batch_size_per_gpu"] == 1
    assert "auto" not in json.dumps(config.config)
    saves = config.config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"]
    assert saves is (stage == 3), "else stage 3 would save no adapter"


# ---- the command


@pytest.fixture
def benchmark_file(tmp_path) -> Path:
    return write_benchmark(tmp_path / "data", 40, clips=20)


def words(place: Path, model: str | Path, file: Path, *more: str) -> list[str]:
    """The command's words for an adapter and a store in `place`."""
    recipe = (
        "--rank 4 --learning-rate 5e-3 --batch-size 2 --accumulate 2 --epochs 2 --dtype float32 --device cpu"
    )
    places = ["--out", str(place / "adapter"), "--store", str(place / "replies.sqlite")]
    return ["finetune", "--model", str(model), "--benchmark", str(file), *places, *recipe.split(), *more]


def write_dataset(place: Path, model: TransformersModel, file: Path) -> Path:
    """An IDK dataset of the items to learn from, every third of them to be refused."""
    items = k_of_n.splits(file)["idk"]
    known = pd.DataFrame(
        {"item": [i.id for i in items], "n": 2, "right": [2 * (n % 3 > 0) for n in range(len(items))]}
    )
    return idk_data.save(place / "set.jsonl", idk_data.build(items, known, k=1), model=model, k=1, n=2)


def accelerate(logs: Path, step: int, line: list[str]) -> subprocess.CompletedProcess:
    """The command on two processes by the configuration that comes with the package, watched."""
    logs.mkdir(exist_ok=True)
    launch = [
        "--config_file",
        str(CONFIGURATIONS / "ddp.yaml"),
        "--num_processes",
        "2",
        "--main_process_port",
        "0",
    ]
    program = [str(ROOT / "tests" / "stepping.py"), str(logs), str(step), *line]
    return subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *launch, *program],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
        timeout=500,
    )  # fmt: skip


def recorded(monkeypatch) -> list[torch.Tensor]:
    """Gradients of the steps of this process from here on."""
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(trainer._Watch, "on_pre_optimizer_step", None)
    gradients_of(trainer._Watch, seen)
    return seen


def test_two_processes_sample_and_learn_what_one_does(tmp_path, folder, benchmark_file, monkeypatch, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    line = ["--k", "1", "--samples", "2", "--max-grad-norm", "1e9"]
    seen = recorded(monkeypatch)
    assert main(words(one, folder, benchmark_file, *line)) == 0
    assert "loss per answer token" in capsys.readouterr().out
    done = accelerate(tmp_path / "logs", 0, words(two, folder, benchmark_file, *line))
    assert done.returncode == 0, done.stderr
    assert (two / "adapter.idk.jsonl").read_bytes() == (one / "adapter.idk.jsonl").read_bytes()
    assert lora_files.provenance(two / "adapter")["processes"] == 2
    assert_same(two / "adapter", one / "adapter")
    for rank in (0, 1):
        theirs = torch.load(tmp_path / "logs" / f"gradients-{rank}.pt")
        assert len(theirs) == len(seen) > 2
        assert relative(theirs[0], seen[0]) < 1e-5
        assert max(map(relative, theirs, seen)) < 1e-4, "later ones are of weights that differ by rounding"
    assert done.stdout.count("written to") == 1
    written = [(tmp_path / "logs" / f"writes-{rank}").read_text() for rank in (0, 1)]
    assert "curve.csv" in written[0]
    mine = [line for line in written[1].splitlines() if "adapter" in line.partition(str(two))[2]]
    assert all("/checkpoint-" in line for line in mine), "its random state in checkpoints, and nothing else"


def test_a_launch_that_is_killed_is_finished_by_the_same_command(
    tmp_path, folder, model, benchmark_file, monkeypatch
):
    data = write_dataset(tmp_path, model, benchmark_file)
    line = ["--dataset", str(data), "--save-every", "2"]
    killed = accelerate(tmp_path / "logs", 5, words(tmp_path / "two", folder, benchmark_file, *line))
    assert killed.returncode != 0
    assert not (tmp_path / "two" / "adapter").exists()
    (state,) = (tmp_path / "two" / ".adapter.training").glob("*/checkpoint-*/" + trainer.STATE)
    assert state.parent.name == "checkpoint-4"
    seen = recorded(monkeypatch)  # on one process, which is also seen to take up what two have left
    assert main(words(tmp_path / "two", folder, benchmark_file, *line)) == 0
    rest = len(seen)
    assert main(words(tmp_path / "one", folder, benchmark_file, *line)) == 0
    steps = lora_files.provenance(tmp_path / "one" / "adapter")["steps"]
    assert lora_files.provenance(tmp_path / "two" / "adapter")["steps"] == steps == rest + 4
    assert_same(tmp_path / "two" / "adapter", tmp_path / "one" / "adapter")


def test_the_test_items_are_not_learnt_from_unless_it_is_said(tmp_path, benchmark_file, caplog):
    parts = k_of_n.splits(benchmark_file)
    learnt = sampling.learnable(str(benchmark_file), "idk", None, None, 0)
    assert {item.id for item in learnt} == {item.id for item in parts["idk"]}
    assert {item.clip for item in learnt}.isdisjoint({item.clip for item in parts["test"] + parts["dev"]})
    assert caplog.text == ""
    assert len(sampling.learnable(str(benchmark_file), "all", None, None, 0)) == 40
    assert "its test items too: report on another benchmark" in caplog.text
    speech = sampling.learnable(str(benchmark_file), "idk", "speech", 2, 0)
    assert [item.modality for item in speech] == ["speech", "speech"]


def test_what_is_sampled_is_labelled_stored_and_kept_beside_the_adapter(tmp_path, benchmark_file):
    known = FakeModel(lambda text, sample: ("bell", "rain")[number_of(text) % 2] if sample < 2 else "thunder")
    labels = sampling.Labels(k=3, n=3)
    asked = sampling.learnable(str(benchmark_file), "idk", None, None, 0)
    call = {"store": tmp_path / "s.sqlite", "rank": sampling.Rank(), "channel": None, "wait": 0.0}
    examples = sampling.lead(known, asked, labels, tmp_path / "set.jsonl", **call)
    assert {example.target for example in examples} == {"IDK"}
    assert len(known.asked) == 3 * len(asked)
    again = sampling.lead(known, asked, labels, tmp_path / "set.jsonl", **call)
    assert again == examples == idk_data.load(tmp_path / "set.jsonl", asked)[0]
    assert len(known.asked) == 3 * len(asked), "nothing is asked twice"
    with pytest.raises(ValueError, match=r"set\.jsonl: holds another IDK dataset"):
        sampling.lead(known, asked, replace(labels, k=2), tmp_path / "set.jsonl", **call)
    assert idk_data.load(tmp_path / "set.jsonl", asked)[0] == examples


def test_defaults_are_those_of_the_recipe_and_of_the_paper():
    shown = {name: default for name, (_, default, _) in finetune.RECIPE.items()}
    assert shown == {field.name: field.default for field in fields(Recipe) if field.name != "targets"}
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
    ("a rank of zero", ["--k", "1", "--rank", "0"], "rank=0: it must be at least 1"),
    ("no such dataset", ["--dataset", "nowhere.jsonl"], "nowhere.jsonl"),
    ("greedy samples", ["--k", "1", "--temperature", "0"], "temperature above 0"),
    ("half precision", ["--k", "1", "--dtype", "float16"], "float16 loses small gradients"),
]


@pytest.mark.parametrize("case, more, message", FAULTS, ids=[row[0] for row in FAULTS])
def test_bad_input_ends_with_exit_code_2_and_a_reason(
    tmp_path, folder, benchmark_file, capsys, case, more, message
):
    line = words(tmp_path / "place", folder, benchmark_file)
    for name in ("--benchmark", "--model", "--rank", "--dtype"):
        if name in more:
            line[line.index(name) + 1] = more[more.index(name) + 1]
            more = [word for i, word in enumerate(more) if word != name and (i == 0 or more[i - 1] != name)]
    assert main([*line, *more]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "place" / "adapter").exists()


def test_a_dataset_of_test_items_is_refused(tmp_path, folder, model, benchmark_file, capsys):
    items = k_of_n.splits(benchmark_file)["test"]
    known = pd.DataFrame({"item": [i.id for i in items], "n": 2, "right": 0})
    file = idk_data.save(tmp_path / "set.jsonl", idk_data.build(items, known, k=1), model=model, k=1, n=2)
    assert main(words(tmp_path / "place", folder, benchmark_file, "--dataset", str(file))) == 2
    assert "is not among those given" in capsys.readouterr().err
