"""JSON to a server and back: timeouts, a deadline, a bound on bytes, retries, and a key that goes to that server alone.

In: an address and a key, then a path and a body. Out: the parsed answer, or a `CallError` that says why there is none.

The key is sent as a header and kept in closures: no attribute, repr or message holds it. Redirects are not followed,
since they could carry it to another host, and an answer that repeats it is thrown away.

httpx's read timeout sees silences only, and a server can go on for ever with what httpx never hands on: headers, "100
Continue", extensions of chunks. asyncio.timeout ends a call whatever it waits for, so the calls run in an event loop,
in a thread of its own because a notebook's loop is running already.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import random
import re
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import reduce
from typing import Any, TypeVar

import httpx

MAX_BYTES = 8_000_000  # of an answer; a reply of 1,000 tokens takes some 5,000
MAX_ERROR_BYTES = 64_000  # of an error's body, of which a line is shown
MAX_MESSAGE = 600  # characters
MIN_SECRET = 8  # characters; placeholders such as "EMPTY" are shorter, and may well stand in a reply
FORM = "write http(s)://HOST:PORT/v1"
RETRIED = (429, 500, 502, 503, 504)
HINTS = {
    401: "set LALM_UTILS_API_KEY to a key of this server",
    403: "set LALM_UTILS_API_KEY to a key that may do this",
    404: "check the address, which usually ends in /v1, and the model's name",
    413: "the clips are too large for this server",
}
DIED = (
    "; the server has answered before, so it died while answering or was stopped: see its own log for why, start it, "
    "and ask again"
)
T = TypeVar("T")


class CallError(RuntimeError):
    """There is no usable answer. `status` is the HTTP status where there was one."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry: bool = False,
        after: float = 0.0,
        broken: bool = False,
    ):
        """`retry`: another attempt may succeed, `after` so many seconds at the earliest. `broken`: there was no
        connection, or it broke."""
        super().__init__(message)
        self.status, self.retry, self.after, self.broken = status, retry, after, broken


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """How long to wait before another attempt: exponential, with full jitter, so that callers spread out."""

    base: float = 1.0  # seconds; the first wait is up to this, each later one up to twice the one before
    cap: float = 60.0  # seconds; no wait is longer, whatever the server asks for
    sleep: Callable[[float], object] = time.sleep
    draw: Callable[[float, float], float] = field(default_factory=lambda: random.Random().uniform)

    def wait(self, attempt: int, after: float = 0.0) -> None:
        """Wait after attempt number `attempt` (from 0), at least `after` seconds, at most `cap`."""
        jitter = self.draw(0.0, min(self.cap, self.base * 2 ** min(attempt, 30)))
        self.sleep(min(self.cap, max(after, jitter)))


class JsonClient:
    """One server. May be shared by threads."""

    def __init__(
        self,
        address: str,
        *,
        key: str = "",
        allow_insecure: bool = False,
        connections: int = 8,
        connect_timeout: float = 10.0,
        read_timeout: float = 120.0,
        retries: int = 4,
        backoff: Backoff | None = None,
    ) -> None:
        """Connect to nothing yet. `retries` counts the attempts after the first one; timeouts are in seconds.

        Raises CallError for an address or a key that cannot be used, or a setting out of its range.
        """
        if retries < 0 or connections < 1 or not min(connect_timeout, read_timeout) > 0:
            raise CallError(
                f"retries={retries}, connections={connections}, timeouts of {connect_timeout} and {read_timeout} "
                "s: retries are at least 0, connections at least 1, and timeouts above 0"
            )
        url = _checked_address(address)
        self._has_answered = False
        self.address, self.retries, self.read_timeout = str(url).rstrip("/"), retries, read_timeout
        self.backoff = backoff or Backoff()
        _check_key(key, url, allow_insecure)
        in_json = json.dumps(key)[1:-1]
        # also as it stands in the repr of what a server sent, a text or bytes
        in_repr = repr(key)[1:-1], repr(bytearray(key.encode()))[12:-2]
        forms = sorted({key, in_json, *in_repr} - {""}, key=len, reverse=True)
        self._hide_key = lambda text: reduce(lambda part, form: part.replace(form, "[key]"), forms, text)
        # escapes can hide a key from a look at the text; without them the text itself will do, in half the time
        self._repeats_key = lambda text, answer: (
            len(key) >= MIN_SECRET and in_json in (json.dumps(answer) if "\\" in text else text)
        )
        self._http = httpx.AsyncClient(
            auth=_bearer(key),
            timeout=httpx.Timeout(connect=connect_timeout, read=read_timeout, write=read_timeout, pool=None),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
            # bodies are bounded as they come in, and a compressed one would unfold past the bound
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            # a proxy cannot reach what runs on this machine
            trust_env=not _is_loopback(url.host),
            # http has no certificates to check, and loading the trusted ones takes 50 ms
            verify=url.scheme == "https",
        )
        self._loop, self._lock = asyncio.new_event_loop(), threading.Lock()
        threading.Thread(target=_run, args=(self._loop,), name="lalm-http", daemon=True).start()
        self._stop = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)

    def call(self, path: str, body: Mapping[str, Any] | None = None, *, retries: int | None = None) -> Any:
        """The parsed answer to GET address + path, or to POST where there is a body. Raises CallError."""
        retries = self.retries if retries is None else retries
        for attempt in range(retries + 1):
            try:
                response, content = self._wait_for(self._send(path, body))
                self._has_answered = True
                return self._parse(response, content)
            except CallError as error:
                if not error.retry or attempt == retries:
                    tries = f" ({attempt + 1} attempts)" if attempt else ""
                    tries += DIED if error.broken and self._has_answered else ""
                    # from None: what the server sent may hold the key, and a traceback would show it
                    raise CallError(self._line(f"{error}") + tries, status=error.status) from None
                self.backoff.wait(attempt, error.after)

    def close(self) -> None:
        """Close the connections; calls under way fail."""
        if self._stop.alive:
            self._wait_for(self._http.aclose())
            with self._lock:
                self._stop()

    def _wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        with (
            self._lock
        ):  # what the loop is given after its end is never done, and would be waited for without end
            if not self._stop.alive:
                coroutine.close()
                raise CallError("the connections were closed")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result()

    def _line(self, message: str) -> str:
        """A message without the key, and without what would move a terminal's cursor."""
        plain = "".join(sign if sign.isprintable() else "\ufffd" for sign in self._hide_key(message))
        return plain if len(plain) <= MAX_MESSAGE else f"{plain[:MAX_MESSAGE]} ..."

    async def _send(self, path: str, body: Mapping[str, Any] | None) -> tuple[httpx.Response, bytes]:
        """One attempt: the response, and the bytes of its body as far as they are within bounds."""
        clock = self._loop.time
        try:
            async with asyncio.timeout(None) as deadline:

                async def start_clock(event: str, info: Mapping[str, Any]) -> None:
                    if deadline.when() is None:  # httpx's first event: the call has got its connection
                        deadline.reschedule(clock() + 2 * self.read_timeout + 0.5)

                request = {"json": body, "extensions": {"trace": start_clock}}
                method = "GET" if body is None else "POST"
                async with self._http.stream(method, self.address + path, **request) as response:
                    deadline.reschedule(clock() + self.read_timeout)
                    return response, await _read(response)
        except TimeoutError as error:
            fault = f"the answer was not whole after {self.read_timeout:g} s"
            raise CallError(fault, retry=True) from error
        except httpx.TimeoutException as error:
            raise CallError(f"no answer in time ({type(error).__name__})", retry=True) from error
        except httpx.TransportError as error:
            raise CallError(
                f"the connection failed ({type(error).__name__}: {error})", retry=True, broken=True
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # of an address to go on to
            raise CallError(f"the answer is not HTTP ({type(error).__name__}: {error})") from error

    def _parse(self, response: httpx.Response, content: bytes) -> Any:
        """What a response says, as JSON; CallError for any other."""
        if response.is_redirect:
            raise CallError(
                f"HTTP {response.status_code}: a redirect, which is not followed because it could carry the "
                "key elsewhere; give the address that it leads to",
                status=response.status_code,
            )
        if not response.is_success:
            raise _refusal(response, self._hide_key(content.decode(errors="replace")), self._hide_key)
        if len(content) > MAX_BYTES:
            raise CallError(f"an answer of over {MAX_BYTES:,} bytes; no chat completion is that long")
        kind = self._hide_key(response.headers.get("content-type", "")).partition(";")[0].strip()
        if kind and kind.lower() != "application/json" and not kind.lower().endswith("+json"):
            raise CallError(f"the answer is {kind[:80]}, not JSON; {HINTS[404]}")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise CallError("the answer is compressed, which was not asked for")
        try:
            text = content.decode()
            answer = json.loads(text)
            holds_key = self._repeats_key(text, answer)
        except (ValueError, RecursionError) as error:
            start = self._hide_key(content.decode(errors="replace"))[:80]
            raise CallError(f"the answer is not JSON ({error}): {start!r}") from error
        if holds_key:
            raise CallError("the answer repeats the API key, so nothing of it is kept; use another server")
        return answer


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped; calls under way are cancelled then, since their threads wait for them."""
    loop.run_forever()
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks))
    loop.close()


async def _read(response: httpx.Response) -> bytes:
    """The body, or its start where it is longer than it may be; nothing of a redirect's."""
    limit = 0 if response.is_redirect else MAX_BYTES if response.is_success else MAX_ERROR_BYTES
    content = bytearray()
    if limit:
        async for part in response.aiter_raw():
            content += part
            if len(content) > limit:
                break
    return bytes(content)


def _bearer(key: str) -> Callable[[httpx.Request], httpx.Request]:
    """What puts the key into a request; nothing else needs to know it."""

    def authorized(request: httpx.Request) -> httpx.Request:
        if key:
            request.headers["Authorization"] = f"Bearer {key}"
        return request

    return authorized


def _checked_address(address: str) -> httpx.URL:
    """The address as a URL; CallError if a part is missing, or is one that could hold a secret."""
    try:
        url = httpx.URL(address)
        host = url.host  # refused only when it is read, if no host may have that name
    except (httpx.InvalidURL, TypeError, ValueError) as error:
        raise CallError(f"the address is no URL ({error}); {FORM}") from error
    if url.userinfo or url.query or url.fragment:
        raise CallError(
            f"the address of {host} has a user, a query or a fragment, but addresses are shown with results "
            f"and must hold no secret; {FORM}, and put a key into LALM_UTILS_API_KEY"
        )
    if url.scheme not in ("http", "https") or not host or not 1 <= (url.port or 80) <= 65_535:
        raise CallError(f"{address!r} is no address of a server; {FORM}")
    return url


def _check_key(key: str, url: httpx.URL, allow_insecure: bool) -> None:
    if not re.fullmatch(r"[!-~]*", key):
        raise CallError(
            "the API key has blanks or characters outside ASCII; copy it again, without a line end"
        )
    if key and url.scheme == "http" and not _is_loopback(url.host) and not allow_insecure:
        raise CallError(
            f"http://{url.host} would carry the API key unencrypted over the network; use https, or send no "
            "key (LALM_UTILS_API_KEY set to nothing), or pass allow_insecure=True if the network is yours"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refusal(response: httpx.Response, text: str, hide_key: Callable[[str], str]) -> CallError:
    status, phrase = response.status_code, hide_key(response.reason_phrase)[:80]
    parts = [f"HTTP {status} {phrase}".strip(), _reason(text, hide_key), HINTS.get(status, "")]
    after = _seconds(response.headers.get("retry-after", ""))
    return CallError("; ".join(filter(None, parts)), status=status, retry=status in RETRIED, after=after)


def _reason(text: str, hide_key: Callable[[str], str]) -> str:
    """What an error's body says, as one line of at most 300 characters; the key is hidden before the line is cut."""
    try:
        value = json.loads(text)
        for name in ("error", "message", "detail"):
            value = value.get(name, value) if isinstance(value, dict) else value
        text = str(value)
    except (ValueError, RecursionError):
        pass  # then as it came
    return " ".join(hide_key(text).split())[:300]


def _seconds(retry_after: str) -> float:
    """The seconds of a Retry-After header, a number or a date; 0 if it is neither."""
    if re.fullmatch(r"\d{1,9}", retry_after.strip(), re.ASCII):
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
        return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return 0.0
