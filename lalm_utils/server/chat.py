"""The chat protocol of OpenAI-compatible servers: a `Prompt` as a request's messages, an answer as `Reply`s.

In: prompts and answers. Out: messages and replies. What is no whole reply is a failed one: an end that the protocol
does not know is not guessed at.
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
from lalm_utils.server.http import CallError

AudioPart = Literal["input_audio", "audio_url"]
FINISHED = ("stop", "length")
ENDS = {  # what servers call these, beside the protocol's own names
    **dict.fromkeys(("eos", "eos_token", "end_turn", "stop_sequence"), "stop"),
    **dict.fromkeys(("max_tokens", "max_length"), "length"),
}
CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}  # as vLLM and SGLang call it

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


def replies(answer: Any, *, at_most: int) -> list[Reply]:
    """One reply per choice, by index, the first `at_most`; a choice without a whole reply is a failed one.

    `n_tokens` is what the server counts (perhaps with the end of the turn), and 0 where it gives one number
    for several choices. Raises CallError for an answer without choices.
    """
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices or not all(isinstance(c, dict) for c in choices):
        raise CallError(f"the answer holds no choices, so it is no chat completion: {_short(answer)}")
    if all(type(choice.get("index")) is int for choice in choices):
        choices = sorted(choices, key=lambda choice: choice["index"])
    count = usage(answer, "completion_tokens") if len(choices) == 1 else None
    return [_reply(choice, count or 0) for choice in choices[:at_most]]


def usage(answer: Any, name: str) -> int | None:
    """A number of tokens as the server counts them; None where it does not say."""
    counts = answer.get("usage") if isinstance(answer, dict) else None
    count = counts.get(name) if isinstance(counts, dict) else None
    return count if type(count) is int and 0 < count < 2**31 else None


def _message(turn: Turn, part: Callable[[Path], Part]) -> dict[str, Any]:
    if turn.clips and turn.role != "user":
        raise ModelError(
            f"a turn of the {turn.role} has a clip: the protocol takes clips from the user alone."
        )
    if not turn.clips:
        return {"role": turn.role, "content": turn.text}
    text = [{"type": "text", "text": turn.text}] if turn.text else []
    return {"role": turn.role, "content": [*map(part, turn.clips), *text]}


def _reply(choice: dict[str, Any], n_tokens: int) -> Reply:
    message, end = choice.get("message"), choice.get("finish_reason")
    if end == "content_filter":
        return failed("the server's filter held the reply back (finish_reason content_filter)")
    end = ENDS.get(end, end) if isinstance(end, str) else end
    if not isinstance(end, str) or end not in FINISHED:
        return failed(f"finish_reason {_short(end)}: only {' and '.join(FINISHED)} end a whole reply")
    if not isinstance(message, dict) or not isinstance(message.get("content"), str | None):
        return failed(f"a choice without a text in message.content: {_short(choice)}")
    text = message.get("content") or ""
    if not text.strip():
        refusal = message.get("refusal")
        return failed(f"the server refuses: {_short(refusal)}" if refusal else _why_empty(choice, end))
    if not _is_unicode(text):
        return failed(f"half a surrogate pair in the reply, which is no Unicode: {_short(text)}")
    return Reply(text=text, n_tokens=n_tokens, finish=end)


def reasoning(choice: Any) -> str:
    """What a server with a reasoning parser keeps apart from the reply; "" if nothing."""
    message = choice.get("message") if isinstance(choice, dict) else None
    message = message if isinstance(message, dict) else {}
    texts = (message.get(name) for name in ("reasoning_content", "reasoning"))
    return next((text for text in texts if isinstance(text, str) and text.strip()), "")


def _why_empty(choice: dict[str, Any], end: str) -> str:
    if end == "length":
        still = "the model was still thinking" if reasoning(choice) else "nothing but what is not shown came"
        return f"empty reply (length): {still} at the limit of tokens; raise it (--max-new-tokens, max_new_tokens)"
    if reasoning(choice):
        return (
            f"empty reply ({end}): all of it is in reasoning_content, so the server's reasoning parser does not fit "
            "the model; start the server with another one, or with none"
        )
    return f"empty reply ({end})"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(value: Any) -> str:
    """The start of a value as ASCII, for messages."""
    return short_repr(value).encode("ascii", "backslashreplace").decode()[:120]
