"""The IDK dataset of a fine-tuning: sampled by one process or by many, or read from a file.

In: a model on each process, the items to learn from, K and N. Out: the same examples on each process, and their file.
Sampling is dealt and stored as `jobs` does it for any other questions: nothing is asked twice, and nobody waits in a
collective. It does not know how they are learnt.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lalm_utils import items as benchmarks
from lalm_utils.cli import jobs
from lalm_utils.cli.jobs import Job
from lalm_utils.cli.ranks import Channel, Rank, RankError
from lalm_utils.cli.run_files import FolderError
from lalm_utils.finetuning import idk_data, k_of_n
from lalm_utils.finetuning.idk_data import Example
from lalm_utils.items import Item
from lalm_utils.models import Model
from lalm_utils.outcomes import Outcome
from lalm_utils.store import Store

LEARNT, ALL = "idk", "all"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """How examples are made from samples: what `idk_data.build` and `k_of_n.sample` take."""

    k: int
    n: int = k_of_n.N
    temperature: float = k_of_n.TEMPERATURE
    balance: float | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Sampling(Job):
    """N samples of every item, as work that ranks share."""

    n: int
    temperature: float

    def _ask(self, model: Model, store: Store, method: str, items: Sequence[Item]) -> pd.DataFrame:
        """A row per item, in order: failed if one of its samples is."""
        how = {"n": self.n, "temperature": self.temperature, "seed": self.seed}
        samples = k_of_n.sample(model, items, store=store, **how)
        failed = (samples["outcome"] == Outcome.FAILED).groupby(samples["item"], sort=False).any()
        return pd.DataFrame({"outcome": failed.map({True: Outcome.FAILED.value, False: "asked"})})


def learnable(benchmark: str, part: str, modality: str | None, n: int | None, seed: int) -> list[Item]:
    """Items to learn from: the part "idk" of `k_of_n.splits`, which shares no clip with those to choose settings on and
    to report on; or, said loudly, all of a benchmark. Raises ValueError where none is left."""
    if part == LEARNT:
        asked = k_of_n.splits(benchmark, seed=seed)[LEARNT]
    else:
        asked = [item for item in benchmarks.load(benchmark) if item.answerable]
        log.warning(
            "%s: all of it is learnt from, its test items too: report on another benchmark.", benchmark
        )
    kept = [item for item in asked if modality in (None, item.modality)]
    if not kept:
        known = ", ".join(sorted({item.modality for item in asked}))
        raise ValueError(
            f"no item of modality {modality!r} among the {len(asked)} to learn from, which are {known}"
        )
    return benchmarks.sample(kept, n, seed=seed) if n is not None else kept


def lead(
    model: Model, asked: Sequence[Item], labels: Labels, file: Path, *, store: Path, rank: Rank,
    channel: Channel | None, wait: float,
) -> list[Example]:  # fmt: skip
    """Rank 0's part: have all items sampled, label them, write `file`, and say so."""
    try:
        with Store(store, progress=False) as opened:
            jobs.lead(_job(model, asked, labels), opened, rank, channel, wait=wait)
            how = {"n": labels.n, "temperature": labels.temperature, "seed": labels.seed}
            counts = k_of_n.count_correct(k_of_n.sample(model, asked, store=opened, **how))
        failed = set(counts.attrs["failed"])
        sampled = [item for item in asked if item.id not in failed]
        examples = idk_data.build(sampled, counts, k=labels.k, balance=labels.balance, seed=labels.seed)
        _save(file, examples, model=model, k=labels.k, balance=labels.balance, **how)
    except BaseException as error:
        with suppress(RankError):
            if channel:
                for key in ("plan", "dataset"):
                    channel.say(key, json.dumps({"error": str(error)}))
        raise
    if channel:
        channel.say("dataset", json.dumps({"examples": len(examples)}))
    return examples


def follow(
    model: Model, asked: Sequence[Item], labels: Labels, file: Path, *, store: Path, rank: Rank, channel: Channel,
    wait: float,
) -> list[Example]:  # fmt: skip
    """Another rank's part: sample its share, and read what rank 0 has made of all shares."""
    try:
        jobs.follow(_job(model, asked, labels), store, rank, channel, wait=wait)
    except BaseException as error:
        with suppress(RankError):
            channel.say(f"done {rank.number}", f"{type(error).__name__}: {error}")
        raise
    said = json.loads(channel.wait("dataset", patience=wait))
    if "error" in said:
        raise RankError(f"rank 0 gave up: {said['error']}")
    return idk_data.load(file, asked)[0]


def _job(model: Model, asked: Sequence[Item], labels: Labels) -> Sampling:
    return Sampling(
        model=model, items=asked, methods=(k_of_n.METHOD,), seed=labels.seed, n=labels.n, temperature=labels.temperature
    )  # fmt: skip


def _save(file: Path, examples: Sequence[Example], **made: Any) -> None:
    """Write the dataset in one step; FolderError if another one is there."""
    scratch = file.with_name(f".{file.name}.new")
    idk_data.save(scratch, examples, **made)
    if file.exists() and file.read_bytes() != scratch.read_bytes():
        scratch.unlink()
        raise FolderError(f"{file}: holds another IDK dataset; give another --out, or remove that file")
    scratch.replace(file)
