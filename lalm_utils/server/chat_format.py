"""The chat protocol of OpenAI-compatible servers: a `Prompt` as its messages, an answer as `Reply`s.

In: a prompt, later a parsed answer. Out: plain dicts ready for JSON, and replies. It opens no connection.
What is no whole reply is a failed one: an end that the protocol does not know is not guessed at.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from lalm_utils.audio import read_clip, write_clip
from lalm_utils.messages import short_repr
from lalm_utils.models import ModelError, Prompt, Reply, Turn, failed
from lalm_utils.server.json_client import CallError

AudioPart = Literal["input_audio", "audio_url"]
ENDS = ("stop", "length")
CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}  # as vLLM and SGLang call it

Part = dict[str, Any]


def messages(prompt: Prompt, part: Callable[[Path], Part]) -> list[dict[str, Any]]:
    """The turns as messages, clips before text, each clip as `part(clip)`. ModelError for a faulty prompt.

    A turn without clips is a plain text, which servers of text models take as well.
    """
    if not any(turn.role == "user" for turn in prompt.turns):
        raise ModelError("a prompt needs a user's turn: there is nothing to reply to.")
    return [_message(turn, part) for turn in prompt.turns]


def _message(turn: Turn, part: Callable[[Path], Part]) -> dict[str, Any]:
    if turn.clips and turn.role != "user":
        raise ModelError(
            f"a turn of the {turn.role} has a clip: the protocol takes clips from the user alone."
        )
    if not turn.clips:
        return {"role": turn.role, "content": turn.text}
    text = [{"type": "text", "text": turn.text}] if turn.text else []
    return {"role": turn.role, "content": [*map(part, turn.clips), *text]}


def rendered(prompt: Prompt) -> str:
    """One JSON object a line, a turn each, where every clip is {"type": "clip"}.

    JSON, so that no text can pass for a turn or a clip. ModelError for a prompt that cannot be sent.
    """
    lines = [json.dumps(m, ensure_ascii=False) for m in messages(prompt, lambda clip: {"type": "clip"})]
    text = "\n".join(lines)
    if not _is_unicode(text):
        raise ModelError("a turn's text holds half a surrogate pair, which is no Unicode: mend the text.")
    return text


def audio_part(content: bytes, kind: AudioPart) -> Part:
    """A WAV file as a part of a message: OpenAI's "input_audio", or "audio_url" with a data address."""
    data = base64.b64encode(content).decode("ascii")
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    return {"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{data}"}}


def wav_of(path: Path, max_seconds: float) -> tuple[bytes, bool]:
    """A clip as the bytes of a 16 kHz mono 16-bit WAV file, and whether it was cut. Raises AudioError."""
    clip = read_clip(path, max_seconds=max_seconds)
    return wav(clip.samples), clip.truncated


def wav(samples: np.ndarray) -> bytes:
    """Samples at 16 kHz as the bytes of a 16-bit WAV file. Raises AudioError as write_clip does."""
    with TemporaryDirectory() as folder:  # the one writer of clips writes files
        file = Path(folder, "clip.wav")
        write_clip(file, samples)
        return file.read_bytes()


def replies(answer: Any, *, truncated: bool, at_most: int) -> list[Reply]:
    """One reply per choice, by index, the first `at_most`; a choice without a whole reply is a failed one.

    `n_tokens` is what the server counts (perhaps with the end of the turn), and 0 where it gives one number
    for several choices. Raises CallError for an answer without choices.
    """
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices or not all(isinstance(c, dict) for c in choices):
        raise CallError(f"the answer holds no choices, so it is no chat completion: {_short(answer)}")
    indices = [choice.get("index") for choice in choices]
    if all(type(index) is int for index in indices):
        choices = sorted(choices, key=lambda choice: choice["index"])
    usage = answer.get("usage")
    count = usage.get("completion_tokens") if isinstance(usage, dict) and len(choices) == 1 else 0
    n_tokens = count if type(count) is int and 0 <= count < 2**31 else 0
    return [_reply(choice, n_tokens, truncated) for choice in choices[:at_most]]


def _reply(choice: dict[str, Any], n_tokens: int, truncated: bool) -> Reply:
    message, end = choice.get("message"), choice.get("finish_reason")
    if end == "content_filter":
        return failed("the server's filter held the reply back (finish_reason content_filter)")
    if not isinstance(end, str) or end not in ENDS:
        return failed(f"finish_reason {_short(end)}: only {' and '.join(ENDS)} end a whole reply")
    if not isinstance(message, dict) or not isinstance(message.get("content"), str | None):
        return failed(f"a choice without a text in message.content: {_short(choice)}")
    text = message.get("content") or ""
    if not text.strip():
        refusal = message.get("refusal")
        return failed(f"the server refuses: {_short(refusal)}" if refusal else f"empty reply ({end})")
    if not _is_unicode(text):
        return failed(f"half a surrogate pair in the reply, which is no Unicode: {_short(text)}")
    return Reply(text=text, n_tokens=n_tokens, finish=end, truncated=truncated)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def prompt_tokens(answer: Any) -> int | None:
    """The tokens of the prompt as the server counts them; None where it does not say."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return count if type(count) is int and count > 0 else None


def _short(value: Any) -> str:
    """The start of a value as ASCII, for messages."""
    return short_repr(value).encode("ascii", "backslashreplace").decode()[:120]
