"""R-Tuning: the model answers, and then says whether it is sure (arXiv 2311.09677, the supervised form).

In: the examples of the IDK dataset. Out: examples for `lora.train(..., prompt_method="plain")`: the right option, and
"I am sure" or "I am unsure" after it. And, of a model so trained, the probability of "sure": a score of confidence.

"Sure" is here what K of N labels as known, so that it learns from the same data as LoRA-SFT; the paper asks the model
once. The paper's question between the two ("Are you sure ...?") is left out, so that the reply is one turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import special

from lalm_utils import confidence, prompts
from lalm_utils.finetuning.idk_data import Example
from lalm_utils.items import Item
from lalm_utils.models import Model, Turn
from lalm_utils.store import Store

__all__ = ["METHOD", "examples", "p_sure"]
METHOD = "plain"  # the prompt that is learnt under, and asked by
BEGINNING = "{answer}\nI am"
WORDS = (" sure", " unsure")  # with the blank: tokenizers join it to the word


def examples(idk_examples: Sequence[Example]) -> list[Example]:
    """The same items and labels; to be learnt is the right option, then whether the model is sure of it."""
    return [
        replace(
            example,
            target=BEGINNING.format(answer=example.item.options[example.item.gold])
            + WORDS[not example.known],
        )
        for example in idk_examples
    ]


def p_sure(model: Model, items: Sequence[Item], answers: Sequence[int], *, store: Store) -> np.ndarray:
    """P(sure) against unsure after each answer (an option's index), in [0, 1], (n,). One forward pass a question.

    ModelError where a prompt failed. Of a model that was not trained so it means nothing.
    """
    requests = []
    for item, answer in zip(items, answers, strict=True):
        prompt = prompts.render(item, METHOD)
        beginning = Turn(role="assistant", text=BEGINNING.format(answer=item.options[answer]))
        requests.append(replace(prompt, turns=(*prompt.turns, beginning), options=WORDS))
    logprobs = confidence.score_prompts(model, requests, items, store)
    return np.array([special.softmax(each)[0] for each in logprobs])
