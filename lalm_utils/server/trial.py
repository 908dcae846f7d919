"""A first question to a server, before a thousand: does the model reply, and does a clip reach its prompt?

In: a server's chat and the fields of each request. Out: how many tokens the server counts for one question with and
without a clip, or a ModelError. A reply that is empty, or special tokens alone, is an error: some releases of
transformers behind vLLM give nothing else.

Equal replies to a sound and to silence would prove nothing, since a model that hears may say the same of both. That
a prompt has more tokens with a clip than without does not prove that the model makes use of it, either, but where
it has no more, the clip was dropped. Whether a model hears is told by `runs.with_silence` and `runs.swap_clips`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lalm_utils.audio import RATE, chirp
from lalm_utils.models import ModelError, Prompt, Turn
from lalm_utils.server import chat_format
from lalm_utils.server.chat_client import ChatClient
from lalm_utils.server.chat_format import AudioPart
from lalm_utils.server.json_client import CallError

QUESTION = "What do you hear?"
MAX_NEW_TOKENS = 32
SPECIAL = re.compile(r"(\s*<\|[^<>|]*\|>)+\s*|(\s*</?s>)+\s*")

log = logging.getLogger(__name__)


def try_out(
    chat: ChatClient, fields: Mapping[str, Any], *, audio_part: AudioPart, window_seconds: float
) -> dict[str, int]:
    """Tokens of the question's prompt with_clip and without_clip; {} where the server does not tell.

    fields: those of each request, `model` among them. Raises ModelError, and CallError for a call that fails.
    """
    wav = chat_format.wav(chirp()[: round(window_seconds * RATE)])
    part = chat_format.audio_part(wav, audio_part)
    reply, with_clip = chat.first(fields | {"messages": _messages(part)}, MAX_NEW_TOKENS)
    fault = reply.error or ("special tokens alone" if SPECIAL.fullmatch(reply.text) else "")
    if fault:
        raise ModelError(
            f"{fields['model']} gives no reply to a first question about a clip of a second: {fault}"
            f"{f', {reply.text[:80]!r}' if reply.text else ''}. Check the model's and transformers' releases on "
            "the server (vLLM with transformers 5.10.0 to 5.10.3 replies so); check=False skips this test."
        )
    try:
        _, without_clip = chat.first(fields | {"messages": _messages()}, MAX_NEW_TOKENS)
    except CallError:  # a server may refuse what has no clip
        without_clip = None
    if with_clip is None or without_clip is None:
        log.warning(
            "%s: the server does not count the tokens of prompts, so it cannot be told whether clips reach the "
            "model; compare with runs.with_silence",
            fields["model"],
        )
        return {}
    if with_clip <= without_clip:
        raise ModelError(
            f"{fields['model']} gets no audio: a question has {with_clip} tokens with a clip and {without_clip} "
            f"without, so the server drops the clip. Try another audio_part than {audio_part!r}, and check that "
            "the server runs a model with audio; check=False skips this test."
        )
    return {"with_clip": with_clip, "without_clip": without_clip}


def _messages(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    clips = tuple(Path("chirp") for _ in parts)
    prompt = Prompt(turns=(Turn(role="user", text=QUESTION, clips=clips),))
    return chat_format.messages(prompt, lambda clip: parts[0])
