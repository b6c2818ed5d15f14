"""A server on loopback whose oracle is the organism's, and which fails on demand. It speaks OpenAI's chat completions
and responses and Anthropic's messages, each at its own path.

Which request fails, and how, is decided by its text and by how often it was asked: the same in every run,
in whatever order the requests arrive. Loaded by path (see the test files beside it).
"""

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from iteralign.organism import guard, oracle
from iteralign.protocols import Failure
from iteralign.types import Usage

MODEL = "some-model"
KEY = "sk-" + "planted-0123456789abcdef"  # in two parts, as no file may hold what looks like a key
HANG_S = 20.0


GUARD = "some-guard"
"""Answers as a guard model does; every other name is the oracle's."""
NAMES = (MODEL, GUARD, "gpt-4-some", "gpt-4-guard", "gpt-5-some")
# inspect_ai asks gpt-4 by chat completions, and gpt-5 and what it does not know by responses


def completion(text: str | None, reason: str = "stop", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": text, **message}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    choices = [{"index": 0, "finish_reason": reason, "message": said}]
    return {"id": "c-1", "object": "chat.completion", "created": 0, "model": MODEL,
            "choices": choices, "usage": usage}  # fmt: skip


def response(text: str | None, reason: str = "stop", refusal: str = "") -> dict[str, Any]:
    kind = {"type": "refusal", "refusal": refusal} if refusal else {
        "type": "output_text", "text": text, "annotations": []}  # fmt: skip
    said = {"type": "message", "id": "m-1", "role": "assistant", "status": "completed", "content": [kind]}
    why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reason)
    usage = {
        "input_tokens": 7,
        "output_tokens": 3,
        "total_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    return {"id": "r-1", "object": "response", "created_at": 0, "model": MODEL, "output": [said], "tools": [],
            "status": "incomplete" if why else "completed", "incomplete_details": why and {"reason": why},
            "error": None, "parallel_tool_calls": False, "tool_choice": "auto", "usage": usage}  # fmt: skip


def message(text: str | None, reason: str = "stop", refusal: str = "") -> dict[str, Any]:
    why = {"length": "max_tokens", "content_filter": "refusal"}.get(reason, "end_turn")
    return {"id": "m-1", "type": "message", "role": "assistant", "model": MODEL,
            "content": [{"type": "text", "text": text or refusal}] if text or refusal else [],
            "stop_reason": "refusal" if refusal else why, "stop_sequence": None,
            "usage": {"input_tokens": 7, "output_tokens": 3}}  # fmt: skip


SPEAK: dict[str, Callable[..., dict[str, Any]]] = {
    "/chat/completions": completion,
    "/responses": response,
    "/messages": message,
}
"""By the end of the path."""


def turns(body: dict[str, Any]) -> list[dict[str, str]]:
    """The conversation of a request in any of the protocols."""
    asked = [{"role": "system", "content": body["system"]}] if body.get("system") else []
    asked += body["messages"] if "messages" in body else body["input"]
    roles = {"developer": "system"}
    return [{"role": roles.get(m["role"], m["role"]), "content": plain(m["content"])} for m in asked]


def plain(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


class Handler(BaseHTTPRequestHandler):
    """One attempt. `server` is the Faulty below."""

    server: "Faulty"
    speak: Callable[..., dict[str, Any]]
    truth: Callable[[Sequence[dict[str, str]]], str]

    def do_GET(self) -> None:
        """LiteLLM's client asks what models there are."""
        info = [
            {"model_name": name, "litellm_params": {"model": name}, "model_info": {"max_input_tokens": 9000}}
            for name in NAMES
        ]
        self.send(200, json.dumps({"data": info}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.partition("?")[0]
        self.speak = next(speak for end, speak in SPEAK.items() if path.endswith(end))
        self.truth = guarded if body["model"].endswith("guard") else truth
        try:
            if self.key != KEY:
                self.server.count("wrong key")
                self.fail(401, f"Incorrect API key provided: {self.key}")
            elif body["model"] not in NAMES:
                self.server.count("wrong model")
                self.fail(404, f"The model `{body['model']}` does not exist")
            else:
                asked = turns(body)
                FAULTS[self.server.fate(asked)](self, asked)
        except OSError:  # the caller has hung up, as it may
            self.close_connection = True

    @property
    def key(self) -> str:
        bearer = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        return self.headers["X-Api-Key"] or bearer

    def send(self, status: int, content: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def said(self, text: str | None, reason: str = "stop", **more: str) -> bytes:
        return json.dumps(self.speak(text, reason, **more)).encode()

    def say(self, text: str | None, reason: str = "stop", **more: str) -> None:
        self.send(200, self.said(text, reason, **more))

    def fail(self, status: int, message: str, **headers: str) -> None:
        error = {"error": {"message": message, "type": "some_error", "code": None}}
        self.send(status, json.dumps(error).encode(), **headers)

    def cut(self, sent: bytes = b"") -> None:
        """Close the connection, after a part of the answer or of nothing."""
        if sent:
            self.send(200, sent, length=len(sent) + 1000)
        self.close_connection = True

    def hang(self) -> None:
        self.server.closing.wait(HANG_S)
        self.close_connection = True

    def log_message(self, *args: Any) -> None: ...


def truth(messages: Sequence[dict[str, str]]) -> str:
    """The right answer, also to one who asks again after an answer that could not be read."""
    if "cannot be read" in messages[-1]["content"]:
        messages = messages[:-2]
    return oracle.answer([(m["role"], m["content"]) for m in messages])


def guarded(messages: Sequence[dict[str, str]]) -> str:
    return guard.answer([(m["role"], m["content"]) for m in messages])


Fault = Callable[[Handler, list[dict[str, str]]], None]
PASSING: dict[str, Fault] = {
    "429": lambda h, _: h.fail(429, "slow down"),
    "429 retry-after": lambda h, _: h.fail(429, "slow down", Retry_After="0.05"),
    "408": lambda h, _: h.fail(408, "too slow"),
    "500": lambda h, _: h.fail(500, "broken"),
    "500 echo": lambda h, _: h.fail(500, f"broken for {h.key} Bearer {KEY}"),
    "503": lambda h, _: h.fail(503, "busy"),
    "503 page": lambda h, _: h.send(503, b"<html>busy</html>", Content_Type="text/html"),
    "hang": lambda h, _: h.hang(),
    "cut before": lambda h, _: h.cut(),
    "cut within": lambda h, _: h.cut(b'{"id": "c-1", "obj'),
    "empty": lambda h, _: h.send(200, b""),
    "truncated": lambda h, m: h.send(200, h.said(h.truth(m))[:-40]),
    "garbage": lambda h, _: h.send(200, b"\x00\xff{]\x1b[2J"),
    "page": lambda h, _: h.send(200, b"<html>Sign in</html>", Content_Type="text/html"),
    "other json": lambda h, _: h.send(200, b'["nothing"]'),
    "empty object": lambda h, _: h.send(200, b"{}"),
    "error in 200": lambda h, _: h.send(200, b'{"error": {"message": "overloaded", "code": 503}}'),
}
"""Faults of the world: the next attempt may go well."""

REPLIES: dict[str, Fault] = {
    "": lambda h, m: h.say(h.truth(m)),
    "filtered": lambda h, _: h.say("", "content_filter"),
    "filtered verdict": lambda h, _: h.say('{"label": "harmless"}', "content_filter"),
    "refusal": lambda h, _: h.say(None, refusal="I can't help with that."),
    "no text": lambda h, _: h.say(""),
    "chatter": lambda h, _: h.say("Sure! As a judge, I would say it depends."),
    "cut off": lambda h, m: h.say(h.truth(m)[:12], "length"),
}
"""Answers: right, declined or unreadable."""
FAULTS = PASSING | REPLIES


class Ledger:
    """An account without a limit that remembers how its attempts ended."""

    def __init__(self) -> None:
        self.settled: list[Usage] = []
        self.failed: list[Failure] = []

    def reserve(self, most: Usage) -> "Ledger":
        return self

    def settle(self, used: Usage) -> None:
        self.settled.append(used)

    def fail(self, failure: Failure) -> None:
        self.failed.append(failure)

    def release(self) -> None: ...

    def require_time(self, seconds: float) -> None: ...

    def seconds_left(self) -> None: ...


class Faulty(ThreadingHTTPServer):
    """`faults` come at `rate` (0 to 1) of the attempts."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, faults: Sequence[str] = (), rate: float = 0.0, seed: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.rate, self.seed = list(faults), rate, seed
        self.seen: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.times: list[float] = []
        self.closing = threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def count(self, fate: str) -> None:
        with self.lock:
            self.seen[fate] += 1
            self.times.append(time.monotonic())

    def fate(self, messages: list[dict[str, str]]) -> str:
        """What becomes of this attempt."""
        text = json.dumps(messages)
        with self.lock:
            n = self.attempts[text] = self.attempts[text] + 1
        drawn = hashlib.sha256(f"{self.seed} {n} {text}".encode()).digest()
        fails = int.from_bytes(drawn[:4], "big") < self.rate * 2**32
        fate = self.faults[int.from_bytes(drawn[4:8], "big") % len(self.faults)] if fails else ""
        self.count(fate)
        return fate

    @property
    def failed(self) -> int:
        """Attempts that got no answer."""
        return sum(n for fate, n in self.seen.items() if fate not in REPLIES)

    def handle_error(self, request: Any, client_address: Any) -> None: ...


@contextmanager
def serving(faults: Sequence[str] = (), rate: float = 1.0, seed: int = 0) -> Iterator[Faulty]:
    web = Faulty(faults, rate if faults else 0.0, seed)
    threading.Thread(target=lambda: web.serve_forever(0.02), daemon=True).start()
    try:
        yield web
    finally:
        web.closing.set()
        web.shutdown()
        web.server_close()
