"""Batches that survive their worst member.

In: a list, and a function that works on lists of such things. Out: one result each, in order, where a thing
that cannot be worked on yields a `Failure` and costs the others nothing. It knows nothing of models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why one thing has no result."""

    error: str


def isolate(
    batch: Sequence[T],
    work: Callable[[Sequence[T]], Sequence[R]],
    *,
    recover: Callable[[], None] = lambda: None,
    shrink: Callable[[int], None] = lambda size: None,
) -> list[R | Failure]:
    """`work(batch)`, where a batch that fails is tried again in parts, down to single members.

    Each half is tried by itself, and so on. When memory ran out, `shrink` is told of the new size, and `recover` may
    free some. KeyboardInterrupt and its like pass through.
    """
    try:
        return list(work(batch))
    except Exception as error:  # whatever it was, it is reported with the member that causes it
        message, full = f"{type(error).__name__}: {error}", is_out_of_memory(error)
    # outside the handler, since the exception holds on to the tensors of every frame it passed
    recover()
    if len(batch) == 1:
        log.warning("no reply: %s", message)
        return [Failure(error=message)]
    size = (len(batch) + 1) // 2
    log.warning("a batch of %d failed and is tried again by %d: %s", len(batch), size, message)
    if full:
        shrink(size)
    parts = [batch[start : start + size] for start in range(0, len(batch), size)]
    return [result for part in parts for result in isolate(part, work, recover=recover, shrink=shrink)]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory, of a GPU or of the machine, was short."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)
