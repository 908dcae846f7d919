"""The first question to a server: what it asks, which servers it refuses, and what it cannot tell."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from chat_server import Answer, Chat, ChatServer, said

from lalm_utils.audio import RATE
from lalm_utils.load_model import load_model
from lalm_utils.models import ModelError
from lalm_utils.server import trial
from lalm_utils.server.json_client import Backoff

KEY = "sk-loopback-0123456789abcdef"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("LALM_UTILS_API_KEY", KEY)
    with ChatServer() as started:
        yield started


def load(server: ChatServer, **options: Any):
    return load_model(f"openai:{server.address}#tiny", backoff=Backoff(sleep=lambda seconds: None), **options)


def counting(
    clip: int | None, text: int | None, reply: Any = "A tone.", **how: Any
) -> Callable[[Chat], Answer]:
    """Replies, and counts so many tokens for a prompt with a clip and for one without."""

    def answer(chat: Chat) -> Answer:
        count = clip if chat.wavs else text
        return said(reply, extra={"usage": {"completion_tokens": 3, "prompt_tokens": count}}, **how)

    return answer


def test_a_server_that_hears_is_asked_twice_in_few_tokens_and_its_counts_are_kept(server):
    server.default = counting(57, 31)
    model = load(server)
    assert model.description["prompt_tokens"] == {"with_clip": 57, "without_clip": 31}
    heard, read = server.chats
    assert [len(chat.wavs) for chat in (heard, read)] == [1, 0]
    assert len(heard.wavs[0]) == 44 + 2 * RATE
    assert heard.text == read.text == trial.QUESTION
    for chat in server.chats:
        sent = {name: chat.body[name] for name in ("model", "temperature", "max_tokens", "top_p")}
        assert sent == {"model": "tiny", "temperature": 0, "max_tokens": 32, "top_p": 1}


def test_the_settings_of_later_requests_hold_for_the_first(server):
    server.default = counting(57, 31)
    load(server, extra={"top_k": -1}, window_seconds=0.5)
    assert server.chats[0].body["top_k"] == -1
    assert len(server.chats[0].wavs[0]) == 44 + RATE


DEAF = [("as many tokens with a clip", 31, 31), ("fewer tokens with a clip", 30, 31)]


@pytest.mark.parametrize("name, clip, text", DEAF, ids=[case[0] for case in DEAF])
def test_a_server_that_drops_the_clip_is_refused(server, name, clip, text):
    server.default = counting(clip, text)
    with pytest.raises(
        ModelError, match=f"tiny gets no audio: a question has {clip} tokens with a clip and {text} without"
    ):
        load(server)


SILENT = [
    ("an empty reply", counting(57, 31, ""), "empty reply"),
    ("no text at all", counting(57, 31, None), "empty reply"),
    ("one special token", counting(57, 31, "<|audio_bos|>"), r"special tokens alone, '<\|audio_bos\|>'"),
    ("special tokens", counting(57, 31, "<|audio_bos|> <|im_end|>\n"), "special tokens alone"),
    ("an end of text", counting(57, 31, "</s>"), "special tokens alone"),
    ("a filtered reply", counting(57, 31, "x", finish="content_filter"), "content_filter"),
]


@pytest.mark.parametrize("name, answer, message", SILENT, ids=[case[0] for case in SILENT])
def test_a_server_without_a_reply_is_refused(server, name, answer, message):
    server.default = answer
    with pytest.raises(ModelError, match=f"tiny gives no reply to a first question .*{message}"):
        load(server)


@pytest.mark.parametrize("reply", ["<|audio_bos|> A tone.", "<b>a tone</b>", "<", "..."])
def test_a_reply_with_a_text_passes(server, reply):
    server.default = counting(57, 31, reply)
    assert load(server).name == "tiny"


UNTOLD = [("no counts", None, None), ("no count of one", 57, None), ("a count that is none", "57", 31)]


@pytest.mark.parametrize("name, clip, text", UNTOLD, ids=[case[0] for case in UNTOLD])
def test_a_server_that_does_not_count_is_taken_with_a_warning(server, caplog, name, clip, text):
    server.default = counting(clip, text)
    with caplog.at_level(logging.WARNING):
        assert load(server).description["prompt_tokens"] == "not told"
    assert "it cannot be told whether clips reach the model; compare with runs.with_silence" in caplog.text


def test_a_server_that_takes_no_question_without_a_clip_is_taken_with_a_warning(server, caplog):
    refusal = Answer(status=400, body=json.dumps({"error": {"message": "audio is required"}}).encode())
    server.default = lambda chat: counting(57, 31)(chat) if chat.wavs else refusal
    assert load(server).description["prompt_tokens"] == "not told"
    assert "cannot be told" in caplog.text


def test_a_server_that_refuses_clips_is_refused_and_the_key_is_not_shown(server, caplog):
    caplog.set_level(logging.DEBUG)
    body = json.dumps({"error": {"message": f"no audio here, {KEY}"}}).encode()
    server.default = lambda chat: Answer(status=400, body=body)
    with pytest.raises(ModelError, match=r"tiny cannot be asked: .*no audio here") as caught:
        load(server)
    assert server.chats[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(caught.value)
    assert KEY not in caplog.text


def test_without_the_check_nothing_is_asked(server):
    assert load(server, check=False).description["prompt_tokens"] == "not told"
    assert server.chats == []


def test_what_was_asked_first_does_not_change_the_fingerprint(server):
    server.default = counting(57, 31)
    assert load(server).fingerprint == load(server, check=False).fingerprint
