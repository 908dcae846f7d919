"""The first question to a server: what it asks, which servers it refuses, and what it cannot tell."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from chat_server import Answer, Chat, ChatServer, completion

from lalm_utils.audio import RATE
from lalm_utils.load_model import load_model
from lalm_utils.models import ModelError, Prompt, Turn
from lalm_utils.server import api_model
from lalm_utils.server.http import Backoff

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
        return completion(reply, extra={"usage": {"completion_tokens": 3, "prompt_tokens": count}}, **how)

    return answer


def test_a_server_that_hears_is_asked_twice_in_few_tokens_and_its_counts_are_kept(server):
    server.default = counting(57, 31)
    model = load(server)
    assert model.description["prompt_tokens"] == {"with_clip": 57, "without_clip": 31}
    with_clip, without_clip, absurd = server.chats
    assert [len(chat.wavs) for chat in (with_clip, without_clip)] == [1, 0]
    assert len(with_clip.wavs[0]) == 44 + 2 * RATE
    assert with_clip.text == without_clip.text == api_model.PROBE
    assert absurd.body["repetition_penalty"] == -1  # taken as well, so the server does not know what it is
    for chat in (with_clip, without_clip):
        bodies = {name: chat.body[name] for name in ("model", "temperature", "max_tokens", "top_p")}
        assert bodies == {"model": "tiny", "temperature": 0, "max_tokens": 32, "top_p": 1}


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
    with pytest.raises(ModelError, match=r"tiny cannot be asked: .*no audio here") as excinfo:
        load(server)
    assert server.chats[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(excinfo.value)
    assert KEY not in caplog.text


def test_without_the_check_nothing_is_asked(server):
    assert load(server, check=False).description["prompt_tokens"] == "not told"
    assert server.chats == []


def test_what_was_asked_first_does_not_change_the_fingerprint(server):
    server.default = counting(57, 31)
    assert load(server).fingerprint == load(server, check=False).fingerprint


# ---- what the first question finds out


def refused(message: str, status: int = 400) -> Answer:
    return Answer(status=status, body=json.dumps({"error": {"message": message}}).encode())


def particular(
    part: str = "input_audio", limit: str = "max_tokens", knows: bool = False
) -> Callable[[Chat], Answer]:
    """A server that takes one kind of part and one name of the limit, and knows the fields of NEUTRAL or no others."""

    def answer(chat: Chat) -> Answer:
        kinds = {p["type"] for p in chat.parts} - {"text"}
        if kinds - {part}:
            return refused(f"Input tag does not match any of the expected tags: 'text', {part!r}", 422)
        if limit not in chat.body:
            return refused(f"Unsupported parameter, use {limit!r} instead")
        if not 0 < chat.body.get("repetition_penalty", 1) <= 2:
            return refused("repetition_penalty has to be above 0") if knows else counting(57, 31)(chat)
        count = 57 if kinds else 31
        return completion("A tone.", extra={"usage": {"completion_tokens": 3, "prompt_tokens": count}})

    return answer


def next_chat(server: ChatServer, model) -> Chat:
    """The chat of one more question, by its body."""
    (replies,) = model.generate([Prompt(turns=(Turn(role="user", text="And now?"),))], max_new_tokens=9)
    assert replies[0].text == "A tone."
    return server.chats[-1]


@pytest.mark.parametrize("part", ["input_audio", "audio_url"])
@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_the_kind_of_part_and_the_name_of_the_limit_are_found_out(server, part, limit):
    server.default = particular(part, limit)
    model = load(server)
    settings = {name: model.description[name] for name in ("audio_part", "limit_field")}
    assert settings == {"audio_part": part, "limit_field": limit}
    body = next_chat(server, model).body
    assert (body[limit], *(set(body) & {"max_tokens", "max_completion_tokens"})) == (9, limit)
    explicit = load(server, audio_part=part, limit_field=limit)
    assert model.fingerprint == explicit.fingerprint, "what is found out is what could have been said"


def test_what_is_said_of_a_server_is_not_tried_otherwise(server):
    server.default = particular("audio_url")
    with pytest.raises(ModelError, match="expected tags: 'text', 'audio_url'"):
        load(server, audio_part="input_audio")
    server.default = particular(limit="max_completion_tokens")
    with pytest.raises(ModelError, match="use 'max_completion_tokens' instead"):
        load(server, limit_field="max_tokens")


def test_a_server_that_knows_penalties_is_told_that_there_is_none(server, caplog):
    server.default = particular(knows=True)
    model = load(server)
    body = next_chat(server, model).body
    assert {name: body[name] for name in api_model.NEUTRAL} == {"repetition_penalty": 1.0, "top_k": -1}
    assert "does not take" not in caplog.text
    said_by_hand = load(server, extra={"repetition_penalty": 1.0, "top_k": -1})
    assert model.fingerprint == said_by_hand.fingerprint != load(server, neutral=False).fingerprint
    assert "the server's own" in load(server, neutral=False).description["sampling"]
    assert next_chat(server, load(server, extra={"top_k": 5})).body["top_k"] == 5


def test_of_another_server_it_is_said_that_its_own_settings_hold_and_the_key_stays(server, caplog):
    server.default = particular()
    model = load(server)
    assert not api_model.NEUTRAL.keys() & next_chat(server, model).body.keys()
    assert (
        "the server does not take repetition_penalty and top_k, so its own or the model's stored"
        in caplog.text
    )
    assert model.description["sampling"].startswith("the server's own, but for temperature and top_p")
    assert (
        model.fingerprint == load(server, check=False).fingerprint == load(server, neutral=False).fingerprint
    )


def thinking(chat: Chat) -> Answer:
    choice = {"message": {"content": None, "reasoning_content": "A low voice"}, "finish_reason": "length"}
    usage = {"prompt_tokens": 57 if chat.wavs else 31}
    return Answer(body=json.dumps({"choices": [choice], "usage": usage}).encode())


def test_a_server_whose_model_still_thinks_is_taken_and_the_limit_named(server):
    server.default = thinking
    (replies,) = load(server).generate([Prompt(turns=(Turn(role="user", text="?"),))])
    assert (
        "the model was still thinking at the limit of tokens; raise it (--max-new-tokens" in replies[0].error
    )


@pytest.mark.parametrize(
    "end, finish",
    [
        ("eos", "stop"),
        ("eos_token", "stop"),
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_length", "length"),
    ],
)
def test_other_names_of_the_ends_are_known(server, end, finish):
    server.default = counting(57, 31, finish=end)
    (replies,) = load(server).generate([Prompt(turns=(Turn(role="user", text="?"),))])
    assert (replies[0].text, replies[0].finish) == ("A tone.", finish)


@pytest.mark.parametrize("copies", [True, False])
def test_samples_that_are_copies_are_noticed(server, caplog, copies):
    model = load(server, check=False)
    texts = (lambda i: "bell") if copies else (lambda i: f"bell {i}")
    server.default = lambda chat: completion(*(texts(i) for i in range(chat.body.get("n", 1))))
    questions = [Prompt(turns=(Turn(role="user", text=f"{i}?"),)) for i in range(6)]
    model.generate(questions, n=3, temperature=0.0)
    assert "are equal at temperature" not in caplog.text
    model.generate(questions, n=3, temperature=1.0)
    assert (
        caplog.text.count("all samples of each of the first 5 prompts are equal at temperature 1") == copies
    )


def test_a_server_that_died_while_answering_is_said_to_have_died(monkeypatch):
    with ChatServer() as server:
        server.default = counting(57, 31)
        model = load(server)
    (replies,) = model.generate([Prompt(turns=(Turn(role="user", text="?"),))])
    assert "the server has answered before, so it died while answering or was stopped" in replies[0].error
    with pytest.raises(ModelError) as excinfo:
        load(server)
    assert "died" not in str(excinfo.value), "it was never seen alive"


def test_an_option_of_a_wrong_type_is_refused(server):
    with pytest.raises(ModelError, match=r"an option of \{'concurrency': 'many'.* has the wrong type"):
        load_model(f"openai:{server.address}#tiny", concurrency="many")
