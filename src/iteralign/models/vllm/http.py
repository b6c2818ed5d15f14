"""Web: JSON over HTTP to one server, without proxies or retries: it is beside us, or it is broken."""

import contextlib
import json
import socket
import ssl
from collections.abc import Mapping
from typing import Any

import httpx

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


class OffProtocol(Gone):
    """An answer that is not of the protocol."""


class Web:
    """Calls to `url`, which may have a path. `key` is sent as a bearer token and never shown."""

    def __init__(self, url: str, key: str | None, timeout_s: float) -> None:
        self.url, self.timeout_s = url.rstrip("/"), timeout_s
        self._keys = keys_of([key], [url], {}, {})
        self._open: set[socket.socket] = set()
        self._headers = {
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {key}"} if key else {}),
        }
        self._verify = ssl.create_default_context() if url.startswith("https:") else False

    def _client(self) -> httpx.Client:
        """A client of one call. Threads that share a pool without keep-alive close each other's connections."""
        return httpx.Client(headers=self._headers, verify=self._verify, trust_env=False)

    def post(self, path: str, body: Any = None) -> Any:
        return self._call("POST", path, body)

    def get(self, path: str, timeout_s: float | None = None) -> Any:
        return self._call("GET", path, timeout_s=timeout_s)

    def hang_up(self) -> None:
        """Break off all calls in flight, from another thread; each raises Gone."""
        for open_socket in tuple(self._open):
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)

    def _call(self, method: str, path: str, body: Any = None, timeout_s: float | None = None) -> Any:
        """What the server answered: JSON where it is, else text. Raises Refused, Gone."""
        mine: list[socket.socket] = []

        def watch(event: str, facts: Mapping[str, Any]) -> None:
            if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
                mine.append(facts["return_value"].get_extra_info("socket"))
                self._open.add(mine[-1])

        try:
            with (
                self._client() as client,
                client.stream(
                    method,
                    self.url + path,
                    content=None if body is None else json.dumps(body),  # escapes what a path may hold
                    timeout=timeout_s or self.timeout_s,
                    extensions={"trace": watch},
                ) as response,
            ):
                content = bytearray()
                for part in response.iter_raw():
                    content += part
                    if len(content) > MOST_BYTES:
                        raise OffProtocol(f"its reply is longer than {MOST_BYTES:,} bytes")
        except (httpx.HTTPError, OSError) as error:
            cause: BaseException = error
            while cause.__context__ is not None and not isinstance(cause, OSError):
                cause = cause.__context__  # the system's own words, where it said any
            said = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
            raise Gone(said) from error
        finally:
            self._open.difference_update(mine)
        text = self._keys.redact(content.decode(errors="replace"))
        try:
            answer = documents.parsed_json(text)
        except documents.Unreadable:
            answer = text
        if response.status_code >= 300:
            raise Refused(response.status_code, _message(answer))
        return answer


def _message(answer: Any) -> str:
    """The server's own words, on one line."""
    found = answer
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    return " ".join(str(found).split())[:300]
