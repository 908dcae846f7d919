"""LoRA fine-tuning on an IDK dataset, and models with the adapter it gives (arXiv 2505.19294, "LoRA SFT").

In: a loaded model and examples, or an adapter's folder. Out: an adapter in peft's format, or a model that has
it. The language model alone learns; audio tower, projector and head stay as they are.

The loop is ours and not transformers' Trainer, which for Qwen2-Audio has a wrong loss under gradient
accumulation, hears every clip in every epoch and reads the whole vocabulary at every position.

A recipe says what is learnt, the processes only who computes it: a step is the same `batch_size * accumulate`
examples on any number of processes, and in float32 their adapters differ by rounding alone.

The paper prints neither rank nor scale, modules, learning rate or batch: the defaults of `Recipe` are ours.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import accelerate
import numpy as np
import pandas as pd
import peft
import torch
import transformers
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import nn

import lalm_utils
from lalm_utils.cache import cache_dir
from lalm_utils.finetuning import lora_files
from lalm_utils.finetuning.idk_data import Example, build, idk_share
from lalm_utils.finetuning.lora_data import TrainingSet, schedule
from lalm_utils.finetuning.training_step import (
    TrainingStep,
    linear_decay,
    load_state,
    processes_of,
    save_state,
)
from lalm_utils.items import Item
from lalm_utils.load_model import load_model, resolve
from lalm_utils.models import ModelError
from lalm_utils.progress import bar

__all__ = ["DEFAULT", "TARGETS", "Recipe", "finetune", "load_adapter", "train"]

# Every linear layer of the language model's blocks, as a regular expression over the names of modules: peft's list of
# names would match the audio tower's projections as well.
TARGETS = r".*\blanguage_model\b.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
SCHEMA = "lalm_utils adapter 1"  # to be changed with anything here that changes what is learnt
LAST = 10  # steps that the final loss is the mean of
# step (from 1), loss (nats per answer token or pair), learning_rate, examples (seen so far)
Step = dict[str, float]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an adapter is trained: AdamW without weight decay, linear warm-up, then linear decay to zero.

    One epoch is the paper's; all else is a decision. Rank 16 on every linear layer of the language model is
    peft's usual middle. A rate of 1e-4: on the first prototype of the embedded model 3e-4 taught it to refuse
    nearly everything. No dropout: an epoch shows each example once. Raises ValueError for a value out of range.
    """

    rank: int = 16
    alpha: float = 32.0  # the update counts alpha / rank times
    dropout: float = 0.0
    learning_rate: float = 1e-4  # at its highest
    epochs: int = 1
    batch_size: int = 8  # examples a batch
    accumulate: int = 1  # batches a step
    max_grad_norm: float = 1.0
    warmup: float = 0.1  # share of all steps
    seed: int = 0  # of the initial weights, the order and dropout
    targets: str = TARGETS

    def __post_init__(self) -> None:
        rules = {
            "at least 1": (lambda v: v >= 1, ("rank", "epochs", "batch_size", "accumulate")),
            "above 0": (lambda v: v > 0, ("alpha", "learning_rate", "max_grad_norm")),
            "in [0, 1)": (lambda v: 0 <= v < 1, ("dropout", "warmup")),
        }
        for rule, (holds, names) in rules.items():
            for name in names:
                if not holds(getattr(self, name)):
                    raise ValueError(f"{name}={getattr(self, name)}: it must be {rule}")


DEFAULT = Recipe()


def train(
    model: Any,
    examples: Sequence[Example],
    folder: str | Path | None = None,
    recipe: Recipe = DEFAULT,
    *,
    prompt_method: str = "idk",
    dataset: Callable[..., TrainingSet] = TrainingSet,
    on_step: Callable[[Step], None] | None = None,
    save_every: int = 50,
) -> Path:
    """Fine-tune LoRA on `examples`, asked by `prompt_method`; the folder of the adapter.

    dataset: what makes batches of the examples, and their loss; `preference.PairSet` for DPO. folder: by default one
    in the user's cache, named after what is trained. If it holds the adapter of the same base, examples and recipe,
    it is returned as it is. An interrupted training goes on from its last state
    (every `save_every` steps), also on another number of processes. Of several processes, each calls this alike with
    a model of its own; rank 0 alone writes, and on several hosts `folder` lies where all read it. `on_step` is called
    after each step. `model` itself is left as it was. Raises ModelError, on every process, for a model that cannot be
    trained, a folder with other content, a loss that is not finite, and batches that the processes cannot share.
    """
    check_trainable(model)
    processes = processes_of(model.device)
    check_shared(recipe, processes.num_processes)
    data = dataset(model, examples, method=prompt_method)
    digest = _digest(model, data, recipe, prompt_method)
    folder = (
        Path(folder or cache_dir() / "adapters" / f"{prompt_method}-{digest[:12]}").expanduser().absolute()
    )
    with ExitStack() as stack:

        def look() -> bool:
            stack.enter_context(_lock(folder))
            return lora_files.is_finished(folder, digest)

        if _by_rank_0(processes, look):
            return folder
        data.prepare()
        stack.enter_context(_fork_random_state(model.device))
        lora = stack.enter_context(lora_layers(model, recipe))
        run = _Run(model, lora, data, recipe, digest, checkpoint=_scratch(folder) / "state.pt")
        run.to_the_end(on_step, save_every)
        if processes.is_main_process:
            facts = _facts(model, data, recipe, prompt_method) | run.result
            _publish(folder, model, lora, facts | {"digest": digest}, run.curve)
        processes.wait_for_everyone()
    return folder


def load_adapter(model: Any, folder: str | Path, *, scale: float = 1.0, **options: Any) -> Any:
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
    files = base.find_adapter(resolve(folder))
    _check_origin(base, files.adapter)
    return base if scale == 0 else base.with_adapter(files, scale=scale)


def finetune(
    model: Any,
    items: Sequence[Item],
    counts: pd.DataFrame,
    modality: str,
    *,
    recipe: Recipe = DEFAULT,
    **labels: Any,
) -> Any:
    """`model` with an adapter trained on the items of one modality, as the paper trains them.

    counts: as k_of_n.count_correct returns it; labels: what idk_data.build takes (k, balance, shuffle, ...).
    Raises what `build`, `train` and `load_adapter` raise, and ValueError for a modality that no item has.
    """
    own = [item for item in items if item.modality == modality]
    if not own:
        raise ValueError(f"no item of modality {modality!r} among the {len(items)} to learn from")
    return load_adapter(model, train(model, build(own, counts, **labels), recipe=recipe))


class _Run:
    """A training under way; the length of its curve is the number of steps made."""

    def __init__(
        self, model: Any, lora: PeftModel, data: TrainingSet, recipe: Recipe, digest: str, *, checkpoint: Path
    ) -> None:
        cut = {name: getattr(recipe, name) for name in ("batch_size", "accumulate", "epochs", "seed")}
        self.plan, self.digest, self.checkpoint = schedule(data.lengths, **cut), digest, checkpoint
        parameters = [parameter for parameter in lora.parameters() if parameter.requires_grad]
        self.step = TrainingStep(
            model.model,
            data.loss,
            [(parameters, recipe.learning_rate)],
            steps=len(self.plan),
            schedule=partial(linear_decay, warmup=recipe.warmup),
            max_grad_norm=recipe.max_grad_norm,
            seed=recipe.seed,
        )
        self.curve: list[Step] = []
        self.seconds = 0.0
        state = load_state(checkpoint)
        if state and state["digest"] == digest:  # a state of another training is not taken up
            self.step.restore(state["step"])
            self.curve, self.seconds = state["curve"], state["seconds"]

    def to_the_end(self, on_step: Callable[[Step], None] | None, save_every: int) -> None:
        writes = self.step.processes.is_main_process
        show = None if writes else False
        with bar(
            "fine-tuning", total=len(self.plan), done=len(self.curve), unit="step", show=show
        ) as progress:
            for batches in self.plan[len(self.curve) :]:
                start = time.monotonic()
                loss, n_before = self.step(batches), self.curve[-1]["examples"] if self.curve else 0
                self.curve.append({
                    "step": self.step.number, "loss": loss, "learning_rate": self.step.learning_rate,
                    "examples": n_before + sum(map(len, batches)),
                })  # fmt: skip
                self.seconds += time.monotonic() - start
                if writes and self.step.number % save_every == 0:
                    self.save()
                progress.update(1)
                if on_step:
                    on_step(self.curve[-1])

    def save(self) -> None:
        self.checkpoint.parent.mkdir(exist_ok=True)
        state = {"digest": self.digest, "curve": self.curve, "seconds": self.seconds}
        save_state(self.checkpoint, state | {"step": self.step.state()})

    @property
    def result(self) -> dict[str, Any]:
        """What came of it, for the provenance."""
        last = [row["loss"] for row in self.curve[-LAST:]]
        return {
            "processes": self.step.processes.num_processes,
            "steps": len(self.curve),
            "seconds": round(self.seconds, 3),
            "final_loss": float(np.mean(last)),
            "final_loss_is": f"mean of the last {len(last)} steps",
        }


def _by_rank_0(processes: PartialState, look: Callable[[], T]) -> T:
    """What rank 0 finds by `look`, on every process; its ModelError or OSError likewise."""
    answer: list[Any] = [None, None]
    if processes.is_main_process:
        try:
            answer[0] = look()
        except (ModelError, OSError) as error:
            answer[1] = error
    if processes.num_processes > 1:
        broadcast_object_list(answer)
    if answer[1]:
        raise answer[1]
    return answer[0]


def _lock(folder: Path) -> FileLock:
    """One training a folder at a time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.parent / f".{folder.name}.lock")


def _scratch(folder: Path) -> Path:
    """The folder of a training's checkpoint until the adapter is there."""
    return folder.with_name(f".{folder.name}.training")


def _publish(
    folder: Path, model: Any, lora: PeftModel, facts: Mapping[str, Any], curve: Sequence[Step]
) -> None:
    """Put the finished adapter in `folder` by one rename, and remove what was kept meanwhile."""
    finished = _scratch(folder) / "finished"
    shutil.rmtree(finished, ignore_errors=True)
    finished.mkdir(parents=True)
    config = lora.peft_config["default"]  # for use, and with the base by its name
    config.base_model_name_or_path, config.inference_mode = model.files.base, True
    config.save_pretrained(str(finished))
    tensors = get_peft_model_state_dict(lora, save_embedding_layers=False)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, finished / lora_files.WEIGHTS)
    lora_files.write_facts(finished, facts, curve)
    if folder.exists():
        folder.rmdir()  # `is_finished` has seen that it is empty
    finished.rename(folder)
    shutil.rmtree(_scratch(folder))


@contextmanager
def _fork_random_state(device: torch.device) -> Iterator[None]:
    """torch's random state as it was, afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@contextmanager
def lora_layers(model: Any, recipe: Recipe) -> Iterator[PeftModel]:
    """`model` with fresh LoRA layers in float32, which alone learn; without them afterwards."""
    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=recipe.dropout, target_modules=recipe.targets
    )
    try:
        with warnings.catch_warnings():  # peft asks for a name that transformers is about to drop
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            lora = get_peft_model(model.model, config, autocast_adapter_dtype=True)
    except ValueError as error:
        raise ModelError(f"{model.name}: no LoRA on the modules {recipe.targets!r} ({error})") from error
    _train_mode(lora)
    try:
        yield lora
    finally:
        lora.unload()


def _train_mode(lora: nn.Module) -> None:
    """Training mode for LoRA's dropout alone: what the base was trained with stays off."""
    for name, module in lora.named_modules():
        module.training = "lora_dropout" in name


def _digest(model: Any, data: TrainingSet, recipe: Recipe, method: str) -> str:
    """Tells what is learnt from anything else, whatever the processes and the device."""
    parts = [SCHEMA, model.fingerprint, data.digest, method, asdict(recipe)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _facts(model: Any, data: TrainingSet, recipe: Recipe, method: str) -> dict[str, Any]:
    """What the adapter is made from, for its provenance."""
    modules = {"torch": torch, "transformers": transformers, "peft": peft, "accelerate": accelerate,
               "lalm_utils": lalm_utils}  # fmt: skip
    return {
        "schema": SCHEMA,
        "base": model.files.base,
        "base_fingerprint": model.fingerprint,
        "base_content": model.content,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.description["device"],
        "prompt_method": method,
        "examples": len(data),
        "idk_share": idk_share(data.examples),
        "dataset": data.digest,
        "seed": recipe.seed,
        "recipe": asdict(recipe),
        **data.facts,
        "versions": {name: module.__version__ for name, module in modules.items()}
        | {"python": platform.python_version()},
    }


def _check_adaptable(model: Any) -> None:
    if not hasattr(model, "with_adapter"):
        raise ModelError(f"{model.name}: only models whose weights are loaded here can have an adapter.")
    if model.files.adapter:
        raise ModelError(f"{model.name} has an adapter already: give its base, {model.files.base}.")


def check_trainable(model: Any) -> None:
    """ModelError for a model that cannot learn an adapter."""
    _check_adaptable(model)
    if model.dtype == torch.float16:
        raise ModelError("float16 loses small gradients: load the model with dtype='bfloat16' or 'float32'.")


def check_shared(recipe: Recipe, world_size: int) -> None:
    """ModelError for batches that so many processes cannot share evenly."""
    if recipe.accumulate % world_size:
        raise ModelError(
            f"accumulate={recipe.accumulate}: {world_size} processes share the batches of a step, so it is a multiple "
            f"of {world_size}. With batch_size={recipe.batch_size} a batch and accumulate={world_size} a step has "
            f"{recipe.batch_size * world_size} examples."
        )


def _check_origin(base: Any, adapter: Path) -> None:
    """Adapters of this package say which weights they were trained on; others are taken on trust."""
    if not (adapter / lora_files.PROVENANCE).is_file():
        return
    if lora_files.provenance(adapter).get("base_content") != base.content:
        raise ModelError(
            f"{adapter}: trained on other weights than those of {base.name}; give the base it names in "
            f"{lora_files.PROVENANCE}, or train it anew"
        )
