"""The work of a command: every method of every item, asked of one model, into a store.

In: a model, items, methods. Out: every reply in the store, and the outcome tables. How a method asks is `runs`; how
several processes share a job is `distributed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from lalm_utils import runs
from lalm_utils.cli.distributed import Missing
from lalm_utils.items import Item
from lalm_utils.models import Model, Prompt, Reply, failed
from lalm_utils.outcomes import Outcome
from lalm_utils.progress import bar
from lalm_utils.store import Store

BLOCK = 64  # items: every method of a block comes before the next block, while its clips' embeddings are kept


@dataclass(frozen=True, kw_only=True)
class Job:
    """Every method of every item, to be asked of one model."""

    model: Model
    items: Sequence[Item]
    methods: Sequence[str]
    seed: int
    audio: bool = True  # False: the questions alone are asked

    def missing(self, store: Store) -> Missing:
        """By method, the indices of the items whose replies `store` does not have. Nothing is asked."""
        stored = _StoredReplies(self.model)
        tables = {method: self.query(stored, store, method, self._gradable) for method in self.methods}
        return {
            method: np.flatnonzero(table["outcome"] == Outcome.FAILED).tolist()
            for method, table in tables.items()
        }

    def ask(self, store: Store, share: Sequence[int], missing: Missing, *, show: bool | None = None) -> None:
        """Ask what is missing of the items with indices `share` into `store`, block by block; `show` is that of
        `progress.bar`."""
        indices = {method: set(missing[method]) for method in self.methods}
        total = sum(index in indices[method] for method in self.methods for index in share)
        with bar(self.model.name, total=total, show=show) as progress:
            for start in range(0, len(share), BLOCK):
                for method in self.methods:
                    block = [i for i in share[start : start + BLOCK] if i in indices[method]]
                    if block:
                        self.query(self.model, store, method, [self._gradable[i] for i in block])
                        progress.update(len(block))

    def tables(self, store: Store) -> dict[str, pd.DataFrame]:
        """The outcome table of each method, a row per item, in order; what is still missing is asked."""
        return {method: self.query(self.model, store, method, self._gradable) for method in self.methods}

    def query(self, model: Model, store: Store, method: str, items: Sequence[Item]) -> pd.DataFrame:
        """Ask `items` by one method: a row per item, in order, with its "outcome"."""
        return runs.ask(model, items, method, store=store, audio=self.audio, seed=self.seed)

    @cached_property
    def _gradable(self) -> list[Item]:
        # an item whose answer is withheld can be asked, not graded: here it passes as unanswerable
        return [replace(i, answerable=False) if i.gold is None and i.answerable else i for i in self.items]


class _StoredReplies:
    """A model that is never asked: what the store lacks comes back as failed."""

    def __init__(self, model: Model) -> None:
        self.name, self.fingerprint = model.name, model.fingerprint
        self.description, self.render = {}, model.render

    def generate(self, prompts: Sequence[Prompt], *, n: int = 1, **settings: Any) -> list[list[Reply]]:
        return [[failed("not in the store")] * n for _ in prompts]

    def option_logprobs(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        return [np.full(len(prompt.options), np.nan) for prompt in prompts]
