"""What several tests ask of a text."""

from __future__ import annotations

import json
import re


def strict_json(text: str) -> dict:
    """The object that a text holds; AssertionError for NaN and infinities, which Python reads and JSON has not."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def occurs(words: str, text: str) -> bool:
    """Whether these words stand in a text as whole words, in any case."""
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE) is not None
