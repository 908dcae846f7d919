"""The chat protocol of OpenAI-compatible servers: a `Prompt` as a request's messages, an answer as `Reply`s.

In: prompts and a `JsonClient`. Out: replies. What is no whole reply is a failed one: an end that the protocol does not
know is not guessed at.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from lalm_utils.audio import read_clip, write_clip
from lalm_utils.messages import short_repr
from lalm_utils.models import Decoding, ModelError, Prompt, Reply, Turn, failed
from lalm_utils.server.http import CallError, JsonClient

AudioPart = Literal["input_audio", "audio_url"]
FINISHED = ("stop", "length")
CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}  # as vLLM and SGLang call it
NO_LIST = (404, 405, 501)  # statuses of servers without a list of models
NO_N = (400, 422)  # ... and without `n`
CARD_FIELDS = ("id", "root", "parent", "owned_by")  # not "created", which for vLLM is the time of the request

Part = dict[str, Any]


def messages(prompt: Prompt, part: Callable[[Path], Part]) -> list[dict[str, Any]]:
    """The turns as messages, clips before text, each clip as `part(clip)`. ModelError for a faulty prompt.

    A turn without clips is a plain text, which servers of text models take as well.
    """
    if not any(turn.role == "user" for turn in prompt.turns):
        raise ModelError("a prompt needs a user's turn: there is nothing to reply to.")
    return [_message(turn, part) for turn in prompt.turns]


def render(prompt: Prompt) -> str:
    """One JSON object a line, a turn each, where every clip is {"type": "clip"}.

    JSON, so that no text can pass for a turn or a clip. ModelError for a prompt that cannot be sent.
    """
    lines = [json.dumps(m, ensure_ascii=False) for m in messages(prompt, lambda clip: {"type": "clip"})]
    text = "\n".join(lines)
    if not _is_unicode(text):
        raise ModelError("a turn's text holds half a surrogate pair, which is no Unicode: mend the text.")
    return text


def audio_part(samples: np.ndarray, kind: AudioPart) -> Part:
    """Samples at 16 kHz as a part of a message, a 16-bit WAV file: OpenAI's "input_audio", or "audio_url" with a data
    address. Raises AudioError as write_clip does."""
    with TemporaryDirectory() as folder:  # the one writer of clips writes files
        file = Path(folder, "clip.wav")
        write_clip(file, samples)
        data = base64.b64encode(file.read_bytes()).decode("ascii")
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    return {"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{data}"}}


def request_messages(
    prompt: Prompt, kind: AudioPart, max_seconds: float
) -> tuple[list[dict[str, Any]], bool]:
    """The messages with their clips, and whether a clip was cut at `max_seconds`. Raises ModelError, AudioError."""
    truncated = []

    def part(path: Path) -> Part:
        clip = read_clip(path, max_seconds=max_seconds)
        truncated.append(clip.truncated)
        return audio_part(clip.samples, kind)

    return messages(prompt, part), any(truncated)


def replies(answer: Any, *, truncated: bool, at_most: int) -> list[Reply]:
    """One reply per choice, by index, the first `at_most`; a choice without a whole reply is a failed one.

    `n_tokens` is what the server counts (perhaps with the end of the turn), and 0 where it gives one number
    for several choices. Raises CallError for an answer without choices.
    """
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices or not all(isinstance(c, dict) for c in choices):
        raise CallError(f"the answer holds no choices, so it is no chat completion: {_short(answer)}")
    if all(type(choice.get("index")) is int for choice in choices):
        choices = sorted(choices, key=lambda choice: choice["index"])
    count = _usage(answer, "completion_tokens") if len(choices) == 1 else None
    n_tokens = count if count is not None and 0 <= count < 2**31 else 0
    return [_reply(choice, n_tokens, truncated) for choice in choices[:at_most]]


def prompt_tokens(answer: Any) -> int | None:
    """The tokens of the prompt as the server counts them; None where it does not say."""
    count = _usage(answer, "prompt_tokens")
    return count if count is not None and count > 0 else None


class ChatClient:
    """The chat of one server. May be shared by threads."""

    def __init__(self, server: JsonClient, *, one_request: bool = True) -> None:
        """one_request: n samples are asked for at once, until the server answers one where it did not give n."""
        self.server, self.one_request = server, one_request
        self.answered_as: set[tuple[str, str]] = set()  # (model, system fingerprint) of the answers so far

    def model_card(self, model: str, *, check: bool) -> dict[str, str]:
        """What the server's list says of the model; empty where there is no list.

        check: ModelError for a model that is not on the list, CallError for a list that cannot be had.
        """
        try:
            answer = self.server.call("/models")
        except CallError as error:
            if check and error.status not in NO_LIST:
                raise
            return {}
        cards = answer.get("data") if isinstance(answer, dict) else None
        cards = [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []
        card = next((card for card in cards if card.get("id") == model), None)
        if check and cards and card is None:
            names = (str(card.get("id"))[:80] for card in cards[:5])
            some = ", ".join(name if name.isprintable() else ascii(name) for name in names)
            raise ModelError(
                f"{self.server.address} has no model {model!r} on its list, which starts with {some}. Check the "
                "spelling; check=False asks it all the same."
            )
        values = ((key, (card or {}).get(key)) for key in CARD_FIELDS)
        return {key: value for key, value in values if isinstance(value, str)}

    def sample(self, body: Mapping[str, Any], decoding: Decoding, *, truncated: bool) -> list[Reply]:
        """`decoding.n` replies to the chat in `body`, sample k with the seed `seed + k`.

        At temperature 0 one reply stands for all, and no seed is sent. Of requests of their own, the first
        that fails takes the later ones with it. Raises CallError if no reply at all is to be had.
        """
        n = decoding.n
        body = {**body, "temperature": decoding.temperature, "max_tokens": decoding.max_new_tokens}
        if decoding.temperature == 0:
            return self._complete(body, truncated, 1) * n
        seeds = [decoding.seed + number for number in decoding.samples]
        together = n > 1 and self.one_request
        samples = self._complete_n(body, seeds, truncated) if together else []
        while len(samples) < n:
            try:
                samples += self._complete({**body, "seed": seeds[len(samples)]}, truncated, 1)
                self.one_request = self.one_request and not together
            except CallError as error:
                if not samples:
                    raise
                samples += [failed(f"{type(error).__name__}: {error}")] * (n - len(samples))
        return samples

    def greedy(self, body: Mapping[str, Any], max_new_tokens: int) -> tuple[Reply, int | None]:
        """A greedy reply, and the tokens of its prompt, None where the server does not say. Raises CallError."""
        answer = self.server.call(
            "/chat/completions", {**body, "temperature": 0.0, "max_tokens": max_new_tokens}
        )
        return replies(answer, truncated=False, at_most=1)[0], prompt_tokens(answer)

    def _complete_n(self, body: Mapping[str, Any], seeds: list[int], truncated: bool) -> list[Reply]:
        """As many samples as one request gives, at most one per seed; none where `n` is refused."""
        try:
            return self._complete({**body, "n": len(seeds), "seed": seeds[0]}, truncated, len(seeds))
        except CallError as error:
            if error.status not in NO_N:
                raise
            return []

    def _complete(self, body: Mapping[str, Any], truncated: bool, at_most: int) -> list[Reply]:
        answer = self.server.call("/chat/completions", body)
        samples = replies(answer, truncated=truncated, at_most=at_most)
        names = (answer.get("model"), answer.get("system_fingerprint"))
        self.answered_as.add(tuple(str(name or "")[:200] for name in names))
        return samples


def _message(turn: Turn, part: Callable[[Path], Part]) -> dict[str, Any]:
    if turn.clips and turn.role != "user":
        raise ModelError(
            f"a turn of the {turn.role} has a clip: the protocol takes clips from the user alone."
        )
    if not turn.clips:
        return {"role": turn.role, "content": turn.text}
    text = [{"type": "text", "text": turn.text}] if turn.text else []
    return {"role": turn.role, "content": [*map(part, turn.clips), *text]}


def _reply(choice: dict[str, Any], n_tokens: int, truncated: bool) -> Reply:
    message, end = choice.get("message"), choice.get("finish_reason")
    if end == "content_filter":
        return failed("the server's filter held the reply back (finish_reason content_filter)")
    if not isinstance(end, str) or end not in FINISHED:
        return failed(f"finish_reason {_short(end)}: only {' and '.join(FINISHED)} end a whole reply")
    if not isinstance(message, dict) or not isinstance(message.get("content"), str | None):
        return failed(f"a choice without a text in message.content: {_short(choice)}")
    text = message.get("content") or ""
    if not text.strip():
        refusal = message.get("refusal")
        return failed(f"the server refuses: {_short(refusal)}" if refusal else f"empty reply ({end})")
    if not _is_unicode(text):
        return failed(f"half a surrogate pair in the reply, which is no Unicode: {_short(text)}")
    return Reply(text=text, n_tokens=n_tokens, finish=end, truncated=truncated)


def _usage(answer: Any, name: str) -> int | None:
    usage = answer.get("usage") if isinstance(answer, dict) else None
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(value: Any) -> str:
    """The start of a value as ASCII, for messages."""
    return short_repr(value).encode("ascii", "backslashreplace").decode()[:120]
