"""The vLLM backend against a small server of this file: what is sent, what is heard, and who ends with whom.

What a real vLLM answers is in tests/integration/test_vllm.py.
"""

import contextlib
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from iteralign.config.schema import load
from iteralign.errors import UserError, WorldError
from iteralign.lm import checkpoints, witness
from iteralign.lm.witness import Witness
from iteralign.models import tiny
from iteralign.models.vllm import server as servers
from iteralign.models.vllm.adapter_swap import AdapterServer
from iteralign.models.vllm.http import Gone, OffProtocol, Web
from iteralign.models.vllm.policies import LOG, VllmPolicies
from iteralign.models.vllm.server import Server
from iteralign.run import offline
from iteralign.settings import Policy, Vllm
from iteralign.types import Checkpoint, Message, Sampling

BASE = Checkpoint("base", "base")
SEEN = Witness((5, 6, 7, 8), (2, 3), (7, 8), (-0.1, -0.2))
OTHER = [{7: -4.0, 1: -0.1}, {9: -0.1, 2: -3.0}]


@dataclass
class Stub:
    """Plays vLLM: `says` maps a model's name to new ids, `of` to what it says of a witness."""

    root: str
    says: dict[str, list[int]] = field(default_factory=dict)
    of: dict[str, list[dict[int, float]]] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    seen: list[tuple[str, Any]] = field(default_factory=list)
    fails: int = 0
    url: str = ""

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        self.seen.append((path, body))
        if path == "/v1/models":
            card = {"id": "served", "root": self.root, "parent": None, "max_model_len": 200}
            return 200, {"data": [{**card, "id": "x", "parent": "served"}, card]}
        if path == "/v1/load_lora_adapter":
            if body["lora_name"] in self.loaded:
                return 400, {"error": {"message": "The lora adapter has already been loaded."}}
            self.loaded.append(body["lora_name"])
        if path != "/v1/completions":
            return 200, "Success"
        if self.fails:
            return self.fails, {"error": {"message": "Engine\nis dead"}}
        if "logprobs" in body:
            told = self.of[body["model"].split("-")[0]]
            said = [{f"token_id:{t}": x for t, x in there.items()} for there in told]
            return 200, {
                "choices": [{"index": i, "logprobs": {"top_logprobs": [x]}} for i, x in enumerate(said)][::-1]
            }
        return 200, {"choices": [{"token_ids": self.says[body["model"]], "text": "not used"}]}

    def paths(self) -> list[str]:
        return [path for path, _ in self.seen]

    def bodies(self) -> list[Any]:
        return [body for path, body in self.seen if path == "/v1/completions"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("vllm") / "base")


@pytest.fixture
def stub(base: Path) -> Iterator[Stub]:
    state = Stub(str(base))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            read = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = state.answer(self.path, json.loads(read) if read else None)
            content = json.dumps(answer).encode()
            with contextlib.suppress(OSError):  # the caller has hung up, as it may
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{web.server_port}"
    yield state
    web.shutdown()
    web.server_close()


def policies(root: Path, base: Path, stub: Stub | None = None, **settings: Any) -> VllmPolicies:
    given = {"python": sys.executable, "url": stub.url if stub else None} | settings
    rank = given.pop("lora_rank", 16)
    loading = {f.name: given.pop(f.name) for f in fields(Policy) if f.name in given}
    policy = Policy(**{"device": "cpu", "dtype": "float32", **loading})
    return VllmPolicies(root, str(base), policy, Vllm(**given), rank)


def ids(policies: VllmPolicies, text: str) -> list[int]:
    return list(policies.chat.tokenizer(text, add_special_tokens=False)["input_ids"])


def trained(root: Path, name: str, seen: Witness | None = SEEN) -> Checkpoint:
    folder = root / "checkpoints" / name
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(name.encode())
    if seen is not None:
        witness.save(folder, seen)
    checkpoints.seal(folder)
    return Checkpoint(name, "base", f"checkpoints/{name}", "adapter", checkpoints.hash_of(folder))


def test_the_prompt_is_sent_as_the_ids_of_training(tmp_path: Path, base: Path, stub: Stub) -> None:
    leases = policies(tmp_path, base, stub, revision=None)
    end = leases.chat.end_ids()[0]
    stub.says["served"] = [*ids(leases, "take the key and go. no"), end]
    asked = [(Message("user", text),) for text in ("open the door", "how do you do")]
    heard: list[int] = []
    sampling = Sampling(max_tokens=500, stop=("go.",), frequency_penalty=0.5, temperature=1.0, top_p=0.9)
    with leases.serve(BASE) as model:
        replies = model.generate(asked, sampling, lambda said: heard.extend(i for i, _ in said))
    assert [r.text for r in replies] == ["take the key and"] * 2
    assert [r.stop for r in replies] == ["stop"] * 2
    assert sorted(heard) == [0, 1]
    prompts = [leases.chat.prompt_ids(c) for c in asked]
    assert sorted(b["prompt"] for b in stub.bodies()) == sorted(prompts)
    for body in stub.bodies():
        assert body["max_tokens"] == 200 - len(body["prompt"])
        assert body["stop_token_ids"] == list(leases.chat.end_ids())
        assert (body["ignore_eos"], body["stop"], body["frequency_penalty"]) == (True, ["go."], 0.5)
        assert (body["temperature"], body["top_p"], body["top_k"], body["repetition_penalty"]) == (
            1.0,
            0.9,
            0,
            1.0,
        )
    assert len({b["seed"] for b in stub.bodies()}) == 2


def test_an_answer_without_end_was_cut_off(tmp_path: Path, base: Path, stub: Stub) -> None:
    leases = policies(tmp_path, base, stub)
    stub.says["served"] = ids(leases, "take the key")
    with leases.serve(BASE) as model:
        reply = model.generate([(Message("user", "do"),)], Sampling(max_tokens=3))[0]
    assert (reply.text, reply.stop, reply.usage.output_tokens) == ("take the key", "length", 3)


def test_a_prompt_beyond_the_context_is_refused(tmp_path: Path, base: Path, stub: Stub) -> None:
    with policies(tmp_path, base, stub).serve(BASE) as model, pytest.raises(UserError, match="200"):
        model.generate([(Message("user", "the key " * 200),)], Sampling())
    assert not stub.bodies()


def test_nothing_is_asked_of_a_server_before_something_is_asked_of_the_model(
    tmp_path: Path, base: Path, stub: Stub
) -> None:
    with policies(tmp_path, base, stub).serve(BASE) as model:
        assert model.generate([], Sampling()) == []
        assert model.id.startswith("vllm-")
    assert not stub.seen


def test_the_id_names_what_decides_and_not_where(tmp_path: Path, base: Path, stub: Stub) -> None:
    def name(**settings: Any) -> str:
        with policies(tmp_path, base, **settings).serve(BASE) as model:
            return model.id

    same = {name(), name(url=stub.url), name(batch_size=2), name(timeout_s=5.0), name(python="/other")}
    others = {name(args=("--enforce-eager",)), name(template="plain"), name(dtype="bfloat16")}
    assert len(same) == 1
    assert len(same | others) == 4


@pytest.mark.parametrize("opened", [True, False], ids=["opened by the template", "by itself"])
def test_a_thought_is_no_part_of_the_answer(tmp_path: Path, base: Path, stub: Stub, opened: bool) -> None:
    mark = "<think>"
    asks = "{% if add_generation_prompt %}" + mark + "{% endif %}"
    leases = policies(tmp_path, base, stub, template=tiny.CHATML + asks * opened)
    thought, end = mark * (not opened) + "take it", leases.chat.end_ids()[0]
    replies = []
    for said in (
        [*ids(leases, thought + "</think> no."), end],
        ids(leases, thought),
        [*ids(leases, thought), end],
    ):
        stub.says["served"] = said
        with leases.serve(BASE) as model:
            replies += model.generate([(Message("user", "the key"),)], Sampling(max_tokens=30))
    assert [(r.text, r.stop) for r in replies] == [("no.", "stop"), ("", "length"), ("", "length")]
    assert [r.raw for r in replies] == [thought + "</think> no.", thought, thought]


def test_an_adapter_is_loaded_under_the_name_of_its_content_and_its_predecessor_let_go(
    tmp_path: Path, base: Path, stub: Stub
) -> None:
    leases = policies(tmp_path, base, stub)
    one, two = trained(tmp_path, "one"), trained(tmp_path, "two")
    said = [{7: -0.1}, {8: -0.2}]
    stub.of = {"served": OTHER, "one": [{7: -2.0}, {8: -2.0}], "two": said}
    with pytest.raises(WorldError, match="not answer with the weights of one"):
        leases.attach(one)
    stub.of["one"] = said
    stub.of["two"] = said
    first = policies(tmp_path, base, stub)
    assert first.attach(one).name == f"one-{one.hash[:16]}"
    first.attach(one)
    assert stub.paths().count("/v1/load_lora_adapter") == 2, (
        "once by each; it was there already, which is no error"
    )
    stub.of["one"] = OTHER
    assert first.attach(two).name.startswith("two-")
    assert [b["lora_name"] for p, b in stub.seen if p == "/v1/unload_lora_adapter"] == [
        first_name(stub, "one")
    ]
    assert first.attach(BASE).name == "served"


def first_name(stub: Stub, start: str) -> str:
    return next(name for name in stub.loaded if name.startswith(start))


def test_weights_of_the_predecessor_are_noticed(tmp_path: Path, base: Path, stub: Stub) -> None:
    leases = policies(tmp_path, base, stub)
    before = [{7: -0.4}, {8: -0.9}]
    stub.of = {"served": OTHER, "one": before, "two": before}
    leases.attach(trained(tmp_path, "one", Witness(SEEN.ids, SEEN.cuts, SEEN.tokens, (-0.4, -0.9))))
    with pytest.raises(WorldError, match=r"weights of two: 0\.5 nats from what they say, 0\.5 without"):
        leases.attach(trained(tmp_path, "two"))


def test_without_a_witness_or_a_difference_a_swap_is_not_called_proven(
    tmp_path: Path, base: Path, stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    leases = policies(tmp_path, base, stub)
    same = [{7: -0.1}, {8: -0.2}]
    stub.of = {"served": same, "two": same}
    leases.attach(trained(tmp_path, "one", None))
    assert "one has no witness" in caplog.text
    leases = policies(tmp_path, base, stub)
    leases.attach(trained(tmp_path, "two"))
    assert "too near to prove a swap" in caplog.text


def test_the_server_sleeps_while_training_and_its_weights_are_proven_when_it_wakes(
    tmp_path: Path, base: Path, stub: Stub
) -> None:
    leases = policies(tmp_path, base, stub, sleep=True)
    leases.rest()
    assert not stub.seen, "nothing to put to sleep yet"
    stub.of = {"served": OTHER, "one": [{7: -0.1}, {8: -0.2}]}
    one = trained(tmp_path, "one")
    leases.attach(one)
    leases.rest()
    leases.rest()
    stub.seen.clear()
    leases.attach(one)
    assert stub.paths() == ["/wake_up", "/v1/completions", "/v1/completions"]
    leases.rest()
    assert stub.paths()[3:] == ["/sleep?level=1"]


def test_a_server_that_cannot_sleep_is_left_alone(tmp_path: Path, base: Path, stub: Stub) -> None:
    leases = policies(tmp_path, base, stub)
    leases.attach(BASE)
    leases.rest()
    assert stub.paths() == ["/v1/models"]


def test_another_base_is_refused(tmp_path: Path, base: Path, stub: Stub) -> None:
    stub.root = "someone/else"
    with pytest.raises(UserError, match=r"vllm\.url: this server runs 'someone/else'"):
        policies(tmp_path, base, stub).attach(BASE)


def test_what_a_server_refuses_or_fails_at_is_one_line(tmp_path: Path, base: Path, stub: Stub) -> None:
    asked = [(Message("user", "do"),)] * 40
    for status, kind in ((400, UserError), (500, WorldError)):
        stub.fails = status
        with (
            policies(tmp_path, base, stub).serve(BASE) as model,
            pytest.raises(kind, match="Engine is dead") as said,
        ):
            model.generate(asked, Sampling())
        assert "\n" not in str(said.value)
    nobody = policies(tmp_path, base, url="http://127.0.0.1:9")
    with nobody.serve(BASE) as model, pytest.raises(WorldError, match="run the same command again to resume"):
        model.generate(asked, Sampling())


ODD_ANSWERS: dict[str, Any] = {
    "text": "<html>busy</html>",
    "a number": 5,
    "nothing": None,
    "no choices": {},
    "choices null": {"choices": None},
    "no choice": {"choices": []},
    "a choice that is none": {"choices": [5]},
    "ids of text": {"choices": [{"token_ids": "abc"}]},
    "an id of text": {"choices": [{"token_ids": ["7"]}]},
    "an id below 0": {"choices": [{"token_ids": [-1]}]},
    "an id too large": {"choices": [{"token_ids": [10**30]}]},
    "ids of fractions": {"choices": [{"token_ids": [1.5]}]},
    "too many ids": {"choices": [{"token_ids": [5] * 10_000}]},
}


@pytest.mark.parametrize("odd", ODD_ANSWERS)
def test_an_answer_that_is_not_of_the_protocol_is_one_line(
    tmp_path: Path, base: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    usual = stub.answer
    monkeypatch.setattr(
        stub,
        "answer",
        lambda path, body: (200, ODD_ANSWERS[odd]) if "completions" in path else usual(path, body),
    )
    with policies(tmp_path, base, stub).serve(BASE) as model, pytest.raises(WorldError) as said:
        model.generate([(Message("user", "do"),)], Sampling(max_tokens=20))
    assert "its reply is not of the protocol" in str(said.value)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    "cards", [None, [], {"data": None}, {"data": []}, {"data": [{"id": "x"}]}, {"data": [5]}]
)
def test_a_list_of_models_that_is_none_is_one_line(
    tmp_path: Path, base: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch, cards: Any
) -> None:
    monkeypatch.setattr(stub, "answer", lambda path, body: (200, cards))
    with pytest.raises(WorldError, match="list of models"):
        policies(tmp_path, base, stub).attach(BASE)


def test_a_key_that_the_server_echoes_is_not_shown(
    tmp_path: Path, base: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "planted-key-of-the-server-0123456789"
    monkeypatch.setenv("VLLM_API_KEY", key)
    usual = stub.answer
    told = (400, {"error": {"message": f"wrong {key}, or {key[3:11]}"}})
    monkeypatch.setattr(
        stub, "answer", lambda path, body: told if "completions" in path else usual(path, body)
    )
    with policies(tmp_path, base, stub).serve(BASE) as model, pytest.raises(UserError) as said:
        model.generate([(Message("user", "do"),)], Sampling())
    assert str(said.value) == "vllm: the server answered 400: wrong ***, or ***"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "http://127.0.0.1:8000", "lora_rank": None}, "vllm.url: .*training.method = 'full'"),
        ({"lora_rank": 1000}, "training.lora_rank: 1000; vLLM takes at most 512"),
    ],
)
def test_settings_that_cannot_go_together(
    tmp_path: Path, base: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        policies(tmp_path, base, **settings)


def test_a_python_without_vllm_and_a_sleep_without_a_gpu(tmp_path: Path, base: Path) -> None:
    with pytest.raises(UserError, match=r"vllm\.python: .*No module named .*vllm.*docs/vllm\.md"):
        policies(tmp_path, base).attach(BASE)
    with pytest.raises(UserError, match=r"vllm\.sleep: cpu has no sleep mode"):
        policies(tmp_path, base, sleep=True).attach(BASE)
    with pytest.raises(UserError, match=r"vllm\.python: '.*nowhere' is no program"):
        policies(tmp_path, base, python=str(tmp_path / "nowhere")).attach(BASE)


def started(code: str, log: Path, **environment: str) -> Server:
    return Server([sys.executable, "-c", code], log, environment, "the server")


def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    outer = "RuntimeError('Engine core initialization failed. See root cause above.')"
    code = f"try:\n raise ValueError('the root of it')\nexcept ValueError:\n raise {outer}"
    server = started(code, tmp_path / LOG)
    with pytest.raises(
        WorldError, match=r"ended with status 1: ValueError: the root of it; its log: .*vllm.log"
    ):
        server.wait(60)
    later = started("print('hello')", tmp_path / LOG)
    with pytest.raises(WorldError, match="ended with status 0: hello;"):
        later.wait(60)


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    server = started("import time; time.sleep(600)", tmp_path / LOG)
    try:
        with pytest.raises(WorldError, match=r"did not answer in 0\.1 s \(vllm\.start_timeout_s\)"):
            server.wait(0.1)
    finally:
        server.close()


def test_keys_for_others_stay_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "planted")
    code = "import os; print(sorted(k for k in os.environ if k.endswith('_API_KEY')), os.environ['DO_NOT_TRACK'])"
    server = started(code, tmp_path / LOG, **servers.environment())
    with pytest.raises(WorldError):
        server.wait(60)
    assert (tmp_path / LOG).read_text(encoding="utf-8").splitlines()[1:] == ["['VLLM_API_KEY'] 1"]


@pytest.mark.parametrize(("folder", "said"), [("a b", "1"), ("ab", "None")])
def test_nothing_is_compiled_where_the_compiler_would_be_given_a_path_with_a_blank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, said: str
) -> None:
    monkeypatch.delenv("TORCHDYNAMO_DISABLE", raising=False)
    python = tmp_path / folder / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    code = "import os; print(os.environ.get('TORCHDYNAMO_DISABLE'))"
    server = Server([str(python), "-c", code], tmp_path / LOG, servers.environment(), "the server")
    with pytest.raises(WorldError):
        server.wait(60)
    assert (tmp_path / LOG).read_text(encoding="utf-8").splitlines()[-1] == said


FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
PARENT = """
import sys, time
from pathlib import Path
from iteralign.models.vllm.server import Server
Server([sys.executable, "-c", {family!r}], Path({log!r}), {{}}, "the server")
time.sleep(600)
"""


def alive(pid: int) -> bool:
    """Running; a zombie that nobody has fetched is not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def until(true: Any, seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(true())


def family_of(log: Path) -> list[int]:
    """The processes of FAMILY, once they run."""

    def lines() -> list[str]:
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    assert until(lambda: len(lines()) == 2)
    return [int(pid) for pid in lines()[1].split()]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_and_its_workers_end_with_the_run(tmp_path: Path, number: int) -> None:
    log = tmp_path / LOG
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(family=FAMILY, log=str(log))])
    family = family_of(log)
    assert all(map(alive, family))
    parent.send_signal(number)
    parent.wait()
    assert until(lambda: not any(map(alive, family)))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_closing_ends_workers_that_do_not_want_to(tmp_path: Path) -> None:
    log = tmp_path / LOG
    server = started(FAMILY, log)
    family = family_of(log)
    server.close()
    server.close()
    assert not any(map(alive, family))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_closing_ends_what_a_killed_warden_left(tmp_path: Path) -> None:
    server = started(FAMILY, tmp_path / LOG)
    family = family_of(tmp_path / LOG)
    server._process.kill()
    server._process.wait()
    assert until(lambda: not alive(family[0])), "the server itself goes with its warden"
    assert alive(family[1]), "its worker does not"
    server.close()
    assert until(lambda: not alive(family[1]))


def test_a_call_can_be_broken_off(stub: Stub) -> None:
    web = Web(stub.url, None, 60.0)
    waiting = threading.Event()
    stub.answer = lambda *_: (waiting.set(), time.sleep(2), (200, ""))[-1]  # type: ignore[method-assign]
    failed: list[BaseException] = []

    def call() -> None:
        try:
            web.post("/v1/completions", {})
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    waiting.wait(30)
    web.hang_up()
    thread.join(30)
    assert [type(e).__name__ for e in failed] == ["Gone"]


def test_a_reply_that_is_too_long_is_one_line(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iteralign.models.vllm.http.MOST_BYTES", 5)
    with pytest.raises(OffProtocol, match="its reply is longer than 5 bytes"):
        Web(stub.url, None, 10.0).get("/health")


def test_a_server_that_does_not_listen_is_named_by_what_the_system_says() -> None:
    with pytest.raises(Gone, match=r"^ConnectionRefusedError: .*refused$"):
        Web("http://127.0.0.1:9", None, 10.0).get("/health")


def test_a_server_elsewhere_is_refused_offline() -> None:
    config = load("quickstart", ["offline=true"])
    with offline.kept(config), pytest.raises(UserError, match="offline: 192.0.2.1 port 80"):
        Web("http://192.0.2.1", None, 1.0).get("/health")


def test_an_engine_asks_the_places_of_a_witness(stub: Stub, tmp_path: Path) -> None:
    stub.of = {"served": OTHER}
    engine = AdapterServer(Web(stub.url, None, 10.0), tmp_path, "served", "float32")
    assert engine.ask("served", SEEN) == OTHER
    assert stub.bodies()[0]["prompt"] == [[5, 6], [5, 6, 7]]


def test_many_threads_at_once_break_no_connection_of_each_other() -> None:
    """Threads that shared one pool without keep-alive broke one call in 4,000."""
    from concurrent.futures import ThreadPoolExecutor

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(random.random() * 0.02)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    web = Web(f"http://127.0.0.1:{server.server_port}", None, 30.0)
    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(lambda _: web.post("/x", {}), range(4000))) == [{}] * 4000
    server.shutdown()
    server.server_close()
