"""Values in messages, short enough to read.

In: any value, however large. Out: its repr, cut. An error names the value that it is about, and a value may be a
list of a million texts or a text of a megabyte.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from typing import Any

MAX_CHARACTERS = 600  # of a value; 26 options of 20 characters are shown whole
_REPR = reprlib.Repr()
_REPR.maxlevel = 4
_REPR.maxlist = _REPR.maxtuple = 30
_REPR.maxdict = _REPR.maxset = _REPR.maxfrozenset = 10
_REPR.maxstring = _REPR.maxother = 200
_REPR.maxlong = 60


def short_repr(value: Any) -> str:
    """`repr(value)`, with "..." for what is too much of it."""
    return _cut(_REPR.repr(value))


def join(names: Iterable[object], at_most: int = 20) -> str:
    """The names one after the other, the first `at_most` of them."""
    first = [str(name)[:80] for name, _ in zip(names, range(at_most + 1))]
    return ", ".join(first[:at_most]) + (", ..." if len(first) > at_most else "")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 3]}..."
