"""Batches that survive their worst member: a prompt that fails costs the others nothing."""

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
    """Why a member of a batch has no result."""

    error: str


def bisect_on_failure(
    batch: Sequence[T],
    work: Callable[[Sequence[T]], Sequence[R]],
    *,
    recover: Callable[[], None] = lambda: None,
    shrink: Callable[[int], None] = lambda size: None,
) -> list[R | Failure]:
    """`work(batch)`: one result per member, in order. A batch that fails is tried again by halves, down to single
    members, and a member that fails by itself becomes a `Failure`.

    After each failure `recover` may free memory; if memory ran out, `shrink` is called with the new size.
    KeyboardInterrupt and its like pass through.
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
    halves = (batch[:size], batch[size:])
    return [
        result for half in halves for result in bisect_on_failure(half, work, recover=recover, shrink=shrink)
    ]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory, of a GPU or of the machine, was short."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)
