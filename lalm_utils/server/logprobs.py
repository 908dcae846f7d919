"""Options scored by the first token of a reply: `top_logprobs` of the OpenAI protocol, as vLLM and SGLang give them.

In: the answer to a request with FIELDS. Out: log-probabilities of options. A server tells how likely the reply's first
token was and its strongest rivals, and nothing of texts that it did not write. So an option has the probability of
all listed tokens that begin it. Options that begin with the same token share it equally: it does not tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["FIELDS", "MOST", "options", "top"]
MOST = 20  # tokens, the protocol's limit and vLLM's own
FIELDS = {"logprobs": True, "top_logprobs": MOST}
Top = list[tuple[str, float]]


def top(answer: Any) -> Top | None:
    """(token, log-probability in nats) of the first token's candidates; None where the answer tells none."""
    try:
        candidates = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    except (KeyError, IndexError, TypeError):
        return None
    rows = [each for each in candidates if isinstance(each, dict)] if isinstance(candidates, list) else []
    pairs = [(each.get("token"), each.get("logprob")) for each in rows]
    top_pairs = [(token, min(float(nats), 0.0)) for token, nats in pairs[:MOST] if _is_pair(token, nats)]
    return top_pairs or None


def _is_pair(token: Any, nats: Any) -> bool:
    number = isinstance(nats, int | float) and not isinstance(nats, bool) and abs(nats) < 1e9
    return isinstance(token, str) and number


def options(first: Top, texts: Sequence[str]) -> np.ndarray:
    """Each option's log-probability by the first token, in nats, (n_options,); NaN throughout if none is listed.

    An option of which no token is listed gets the least one that is, an upper bound. Case and spaces at the ends do
    not count.
    """
    labels, mass = [text.strip().casefold() for text in texts], np.zeros(len(texts))
    for token, nats in first:
        begin = token.strip().casefold()
        matches = np.array(
            [bool(begin) and (text.startswith(begin) or _whole(text, begin)) for text in labels]
        )
        if matches.any():
            mass[matches] += math.exp(nats) / matches.sum()
    if not mass.any():
        return np.full(len(texts), np.nan)
    least = min(nats for _, nats in first)
    return np.array([math.log(each) if each else least for each in mass])


def _whole(text: str, token: str) -> bool:
    """Whether the token is the option with a sign behind it, such as "rain."."""
    return bool(text) and token.startswith(text) and not any(map(str.isalnum, token[len(text) :]))
