"""A fine-tuning step by step: the recipe, the optimiser, and all that going on after an interruption needs.

In: a model with LoRA layers in place, and a training set. Out: learnt layers and the curve. It knows neither
files nor peft.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from lalm_utils.engine.transformers_model import TransformersModel
from lalm_utils.finetuning.lora_data import Collator, TrainingSet, accumulate_gradient, schedule
from lalm_utils.models import ModelError

# peft's regular expression over modules. A list of names would hit the audio tower's projections as well.
LANGUAGE_MODEL = r".*\blanguage_model\b.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
LAST = 10  # steps that the final loss is the mean of
Step = dict[str, float]  # step (from 1), loss (nats per answer token), learning_rate, examples (seen so far)


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
    batch_size: int = 8  # examples a pass
    accumulate: int = 1  # passes a step
    max_grad_norm: float = 1.0
    warmup: float = 0.1  # share of all steps
    seed: int = 0  # of the initial weights, the order and dropout
    targets: str = LANGUAGE_MODEL

    def __post_init__(self) -> None:
        rules = {
            "at least 1": ("rank", "epochs", "batch_size", "accumulate"),
            "above 0": ("alpha", "learning_rate", "max_grad_norm"),
            "in [0, 1)": ("dropout", "warmup"),
        }
        holds = {
            "at least 1": lambda v: v >= 1,
            "above 0": lambda v: v > 0,
            "in [0, 1)": lambda v: 0 <= v < 1,
        }
        for rule, names in rules.items():
            for name in names:
                if not holds[rule](getattr(self, name)):
                    raise ValueError(f"{name}={getattr(self, name)}: it must be {rule}")


class Run:
    """A training under way: LoRA weights, optimiser, and the curve, whose length is the number of steps done."""

    def __init__(self, model: TransformersModel, lora: nn.Module, data: TrainingSet, recipe: Recipe) -> None:
        self.model, self.data, self.recipe = model.model, data, recipe
        self.collate = Collator(model)
        self.weights = {name: p for name, p in lora.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(self.weights.values(), weight_decay=0.0)
        how = {name: getattr(recipe, name) for name in ("batch_size", "accumulate", "epochs", "seed")}
        self.steps = schedule(data.lengths, **how)
        self.curve: list[Step] = []
        self.seconds = 0.0

    def step(self) -> Step:
        """One step of the optimiser, which adds a row to the curve. ModelError if the loss is not finite."""
        begun, number = time.monotonic(), len(self.curve)
        seed_step(self.recipe, number)
        batches = [[self.data[place] for place in places] for places in self.steps[number]]
        loss = accumulate_gradient(self.model, self.collate, batches)
        norm = nn.utils.clip_grad_norm_(self.weights.values(), self.recipe.max_grad_norm).item()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise ModelError(
                f"step {number + 1} of {len(self.steps)}: the loss is {loss} and its gradient's norm {norm}; "
                "lower learning_rate, and check that the base answers at all"
            )
        rate = rate_at(self.recipe, number, len(self.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        seen = (self.curve[-1]["examples"] if self.curve else 0) + sum(map(len, batches))
        self.curve.append({"step": number + 1, "loss": loss, "learning_rate": rate, "examples": seen})
        self.seconds += time.monotonic() - begun
        return self.curve[-1]

    def go_on_from(self, found: tuple[dict[str, torch.Tensor], dict[str, Any]] | None) -> None:
        """Take up a checkpoint, if there is one."""
        if found is None:
            return
        tensors, state = found
        with torch.no_grad():
            for name, parameter in self.weights.items():
                parameter.copy_(tensors[name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.curve, self.seconds = state["curve"], state["seconds"]

    def state(self) -> dict[str, Any]:
        """All but the weights that going on needs."""
        return {"optimizer": self.optimizer.state_dict(), "curve": self.curve, "seconds": self.seconds}

    @property
    def result(self) -> dict[str, Any]:
        """What came of it, for the provenance."""
        return result_of(self.curve, self.seconds)


def seed_step(recipe: Recipe, number: int, rank: int = 0) -> None:
    """torch's random state for step `number`, of the step alone, so that dropout is the same after an
    interruption; every other `rank` has masks of its own."""
    parts = [recipe.seed, number, rank] if rank else [recipe.seed, number]
    torch.manual_seed(int(np.random.SeedSequence(parts).generate_state(1)[0]))


def result_of(curve: list[Step], seconds: float) -> dict[str, Any]:
    """What came of a training, for its provenance."""
    last = [row["loss"] for row in curve[-LAST:]]
    return {
        "steps": len(curve),
        "seconds": round(seconds, 3),
        "final_loss": float(np.mean(last)),
        "final_loss_is": f"mean of the last {len(last)} steps",
    }


def rate_at(recipe: Recipe, number: int, steps: int) -> float:
    """The learning rate of step `number`, from 0; above 0 in every step."""
    warm = min(1.0, (number + 1) / max(1, round(recipe.warmup * steps)))
    return recipe.learning_rate * warm * (steps - number) / steps
