"""The protocol of models: prompts in, raw replies or log-likelihoods of options out.

Every backend keeps the `Model` protocol; `load_model` finds the one that a name calls for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np


class ModelError(RuntimeError):
    """A model cannot be loaded, or cannot do what it is asked. The message says what, why and what next."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn of a conversation. Its clips come before its text."""

    role: Literal["system", "user", "assistant"]
    text: str
    clips: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A conversation that a model continues.

    Where the last turn is the assistant's, the model goes on with that turn, and the reply is only what it
    adds. `options` are the texts that `option_logprobs` scores; `generate` does not look at them.
    """

    turns: tuple[Turn, ...]
    options: tuple[str, ...] = ()

    @property
    def clips(self) -> tuple[Path, ...]:
        """All clips, in the order in which the model hears them."""
        return tuple(clip for turn in self.turns for clip in turn.clips)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back for one prompt.

    `text` is raw, without the end-of-turn token, which `n_tokens` does not count either. `finish`: "stop",
    the model ended its turn; "length", it was cut at the token limit; "failed", there is no answer, and
    `error` says why. `truncated`: a clip was longer than the model's window, and its tail was not heard.
    """

    text: str
    n_tokens: int
    finish: Literal["stop", "length", "failed"]
    error: str = ""
    truncated: bool = False


def failed(error: str) -> Reply:
    """The reply that stands for no reply: never an answer, never stored."""
    return Reply(text="", n_tokens=0, finish="failed", error=error)


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How replies are decoded: greedily at temperature 0, else sampled. ValueError for a setting out of its range."""

    n: int = 1
    temperature: float = 0.0
    max_new_tokens: int = 64
    seed: int = 0
    first_sample: int = 0

    def __post_init__(self) -> None:
        counts = self.n >= 1 and self.first_sample >= 0 and self.max_new_tokens >= 1
        if not counts or not 0 <= self.temperature < math.inf:
            raise ValueError(
                f"n={self.n}, first_sample={self.first_sample}, temperature={self.temperature}, "
                f"max_new_tokens={self.max_new_tokens}: n and max_new_tokens are at least 1, first_sample is "
                "at least 0, and temperature is finite and not negative."
            )

    @property
    def samples(self) -> range:
        """The numbers of the samples to draw; at temperature 0 there is one reply."""
        return range(self.first_sample, self.first_sample + self.n) if self.temperature else range(1)


class Model(Protocol):
    """Anything that can be asked. What a model cannot do it refuses with a `ModelError`.

    A model that answers prompts one by one may also have `arrivals`: called as `generate` is, it gives the number of
    each prompt and its replies as they come, in any order, so that they are stored at once.
    """

    name: str
    fingerprint: str  # SHA-256 over all that decides replies: weights, configuration, dtype; not the name
    description: dict[str, Any]  # dtype, device, threads, attention, versions, generation: shown with results

    def render(self, prompt: Prompt) -> str:
        """The exact text that the model reads, each clip as its placeholder."""

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        n: int = 1,
        temperature: float = 0.0,
        max_new_tokens: int = 64,
        seed: int = 0,
        first_sample: int = 0,
    ) -> list[list[Reply]]:
        """One list of `n` replies per prompt, in order: samples `first_sample` to `first_sample + n - 1`.

        Greedy at temperature 0, where `seed` has no effect and the `n` replies are equal. A prompt that
        cannot be answered gets failed replies; it neither stops the others nor raises.
        """

    def option_logprobs(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        """One (n_options,) array per prompt: each option's log-likelihood in nats as the whole reply, summed
        over its tokens and the end of the turn. NaN throughout where the prompt failed."""
