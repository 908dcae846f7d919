"""A job on one process or on several: who asks which items, a store file for each process, how replies are merged.

In: the launch by `torchrun`, `accelerate launch` or `mpirun`, if there is one; a model, items and methods. Out: all
replies in the main store. Without a launcher a process is alone, and torch.distributed is not touched.

Rank 0 merges what earlier launches left, and tells all ranks what is missing. Each rank asks its share of it: rank 0
into the main store, rank 3 of 8 into `replies.rank3-of-8.sqlite` beside it and nothing else, since SQLite's write-ahead
log must not be shared by hosts. A rank that dies costs what it had not stored yet: its file is merged at the end, or by
the next launch, and removed only then.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from lalm_utils import runs
from lalm_utils.audio import AudioError, check_clip
from lalm_utils.items import Item
from lalm_utils.models import Model, Prompt, Reply, failed
from lalm_utils.outcomes import Outcome
from lalm_utils.progress import bar
from lalm_utils.store import Store

BLOCK = 64  # items: every method of a block comes before the next block, while its clips' embeddings are kept
MAX_SHARED = 16  # items on one clip that stay with one rank, so that the clip is read and encoded once
# What launchers call a process's number and their count: torch's names, then MPI's.
RANK = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK")
WORLD_SIZE = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE")

Missing = dict[str, list[int]]  # by method, the indices of items without a stored reply
T = TypeVar("T")

log = logging.getLogger(__name__)


class RankError(RuntimeError):
    """The processes of a launch have not met, or one was lost. Replies are kept; run the same command again."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Every method of every item, to be asked of one model."""

    model: Model
    items: Sequence[Item]
    methods: Sequence[str]
    seed: int
    audio: bool = True  # False: the questions alone are asked
    max_new_tokens: int | None = None  # of a reply; None: the method's own

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
        settings = {"audio": self.audio, "seed": self.seed, "max_new_tokens": self.max_new_tokens}
        return runs.ask(model, items, method, store=store, **settings)

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


@dataclass(frozen=True, kw_only=True)
class Group:
    """The processes of a launch, as one of them sees it; by default it is alone."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0  # its number on its own host
    wait: float = 0.0  # seconds that one process waits for a message of another
    channel: Any = None  # a process group on CPUs, whatever the models run on

    def broadcast(self, make: Callable[[], T]) -> T:
        """What `make` returns on rank 0, on every rank. Where it raises there, the others raise RankError."""
        if self.rank > 0:
            value, error = self.receive(0)
            if error:
                raise RankError(f"rank 0 gave up: {error}")
            return value
        try:
            value = make()
        except BaseException as error:
            for rank in range(1, self.world_size):
                with suppress(RankError):
                    self.send((None, str(error) or type(error).__name__), rank)
            raise
        for rank in range(1, self.world_size):
            self.send((value, ""), rank)
        return value

    def send(self, value: Any, rank: int) -> None:
        """Send a value to another rank; RankError if that has gone."""
        import torch.distributed as dist

        with self._reporting():
            dist.send_object_list([value], dst=rank, group=self.channel)

    def receive(self, rank: int) -> Any:
        """The next value that another rank sends; RankError if it has gone, or sends nothing for `wait` seconds."""
        import torch.distributed as dist

        values = [None]
        with self._reporting():
            dist.recv_object_list(values, src=rank, group=self.channel)
        return values[0]

    def leave(self) -> None:
        """End the launch's process groups, so that the process can exit."""
        if self.channel is not None:
            from accelerate import PartialState

            PartialState().destroy_process_group()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            late = f"nothing was heard for {self.wait:.0f} s; --wait allows longer"
            timed_out = "timed out" in str(error).lower()
            raise RankError(
                late if timed_out else "its process has ended before its work was done"
            ) from error


def join(wait: float) -> Group:
    """Meet the other processes of this launch, within `wait` seconds. RankError if they do not all come."""
    size = _variable(WORLD_SIZE)
    if size in (None, "1"):
        if size is None and "MASTER_ADDR" in os.environ and "ACCELERATE_USE_CPU" in os.environ:
            log.warning(
                "accelerate launch has started one process only, as its --cpu does without MPI: for several on CPUs "
                "give it --multi_gpu instead, or use torchrun --nproc-per-node."
            )
        return Group()
    rank = _variable(RANK) or "0"
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise RankError(
            f"RANK={rank}, WORLD_SIZE={size}: they are whole numbers, and a rank is less than the world's size."
        )
    import torch
    import torch.distributed as dist
    from accelerate import PartialState

    timeout = timedelta(seconds=wait)
    try:
        # cpu=True also where mpirun started processes on GPUs, which accelerate would take for one process
        gpus = torch.cuda.is_available() and "LOCAL_RANK" in os.environ
        state = PartialState(cpu=not gpus, timeout=timeout)
        # gloo, also beside NCCL: what is sent is text, and the end of a process is noticed at once
        channel = dist.new_group(backend="gloo", timeout=timeout)
    except (RuntimeError, ValueError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RankError(
            f"rank {rank} of {size}: the others were not met within {wait:.0f} s ({reason}). Start all "
            "with torchrun or accelerate launch, which set MASTER_ADDR and MASTER_PORT."
        ) from error
    return Group(
        rank=state.process_index, world_size=state.num_processes, local_rank=state.local_process_index,
        wait=wait, channel=channel,
    )  # fmt: skip


def run_together(job: Job, store: Path, group: Group) -> dict[str, int]:
    """Have all of a job asked, each rank its share, into `store`; how many replies were missing, by method.

    Every rank calls it. On rank 0 the main store is whole when it returns, but for calls that failed. RankError if
    another rank is lost: what that had stored is merged all the same, here or by the next launch.
    """

    def find_missing() -> Missing:
        with Store(store, progress=False) as main:
            merge_shards(main)
            return job.missing(main)

    missing = group.broadcast(find_missing)
    share = partition(job.items, missing, group.world_size)[group.rank]
    if group.rank > 0:
        _ask_share(job, shard_of(store, group.rank, group.world_size), share, missing, group)
    else:
        _ask_and_merge(job, store, share, missing, group)
    return {method: len(indices) for method, indices in missing.items()}


def partition(items: Sequence[Item], missing: Missing, world_size: int) -> list[list[int]]:
    """The indices of the items that each rank asks: every missing one is in exactly one share.

    Items on one clip stay together, up to `MAX_SHARED`. These groups are dealt out like cards, the longest clips first:
    so shares take about the same time, and a batch too large for the memory shows at once.
    """
    by_clip: dict[Path, list[int]] = {}
    for index in sorted({index for indices in missing.values() for index in indices}):
        by_clip.setdefault(items[index].clip, []).append(index)
    seconds = {clip: _seconds(clip) for clip in by_clip}
    groups = [
        by_clip[clip][start : start + MAX_SHARED]
        for clip in sorted(by_clip, key=lambda clip: -seconds[clip])
        for start in range(0, len(by_clip[clip]), MAX_SHARED)
    ]
    return [[index for group in groups[rank::world_size] for index in group] for rank in range(world_size)]


def shard_of(store: Path, rank: int, world_size: int) -> Path:
    """The store file that a rank above 0 writes its replies to."""
    return store.with_name(f"{store.stem}.rank{rank}-of-{world_size}{store.suffix}")


def shards_of(store: Path) -> list[Path]:
    """All shards that lie beside a store, of any launch."""
    name = re.compile(re.escape(store.stem) + r"\.rank\d+-of-\d+" + re.escape(store.suffix))
    return sorted(path for path in store.absolute().parent.iterdir() if name.fullmatch(path.name))


@contextmanager
def claim(shard: Path) -> Iterator[None]:
    """Hold a shard for this process alone; RankError if another one holds it."""
    # The lock's file stays: removing one that others wait for would split the waiters.
    lock = FileLock(shard.with_name(f".{shard.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RankError(
            f"{shard}: another process is writing to it. Wait for that run, or give another --store."
        ) from error
    try:
        yield
    finally:
        lock.release()


def merge_shards(store: Store) -> int:
    """Merge and remove every shard beside `store` that no process holds; how many replies were new.

    StoreError for a shard of another schema, which is left as it is.
    """
    n_new = 0
    for shard in shards_of(store.path):
        try:
            with claim(shard):
                n_new += store.merge(shard)
                for suffix in ("", "-wal", "-shm"):
                    shard.with_name(shard.name + suffix).unlink(missing_ok=True)
        except RankError as error:
            log.warning("%s", error)
    return n_new


def _ask_and_merge(job: Job, store: Path, share: Sequence[int], missing: Missing, group: Group) -> None:
    """Rank 0's part; RankError if another rank did not do its own."""
    faults = []
    with Store(store, progress=False) as main:
        job.ask(main, share, missing)
        for rank in range(1, group.world_size):
            try:
                fault = group.receive(rank)  # "" when its part is done
            except RankError as error:
                fault = str(error)
            faults += [f"rank {rank}: {fault}"] if fault else []
        merge_shards(main)
    if faults:
        raise RankError(
            f"{'; '.join(faults)}. All replies so far are in {store}, or beside it: the same command asks the rest."
        )


def _ask_share(job: Job, shard: Path, share: Sequence[int], missing: Missing, group: Group) -> None:
    """The part of any other rank, which tells rank 0 how it ended."""
    try:
        with claim(shard), Store(shard, progress=False) as replies:
            job.ask(replies, share, missing, show=False)
    except BaseException as error:
        with suppress(RankError):
            group.send(f"{type(error).__name__}: {error}", 0)
        raise
    group.send("", 0)


def _seconds(clip: Path) -> float:
    try:
        return check_clip(clip)
    except AudioError:  # its questions fail at once
        return 0.0


def _variable(names: Sequence[str]) -> str | None:
    return next((os.environ[name] for name in names if name in os.environ), None)
