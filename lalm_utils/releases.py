"""Which release of a benchmark items are of, by their content and by nothing else.

In: items. Out: their `Release`: a SHA-256 over all that is asked and graded, and a name. The hash does not depend on
a file's name, layout, order of keys or order of items; clips are not opened, so it says nothing of the audio.

`releases.json` holds what is known by name, with a short digest of every item and of every id, so that a part of a
release, or a changed copy, is said to be one. MMAU's test-mini was published several times before v05.15.25 revised
it, under the same ids mostly: of that time ten items are known, all ten revised since, and what asks them as they were
is named "before v05.15.25", with its own hash to tell one such file from another. The whole of SAKURA was not at
hand; content like it is called unknown, beside how much of it is known. The embedded benchmark is compared with what
its generator plans.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lalm_utils.benchmarks import MINI_SPLITS, generator_version, planned_items
from lalm_utils.items import Item

TABLE = Path(__file__).with_name("releases.json")
SHORT = 8  # hex digits of a digest in releases.json: two of 3,000 items meet by chance once in 1,000
SAME_IDS = 0.5  # share of ids that are a release's, from which on unknown items are a version of it


@dataclass(frozen=True, kw_only=True)
class Release:
    """What items are: a name for people, and the SHA-256 of their content."""

    name: (
        str  # "MMAU test-mini v05.15.25", "12 of the 999 items of mini test", "unknown release, 3f2a9c01d7e4"
    )
    sha256: str
    known: bool  # every item is of a named release

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A release that is known by name."""

    name: str
    sha256: str
    size: int


def identify(items: Sequence[Item]) -> Release:
    """The release that `items` are, are a part of, or have something in common with."""
    digests = [digest(item) for item in items]
    total, releases = content_hash(digests), _releases_of(items, digests)
    members: dict[Whole, list[str]] = {}
    for item_digest in digests:
        if item_digest in releases:
            members.setdefault(releases[item_digest], []).append(item_digest)
    parts = [_part(whole, some) for whole, some in members.items()]
    if sum(map(len, members.values())) == len(items):
        return Release(name=" and ".join(parts), sha256=total, known=True)
    common = f" ({len(items):,} items, among them {' and '.join(parts)})" if parts else ""
    return Release(name=f"{_unknown_name(items, digests)}, {total[:12]}{common}", sha256=total, known=False)


def digest(item: Item) -> str:
    """SHA-256 of one item: id, modality, question, options in order, the gold one, and whether there is one."""
    parts = [item.id, item.modality, item.question, item.options, item.gold, item.answerable]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def content_hash(digests: Iterable[str]) -> str:
    """SHA-256 over the digests of items, in whatever order they come."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _id_digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:SHORT]


def _unknown_name(items: Sequence[Item], digests: Sequence[str]) -> str:
    """What unknown items are called: an earlier time's, another version of a release whose ids they have, or so."""
    short = {full[:SHORT] for full in digests}
    for name, revised in _table()["earlier"].items():
        if short & _split(revised):
            return name
    ids = {_id_digest(item.id) for item in items}
    for name, release in _table()["releases"].items():
        if len(ids & _split(release["ids"])) > SAME_IDS * len(ids):
            return f"another version of {name}"
    return "unknown release"


def _part(whole: Whole, digests: Sequence[str]) -> str:
    if content_hash(digests) == whole.sha256:
        return whole.name
    return f"{len(digests):,} of the {whole.size:,} items of {whole.name}"


def _releases_of(items: Sequence[Item], digests: Sequence[str]) -> dict[str, Whole]:
    """The release that each known digest is of."""
    releases = {full: whole for full in digests if (whole := _published_items().get(full[:SHORT]))}
    for split in {item.id.rpartition("-")[0] for item in items} & set(MINI_SPLITS):
        releases |= _mini_items(split)
    return releases


@cache
def _table() -> dict[str, dict[str, Any]]:
    """releases.json: `releases` by name; and, by the name of an `earlier` time, items that were revised since."""
    return json.loads(TABLE.read_text(encoding="utf-8"))


def _split(text: str) -> frozenset[str]:
    return frozenset(text[start : start + SHORT] for start in range(0, len(text), SHORT))


@cache
def _published_items() -> dict[str, Whole]:
    """By the first digits of an item's digest."""
    wholes: dict[str, Whole] = {}
    for name, release in _table()["releases"].items():
        short = _split(release["items"])
        wholes |= dict.fromkeys(short, Whole(name=name, sha256=release["sha256"], size=len(short)))
    return wholes


@cache
def _mini_items(split: str) -> dict[str, Whole]:
    """By the digest of an item of this split of the embedded benchmark."""
    digests = [digest(item) for item in planned_items(split)]
    name = f"mini {split} of generator {generator_version()}"
    return dict.fromkeys(digests, Whole(name=name, sha256=content_hash(digests), size=len(digests)))
