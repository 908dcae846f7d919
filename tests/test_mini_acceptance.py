"""The miniature model as it is committed: its files, and on a few items that it hears, answers and declines."""

from __future__ import annotations

import json

import pytest
from safetensors import safe_open

from lalm_utils import benchmarks, metrics, runs, tables
from lalm_utils.load_model import load_model
from lalm_utils.mini.model import WEIGHTS
from lalm_utils.mini.training import acceptance
from lalm_utils.store import Store

FEW = 90
ADAPTER = WEIGHTS / "adapter_model.safetensors"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("store") / "replies.sqlite") as opened:
        yield opened


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
    asked = benchmarks.load("mini", split="dev", n=FEW)
    plain = runs.ask(model, asked, store=store)
    silent = runs.ask(model, runs.with_silence(asked), store=store, label="silence")
    assert (plain["outcome"] != "unreadable").mean() >= 0.9
    assert accuracy(plain) >= plain["chance"].mean() + 0.1
    assert accuracy(plain) >= accuracy(silent) + 0.1


@pytest.mark.slow
def test_acceptance_measures_every_claim_on_a_few_items(model, store):
    frame = acceptance.measure(model, store, n=24)
    committed = json.loads((WEIGHTS / "acceptance.json").read_text(encoding="utf-8"))
    kept = frame[frame["claim"] != "accuracy by task"]
    wanted = [(r["claim"], r["group"]) for r in committed if r["claim"] != "accuracy by task"]
    assert list(zip(kept["claim"], kept["group"])) == wanted
