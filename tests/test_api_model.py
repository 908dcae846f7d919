"""Models behind a server: what is sent, what comes back, and all that can go wrong between the two."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from chat_server import CARD, Answer, Chat, ChatServer, completion

from lalm_utils.audio import RATE, content_hash, read_clip, write_clip
from lalm_utils.load_model import load_model
from lalm_utils.models import ModelError, Prompt, Turn
from lalm_utils.server.api_model import ApiModel
from lalm_utils.server.http import Backoff
from lalm_utils.store import Store

KEY = "sk-loopback-0123456789abcdef"
BAD_GATEWAY = Answer(status=502, body=b"<html>Bad gateway</html>", kind="text/html")


@pytest.fixture(autouse=True)
def no_key_of_the_machine(monkeypatch):
    for name in ("LALM_UTILS_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def no_first_question(monkeypatch):
    """What is asked at loading is the matter of test_trial.py; here each chat is a test's own."""
    monkeypatch.setattr(ApiModel, "probe", lambda self: {})


@pytest.fixture
def key(monkeypatch) -> str:
    monkeypatch.setenv("LALM_UTILS_API_KEY", KEY)
    return KEY


@pytest.fixture
def waits() -> list[float]:
    """What was waited between attempts, in seconds that nobody had to sit through."""
    return []


@pytest.fixture
def load(server, waits):
    """Load the server's model. Jitter is at its most, so that waits are the bounds they are drawn below."""
    loaded = []

    def load(model: str = "tiny", **options: Any) -> ApiModel:
        backoff = Backoff(sleep=waits.append, draw=lambda low, high: high)
        loaded.append(load_model(f"openai:{server.address}#{model}", **{"backoff": backoff} | options))
        return loaded[-1]

    yield load
    for model in loaded:
        model.close()


def ask(text: str, *clips: Path) -> Prompt:
    return Prompt(turns=(Turn(role="user", text=text, clips=clips),))


def tone(path: Path, hertz: float = 440, seconds: float = 0.3) -> Path:
    time = np.arange(round(seconds * RATE)) / RATE
    write_clip(path, (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32))
    return path


def decoded(wav: bytes) -> tuple[np.ndarray, soundfile._SoundFileInfo]:
    file = soundfile.SoundFile(io.BytesIO(wav))
    return file.read(dtype="int16"), file


def only(replies: list[list]) -> list:
    return [reply for (reply,) in replies]


# What is sent


def test_a_greedy_request_holds_the_chat_and_no_seed(server, load):
    (reply,) = only(load().generate([ask("What is it?")], max_new_tokens=9, seed=5))
    (chat,) = server.chats
    assert chat.path == "/v1/chat/completions"
    assert chat.body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "What is it?"}],
        "temperature": 0.0,
        "top_p": 1.0,
        "max_tokens": 9,
    }
    assert (reply.text, reply.finish, reply.n_tokens, reply.truncated) == ("What is it?", "stop", 3, False)


def test_clips_are_sent_before_the_text_in_their_order(server, load, tmp_path):
    clips = [tone(tmp_path / "a.wav", 300), tone(tmp_path / "b.wav", 600)]
    load().generate([ask("Which is higher?", *clips)])
    (chat,) = server.chats
    assert [part["type"] for part in chat.parts] == ["input_audio", "input_audio", "text"]
    assert [part["input_audio"]["format"] for part in chat.parts[:2]] == ["wav", "wav"]
    for wav, clip in zip(chat.wavs, clips, strict=True):
        assert content_hash(decoded(wav)[0]) == read_clip(clip).sha256


def test_any_clip_is_sent_as_16_bit_mono_at_16_khz_as_our_reader_hears_it(server, load, tmp_path):
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, (22050, 2))
    soundfile.write(tmp_path / "stereo.flac", noise, 44100)
    load().generate([ask("?", tmp_path / "stereo.flac")])
    samples, file = decoded(server.chats[0].wavs[0])
    assert (file.samplerate, file.channels, file.subtype) == (16000, 1, "PCM_16")
    assert content_hash(samples) == read_clip(tmp_path / "stereo.flac").sha256


def test_a_clip_beyond_the_window_is_cut_and_the_reply_says_so(server, load, tmp_path):
    clips = [tone(tmp_path / "long.wav", seconds=1.5), tone(tmp_path / "short.wav", seconds=0.5)]
    replies = only(load(window_seconds=1).generate([ask(clip.name, clip) for clip in clips]))
    assert [reply.truncated for reply in replies] == [True, False]
    (long,) = server.chats_of("long.wav")
    assert len(decoded(long.wavs[0])[0]) == RATE


def test_older_servers_get_their_audio_as_a_data_address(server, load, tmp_path):
    load(audio_part="audio_url").generate([ask("?", tone(tmp_path / "a.wav"))])
    (part, _text) = server.chats[0].parts
    assert part["type"] == "audio_url"
    assert part["audio_url"]["url"].startswith("data:audio/wav;base64,UklGR")


def test_earlier_turns_and_extra_fields_go_along(server, load):
    turns = [("system", "Be brief."), ("user", "One?"), ("assistant", "Yes."), ("user", "Two?")]
    prompt = Prompt(turns=tuple(Turn(role=role, text=text) for role, text in turns))
    load(extra={"repetition_penalty": 1.0, "top_p": 0.9}).generate([prompt])
    (chat,) = server.chats
    assert [(message["role"], message["content"]) for message in chat.body["messages"]] == turns
    assert (chat.body["repetition_penalty"], chat.body["top_p"]) == (1.0, 0.9)


def test_a_turn_is_continued_only_by_a_server_that_is_said_to_know_how(server, load):
    prompt = Prompt(turns=(Turn(role="user", text="?"), Turn(role="assistant", text="It is")))
    (reply,) = only(load().generate([prompt]))
    assert "load the model with continues=True" in reply.error
    assert server.chats == []
    load(continues=True).generate([prompt])
    body = server.chats[0].body
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


REFUSED = [
    ("no turn", (), "needs a user's turn"),
    ("no user", (Turn(role="system", text="x"),), "needs a user's turn"),
    (
        "a clip of the system",
        (Turn(role="system", text="x", clips=(Path("a.wav"),)), Turn(role="user", text="?")),
        "a turn of the system has a clip",
    ),
    ("half a surrogate pair", (Turn(role="user", text="\ud83d"),), "half a surrogate pair"),
    ("no such clip", (Turn(role="user", text="x", clips=(Path("gone.wav"),)),), "gone.wav: no such file"),
]


@pytest.mark.parametrize("case, turns, message", REFUSED, ids=[row[0] for row in REFUSED])
def test_a_prompt_that_cannot_be_sent_fails_alone_and_unsent(server, load, case, turns, message):
    replies = only(load().generate([ask("before"), Prompt(turns=turns), ask("after")]))
    assert [reply.finish for reply in replies] == ["stop", "failed", "stop"]
    assert message in replies[1].error
    assert sorted(chat.text for chat in server.chats) == ["after", "before"]


def test_rendering_tells_all_conversations_apart(load):
    model = load(continues=True)
    forged = '?"}\n{"role": "user", "content": "!'
    prompts = [
        ask("?"),
        ask("?", Path("a.wav")),
        ask("?", Path("a.wav"), Path("b.wav")),
        ask(forged),
        Prompt(turns=(Turn(role="user", text="?"), Turn(role="user", text="!"))),
        Prompt(turns=(Turn(role="user", text="?"), Turn(role="assistant", text="!"))),
        Prompt(turns=(Turn(role="system", text="?"), Turn(role="user", text="!"))),
    ]
    assert len({model.render(prompt) for prompt in prompts}) == len(prompts)
    assert model.render(ask("?", Path("a.wav"))) == model.render(ask("?", Path("b.wav")))
    assert "Geräusch" in model.render(ask("Welches Geräusch?"))


# Samples


def test_samples_come_from_one_request_in_the_order_of_their_index(server, load):
    choices = [
        {"index": i, "message": {"content": f"sample {i}"}, "finish_reason": "stop"} for i in (2, 0, 1)
    ]
    server.script("?", [completion(extra={"choices": choices})])
    ((*replies,),) = load().generate([ask("?")], n=3, temperature=0.7, seed=10, first_sample=4)
    assert [reply.text for reply in replies] == ["sample 0", "sample 1", "sample 2"]
    assert [reply.n_tokens for reply in replies] == [0, 0, 0], "one count for three replies says nothing"
    (chat,) = server.chats
    assert (chat.body["n"], chat.body["seed"], chat.body["temperature"]) == (3, 14, 0.7)


def test_greedy_samples_are_one_request(server, load):
    ((*replies,),) = load().generate([ask("?")], n=4)
    assert len(set(replies)) == 1
    assert len(replies) == 4
    assert len(server.chats) == 1


def seeded(chat: Chat) -> Answer:
    """One choice, whatever `n` was asked for, that names its seed."""
    return completion(f"seed {chat.body['seed']}")


def refuses_n(chat: Chat) -> Answer:
    if chat.body.get("n", 1) > 1:
        return Answer(status=400, body=b'{"error": {"message": "n must be 1"}}')
    return seeded(chat)


@pytest.mark.parametrize("answer", [seeded, refuses_n])
def test_a_server_without_n_is_asked_for_each_sample_by_its_own_seed(server, load, answer):
    server.default, model = answer, load(concurrency=1)
    replies = model.generate([ask("one"), ask("two")], n=3, temperature=1.0, seed=7, first_sample=1)
    assert [[reply.text for reply in several] for several in replies] == [["seed 8", "seed 9", "seed 10"]] * 2
    assert [chat.body.get("n", 1) for chat in server.chats_of("one")][:1] == [3]
    assert [chat.body["seed"] for chat in server.chats_of("two")] == [8, 9, 10], "it is not tried twice"


def test_samples_may_be_asked_for_one_by_one_from_the_start(server, load):
    server.default = seeded
    ((*replies,),) = load(one_request=False).generate([ask("?")], n=2, temperature=1.0)
    assert [reply.text for reply in replies] == ["seed 0", "seed 1"]
    assert [chat.body.get("n") for chat in server.chats] == [None, None]


def test_a_sample_that_fails_does_not_take_the_earlier_ones_with_it(server, load):
    server.script("?", [completion("first"), completion("second"), BAD_GATEWAY])
    ((*replies,),) = load(one_request=False, retries=0).generate([ask("?")], n=4, temperature=1.0)
    assert [reply.finish for reply in replies] == ["stop", "stop", "failed", "failed"]
    assert len(server.chats) == 3


@pytest.mark.parametrize(
    "settings", [{"n": 0}, {"temperature": -1.0}, {"max_new_tokens": 0}, {"first_sample": -1}]
)
def test_settings_out_of_range_are_refused(load, settings):
    with pytest.raises(ValueError, match="n and max_new_tokens are at least 1"):
        load().generate([ask("?")], **settings)


# Answers that are none


def raw(content: Any, **how: Any) -> Answer:
    return Answer(body=content if isinstance(content, bytes) else json.dumps(content).encode(), **how)


CHOICE = {"message": {"content": "dog"}, "finish_reason": "stop"}
NO_ANSWERS = [
    ("truncated JSON", raw(b'{"choices": [{"mess'), "the answer is not JSON"),
    ("no body", raw(b""), "the answer is not JSON"),
    ("not UTF-8", raw(b'{"choices": "\xff"}'), "the answer is not JSON"),
    ("absurdly nested", raw(b"[" * 100_000), "the answer is not JSON"),
    ("a number", raw(3), "holds no choices"),
    ("another schema", raw({"output": "dog"}), "holds no choices"),
    ("choices that are a text", raw({"choices": "dog"}), "holds no choices"),
    ("choices that are texts", raw({"choices": ["dog"]}), "holds no choices"),
    ("empty choices", raw({"choices": []}), "holds no choices"),
    ("no message", raw({"choices": [{"finish_reason": "stop"}]}), "without a text in message.content"),
    ("a message that is a text", raw({"choices": [CHOICE | {"message": "dog"}]}), "without a text"),
    ("content that is a list", raw({"choices": [CHOICE | {"message": {"content": ["dog"]}}]}), "without a"),
    ("no content", raw({"choices": [CHOICE | {"message": {"content": None}}]}), "empty reply (stop)"),
    ("blank content", completion(" \n"), "empty reply (stop)"),
    ("nothing before the limit", completion("", finish="length"), "empty reply (length)"),
    (
        "a refusal by the server",
        raw({"choices": [CHOICE | {"message": {"content": None, "refusal": "Sorry."}}]}),
        "the server refuses: 'Sorry.'",
    ),
    ("a filter", completion("dog", finish="content_filter"), "the server's filter held the reply back"),
    ("no end", completion("dog", finish=None), "finish_reason None: only stop and length end a whole reply"),
    ("a call of a tool", completion("dog", finish="tool_calls"), "finish_reason 'tool_calls'"),
    ("an end that is a list", completion("dog", finish=["stop"]), "finish_reason ['stop']"),
    ("half a surrogate pair", completion("dog \ud83d"), "half a surrogate pair in the reply"),
    ("an HTML page", raw(b"<html>Welcome</html>", kind="text/html"), "the answer is text/html, not JSON"),
    (
        "JSON that is said to be text",
        completion("dog", kind="text/plain"),
        "the answer is text/plain, not JSON",
    ),
    (
        "a compressed body",
        completion("dog", headers={"Content-Encoding": "gzip"}),
        "the answer is compressed",
    ),
    ("a huge body", raw(b'{"choices": "' + b"x" * 9_000_000), "over 8,000,000 bytes"),
    ("a bad request", Answer(status=400, body=b'{"error": {"message": "too long"}}'), "too long"),
    (
        "no such model",
        raw({"message": "no model"}, status=404),
        "HTTP 404 Not Found; no model; check the add",
    ),
    ("too large", Answer(status=413), "HTTP 413 Request Entity Too Large; the clips are too large"),
    ("an error beyond bounds", raw(b"e" * 1_000_000, status=400, kind="text/plain"), "e" * 300),
]


@pytest.mark.parametrize("case, answer, message", NO_ANSWERS, ids=[row[0] for row in NO_ANSWERS])
def test_what_is_no_whole_answer_fails_at_once_and_alone(server, load, waits, case, answer, message):
    server.script("bad", [answer])
    replies = only(load().generate([ask("one"), ask("bad"), ask("two")]))
    assert [reply.finish for reply in replies] == ["stop", "failed", "stop"]
    assert message in replies[1].error
    assert (replies[1].text, replies[1].n_tokens) == ("", 0)
    assert len(replies[1].error) < 600
    assert len(server.chats_of("bad")) == 1
    assert waits == []


def test_one_choice_that_is_none_fails_alone(server, load):
    choices = [CHOICE, CHOICE | {"finish_reason": "content_filter"}, CHOICE | {"finish_reason": "length"}]
    server.script("?", [raw({"choices": choices})])
    ((*replies,),) = load().generate([ask("?")], n=3, temperature=1.0)
    assert [reply.finish for reply in replies] == ["stop", "failed", "length"]


@pytest.mark.parametrize("usage", [None, "3", -3, True, 10**30, [3]])
def test_a_strange_count_of_tokens_is_no_count(server, load, usage):
    server.script("?", [completion("dog", usage=usage)])
    (reply,) = only(load().generate([ask("?")]))
    assert (reply.text, reply.n_tokens) == ("dog", 0)


def test_an_answer_without_a_content_type_is_read_as_what_it_is(server, load):
    server.script("?", [completion("dog", kind=None)])
    assert only(load().generate([ask("?")]))[0].text == "dog"


# Further attempts


TRIED_AGAIN = [
    ("429 without a wait", Answer(status=429), [1.0]),
    ("429 that says how long", Answer(status=429, headers={"Retry-After": "7"}), [7.0]),
    ("429 that wants no wait", Answer(status=429, headers={"Retry-After": "0"}), [1.0]),
    ("429 that asks for a year", Answer(status=429, headers={"Retry-After": "31536000"}), [60.0]),
    ("429 that asks for nonsense", Answer(status=429, headers={"Retry-After": "1e999"}), [1.0]),
    ("429 that asks for the past", Answer(status=429, headers={"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT"}), [1.0]),
    ("500", Answer(status=500, body=b"oops"), [1.0]),
    ("502", BAD_GATEWAY, [1.0]),
    ("503 that says how long", Answer(status=503, headers={"Retry-After": "3"}), [3.0]),
    ("504", Answer(status=504), [1.0]),
    ("a connection closed midway", completion("dog", sent=20), [1.0]),
    ("a connection closed before a word", completion("dog", sent=0), [1.0]),
    ("silence", completion("dog", hang=5.0), [1.0]),
    ("an answer that never ends", completion("dog", drip=0.05), [1.0]),
]  # fmt: skip


@pytest.mark.parametrize("case, answer, waited", TRIED_AGAIN, ids=[row[0] for row in TRIED_AGAIN])
def test_what_may_pass_is_tried_again_after_a_wait(server, load, waits, case, answer, waited):
    server.script("bad", [answer, completion("dog")])
    patience = {"read_timeout": 1.0} if answer.hang or answer.drip else {}
    replies = only(load(**patience).generate([ask("one"), ask("bad"), ask("two")]))
    assert [reply.text for reply in replies] == ["one", "dog", "two"]
    assert len(server.chats_of("bad")) == 2
    assert waits == waited


def test_a_date_to_try_again_at_is_respected(server, load, waits):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    server.script("?", [Answer(status=429, headers={"Retry-After": date}), completion("dog")])
    assert only(load().generate([ask("?")]))[0].text == "dog"
    assert 27 < waits[0] <= 30


def test_waits_double_up_to_their_cap_and_attempts_end(server, load, waits):
    server.script("?", [Answer(status=500, body=b'{"detail": "out of order"}')])
    (reply,) = only(load(retries=8).generate([ask("?")]))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert len(server.chats) == 9
    assert reply.error == "CallError: HTTP 500 Internal Server Error; out of order (9 attempts)"


def test_jitter_is_full_and_leaves_the_global_random_numbers_alone():
    random.seed(3)
    before, slept = random.getstate(), []
    backoff = Backoff(sleep=slept.append)
    for _ in range(200):
        backoff.wait(3)
    assert min(slept) < 1
    assert 7 < max(slept) <= 8
    assert random.getstate() == before


SLOW = [
    (completion("dog", hang=5.0), "no answer in time (ReadTimeout)"),
    (completion("dog", drip=0.05), "the answer was not whole after 0.5 s"),
]


@pytest.mark.parametrize("answer, message", SLOW, ids=["silent", "dripping"])
def test_a_slow_server_is_given_up_after_its_attempts(server, load, answer, message):
    server.script("?", [answer])
    (reply,) = only(load(read_timeout=0.5, retries=1).generate([ask("?")]))
    assert reply.error == f"CallError: {message} (2 attempts)"
    assert len(server.chats) == 2


def test_a_server_that_is_gone_fails_every_prompt_and_raises_nothing(load, waits):
    with ChatServer() as other:
        model = load_model(f"openai:{other.address}#tiny", retries=1, backoff=Backoff(sleep=waits.append))
    replies = only(model.generate([ask("one"), ask("two")]))
    model.close()
    assert [reply.finish for reply in replies] == ["failed", "failed"]
    assert "the connection failed (ConnectError" in replies[0].error
    assert len(waits) == 2


# Many at once


def test_replies_keep_the_order_of_the_prompts_whatever_order_they_come_in(server, load):
    def slower_first(chat: Chat) -> Answer:
        return completion(chat.text, hang=0.02 * (12 - int(chat.text)))

    server.default = slower_first
    replies = only(load(concurrency=4).generate([ask(str(number)) for number in range(12)]))
    assert [reply.text for reply in replies] == [str(number) for number in range(12)]
    assert 2 <= server.most_at_once <= 4


def test_no_prompts_are_no_requests(server, load):
    assert load().generate([]) == []
    assert server.chats == []


def test_an_interrupt_stops_the_run_and_the_rest_is_not_asked(server, load):
    def answer(chat: Chat) -> Answer:
        if chat.text == "3":
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return completion(chat.text, hang=0.1)

    server.default = answer
    # a shell starts its background jobs with SIGINT ignored, and tests may be one
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            load(concurrency=2).generate([ask(str(number)) for number in range(60)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(server.chats) < 60


def test_it_works_inside_a_running_event_loop(load):
    model = load()

    async def cell() -> list:
        return only(model.generate([ask("one"), ask("two")]))

    assert [reply.text for reply in asyncio.run(cell())] == ["one", "two"]


# The key


def test_the_key_goes_to_the_server_as_a_header_and_nowhere_else(server, load, key, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    server.script("bad", [Answer(status=401, body=f'{{"error": "key {KEY} is wrong"}}'.encode(), reason=KEY)])
    server.script("echo", [completion(f"your key is {KEY}")])
    server.script("escaped", [raw(completion(KEY).body.replace(b"sk-", b"sk\\u002d"))])
    server.script("torn", [raw(b"x" * 60 + KEY.encode())])
    server.script("late", [Answer(status=400, body=b"x" * 290 + KEY.encode())])
    model = load()
    with Store(tmp_path / "replies.db") as store:
        questions = ("fine", "bad", "echo", "escaped", "torn", "late")
        replies = only(store.ask(model, [ask(text) for text in questions], progress=False))
    assert [chat.headers["authorization"] for chat in server.chats] == [f"Bearer {KEY}"] * 6
    assert server.lists[0]["authorization"] == f"Bearer {KEY}"
    assert "HTTP 401 [key]; key [key] is wrong; set LALM_UTILS_API_KEY" in replies[1].error
    assert [reply.error[11:41] for reply in replies[2:4]] == ["the answer repeats the API key"] * 2
    held = [vars(model), vars(model._server), vars(model._server._http)]
    # httpx logs a status line as it comes, at a level that must be asked for; ours is never in a log of ours
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("lalm_utils")]
    assert len(logged) == 5
    texts = [repr(model), str(model.description), model.fingerprint, str(logged), str(held), str(replies)]
    texts += [file.read_bytes().decode("latin-1") for file in tmp_path.iterdir()]
    texts += [json.dumps(chat.body) for chat in server.chats]
    assert not [text for text in texts if KEY[:10] in text], "not even a part of it"
    assert [text for text in texts[6:] if "SQLite" in text], "the store was looked into"


def test_an_error_at_loading_shows_no_key_even_in_its_traceback(server, load, key):
    server.models = Answer(status=401, body=f"wrong key {KEY}".encode(), kind="text/plain", reason=KEY)
    with pytest.raises(
        ModelError, match=r"HTTP 401 \[key\]; wrong key \[key\]; set LALM_UTILS_API"
    ) as excinfo:
        load()
    assert KEY not in "".join(traceback.format_exception(excinfo.value))


def test_what_we_send_is_in_no_log_of_any_package(load, key, caplog):
    caplog.set_level(logging.DEBUG)
    load().generate([ask("?")])
    assert "httpcore" in caplog.text
    assert KEY not in caplog.text


def test_no_key_is_sent_unless_there_is_one(server, load):
    load().generate([ask("?")])
    assert "authorization" not in server.chats[0].headers


def test_our_own_variable_comes_first_and_empty_it_sends_none(server, load, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another-one")
    load().generate([ask("?")])
    monkeypatch.setenv("LALM_UTILS_API_KEY", f"{KEY}\n")
    load().generate([ask("?")])
    monkeypatch.setenv("LALM_UTILS_API_KEY", "")
    load().generate([ask("?")])
    headers = [chat.headers.get("authorization") for chat in server.chats]
    assert headers == ["Bearer sk-another-one", f"Bearer {KEY}", None]


def test_a_placeholder_key_may_stand_in_a_reply(server, load, monkeypatch):
    monkeypatch.setenv("LALM_UTILS_API_KEY", "EMPTY")
    assert only(load().generate([ask("EMPTY")]))[0].text == "EMPTY"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(server, load, key, status):
    with ChatServer() as other:
        to = {"Location": f"{other.address}/chat/completions"}
        server.script("?", [Answer(status=status, headers=to)])
        (reply,) = only(load().generate([ask("?")]))
        assert f"HTTP {status}: a redirect, which is not followed" in reply.error
        assert (other.chats, other.lists) == ([], [])
    assert len(server.chats) == 1


def test_a_key_is_not_sent_unencrypted_over_a_network_unless_allowed(key, monkeypatch):
    far = "openai:http://192.0.2.1/v1#tiny"  # an address that is nobody's
    with pytest.raises(ModelError, match=r"http://192\.0\.2\.1 would carry the API key unencrypted"):
        load_model(far)
    patient = {"check": False, "retries": 0, "connect_timeout": 0.05}
    assert load_model(far, allow_insecure=True, **patient).name == "tiny"
    monkeypatch.delenv("LALM_UTILS_API_KEY")
    assert load_model(far, **patient).name == "tiny"


def test_a_machine_that_only_looks_like_this_one_gets_no_key(key):
    for host in ("localhost.example.org", "127.0.0.1.example.org", "127.example.org", "0x7f.1"):
        with pytest.raises(ModelError, match="unencrypted"):
            load_model(f"openai:http://{host}/v1#tiny")


def test_a_key_that_cannot_be_a_header_is_refused_unshown(server, load, monkeypatch):
    for wrong in ("sk-one sk-two", "sk-\u00e9", "sk-a\nHost: evil"):
        monkeypatch.setenv("LALM_UTILS_API_KEY", wrong)
        with pytest.raises(ModelError, match="the API key has blanks or characters outside ASCII") as excinfo:
            load()
        assert wrong not in str(excinfo.value)


def test_proxies_of_the_environment_do_not_stand_before_this_machine(server, load, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://192.0.2.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    assert only(load(connect_timeout=0.5).generate([ask("?")]))[0].text == "?"


# The store


def test_failed_replies_are_not_stored_and_only_they_are_asked_again(server, load, tmp_path):
    server.script("two", [Answer(status=400), completion("mended")])
    prompts = [ask(text) for text in ("one", "two", "three")]
    with Store(tmp_path / "replies.db") as store:
        first = only(store.ask(load(), prompts, progress=False))
        assert [reply.finish for reply in first] == ["stop", "failed", "stop"]
        assert len(store) == 2
        n_chats = len(server.chats)
        again = only(store.ask(load(), prompts, progress=False))
        assert [chat.text for chat in server.chats[n_chats:]] == ["two"]
        assert [reply.text for reply in again] == ["one", "mended", "three"]


def test_the_store_asks_for_missing_samples_by_the_seeds_that_they_had(server, load, tmp_path):
    server.script("?", [completion("a"), completion("b"), BAD_GATEWAY, completion("c"), completion("d")])
    model = load(one_request=False, retries=0)
    with Store(tmp_path / "replies.db") as store:
        settings = {"n": 4, "temperature": 1.0, "seed": 20, "progress": False}
        store.ask(model, [ask("?")], **settings)
        ((*replies,),) = store.ask(model, [ask("?")], **settings)
    assert [reply.text for reply in replies] == ["a", "b", "c", "d"]
    assert [chat.body["seed"] for chat in server.chats] == [20, 21, 22, 22, 23]


# Names, fingerprints, lists


NAMES = [
    ("no model", "openai:http://127.0.0.1:1/v1"),
    ("an empty model", "openai:http://127.0.0.1:1/v1#"),
    ("no address", "openai:#tiny"),
    ("another protocol", "openai:ftp://127.0.0.1/v1#tiny"),
    ("no protocol", "openai:localhost:8000/v1#tiny"),
]


@pytest.mark.parametrize("case, name", NAMES, ids=[row[0] for row in NAMES])
def test_a_name_of_another_form_is_refused_with_an_example(case, name):
    with pytest.raises(ModelError, match="is no model of a server: write openai:ADDRESS#MODEL") as excinfo:
        load_model(name)
    assert repr(name) in str(excinfo.value)
    assert "openai:http://localhost:8000/v1#Qwen/Qwen2-Audio-7B-Instruct" in str(excinfo.value)


ADDRESSES = [
    ("a password", "http://user:hunter2@127.0.0.1:1/v1", "has a user, a query or a fragment"),
    ("a query", "http://127.0.0.1:1/v1?api_key=hunter2", "has a user, a query or a fragment"),
    ("no host", "http://", "is no address of a server"),
    ("a port that is none", "http://127.0.0.1:hunter/v1", "the address is no URL"),
]


@pytest.mark.parametrize("case, address, message", ADDRESSES, ids=[row[0] for row in ADDRESSES])
def test_an_address_that_cannot_be_used_is_refused(case, address, message):
    with pytest.raises(ModelError, match=message) as excinfo:
        load_model(f"openai:{address}#tiny")
    assert "http(s)://HOST:PORT/v1" in str(excinfo.value)
    assert "hunter2" not in str(excinfo.value)


SETTINGS = [
    ({"concurrency": 0}, "connections=0"),
    ({"retries": -1}, "retries=-1"),
    ({"read_timeout": 0}, "timeouts of 10.0 and 0 s"),
    ({"window_seconds": 0.05}, r"window_seconds=0\.05: at least 0\.1"),
    ({"audio_part": "wav"}, "audio_part='wav': one of input_audio, audio_url"),
    ({"extra": {"seed": 1, "n": 2}}, "extra has n, seed, set by generate itself"),
    ({"extra": {"stop": {"a set"}}}, "extra cannot be written as JSON"),
]


@pytest.mark.parametrize("settings, message", SETTINGS, ids=[str(row[0]) for row in SETTINGS])
def test_options_that_make_no_sense_are_refused(load, settings, message):
    with pytest.raises(ModelError, match=message):
        load(**settings)


def listing(*cards: Any, status: int = 200) -> Answer:
    return raw({"object": "list", "data": list(cards)}, status=status)


def test_a_model_that_is_not_on_the_list_is_refused_unless_unchecked(load):
    with pytest.raises(ModelError, match="has no model 'huge' on its list, which starts with tiny"):
        load("huge")
    assert load("huge", check=False).reported == {}


@pytest.mark.parametrize("answer", [Answer(status=404), listing(), raw([1]), raw({"data": "x"}), listing(3)])
def test_a_server_without_a_list_may_do(server, load, answer):
    server.models = answer
    model = load()
    assert (model.reported, model.name) == ({}, "tiny")


LISTS = [
    ("forbidden", Answer(status=403), "HTTP 403 Forbidden; set LALM_UTILS_API_KEY"),
    ("a web page", raw(b"<html>", kind="text/html"), "the answer is text/html, not JSON; check the ad"),
    ("out of order", Answer(status=500), r"HTTP 500 Internal Server Error \(5 attempts\)"),
]


@pytest.mark.parametrize("case, answer, message", LISTS, ids=[row[0] for row in LISTS])
def test_a_server_that_does_not_give_its_list_is_refused_unless_unchecked(
    server, load, case, answer, message
):
    server.models = answer
    with pytest.raises(ModelError, match=f"tiny cannot be asked: {message}"):
        load()
    assert load(check=False).reported == {}


def test_the_fingerprint_covers_what_the_server_tells_and_the_settings(server, load):
    models = [
        load(),
        load(revision="v1"),
        load(revision="v2"),
        load(extra={"top_k": 1}),
        load(window_seconds=9),
    ]
    models += [load(audio_part="audio_url"), load(one_request=False)]
    for fields in ({"root": "/weights/other"}, {"owned_by": "others"}, {"parent": "base"}):
        server.models = listing(CARD | fields)
        models.append(load())
    prints = [model.fingerprint for model in models]
    assert len(set(prints)) == len(prints)
    assert all(len(print_) == 64 for print_ in prints)


def test_the_fingerprint_is_stable_where_nothing_decides(server, load, key):
    first = load(concurrency=2, retries=1, name="other")
    server.models = listing(
        CARD | {"created": 1234567890, "permission": [{"id": "modelperm-1"}]}, {"id": "b"}
    )
    again = load(window_seconds=30)
    assert (first.name, again.name) == ("other", "tiny")
    assert first.fingerprint == again.fingerprint


def test_another_address_is_another_model_unless_a_revision_says_otherwise(load):
    with ChatServer() as other:
        elsewhere = [
            load_model(f"openai:{other.address}#tiny", revision=revision) for revision in (None, "v1")
        ]
    assert elsewhere[0].fingerprint != load().fingerprint
    assert elsewhere[1].fingerprint == load(revision="v1").fingerprint


def test_a_result_can_be_told_by_its_description(server, load):
    server.script("?", [completion("dog", extra={"model": "tiny-0613", "system_fingerprint": "fp_1"})])
    model = load(revision="v1", extra={"top_k": 1})
    model.generate([ask("?"), ask("fine")])
    known = model.description
    assert known["reported"] == {key: CARD[key] for key in ("id", "root", "owned_by")}
    assert known["answered_as"] == [("tiny", ""), ("tiny-0613", "fp_1")]
    assert (known["address"], known["revision"], known["extra"]) == (server.address, "v1", {"top_k": 1})
    assert json.dumps(known)


def test_options_cannot_be_scored(load):
    with pytest.raises(ModelError, match=r"tiny cannot score options: .* load the weights with load_model"):
        load().option_logprobs([ask("?")])


# A model behind the server


@pytest.mark.slow
def test_a_model_replies_through_a_server_as_it_does_directly(server, load, tmp_path):
    from tiny import TEXTS, save_tiny, write_tone

    direct = load_model(save_tiny(tmp_path / "tiny"), dtype="float32", check=False)

    def answer(chat: Chat) -> Answer:
        clips = []
        for wav in chat.wavs:
            clips.append(tmp_path / f"{content_hash(decoded(wav)[0])}.wav")
            clips[-1].write_bytes(wav)
        settings = {"max_new_tokens": chat.body["max_tokens"], "temperature": chat.body["temperature"]}
        ((reply,),) = direct.generate([ask(chat.text, *clips)], **settings)
        return completion(reply.text, finish=reply.finish, usage=reply.n_tokens)

    server.default = answer
    clips = [write_tone(tmp_path / f"{i}.wav", 200 + 170 * i, 0.3 + 0.3 * i) for i in range(4)]
    prompts = [ask(text, clip) for text in TEXTS for clip in clips] + [ask(TEXTS[0], *clips[:2])]
    expected = direct.generate(prompts, max_new_tokens=6)
    assert len({reply.text for (reply,) in expected}) > 3
    numbers = [index for index, (reply,) in enumerate(expected) if reply.text.strip()]
    assert len(numbers) > 6
    replies = load(concurrency=1).generate([prompts[index] for index in numbers], max_new_tokens=6)
    assert replies == [expected[index] for index in numbers]


# A run that is killed

KILLED = """
import json, sys
from lalm_utils.load_model import load_model
from lalm_utils.models import Prompt, Turn
from lalm_utils.store import Store

address, path, total, concurrency = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
model = load_model(f"openai:{address}#tiny", check=False, concurrency=concurrency)
questions = [Prompt(turns=(Turn(role="user", text=f"question {i}"),)) for i in range(total)]
with Store(path, progress=False) as store:
    print(json.dumps([reply.text for (reply,) in store.ask(model, questions)]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_run_on_a_slow_server_that_is_killed_keeps_what_arrived_and_goes_on(server, tmp_path):
    total, concurrency, kills, path = 60, 4, 3, tmp_path / "replies.sqlite"
    server.default = lambda chat: completion(chat.text, hang=0.15)
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", KILLED, server.address, str(path), str(total), str(concurrency)]
    n_lost, stored = 0, set()
    for turn in range(kills):
        start, process = len(server.chats), subprocess.Popen(command, env=here, stdout=subprocess.DEVNULL)
        while len(server.chats) < start + 3 * concurrency + turn and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed: raise `total`"
        with closing(sqlite3.connect(path)) as file:
            now = {json.loads(text)["content"] for (text,) in file.execute("select prompt from replies")}
        assert len(server.chats) - len(now) - n_lost <= concurrency
        assert stored < now, "a run that is killed makes progress, and what is stored stays"
        n_lost, stored = len(server.chats) - len(now), now
    before = len(server.chats)
    last = subprocess.run(command, env=here, capture_output=True, text=True, check=True)
    assert json.loads(last.stdout) == [f"question {i}" for i in range(total)]
    assert not stored & {chat.text for chat in server.chats[before:]}, "what is stored is not asked again"
    assert len(server.chats) == total + n_lost
