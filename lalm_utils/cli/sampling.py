"""The IDK dataset of a fine-tuning: sampled by one process or by many, or read from a file.

In: a model on each process, the items to learn from, K and N. Out: the same examples on each process, and their file.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lalm_utils import benchmarks
from lalm_utils.cli import distributed
from lalm_utils.cli.distributed import Group
from lalm_utils.cli.jobs import Job
from lalm_utils.cli.run_files import FolderError
from lalm_utils.finetuning import idk_data, k_of_n
from lalm_utils.finetuning.idk_data import Example
from lalm_utils.items import Item
from lalm_utils.items import sample as draw_items
from lalm_utils.models import Model
from lalm_utils.outcomes import Outcome
from lalm_utils.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SamplingJob(Job):
    """N samples of every item, as work that processes share."""

    n: int
    temperature: float

    def query(self, model: Model, store: Store, method: str, items: Sequence[Item]) -> pd.DataFrame:
        """A row per item, in order: failed if one of its samples is."""
        samples = self.samples(model, store, items)
        failed = (samples["outcome"] == Outcome.FAILED).groupby(samples["item"], sort=False).any()
        return pd.DataFrame({"outcome": failed.map({True: Outcome.FAILED.value, False: "sampled"})})

    def samples(self, model: Model, store: Store, items: Sequence[Item]) -> pd.DataFrame:
        """See `k_of_n.sample`."""
        return k_of_n.sample(
            model, items, store=store, n=self.n, temperature=self.temperature, seed=self.seed
        )


def training_items(benchmark: str, part: str, modality: str | None, n: int | None, seed: int) -> list[Item]:
    """Items to learn from: the part "idk" of `k_of_n.splits`, which shares no clip with those to choose settings on and
    to report on; or, with a warning, all of a benchmark. Raises ValueError where none is left."""
    if part == "idk":
        items = k_of_n.splits(benchmark, seed=seed)["idk"]
    else:
        items = [item for item in benchmarks.load(benchmark) if item.answerable]
        log.warning(
            "%s: all of it is learnt from, its test items too: report on another benchmark.", benchmark
        )
    chosen = [item for item in items if modality in (None, item.modality)]
    if not chosen:
        known = ", ".join(sorted({item.modality for item in items}))
        raise ValueError(
            f"no item of modality {modality!r} among the {len(items)} to learn from, which are {known}"
        )
    return draw_items(chosen, n, seed=seed) if n is not None else chosen


def make_dataset(
    job: SamplingJob, file: Path, *, k: int, balance: float | None = None, store: Path, group: Group
) -> list[Example]:
    """Have all items sampled, each process its share; rank 0 labels them and writes `file`, which all read."""
    distributed.run_together(job, store, group)

    def label() -> None:
        with Store(store, progress=False) as opened:
            counts = k_of_n.count_correct(job.samples(job.model, opened, job.items))
        failed = set(counts.attrs["failed"])
        items = [item for item in job.items if item.id not in failed]
        examples = idk_data.build(items, counts, k=k, balance=balance, seed=job.seed)
        facts = {"n": job.n, "temperature": job.temperature, "seed": job.seed}
        _save(file, examples, model=job.model, k=k, balance=balance, **facts)

    group.broadcast(label)
    return idk_data.load(file, job.items)[0]


def _save(file: Path, examples: Sequence[Example], **facts: Any) -> None:
    """Write the dataset in one step; FolderError if another one is there."""
    scratch = file.with_name(f".{file.name}.new")
    idk_data.save(scratch, examples, **facts)
    if file.exists() and file.read_bytes() != scratch.read_bytes():
        scratch.unlink()
        raise FolderError(f"{file}: holds another IDK dataset; give another --out, or remove that file")
    scratch.replace(file)
