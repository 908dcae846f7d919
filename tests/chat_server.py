"""A chat server on this machine for the tests of the API model: a real one, over HTTP, that can misbehave.

It answers each chat with its own last text, unless `script` has something else in store for that text. All
requests are kept in `chats`, in the order in which they came.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CARD = {"id": "tiny", "object": "model", "owned_by": "tests", "root": "/weights/tiny"}


@dataclass(frozen=True, kw_only=True)
class Chat:
    """One request, as it came."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: dict[str, Any]

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The parts of the last message; a bare text is one part."""
        content = self.body["messages"][-1]["content"]
        return [{"type": "text", "text": content}] if isinstance(content, str) else content

    @property
    def text(self) -> str:
        """The text of the last message."""
        return next((part["text"] for part in self.parts if part["type"] == "text"), "")

    @property
    def wavs(self) -> list[bytes]:
        """The audio files of all messages."""
        contents = [message["content"] for message in self.body["messages"]]
        parts = [part for content in contents if isinstance(content, list) for part in content]
        return [base64.b64decode(p["input_audio"]["data"]) for p in parts if p["type"] == "input_audio"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server sends, and how badly."""

    status: int = 200
    body: bytes = b""
    kind: str | None = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    hang: float = 0.0  # seconds before anything is sent
    drip: float = 0.0  # seconds between two bytes
    sent: int | None = None  # bytes of the body, after which the connection is closed
    reason: str | None = None  # of the status line


def completion(
    *texts: Any, finish: Any = "stop", usage: Any = 3, extra: dict[str, Any] | None = None, **options: Any
) -> Answer:
    """A chat completion with these texts as its choices."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        for i, text in enumerate(texts)
    ]
    answer = {"model": "tiny", "choices": choices, "usage": {"completion_tokens": usage}} | (extra or {})
    return Answer(body=json.dumps(answer).encode(), **options)


def echo(chat: Chat) -> Answer:
    """The chat's last text, `n` times."""
    return completion(*[chat.text] * chat.body.get("n", 1))


class ChatServer:
    """Listens on a free port of 127.0.0.1 while its `with` block lasts."""

    def __init__(self) -> None:
        self.default: Callable[[Chat], Answer] = echo
        self.models: Answer = Answer(body=json.dumps({"object": "list", "data": [CARD]}).encode())
        self.chats: list[Chat] = []
        self.lists: list[dict[str, str]] = []  # headers of the requests for the list of models
        self.most_at_once = 0
        self._scripts: dict[str, list[Answer]] = {}
        self._at_once, self._lock, self._closing = 0, threading.Lock(), threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.block_on_close = False
        self.address = f"http://127.0.0.1:{self._http.server_port}/v1"

    def script(self, text: str, answers: Iterable[Answer]) -> None:
        """Answer chats that end in `text` with these, one after the other; the last one stays."""
        self._scripts[text] = list(answers)

    def chats_of(self, text: str) -> list[Chat]:
        """The chats so far that end in `text`."""
        return [chat for chat in self.chats if chat.text == text]

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, chat: Chat) -> Answer:
        with self._lock:
            self.chats.append(chat)
            answers = self._scripts.get(chat.text)
            if answers:
                return answers.pop(0) if len(answers) > 1 else answers[0]
        return self.default(chat)

    def _count(self, by: int) -> None:
        with self._lock:
            self._at_once += by
            self.most_at_once = max(self.most_at_once, self._at_once)

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        self._closing.wait(answer.hang)
        handler.send_response(answer.status, answer.reason)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if answer.kind:
            handler.send_header("Content-Type", answer.kind)
        handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        for at in range(len(answer.body)) if answer.drip else ():
            handler.wfile.write(answer.body[at : at + 1])
            time.sleep(answer.drip)
        if not answer.drip:
            handler.wfile.write(answer.body[: answer.sent])
        handler.close_connection = answer.sent is not None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.lists.append({name.lower(): value for name, value in self.headers.items()})
                self.respond(lambda: server.models)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                self.respond(lambda: server._answer(Chat(path=self.path, headers=headers, body=body)))

            def respond(self, answer: Callable[[], Answer]) -> None:
                if server._closing.is_set():
                    self.close_connection = True  # as if the process were gone, kept connections included
                    return
                server._count(1)
                try:
                    server._send(self, answer())
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client had enough
                finally:
                    server._count(-1)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
