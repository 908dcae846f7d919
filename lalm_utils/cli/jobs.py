"""Who asks what, and when: one job, by one process or by many.

In: a model, items, methods, a store. Out: every reply in the store. How a method asks is `runs`; files, locks and
the dealing are `shards`; how processes talk is `ranks`. It writes no results.

Rank 0 merges what earlier launches left, deals what is missing, asks its own share into the store, waits for the
others and merges their shards. If one is lost, the replies so far are merged, and the next launch asks the rest.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lalm_utils import runs
from lalm_utils.cli import shards
from lalm_utils.cli.ranks import ALONE, Channel, Rank, RankError
from lalm_utils.cli.shards import Share
from lalm_utils.items import Item
from lalm_utils.models import Model, Prompt, Reply, failed
from lalm_utils.outcomes import Outcome
from lalm_utils.progress import bar
from lalm_utils.store import Store

BLOCK = 64  # items: every method of a block comes before the next block, while its clips' embeddings are kept
PATIENCE_SECONDS = 10.0  # for a rank to let go of its shard after its last word


@dataclass(frozen=True, kw_only=True)
class Job:
    """Every method of every item, to be asked of one model."""

    model: Model
    items: Sequence[Item]
    methods: Sequence[str]
    seed: int
    audio: bool = True  # False: the questions alone are asked

    def missing(self, store: Store) -> dict[str, list[int]]:
        """By method, the places of the items whose replies `store` does not have. Nothing is asked."""
        silent = _StoredOnly(self.model)
        tables = {method: self._ask(silent, store, method, self._gradable) for method in self.methods}
        return {
            method: np.flatnonzero(table["outcome"] == Outcome.FAILED).tolist()
            for method, table in tables.items()
        }

    def ask(self, store: Store, share: Share, *, show: bool | None = None) -> None:
        """Ask a share into `store`, block by block; `show` is that of `progress.bar`."""
        total = sum(len(methods) for _, methods in share)
        with bar(self.model.name, total=total, show=show) as shown:
            for start in range(0, len(share), BLOCK):
                block = share[start : start + BLOCK]
                for method in self.methods:
                    some = [self._gradable[place] for place, methods in block if method in methods]
                    if some:
                        self._ask(self.model, store, method, some)
                        shown.update(len(some))

    def tables(self, store: Store) -> dict[str, pd.DataFrame]:
        """The outcome table of each method, a row per item, in order; what is still missing is asked."""
        return {method: self._ask(self.model, store, method, self._gradable) for method in self.methods}

    @cached_property
    def _gradable(self) -> list[Item]:
        # an item whose answer is withheld can be asked, not graded: here it passes as unanswerable
        return [replace(i, answerable=False) if i.gold is None and i.answerable else i for i in self.items]

    def _ask(self, model: Model, store: Store, method: str, items: Sequence[Item]) -> pd.DataFrame:
        return runs.ask(model, items, method, store=store, audio=self.audio, seed=self.seed)


class _StoredOnly:
    """A model of which only the stored replies are there: what the store lacks comes back as failed."""

    def __init__(self, model: Model) -> None:
        self.name, self.fingerprint = model.name, model.fingerprint
        self.description, self.render = {}, model.render

    def generate(self, prompts: Sequence[Prompt], *, n: int = 1, **settings: Any) -> list[list[Reply]]:
        return [[failed("not in the store")] * n for _ in prompts]

    def option_logprobs(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        return [np.full(len(prompt.options), np.nan) for prompt in prompts]


def lead(
    job: Job, store: Store, rank: Rank = ALONE, channel: Channel | None = None, *, wait: float = 0.0
) -> dict[str, int]:
    """Rank 0's part: have all of the job asked, into `store`; how many replies were missing, by method.

    `wait`: seconds that it gives the others after its own share is done. A call that failed stays missing.
    RankError if a rank is lost; what that had stored is in `store` then.
    """
    shards.gather(store)
    missing = job.missing(store)
    shares = shards.deal(job.items, missing, rank.world)
    if channel:
        channel.say("plan", json.dumps({"shares": shares}))
    job.ask(store, shares[0])
    lost = [fault for number in range(1, rank.world) if (fault := _fault(number, store, rank, channel, wait))]
    shards.gather(store, patience=0.0 if lost or rank.alone else PATIENCE_SECONDS)
    if lost:
        raise RankError(
            f"{'; '.join(lost)}. All replies so far are in {store.path}, or beside it: the same command asks the rest."
        )
    return {method: len(places) for method, places in missing.items()}


def follow(job: Job, store: Path, rank: Rank, channel: Channel, *, wait: float) -> None:
    """Another rank's part: hear its share from rank 0, within `wait` seconds, and ask it into its own shard."""
    plan = json.loads(channel.wait("plan", patience=wait))
    if "error" in plan:
        raise RankError(f"rank 0 gave up: {plan['error']}")
    shard = shards.shard_of(store, rank)
    with shards.claimed(shard):
        channel.say(f"host {rank.number}", socket.gethostname())
        with Store(shard, progress=False) as opened:
            job.ask(opened, plan["shares"][rank.number], show=False)
        channel.say(f"done {rank.number}", "")


def _fault(number: int, store: Store, rank: Rank, channel: Channel, wait: float) -> str:
    """Why a rank's share is not done, "" if it is; waits for its last word."""
    shard = shards.shard_of(store.path, Rank(number=number, world=rank.world))
    try:
        error = channel.wait(f"done {number}", patience=wait, ended=partial(_ended, channel, shard, number))
    except RankError as fault:
        error = str(fault)
    return f"rank {number}: {error}" if error else ""


def _ended(channel: Channel, shard: Path, number: int) -> bool:
    """Whether a rank that had begun is gone; locks tell of processes on this host alone."""
    return channel.heard(f"host {number}") == socket.gethostname() and shards.is_free(shard)
