"""R-Tuning: what is learnt, that the score reads the very tokens that were learnt, and that a training moves it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fake_model import FakeModel
from tiny import OPTIONS, idk_examples, save_tiny

from lalm_utils.engine.transformers_model import TransformersModel
from lalm_utils.finetuning import lora, r_tuning
from lalm_utils.finetuning.idk_data import Example
from lalm_utils.finetuning.lora import Recipe
from lalm_utils.finetuning.lora_data import TrainingSet
from lalm_utils.load_model import load_model
from lalm_utils.models import ModelError
from lalm_utils.store import Store


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> TransformersModel:
    return load_model(save_tiny(tmp_path_factory.mktemp("tiny") / "model"), dtype="float32", check=False)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> list[Example]:
    """Six; the second and the fifth are not known."""
    return idk_examples(tmp_path_factory.mktemp("clips"), 6)


def test_the_right_option_is_learnt_everywhere_and_then_whether_it_is_known(labelled):
    result = r_tuning.examples(labelled)
    assert [e.target for e in result[:2]] == [f"{OPTIONS[0]}\nI am sure", f"{OPTIONS[1]}\nI am unsure"]
    assert [(e.item, e.known) for e in result] == [(e.item, e.known) for e in labelled]


@pytest.fixture
def known_words(monkeypatch):
    """Two words that the tiny tokenizer tells apart, in place of those that it does not know."""
    monkeypatch.setattr(r_tuning, "WORDS", (" loud", " quiet"))


def test_the_score_reads_the_tokens_that_were_learnt(model, labelled, known_words):
    """The prompt of the score, with the word after it, is the example to the last token."""
    data = TrainingSet(model, r_tuning.examples(labelled), method=r_tuning.METHOD)
    scorer = Recorder(model)
    with pytest.raises(StopIteration):
        r_tuning.p_sure(
            scorer, [e.item for e in labelled], [e.item.gold for e in labelled], store=AskedOnce()
        )
    for prompt, learnt, example in zip(AskedOnce.prompts, data.prompts, labelled):
        prompt_input, whole = model.ready(prompt), model.ready(learnt)
        word = prompt_input.options[not example.known]
        assert (*prompt_input.ids, *word) == (*whole.ids, *whole.options[0])


class Recorder(FakeModel):
    def __init__(self, model):
        super().__init__()
        self.option_logprobs = model.option_logprobs


class AskedOnce:
    """A store that keeps the prompts and answers nothing."""

    def ask(self, model, prompts, **_):
        AskedOnce.prompts = prompts
        raise StopIteration


def test_a_training_raises_the_score_of_what_is_known_above_that_of_the_rest(
    model, labelled, tmp_path, known_words
):
    recipe = Recipe(rank=4, learning_rate=1e-2, batch_size=3, epochs=8)
    learnt = r_tuning.examples(labelled)
    path = lora.train(model, learnt, tmp_path / "a", recipe, prompt_method=r_tuning.METHOD)
    items, answers = [e.item for e in labelled], [e.item.gold for e in labelled]
    known = np.array([e.known for e in labelled])
    with Store(tmp_path / "s.sqlite") as store:
        p = r_tuning.p_sure(lora.load_adapter(model, path), items, answers, store=store)
        n = len(store)
        again = r_tuning.p_sure(lora.load_adapter(model, path), items, answers, store=store)
    assert p.min() >= 0
    assert p.max() <= 1
    assert p[known].mean() > p[~known].mean() + 0.2
    np.testing.assert_array_equal(p, again)
    assert n == 6


def test_a_failed_prompt_is_named(model, labelled, tmp_path):
    gone = replace(labelled[0].item, clip=tmp_path / "gone.wav")
    with (
        Store(tmp_path / "s.sqlite") as store,
        pytest.raises(ModelError, match="no likelihood or state for item 'item-0'"),
    ):
        r_tuning.p_sure(model, [gone], [0], store=store)
