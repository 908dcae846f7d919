"""Preference tuning: the pairs of the rule, the loss by hand, one reading of a prompt, trainings of the tiny model."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from families import FAMILIES
from tiny import OPTIONS

from lalm_utils.engine.transformers_model import TransformersModel
from lalm_utils.finetuning import lora, lora_files, preference
from lalm_utils.finetuning.idk_data import Example
from lalm_utils.finetuning.lora import Recipe
from lalm_utils.finetuning.lora_data import TrainingSet
from lalm_utils.finetuning.preference import Pair, PairSet
from lalm_utils.load_model import load_model
from lalm_utils.models import ModelError

FAST = Recipe(rank=4, learning_rate=5e-3, batch_size=2)


def samples_of(choices: dict[str, list[int | None]], examples: list[Example]) -> pd.DataFrame:
    """As k_of_n.sample: the options that each item's samples chose, None for a refusal."""
    gold = {e.item.id: e.item.gold for e in examples}
    rows = [
        (
            name,
            number,
            choice,
            "refused" if choice is None else "correct" if choice == gold[name] else "wrong",
        )
        for name, some in choices.items()
        for number, choice in enumerate(some)
    ]
    return pd.DataFrame(rows, columns=["item", "sample", "choice", "outcome"]).astype({"choice": "Int64"})


@pytest.fixture(scope="module")
def pairs(examples) -> list[Pair]:
    wrong = {"item-1": [1, 3, 0, 3, None], "item-4": [0, 2, 2, 1, 1]}
    choices = {e.item.id: wrong.get(e.item.id, [e.item.gold] * 4 + [None]) for e in examples}
    return preference.pairs(examples, samples_of(choices, examples))


def test_pairs_are_those_of_the_rule(examples, pairs):
    assert [(p.item.id, p.target, p.rejected, p.known) for p in pairs] == [
        ("item-0", OPTIONS[0], "IDK", True),
        ("item-1", "IDK", OPTIONS[3], False),  # twice, though 0 was sampled as well; 1 is right
        ("item-2", OPTIONS[2], "IDK", True),
        ("item-3", OPTIONS[3], "IDK", True),
        ("item-4", "IDK", OPTIONS[2], False),  # as often as 1, and sampled before it
        ("item-5", OPTIONS[1], "IDK", True),
    ]


def test_a_wrong_sample_of_a_known_item_is_not_paired(examples):
    (pair,) = preference.pairs(examples[:1], samples_of({"item-0": [0, 0, 0, 2, 2]}, examples))
    assert (pair.target, pair.rejected) == (OPTIONS[0], "IDK")


def test_an_item_to_refuse_without_a_wrong_option_has_no_pair(examples, caplog):
    drawn = samples_of({"item-0": [0], "item-1": [None, 1]}, examples)
    assert [p.item.id for p in preference.pairs(examples[:2], drawn)] == ["item-0"]
    assert "1 of 2 items to refuse left out: no sample names a wrong option" in caplog.text
    with pytest.raises(ValueError, match="no pair in 1 examples: give the samples"):
        preference.pairs(examples[1:2], drawn)


def test_the_loss_by_hand():
    # Gains of 0.5 and -1.5 nats: a margin of 2, at beta 0.1 log(1 + exp(-0.2)).
    logprobs, base = torch.tensor([[-1.0, -4.0], [-3.0, -2.0]]), torch.tensor([[-1.5, -2.5], [-3.0, -2.0]])
    result = preference.dpo_loss(logprobs, base, beta=0.1).tolist()
    assert result == pytest.approx([math.log1p(math.exp(-0.2)), math.log(2)])


@pytest.fixture(params=["packed", "two rows", "generic"])
def either(request, tiny_model, tiny_folder, monkeypatch) -> TransformersModel:
    if request.param == "two rows":  # an attention that takes no mask of its own
        monkeypatch.setattr(preference, "MASKED_ATTENTION", ())
    return tiny_model.with_generic_engine() if request.param == "generic" else tiny_model


def test_replies_in_a_batch_have_the_likelihood_that_each_has_alone(either, tiny_model, pairs):
    data = PairSet(either, pairs)
    with torch.no_grad():
        together = preference.reply_logprobs(either.model, data.batch(range(len(pairs))))
    expected = np.array(tiny_model.option_logprobs(data.prompts))
    np.testing.assert_allclose(together.numpy(), expected, atol=1e-3)
    data.prepare()
    torch.testing.assert_close(data.reference, together, atol=1e-3, rtol=0)


def test_two_replies_share_one_reading_of_their_prompt(tiny_model, pairs):
    packed, whole = (
        PairSet(tiny_model, pairs),
        TrainingSet(tiny_model, pairs),
    )  # the latter learns what is preferred
    rows = packed.batch(range(6))["inputs"]["inputs_embeds"].shape
    assert rows[0] == 6
    assert rows[1] < whole.batch(range(6))["inputs_embeds"].shape[1] + 10, "one prompt and two replies"


def test_the_margin_is_zero_at_the_start_and_a_step_raises_it(tiny_model, pairs, tmp_path):
    seen: list[dict] = []
    path = lora.train(
        tiny_model, pairs, tmp_path / "a", replace(FAST, epochs=5), dataset=PairSet, on_step=seen.append
    )
    assert seen[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    data = PairSet(tiny_model, pairs)
    before = np.array(tiny_model.option_logprobs(data.prompts))
    after = np.array(lora.load_adapter(tiny_model, path).option_logprobs(data.prompts))
    margin = (after - before) @ (1, -1)
    assert margin.min() > 0.5
    assert ((after - before)[:, 0] > 0).mean() > 0.5
    last = preference.dpo_loss(torch.tensor(after), torch.tensor(before)).mean().item()
    assert last < seen[0]["loss"]
    assert lora_files.curve(path)["loss"].iloc[-1] < seen[0]["loss"]


def test_a_step_moves_the_preferred_reply_up_and_the_rejected_down(tiny_model, pairs, tmp_path):
    recipe = replace(FAST, batch_size=6, learning_rate=1e-3)
    path = lora.train(tiny_model, pairs[:1], tmp_path / "a", recipe, dataset=PairSet)
    prompt = PairSet(tiny_model, pairs[:1]).prompts
    (before,), (after,) = (
        each.option_logprobs(prompt) for each in (tiny_model, lora.load_adapter(tiny_model, path))
    )
    assert after[0] > before[0]
    assert after[1] < before[1]


def test_an_interrupted_training_gives_the_same_adapter(tiny_model, pairs, tmp_path):
    recipe = replace(FAST, epochs=2)

    def stop(step) -> None:
        if step["step"] == 4:
            raise KeyboardInterrupt

    whole = lora.train(tiny_model, pairs, tmp_path / "whole", recipe, dataset=PairSet)
    with pytest.raises(KeyboardInterrupt):
        lora.train(tiny_model, pairs, tmp_path / "parts", recipe, dataset=PairSet, on_step=stop, save_every=2)
    parts = lora.train(tiny_model, pairs, tmp_path / "parts", recipe, dataset=PairSet)
    for name in (lora_files.WEIGHTS, lora_files.CURVE):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_the_objective_is_part_of_what_an_adapter_is_known_by(tiny_model, pairs, tmp_path):
    path = lora.train(tiny_model, pairs, tmp_path / "a", FAST, dataset=PairSet)
    facts = lora_files.provenance(path)
    assert (facts["objective"], facts["beta"], facts["idk_share"]) == ("DPO 1", 0.1, 2 / 6)
    assert lora.train(tiny_model, pairs, path, FAST, dataset=PairSet) == path
    others = [replace(pairs[0], rejected=OPTIONS[1]), *pairs[1:]]
    for more, dataset in ((pairs, partial(PairSet, beta=0.2)), (others, PairSet), (pairs, TrainingSet)):
        with pytest.raises(ModelError, match="holds the adapter of another training"):
            lora.train(tiny_model, more, path, FAST, dataset=dataset)


def test_another_family_learns_from_pairs_through_its_own_processor(tmp_path, pairs):
    FAMILIES["audioflamingo3"].save(tmp_path / "model")
    other = load_model(tmp_path / "model", dtype="float32", check=False)
    path = lora.train(other, pairs, tmp_path / "a", replace(FAST, epochs=3), dataset=PairSet)
    curve = lora_files.curve(path)["loss"]
    assert curve.iloc[0] == pytest.approx(math.log(2), abs=1e-4)
    assert curve.iloc[-3:].mean() < curve.iloc[0]


def test_bad_pairs_are_refused(tiny_model, pairs):
    with pytest.raises(ValueError, match="item 'item-0': 'a dog barks' both preferred and rejected"):
        replace(pairs[0], rejected=pairs[0].target)
    with pytest.raises(ValueError, match="item 'item-0': target ' '; a reply has a text"):
        PairSet(tiny_model, [replace(pairs[0], rejected=" ")])
    with pytest.raises(ValueError, match="beta=0: it must be above 0"):
        PairSet(tiny_model, pairs, beta=0)


def test_the_digest_of_a_dataset_of_single_replies_is_what_it_was(tiny_model, examples):
    """Adapters are found again by it: a change would train every one of them anew."""
    from hashlib import sha256

    data = TrainingSet(tiny_model, examples)
    rows = [
        [text, [sha256(e.item.clip.read_bytes()).hexdigest()], e.target]
        for text, e in zip(data.rendered, examples)
    ]
    assert data.digest == sha256(json.dumps(rows).encode()).hexdigest()
