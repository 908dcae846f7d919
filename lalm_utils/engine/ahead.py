"""Clips of the next prompts, decoded by another thread while the model works on the present ones.

In: a function that reads a clip file. Out: the same function, which has some results at hand. It knows no models.
Decoding and resampling leave Python's lock alone, so the thread takes a core of its own for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

R = TypeVar("R")
MOST = 64  # clips begun at once, and as many more may still wait to be used: of 30 s, 240 MB in all


class Ahead(Generic[R]):
    """`read(path)`, begun as soon as a path is expected. Results that nobody asks for make room for newer ones."""

    def __init__(self, read: Callable[[Path], R], *, most: int = MOST) -> None:
        self.read, self.most = read, most
        self._coming: dict[Path, Future[R]] = {}
        self._thread: ThreadPoolExecutor | None = None  # models that are never told what comes need none

    def expect(self, paths: Iterable[Path]) -> None:
        """Begin to read those of `paths` that are not begun, `most` of them at most. Returns at once."""
        for path in list(dict.fromkeys(paths))[: self.most]:
            if path not in self._coming:
                self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="decode")
                self._coming[path] = self._thread.submit(self.read, path)
        for path in list(self._coming)[: -2 * self.most]:
            self._coming.pop(path).cancel()

    def __call__(self, path: Path) -> R:
        """What `read(path)` gives or raises. A result is handed out once, so that a file that changes is read anew."""
        coming = self._coming.pop(path, None)
        # one that has not been begun is read here: the thread is busy with others
        return self.read(path) if coming is None or coming.cancel() else coming.result()
