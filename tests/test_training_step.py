"""One step of the optimiser: its mean, its master weights, its rates, and going on from a saved state."""

from __future__ import annotations

import math
import os
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from lalm_utils.finetuning import training_step
from lalm_utils.finetuning.training_step import (
    TrainingStep,
    cosine_decay,
    linear_decay,
    load_state,
    processes_of,
    save_state,
)
from lalm_utils.models import ModelError

STAGE = {"schedule": cosine_decay, "betas": (0.9, 0.98)}


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def parameter(value: torch.Tensor, dtype: torch.dtype = torch.bfloat16) -> torch.nn.Parameter:
    return torch.nn.Parameter(value.clone().to(dtype))


def linear_loss(parameters, gradients) -> tuple[torch.Tensor, float]:
    """A loss whose gradients are `gradients`."""
    return sum((p * g).sum() for p, g in zip(parameters, gradients)), 1.0


def step_on(groups, **options) -> TrainingStep:
    """A step whose batches are the gradients of all parameters, in order."""
    parameters = [p for some, _ in groups for p in some]
    return TrainingStep(parameters, linear_loss, groups, **(STAGE | options))


def test_a_bfloat16_parameter_follows_the_float32_reference_within_its_rounding():
    start = normal(40, seed=0).to(torch.bfloat16)
    live, reference = parameter(start), parameter(start, torch.float32)
    step = step_on([([live], 1e-3)], steps=200, schedule=partial(cosine_decay, warmup=10))
    plain = torch.optim.AdamW([reference], lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)
    for number in range(1, 61):
        # The same gradient, in the precision that the backward pass has: small and steady, under a norm of 1.
        gradient = (0.02 + 0.01 * normal(40, seed=number)).to(torch.bfloat16)
        reference.grad = gradient.float()
        plain.param_groups[0]["lr"] = (
            1e-3 * min(1, number / 10) * (0.525 + 0.475 * math.cos(math.pi * number / 200))
        )
        step([[gradient]])
        plain.step()
        assert live.grad is None
    assert torch.allclose(step.masters[0], reference, atol=1e-6)
    assert torch.equal(live, step.masters[0].to(torch.bfloat16))
    assert (reference.detach() - start.float()).abs().min() > 0.02


def test_steps_smaller_than_bfloat16_can_show_add_up():
    live = parameter(torch.ones(4))
    step = step_on([([live], 1e-4)], steps=10_000, schedule=partial(cosine_decay, warmup=1))
    for _ in range(100):
        step([[torch.ones(4).bfloat16()]])
    assert live[0].item() == pytest.approx(0.99, abs=0.004)  # a step of 1e-4 alone rounds back to 1


def test_a_float32_parameter_is_its_own_master():
    live = parameter(torch.ones(4), torch.float32)
    step = step_on([([live], 1e-2)], steps=10)
    assert step.masters[0].data_ptr() == live.data_ptr()
    step([[torch.ones(4)]])
    assert live[0] < 1


def test_rates_warm_up_and_cool_down_by_group_and_gradients_are_clipped():
    first, second = parameter(torch.zeros(3)), parameter(torch.zeros(3))
    schedule = partial(cosine_decay, warmup=20)
    step = step_on([([first], 1e-2), ([second], 1e-3)], steps=100, schedule=schedule)
    rates = []
    for _ in range(100):
        step([[torch.full((3,), 100.0).bfloat16()] * 2])
        rates.append([group["lr"] for group in step.optimizer.param_groups])
    rates = np.array(rates)
    assert rates[:, 0] == pytest.approx(10 * rates[:, 1])
    assert rates[0, 0] == pytest.approx(1e-2 / 20, rel=1e-3)
    assert rates[9, 0] == pytest.approx(1e-2 * 0.5 * (0.525 + 0.475 * math.cos(math.pi * 0.1)))
    assert rates[-1, 0] == pytest.approx(0.05 * 1e-2)
    assert rates[:, 0].argmax() == 19
    moment = step.optimizer.state[step.masters[0]]["exp_avg"]
    assert moment.norm() < 1  # of gradients whose joint norm was 245


def test_the_linear_schedule_warms_up_and_ends_above_zero():
    factors = [linear_decay(step, 40, warmup=0.1) for step in range(40)]
    assert factors[:4] == pytest.approx([0.25, 0.5 * 39 / 40, 0.75 * 38 / 40, 37 / 40])
    assert np.argmax(factors) == 3
    assert factors[-1] == pytest.approx(1 / 40)
    assert linear_decay(0, 1, warmup=0.0) == 1


def test_a_parameter_without_gradient_stays():
    used, unused = parameter(torch.ones(3)), parameter(torch.ones(3))
    step = step_on([([used, unused], 1e-2)], steps=10, schedule=partial(cosine_decay, warmup=1))
    step([[torch.ones(3).bfloat16()]])
    assert used[0] < 1
    assert torch.equal(unused, torch.ones(3, dtype=torch.bfloat16))


def test_a_saved_state_restores_masters_moments_and_step_exactly(tmp_path):
    def steps(step: TrainingStep, numbers) -> None:
        for number in numbers:
            step([[normal(20, seed=number).bfloat16()]])

    first, second = parameter(normal(20, seed=99)), parameter(torch.zeros(20))
    schedule = partial(cosine_decay, warmup=5)
    step = step_on([([first], 1e-2)], steps=50, schedule=schedule)
    steps(step, range(7))
    save_state(tmp_path / "state.pt", step.state())
    resumed = step_on([([second], 1e-2)], steps=50, schedule=schedule)
    resumed.restore(load_state(tmp_path / "state.pt"))
    assert resumed.number == 7
    assert torch.equal(second, first)
    assert torch.equal(resumed.masters[0], step.masters[0])
    steps(step, range(7, 12))
    steps(resumed, range(7, 12))
    assert torch.equal(resumed.masters[0], step.masters[0])
    assert torch.equal(second, first)
    assert load_state(tmp_path / "none.pt") is None


class Bomb:
    """What runs a command where a pickle is read carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("damage", ["cut", "bomb", "empty"])
def test_a_damaged_checkpoint_is_named_and_runs_no_code(tmp_path, damage):
    path = tmp_path / "state.pt"
    save_state(path, {"number": 3, "masters": [torch.ones(50)]})
    content = {
        "cut": path.read_bytes()[:1000],
        "bomb": pickle.dumps({"number": Bomb(tmp_path / "exploded")}),
        "empty": b"",
    }[damage]
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"state\.pt: a damaged checkpoint .*; remove the folder"):
        load_state(path)
    assert not (tmp_path / "exploded").exists()


def masked_mean(model, batch) -> tuple[torch.Tensor, int]:
    """Squared errors of the places that are not masked, and their number."""
    inputs, mask = batch
    return ((model(inputs) ** 2)[mask]).sum(), int(mask.sum())


def gradient(batches) -> tuple[float, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
    step = TrainingStep(model, masked_mean, [(list(model.parameters()), 1e-3)], steps=1)
    loss = step._mean_gradient(batches)
    return loss, torch.cat([master.grad.flatten() for master in step.masters])


def test_the_loss_is_the_mean_over_all_terms_however_they_are_cut_into_batches():
    inputs = normal(8, 3, seed=1)
    mask = torch.tensor([[True, row % 3 == 0] for row in range(8)])
    loss, whole = gradient([(inputs, mask)])
    for size in (4, 2, 1):
        cut = [(inputs[i : i + size], mask[i : i + size]) for i in range(0, 8, size)]
        mean, result = gradient(cut)
        assert mean == pytest.approx(loss, rel=1e-6)
        torch.testing.assert_close(result, whole, atol=1e-6, rtol=1e-5)
    means = [gradient([part])[0] for part in cut]
    assert abs(np.mean(means) - loss) > 1e-3, "a mean of means differs"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_refused_before_anything_changes(value):
    live = parameter(torch.ones(3), torch.float32)
    step = step_on([([live], 1e-2)], steps=7)
    with pytest.raises(ModelError, match=r"step 1 of 7: the loss is (nan|inf) .*lower learning_rate"):
        step([[torch.full((3,), value)]])
    assert torch.equal(live, torch.ones(3))


def test_dropout_depends_on_step_and_batch_alone():
    def mask(number: int, batch: int) -> list[float]:
        training_step.seed_dropout(5, number, batch)
        return torch.rand(4).tolist()

    with torch.random.fork_rng(devices=[]):
        masks = {(number, batch): mask(number, batch) for number in range(3) for batch in range(3)}
        assert mask(1, 2) == masks[1, 2]
    assert len({tuple(values) for values in masks.values()}) == 9


@pytest.mark.parametrize("name", ["DEEPSPEED", "FSDP"])
def test_launchers_that_cut_a_model_in_pieces_are_refused(monkeypatch, name):
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(ModelError, match=f"{name} cuts a model in pieces"):
        processes_of(torch.device("cpu"))
