"""What an engine is given and what it gives back: prompts made ready, how to decode, replies as tokens.

It knows tokens and clips, and nothing of models, files or failures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lalm_utils.audio import RATE, Clip
from lalm_utils.engine import decoding


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A prompt made ready for a model."""

    text: str  # rendered, each clip as its placeholder
    clips: tuple[Clip, ...]
    ids: tuple[int, ...]  # tokens of `text`: one audio token per clip
    options: tuple[tuple[int, ...], ...] = ()  # tokens of each option, the end of the turn included

    @property
    def length(self) -> int:
        """About how many tokens the model reads: good enough to sort by."""
        return len(self.ids) + sum(len(clip.samples) for clip in self.clips) * 25 // RATE

    @property
    def content(self) -> str:
        """What the prompt consists of, and the only thing about it that its random numbers depend on."""
        return " ".join([self.text, *(clip.sha256 for clip in self.clips)])


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How replies are chosen. ValueError for a setting out of its range."""

    n: int
    first_sample: int
    temperature: float
    max_new_tokens: int
    seed: int

    def __post_init__(self) -> None:
        if (
            self.n < 1
            or self.first_sample < 0
            or self.max_new_tokens < 1
            or not 0 <= self.temperature < np.inf
        ):
            raise ValueError(
                f"n={self.n}, first_sample={self.first_sample}, temperature={self.temperature}, "
                f"max_new_tokens={self.max_new_tokens}: n and max_new_tokens are at least 1, first_sample is "
                "at least 0, and temperature is finite and not negative."
            )

    @property
    def samples(self) -> range:
        """The numbers of the samples to draw; at temperature 0 there is one reply."""
        return range(self.first_sample, self.first_sample + self.n) if self.temperature else range(1)

    def uniform(self, batch: Sequence[Asked], device: torch.device) -> torch.Tensor | None:
        """(batch, samples, max_new_tokens) numbers to draw at, or None if nothing is drawn."""
        if self.temperature == 0:
            return None
        numbers = [
            decoding.uniforms(self.seed, asked.content, self.samples, self.max_new_tokens) for asked in batch
        ]
        return torch.from_numpy(np.stack(numbers)).to(device)


@dataclass(frozen=True, kw_only=True)
class Written:
    """One reply as tokens, the end of the turn left out."""

    tokens: list[int]
    ended: bool  # False: cut at the limit
