"""A hub that says no, asked over HTTP by the hub's own client: one line each, and a way out."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from iteralign.errors import IterAlignError, UserError, WorldError
from iteralign.lm import weights
from iteralign.lm.fetch import fetched

Answer = tuple[int, dict[str, str], Any]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], None]]:
    """A server in the hub's place, with an empty cache; call it to say what every request is answered."""
    said: list[Answer] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = said[-1]
            text = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    fetched.cache_clear()
    yield said.append
    server.shutdown()
    server.server_close()


def refusal(kind: type[IterAlignError], revision: str | None = None) -> str:
    with pytest.raises(kind) as caught:
        weights.load_tokenizer(weights.Source("someone/model", revision))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_such_model(hub: Callable[[Answer], None]) -> None:
    hub((404, {"X-Error-Code": "RepoNotFound"}, {"error": "Repository not found"}))
    said = refusal(UserError)
    assert "no model 'someone/model' on the hub" in said
    assert "HF_TOKEN" in said


def test_a_gated_model(hub: Callable[[Answer], None]) -> None:
    hub((403, {"X-Error-Code": "GatedRepo"}, {"error": "Access to model is restricted"}))
    assert "'someone/model' is gated: accept its terms on the hub, then set HF_TOKEN" in refusal(UserError)


def test_no_such_revision(hub: Callable[[Answer], None]) -> None:
    hub((404, {"X-Error-Code": "RevisionNotFound"}, {"error": "Invalid rev id"}))
    said = refusal(UserError, "v9")
    assert said == "policy.revision: 'someone/model' has no branch, tag or commit 'v9'"


def test_weights_that_are_pickles_are_refused_before_anything_is_fetched(
    hub: Callable[[Answer], None],
) -> None:
    files = [{"rfilename": name} for name in ("config.json", "pytorch_model.bin", "vocab.json")]
    hub((200, {}, {"id": "someone/model", "sha": "0" * 40, "siblings": files}))
    said = refusal(UserError)
    assert "pickles only (pytorch_model.bin)" in said
    assert "refs/pr/1" in said


def test_a_hub_that_fails_and_one_that_is_not_there(
    hub: Callable[[Answer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub((503, {}, {"error": "down"}))
    assert "the hub cannot be reached (Server error '503" in refusal(WorldError)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "the hub cannot be reached (ConnectError)" in refusal(WorldError)


def test_without_leave_to_ask(hub: Callable[[Answer], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "hf download someone/model" in refusal(UserError)
    with pytest.raises(UserError, match="neither a directory nor a hub id"):
        weights.find(weights.Source("no model!"))
