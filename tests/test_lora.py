from __future__ import annotations

import json
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fake_model import FakeModel
from families import FAMILIES
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from tiny import ask, idk_examples, save_tiny, write_tone
from transformers import Qwen2AudioForConditionalGeneration

from lalm_utils import runs
from lalm_utils.audio import AudioError
from lalm_utils.engine.audio_features import expand_audio_tokens
from lalm_utils.engine.prefix_sharing_engine import PrefixSharingEngine
from lalm_utils.engine.transformers_model import TransformersModel
from lalm_utils.finetuning import lora, lora_files
from lalm_utils.finetuning.idk_data import Example
from lalm_utils.finetuning.lora import Recipe
from lalm_utils.finetuning.lora_data import (
    IGNORED,
    WINDOW,
    TrainingSet,
    answer_labels,
    answer_loss,
    schedule,
)
from lalm_utils.finetuning.training_step import TrainingStep
from lalm_utils.items import BenchmarkError
from lalm_utils.load_model import load_model
from lalm_utils.models import ModelError, Prompt
from lalm_utils.prompts import render
from lalm_utils.store import Store

FAST = Recipe(rank=4, learning_rate=5e-3, batch_size=2)


@pytest.fixture(scope="module")
def plain(tiny_folder) -> TransformersModel:
    """The same model, run the way of classes that cannot share."""
    return load_model(tiny_folder, dtype="float32", check=False).with_generic_engine()


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> list[Example]:
    """Eight, of clips, questions and answers of different lengths; three are to be refused."""
    return idk_examples(tmp_path_factory.mktemp("clips"), 8)


@pytest.fixture(params=["shared", "plain"])
def either(request, tiny_model, plain) -> TransformersModel:
    return {"shared": tiny_model, "plain": plain}[request.param]


def render_all(examples: list[Example]) -> list[Prompt]:
    return [render(example.item, "idk") for example in examples]


def first_logits(model: TransformersModel, examples: list[Example]) -> torch.Tensor:
    return model.engine.first_logits([model.ready(render(e.item, "idk")) for e in examples])


def test_prompts_are_those_that_evaluation_asks(tiny_model, examples, tmp_path, monkeypatch):
    data, seen, real = TrainingSet(tiny_model, examples), [], tiny_model.engine.generate
    monkeypatch.setattr(
        tiny_model.engine, "generate", lambda batch, options, **_: seen.extend(batch) or real(batch, options)
    )
    with Store(tmp_path / "replies.db") as store:
        runs.ask(tiny_model, [e.item for e in examples], "idk", store=store)
    encoded = [tiny_model.ready(prompt) for prompt in data.prompts]
    key = [(prompt.text, prompt.ids, [clip.sha256 for clip in prompt.clips]) for prompt in encoded]
    assert sorted(key) == sorted((a.text, a.ids, [clip.sha256 for clip in a.clips]) for a in seen)


def test_training_reads_a_prompt_as_evaluation_does(either, examples):
    data = TrainingSet(either, examples)
    batch = data.batch(range(len(data)))
    labels = batch.pop("labels")
    before_answer = (labels != IGNORED).int().argmax(-1) - 1
    with torch.no_grad():
        logits = either.model(**batch).logits[range(len(data)), before_answer]
    torch.testing.assert_close(logits, first_logits(either, examples), atol=1e-4, rtol=1e-4)


def test_only_the_answer_and_the_end_of_the_turn_carry_labels(either, examples):
    data = TrainingSet(either, examples)
    tokenizer = either.processor.tokenizer
    labels = data.batch(range(len(data)))["labels"]
    for row, example in zip(labels, examples):
        answer = row[row != IGNORED].tolist()
        assert answer == [*tokenizer(example.target).input_ids, either.parts.end_of_turn]
        words = example.target if example.known else "[UNK]"
        assert tokenizer.decode(answer) == f"{words} <|im_end|>"
        places = (row != IGNORED).nonzero()[:, 0]
        assert (places.diff() == 1).all(), "one stretch of labels, with nothing between"


def test_an_answer_in_a_batch_has_the_loss_that_it_has_alone(either, examples):
    data = TrainingSet(either, examples)
    with torch.no_grad():
        alone = [answer_loss(either.model, data.batch([number]))[0].item() for number in range(8)]
        together = answer_loss(either.model, data.batch(range(8)))[0].item()
    assert together == pytest.approx(sum(alone), abs=1e-3)
    scores = either.option_logprobs([data.prompts[index] for index in range(8)])
    assert alone == pytest.approx([-score[0] for score in scores], abs=1e-3)


def test_batches_are_what_the_models_own_forward_takes(either, examples):
    batch = TrainingSet(either, examples).batch(range(4))
    with torch.no_grad():
        own = either.model(**batch).loss.item()
        ours, tokens = answer_loss(either.model, batch)
    assert tokens == (batch["labels"] != IGNORED).sum().item()
    assert ours.item() / tokens == pytest.approx(own, abs=1e-5)


def gradient(model: TransformersModel, examples: list[Example], size: int, means: bool = False):
    """The gradient of LoRA weights in one step of batches of `size`; `means`: a mean of means instead."""
    data = TrainingSet(model, examples)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=Recipe().targets)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wrapped = get_peft_model(model.model, config)
        weights = [p for p in wrapped.parameters() if p.requires_grad]
        for parameter in weights:
            parameter.data.normal_(0, 0.1)
    step = TrainingStep(
        model.model,
        lambda module, numbers: answer_loss(module, data.batch(numbers)),
        [(weights, 1e-3)],
        steps=1,
    )
    result, cut = [], [range(start, start + size) for start in range(0, 8, size)]
    for batches in [[batch] for batch in cut] if means else [cut]:
        assert np.isfinite(step._mean_gradient(batches))
        result.append(torch.cat([master.grad.flatten() for master in step.masters]))
    wrapped.unload()
    return torch.stack(result).mean(0)


def test_the_gradient_does_not_depend_on_how_a_step_is_cut_into_batches(either, examples):
    whole = gradient(either, examples, 8)
    assert whole.abs().max() > 0.01
    for size in (4, 2, 1):
        torch.testing.assert_close(gradient(either, examples, size), whole, atol=1e-5, rtol=1e-5)
    assert (gradient(either, examples, 1, means=True) - whole).abs().max() > 1e-3, "a mean of means differs"


def test_each_clip_goes_through_the_tower_once_in_all_epochs(tiny_folder, examples):
    fresh = load_model(tiny_folder, dtype="float32", check=False)
    data = TrainingSet(fresh, examples)
    for _ in range(3):
        data.batch(range(8))
    assert fresh.engine.single_audio.passes == 8


def test_what_a_clip_sounds_like_does_not_depend_on_its_company(tiny_model, examples):
    data = TrainingSet(tiny_model, examples)
    together, alone = (data.batch(numbers)["inputs_embeds"][0] for numbers in ([0, 7], [0]))
    assert torch.equal(together[: len(alone)], alone), "bit for bit"


def test_the_labels_of_an_example_are_its_answer():
    assert answer_labels([5, 6, 7], [8, 9]) == [IGNORED, IGNORED, IGNORED, 8, 9]


def test_a_schedule_takes_each_example_once_an_epoch_in_batches_of_like_length():
    lengths = np.random.default_rng(0).integers(50, 400, 103).tolist()
    steps = schedule(lengths, batch_size=4, accumulate=2, epochs=2, seed=0)
    assert len(steps) == 2 * 13
    for epoch in (steps[:13], steps[13:]):
        assert sorted(index for step in epoch for batch in step for index in batch) == list(range(103))
    batches = [batch for step in steps for batch in step]
    assert max(map(len, batches)) == 4
    padded = sum(max(lengths[p] for p in batch) * len(batch) for batch in batches)
    assert padded < 1.15 * 2 * sum(lengths), f"windows of {WINDOW} batches leave little padding"
    assert schedule(lengths, batch_size=4, accumulate=2, epochs=2, seed=0) == steps
    assert schedule(lengths, batch_size=4, accumulate=2, epochs=2, seed=1) != steps
    assert steps[:13] != steps[13:]


def test_training_lowers_the_loss_and_leaves_the_base_as_it_was(tiny_model, examples, tmp_path):
    before = {name: tensor.clone() for name, tensor in tiny_model.model.state_dict().items()}
    logits, state = first_logits(tiny_model, examples), torch.get_rng_state()
    path = lora.train(tiny_model, examples, tmp_path / "adapter", replace(FAST, epochs=6))
    curve = lora_files.curve(path)
    assert curve["loss"].iloc[-4:].mean() < 0.7 * curve["loss"].iloc[:4].mean()
    assert torch.equal(torch.get_rng_state(), state)
    after = tiny_model.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    torch.testing.assert_close(
        first_logits(tiny_model, examples), logits, atol=1e-5, rtol=1e-5
    )  # openings are kept now
    assert not any(module.training for module in tiny_model.model.modules())


def test_another_family_learns_through_its_own_processor(tmp_path, examples):
    FAMILIES["audioflamingo3"].save(tmp_path / "model")
    other = load_model(tmp_path / "model", dtype="float32", check=False)
    whole = gradient(other, examples, 8)
    torch.testing.assert_close(gradient(other, examples, 2), whole, atol=1e-5, rtol=1e-5)
    path = lora.train(other, examples, tmp_path / "adapter", replace(FAST, accumulate=2, epochs=6))
    curve = lora_files.curve(path)
    assert curve["loss"].iloc[-2:].mean() < 0.9 * curve["loss"].iloc[:2].mean()
    assert len(lora.load_adapter(other, path).generate(render_all(examples), max_new_tokens=2)) == 8


def test_batches_that_processes_cannot_share_are_refused():
    with pytest.raises(ModelError, match="accumulate=3: 2 processes share the batches of a step"):
        lora.check_shared(replace(FAST, accumulate=3), 2)
    lora.check_shared(replace(FAST, accumulate=4), 2)


def test_a_prompt_with_other_audio_tokens_than_clips_is_refused():
    assert expand_audio_tokens((5, 9, 6, 9), 9, [2, 1]) == [5, 9, 9, 6, 9]
    with pytest.raises(ModelError, match="2 audio tokens in the prompt for 1 clips"):
        expand_audio_tokens((5, 9, 6, 9), 9, [2])


def test_the_language_model_alone_learns(tiny_model, examples, tmp_path):
    path = lora.train(tiny_model, examples, tmp_path / "adapter", FAST)
    names = load_file(path / lora_files.WEIGHTS)
    assert len(names) == 2 * 7 * 2, "A and B of seven projections in two layers"
    assert all(".language_model.layers." in name for name in names)
    assert {tensor.dtype for tensor in names.values()} == {torch.float32}
    assert all(tensor.abs().max() > 0 for tensor in names.values()), "each of them has moved"


def test_a_finished_training_is_not_repeated(tiny_model, examples, tmp_path):
    path = lora.train(tiny_model, examples, tmp_path / "adapter", FAST)
    facts, steps = lora_files.provenance(path), []
    assert lora.train(tiny_model, examples, path, FAST, on_step=steps.append) == path
    assert steps == []
    assert lora_files.provenance(path) == facts
    for other in (
        {"recipe": replace(FAST, seed=1)},
        {"examples": examples[:-1]},
        {"examples": examples[::-1]},
        {"prompt_method": "plain"},
    ):
        call = {"examples": examples, "recipe": FAST} | other
        with pytest.raises(ModelError, match="holds the adapter of another training"):
            lora.train(tiny_model, call.pop("examples"), path, **call)


def test_a_training_without_a_folder_has_one_in_the_cache(tiny_model, examples, tmp_path, monkeypatch):
    monkeypatch.setenv("LALM_UTILS_CACHE", str(tmp_path / "cache"))
    path = lora.train(tiny_model, examples, recipe=FAST)
    assert path.parent == tmp_path / "cache" / "adapters"
    assert lora.train(tiny_model, examples, recipe=FAST) == path
    assert lora.train(tiny_model, examples, recipe=replace(FAST, seed=1)) != path


def test_a_model_is_finetuned_on_one_modality_by_its_own_counts(tiny_model, examples, tmp_path, monkeypatch):
    monkeypatch.setenv("LALM_UTILS_CACHE", str(tmp_path / "cache"))
    items = [example.item for example in examples]
    counts = pd.DataFrame({"item": [i.id for i in items], "n": 5, "right": [5 * e.known for e in examples]})
    finetuned = lora.finetune(tiny_model, items, counts, "music", recipe=FAST, k=5)
    facts = lora_files.provenance(finetuned.files.adapter)
    assert (facts["examples"], facts["idk_share"]) == (4, 0.25)
    expected = lora.train(tiny_model, [e for e in examples if e.item.modality == "music"], recipe=FAST)
    assert finetuned.files.adapter == expected
    with pytest.raises(ValueError, match="no item of modality 'speech' among the 8"):
        lora.finetune(tiny_model, items, counts, "speech", recipe=FAST, k=5)


def test_a_folder_of_something_else_is_not_touched(tiny_model, examples, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="not empty, and no adapter of this package; give another folder"):
        lora.train(tiny_model, examples, tmp_path, FAST)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert (lora.train(tiny_model, examples, empty, FAST) / lora_files.PROVENANCE).is_file()


DROPPING = replace(FAST, epochs=2, batch_size=1, accumulate=2, dropout=0.4)


def interrupted(model, examples, path: Path, after: int) -> None:
    """Train until step `after`, then stop as Ctrl-C does; states are saved every second step."""

    def stop(step) -> None:
        if step["step"] == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lora.train(model, examples, path, DROPPING, on_step=stop, save_every=2)
    assert not path.exists()


def test_an_interrupted_training_ends_bit_for_bit_where_it_would_have_ended(tiny_model, examples, tmp_path):
    whole = lora.train(tiny_model, examples, tmp_path / "whole", DROPPING)
    interrupted(tiny_model, examples, tmp_path / "parts", 3)
    interrupted(tiny_model, examples, tmp_path / "parts", 7)
    steps = []
    parts = lora.train(
        tiny_model, examples, tmp_path / "parts", DROPPING, on_step=lambda step: steps.append(step["step"])
    )
    assert steps == [7, 8], "it went on from the state after step 6"
    for name in (lora_files.WEIGHTS, lora_files.CURVE, "adapter_config.json"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()
    assert not list(tmp_path.glob(".*.training")), "no checkpoints are left"
    other = lora.train(tiny_model, examples, tmp_path / "other", replace(DROPPING, dropout=0.0))
    assert (other / lora_files.WEIGHTS).read_bytes() != (whole / lora_files.WEIGHTS).read_bytes()


def test_a_state_of_another_training_is_not_taken_up(tiny_model, examples, tmp_path):
    interrupted(tiny_model, examples, tmp_path / "a", 3)
    steps = []
    path = lora.train(
        tiny_model, examples, tmp_path / "a", FAST, on_step=lambda step: steps.append(step["step"])
    )
    assert steps == [1, 2, 3, 4]
    fresh = lora.train(tiny_model, examples, tmp_path / "b", FAST)
    assert (path / lora_files.WEIGHTS).read_bytes() == (fresh / lora_files.WEIGHTS).read_bytes()


def test_a_damaged_checkpoint_is_named(tiny_model, examples, tmp_path):
    interrupted(tiny_model, examples, tmp_path / "a", 3)
    state = tmp_path / ".a.training" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"a damaged checkpoint .*remove the folder"):
        lora.train(tiny_model, examples, tmp_path / "a", DROPPING)


def test_an_adapter_says_how_it_was_made(tiny_model, examples, tmp_path):
    path = lora.train(tiny_model, examples, tmp_path / "adapter", FAST)
    facts = lora_files.provenance(path)
    assert (facts["examples"], facts["idk_share"], facts["seed"]) == (8, 3 / 8, 0)
    assert facts["recipe"]["rank"] == 4
    assert facts["base_fingerprint"] == tiny_model.fingerprint
    assert (facts["prompt_method"], facts["dtype"], facts["device"]) == ("idk", "float32", "cpu")
    assert facts["seconds"] > 0
    assert facts["processes"] == 1
    assert set(facts["versions"]) == {"torch", "transformers", "peft", "accelerate", "lalm_utils", "python"}
    curve = lora_files.curve(path)
    assert list(curve.columns) == ["step", "loss", "learning_rate", "examples"]
    assert list(curve["step"]) == [1, 2, 3, 4]
    assert list(curve["examples"]) == [2, 4, 6, 8]
    assert facts["final_loss"] == pytest.approx(curve["loss"].mean())
    assert len(facts["dataset"]) == len(facts["digest"]) == 64


def test_the_learning_rate_warms_up_and_falls_and_is_never_zero(tiny_model, examples, tmp_path):
    recipe = replace(FAST, batch_size=1, warmup=0.25)
    rates = lora_files.curve(lora.train(tiny_model, examples, tmp_path / "a", recipe))["learning_rate"]
    assert list(rates / 5e-3) == pytest.approx([0.5, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def peft_logits(folder: Path, adapter: Path, model: TransformersModel, examples) -> torch.Tensor:
    """First logits of what peft itself loads."""
    whole = Qwen2AudioForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    wrapped = PeftModel.from_pretrained(whole, adapter).eval()
    rows = []
    for example in examples:
        prompt = model.ready(render(example.item, "idk"))
        inputs = model.with_generic_engine().engine.tensors([prompt], [prompt.text])
        with torch.inference_mode():
            rows.append(wrapped(**inputs).logits[0, -1])
    return torch.stack(rows)


@pytest.fixture(scope="module")
def adapter(tiny_model, examples, tmp_path_factory) -> Path:
    recipe = replace(FAST, learning_rate=2e-2, epochs=3)
    return lora.train(tiny_model, examples, tmp_path_factory.mktemp("adapters") / "idk", recipe)


def test_scale_zero_is_the_base_and_one_is_what_peft_loads(either, tiny_folder, adapter, examples):
    base = first_logits(either, examples)
    adapted = lora.load_adapter(either, adapter)
    zero = lora.load_adapter(either, adapter, scale=0)
    assert torch.equal(first_logits(zero, examples), base)
    assert zero.fingerprint == either.fingerprint
    expected = peft_logits(tiny_folder, adapter, either, examples)
    torch.testing.assert_close(first_logits(adapted, examples), expected, atol=1e-4, rtol=1e-4)
    assert (expected - base).abs().max() > 0.5, "the adapter does something"
    assert torch.equal(first_logits(either, examples), base), "the base itself is as it was"


def test_any_other_scale_multiplies_the_update(tiny_model, tiny_folder, adapter, examples, tmp_path):
    doubled = tmp_path / "doubled"
    doubled.mkdir()
    (doubled / lora_files.WEIGHTS).write_bytes((adapter / lora_files.WEIGHTS).read_bytes())
    config = json.loads((adapter / "adapter_config.json").read_text())
    (doubled / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 64.0}))
    expected = peft_logits(tiny_folder, doubled, tiny_model, examples)
    twice = lora.load_adapter(tiny_model, adapter, scale=2)
    torch.testing.assert_close(first_logits(twice, examples), expected, atol=1e-4, rtol=1e-4)
    tiny = lora.load_adapter(tiny_model, adapter, scale=1e-6)
    torch.testing.assert_close(
        first_logits(tiny, examples), first_logits(tiny_model, examples), atol=1e-3, rtol=1e-3
    )


def test_fingerprints_tell_adapters_and_scales_apart(tiny_model, adapter, examples, tmp_path):
    other = lora.train(tiny_model, examples, tmp_path / "other", FAST)
    prints = [
        lora.load_adapter(tiny_model, path, scale=scale).fingerprint
        for path in (adapter, other)
        for scale in (0.5, 1, 2)
    ]
    assert len({*prints, tiny_model.fingerprint}) == 7
    assert lora.load_adapter(tiny_model, adapter, scale=0.5).fingerprint == prints[0]


def test_an_adapter_is_loaded_by_its_folder_and_is_the_same_model(tiny_model, adapter, examples):
    loaded = load_model(adapter, dtype="float32", check=False)
    twin = lora.load_adapter(tiny_model, adapter)
    assert loaded.fingerprint == twin.fingerprint
    assert (loaded.name, twin.name) == ("model+idk", "model+idk")
    prompts = [render(example.item, "idk") for example in examples]
    assert loaded.generate(prompts, max_new_tokens=6) == twin.generate(prompts, max_new_tokens=6)
    assert lora.load_adapter(tiny_model, adapter, scale=0.5).name == "model+idk@0.5"
    assert twin.description["adapter"] == "idk"


def test_a_model_with_an_adapter_shares_weights_and_kept_clips_with_its_base(tiny_model, adapter, examples):
    first_logits(tiny_model, examples)
    passes = tiny_model.engine.audio.passes
    twin = lora.load_adapter(tiny_model, adapter)
    assert isinstance(twin.engine, PrefixSharingEngine)
    first_logits(twin, examples)
    assert tiny_model.engine.audio.passes == passes
    own = {tensor.data_ptr() for tensor in tiny_model.model.state_dict().values()}
    theirs = {tensor.data_ptr() for tensor in twin.model.state_dict().values()}
    assert own <= theirs
    assert not any("lora" in name for name, _ in tiny_model.model.named_modules())


def test_an_adapter_that_changes_the_tower_hears_anew(tiny_model, tiny_folder, examples, tmp_path):
    whole = Qwen2AudioForConditionalGeneration.from_pretrained(tiny_folder, dtype=torch.float32)
    wrapped = get_peft_model(whole, LoraConfig(r=2, target_modules=r".*audio_tower.*\.fc1"))
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.5)
    wrapped.save_pretrained(tmp_path / "tower")
    twin = lora.load_adapter(tiny_model, tmp_path / "tower")
    assert twin.engine.audio is not tiny_model.engine.audio
    expected = peft_logits(tiny_folder, tmp_path / "tower", tiny_model, examples)
    torch.testing.assert_close(first_logits(twin, examples), expected, atol=1e-4, rtol=1e-4)


def test_the_embedded_model_is_named_and_not_located(tiny_folder, examples, tmp_path, monkeypatch):
    module = types.ModuleType("lalm_utils.mini.model")
    module.mini_dir = lambda: tiny_folder
    monkeypatch.setitem(sys.modules, "lalm_utils.mini.model", module)
    mini = load_model("mini", dtype="float32", check=False)
    path = lora.train(mini, examples, tmp_path / "adapter", FAST)
    assert json.loads((path / "adapter_config.json").read_text())["base_model_name_or_path"] == "mini"
    texts = [file.read_text() for file in path.iterdir() if file.suffix in (".json", ".csv", ".md")]
    assert not any(
        str(place) in text for place in (tiny_folder, tiny_folder.parent, tmp_path) for text in texts
    )
    loaded = load_model(path, dtype="float32", check=False)
    assert loaded.fingerprint == lora.load_adapter("mini", path, dtype="float32", check=False).fingerprint


def test_in_half_precision_lora_and_its_optimiser_are_in_float32(tiny_folder, examples, tmp_path):
    half = load_model(tiny_folder, dtype="bfloat16", check=False)
    seen = []

    def look(_) -> None:
        seen.extend((name, p.dtype) for name, p in half.model.named_parameters())

    path = lora.train(half, examples, tmp_path / "adapter", FAST, on_step=look)
    assert {dtype for name, dtype in seen if "lora_" in name} == {torch.float32}
    assert {dtype for name, dtype in seen if "lora_" not in name} == {torch.bfloat16}
    assert {tensor.dtype for tensor in load_file(path / lora_files.WEIGHTS).values()} == {torch.float32}
    for loaded in (load_model(path, dtype="bfloat16", check=False), lora.load_adapter(half, path)):
        assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}
        rotary = loaded.model.model.language_model.rotary_emb.inv_freq
        assert rotary.dtype == torch.float32, "rounded frequencies would misplace far tokens"


def test_a_loss_that_is_not_finite_stops_the_training_and_leaves_nothing(tiny_folder, examples, tmp_path):
    broken = load_model(tiny_folder, dtype="float32", check=False)
    broken.model.lm_head.weight.data.fill_(torch.nan)
    with pytest.raises(ModelError, match=r"step 1 of 4: the loss is nan .*lower learning_rate"):
        lora.train(broken, examples, tmp_path / "adapter", FAST)
    assert not (tmp_path / "adapter").exists()
    assert not any("lora" in name for name, _ in broken.model.named_modules())


@pytest.mark.parametrize(
    "case, settings, message",
    [
        ("no rank", {"rank": 0}, "rank=0: it must be at least 1"),
        ("a rate of zero", {"learning_rate": 0.0}, "learning_rate=0.0: it must be above 0"),
        (
            "a rate that is no number",
            {"learning_rate": float("nan")},
            "learning_rate=nan: it must be above 0",
        ),
        ("all dropped", {"dropout": 1.0}, r"dropout=1.0: it must be in \[0, 1\)"),
        ("only warm-up", {"warmup": 1.0}, r"warmup=1.0: it must be in \[0, 1\)"),
        ("no epoch", {"epochs": 0}, "epochs=0: it must be at least 1"),
    ],
)
def test_a_recipe_out_of_range_is_refused(case, settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


def test_examples_that_cannot_be_trained_on_are_refused(tiny_model, examples, tmp_path):
    with pytest.raises(ValueError, match=r"no examples to learn from: build them with idk_data.build"):
        lora.train(tiny_model, [], tmp_path / "a")
    with pytest.raises(ValueError, match="item 'item-0': target ' '; a reply has a text"):
        lora.train(tiny_model, [replace(examples[0], target=" ")], tmp_path / "a")
    gone = replace(examples[0], item=replace(examples[0].item, clip=tmp_path / "gone.wav"))
    with pytest.raises(BenchmarkError, match="the examples to learn: 1 of 1 items have a missing"):
        lora.train(tiny_model, [gone], tmp_path / "a")
    with pytest.raises(ModelError, match="no LoRA on the modules 'nothing'"):
        lora.train(tiny_model, examples, tmp_path / "a", replace(FAST, targets="nothing"))
    assert not any("lora" in name for name, _ in tiny_model.model.named_modules())


def test_a_clip_that_vanishes_meanwhile_stops_the_training(tiny_model, examples, tmp_path):
    clip = write_tone(tmp_path / "here.wav", 300)
    data = TrainingSet(tiny_model, [replace(examples[0], item=replace(examples[0].item, clip=clip))])
    clip.unlink()
    with pytest.raises(AudioError, match="no such file"):
        data.batch([0])


def test_models_that_cannot_be_adapted_are_refused(tiny_model, adapter, tiny_folder, examples, tmp_path):
    twin = lora.load_adapter(tiny_model, adapter)
    with pytest.raises(ModelError, match=r"model\+idk has an adapter already: give its base"):
        lora.train(twin, examples, tmp_path / "a")
    with pytest.raises(ModelError, match="has an adapter already"):
        lora.load_adapter(twin, adapter)
    with pytest.raises(ModelError, match="only models whose weights are loaded here can have an adapter"):
        lora.train(FakeModel(), examples, tmp_path / "a")
    with pytest.raises(ModelError, match="float16 loses small gradients"):
        lora.train(load_model(tiny_folder, dtype="float16", check=False), examples, tmp_path / "a")


@pytest.mark.parametrize("scale", [-0.1, 2.1, float("nan")])
def test_a_scale_out_of_range_is_refused(tiny_model, adapter, scale):
    with pytest.raises(ModelError, match="it is from 0, the base itself, over 1, as trained, to 2"):
        lora.load_adapter(tiny_model, adapter, scale=scale)


def test_an_adapter_of_other_weights_is_refused_in_any_dtype(tiny_model, adapter, tiny_folder, tmp_path):
    stranger = load_model(save_tiny(tmp_path / "other", seed=1), dtype="float32", check=False)
    with pytest.raises(ModelError, match="trained on other weights than those of other"):
        lora.load_adapter(stranger, adapter)
    half = load_model(tiny_folder, dtype="bfloat16", check=False)
    assert lora.load_adapter(half, adapter).fingerprint != lora.load_adapter(tiny_model, adapter).fingerprint


def test_an_adapter_with_whole_modules_has_one_scale(tiny_model, tiny_folder, tmp_path):
    whole = Qwen2AudioForConditionalGeneration.from_pretrained(tiny_folder, dtype=torch.float32)
    config = LoraConfig(
        r=2, target_modules=r".*language_model.*\.q_proj", modules_to_save=["multi_modal_projector"]
    )
    get_peft_model(whole, config).save_pretrained(tmp_path / "whole")
    with pytest.raises(ModelError, match="only an adapter that is LoRA throughout can be scaled"):
        lora.load_adapter(tiny_model, tmp_path / "whole", scale=0.5)
    assert lora.load_adapter(tiny_model, tmp_path / "whole").engine.audio is not tiny_model.engine.audio


def test_a_folder_that_does_not_say_how_it_was_made_is_named(tmp_path):
    with pytest.raises(ModelError, match="does not say how the adapter was made"):
        lora_files.provenance(tmp_path)


def test_kept_clips_within_no_budget_still_train_alike(tiny_model, tiny_folder, examples):
    data, small = (
        TrainingSet(tiny_model, examples),
        load_model(tiny_folder, dtype="float32", check=False, audio_cache_mb=0),
    )
    without_cache, with_cache = TrainingSet(small, examples).batch(range(8)), data.batch(range(8))
    torch.testing.assert_close(
        without_cache["inputs_embeds"], with_cache["inputs_embeds"], atol=1e-5, rtol=1e-5
    )
    assert not small.engine.single_audio.entries
    assert tiny_model.generate([ask("What is it ?", examples[0].item.clip)], max_new_tokens=2)
