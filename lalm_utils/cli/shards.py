"""A store beside the store for each process, how work is dealt to them, and how their replies come together.

In: the main store, items, and which of them are not yet answered. Out: shares of work, and shards whose rows are
in the main store. It does not know models, methods or how processes talk.

Rank 3 of 8 writes to `replies.rank3-of-8.sqlite` beside `replies.sqlite`, and to nothing else: SQLite's
write-ahead log must not be shared by hosts, so each file has one host that writes it. A shard is locked while
its process lives. `gather` merges every shard that nobody holds, of whatever launch and number of processes, and
only then removes it: what a killed process has stored is never asked again.
"""

from __future__ import annotations

import heapq
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lalm_utils.audio import AudioError, check_clip
from lalm_utils.cli.ranks import Rank, RankError
from lalm_utils.items import Item
from lalm_utils.store import Store

# Costs in tokens that a 7B language model reads; rough, since they only balance the load.
TOKENS_A_SECOND = 25  # of audio
TOKENS_A_QUESTION = 150  # its text, and the reply
TOKENS_A_TOWER_PASS = 130  # a window of 30 s through the audio tower
MOST_TOGETHER = 16  # items on one clip that stay together

Share = list[tuple[int, list[str]]]  # the place of an item, and the methods to ask it by

log = logging.getLogger(__name__)


def shard_of(store: Path, rank: Rank) -> Path:
    """The file that `rank` writes its replies to."""
    return store.with_name(f"{store.stem}.rank{rank.number}-of-{rank.world}{store.suffix}")


def shards_of(store: Path) -> list[Path]:
    """All shards that lie beside a store, of any launch."""
    name = re.compile(re.escape(store.stem) + r"\.rank\d+-of-\d+" + re.escape(store.suffix))
    return sorted(path for path in store.absolute().parent.iterdir() if name.fullmatch(path.name))


@contextmanager
def claimed(shard: Path, *, patience: float = 0.0) -> Iterator[None]:
    """Hold a shard for this process alone; RankError if another one holds it for longer than `patience` s."""
    lock = _lock(shard, patience)
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


def is_free(shard: Path) -> bool:
    """Whether no living process of this host holds the shard."""
    with suppress(Timeout), _lock(shard, 0):
        return True
    return False


def gather(store: Store, *, patience: float = 0.0) -> int:
    """Merge and remove every shard beside `store` that nobody holds; how many replies were new.

    `patience`: seconds to wait for a shard that is held; after that it is left. StoreError for a shard of
    another schema, which is left as well.
    """
    new = 0
    for shard in shards_of(store.path):
        try:
            with claimed(shard, patience=patience):
                new += store.merge(shard)
                _remove(shard)
        except RankError as error:
            log.warning("%s", error)
    return new


def deal(items: Sequence[Item], missing: Mapping[str, Sequence[int]], world: int) -> list[Share]:
    """A share for each of `world` ranks: every missing (place, method) is in exactly one of them.

    Items on one clip stay together, so that it goes through the audio tower once, up to `MOST_TOGETHER` of
    them. Groups are dealt by cost, the largest first, each to the rank with the least work so far; so a share
    begins with its longest clips, where a batch too large for the memory shows at once.
    """
    methods: dict[int, list[str]] = {}
    for method, places in missing.items():
        for place in places:
            methods.setdefault(place, []).append(method)
    groups = _groups(items, sorted(methods))
    costs = [_cost(items[group[0]], sum(len(methods[place]) for place in group)) for group in groups]
    loads = [(0.0, number) for number in range(world)]
    shares: list[Share] = [[] for _ in range(world)]
    for cost, group in sorted(zip(costs, groups), key=lambda pair: (-pair[0], pair[1])):
        load, number = heapq.heappop(loads)
        shares[number] += [(place, methods[place]) for place in group]
        heapq.heappush(loads, (load + cost, number))
    return shares


def _groups(items: Sequence[Item], places: Sequence[int]) -> list[list[int]]:
    by_clip: dict[Path, list[int]] = {}
    for place in places:
        by_clip.setdefault(items[place].clip, []).append(place)
    return [
        group[start : start + MOST_TOGETHER]
        for group in by_clip.values()
        for start in range(0, len(group), MOST_TOGETHER)
    ]


def _cost(item: Item, questions: int) -> float:
    try:
        seconds = check_clip(item.clip)
    except AudioError:  # its prompts fail at once
        seconds = 0.0
    heard = TOKENS_A_SECOND * min(seconds, 30.0)
    return TOKENS_A_TOWER_PASS + questions * (TOKENS_A_QUESTION + heard)


def _lock(shard: Path, patience: float) -> FileLock:
    # Left in place, as the cache's locks are: removing one that others wait for would split the waiters.
    return FileLock(shard.with_name(f".{shard.name}.lock"), timeout=patience)


def _remove(shard: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        shard.with_name(shard.name + suffix).unlink(missing_ok=True)
