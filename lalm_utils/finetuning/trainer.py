"""The training of `lora`, stepped by transformers' Trainer under `accelerate`: on one process or on many.

In: a loaded model on each process, examples, a recipe. Out: the adapter's folder that `lora.train` would have
left, under the same digest, so that either may take up what the other has finished. It does not know how
processes are started or where examples come from.

A recipe says what is learnt, the processes only who computes it. A step is the same `batch_size * accumulate`
examples on any number of processes: they share its passes, so `accumulate` is a multiple of their number. The
loss is the mean over the answer tokens of the whole step, as in `lora_data.accumulate_gradient`: each pass gives
a sum, which is divided by the tokens of all passes of all processes. In float32 gradients then differ by rounding
alone; with LoRA's dropout, masks depend on which process takes a pass.

The stock Trainer is unfit for this in four ways, each mended here. (1) Qwen2-Audio's forward ignores
`num_items_in_batch`, and its plain mean per pass would be added up undivided: so the model's forward gives the
sum, and `compute_loss` divides. (2) The head would read the whole vocabulary at every position: `answer_loss`
reads answers alone, inside the model's forward, since DDP and DeepSpeed see only what passes through theirs.
(3) Dropout of the base, which evaluation has off, would be on. (4) Its order of examples is random: ours is that
of `schedule`.

DeepSpeed was never run here, for want of GPUs; tests see that its configurations are read and completed, no more.
Beyond that is known from its sources alone: ZeRO keeps LoRA in bfloat16 with float32 copies in the optimiser, and
saves bfloat16; at stage 3, where weights are in pieces outside of a forward, batches go through the model's own
processor, and each process loads the whole model before it is cut.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MethodType
from typing import Any

import accelerate
import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import is_deepspeed_zero3_enabled

from lalm_utils.engine.generic_engine import GenericEngine
from lalm_utils.engine.transformers_model import TransformersModel
from lalm_utils.finetuning import lora_files
from lalm_utils.finetuning.idk_data import Example
from lalm_utils.finetuning.lora import (
    DEFAULT,
    Task,
    final_config,
    locked,
    own_randomness,
    set_training,
    with_lora,
)
from lalm_utils.finetuning.lora_data import IGNORED, Collator, TrainingSet, answer_loss, schedule
from lalm_utils.finetuning.training_step import Recipe, Step, rate_at, result_of, seed_step
from lalm_utils.models import ModelError
from lalm_utils.progress import bar

STATE = "trainer_state.json"  # the last file of a Trainer's checkpoint


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
    """`lora.train` by the Trainer, to be called by every process of a launch alike; the folder of the adapter.

    An interrupted training goes on from the Trainer's last checkpoint (every `save_every` steps), also on another
    number of processes. Rank 0 alone writes the adapter; on several hosts `folder` lies where all read it.
    `on_step` is called on each process, before its step is saved. Raises what `lora.train` raises, on every
    process, and ModelError for an `accumulate` that the processes cannot share or a launcher's precision that is
    not the model's.
    """
    task = Task(model, examples, recipe, prompt_method)
    folder = task.folder(folder)
    checkpoints = lora_files.Checkpoints(folder, task.digest)
    place = checkpoints.place / f"trainer-{task.digest[:12]}"
    arguments = _arguments(model, recipe, place, save_every)
    with ExitStack() as stack:
        finished, newest = _told_by_rank_0(arguments, lambda: _found(stack, folder, task.digest, place))
        if finished:
            return folder
        stack.enter_context(_own_randomness(model.device))
        lora = stack.enter_context(with_lora(model, recipe))
        stack.enter_context(giving_answer_loss(lora.get_base_model()))
        trainer = LoraTrainer(model, lora, task.data, recipe, arguments, on_step)
        trainer.train(resume_from_checkpoint=newest)
        trainer.save_model()  # by all: at ZeRO's stage 3 each has a piece
        trainer.accelerator.wait_for_everyone()  # each has written its random state where rank 0 now clears up
        if arguments.process_index == 0:
            facts = _facts(task, arguments) | result_of(trainer.curve, trainer.seconds)
            weights, config = load_file(place / lora_files.WEIGHTS), final_config(model, lora)
            checkpoints.publish(folder, config=config, weights=weights, facts=facts, rows=trainer.curve)
        trainer.accelerator.wait_for_everyone()
    return folder


class Passes(Dataset):
    """All passes of a training in order, each an item: the examples' places, and whether they are learnt from.

    Every step has `accumulate` passes. Where an epoch leaves a step fewer, it is filled up with passes that read one
    example and learn nothing, since each process has to take part in each step.
    """

    def __init__(self, data: TrainingSet, recipe: Recipe) -> None:
        how = {name: getattr(recipe, name) for name in ("batch_size", "accumulate", "epochs", "seed")}
        self.data, self.steps = data, schedule(data.lengths, **how)
        self.passes = [
            (places, True) if places else ([step[0][0]], False)
            for step in self.steps
            for places in [*step, *[[]] * (recipe.accumulate - len(step))]
        ]

    def __len__(self) -> int:
        return len(self.passes)

    def __getitem__(self, number: int) -> tuple[list[Any], bool]:
        places, learnt = self.passes[number]
        return [self.data[place] for place in places], learnt


class LoraTrainer(Trainer):
    """A Trainer whose dataset is `Passes`: "a batch of size 1 on each device" is one pass on each process."""

    def __init__(
        self,
        model: TransformersModel,
        lora: PeftModel,
        data: TrainingSet,
        recipe: Recipe,
        arguments: TrainingArguments,
        on_step: Callable[[Step], None] | None = None,
    ) -> None:
        self.recipe, passes = recipe, Passes(data, recipe)
        self.steps = len(passes.steps)
        self.seen = np.cumsum([sum(map(len, step)) for step in passes.steps]).tolist()
        self.collate = Collator(_of_whole_weights(model))
        self.buffers = float32_buffers(lora)
        super().__init__(
            model=lora,
            args=arguments,
            data_collator=self._batch,
            train_dataset=passes,
            # never called, since compute_loss is ours: it has the Trainer count a step's tokens and divide no more
            compute_loss_func=answer_loss,
        )
        self.remove_callback(PrinterCallback)
        self.add_callback(_Watch(self, on_step))

    def _batch(self, passes: Sequence[tuple[list[Any], bool]]) -> dict[str, torch.Tensor]:
        (asked, learnt), *_ = passes
        batch = self.collate(asked)
        if not learnt:
            batch["labels"] = torch.full_like(batch["labels"], IGNORED)
        return batch

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """This pass's share of the mean over the answer tokens of the whole step, of all processes.

        Times their number, because gradients are averaged over them.
        """
        if num_items_in_batch is None:
            raise ModelError("this release of transformers does not count a step's tokens: install another")
        set_training(self.model)  # the Trainer has just switched on all dropout
        return model(**inputs)["loss"] * self.args.world_size / num_items_in_batch

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW without weight decay."""
        learnt = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(learnt, lr=self.recipe.learning_rate, weight_decay=0.0)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The rates of `rate_at`."""
        top = self.recipe.learning_rate
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer,
            lambda number: rate_at(self.recipe, min(number, self.steps - 1), self.steps) / top,
        )
        return self.lr_scheduler

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    @property
    def curve(self) -> list[Step]:
        """A row per step, those before an interruption included."""
        rows = [entry for entry in self.state.log_history if "loss" in entry]
        return [self.row(entry) for entry in rows]

    @property
    def seconds(self) -> float:
        """Of all steps, those before an interruption included."""
        return sum(entry.get("seconds", 0.0) for entry in self.state.log_history)

    def row(self, entry: Mapping[str, float]) -> Step:
        """A row of the curve from what the Trainer has logged after a step."""
        number = int(entry["step"])
        rate = rate_at(self.recipe, number - 1, self.steps)
        return {
            "step": number,
            "loss": entry["loss"],
            "learning_rate": rate,
            "examples": self.seen[number - 1],
        }


class _Watch(TrainerCallback):
    """What happens around a step: its own random state, the clock, the bar, and the end of a training gone wrong."""

    def __init__(self, trainer: LoraTrainer, on_step: Callable[[Step], None] | None) -> None:
        self.trainer, self.on_step = trainer, on_step

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        quiet = None if args.process_index == 0 else False
        self.bar = bar(
            "fine-tuning", total=self.trainer.steps, done=state.global_step, unit="step", show=quiet
        )
        self.since = time.monotonic()
        restore(self.trainer.model, self.trainer.buffers)

    def on_step_begin(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        seed_step(self.trainer.recipe, state.global_step, args.process_index)

    def on_log(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        entry = state.log_history[-1]
        if "loss" not in entry:
            return
        loss, norm = entry["loss"], entry.get("grad_norm", 0.0)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise ModelError(
                f"step {state.global_step} of {self.trainer.steps}: the loss is {loss} and its gradient's norm "
                f"{norm}; lower learning_rate, and check that the base answers at all"
            )
        entry["seconds"], self.since = time.monotonic() - self.since, time.monotonic()
        self.bar.update(1)
        if self.on_step:
            self.on_step(self.trainer.row(entry))

    def on_train_end(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()


def check_shared(recipe: Recipe, world: int) -> None:
    """ModelError for passes that `world` processes cannot share evenly."""
    if recipe.accumulate % world:
        raise ModelError(
            f"accumulate={recipe.accumulate}: {world} processes share the passes of a step, so it is a multiple of "
            f"{world}. With batch_size={recipe.batch_size} a pass and accumulate={world} a step has "
            f"{recipe.batch_size * world} examples."
        )


def part() -> None:
    """Leave the other processes of a launch, after the last training."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def float32_buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """What DeepSpeed rounds with all else, though a model in bfloat16 keeps it exact: rotary frequencies."""
    return {name: b.clone() for name, b in model.named_buffers() if b.dtype == torch.float32}


def restore(model: nn.Module, buffers: Mapping[str, torch.Tensor]) -> None:
    """Put back those buffers that have another dtype now."""
    for name, exact in buffers.items():
        place, _, last = name.rpartition(".")
        owner = model.get_submodule(place)
        if (rounded := getattr(owner, last)).dtype != exact.dtype:
            setattr(owner, last, exact.to(rounded.device))


@contextmanager
def giving_answer_loss(base: nn.Module) -> Iterator[None]:
    """Has the forward of `base` give {"loss": `answer_loss`} for a batch with labels, as it was for any other."""
    own = base.forward

    def forward(self: nn.Module, **batch: Any) -> Any:
        return {"loss": answer_loss(self, batch)} if "labels" in batch else own(**batch)

    base.forward = MethodType(forward, base)
    try:
        yield
    finally:
        del base.forward


def _arguments(model: TransformersModel, recipe: Recipe, place: Path, save_every: int) -> TrainingArguments:
    world = int(os.environ.get("WORLD_SIZE", "1"))
    check_shared(recipe, world)
    deepspeed = _precision(model)
    on_cpu = model.device.type == "cpu"
    arguments = TrainingArguments(
        output_dir=str(place),
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and world > 1 else None,
        bf16=deepspeed,  # without it the model's own dtype, and LoRA in float32
        per_device_train_batch_size=1,  # an item is a pass
        gradient_accumulation_steps=recipe.accumulate // world,
        num_train_epochs=1,  # the passes of all epochs are one long one
        learning_rate=recipe.learning_rate,
        max_grad_norm=recipe.max_grad_norm,
        seed=recipe.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=save_every,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=False,  # batches are made on the device
    )
    if arguments.world_size != world:
        raise ModelError(
            f"{arguments.world_size} processes, and WORLD_SIZE={world}: start them with accelerate launch."
        )
    arguments._n_gpu = min(
        arguments.n_gpu, 1
    )  # else one process that sees several GPUs would split each pass
    return arguments


def _precision(model: TransformersModel) -> bool:
    """Whether DeepSpeed trains; ModelError for a launcher's precision that is not the model's."""
    deepspeed = os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() in ("true", "1")
    mixed, wanted = os.environ.get("ACCELERATE_MIXED_PRECISION", "no"), "bf16" if deepspeed else "no"
    if mixed != wanted or (deepspeed and model.dtype != torch.bfloat16):
        raise ModelError(
            f"mixed_precision={mixed} with a model in {str(model.dtype).removeprefix('torch.')}: launch with "
            "--mixed_precision no, since the model has its dtype already; or, with DeepSpeed, with bf16 and a model in "
            "bfloat16. Otherwise the adapter would not be what its provenance says."
        )
    return deepspeed


def _told_by_rank_0(arguments: TrainingArguments, look: Callable[[], Any]) -> Any:
    """What rank 0 finds by `look`, on every process; its ModelError or OSError likewise."""
    told: list[Any] = [None, None]
    if arguments.process_index == 0:
        try:
            told = [look(), None]
        except (ModelError, OSError) as error:
            told = [None, error]
    if arguments.world_size > 1:
        broadcast_object_list(told)
    found, fault = told
    if fault:
        raise fault
    return found


def _found(stack: ExitStack, folder: Path, digest: str, place: Path) -> tuple[bool, str | None]:
    """Whether the adapter is there, else the checkpoint to go on from; `stack` holds the folder's lock."""
    stack.enter_context(locked(folder))
    return (True, None) if lora_files.finished(folder, digest) else (False, _newest(place))


def _newest(place: Path) -> str | None:
    """The last checkpoint that was written to its end."""
    whole = {step: path for path in place.glob("checkpoint-*") if (step := _step_of(path)) is not None}
    return str(whole[max(whole)]) if whole else None


def _step_of(checkpoint: Path) -> int | None:
    try:
        return int(json.loads((checkpoint / STATE).read_text(encoding="utf-8"))["global_step"])
    except (OSError, ValueError, KeyError):
        return None


def _of_whole_weights(model: TransformersModel) -> TransformersModel:
    """`model` as a collator may use it outside of a forward, where ZeRO's stage 3 leaves pieces of its weights."""
    if not is_deepspeed_zero3_enabled() or isinstance(model.engine, GenericEngine):
        return model
    return model.with_generic_engine()


def _facts(task: Task, arguments: TrainingArguments) -> dict[str, Any]:
    facts = task.facts
    versions = facts["versions"] | {"accelerate": accelerate.__version__}
    how = {"stepped_by": "transformers.Trainer", "processes": arguments.world_size}
    return facts | how | {"versions": versions}


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """The random states of Python, numpy and torch as they were, afterwards: a Trainer seeds them all."""
    ours, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with own_randomness(device):
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)  # noqa: NPY002
