"""How sure a model is of its answer: a score per question, one function each, by what the model can give.

In: a loaded model, items, and the store, which keeps what was computed. Out: floats (n,), higher being surer;
`risk_coverage` measures them. They judge the most probable option (`likelihoods`), as a model answers that may not
decline.

| score | range | forward passes a question | needs | source |
|---|---|---|---|---|
| `top`, `margin`, `entropy` | [0, 1], [0, 1], [-log n, 0] | 1 prompt for all | option_logprobs | 2609.28879 |
| `top` of `mean_over_rotations` | [0, 1] | n prompts | option_logprobs | 2609.28879 |
| `first_token_entropy` | [-1, 0] | 1 | first_logits | 2609.28879 (H_all) |
| `agreement`, `semantic_entropy` | [0, 1], [-log N, 0] | N replies | generate | 2508.05544; 2302.09664 |
| `p_true`, `p_idk` | [0, 1] | 1 more | option_logprobs | 2207.05221; this package |
| `stated_confidence` | [0, 1] | 1 short reply | generate | 2205.14334 |
| `contrast` | real (nats) | 1 more | option_logprobs | 2609.28879 (Sup) |
| `clip_agreement` | [0, 1] | 1 a changed clip | option_logprobs | 2510.04584 |
| `Logistic` | [0, 1] | 0 more | last_hidden_states or other scores; graded answers | 2304.13734 |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import optimize, special

from lalm_utils import outcomes, prompts, runs, vectors
from lalm_utils.items import Item
from lalm_utils.models import Model, ModelError, Prompt, Turn
from lalm_utils.store import Store

__all__ = [
    "Logistic", "agreement", "clip_agreement", "contrast", "cross_fit", "entropy", "first_token_entropy",
    "hidden_states", "likelihoods", "margin", "mean_over_rotations", "p_idk", "p_true", "probabilities", "samples",
    "score_prompts", "semantic_entropy", "stated_confidence", "top",
]  # fmt: skip
P_TRUE = "Proposed answer: {answer}\nIs the proposed answer right? Reply with yes or no."
STATED = "Proposed answer: {answer}\nHow likely is it right, in percent? Reply with a number from 0 to 100."
Scores = Sequence[np.ndarray]


def likelihoods(
    model: Model, items: Sequence[Item], method: str = "plain", *, store: Store, audio: bool = True
) -> list[np.ndarray]:
    """Each option's log-likelihood as the whole reply, in nats, (n_options,) per item.

    ModelError where a prompt failed.
    """
    requests = [prompts.render(item, method, audio=audio) for item in items]
    return score_prompts(model, requests, items, store)


def score_prompts(
    model: Model, requests: Sequence[Prompt], items: Sequence[Item], store: Store
) -> list[np.ndarray]:
    """As `likelihoods`, of prompts of one's own, one an item, with their options."""
    return _complete(vectors.likelihoods(model, requests, store=store), model, items)


def _complete(results: Sequence[np.ndarray | None], model: Model, items: Sequence[Item]) -> list[np.ndarray]:
    """The result of each item; ModelError, naming the first, where a prompt failed."""
    for item, result in zip(items, results, strict=True):
        if result is None:
            raise ModelError(
                f"{model.name} gave no likelihood or state for item {item.id!r}: check its clip, or leave it out"
            )
    return list(results)


def probabilities(logprobs: Scores, *, lengths: Scores | None = None) -> list[np.ndarray]:
    """Likelihoods normalised over the options; with `lengths` (tokens or characters of each), per unit of length."""
    if lengths is not None:
        logprobs = [each / np.maximum(size, 1) for each, size in zip(logprobs, lengths, strict=True)]
    return [special.softmax(each) for each in logprobs]


def top(p: Scores) -> np.ndarray:
    """The largest option's probability, in [1/n_options, 1]."""
    return np.array([each.max() for each in p])


def margin(p: Scores) -> np.ndarray:
    """The largest less the second largest probability, in [0, 1]; 1 for a single option."""
    return np.array([np.sort(np.append(each, 0))[::-1][:2] @ (1, -1) for each in p])


def entropy(p: Scores) -> np.ndarray:
    """Minus the entropy over the options in nats, in [-log n_options, 0]."""
    return -np.array([special.entr(each).sum() for each in p])


def mean_over_rotations(
    model: Model, items: Sequence[Item], method: str = "plain", *, store: Store
) -> list[np.ndarray]:
    """Probabilities averaged over all rotations of the options, each option once in each position.

    One prompt for each option. Items with fewer options are asked in fewer orders.
    """
    total = [np.zeros(len(item.options)) for item in items]
    for shift in range(max(len(item.options) for item in items)):
        indices = [i for i, item in enumerate(items) if shift < len(item.options)]
        orders = [np.roll(np.arange(len(items[i].options)), shift) for i in indices]
        requests = [prompts.render(items[i].reordered(order), method) for i, order in zip(indices, orders)]
        for i, order, logprobs in zip(
            indices, orders, score_prompts(model, requests, [items[i] for i in indices], store)
        ):
            total[i][order] += special.softmax(logprobs) / len(order)
    return total


def first_token_entropy(
    model: Any, items: Sequence[Item], method: str = "plain", *, store: Store
) -> np.ndarray:
    """Minus the entropy of the reply's first token over the whole vocabulary, divided by log of its size, in [-1, 0].

    ModelError for a model without logits, such as a server: use `entropy` there.
    """
    _refuse_server(model, "first_logits", "entropy")

    def measure(requests: Sequence[Prompt]) -> np.ndarray:
        logp = special.log_softmax(np.asarray(model.first_logits(requests), float), axis=1)
        return (np.exp(logp) * logp).sum(1) / np.log(logp.shape[1])

    requests = [prompts.render(item, method) for item in items]
    entropies = vectors.ask(model, "first-token entropy 1", measure, requests, store=store)
    return np.concatenate(_complete(entropies, model, items))


def _refuse_server(model: Any, name: str, instead: str) -> None:
    if not hasattr(model, name):
        raise ModelError(
            f"{model.name} ({type(model).__name__}) has no {name}: only a model loaded here shows its inside. Use "
            f"{instead}, or load the weights with load_model(folder or hub id)"
        )


# ---- from sampled replies


def samples(
    model: Model, items: Sequence[Item], *, store: Store, n: int = 5, temperature: float = 1.0, seed: int = 0
) -> np.ndarray:
    """Choices read from n sampled replies, ints (n_items, n); -1 for a refusal, -2 for what cannot be read."""
    requests = [prompts.render(item, "plain") for item in items]
    settings = {"temperature": temperature, "max_new_tokens": runs.MAX_NEW_TOKENS["plain"], "seed": seed}
    choices = np.full((len(items), n), -2)
    for i, (item, replies) in enumerate(zip(items, store.ask(model, requests, n=n, **settings))):
        for j, reply in enumerate(replies):
            grade = outcomes.grade(item, reply)
            if grade.choice is not None:
                choices[i, j] = grade.choice
            elif grade.outcome == outcomes.Outcome.REFUSED:
                choices[i, j] = -1
    return choices


def agreement(choices: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """The share of samples (n_items, N) that agree with the answer (n_items,), in [0, 1], in steps of 1/N."""
    return (choices == np.asarray(answers)[:, None]).mean(1)


def semantic_entropy(choices: np.ndarray) -> np.ndarray:
    """Minus the entropy in nats of what N samples mean, in [-log N, 0]: the discrete form, clusters being choices.

    Refusals are a cluster; each unreadable reply is one of its own, since nothing says that two mean the same.
    """
    entropies = []
    for row in choices:
        sizes = [*np.unique(row[row != -2], return_counts=True)[1], *[1] * int((row == -2).sum())]
        entropies.append(-special.entr(np.array(sizes) / len(row)).sum())
    return np.array(entropies)


# ---- from further questions


def p_true(model: Model, items: Sequence[Item], answers: Sequence[int], *, store: Store) -> np.ndarray:
    """P(yes) against no, when the model is asked whether its own answer is right, in [0, 1]."""
    requests = [_about(*each, P_TRUE, ("yes", "no")) for each in zip(items, answers, strict=True)]
    logprobs = score_prompts(model, requests, items, store)
    return np.array([special.softmax(each)[0] for each in logprobs])


def p_idk(model: Model, items: Sequence[Item], method: str = "idk", *, store: Store) -> np.ndarray:
    """1 - P(IDK) against the options under a prompt that permits to decline, in [0, 1]."""
    requests = [prompts.render(item, method) for item in items]
    requests = [replace(prompt, options=(*prompt.options, "IDK")) for prompt in requests]
    return np.array([1 - special.softmax(each)[-1] for each in score_prompts(model, requests, items, store)])


def stated_confidence(
    model: Model, items: Sequence[Item], answers: Sequence[int], *, store: Store
) -> np.ndarray:
    """The confidence that the model states in words, in [0, 1]; 0 where its reply has no number from 0 to 100."""
    requests = [_about(*each, STATED) for each in zip(items, answers, strict=True)]
    values = []
    for (reply,) in store.ask(model, requests, max_new_tokens=8):
        number = re.search(r"(?<![\d.])(\d{1,3}(?:\.\d+)?)(?![\d.]*\d)", reply.text)
        value = float(number.group(1)) if number else -1.0
        values.append(value / 100 if 0 <= value <= 100 else 0.0)
    return np.array(values)


def _about(item: Item, answer: int, text: str, options: tuple[str, ...] = ()) -> Prompt:
    question = prompts.OPTIONS.format(question=item.question, options=prompts.listing(item.options))
    text = question + text.format(answer=item.options[answer])
    return Prompt(turns=(Turn(role="user", text=text, clips=(item.clip,)),), options=options)


def contrast(with_clip: Scores, without_clip: Scores) -> np.ndarray:
    """How many nats the clip adds to the answer: its log-probability with it less that without it (or with silence).

    with_clip, without_clip : `likelihoods` of the same items. Real; 0 where the clip changes nothing.
    """
    pairs = zip(with_clip, without_clip, strict=True)
    return np.array([(special.log_softmax(a) - special.log_softmax(b))[a.argmax()] for a, b in pairs])


def clip_agreement(with_clip: Scores, variants: Sequence[Scores]) -> np.ndarray:
    """The mean probability of the answer over variants of the clips (`likelihoods` of each), in [0, 1]. Such
    clips are made by `audio_interventions.with_audio`, with `white_noise` for one.
    """
    return np.mean(
        [
            [special.softmax(b)[a.argmax()] for a, b in zip(with_clip, variant, strict=True)]
            for variant in variants
        ],
        0,
    )


# ---- learnt from a calibration set


def hidden_states(model: Any, items: Sequence[Item], method: str = "plain", *, store: Store) -> np.ndarray:
    """The last layer's state before the reply's first token, floats (n, d_model). ModelError for a server."""
    _refuse_server(model, "last_hidden_states", "option_logprobs")
    requests = [prompts.render(item, method) for item in items]
    states = vectors.ask(model, "last hidden state 1", model.last_hidden_states, requests, store=store)
    return np.array(_complete(states, model, items))


@dataclass(frozen=True, kw_only=True)
class Logistic:
    """A logistic regression: a linear probe on hidden states, or a combination of other scores."""

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray  # (n_features + 1,), the intercept last

    @classmethod
    def fit(cls, features: np.ndarray, right: np.ndarray, *, penalty: float = 1.0) -> Logistic:
        """Fit on (n, n_features) and whether each answer is right; penalty: L2, in units of one answer's loss.

        Features are standardised by their own mean and deviation. ValueError unless both right and wrong occur.
        """
        x, y = np.asarray(features, float), np.asarray(right, float)
        if not np.isfinite(x).all() or len(x) != len(y) or len(np.unique(y)) < 2:
            raise ValueError(
                f"{x.shape} features for {len(y)} answers: finite ones, with right and wrong answers, are needed"
            )
        mean, scale = x.mean(0), np.where(x.std(0) > 0, x.std(0), 1)
        x, sign = np.column_stack([(x - mean) / scale, np.ones(len(x))]), 2 * y - 1
        free = np.append(np.ones(x.shape[1] - 1), 0)  # the intercept is not held back

        def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
            z = sign * (x @ w)
            slope = -(sign * special.expit(-z)) @ x + penalty * free * w
            return np.logaddexp(0, -z).sum() + penalty * (free * w) @ w / 2, slope

        solution = optimize.minimize(
            loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 2000}
        )
        return cls(mean=mean, scale=scale, weights=solution.x)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The probability that each answer is right, (n,)."""
        x = (np.asarray(features, float) - self.mean) / self.scale
        return special.expit(x @ self.weights[:-1] + self.weights[-1])


def cross_fit(
    features: np.ndarray,
    right: np.ndarray,
    new_features: np.ndarray,
    *,
    folds: int = 5,
    penalty: float = 1.0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of `Logistic` for the answers that it is fitted on, and for `new_features`.

    The first are out of fold: each is by a fit to the other folds, so that it can be compared with scores that learn
    nothing. The second are by a fit to all. Where all answers of a fit are alike, their share of right ones stands.
    """
    x, y = np.asarray(features, float), np.asarray(right, float)
    fold = np.random.default_rng(seed).permutation(len(y)) % folds
    out_of_fold = np.empty(len(y))
    for k in np.unique(fold):
        out_of_fold[fold == k] = _predict(x[fold != k], y[fold != k], x[fold == k], penalty)
    return out_of_fold, _predict(x, y, np.asarray(new_features, float), penalty)


def _predict(x: np.ndarray, y: np.ndarray, new_features: np.ndarray, penalty: float) -> np.ndarray:
    if len(np.unique(y)) < 2:
        return np.full(len(new_features), y.mean() if y.size else np.nan)
    return Logistic.fit(x, y, penalty=penalty).predict(new_features)
