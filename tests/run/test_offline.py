"""Offline: no socket reaches out, whoever opens it, and the line says who would have been called."""

import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iteralign.config.schema import Config, load, validated
from iteralign.errors import UserError
from iteralign.models.remote import RemoteModel, RemoteSettings
from iteralign.run import offline, planner, runner
from iteralign.types import Message, Sampling

OUTSIDE = "192.0.2.1"  # reserved for documentation (RFC 5737): nobody answers there
LOCAL = "openai-api/local/some-model"


def config(**sections: Any) -> Config:
    return validated({"offline": True, **sections})


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What would really have left: calls that came through to the socket itself."""
    left: list[Any] = []

    class Spy(socket.socket):
        def connect(self, address: Any) -> None:
            sys.audit("socket.connect", self, address)  # as the socket below does, before it connects
            left.append(address)
            raise ConnectionRefusedError("the spy")

    monkeypatch.setattr(socket, "socket", Spy)
    return left


def reach(host: str, how: str = "connect") -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as opened:
        opened.settimeout(0.2)
        getattr(opened, how)((host, 9))


def send(family: int, host: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as opened:
        opened.sendto(b"x", (host, 53))


def test_a_connection_is_refused_before_it_is_made(spy: list[Any]) -> None:
    with (
        offline.kept(config()),
        pytest.raises(UserError, match=rf"offline: {OUTSIDE} port 9 would have been"),
    ):
        reach(OUTSIDE)
    assert spy == []
    with pytest.raises(ConnectionRefusedError):  # and without the wall it would have left
        reach(OUTSIDE)
    assert spy == [(OUTSIDE, 9)]


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: reach(OUTSIDE),
        lambda: socket.create_connection(("example.com", 443), timeout=0.2),
        lambda: socket.getaddrinfo("example.com", 443),
        lambda: socket.getaddrinfo(b"example.com", 443),
        lambda: socket.gethostbyname("example.com"),
        lambda: send(socket.AF_INET, OUTSIDE),
        lambda: send(socket.AF_INET6, "2001:db8::1"),
        lambda: reach(OUTSIDE, "connect_ex"),
    ],
)
def test_no_way_out_is_left(attempt: Any) -> None:
    with offline.kept(config()), pytest.raises(UserError, match="offline: .* would have been called"):
        attempt()


def test_in_every_thread() -> None:
    caught: list[BaseException] = []

    def work() -> None:
        try:
            reach(OUTSIDE)
        except BaseException as error:
            caught.append(error)

    with offline.kept(config()):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert isinstance(caught[0], UserError)


def test_what_stays_on_this_machine_works(faulty: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", faulty.KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with faulty.serving() as web:
        monkeypatch.setenv("LOCAL_BASE_URL", web.url)
        with offline.kept(config(oracle={"model": LOCAL})), RemoteModel(LOCAL) as model:
            (reply,) = model.generate([(Message("user", "hello"),)], Sampling())
    assert reply.text
    assert web.seen[""] == 1
    with offline.kept(config()):
        assert socket.gethostbyname("localhost").startswith("127.")
        a, b = socket.socketpair()
        a.close(), b.close()


@pytest.mark.parametrize("url", [f"http://{OUTSIDE}/v1", "http://example.com/v1"])
def test_a_provider_that_slips_through_is_stopped_at_the_socket(
    url: str, faulty: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", faulty.KEY)
    for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    ledger = faulty.Ledger()
    settings = RemoteSettings(base_url=url, timeout_s=5, max_retries=6)
    with (
        offline.kept(config()),
        RemoteModel(LOCAL, settings, None, ledger) as model,
        pytest.raises(UserError, match=r"^offline: \S+( port 80)? would have been called"),
    ):
        model.generate([(Message("user", "hello"),)], Sampling())
    assert ledger.failed == []  # no attempt was made, so none is repeated or counted


@pytest.mark.parametrize(
    ("oracle", "holds"),
    [
        (
            {"model": "openai/gpt-x"},
            r"offline: openai/gpt-x \(oracle.judge\) would be called at its provider",
        ),
        ({"meter": "anthropic/some"}, r"anthropic/some \(oracle.meter\)"),
        ({"proposer": "openai-api/acme/m"}, r"openai-api/acme/m \(oracle.proposer\).*\(acme\)"),
        ({"model": "openai-api/far/m"}, "would be called at far.example.com"),
        ({"model": "ollama/m"}, "would be called at gpu.example.com"),
    ],
)
def test_an_oracle_elsewhere_is_named_at_once(
    oracle: dict[str, str], holds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAR_BASE_URL", "https://far.example.com/v1")
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://gpu.example.com:1234")
    values = config(oracle=oracle)
    for attempt in (lambda: planner.plan(values), lambda: next(runner.run(values, tmp_path / "run"))):
        with pytest.raises(UserError, match=holds) as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", ["organism/oracle", "mockllm/m", "ollama/m", "vllm/m", "openai-api/near/m"])
def test_an_oracle_on_this_machine_is_let_through(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEAR_BASE_URL", "http://localhost:8000/v1")
    monkeypatch.delenv("OLLAMA_BASE_URL", raising=False)
    offline.require(config(oracle={"model": model}))


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("LOCALHOST.", True),
        ("0.0.0.0", False), ("localhost.example.com", False), ("10.0.0.1", False), ("fe80::1%eth0", False),
    ],
)  # fmt: skip
def test_what_counts_as_this_machine(host: str, here: bool) -> None:
    assert offline.is_here(host) is here


def test_the_libraries_of_the_hub_are_told_and_told_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "0")
    with offline.kept(config()):
        assert {os.environ[name] for name in offline.VARIABLES} == {"1"}
        assert hub.HF_HUB_OFFLINE is True
    assert hub.HF_HUB_OFFLINE is False
    assert "HF_HUB_OFFLINE" not in os.environ
    assert os.environ["HF_DATASETS_OFFLINE"] == "0"


def test_the_walls_come_down_after_an_error_and_stay_up_while_another_needs_them() -> None:
    with offline.kept(config()):
        with pytest.raises(ZeroDivisionError), offline.kept(config()):
            1 / 0  # noqa: B018
        with pytest.raises(UserError):
            socket.getaddrinfo("example.com", 1)
    with offline.kept(validated({})):
        socket.getaddrinfo("127.0.0.1", 1)


def test_a_run_may_be_resumed_offline_or_not(tmp_path: Path) -> None:
    (tmp_path / "iterations" / "001").mkdir(parents=True)
    for written in (["offline=true"], [], ["offline=true"]):
        with runner._opened(load("quickstart", written), tmp_path):
            assert load("quickstart", written).offline is bool(written)
