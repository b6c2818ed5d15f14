"""Web: JSON over HTTP to one server, without proxies or retries: it is beside us, or it is broken."""

import contextlib
import http.client
import json
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

from iteralign.security import documents
from iteralign.security.keys import keys_of

MOST_BYTES = 64_000_000
"""Of one reply: a million token ids take about 8 MB (assumed)."""


class Refused(Exception):
    """The server answered, but with an error. `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Gone(Exception):
    """No answer: nobody listens, the connection broke, the time is up."""


class Garbled(Gone):
    """An answer that is not of the protocol."""


class Web:
    """Calls to `url`, which may have a path. `key` is sent as a bearer token and never shown."""

    def __init__(self, url: str, key: str | None, timeout_s: float) -> None:
        self.url, self._key, self.timeout_s = url.rstrip("/"), key, timeout_s
        self._parts = urlsplit(self.url)
        self._keys = keys_of([key], [url], {}, {})
        self._open: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()

    def post(self, path: str, body: Any = None) -> Any:
        return self._call("POST", path, body)

    def get(self, path: str, timeout_s: float | None = None) -> Any:
        return self._call("GET", path, timeout_s=timeout_s)

    def hang_up(self) -> None:
        """Break off all calls in flight, from another thread; each raises Gone."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError, AttributeError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _call(self, method: str, path: str, body: Any = None, timeout_s: float | None = None) -> Any:
        """What the server answered: JSON where it is, else text. Raises Refused, Gone."""
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(str(self._parts.hostname), self._parts.port, timeout=timeout_s or self.timeout_s)
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        with self._lock:
            self._open.add(connection)
        try:
            connection.request(
                method, self._parts.path + path, None if body is None else json.dumps(body), headers
            )
            response = connection.getresponse()
            status, body = response.status, response.read(MOST_BYTES + 1)
            if len(body) > MOST_BYTES:
                raise Garbled(f"its reply is longer than {MOST_BYTES:,} bytes")
            text = self._keys.redact(body.decode(errors="replace"))
        except (OSError, http.client.HTTPException) as error:
            raise Gone(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()
        answer = _parsed(text)
        if status >= 300:
            raise Refused(status, _message(answer))
        return answer


def _parsed(text: str) -> Any:
    try:
        return documents.parsed_json(text)
    except documents.Unreadable:
        return text


def _message(answer: Any) -> str:
    """The server's own words, on one line."""
    found = answer
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    return " ".join(str(found).split())[:300]
