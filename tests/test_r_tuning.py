"""R-Tuning: what is learnt, that the score reads the very tokens that were learnt, and that a training moves it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fake_model import FakeModel
from tiny import OPTIONS

from lalm_utils.finetuning import lora, r_tuning
from lalm_utils.finetuning.lora import Recipe
from lalm_utils.finetuning.lora_data import TrainingSet
from lalm_utils.models import ModelError
from lalm_utils.store import Store


def test_the_right_option_is_learnt_everywhere_and_then_whether_it_is_known(examples):
    result = r_tuning.examples(examples)
    assert [e.target for e in result[:2]] == [f"{OPTIONS[0]}\nI am sure", f"{OPTIONS[1]}\nI am unsure"]
    assert [(e.item, e.known) for e in result] == [(e.item, e.known) for e in examples]


@pytest.fixture
def known_words(monkeypatch):
    """Two words that the tiny tokenizer tells apart, in place of those that it does not know."""
    monkeypatch.setattr(r_tuning, "WORDS", (" loud", " quiet"))


def test_the_score_reads_the_tokens_that_were_learnt(tiny_model, examples, known_words):
    """The prompt of the score, with the word after it, is the example to the last token."""
    data = TrainingSet(tiny_model, r_tuning.examples(examples), method=r_tuning.METHOD)
    scorer = Recorder(tiny_model)
    with pytest.raises(StopIteration):
        r_tuning.p_sure(
            scorer, [e.item for e in examples], [e.item.gold for e in examples], store=AskedOnce()
        )
    for prompt, learnt, example in zip(AskedOnce.prompts, data.prompts, examples):
        prompt_input, whole = tiny_model.ready(prompt), tiny_model.ready(learnt)
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
    tiny_model, examples, tmp_path, known_words
):
    recipe = Recipe(rank=4, learning_rate=1e-2, batch_size=3, epochs=8)
    learnt = r_tuning.examples(examples)
    path = lora.train(tiny_model, learnt, tmp_path / "a", recipe, prompt_method=r_tuning.METHOD)
    items, answers = [e.item for e in examples], [e.item.gold for e in examples]
    known = np.array([e.known for e in examples])
    with Store(tmp_path / "s.sqlite") as store:
        p = r_tuning.p_sure(lora.load_adapter(tiny_model, path), items, answers, store=store)
        n = len(store)
        again = r_tuning.p_sure(lora.load_adapter(tiny_model, path), items, answers, store=store)
    assert p.min() >= 0
    assert p.max() <= 1
    assert p[known].mean() > p[~known].mean() + 0.2
    np.testing.assert_array_equal(p, again)
    assert n == 6


def test_a_failed_prompt_is_named(tiny_model, examples, tmp_path):
    gone = replace(examples[0].item, clip=tmp_path / "gone.wav")
    with (
        Store(tmp_path / "s.sqlite") as store,
        pytest.raises(ModelError, match="no likelihood or state for item 'item-0'"),
    ):
        r_tuning.p_sure(tiny_model, [gone], [0], store=store)
