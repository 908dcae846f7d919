"""JSON to a server and back: timeouts, repeated attempts, bounds, and a key that goes to that server alone.

In: an address and a key, then a path and a body. Out: the parsed answer, or a `CallError` that says why there
is none. It knows no models, chats or audio.

The key is sent as a header and kept in closures: no attribute, repr or message holds it. Redirects are not
followed, since they could carry it to another host, and an answer that repeats it is thrown away.
"""

from __future__ import annotations

import ipaddress
import json
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import reduce
from typing import Any

import httpx

from lalm_utils.server.patience import Connections, Watch

MAX_BYTES = 8_000_000  # of an answer; a reply of 1,000 tokens takes some 5,000
MAX_REASON = 64_000  # of an error's body, of which a line is shown
MAX_SAID = 600  # characters of a message
SECRET = 8  # characters; placeholders such as "EMPTY" are shorter, and may well stand in a reply
FORM = "write http(s)://HOST:PORT/v1"
AGAIN = (429, 500, 502, 503, 504)
HINTS = {
    401: "set LALM_UTILS_API_KEY to a key of this server",
    403: "set LALM_UTILS_API_KEY to a key that may do this",
    404: "check the address, which usually ends in /v1, and the model's name",
    413: "the clips are too large for this server",
}


class CallError(RuntimeError):
    """There is no usable answer. `status` is the HTTP status where there was one."""

    def __init__(self, message: str, *, status: int | None = None, again: bool = False, after: float = 0.0):
        """`again`: another attempt may succeed, `after` so many seconds at the earliest."""
        super().__init__(message)
        self.status, self.again, self.after = status, again, after


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
        self.address, self.retries, self.read_timeout = str(url).rstrip("/"), retries, read_timeout
        self.backoff = backoff or Backoff()
        _check_key(key, url, allow_insecure)
        written = json.dumps(key)[1:-1]
        # also as it stands in the repr of what a server sent, a text or bytes
        quoted = repr(key)[1:-1], repr(bytearray(key.encode()))[12:-2]
        forms = sorted({key, written, *quoted} - {""}, key=len, reverse=True)
        self._hidden = lambda text: reduce(lambda said, form: said.replace(form, "[key]"), forms, text)
        self._repeats_key = lambda answer: len(key) >= SECRET and written in json.dumps(answer)
        self._connections = Connections()
        self._http = httpx.Client(
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

    def call(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The parsed answer to GET address + path, or to POST where there is a body. Raises CallError."""
        for attempt in range(self.retries + 1):
            try:
                return self._once(path, body)
            except CallError as error:
                if not error.again or attempt == self.retries:
                    tries = f" ({attempt + 1} attempts)" if attempt else ""
                    # from None: what the server said may hold the key, and a traceback would show it
                    raise CallError(self._line(f"{error}") + tries, status=error.status) from None
                self.backoff.wait(attempt, error.after)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _line(self, said: str) -> str:
        """A message without the key, and without what would move a terminal's cursor."""
        plain = "".join(sign if sign.isprintable() else "\ufffd" for sign in self._hidden(said))
        return plain if len(plain) <= MAX_SAID else f"{plain[:MAX_SAID]} ..."

    def _once(self, path: str, body: Mapping[str, Any] | None) -> Any:
        method = "GET" if body is None else "POST"
        # silence and a body have a read timeout each
        with Watch(self._connections, 2 * self.read_timeout + 0.5) as watch:
            how = {"json": body, "extensions": {"trace": watch.trace}}
            try:
                with self._http.stream(method, self.address + path, **how) as response:
                    return self._answer(response)
            except httpx.TimeoutException as error:
                raise CallError(f"no answer in time ({type(error).__name__})", again=True) from error
            except httpx.TransportError as error:
                fault = f"the connection failed ({type(error).__name__}: {error})"
                raise CallError(self._not_whole() if watch.over else fault, again=True) from error
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # of an address to go on to
                raise CallError(f"the answer is not HTTP ({type(error).__name__}: {error})") from error

    def _not_whole(self) -> str:
        return f"the answer was not whole after {self.read_timeout:g} s"

    def _answer(self, response: httpx.Response) -> Any:
        if response.is_redirect:
            raise CallError(
                f"HTTP {response.status_code}: a redirect, which is not followed because it could carry the "
                "key elsewhere; give the address that it leads to",
                status=response.status_code,
            )
        if not response.is_success:
            said = self._body(response, MAX_REASON).decode(errors="replace")
            raise _refusal(response, self._hidden(said), self._hidden)
        content = self._body(response, MAX_BYTES)
        if len(content) > MAX_BYTES:
            raise CallError(f"an answer of over {MAX_BYTES:,} bytes; no chat completion is that long")
        return self._parsed(response.headers, content)

    def _body(self, response: httpx.Response, limit: int) -> bytes:
        """The body, or its start where it is longer than `limit` bytes."""
        parts, size, end = [], 0, time.monotonic() + self.read_timeout
        for part in response.iter_raw():
            parts.append(part)
            size += len(part)
            if size > limit:
                break
            if time.monotonic() > end:  # the read timeout sees silences only
                raise CallError(self._not_whole(), again=True)
        return b"".join(parts)

    def _parsed(self, headers: httpx.Headers, content: bytes) -> Any:
        kind = self._hidden(headers.get("content-type", "")).partition(";")[0].strip()
        if kind and kind.lower() != "application/json" and not kind.lower().endswith("+json"):
            raise CallError(f"the answer is {kind[:80]}, not JSON; {HINTS[404]}")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise CallError("the answer is compressed, which was not asked for")
        try:
            answer = json.loads(content.decode())
            repeated = self._repeats_key(answer)
        except (ValueError, RecursionError) as error:
            start = self._hidden(content.decode(errors="replace"))[:80]
            raise CallError(f"the answer is not JSON ({error}): {start!r}") from error
        if repeated:
            raise CallError("the answer repeats the API key, so nothing of it is kept; use another server")
        return answer


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


def _refusal(response: httpx.Response, said: str, hidden: Callable[[str], str]) -> CallError:
    status, phrase = response.status_code, hidden(response.reason_phrase)[:80]
    parts = [f"HTTP {status} {phrase}".strip(), _reason(said, hidden), HINTS.get(status, "")]
    after = _seconds(response.headers.get("retry-after", ""))
    return CallError("; ".join(filter(None, parts)), status=status, again=status in AGAIN, after=after)


def _reason(text: str, hidden: Callable[[str], str]) -> str:
    """What an error's body says, as one line of at most 300 characters, hidden what must be before it is cut."""
    try:
        said = json.loads(text)
        for name in ("error", "message", "detail"):
            said = said.get(name, said) if isinstance(said, dict) else said
        text = str(said)
    except (ValueError, RecursionError):
        pass  # then as it came
    return " ".join(hidden(text).split())[:300]


def _seconds(retry_after: str) -> float:
    """The seconds of a Retry-After header, a number or a date; 0 if it is neither."""
    if re.fullmatch(r"\d{1,9}", retry_after.strip(), re.ASCII):
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
        return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return 0.0
