"""What a hostile server may send: each reply is a clean Reply, or one failed attempt and one line."""

import gzip
import json
import resource
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign.errors import WorldError
from iteralign.models.client import MOST_BYTES, MOST_TOKENS, Garbled, checked, unpack
from iteralign.models.remote import SDKS, RemoteModel, RemoteSettings
from iteralign.types import Message, Reply, Sampling

SPEC = "openai-api/local/some-model"
HELLO = (Message("user", "hello, whoever you are"),)
Sent = dict[str, Any]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, faulty: ModuleType) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", faulty.KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server(faulty: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server whose every answer is what `send` of the handler is called with: (status, body, headers)."""
    with faulty.serving(["set by the test"]) as web:

        def answer(status: int, body: bytes, **headers: str) -> Any:
            monkeypatch.setitem(
                faulty.FAULTS, "set by the test", lambda h, _: h.send(status, body, **headers)
            )
            return web

        yield answer


def ask(web: Any, faulty: ModuleType, **settings: Any) -> tuple[Reply | None, Any, str]:
    """The reply or the line of the error, and how the attempts ended."""
    ledger = faulty.Ledger()
    quick = RemoteSettings(base_url=web.url, **{"max_retries": 0, "backoff_s": 0.01, **settings})
    with RemoteModel(SPEC, quick, account=ledger) as remote:
        try:
            (reply,) = remote.generate([HELLO], Sampling())
        except WorldError as error:
            return None, ledger, str(error)
    return reply, ledger, ""


def completion(content: Any, **fields: Any) -> bytes:
    message = {"role": "assistant", "content": content}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    whole = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": choices}
    return json.dumps({**whole, "usage": usage, **fields}).encode()


TEXTS = {
    "a thought at the start": (completion("<think>a</think> b"), "b"),
    "a thought at the start, in parts": (completion(["\n<think>a", "</think>b"]), "b"),
    "a thought in the thought": (
        completion("<think>a <think>b</think> c"),
        "<thinking>a <thinking>b</thinking> c",
    ),
    "a thought that is not opened": (completion("a</think> b"), "a</thinking> b"),
    "a thought in the middle": (completion("a <think> b </think> c"), "a <thinking> b </thinking> c"),
    "a second thought": (
        completion("<think>a</think> b <think>c</think>"),
        "<thinking>a</thinking> b <thinking>c</thinking>",
    ),
    "text": (completion("fine"), "fine"),
    "nothing": (completion(None), ""),
    "parts": (completion([{"type": "text", "text": "fi"}, {"type": "text", "text": "ne"}]), "fine"),
    "texts in a list": (completion(["fi", "ne"]), "fine"),
    "no part": (completion([]), ""),
    "half a surrogate pair": (completion("\ud800 fine"), "\ufffd fine"),
    "NUL": (completion("\0 fine"), "\0 fine"),
    "UTF-16": (completion("fine").decode().encode("utf-16"), "fine"),
    "no choice": (completion("", choices=[]), ""),
    "one million characters": (completion("x" * 1_000_000), "x" * 1_000_000),
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_text_is_a_reply(server: Any, faulty: ModuleType, name: str) -> None:
    body, text = TEXTS[name]
    reply, ledger, _ = ask(server(200, body), faulty)
    assert reply is not None
    assert (reply.text, len(ledger.settled), ledger.failed) == (text, 1, [])


@pytest.mark.parametrize("beside", [[], [{"type": "text", "text": "fine"}]])
def test_a_refusal_among_the_parts_is_a_refusal(server: Any, faulty: ModuleType, beside: list[Sent]) -> None:
    body = completion([*beside, {"type": "refusal", "refusal": "I cannot."}])
    reply, ledger, _ = ask(server(200, body), faulty)
    assert reply is not None
    assert (reply.text, reply.stop, ledger.failed) == ("I cannot.", "refusal", [])


ODD: dict[str, tuple[int, bytes, Sent, str]] = {
    "a number": (200, completion(5), {}, "type int"),
    "an object": (200, completion({"label": "harmless"}), {}, "type dict"),
    "a truth": (200, completion(True), {}, "type bool"),
    "parts without text": (200, completion([{"type": "image_url", "image_url": "x"}]), {}, "type list"),
    "parts of numbers": (200, completion([1, 2]), {}, "type list"),
    "choices null": (200, completion("", choices=None), {}, "holds no list 'choices'"),
    "choices of text": (200, completion("", choices=["fine"]), {}, "without a message"),
    "message null": (200, completion("", choices=[{"index": 0, "message": None}]), {}, "without a message"),
    "index missing": (200, completion("", choices=[{"message": {"content": "a"}}] * 2), {}, ""),
    "a list": (200, b"[1]", {}, "holds no list"),
    "a number alone": (200, b"5", {}, "holds no list"),
    "empty": (200, b"", {}, "is not JSON"),
    "too deep": (200, b"[" * 200_000, {}, "is not JSON"),
    "a number too long": (200, b'{"choices": ' + b"9" * 10_000 + b"}", {}, "is not JSON"),
    "an error": (200, b'{"error": {"message": "overloaded"}}', {}, "holds an error: overloaded"),
    "an error of a number": (200, b'{"error": 5}', {}, "holds an error: 5"),
    "an error beside an answer": (200, completion("a", error={"message": "odd"}), {}, "an error beside"),
    "a text twice": (
        200,
        completion("a").replace(b'"content": "a"', b'"content": "b", "content": "a"'),
        {},
        "key twice",
    ),
    "an end twice": (
        200,
        completion("a").replace(b'"finish_reason"', b'"finish_reason": "length", "finish_reason"'),
        {},
        "key twice",
    ),
    "failed": (200, completion("a").replace(b'"stop"', b'"FAILED"'), {}, "ended as 'failed'"),
    "ended in an error": (200, completion("a").replace(b'"stop"', b'"error"'), {}, "ended as 'error'"),
    "two answers": (
        200,
        completion("a", choices=[{"index": i, "message": {"content": "a"}} for i in (0, 1)]),
        {},
        "more than one",
    ),
    "a thought as a part": (200, completion([{"type": "thinking", "text": "a"}]), {}, "no text"),
    "a refusal as a part": (200, completion([{"type": "refusal", "text": "a"}]), {}, "no text"),
    "an event stream": (
        200,
        b"data: {}\n\ndata: [DONE]\n\n",
        {"Content_Type": "text/event-stream"},
        "stream",
    ),
    "10 MB": (200, completion("x" * 10_000_000), {}, "is longer than 4,000,000 bytes"),
    "a gzip bomb": (
        200,
        gzip.compress(b" " * 300_000_000, 1),
        {"Content_Encoding": "gzip"},
        "is longer than",
    ),
    "no gzip": (200, b"no gzip", {"Content_Encoding": "gzip"}, "is not packed as gzip"),
    "gzip in gzip": (200, b"x", {"Content_Encoding": "gzip, gzip"}, "not asked for"),
    "zstd": (200, b"x", {"Content_Encoding": "zstd"}, "not asked for"),
    "a page of 5 MB": (503, b"<html>\x1b[2J" + b"x" * 5_000_000, {}, "is longer than"),
    "an odd header": (503, b"busy", {"X_Odd": "\xff\xfe"}, "503"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_none_is_one_failed_attempt_and_one_line(server: Any, faulty: ModuleType, name: str) -> None:
    status, body, headers, holds = ODD[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reply, ledger, line = ask(web := server(status, body, **headers), faulty, max_retries=1)
    assert reply is None
    assert holds in line
    assert line.startswith(SPEC)
    assert line.endswith("again to resume")
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 500
    assert sum(web.seen.values()) == len(ledger.failed) == 2
    for failure in ledger.failed:
        assert holds in (failure.reason if status == 200 or not failure.status else str(failure.status))
        assert failure.used.input_tokens > 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server: Any, faulty: ModuleType, status: int) -> None:
    web = server(status, b"", Location="/elsewhere")
    reply, ledger, line = ask(web, faulty, max_retries=2)
    assert reply is None
    assert f"redirected ({status}) to /elsewhere" in line
    assert sum(web.seen.values()) == 3
    assert [f.status for f in ledger.failed] == [status] * 3


USAGES: dict[str, Any] = {
    "none": None,
    "no object": "seven",
    "empty": {},
    "zero": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    "negative": {"prompt_tokens": -1000, "completion_tokens": -5, "total_tokens": -1005},
    "huge": {"prompt_tokens": 10**30, "completion_tokens": 3, "total_tokens": 3},
    "texts": {"prompt_tokens": "seven", "completion_tokens": "3", "total_tokens": 3},
    "fractions": {"prompt_tokens": 7.5, "completion_tokens": 3.0, "total_tokens": 3},
    "truths": {"prompt_tokens": True, "completion_tokens": True, "total_tokens": True},
    "lists": {"prompt_tokens": [7], "completion_tokens": [3], "total_tokens": []},
    "more cached than sent": {
        "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "prompt_tokens_details": {"cached_tokens": "x"},
    },
    "one for a long answer": {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8},
    "no answer": {"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7},
    "above what a call can hold": {"prompt_tokens": 5000, "completion_tokens": 3, "total_tokens": 5003},
    "an answer above the limit": {"prompt_tokens": 7, "completion_tokens": 501, "total_tokens": 508},
}  # fmt: skip
USABLE = {"more cached than sent"}


@pytest.mark.parametrize("name", USAGES)
def test_a_count_that_is_none_is_estimated(server: Any, faulty: ModuleType, name: str) -> None:
    reply, ledger, _ = ask(server(200, completion("fine " * 30, usage=USAGES[name])), faulty)
    assert reply is not None
    assert ledger.settled == [reply.usage]
    assert reply.usage.estimated == (name not in USABLE)
    assert 7 <= reply.usage.input_tokens <= 60  # 22 bytes are at most 22 tokens, 16 more around each message
    assert 3 <= reply.usage.output_tokens <= 500


@pytest.mark.parametrize(
    "usage", [None, {"input_tokens": None, "output_tokens": -3}, {"input_tokens": 10**30}]
)
@pytest.mark.parametrize("spec", ["openai/gpt-5-some", "anthropic/some-model"])
def test_the_other_protocols_too(
    faulty: ModuleType, monkeypatch: pytest.MonkeyPatch, spec: str, usage: Any
) -> None:
    provider, is_openai = spec.partition("/")[0].upper(), spec.startswith("openai")
    speak = faulty.response if is_openai else faulty.message
    body = json.dumps({**speak("fine " * 30), "usage": usage}).encode()
    monkeypatch.setitem(faulty.FAULTS, "odd usage", lambda h, _: h.send(200, body))
    with faulty.serving(["odd usage"]) as web:
        monkeypatch.setenv(f"{provider}_API_KEY", faulty.KEY)
        base = f"http://127.0.0.1:{web.server_port}{'/v1' if is_openai else ''}"
        with RemoteModel(spec, RemoteSettings(base_url=base, max_retries=0)) as remote:
            (reply,) = remote.generate([HELLO], Sampling())
    assert reply.text.strip().startswith("fine")
    assert reply.usage.estimated
    assert 7 <= reply.usage.input_tokens <= 60
    assert 0 < reply.usage.output_tokens <= 500


@pytest.mark.parametrize("provider", sorted({*SDKS} - {"anthropic", "openai", "openai-api"}))
def test_one_call_is_one_request_at_every_provider_of_the_table(
    faulty: ModuleType, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    names = {
        "hf-inference-providers": "HF_TOKEN",
        "meta": "MODEL_API_KEY",
        "litellm-proxy": "LITELLM_PROXY_API_KEY",
    }
    variable = names.get(provider, f"{provider.upper()}_API_KEY")
    for name in (variable, "CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN", "META_API_KEY", "LLAMA_API_KEY"):
        monkeypatch.setenv(name, faulty.KEY)
    monkeypatch.setattr(faulty, "NAMES", (*faulty.NAMES, f"{provider}/some-model"))
    with faulty.serving(["500"]) as web, pytest.raises(WorldError, match="500"):
        RemoteModel(
            f"{provider}/some-model", RemoteSettings(base_url=web.url, max_retries=1, backoff_s=0.01)
        ).generate([HELLO], Sampling())
    assert sum(web.seen.values()) == 2


@given(body=st.binary(max_size=200))
def test_no_body_raises_anything_else(body: bytes) -> None:
    for wanted in ("choices", "output", "content"):
        with suppress(Garbled):
            assert isinstance(json.loads(checked(body, wanted)), dict)
    for packed in ("gzip", "deflate", "br", "Ünsinn"):
        with suppress(Garbled):
            assert len(unpack(body, packed)) <= MOST_BYTES


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["message", "content", "text", "usage", "input_tokens", "a"]), inner
        )
    ),
    max_leaves=12,
)


@given(choices=json_values, usage=json_values)
def test_no_json_passes_with_a_text_or_a_count_that_is_none(choices: Any, usage: Any) -> None:
    try:
        reply = json.loads(checked(json.dumps({"choices": choices, "usage": usage}).encode(), "choices"))
    except Garbled:
        return
    assert all(isinstance(c["message"]["content"], str | None) for c in reply["choices"])
    tokens = reply["usage"].get("input_tokens", 0)
    assert isinstance(tokens, dict) or (type(tokens) is int and 0 <= tokens <= MOST_TOKENS)


@pytest.mark.parametrize("bits", [zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS])
def test_what_is_packed_as_asked_for_is_unpacked(bits: int) -> None:
    packer = zlib.compressobj(wbits=bits)
    packed = packer.compress(b"fine" * 1000) + packer.flush()
    assert unpack(packed, "gzip" if bits > zlib.MAX_WBITS else "deflate") == b"fine" * 1000


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({"status": "completed"}, None),
        ({"status": "incomplete"}, {"reason": "max_output_tokens"}),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "other"}},
            {"reason": "max_output_tokens"},
        ),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            {"reason": "content_filter"},
        ),
    ],
)
def test_a_cut_of_the_responses_api_is_named(fields: dict[str, Sent], details: Sent) -> None:
    found = json.loads(checked(json.dumps({"output": [], **fields}).encode(), "output"))
    assert found.get("incomplete_details") == details


def test_a_failure_of_the_responses_api_is_a_failed_attempt() -> None:
    with pytest.raises(Garbled, match="ended as 'failed'"):
        checked(b'{"output": [], "status": "failed"}', "output")


def test_a_full_context_of_the_messages_api_is_a_cut() -> None:
    body = b'{"content": [], "stop_reason": "model_context_window_exceeded"}'
    assert json.loads(checked(body, "content"))["stop_reason"] == "max_tokens"


def test_a_long_prompt_that_is_counted_as_one_token_is_estimated(server: Any, faulty: ModuleType) -> None:
    body = completion("fine", usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})
    with RemoteModel(SPEC, RemoteSettings(base_url=server(200, body).url)) as remote:
        (reply,) = remote.generate([(Message("user", "Is this fine? " * 300),)], Sampling())
    assert reply.usage.estimated
    assert reply.usage.input_tokens == 1400


PLACES: dict[str, Callable[[Sent, str], object]] = {
    "the time": lambda whole, key: whole.update(created=key),
    "the number of a choice": lambda whole, key: whole["choices"][0].update(index=key),
    "an annotation": lambda whole, key: whole["choices"][0]["message"].update(annotations=[key]),
    "a call of a tool": lambda whole, key: whole["choices"][0]["message"].update(tool_calls=[{"id": key}]),
    "the role": lambda whole, key: whole["choices"][0]["message"].update(role=key),
    "audio": lambda whole, key: whole["choices"][0]["message"].update(audio={"id": key}),
    "log-probabilities": lambda whole, key: whole["choices"][0].update(logprobs={key: key}),
    "a fingerprint": lambda whole, key: whole.update(system_fingerprint=[key]),
    "a tier": lambda whole, key: whole.update(service_tier={key: 1}),
    "an id": lambda whole, key: whole.update(id=[key]),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_key_where_a_library_expects_something_else_is_in_no_warning(
    server: Any, faulty: ModuleType, capfd: pytest.CaptureFixture[str], recwarn: Any, place: str
) -> None:
    """pydantic writes a value of the wrong type into its warning, as it is."""
    whole = json.loads(completion("fine"))
    PLACES[place](whole, faulty.KEY)
    reply, _, line = ask(server(200, json.dumps(whole).encode()), faulty)
    out = capfd.readouterr()
    said = [str(warning.message) for warning in recwarn.list]
    for text in (out.out, out.err, line, *said, reply.raw if reply else ""):
        assert faulty.KEY not in text
    assert reply is None or reply.text == "fine"


@pytest.mark.parametrize(
    "name", ["id", "created_at", "status", "metadata", "tools", "text", "role", "container"]
)
@pytest.mark.parametrize("spec", ["openai/gpt-5-some", "anthropic/some-model"])
def test_nor_in_the_other_protocols(
    faulty: ModuleType, monkeypatch: pytest.MonkeyPatch, recwarn: Any, spec: str, name: str
) -> None:
    provider, is_openai = spec.partition("/")[0].upper(), spec.startswith("openai")
    body = json.dumps(
        {**(faulty.response if is_openai else faulty.message)("fine"), name: [faulty.KEY]}
    ).encode()
    monkeypatch.setitem(faulty.FAULTS, "odd field", lambda h, _: h.send(200, body))
    monkeypatch.setenv(f"{provider}_API_KEY", faulty.KEY)
    with faulty.serving(["odd field"]) as web:
        base = f"http://127.0.0.1:{web.server_port}{'/v1' if is_openai else ''}"
        with RemoteModel(spec, RemoteSettings(base_url=base, max_retries=0)) as remote:
            try:
                raw = remote.generate([HELLO], Sampling())[0].raw
            except WorldError as error:
                raw = str(error)
    assert faulty.KEY not in raw
    assert not [w for w in recwarn.list if faulty.KEY in str(w.message)]


@pytest.mark.parametrize("kind", ["a pause", "a thought"])
def test_one_call_is_one_request(faulty: ModuleType, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """inspect_ai goes on by itself after a pause, and asks for the tokens of each thought."""
    body = faulty.message("fine")
    if kind == "a pause":
        body["stop_reason"] = "pause_turn"
    else:
        body["content"].insert(0, {"type": "thinking", "thinking": "Let me see.", "signature": "s"})
    monkeypatch.setitem(faulty.FAULTS, kind, lambda h, _: h.send(200, json.dumps(body).encode()))
    monkeypatch.setenv("ANTHROPIC_API_KEY", faulty.KEY)
    ledger = faulty.Ledger()
    with faulty.serving([kind]) as web:
        settings = RemoteSettings(
            base_url=f"http://127.0.0.1:{web.server_port}", max_retries=2, backoff_s=0.01
        )
        with RemoteModel("anthropic/some-model", settings, account=ledger) as remote:
            if kind == "a pause":
                with pytest.raises(WorldError, match="paused in the middle of its answer"):
                    remote.generate([HELLO], Sampling())
            else:
                assert [reply.text for reply in remote.generate([HELLO], Sampling())] == ["fine"]
    assert (
        sum(web.seen.values()) == len(ledger.settled) + len(ledger.failed) == (3 if kind == "a pause" else 1)
    )
