"""The miniature model as it is committed: its files, and on a few items that it hears, answers and declines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

from lalm_utils import annotations, benchmarks, metrics, runs, tables
from lalm_utils.items import Item
from lalm_utils.load_model import load_model
from lalm_utils.mini.benchmark.plan import plan
from lalm_utils.mini.model import WEIGHTS
from lalm_utils.mini.training import acceptance, acceptance_forms
from lalm_utils.mini.training.rationales import rationale
from lalm_utils.store import Store

FEW = 45
ADAPTER = WEIGHTS / "adapter_model.safetensors"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("store") / "replies.sqlite") as replies:
        yield replies


@pytest.fixture(scope="module")
def model():
    return load_model("mini")


def accuracy(table) -> float:
    return tables.values(metrics.evaluate(table), "accuracy").iloc[-1]["value"]


def test_the_committed_weights_are_small_half_precision_safetensors():
    assert ADAPTER.stat().st_size <= 20e6
    with safe_open(ADAPTER, "pt") as file:
        assert {str(file.get_slice(name).get_dtype()) for name in file.keys()} == {"F16"}  # noqa: SIM118
    assert {path.suffix for path in WEIGHTS.iterdir()} <= {".safetensors", ".json", ".md"}


def test_the_adapter_loads_with_peft_as_it_stands():
    from peft import PeftModel

    from lalm_utils.mini.model.base import load_base

    adapted = PeftModel.from_pretrained(load_base()[0], WEIGHTS)
    assert adapted.peft_config["default"].rank_pattern


def test_the_model_card_tells_every_measured_claim():
    card = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    rows = json.loads((WEIGHTS / "acceptance.json").read_text(encoding="utf-8"))
    assert {row["claim"] for row in rows} >= {"accuracy", "control accuracy", "audio type named right"}
    for row in rows:
        if row["bound"] and row["claim"] != "accuracy by task":
            assert f"| {row['claim']} | {row['group']} | {row['value']:.3f} " in card, row
            if row["met"] is False:
                assert "missed" in card


@pytest.mark.slow
def test_the_model_hears_what_it_answers(model, store):
    items = benchmarks.load("mini", split="dev", n=FEW)
    plain = runs.ask(model, items, store=store)
    silent = runs.ask(model, runs.with_silence(items), store=store, label="silence")
    assert (plain["outcome"] != "unreadable").mean() >= 0.9
    assert accuracy(plain) >= plain["chance"].mean() + 0.1
    assert accuracy(plain) >= accuracy(silent) + 0.1


@pytest.mark.slow
def test_acceptance_measures_every_claim_on_a_few_items(model, store):
    frame = acceptance.measure(model, store, n=12)
    committed = json.loads((WEIGHTS / "acceptance.json").read_text(encoding="utf-8"))
    claims = frame[frame["claim"] != "accuracy by task"]
    expected = [(r["claim"], r["group"]) for r in committed if r["claim"] != "accuracy by task"]
    assert list(zip(claims["claim"], claims["group"])) == expected


# ---- the forms of asking


def planned_item(planned) -> Item:
    spec = planned.spec
    return Item(
        id=planned.id, benchmark="mini", split=planned.split, modality=planned.modality, question=spec.question,
        options=spec.options, gold=spec.gold, clip=Path("x.wav"), task=planned.task,
        annotations={**spec.truth, "content": list(spec.truth.get("content", ()))},
    )  # fmt: skip


def test_the_facts_of_true_chains_are_right_and_those_of_another_items_chain_are_not():
    planned = [p for p in plan("train", size=300) if p.task in acceptance_forms.LABELLED]
    items = [planned_item(p) for p in planned]
    vocabulary = {p.modality: acceptance_forms.vocabulary_of(items, p.modality) for p in planned}
    chains = [rationale(p, np.random.default_rng(k), p.spec.options) for k, p in enumerate(planned)]
    result = [
        acceptance_forms.labels_named(f"{chain}\nAnswer: bell", vocabulary[p.modality])
        for p, chain in zip(planned, chains)
    ]
    truth = [acceptance_forms.truth_of(item) for item in items]
    wrong = [(p.task, f, t) for p, f, t in zip(planned, result, truth) if not acceptance_forms._same(f, t)]
    assert len(planned) > 140
    assert not wrong, wrong[:5]
    assert sum(acceptance_forms._same(f, t) for f, t in zip(result[1:], truth)) <= 5


def test_a_false_note_states_one_wrong_option_and_not_the_right_one():
    items = [planned_item(p) for p in plan("dev")]
    cases = [(item, false) for item in items if (false := acceptance_forms.false_note(item))]
    assert len(cases) > 80
    for item, (_, text, wrong) in cases:
        stated = annotations.labels_in(text, item.options)
        assert item.options[wrong] in stated
        assert item.options[item.gold] not in stated


def run_of(outcomes: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"outcome": outcomes, "modality": ["sound", "music"] * (len(outcomes) // 2)})


def test_a_gain_is_paired_and_clear_only_with_its_interval():
    before, after = run_of(["wrong"] * 40), run_of(["correct"] * 8 + ["wrong"] * 32)
    gained = acceptance_forms.difference("x", "y", before, after, clear=True)
    assert (gained["value"], gained["n"], gained["met"]) == (0.2, 40, True)
    assert 0 < gained["low"] < 0.2 < gained["high"]
    few = acceptance_forms.difference("x", "y", before, run_of(["correct"] + ["wrong"] * 39), clear=True)
    assert not few["met"]
    assert not acceptance_forms.difference("x", "y", after, before, least=-0.02)["met"]
