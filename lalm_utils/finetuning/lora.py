"""LoRA fine-tuning on an IDK dataset, and models with the adapter it gives (arXiv 2505.19294, "LoRA SFT").

In: a loaded model and examples, or an adapter's folder. Out: an adapter in peft's format, or a model that has
it. The language model alone learns; audio tower, projector and head stay as they are.

The loop is ours and not transformers' Trainer, which for Qwen2-Audio has a wrong loss under gradient
accumulation, hears every clip in every epoch and reads the whole vocabulary at every position. On several GPUs
`trainer` learns the same adapter by a Trainer that is taught better.

The paper prints neither rank nor scale, modules, learning rate or batch: the defaults of `Recipe` are ours.
"""

from __future__ import annotations

import copy
import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import peft
import torch
import transformers
from filelock import FileLock
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from torch import nn

import lalm_utils
from lalm_utils.cache import cache_dir
from lalm_utils.engine import loading, weights
from lalm_utils.engine.engines import PlainEngine, SharedEngine
from lalm_utils.engine.hardware import device_name
from lalm_utils.engine.transformers_model import TransformersModel
from lalm_utils.finetuning import lora_files
from lalm_utils.finetuning.idk_data import Example, build, idk_share
from lalm_utils.finetuning.lora_data import TrainingSet
from lalm_utils.finetuning.training_step import Recipe, Run, Step
from lalm_utils.items import Item
from lalm_utils.load_model import load_model
from lalm_utils.models import ModelError
from lalm_utils.progress import bar

__all__ = ["DEFAULT", "Recipe", "adapted", "taught", "train"]

SCHEMA = "lalm_utils adapter 1"  # to be changed with anything here that changes what is learnt
DEFAULT = Recipe()


class Task:
    """What is to be learnt, whoever steps: its `digest` tells it from any other, whatever the process and device."""

    def __init__(
        self, model: TransformersModel, examples: Sequence[Example], recipe: Recipe, prompt_method: str
    ) -> None:
        """Raises ModelError for a model that cannot be trained, and what TrainingSet raises."""
        check_trainable(model)
        self.model, self.recipe, self.method = model, recipe, prompt_method
        self.data = TrainingSet(model, examples, method=prompt_method)
        parts = [SCHEMA, model.fingerprint, self.data.digest, prompt_method, asdict(recipe)]
        self.digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def folder(self, given: str | Path | None) -> Path:
        """Where the adapter goes, absolute: `given`, or one in the user's cache."""
        own = cache_dir() / "adapters" / f"{self.method}-{self.digest[:12]}"
        return Path(given or own).expanduser().absolute()

    @property
    def facts(self) -> dict[str, Any]:
        """What the adapter is made from, for its provenance."""
        return _facts(self.model, self.data, self.recipe, self.method)


def train(
    model: TransformersModel,
    examples: Sequence[Example],
    folder: str | Path | None = None,
    recipe: Recipe = DEFAULT,
    *,
    prompt_method: str = "idk",
    on_step: Callable[[Step], None] | None = None,
    save_every: int = 50,
) -> Path:
    """Fine-tune LoRA on `examples`, asked by `prompt_method`; the folder of the adapter.

    folder: by default one in the user's cache, named after what is trained. If it holds the adapter of the same
    base, examples and recipe, it is returned as it is. An interrupted training goes on from its last state
    (every `save_every` steps) and on a CPU ends bit for bit where it would have ended. `on_step` is called after
    each step. `model` itself is left as it was. Raises ModelError for a model that cannot be trained, a folder
    with other content, and a loss that is not finite.
    """
    task = Task(model, examples, recipe, prompt_method)
    folder = task.folder(folder)
    with locked(folder):
        if lora_files.finished(folder, task.digest):
            return folder
        checkpoints = lora_files.Checkpoints(folder, task.digest)
        with own_randomness(model.device), with_lora(model, recipe) as lora:
            run = Run(model, lora, task.data, recipe)
            run.go_on_from(checkpoints.latest())
            _to_the_end(run, checkpoints, on_step, save_every)
            tensors = get_peft_model_state_dict(lora, save_embedding_layers=False)
            facts, config = task.facts | run.result, final_config(model, lora)
            checkpoints.publish(folder, config=config, weights=tensors, facts=facts, rows=run.curve)
    return folder


def adapted(
    model: TransformersModel | str | Path, folder: str | Path, *, scale: float = 1.0, **options: Any
) -> TransformersModel:
    """`model` (or the one of that name, loaded with `options`) with the adapter in `folder`, `scale` times.

    scale: in [0, 2]. 0 is the base itself, and is returned as such; 1 is as trained, the same model with the
    same fingerprint as `load_model(folder)`. The base's weights are shared, neither copied nor read again, and
    `model` stays as it was. Raises ModelError for a scale out of range, an adapter that does not fit or was
    trained on other weights, and a model that has an adapter already.
    """
    if not 0 <= scale <= 2:
        raise ModelError(f"scale={scale}: it is from 0, the base itself, over 1, as trained, to 2.")
    base = load_model(model, **options) if isinstance(model, str | Path) else model
    _check_adaptable(base)
    files = replace(weights.find(base.files.folder, adapter=folder), base=base.files.base)
    _check_origin(base, files)
    if scale == 0:
        return base
    called = files.adapter.resolve().name + ("" if scale == 1 else f"@{scale:g}")
    twin = copy.copy(base)
    twin.model = loading.with_adapter(_sharing_copy(base.model), files, scale=scale).eval()
    twin.parts = replace(base.parts, model=twin.model, adapter=called)
    twin.engine = _engine(base, twin)
    twin.files, twin.name = files, f"{base.name}+{called}"
    content = weights.fingerprint(files, str(base.dtype).removeprefix("torch."), scale=scale)
    twin.fingerprint = base.windows.fingerprint(content)
    return twin


def taught(
    model: TransformersModel,
    asked: Sequence[Item],
    known: pd.DataFrame,
    modality: str,
    *,
    recipe: Recipe = DEFAULT,
    **labels: Any,
) -> TransformersModel:
    """`model` with an adapter trained on the items of one modality, as the paper trains them.

    known: as idk_data.knowledge returns it; labels: what idk_data.build takes (k, balance, shuffle, ...).
    Raises what `build`, `train` and `adapted` raise, and ValueError for a modality that no item has.
    """
    own = [item for item in asked if item.modality == modality]
    if not own:
        raise ValueError(f"no item of modality {modality!r} among the {len(asked)} to learn from")
    return adapted(model, train(model, build(own, known, **labels), recipe=recipe))


def _to_the_end(
    run: Run, checkpoints: lora_files.Checkpoints, on_step: Callable[[Step], None] | None, every: int
) -> None:
    with bar("fine-tuning", total=len(run.steps), done=len(run.curve), unit="step") as shown:
        while len(run.curve) < len(run.steps):
            row = run.step()
            if row["step"] % every == 0:
                checkpoints.save(int(row["step"]), run.weights, run.state())
            shown.update(1)
            if on_step:
                on_step(row)


def locked(folder: Path) -> FileLock:
    """One training a folder at a time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.parent / f".{folder.name}.lock")


def final_config(model: TransformersModel, lora: PeftModel) -> LoraConfig:
    """The configuration of what was learnt, as its folder holds it: for use, and with the base by its name."""
    config = lora.peft_config["default"]
    config.base_model_name_or_path, config.inference_mode = model.files.base, True
    return config


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """torch's random state as it was, afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@contextmanager
def with_lora(model: TransformersModel, recipe: Recipe) -> Iterator[PeftModel]:
    """`model` with fresh LoRA layers in float32, which alone learn; without them afterwards."""
    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=recipe.dropout, target_modules=recipe.targets
    )
    try:
        with loading.without_peft_noise():
            lora = get_peft_model(model.model, config, autocast_adapter_dtype=True)
    except ValueError as error:
        raise ModelError(f"{model.name}: no LoRA on the modules {recipe.targets!r} ({error})") from error
    set_training(lora)
    try:
        yield lora
    finally:
        lora.unload()


def set_training(lora: nn.Module) -> None:
    """Training mode for LoRA's dropout alone: what the base was trained with stays off."""
    for name, module in lora.named_modules():
        module.training = "lora_dropout" in name


def _facts(model: TransformersModel, data: TrainingSet, recipe: Recipe, method: str) -> dict[str, Any]:
    """What the adapter is made from, for its provenance."""
    modules = {"torch": torch, "transformers": transformers, "peft": peft, "lalm_utils": lalm_utils}
    return {
        "schema": SCHEMA,
        "base": model.files.base,
        "base_fingerprint": model.fingerprint,
        "base_content": weights.fingerprint(model.files, "any"),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": device_name(model.device),
        "prompt_method": method,
        "examples": len(data),
        "idk_share": idk_share(data.examples),
        "dataset": data.digest,
        "seed": recipe.seed,
        "recipe": asdict(recipe),
        "versions": {name: module.__version__ for name, module in modules.items()}
        | {"python": platform.python_version()},
    }


def _check_adaptable(model: Any) -> None:
    if not isinstance(model, TransformersModel):
        raise ModelError(f"{model.name}: only models whose weights are loaded here can have an adapter.")
    if model.files.adapter:
        raise ModelError(f"{model.name} has an adapter already: give its base, {model.files.base}.")


def check_trainable(model: Any) -> None:
    """ModelError for a model that cannot learn an adapter."""
    _check_adaptable(model)
    if model.dtype == torch.float16:
        raise ModelError("float16 loses small gradients: load the model with dtype='bfloat16' or 'float32'.")


def _check_origin(base: TransformersModel, files: weights.Weights) -> None:
    """Adapters of this package say which weights they were trained on; others are taken on trust."""
    if not (files.adapter / lora_files.PROVENANCE).is_file():
        return
    trained_on = lora_files.provenance(files.adapter).get("base_content")
    if trained_on != weights.fingerprint(base.files, "any"):
        raise ModelError(
            f"{files.adapter}: trained on other weights than those of {base.name}; give the base it names in "
            f"{lora_files.PROVENANCE}, or train it anew"
        )


def _sharing_copy(model: nn.Module) -> nn.Module:
    """Modules of its own around the very tensors of `model`."""
    return copy.deepcopy(model, {id(t): t for t in (*model.parameters(), *model.buffers())})


def _engine(base: TransformersModel, twin: TransformersModel) -> SharedEngine | PlainEngine:
    """An engine for the twin; where the adapter is in the language model alone, with the base's kept clips."""
    own = base.engine
    if isinstance(own, PlainEngine):
        return PlainEngine(twin.model, twin.processor, ends=base.parts.ends, family=own.family)
    new = {name for name, _ in twin.model.named_parameters()} - {n for n, _ in base.model.named_parameters()}
    if any("language_model" not in name.split(".") for name in new):
        return own.afresh(twin.model)
    return own.with_language_model(twin.model)
