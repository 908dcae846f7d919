"""What a model computes of a prompt beside replies, kept in the store: log-likelihoods of options, hidden states.

In: a model, prompts, a store. Out: an array for each prompt; a second run computes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lalm_utils.models import Model, Prompt, Reply, failed
from lalm_utils.store import Store

__all__ = ["Vectors", "ask", "likelihoods"]
LIKELIHOODS = "log-likelihoods of options 1"  # the number changes with what is computed
Measure = Callable[[Sequence[Prompt]], Sequence[np.ndarray]]


class Vectors:
    """A model that replies with the numbers that `measure` gives of a prompt, as JSON, so that a store keeps them.

    Its fingerprint is its own, and the options are part of what it renders: no vector is taken for a reply, nor for
    that of another measure, prompt, chain or clip.
    """

    def __init__(self, model: Model, quantity: str, measure: Measure) -> None:
        self.model, self.quantity, self.measure = model, quantity, measure
        self.name, self.description = model.name, model.description
        self.batch_size = getattr(model, "batch_size", 0)
        self.fingerprint = hashlib.sha256(f"{quantity} {model.fingerprint}".encode()).hexdigest()

    def render(self, prompt: Prompt) -> str:
        """The prompt with its options."""
        return json.dumps([self.model.render(prompt), *prompt.options], ensure_ascii=False)

    def generate(self, prompts: Sequence[Prompt], **settings: Any) -> list[list[Reply]]:
        """One reply per prompt: a JSON array of numbers, to a millionth."""
        return [[self._reply(vector)] * settings.get("n", 1) for vector in self.measure(prompts)]

    def option_logprobs(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        """As the model's own."""
        return self.model.option_logprobs(prompts)

    def _reply(self, vector: np.ndarray) -> Reply:
        if np.isnan(vector).any():
            return failed(f"no {self.quantity.rstrip(' 0123456789')}")
        return Reply(
            text=json.dumps([round(float(x), 6) for x in np.ravel(vector)]), n_tokens=0, finish="stop"
        )


def ask(
    model: Model, quantity: str, measure: Measure, prompts: Sequence[Prompt], *, store: Store
) -> list[np.ndarray | None]:
    """`measure` of each prompt, in order; None where the prompt failed. ModelError as the model raises it.

    quantity: names the measure in the store; give another name to what is computed otherwise.
    """
    replies = store.ask(Vectors(model, quantity, measure), prompts, max_new_tokens=1)
    return [None if reply.finish == "failed" else np.array(json.loads(reply.text)) for (reply,) in replies]


def likelihoods(model: Model, prompts: Sequence[Prompt], *, store: Store) -> list[np.ndarray | None]:
    """Each option's log-likelihood as the whole reply, in nats, (n_options,) per prompt; None where it failed."""
    return ask(model, LIKELIHOODS, model.option_logprobs, prompts, store=store)
