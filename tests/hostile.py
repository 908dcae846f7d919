"""What a hostile case is, and the bounds that it must keep.

In: a class, a name, a way to build the input and what must come of it. Out: `Case`s for the tables in
hostile_*.py, and `within`, which stops what takes too long and reports what takes too much memory. It knows no
input and no part of the package.
"""

from __future__ import annotations

import os
import re
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 4.0  # wall-clock time of a case, the building of its input not counted; times PACE
REFERENCE = 0.010  # processor seconds of `pace`'s work on the processor for which the bounds were set
MEGABYTES = 300  # resident memory that a case may add
MESSAGE = 1_500  # characters of an error: a value may be shown, a megabyte of it may not
HIGH_WATER = Path("/proc/self/clear_refs")  # Linux: writing 5 sets the peak of resident memory back


@dataclass(frozen=True, kw_only=True)
class Case:
    """One hostile input. `expected`: a pattern of the error's text, or a check of the right answer."""

    kind: str  # the class that it belongs to
    name: str
    build: Callable[[Path], Any]  # from an empty folder, what `act` of its table takes
    expected: str | Callable[[Any], bool]

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


def cases(rows: Iterable[tuple]) -> list[Case]:
    """From (kind, name, build, expected) each."""
    return [
        Case(kind=kind, name=name, build=build, expected=expected) for kind, name, build, expected in rows
    ]


def pace() -> float:
    """How many times slower this processor is than that of REFERENCE, from 1 to 4: a bound is for the code."""

    def seconds() -> float:
        start, counts = time.process_time(), {}
        for i in range(100_000):
            key = str(i % 997)
            counts[key] = counts.get(key, 0) + len(key)
        return time.process_time() - start

    return min(max(min(seconds() for _ in range(7)) / REFERENCE, 1.0), 4.0)


PACE = pace()


class TooMuch(BaseException):
    """A bound is broken. No Exception: code that survives any Exception must not survive this."""


@contextmanager
def within(seconds: float = SECONDS * PACE, megabytes: float = MEGABYTES) -> Iterator[None]:
    """Raise TooMuch where the block takes longer, or makes the process grow more. For the main thread."""

    def stop(*_: object) -> None:
        raise TooMuch(f"not done after {seconds} s")

    before, start = signal.signal(signal.SIGALRM, stop), time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with _grown() as grown:
            yield
            elapsed, added = time.monotonic() - start, grown()
        if elapsed > seconds:  # one call into C is not interrupted
            raise TooMuch(f"took {elapsed:.1f} s, and {seconds} are allowed")
        if added > megabytes:
            raise TooMuch(f"took {added:.0f} MB, and {megabytes} are allowed")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _grown() -> Iterator[Callable[[], float]]:
    """How many megabytes the process grew by at most, C libraries included where the system tells."""
    try:
        HIGH_WATER.write_text("5")
    except OSError:
        tracemalloc.start()
        try:
            yield lambda: tracemalloc.get_traced_memory()[1] / 1e6
        finally:
            tracemalloc.stop()
    else:
        resident = _status("VmRSS")
        yield lambda: _status("VmHWM") - resident


def _status(name: str) -> float:
    text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1]) / 1000


def is_root() -> bool:
    """Whether permissions stop nobody here."""
    return hasattr(os, "geteuid") and os.geteuid() == 0
