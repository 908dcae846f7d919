"""An end to answers that never end.

In: the events of httpx's `trace` extension, which name a client's connections and say when an answer is awaited.
Out: connections that are closed when an answer takes too long as a whole. The timeout of a read sees silences
only, and what comes before and between the parts of a body (headers, "100 Continue", extensions of chunks) is
never handed on, so a server can go on with it for ever. It knows nothing of what is asked or said.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakSet


class Connections:
    """All connections that a client has open to its one server."""

    def __init__(self) -> None:
        self._streams: WeakSet[Any] = WeakSet()
        self._lock = threading.Lock()

    def add(self, stream: Any) -> None:
        """Remember a connection until it is dropped."""
        with self._lock:
            self._streams.add(stream)

    def hang_up(self) -> None:
        """End them all: which of them a call uses is not told. Other calls under way find theirs closed."""
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            with suppress(OSError):
                # not TLS's own shutdown, which waits for an answer
                socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)


class Watch:
    """Watches one call, while its `with` block lasts; the clock starts when the request has been sent."""

    def __init__(self, connections: Connections, seconds: float) -> None:
        self.over = False  # whether the time was up
        self._connections = connections
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """What the call passes to httpx as its extension `trace`."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._connections.add(info["return_value"])
        elif event.endswith("receive_response_headers.started") and self._timer.ident is None:
            self._timer.start()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        self.over = True
        self._connections.hang_up()
