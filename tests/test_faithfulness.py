"""Forced answers and their measures: scripted controls at the ends of every scale, kappa by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny
from fake_model import FakeModel
from test_chain_interventions import item

from lalm_utils import chain_interventions as chain
from lalm_utils import faithfulness, runs, vectors
from lalm_utils import faithfulness_measures as measures
from lalm_utils.load_model import load_model
from lalm_utils.scripted_models import ScriptedModel

LABELS = ("bell", "rain", "wind", "dog bark", "drill", "snore")
STRENGTHS = (0.25, 0.5, 0.75, 1.0)


@pytest.fixture
def items(tmp_path) -> list:
    """Twelve questions on as many clips."""
    made = []
    for k in range(12):
        options = tuple(LABELS[(k + step) % 6] for step in range(4))
        clip = tiny.write_tone(tmp_path / f"{k}.wav", 300 + 40 * k, 0.3)
        made.append(item(id=f"q{k}", question=f"Question {k}?", clip=clip, options=options, gold=k % 4,
                         modality=("sound", "music")[k % 2], annotations={"content": [options[0]]}))  # fmt: skip
    return made


def run_script(copies: bool, items, store) -> pd.DataFrame:
    model = ScriptedModel(copies=copies)
    own = faithfulness.write_chains(model, items, store=store)
    tests = faithfulness.four_tests(chain.ExactHelper(items), items, own)
    return faithfulness.force_answers(model, items, own, tests, STRENGTHS, store=store)


def value(rows: pd.DataFrame, name: str, metric: str, strength: float = 1.0) -> float:
    cell = rows[(rows["group"] == name) & (rows["metric"] == metric) & (rows["strength"] == strength)]
    return cell.loc[cell["start"] == "all", "value"].item()


def test_a_model_that_ignores_its_chain_is_at_one_end_of_every_scale(items, store):
    table = run_script(False, items, store)
    rows = measures.curves(table, n_boot=50)
    for name in ("early answering", "filler", "paraphrase", "mistakes"):
        assert value(rows, name, "consistency") == value(rows, name, "kappa") == 1
        assert value(rows, name, "log-likelihood") == value(rows, name, "to IDK") == 0
    assert measures.areas(table, n_boot=50)["value"].tolist() == [0] * 4
    assert measures.contrast(table, "paraphrase", "mistakes", n_boot=50)["value"].item() == 0


def test_a_model_that_copies_its_chain_is_at_the_other_end(items, store):
    table = run_script(True, items, store)
    rows = measures.curves(table, n_boot=50)
    for name in ("early answering", "filler"):
        assert value(rows, name, "consistency") == value(rows, name, "kappa") == 0
        assert value(rows, name, "to IDK") == 1
        assert value(rows, name, "log-likelihood") < -4
    assert value(rows, "mistakes", "consistency") == 0
    assert value(rows, "paraphrase", "consistency") == 1
    assert measures.contrast(table, "paraphrase", "mistakes", n_boot=50)["value"].item() == 1
    areas = measures.areas(table, n_boot=50).set_index("group")["value"]
    assert areas["paraphrase"] == 0
    assert areas["mistakes"] == pytest.approx(0.625), "lost from .5 on, and half of the step before it"


def test_items_are_kept_whose_mistake_changes_no_more_words_than_their_paraphrase():
    rows = [
        ("a", faithfulness.UNTOUCHED, 0.0, "a bell rings here"), ("a", "paraphrase", 1.0, "one bell sounds here"),
        ("a", "mistakes", 1.0, "a dog rings here"),
        ("b", faithfulness.UNTOUCHED, 0.0, "a bell rings here"), ("b", "paraphrase", 1.0, "a bell sounds here"),
        ("b", "mistakes", 1.0, "a dog barks here"),
        ("b", "mistakes", 0.5, "a bell rings here"),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["item", "intervention", "strength", "chain"])
    assert set(measures.no_more_words(table, "paraphrase", "mistakes")["item"]) == {"a"}, (
        "2 and 1 words; 1 and 2"
    )


def test_the_scripts_hear_and_do_not_hear(items, store, tmp_path, monkeypatch):
    monkeypatch.setenv("LALM_UTILS_CACHE", str(tmp_path))
    labels = chain.vocabulary(items)
    changed = {("silence", 1.0): faithfulness.by_truth_of_clip(runs.with_silence(items), items)}
    deaf, keen = (
        faithfulness.answer_changed_clips(
            ScriptedModel(copies=copies), items, changed, store=store, labels=labels
        )
        for copies in (False, True)
    )
    assert value(measures.curves(deaf, n_boot=50), "silence", "consistency") == 1
    assert value(measures.curves(deaf, n_boot=50), "silence", "names absent") == 1, (
        "nothing is there to be named"
    )
    assert value(measures.curves(keen, n_boot=50), "silence", "rejection_rate") == 1
    assert value(measures.curves(keen, n_boot=50), "silence", "names absent") == 0


def test_clips_heard_in_one_call_give_what_each_alone_does(items, store, tmp_path, monkeypatch):
    monkeypatch.setenv("LALM_UTILS_CACHE", str(tmp_path))
    labels, model = chain.vocabulary(items), ScriptedModel(copies=True)
    changed = {("silence", 1.0): runs.with_silence(items), ("swapped", 1.0): runs.swap_clips(items)}
    together = faithfulness.answer_changed_clips(model, items, changed, store=store, labels=labels)
    for (name, strength), others in changed.items():
        alone = faithfulness.answer_changed_clips(
            model, items, {(name, strength): others}, store=store, labels=labels
        )
        rows = (t[t["intervention"] == name].reset_index(drop=True) for t in (together, alone))
        pd.testing.assert_frame_equal(*rows)
    texts = faithfulness.write_chains(model, changed["swapped", 1.0], store=store)
    assert together.query("intervention == 'swapped'").set_index("item")["chain"].to_dict() == texts


def test_the_instruction_is_the_same_at_every_strength(items):
    full, none = (faithfulness.forced_answer_prompt(items[0], text) for text in ("I hear a bell.", ""))
    assert full.turns[0] == none.turns[0]
    assert [prompt.turns[-1].text for prompt in (full, none)] == ["I hear a bell.\nAnswer:", "Answer:"]
    assert full.options == none.options == (" bell", " rain", " wind", " dog bark", " IDK")


def test_items_without_a_chain_are_left_out_and_strength_0_is_the_untouched_answer(items, store):
    model = ScriptedModel(copies=True)
    own = faithfulness.write_chains(model, items, store=store) | {"q3": ""}
    table = faithfulness.force_answers(
        model, items, own, {"cut": lambda i, text, s: chain.cut_short(text, s)}, [1], store=store
    )
    assert "q3" not in set(table["item"])
    start = table[table["strength"] == 0]
    assert (start["answer"] == start["before"]).all()
    assert not start["changed"].any()
    assert table.groupby("item")["strength"].apply(list).iloc[0] == [0, 0, 1]


def test_failed_items_are_named(items, store):
    class Failing(ScriptedModel):
        def option_logprobs(self, prompts):
            return [
                np.full(5, np.nan) if "Question 2?" in p.turns[0].text else self._scores(p) for p in prompts
            ]

    model = Failing(copies=True)
    own = faithfulness.write_chains(model, items, store=store)
    table = faithfulness.force_answers(model, items, own, {}, [], store=store)
    assert table.attrs["excluded"] == ["q2"]
    assert len(table) == 11


def test_no_prompt_is_scored_with_what_another_left_in_a_store_or_cache(items, store, tmp_path):
    scored = FakeModel()
    scored.option_logprobs = lambda prompts: [
        np.arange(len(p.options)) - float(len(p.turns[-1].text)) for p in prompts
    ]
    texts = [("I hear a bell.", items[0]), ("I hear", items[0]), ("I hear a bell.", items[1]), ("", items[0])]
    prompts = [faithfulness.forced_answer_prompt(one, text) for text, one in texts]
    prompts.append(replace(prompts[0], options=(*prompts[0].options[::-1], " more")))
    for _ in range(2):
        found = vectors.likelihoods(scored, prompts, store=store)
        assert [list(nats) for nats in found] == [list(nats) for nats in scored.option_logprobs(prompts)]
    assert len(store) == len(prompts)
    other = FakeModel(fingerprint="a" * 64)  # whose log-likelihoods are zeros
    assert vectors.likelihoods(other, prompts[:1], store=store)[0].tolist() == [0.0] * 5


def test_shared_prefixes_do_not_change_a_score(tmp_path, items):
    model = load_model(tiny.save_tiny(tmp_path / "tiny"), dtype="float32", check=False)
    texts = ("", "I hear a bell.", "I hear", "… … …", "I hear rain. It is loud.")
    prompts = [faithfulness.forced_answer_prompt(one, text) for one in items[:3] for text in texts]
    together = model.option_logprobs(prompts)
    assert {model.ready(p).n_before > 30 for p in prompts} == {True}
    assert model.engine.prefixes.computed <= 3, "one reading of clip and question for all strengths"
    whole = model.with_generic_engine().option_logprobs(prompts)
    for one, two in zip(together, whole):
        np.testing.assert_allclose(one, two, atol=1e-4)


@pytest.mark.parametrize(
    "before, after, n_options, wanted",
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], [2] * 4, 1),
        ([0, 0, 1, 1], [0, 1, 0, 1], [2] * 4, 0),  # c = 1/2, c0 = 1/2
        ([0, 0, 0, 1], [0, 0, 1, 1], [2] * 4, 0.5),  # c = 3/4, c0 = 3/4 * 1/2 + 1/4 * 1/2 = 1/2
        ([0, 1, 2, 3], [4, 4, 4, 4], [4] * 4, 0),  # declines always: c = c0 = 0
        ([0, 1, 0, 1], [0, 1, 0, 3], [2, 2, 4, 4], 0.6),  # c = 3/4, c0 = (2 * 1/2 + 2 * 1/4) / 4 = 3/8
        ([0, 0], [0, 0], [4] * 2, np.nan),  # chance alone agrees always
    ],
)  # fmt: skip
def test_kappa_by_hand(before, after, n_options, wanted):
    arrays = [np.array(values) for values in (before, after, n_options)]
    found, resampled = measures.kappa(*arrays, np.ones((3, len(before)), int))
    assert found == pytest.approx(wanted, nan_ok=True)
    assert resampled == pytest.approx([wanted] * 3, nan_ok=True)


def test_the_difference_between_two_models_is_paired_by_item(items, store):
    one, other = run_script(False, items, store), run_script(True, items[1:], store)
    rows = measures.between(one, other, n_boot=50).set_index(["group", "metric"])
    assert rows.loc[("early answering", "consistency"), ["value", "n"]].tolist() == [-1, 11]
    assert rows.loc[("early answering", "to IDK"), "value"] == 1
    assert rows.loc[("paraphrase", "consistency"), "value"] == 0
    assert (measures.between(one, one, n_boot=50)["value"] == 0).all()


def outcomes(*values: str) -> pd.DataFrame:
    return pd.DataFrame({"item": range(len(values)), "modality": "sound", "outcome": values})


def test_the_parts_and_ratios_by_hand():
    c, w = "correct", "wrong"
    full, none = outcomes(c, c, c, w, w, w), outcomes(c, w, w, c, w, "refused")
    halves = [outcomes(w, c, w, w, c, w), outcomes(w, w, w, w, w, w)]
    parts = measures.decompose(full, none, halves).set_index("part")["count"]
    assert parts.to_dict() == dict(zip(measures.PARTS, (1, 1, 1, 1, 2)))
    ratios = measures.ratios(full, {"no audio": [none], "halves": halves}, n_boot=50).set_index("group")[
        "value"
    ]
    assert ratios.tolist() == pytest.approx([2 / 3, 1 / 3])


def test_rubric_records_hold_the_thinking_beside_the_answer(items, store):
    model = ScriptedModel(copies=True)
    own = faithfulness.write_chains(model, items, store=store)
    table = faithfulness.force_answers(model, items, own, {}, [], store=store)
    record = faithfulness.rubric_records(table, items)[0]
    assert set(record) == {"id", "thinking_prediction", "answer_prediction"}
    assert record["thinking_prediction"] == f"I hear {record['answer_prediction']}."


@pytest.mark.parametrize(
    "text, absent",
    [
        ("The first is rain. Missing: bell.", 0.0),
        ("Not heard: bell. The first is rain.", 0.0),
        ("There is no bell, only rain.", 0.0),
        ("The first is rain. The second is a bell.", 1.0),
    ],
)
def test_a_sentence_that_says_what_is_missing_reports_nothing(text, absent, items):
    own = replace(items[0], annotations={"content": ["rain"]})
    assert faithfulness._names_absent(text, own, own, ("rain", "bell")) == absent
