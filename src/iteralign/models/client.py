"""The HTTP client under a provider's SDK: one request an attempt, a bounded reply, a reply of the protocol.

The SDKs of OpenAI and Anthropic take a client of ours (`http_client`). It follows no redirect, reads at most
`MOST_BYTES` of a reply, unpacked, and checks the reply before the SDK reads it.
"""

import importlib
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

MOST_BYTES = 4_000_000
"""Of one reply, unpacked. The longest answers of today's models (128k tokens) take about 1 MB (assumed)."""
MOST_TOKENS = 10_000_000
"""More tokens than one call of any model takes: a larger count is no count (assumed)."""
UNPACKED = ("gzip", "deflate")  # both unpack in bounded steps with zlib; no other packing is asked for
ANSWERS = {"/chat/completions": "choices", "/responses": "output", "/messages": "content"}
"""By the end of a path, the list that a reply holds."""
USAGE: dict[str, dict[str, Any]] = {
    "choices": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    "output": {
        "input_tokens": 0,
        "output_tokens": 0,
        "total_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    },
    "content": {"input_tokens": 0, "output_tokens": 0},
}
"""The counts without which the libraries cannot read a reply."""


_REQUESTS: ContextVar[list[str] | None] = ContextVar("requests of one attempt", default=None)


@contextmanager
def one_request() -> Iterator[None]:
    """Let the clients of `client` send one request within the block; any other raises Garbled before it is sent.

    inspect_ai goes on by itself where an answer pauses, and asks Anthropic to count the tokens of a thought.
    """
    before = _REQUESTS.set([])
    try:
        yield
    finally:
        _REQUESTS.reset(before)


class Garbled(Exception):
    """A reply that is not of the provider's protocol. The text says what is wrong with it, after "it …"."""


def client(sdk: str, timeout_s: float) -> Any:
    """An HTTP client for the package `sdk` ("openai", "anthropic"), a subclass of the one that it offers."""
    base: Any = importlib.import_module(sdk).DefaultAsyncHttpxClient

    class Client(base):  # type: ignore[misc]
        async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            made = _REQUESTS.get()
            if made:
                raise Garbled(f"needs a second request ({request.url.path[:60]}) to be read")
            if made is not None:
                made.append(request.url.path)
            response = await super().send(request, stream=True, **options)
            try:
                packed = bytearray()
                async for part in response.aiter_raw():
                    packed += part
                    if len(packed) > MOST_BYTES:
                        raise Garbled(f"is longer than {MOST_BYTES:,} bytes")
            finally:
                await response.aclose()
            body = unpack(bytes(packed), response.headers.get("content-encoding", ""))
            wanted = next((v for end, v in ANSWERS.items() if request.url.path.endswith(end)), None)
            if response.is_success and wanted and not stream:
                body = checked(body, wanted)
            dropped = (b"content-encoding", b"content-length", b"transfer-encoding")
            headers = [(k, v) for k, v in response.headers.raw if k.lower() not in dropped]
            return type(response)(response.status_code, headers=headers, content=body, request=request)

    return Client(timeout=timeout_s, follow_redirects=False, headers={"Accept-Encoding": ", ".join(UNPACKED)})


def unpack(body: bytes, encoding: str) -> bytes:
    """The body as it was before it was packed. Raises Garbled where it cannot be, or grows past MOST_BYTES."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in UNPACKED:
        raise Garbled(f"is packed as {encoding[:20]!r}, which was not asked for")
    for bits in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):  # gzip and zlib; some send deflate without its header
        reader = zlib.decompressobj(bits)
        try:
            found = reader.decompress(body, MOST_BYTES)
        except zlib.error:
            continue
        if len(found) >= MOST_BYTES and not reader.eof:
            raise Garbled(f"is longer than {MOST_BYTES:,} bytes")
        return found
    raise Garbled(f"is not packed as {encoding}, as it says")


THINK = re.compile(r"<(/?)think(?=[\s>])", re.IGNORECASE)
TEXTS = ("text", "output_text")
"""Kinds of parts whose text is an answer: no thought, no refusal."""
ENDED = {
    **dict.fromkeys(("stop", "end_turn", "eos", "eos_token", "stop_sequence"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_length", "model_length", "max_output_tokens"), "length"),
    **dict.fromkeys(("incomplete", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(("content_filter", "safety", "refusal", "recitation"), "content_filter"),
    **dict.fromkeys(("prohibited_content", "blocklist"), "content_filter"),
}
"""Why an answer ended: the words of servers, in lower case, and those that inspect_ai knows. Others stay."""
SAID = ("content", "refusal", "reasoning", "reasoning_content")
"""The fields of a message that are read; no tool is offered, so none is called."""
FAILED = ("failed", "error", "cancelled")
"""Why no answer ended."""


def checked(body: bytes, wanted: str) -> bytes:
    """The reply with every text as text and every count as a count; a count that is none becomes 0.

    A refusal among the parts of a text makes the whole answer a refusal. Why it ended is put in common words.

    Raises Garbled where no list `wanted` of answers is in it.
    """
    try:
        reply = json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        stream = body.lstrip().startswith((b"data:", b"event:"))
        raise Garbled("is an event stream" if stream else f"is not JSON ({error})"[:200]) from None
    answers = reply.get(wanted) if isinstance(reply, dict) else None
    if not isinstance(answers, list):
        said = reply.get("error") if isinstance(reply, dict) else None
        said = said.get("message") if isinstance(said, dict) else said
        raise Garbled(f"holds an error: {said}"[:300] if said else f"holds no list {wanted!r}")
    if reply.get("error"):
        raise Garbled("holds an error beside its answer")
    if wanted == "choices":
        if len(answers) > 1:
            raise Garbled("holds more than one answer")
        for choice in answers:
            message = choice.get("message") if isinstance(choice, dict) else None
            if not isinstance(message, dict):
                raise Garbled("has a choice without a message")
            content, ended = message.get("content"), choice.get("finish_reason")
            if isinstance(content, list):
                refused = [p["refusal"] for p in content if isinstance(p, dict) and p.get("refusal")]
                if refused and all(isinstance(r, str) for r in refused):
                    message["refusal"], content = "".join(refused), None
            message["content"] = _text(content)
            if isinstance(ended, str) and ended.lower() in FAILED:
                raise Garbled(f"ended as {ended.lower()!r}")
            choice["finish_reason"] = ENDED.get(ended.lower(), ended) if isinstance(ended, str) else None
    _ended(reply, wanted)
    _plain(reply, wanted)
    usage = reply.get("usage")
    reply["usage"] = USAGE[wanted] | (_counts(usage) if isinstance(usage, dict) else {})
    return json.dumps(reply).encode()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Garbled("holds a key twice")
    return found


def _ended(reply: dict[str, Any], wanted: str) -> None:
    """Put a cut of the Responses and the Messages API in the words that inspect_ai knows. Raises Garbled."""
    status, reason = reply.get("status"), reply.get("stop_reason")
    if wanted == "output" and status in FAILED:
        raise Garbled(f"ended as {status!r}")
    if wanted == "output" and status == "incomplete":
        details = reply.get("incomplete_details")
        known = isinstance(details, dict) and details.get("reason") == "content_filter"
        reply["incomplete_details"] = {"reason": "content_filter" if known else "max_output_tokens"}
    if wanted == "content" and reason == "pause_turn":
        raise Garbled("paused in the middle of its answer")
    if wanted == "content" and isinstance(reason, str) and ENDED.get(reason.lower()) == "length":
        reply["stop_reason"] = "max_tokens"


def _plain(reply: dict[str, Any], wanted: str) -> None:
    """Drop what we do not read, and what is not of its type: pydantic would write it out in a warning."""
    for name in ("created", "created_at"):
        if name in reply and type(reply[name]) not in (int, float):
            reply[name] = 0
    if wanted != "choices":
        return
    for index, choice in enumerate(reply["choices"]):
        choice["index"] = index
        message = {k: v for k, v in choice["message"].items() if k in SAID and isinstance(v, str | None)}
        choice["message"] = {**message, "role": "assistant"}
        reply["choices"][index] = {k: choice.get(k) for k in ("index", "message", "finish_reason")}


def _text(content: Any) -> str | None:
    """The text of a message, which some servers give in parts. Raises Garbled where a part is no text."""
    if isinstance(content, str):
        # inspect_ai cuts a thought out of the middle too, where what it cuts may be the verdict.
        # Only one whole thought at the very start is left to it.
        leads = content.lstrip().startswith("<think") and [m[1] for m in THINK.finditer(content)] == ["", "/"]
        return content if leads else THINK.sub(r"<\1thinking", content)
    if content is None:
        return None
    parts = (
        [p.get("text") if isinstance(p, dict) and p.get("type", "text") in TEXTS else p for p in content]
        if isinstance(content, list)
        else []
    )
    texts = [part for part in parts if isinstance(part, str)]
    if not isinstance(content, list) or len(texts) < len(parts):
        raise Garbled(f"has a content of type {type(content).__name__} that is no text")
    return _text("".join(texts))


def _counts(usage: dict[str, Any]) -> dict[str, Any]:
    def count(name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return _counts(value)
        good = type(value) is int and 0 <= value <= MOST_TOKENS
        return value if good or not name.endswith("_tokens") else 0

    found = {name: count(name, value) for name, value in usage.items()}
    return {name: value for name, value in found.items() if isinstance(value, dict) or "details" not in name}
