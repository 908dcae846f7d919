"""Scores of confidence on a model whose likelihoods and replies are known: cases worked by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from fake_model import FakeModel

from lalm_utils import confidence
from lalm_utils.items import Item
from lalm_utils.models import ModelError

pytestmark = pytest.mark.usefixtures("clip_file")
RNG = np.random.default_rng(4)
OPTIONS = ("bell", "rain", "wind", "horn")


class Scorer(FakeModel):
    """Prefers the first option by position, and "rain" by content; `logits` and states are of the same questions."""

    def option_logprobs(self, prompts):
        self.scored = prompts
        return [
            np.array([float(o == "rain") + 0.5 * (i == 0) for i, o in enumerate(p.options)]) for p in prompts
        ]

    def first_logits(self, prompts):
        return np.array([[0.0, 0.0, 0.0, 0.0], [100.0, 0.0, 0.0, 0.0]])[: len(prompts)]

    def last_hidden_states(self, prompts):
        return np.ones((len(prompts), 3), np.float32)


def item(number: int = 0, options: tuple[str, ...] = OPTIONS) -> Item:
    return Item(
        id=f"i{number}", clip=Path("clip.wav"), question=f"What is it, {number}?", options=options, gold=1,
        modality="sound", benchmark="none", split="test",
    )  # fmt: skip


def test_scores_of_probabilities_by_hand():
    p = confidence.probabilities([np.log([0.5, 0.25, 0.25]), np.log([0.9, 0.1])])
    assert confidence.top(p) == pytest.approx([0.5, 0.9])
    assert confidence.margin(p) == pytest.approx([0.25, 0.8])
    assert confidence.entropy(p)[0] == pytest.approx(0.5 * math.log(0.5) + 0.5 * math.log(0.25))


def test_length_normalisation_may_prefer_another_option():
    logprobs, sizes = [np.array([-2.0, -3.0])], [np.array([1, 3])]
    assert [p.argmax() for p in confidence.probabilities(logprobs)] == [0]
    assert [p.argmax() for p in confidence.probabilities(logprobs, lengths=sizes)] == [1]


def test_rotation_averages_the_positions_out(store):
    (p,) = confidence.mean_over_rotations(Scorer(), [item()], store=store)
    assert p.sum() == pytest.approx(1)
    assert p[[0, 2, 3]] == pytest.approx([p[0]] * 3)  # the first position's advantage is gone
    assert p.argmax() == 1


def test_an_option_that_declines_is_rotated_too(store):
    with_idk = Item(**vars(item()) | {"options": (*OPTIONS, "I do not know"), "declining": 4})
    (p,) = confidence.mean_over_rotations(Scorer(), [with_idk], store=store)
    assert len(p) == 5
    assert p.sum() == pytest.approx(1)


def test_items_of_few_options_are_rotated_less(store):
    few, many = confidence.mean_over_rotations(Scorer(), [item(0, ("bell", "rain")), item(1)], store=store)
    assert (few.sum(), many.sum()) == pytest.approx((1, 1))


def test_first_token_entropy_runs_from_uniform_to_sure(store):
    assert confidence.first_token_entropy(Scorer(), [item(), item(1)], store=store) == pytest.approx([-1, 0])


@pytest.mark.parametrize("score", [confidence.first_token_entropy, confidence.hidden_states])
def test_a_model_without_an_inside_is_refused(score, store):
    with pytest.raises(ModelError, match=r"fake \(FakeModel\) has no .*load the weights with load_model"):
        score(FakeModel(), [item()], store=store)


def test_samples_agreement_and_semantic_entropy(store):
    replies = ["rain", "Answer: rain", "bell", "IDK", "??"]
    model = FakeModel(lambda text, sample: replies[sample])
    (choices,) = confidence.samples(model, [item()], store=store, n=5)
    assert choices.tolist() == [1, 1, 0, -1, -2]
    assert confidence.agreement(choices[None], [1]) == pytest.approx([2 / 5])
    # clusters of 2, 1, 1 and 1
    assert confidence.semantic_entropy(choices[None]) == pytest.approx(
        [0.4 * math.log(0.4) + 0.6 * math.log(0.2)]
    )
    assert confidence.semantic_entropy(np.full((1, 4), -2)) == pytest.approx([-math.log(4)])


def test_p_true_shows_the_answer_and_p_idk_adds_an_option(store):
    model = Scorer()
    assert confidence.p_true(model, [item()], [3], store=store) == pytest.approx([1 / (1 + math.exp(-0.5))])
    assert "Proposed answer: horn" in model.scored[0].turns[-1].text
    (sure,) = confidence.p_idk(model, [item()], store=store)
    assert model.scored[0].options == (*OPTIONS, "IDK")
    assert sure == pytest.approx(1 - 1 / (math.exp(0.5) + math.e + 3))


@pytest.mark.parametrize(
    "reply, value",
    [("85", 0.85), ("85 %", 0.85), ("I say 7.5%.", 0.075), ("very", 0), ("400", 0), ("100", 1)],
)
def test_a_stated_confidence_is_read_or_zero(reply, value, store):
    model = FakeModel(lambda *_: reply)
    assert confidence.stated_confidence(model, [item()], [0], store=store) == pytest.approx([value])


def test_contrast_and_agreement_under_changed_clips():
    with_clip, without_clip = [np.log([0.8, 0.2])], [np.log([0.4, 0.6])]
    assert confidence.contrast(with_clip, without_clip) == pytest.approx([math.log(2)])
    assert confidence.contrast(with_clip, with_clip) == pytest.approx([0])
    assert confidence.clip_agreement(with_clip, [with_clip, without_clip]) == pytest.approx([0.6])


def test_a_failed_prompt_is_named(store):
    model = Scorer()
    model.option_logprobs = lambda requests: [np.full(4, np.nan)] * len(requests)
    with pytest.raises(ModelError, match="no likelihood or state for item 'i0'"):
        confidence.likelihoods(model, [item()], store=store)


def test_a_second_run_computes_nothing(store):
    scores = (
        confidence.likelihoods,
        confidence.mean_over_rotations,
        confidence.hidden_states,
        confidence.p_idk,
    )
    model = Scorer()
    first = [score(model, [item(), item(1)], store=store) for score in scores]
    n = len(store)
    model.option_logprobs = model.last_hidden_states = None
    again = [score(model, [item(), item(1)], store=store) for score in scores]
    for before, after in zip(first, again, strict=True):
        np.testing.assert_allclose(before, after, atol=1e-5)
    assert len(store) == n == 2 * (1 + 3 + 1 + 1)  # the first rotation is the plain prompt


def test_a_logistic_regression_is_scikit_learns():
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = (x @ [1, -2, 0] + rng.normal(size=200) > 0.3).astype(int)
    theirs = linear.LogisticRegression(C=1.0, tol=1e-8).fit((x - x.mean(0)) / x.std(0), y)
    expected = theirs.predict_proba((x - x.mean(0)) / x.std(0))[:, 1]
    assert confidence.Logistic.fit(x, y).predict(x) == pytest.approx(expected, abs=1e-3)
    with pytest.raises(ValueError, match="right and wrong answers"):
        confidence.Logistic.fit(x, np.ones(200))


def test_a_cross_fit_predicts_no_answer_from_itself():
    x, y = RNG.normal(size=(40, 2)), RNG.random(40) < 0.5
    own, others = confidence.cross_fit(x, y, x, folds=40)
    alone = confidence.Logistic.fit(np.delete(x, 7, 0), np.delete(y, 7)).predict(x[7:8])
    assert own[7] == pytest.approx(alone[0])
    assert others == pytest.approx(confidence.Logistic.fit(x, y).predict(x))


def test_a_cross_fit_to_answers_that_are_all_right_says_so():
    own, others = confidence.cross_fit(np.arange(6.0)[:, None], np.ones(6), np.zeros((2, 1)))
    assert (own.tolist(), others.tolist()) == ([1.0] * 6, [1.0] * 2)
