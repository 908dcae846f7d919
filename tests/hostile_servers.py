"""Hostile servers: answers that are none, HTTP that is none, and what would carry the key elsewhere.

A builder returns what the server sends: an `Answer` of chat_server.py, or the bytes of a whole response as a
function that yields them. `asked` starts the server, loads its model and asks one question; the key that it sends
is `KEY`.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from chat_server import Answer, ChatServer, completion
from hostile import Case

from lalm_utils.models import ModelError, Prompt, Reply, Turn
from lalm_utils.server.api_model import ApiModel
from lalm_utils.server.http import Backoff

KEY = "sk-Hostile-0123456789'\\abcdef"  # with what a repr and JSON write otherwise
PATIENCE = 2.0  # seconds, the read timeout
NO_PATIENCE = 0.1  # ... where no answer is expected
GOOD = completion("dog").body
QUESTION = Prompt(turns=(Turn(role="user", text="?"),))
Bytes = Callable[[], Iterator[bytes]]
# The servers close what they have answered. Unsaid, a second question may go into a connection that is closing.
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


class RawServer:
    """Sends what it is told to whoever connects, whether or not that is HTTP."""

    def __init__(self, parts: Bytes) -> None:
        self._parts, self._closing = parts, threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def __enter__(self) -> RawServer:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._send, args=(connection,), daemon=True).start()

    def _send(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65_536)
            length = int((head.lower().partition(b"content-length:")[2].split() or [b"0"])[0])
            body = head.partition(b"\r\n\r\n")[2]
            while len(body) < length:
                body += connection.recv(65_536)
            for part in self._parts():
                connection.sendall(part)
                if self._closing.is_set():
                    return


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What came of asking a hostile server."""

    loading: str  # why its model could not be loaded, else ""
    reply: Reply


def query(payload: Answer | Bytes, patience: float = PATIENCE) -> Exchange:
    """Load the server's model, which asks for its list, and ask it one question, list or no list."""
    with _server(payload) as address:
        options: dict[str, Any] = {
            "retries": 0,
            "read_timeout": patience,
            "backoff": Backoff(sleep=lambda _: None),
        }
        try:
            ApiModel(address, "tiny", **options).close()
            loading = ""
        except ModelError as error:
            loading = str(error)
        model = ApiModel(address, "tiny", check=False, **options)
        ((reply,),) = model.generate([QUESTION])
        model.close()
    return Exchange(loading=loading, reply=reply)


def query_briefly(payload: Bytes) -> Exchange:
    """The same, with less patience."""
    return query(payload, NO_PATIENCE)


@contextmanager
def _server(payload: Answer | Bytes) -> Iterator[str]:
    if isinstance(payload, Answer):
        with ChatServer() as server:
            server.default = lambda chat: payload
            yield server.address
    else:
        with RawServer(payload) as raw:
            yield raw.address


# What a server sends


def answer(content: Any, **options: Any) -> Answer:
    """An answer of these bytes, or of this value as JSON."""
    return Answer(body=content if isinstance(content, bytes) else json.dumps(content).encode(), **options)


def choice(**changes: Any) -> Answer:
    """An answer of one choice that departs from a good one."""
    return answer({"choices": [{"message": {"content": "dog"}, "finish_reason": "stop"} | changes]})


def content(value: Any) -> Answer:
    return choice(message={"role": "assistant", "content": value})


def response(
    body: bytes = GOOD, status: str = "200 OK", *headers: str, kind: str = "application/json"
) -> Bytes:
    """A whole response, byte by byte as it is said."""
    length = f"Content-Length: {len(body)}"
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", length, "Connection: close", *headers]
    return lambda: iter(["\r\n".join([*lines, "", ""]).encode("latin-1") + body])


def bytes_of(*parts: bytes) -> Bytes:
    return lambda: iter(parts)


def chunked(*parts: bytes) -> Bytes:
    return bytes_of(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *parts)


def without_end(start: bytes, part: bytes, pause: float = 0.02) -> Bytes:
    """The start, then the part for ever."""

    def send() -> Iterator[bytes]:
        yield start
        while True:
            time.sleep(pause)
            yield part

    return send


def redirect(status: int, to: str) -> Bytes:
    return response(b"", f"{status} Elsewhere", f"Location: {to}")


def is_dog(result: Exchange) -> bool:
    return (result.reply.text, result.reply.finish) == ("dog", "stop")


NOT_JSON, NO_CHOICES = "the answer is not JSON", "holds no choices, so it is no chat completion"
NO_TEXT, BROKEN = r"a choice without a text in message\.content", "the connection failed"
SLOW, REDIRECT = (
    r"the answer was not whole after 0\.1 s|no answer in time",
    "a redirect, which is not followed",
)
ESCAPED = json.dumps({"error": "x" * 285 + KEY}).replace("-", "\\u002d").encode()
ROWS = [
    ("answers of a server", "a good one", completion("dog"), is_dog),
    ("answers of a server", "nothing", answer(b""), NOT_JSON),
    ("answers of a server", "JSON cut short", answer(GOOD[:-9]), NOT_JSON),
    ("answers of a server", "two answers in one", answer(GOOD + GOOD), NOT_JSON),
    (
        "answers of a server",
        "a page of HTML",
        answer(b"<html>Welcome</html>", kind="text/html"),
        "the answer is text/html, not JSON",
    ),
    (
        "answers of a server",
        "a page of HTML that is said to be JSON",
        answer(b"<html>Welcome</html>"),
        NOT_JSON,
    ),
    (
        "answers of a server",
        "events",
        answer(b"data: " + GOOD, kind="text/event-stream"),
        "the answer is text/event-stream",
    ),
    ("answers of a server", "not UTF-8", answer(b'{"choices": "\xff"}'), NOT_JSON),
    ("answers of a server", "UTF-16", answer(GOOD.decode().encode("utf-16")), NOT_JSON),
    ("answers of a server", "100,000 open brackets", answer(b"[" * 100_000), NOT_JSON),
    ("answers of a server", "900 brackets", answer(b"[" * 900 + b"]" * 900), NO_CHOICES),
    ("answers of a server", "text nested 900 deep", content(json.loads("[" * 900 + "]" * 900)), NO_TEXT),
    (
        "answers of a server",
        "a number of 5,000 digits",
        answer(b'{"choices": ' + b"9" * 5_000 + b"}"),
        NOT_JSON,
    ),
    (
        "answers of a server",
        "two million choices",
        answer(b'{"choices":[' + b"{}," * 2_000_000 + b"{}]}"),
        "finish_reason None",
    ),
    (
        "answers of a server",
        "two million lists",
        answer(b'{"choices":[' + b"[]," * 2_000_000 + b"[]]}"),
        NO_CHOICES,
    ),
    ("answers of a server", "null", answer(None), NO_CHOICES),
    ("answers of a server", "a number", answer(7), NO_CHOICES),
    ("answers of a server", "a list", answer([1]), NO_CHOICES),
    (
        "answers of a server",
        "an error with status 200",
        answer({"error": {"message": "overloaded"}}),
        f"{NO_CHOICES}.*overloaded",
    ),
    ("answers of a server", "no choices", answer({"choices": []}), NO_CHOICES),
    ("answers of a server", "choices that are null", answer({"choices": None}), NO_CHOICES),
    ("answers of a server", "choices that are an object", answer({"choices": {"0": {}}}), NO_CHOICES),
    ("answers of a server", "choices that are texts", answer({"choices": ["dog"]}), NO_CHOICES),
    ("answers of a server", "a message that is null", choice(message=None), NO_TEXT),
    ("answers of a server", "a message that is a text", choice(message="dog"), NO_TEXT),
    (
        "answers of a server",
        "a text that is a list of parts",
        content([{"type": "text", "text": "dog"}]),
        NO_TEXT,
    ),
    ("answers of a server", "a text that is a number", content(7), NO_TEXT),
    ("answers of a server", "a text that is true", content(True), NO_TEXT),
    ("answers of a server", "a text that is null", content(None), r"empty reply \(stop\)"),
    ("answers of a server", "a text of blanks", content(" \n\t"), r"empty reply \(stop\)"),
    ("answers of a server", "half a surrogate pair", content("\ud83d"), "half a surrogate pair in the reply"),
    (
        "answers of a server",
        "an end that is unknown",
        choice(finish_reason="tool_calls"),
        "finish_reason 'tool_calls': only stop and length",
    ),
    (
        "answers of a server",
        "an end that is an object",
        choice(finish_reason={"type": "stop"}),
        "finish_reason {'type': 'stop'}",
    ),
    (
        "answers of a server",
        "an end of a megabyte",
        choice(finish_reason="x" * 1_000_000),
        r"finish_reason 'xxx",
    ),
    ("answers of a server", "an index that is a text", choice(index="0"), is_dog),
    ("answers of a server", "an index of 10**30", choice(index=10**30), is_dog),
    (
        "answers of a server",
        "a count of tokens below zero",
        completion("dog", usage=-1),
        lambda found: is_dog(found) and found.reply.n_tokens == 0,
    ),
    (
        "answers of a server",
        "a model that is a list",
        completion("dog", extra={"model": ["x"] * 1_000}),
        is_dog,
    ),
    (
        "answers of a server",
        "HTML for a text",
        content("<script>alert(1)</script>"),
        lambda found: found.reply.text == "<script>alert(1)</script>",
    ),
    (
        "answers of a server",
        "a text of 7 MB",
        content("x" * 7_000_000),
        lambda found: len(found.reply.text) == 7_000_000,
    ),
    ("answers of a server", "a body of 9 MB", answer(b" " * 9_000_000), "an answer of over 8,000,000 bytes"),
    ("answers of a server", "status 204", response(b"", "204 No Content"), NOT_JSON),
    (
        "answers of a server",
        "status 400 with escapes of a terminal",
        response(b'{"error": "\\u001b[2J\\u202egone"}', "400 Bad"),
        "HTTP 400 Bad; \ufffd\\[2J\ufffdgone",
    ),
    (
        "answers of a server",
        "status 400 with 2,000 brackets",
        response(b"[" * 2_000, "400 Bad"),
        r"HTTP 400 Bad; \[\[\[",
    ),
    (
        "answers of a server",
        "status 400 with 10 MB",
        response(b"x" * 10_000_000, "400 Bad"),
        "HTTP 400 Bad; x{300}",
    ),
    (
        "answers of a server",
        "status 404",
        response(b'{"detail": "Not Found"}', "404 Not Found"),
        "HTTP 404 Not Found; Not Found; check the address",
    ),
    (
        "answers of a server",
        "status 429 until the year 9999",
        response(b"", "429 Slow", "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT"),
        "HTTP 429 Slow",
    ),
    (
        "answers of a server",
        "status 429 until never",
        response(b"", "429 Slow", "Retry-After: Mon, 99 Foo 99999999 99:99:99 +999999999"),
        "HTTP 429 Slow",
    ),
    ("answers of a server", "status 999", response(b"", "999 Odd"), "HTTP 999 Odd"),
    (
        "answers of a server",
        "compressed",
        response(gzip.compress(GOOD), "200 OK", "Content-Encoding: gzip"),
        "the answer is compressed, which was not asked for",
    ),
    (
        "answers of a server",
        "a bomb of 50 MB, compressed",
        response(gzip.compress(bytes(50_000_000)), "200 OK", "Content-Encoding: gzip"),
        "the answer is compressed",
    ),
    (
        "answers of a server",
        "an error that is such a bomb",
        response(gzip.compress(bytes(50_000_000)), "400 Bad", "Content-Encoding: gzip"),
        "HTTP 400 Bad",
    ),
    (
        "answers of a server",
        "a kind of 60,000 characters",
        response(kind="text/" + "x" * 60_000),
        r"the answer is text/x{75}, not JSON",
    ),
    ("broken HTTP", "hung up at once", bytes_of(), BROKEN),
    (
        "broken HTTP",
        "hung up within the body",
        bytes_of(HEAD + b"Content-Length: 999\r\n\r\n" + GOOD),
        BROKEN,
    ),
    ("broken HTTP", "another protocol", bytes_of(b"SSH-2.0-OpenSSH_9.2\r\n"), BROKEN),
    ("broken HTTP", "HTTP 2", bytes_of(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "illegal status line"),
    ("broken HTTP", "a status of 0", bytes_of(b"HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n"), BROKEN),
    ("broken HTTP", "no status", bytes_of(b"HTTP/1.1 OK\r\n\r\n"), "illegal status line"),
    (
        "broken HTTP",
        "a header line of 75,000 characters",
        bytes_of(HEAD + b"no header" * 8_000 + b"\r\n\r\n"),
        r"illegal header line: .*\.\.\.",
    ),
    (
        "broken HTTP",
        "a length below zero",
        bytes_of(HEAD + b"Content-Length: -5\r\n\r\nabc"),
        "bad Content-Length",
    ),
    (
        "broken HTTP",
        "two lengths",
        bytes_of(HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        "conflicting Content-Length",
    ),
    (
        "broken HTTP",
        "a length of 20 digits",
        bytes_of(HEAD + b"Content-Length: 99999999999999999999\r\n\r\nab"),
        f"Content-Length|{BROKEN}",
    ),
    (
        "broken HTTP",
        "a length that is too short",
        bytes_of(HEAD + b"Content-Length: 20\r\n\r\n" + GOOD),
        NOT_JSON,
    ),
    ("broken HTTP", "chunks", chunked(b"%x\r\n" % len(GOOD) + GOOD + b"\r\n0\r\n\r\n"), is_dog),
    ("broken HTTP", "a chunk of no length", chunked(b"dog\r\n"), "illegal chunk header"),
    ("broken HTTP", "a chunk below zero", chunked(b"-5\r\nabc\r\n"), "illegal chunk header"),
    ("broken HTTP", "a chunk that is longer than said", chunked(b"1\r\nabc\r\n0\r\n\r\n"), BROKEN),
    ("broken HTTP", "chunks that break off", chunked(b'5\r\n{"ch'), BROKEN),
    (
        "broken HTTP",
        "a switch to another protocol",
        bytes_of(b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        BROKEN,
    ),
    ("answers without end", "silence", without_end(b"", b"", 0.1), SLOW),
    (
        "answers without end",
        "a body that drips",
        without_end(HEAD + b"Content-Length: 99999\r\n\r\n", b" "),
        SLOW,
    ),
    (
        "answers without end",
        "a body at full speed",
        without_end(HEAD + b"\r\n", b" " * 65_536, 0.0),
        f"over 8,000,000 bytes|{SLOW}",
    ),
    (
        "answers without end",
        "chunks at full speed",
        without_end(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 9_999, 0.0),
        f"over 8,000,000 bytes|{SLOW}",
    ),
    ("answers without end", "a header that drips", without_end(HEAD + b"X: ", b"x"), SLOW),
    (
        "answers without end",
        "headers at full speed",
        without_end(HEAD, b"X: y\r\n" * 10_000, 0.0),
        "Receive buffer too long|" + BROKEN,
    ),
    (
        "answers without end",
        "requests to go on, dripping",
        without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        SLOW,
    ),
    (
        "answers without end",
        "requests to go on at full speed",
        without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.0),
        SLOW,
    ),
    (
        "answers without end",
        "the extension of a chunk",
        without_end(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
        SLOW,
    ),
    ("the key", "redirected to another host", redirect(302, "http://127.0.0.2:9/v1"), REDIRECT),
    ("the key", "redirected for good", redirect(308, "https://example.org/v1"), REDIRECT),
    ("the key", "redirected to nowhere", response(b"", "302 Elsewhere"), REDIRECT),
    (
        "the key",
        "redirected to what is no host",
        redirect(302, "http://\xff\xfe:99999/"),
        f"{REDIRECT}|not HTTP|{BROKEN}",
    ),
    (
        "the key",
        "redirected to a port that is none",
        redirect(302, "http://[::1"),
        f"{REDIRECT}|Invalid URL|{BROKEN}",
    ),
    (
        "the key",
        "redirected to a name that no host may have",
        redirect(302, "ftp://xn--a/"),
        "the answer is not HTTP|not followed",
    ),
    (
        "the key",
        "redirected to a script",
        redirect(302, "javascript:alert(1)"),
        "the answer is not HTTP|not followed",
    ),
    ("the key", "in the status line", response(b"", f"401 {KEY}"), r"HTTP 401 \[key\]"),
    (
        "the key",
        "in no status line",
        bytes_of(f"HTTP/1.1 {KEY}\r\n\r\n".encode()),
        r"illegal status line.*\[key\]",
    ),
    (
        "the key",
        "in a header that is none",
        bytes_of(HEAD + f"{KEY} {KEY}\r\n\r\n".encode()),
        r"illegal header line.*\[key\] \[key\]",
    ),
    (
        "the key",
        "in the kind of the answer",
        response(kind=f"text/{KEY}"),
        r"the answer is text/\[key\], not JSON",
    ),
    (
        "the key",
        "in a reply",
        content(f"your key is {KEY}"),
        "the answer repeats the API key, so nothing of it is kept",
    ),
    (
        "the key",
        "in the name of a field",
        completion("dog", extra={KEY: 1}),
        "the answer repeats the API key",
    ),
    (
        "the key",
        "in an error",
        response(f'{{"error": {json.dumps(KEY)}}}'.encode(), "401 No"),
        r"HTTP 401 No; \[key\]; set LALM_UTILS_API_KEY",
    ),
    (
        "the key",
        "escaped in an error, where it is cut",
        response(ESCAPED, "400 Bad"),
        r"HTTP 400 Bad; x{285}\[key\]",
    ),
    (
        "the key",
        "within an object in an error",
        response(json.dumps({"error": {"a": [KEY]}}).encode(), "400 Bad"),
        r"\{'a': \['\[key\]'\]\}|\[\"\[key\]\"\]",
    ),
    ("the key", "in a text that is no JSON", answer(b"x" * 60 + KEY.encode()), r"x{60}\[key\]"),
    (
        "answers of a server",
        "tags around a text",
        completion("<b>dog</b>"),
        lambda found: found.reply.text == "<b>dog</b>",
    ),
]
CASES = [
    Case(kind=kind, name=name, build=lambda folder, sent=sent: sent, expected=expected)
    for kind, name, sent, expected in ROWS
]
ENDLESS = "answers without end"
