"""The remote model, against a server on this machine with the OpenAI protocol and the organism's oracle."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from iteralign import prompts
from iteralign.errors import IterAlignError, UserError, WorldError
from iteralign.models.remote import RemoteModel, RemoteSettings
from iteralign.organism.world import drafts
from iteralign.types import Conversation, Message, Reply, Sampling, Usage

ORGANISM = {"organism": "iteralign.organism.provider"}
KEY = "sk-" + "planted-0123456789abcdef"  # in two parts, as no file may hold what looks like a key
SPEC = "openai-api/local/some-model"
Answer = tuple[int, dict[str, Any]]


def completion(text: str, reason: str = "stop", **extra: Any) -> Answer:
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return 200, {"id": "c-1", "object": "chat.completion", "created": 0, "model": "some-model",
                 "choices": [choice], "usage": usage, **extra}  # fmt: skip


def failure(status: int, message: str, code: str | None = None) -> Answer:
    return status, {"error": {"message": message, "type": "some_error", "code": code}}


@dataclass
class Server:
    """Answers by `reply(last message, headers)`; remembers the requests and how many ran at once."""

    reply: Callable[[str, dict[str, str]], Answer] = lambda text, headers: completion(text.upper())
    seen: list[dict[str, Any]] = field(default_factory=list)
    running: int = 0
    most: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def handle(self, body: dict[str, Any], headers: dict[str, str]) -> Answer:
        with self.lock:
            self.seen.append(body)
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            return self.reply(body["messages"][-1]["content"], headers)
        finally:
            with self.lock:
                self.running -= 1


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = state.handle(body, dict(self.headers))
            content = json.dumps(answer).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # the caller has hung up, as it may
                pass

        def log_message(self, *args: Any) -> None: ...

    monkeypatch.setenv("LOCAL_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(ThreadingHTTPServer, "request_queue_size", 64)
    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    threading.Thread(target=web.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{web.server_port}/v1"
    yield state
    web.shutdown()
    web.server_close()


def model(server: Server, **settings: Any) -> RemoteModel:
    return RemoteModel(SPEC, RemoteSettings(**{"base_url": server.url, "max_retries": 0, **settings}))


def ask(text: str) -> Conversation:
    return (Message("system", "Be brief."), Message("user", text))


def oracle(connections: int) -> RemoteModel:
    return RemoteModel("organism/oracle", RemoteSettings(max_connections=connections), ORGANISM)


def judged() -> list[Conversation]:
    improved = prompts.load("improved")
    return [
        improved.render("judge", request=d.item.text, response=text)
        for d in drafts("hazard", "redteam", 24, 0)
        for text in (d.good[0], d.bad[0])
    ]


def test_concurrency_changes_nothing() -> None:
    one, many = (oracle(n).generate(judged(), Sampling()) for n in (1, 16))
    assert one == many
    assert [json.loads(r.text)["label"] for r in one] == ["harmless", "harmful"] * 24


def test_every_reply_is_heard_once_in_the_callers_thread(server: Server) -> None:
    heard: dict[int, Reply] = {}
    threads = set()

    def on_replies(batch: Any) -> None:
        threads.add(threading.current_thread())
        assert not heard.keys() & dict(batch).keys()
        heard.update(batch)

    with model(server) as remote:
        replies = remote.generate([ask(f"word {i}") for i in range(20)], Sampling(), on_replies)
    assert [r.text for r in replies] == [f"WORD {i}" for i in range(20)]
    assert [heard[i] for i in range(20)] == replies
    assert threads == {threading.current_thread()}
    assert replies[0].usage == Usage(7, 3)


def test_calls_in_flight_reach_the_bound_and_keep_it(server: Server) -> None:
    gate = threading.Barrier(3, timeout=10)

    def together(text: str, headers: dict[str, str]) -> Answer:
        gate.wait()  # opens only when three calls run at once
        return completion(text)

    server.reply = together
    with model(server, max_connections=3) as remote:
        remote.generate([ask(str(i)) for i in range(9)], Sampling())
    assert server.most == 3


def test_only_what_departs_from_the_default_is_sent(server: Server) -> None:
    with model(server) as remote:
        remote.generate([ask("a")], Sampling())
        remote.generate([ask("a")], Sampling(0.7, 0.9, 5, ("END",), 0.5, 3))
    plain, rich = server.seen
    assert plain["temperature"] == 0.0
    assert plain["max_tokens"] == 500
    assert not plain.keys() & {"top_p", "stop", "frequency_penalty", "presence_penalty", "seed"}
    assert plain["messages"][0]["content"] == "Be brief."
    assert (rich["temperature"], rich["top_p"], rich["max_tokens"]) == (0.7, 0.9, 5)
    assert (rich["stop"], rich["frequency_penalty"], rich["seed"]) == (["END"], 0.5, 3)


def test_config_goes_above_the_sampling(server: Server) -> None:
    with model(server, config={"temperature": None, "max_tokens": 9}) as remote:
        remote.generate([ask("a")], Sampling())
    assert "temperature" not in server.seen[0]
    assert server.seen[0]["max_tokens"] == 9


@pytest.mark.parametrize(
    ("answer", "stop", "text"),
    [
        (completion("a", "stop"), "stop", "a"),
        (completion("a", "length"), "length", "a"),
        (completion("a", "content_filter"), "refusal", "a"),
        (completion("a", "something else"), "unknown", "a"),
        (completion("a", "SAFETY"), "refusal", "a"),
        (completion("a", "max_output_tokens"), "length", "a"),
        (completion("a", "incomplete"), "length", "a"),
        (completion("a", "model_context_window_exceeded"), "length", "a"),
        (completion("a", None), "unknown", "a"),  # type: ignore[arg-type]
        (completion("a", ["length"]), "unknown", "a"),  # type: ignore[arg-type]
        (completion("a", "end_turn"), "stop", "a"),
        (completion("a", "STOP"), "stop", "a"),
        (completion("a", "eos_token"), "stop", "a"),
        (completion("a", "LENGTH"), "length", "a"),
        (completion("a", "max_length"), "length", "a"),
        (completion("a", "MAX_TOKENS"), "length", "a"),
        (completion("a", "Content_Filter"), "refusal", "a"),
        (completion("", choices=[]), "unknown", ""),
        (failure(400, "This model's maximum context length is 10", "context_length_exceeded"), "length", ""),
        (failure(400, "This model's maximum context length is 10 tokens."), "length", ""),  # as vLLM says it
        (failure(400, "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"), "length", ""),
    ],
)
def test_why_it_stopped(server: Server, answer: Answer, stop: str, text: str) -> None:
    server.reply = lambda _, headers: answer
    with model(server) as remote:
        (reply,) = remote.generate([ask("a")], Sampling())
    assert (reply.stop, reply.text) == (stop, text)


def test_raw_is_bounded_json_without_what_differs_from_run_to_run(server: Server) -> None:
    with model(server) as remote:
        first, second = (remote.generate([ask("a")], Sampling())[0] for _ in range(2))
        server.reply = lambda text, headers: completion("x" * 200_000)
        (long,) = remote.generate([ask("a")], Sampling())
    assert first.raw is not None
    assert first.raw == second.raw
    assert json.loads(first.raw)["choices"][0]["message"]["content"] == "A"
    assert long.raw is not None
    assert len(long.raw) < 1000
    assert json.loads(long.raw)["usage"]["output_tokens"] == 3
    assert len(long.text) == 200_000


@pytest.mark.parametrize(
    ("answer", "kind", "holds"),
    [
        (failure(401, f"Incorrect API key provided: {KEY[:12]}***cdef"), UserError, "LOCAL_API_KEY"),
        (failure(403, f"{KEY} may not"), UserError, "LOCAL_API_KEY"),
        (failure(404, "The model does not exist"), UserError, "unknown model"),
        (failure(400, f"odd parameter in\n\n{KEY}"), UserError, "odd parameter"),
        (failure(500, f"Bearer {KEY} broke us"), WorldError, "run the same command again to resume"),
        (failure(429, "slow down"), WorldError, "run the same command again to resume"),
    ],
)
def test_failures_are_one_line_without_the_key(
    server: Server, answer: Answer, kind: type[IterAlignError], holds: str
) -> None:
    server.reply = lambda _, headers: answer
    with model(server) as remote, pytest.raises(kind) as caught:
        remote.generate([ask("a"), ask("b")], Sampling())
    message = str(caught.value)
    assert holds in message
    assert SPEC in message
    assert "\n" not in message
    assert len(message) < 500
    for part in (KEY, KEY[:12], KEY[-6:]):
        assert part not in message


def test_a_server_that_is_not_there(server: Server) -> None:
    with (
        model(server, base_url="http://127.0.0.1:9/v1") as remote,
        pytest.raises(WorldError, match=r"Connection error.*connection.*again to resume"),
    ):
        remote.generate([ask("a")], Sampling())


def test_a_server_that_is_silent(server: Server) -> None:
    hold = threading.Event()
    server.reply = lambda text, headers: completion(str(hold.wait(20)))
    with model(server, timeout_s=1.0) as remote, pytest.raises(WorldError, match="again to resume"):
        remote.generate([ask("a")], Sampling())
    hold.set()


def test_what_was_heard_before_a_failure_stays_heard(server: Server) -> None:
    server.reply = lambda text, headers: failure(500, "no") if text == "3" else completion(text)
    heard: dict[int, Reply] = {}
    with model(server, max_connections=1) as remote, pytest.raises(WorldError):
        remote.generate([ask(str(i)) for i in range(6)], Sampling(), heard.update)
    assert {i: r.text for i, r in heard.items()} == {0: "0", 1: "1", 2: "2"}
    assert len(server.seen) == 4  # nothing was asked after the failure


def test_a_caller_that_fails_stops_the_calls(server: Server) -> None:
    def full(_: Any) -> None:
        raise OSError("disk full")

    server.reply = lambda text, headers: (time.sleep(0.05), completion(text))[1]
    with model(server, max_connections=1) as remote, pytest.raises(OSError, match="disk full"):
        remote.generate([ask(str(i)) for i in range(50)], Sampling(), full)
    assert len(server.seen) < 5


@pytest.mark.slow
def test_a_rate_limit_is_waited_out(server: Server) -> None:
    answers = iter([failure(429, "slow down"), failure(503, "busy"), completion("at last")])
    server.reply = lambda text, headers: next(answers)
    with model(server, max_retries=3) as remote:
        (reply,) = remote.generate([ask("a")], Sampling())
    assert reply.text == "at last"
    assert len(server.seen) == 3  # the SDK below makes no attempts of its own


def test_the_key_shows_nowhere(
    server: Server, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    server.reply = lambda text, headers: completion("fine", echo={"headers": headers, "key": KEY})
    with model(server, model_args={"default_headers": {"X-Extra": "hidden-in-a-header"}}) as remote:
        replies = remote.generate([ask("a")], Sampling())
        shown = [remote.id, repr(remote), *(repr(r) for r in replies), caplog.text, *capfd.readouterr()]
    assert json.loads(str(replies[0].raw))["choices"]
    assert not [text for text in shown if KEY in text or "hidden-in-a-header" in text]


def test_works_inside_a_running_loop(server: Server) -> None:
    async def notebook(remote: RemoteModel) -> list[Reply]:
        return remote.generate([ask("a")], Sampling())

    with model(server) as remote:
        again = [asyncio.run(notebook(remote)) for _ in range(2)]
    assert [r[0].text for r in again] == ["A", "A"]


@pytest.mark.parametrize(
    ("spec", "settings", "holds"),
    [
        ("opnai/x", {}, "did you mean 'openai'"),
        ("gpt", {}, "provider/model"),
        ("openai/", {}, "provider/model"),
        ("openai/x", {}, "OPENAI_API_KEY is not set"),
        ("anthropic/x", {}, "ANTHROPIC_API_KEY is not set"),
        ("openai-api/nowhere/x", {}, "NOWHERE_API_KEY is not set"),
        ("organism/other", {}, "'other'"),
        ("organism/oracle", {"config": {"reasoning_efort": "low"}}, "did you mean 'reasoning_effort'"),
        ("organism/oracle", {"config": {"max_retries": 3}}, "max_retries"),
        (SPEC, {"model_args": {"nonsense": KEY}}, "nonsense"),
    ],
)
def test_mistakes_are_told_at_once(
    server: Server, monkeypatch: pytest.MonkeyPatch, spec: str, settings: dict[str, Any], holds: str
) -> None:
    for name in [n for n in os.environ if n.startswith(("OPENAI_", "AZURE", "ANTHROPIC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LOCAL_BASE_URL", server.url)
    with pytest.raises(UserError) as caught:
        RemoteModel(spec, RemoteSettings(**settings), ORGANISM)
    message = str(caught.value)
    assert holds in message
    assert "\n" not in message
    assert KEY not in message


def test_the_id_names_what_decides_the_answers(server: Server) -> None:
    ids = {
        model(server).id,
        model(server, model_args={"organization": "a"}).id,
        model(server, config={"reasoning_effort": "low"}).id,
        model(server, config={"max_tokens": 4000}).id,
        model(server, config={"max_tokens": 8000}).id,
        model(server, base_url="http://localhost:1/v1").id,
    }
    assert len(ids) == 6
    assert model(server).id == f"{SPEC}@127.0.0.1"
    assert model(server, max_connections=2, timeout_s=5, max_retries=1).id == f"{SPEC}@127.0.0.1"
    assert oracle(1).id.startswith("organism/oracle #")


def test_nothing_is_imported_early_shown_or_written(tmp_path: Path) -> None:
    code = """
import sys
from iteralign.models.remote import RemoteModel
from iteralign.types import Message, Sampling
assert "inspect_ai" not in sys.modules
hook = sys.excepthook
with RemoteModel("organism/oracle", None, {"organism": "iteralign.organism.provider"}) as model:
    (reply,) = model.generate([(Message("user", "hello"),)], Sampling())
assert "cannot tell" in reply.text
assert sys.excepthook is hook
"""
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = str(Path(prompts.__file__).parents[2])
    for name in [n for n in environment if n.startswith("XDG_")]:
        del environment[name]
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert list(tmp_path.rglob("*")) == []
