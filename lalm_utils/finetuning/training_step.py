"""One step of the optimiser, for every training here: adapters, the embedded model's stages, preference tuning.

In: a model, a loss, the parameters to train and their learning rates; then, step by step, batches. Out: changed
parameters and the step's loss, which is the mean over all terms of the step (answer tokens, pairs, whatever the loss
counts). It does not depend on how the terms are cut into batches, nor on how many processes share the batches.
"""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch import nn
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, vector_to_parameters

from lalm_utils.models import ModelError

Loss = Callable[
    [nn.Module, Any], tuple[torch.Tensor, float]
]  # (model, batch) -> sum of losses, number of terms
Schedule = Callable[[int, int], float]  # (step from 0, number of steps) -> factor of the learning rate


def linear_decay(step: int, steps: int, *, warmup: float = 0.1) -> float:
    """Linear warm-up over the share `warmup` of all steps, times a linear decay to zero; above 0 in every step."""
    return min(1.0, (step + 1) / max(1, round(warmup * steps))) * (steps - step) / steps


def cosine_decay(step: int, steps: int, *, warmup: int = 40, floor: float = 0.05) -> float:
    """Linear warm-up over `warmup` steps, times a cosine from 1 to `floor`."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, (step + 1) / steps)))
    return min(1.0, (step + 1) / warmup) * (floor + (1 - floor) * cosine)


class TrainingStep:
    """AdamW without weight decay on float32 master weights; calling it makes one step.

    Each process calls it with the same batches and computes its share. A gradient is that of the sum of losses; sums
    and numbers of terms are added up over batches and processes before the one is divided by the other. A mean of the
    batches' means would weigh the terms of small batches more.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        groups: Sequence[tuple[Sequence[nn.Parameter], float]],
        *,
        steps: int,
        schedule: Schedule = linear_decay,
        betas: tuple[float, float] = (0.9, 0.999),
        max_grad_norm: float = 1.0,
        seed: int | None = None,
    ) -> None:
        """groups: parameters with their highest learning rate; steps: how many there will be; seed: of dropout."""
        self.model, self.loss, self.steps, self.schedule = model, loss, steps, schedule
        self.max_grad_norm, self.seed, self.number = max_grad_norm, seed, 0
        self.parameters = [parameter for parameters, _ in groups for parameter in parameters]
        # A step of 1e-4 would be rounded away in bfloat16. What is in float32 is its own master: nothing is copied.
        self.masters = [parameter.detach().float() for parameter in self.parameters]
        masters = iter(self.masters)
        self.optimizer = torch.optim.AdamW(
            [{"params": [next(masters) for _ in params], "lr": top, "top": top} for params, top in groups],
            betas=betas,
            weight_decay=0.0,
        )
        self.processes = processes_of(self.masters[0].device)

    def __call__(self, batches: Sequence[Any]) -> float:
        """One step on all `batches`: the mean loss per term. ModelError, on every process, if it is not finite."""
        loss = self._mean_gradient(batches)
        norm = clip_grad_norm_(self.masters, self.max_grad_norm).item()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise ModelError(
                f"step {self.number + 1} of {self.steps}: the loss is {loss} and its gradient's norm {norm}; "
                "lower learning_rate, and check that the base answers at all"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = group["top"] * self.schedule(self.number, self.steps)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._write_back()
        self.number += 1
        return loss

    def _mean_gradient(self, batches: Sequence[Any]) -> float:
        """Give the masters the gradient of the mean loss over all terms of all processes; that mean."""
        total = torch.zeros(2, device=self.masters[0].device)  # sum of losses, number of terms
        for index in range(self.processes.process_index, len(batches), self.processes.num_processes):
            if self.seed is not None:
                seed_dropout(self.seed, self.number, index)
            loss, terms = self.loss(self.model, batches[index])
            loss.backward()
            total += torch.stack([loss.detach().float(), total.new_tensor(float(terms))])
        for parameter, master in zip(self.parameters, self.masters):
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
        if self.processes.num_processes > 1:
            total = self._sum_over_processes(total)
        for master in self.masters:
            if master.grad is not None:
                master.grad /= total[1]
        return (total[0] / total[1]).item()

    def _sum_over_processes(self, total: torch.Tensor) -> torch.Tensor:
        for master in self.masters:
            if master.grad is None:  # a process may be without a batch
                master.grad = torch.zeros_like(master)
        gradients = [master.grad for master in self.masters]
        vector_to_parameters(reduce(parameters_to_vector(gradients), "sum"), gradients)
        return reduce(total, "sum")

    @torch.no_grad()
    def _write_back(self) -> None:
        for parameter, master in zip(self.parameters, self.masters):
            parameter.copy_(master)

    @property
    def learning_rate(self) -> float:
        """That of the last step, in the first group."""
        return self.optimizer.param_groups[0]["lr"]

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here: master weights, moments, the number of steps made."""
        return {"masters": self.masters, "optimizer": self.optimizer.state_dict(), "number": self.number}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of the same parameters."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.number = state["number"]
        for master, value in zip(self.masters, state["masters"], strict=True):
            master.copy_(value)
        self._write_back()


def processes_of(device: torch.device) -> PartialState:
    """The processes that `accelerate launch` or torchrun has started, this one alone without; on CPUs they use gloo.

    Raises ModelError for launchers that would cut the model in pieces: each process here holds the whole of it.
    """
    for name in ("DEEPSPEED", "FSDP"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() in ("1", "true"):
            raise ModelError(
                f"{name} cuts a model in pieces, which this training does not do: launch with ddp.yaml"
            )
    return PartialState(cpu=device.type == "cpu")


def seed_dropout(seed: int, step: int, batch: int) -> None:
    """torch's random state for one batch of a step, whichever process takes it and whatever was done before."""
    parts = [seed, step, batch] if batch else [seed, step]
    torch.manual_seed(int(np.random.SeedSequence(parts).generate_state(1)[0]))


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    scratch = path.with_name(f".{path.name}.new")
    torch.save(dict(state), scratch)
    scratch.replace(path)


def load_state(path: Path) -> dict[str, Any] | None:
    """The checkpoint at `path`, on the CPU; None if there is none. ModelError for a damaged one; no code is run."""
    if not path.exists():
        return None
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (
        OSError,
        RuntimeError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        raise ModelError(
            f"{path}: a damaged checkpoint ({type(error).__name__}); remove the folder {path.parent} to begin anew"
        ) from error
