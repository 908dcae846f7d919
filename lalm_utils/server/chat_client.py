"""Asking an OpenAI-compatible server: its list of models, and n samples of one chat.

In: a `JsonClient`, then the body of a request and how to draw. Out: replies. It knows no prompts and no clips.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lalm_utils.models import ModelError, Reply, failed
from lalm_utils.server.chat_format import prompt_tokens, replies
from lalm_utils.server.json_client import CallError, JsonClient

NO_LIST = (404, 405, 501)  # how servers without a list of models answer
NO_MANY = (400, 422)  # how servers without `n` answer
TOLD = ("id", "root", "parent", "owned_by")  # not "created", which for vLLM is the time of the request


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How replies are drawn. ValueError for a setting out of its range."""

    n: int
    temperature: float
    max_new_tokens: int
    seed: int
    first_sample: int

    def __post_init__(self) -> None:
        counts = self.n >= 1 and self.first_sample >= 0 and self.max_new_tokens >= 1
        if not counts or not 0 <= self.temperature < math.inf:
            raise ValueError(
                f"{self}: n and max_new_tokens are at least 1, first_sample is at least 0, and temperature is "
                "finite and not negative."
            )


class ChatClient:
    """The chat of one server. May be shared by threads."""

    def __init__(self, server: JsonClient, *, one_request: bool = True) -> None:
        """one_request: n samples are asked for at once, until the server answers one where it did not give n."""
        self.server, self.one_request = server, one_request
        self.answered_as: set[tuple[str, str]] = set()  # (model, system fingerprint) of the answers so far

    def told_of(self, model: str, *, check: bool) -> dict[str, str]:
        """What the server's list says of the model; empty where there is no list.

        check: ModelError for a model that is not on the list, CallError for a list that cannot be had.
        """
        try:
            listed = self.server.call("/models")
        except CallError as error:
            if check and error.status not in NO_LIST:
                raise
            return {}
        cards = listed.get("data") if isinstance(listed, dict) else None
        cards = [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []
        card = next((card for card in cards if card.get("id") == model), None)
        if check and cards and card is None:
            some = ", ".join(_plain(str(card.get("id"))[:80]) for card in cards[:5])
            raise ModelError(
                f"{self.server.address} has no model {model!r} on its list, which starts with {some}. Check the "
                "spelling; check=False asks it all the same."
            )
        told = ((key, (card or {}).get(key)) for key in TOLD)
        return {key: value for key, value in told if isinstance(value, str)}

    def draw(self, body: Mapping[str, Any], how: Sampling, *, truncated: bool) -> list[Reply]:
        """`how.n` replies to the chat in `body`: samples `first_sample` and on, sample k with seed + k.

        At temperature 0 one reply stands for all, and no seed is sent. Of requests of their own, the first
        that fails takes the later ones with it. Raises CallError if no reply at all is to be had.
        """
        body = {**body, "temperature": how.temperature, "max_tokens": how.max_new_tokens}
        if how.temperature == 0:
            return self._ask(body, truncated, 1) * how.n
        seeds = range(how.seed + how.first_sample, how.seed + how.first_sample + how.n)
        together = how.n > 1 and self.one_request
        drawn = self._together(body, seeds, truncated) if together else []
        while len(drawn) < how.n:
            try:
                drawn += self._ask({**body, "seed": seeds[len(drawn)]}, truncated, 1)
                self.one_request = self.one_request and not together
            except CallError as error:
                if not drawn:
                    raise
                drawn += [failed(f"{type(error).__name__}: {error}")] * (how.n - len(drawn))
        return drawn

    def first(self, body: Mapping[str, Any], max_new_tokens: int) -> tuple[Reply, int | None]:
        """A greedy reply, and the tokens of its prompt, None where the server does not say. Raises CallError."""
        asked = {**body, "temperature": 0.0, "max_tokens": max_new_tokens}
        answer = self.server.call("/chat/completions", asked)
        return replies(answer, truncated=False, at_most=1)[0], prompt_tokens(answer)

    def _together(self, body: Mapping[str, Any], seeds: range, truncated: bool) -> list[Reply]:
        """As many samples as one request gives, at most one per seed; none where `n` is refused."""
        try:
            return self._ask({**body, "n": len(seeds), "seed": seeds[0]}, truncated, len(seeds))
        except CallError as error:
            if error.status not in NO_MANY:
                raise
            return []

    def _ask(self, body: Mapping[str, Any], truncated: bool, at_most: int) -> list[Reply]:
        answer = self.server.call("/chat/completions", body)
        found = replies(answer, truncated=truncated, at_most=at_most)
        told = (answer.get("model"), answer.get("system_fingerprint"))
        self.answered_as.add(tuple(str(value or "")[:200] for value in told))
        return found


def _plain(name: str) -> str:
    """A name that a server gave, without what would move a terminal's cursor."""
    return name if name.isprintable() else ascii(name)
