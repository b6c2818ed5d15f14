"""A key in the environment is in no file of a run, no log, no output and no error."""

import importlib.util
import logging
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iteralign.cli import main
from iteralign.errors import UserError
from iteralign.lab import Lab
from iteralign.models.remote import RemoteModel, RemoteSettings
from iteralign.run import provenance
from iteralign.run.purse import Purse

SPEC = "openai-api/local/some-model"
OTHERS = {"OPENAI_API_KEY": "planted-openai-zyxwvutsrq", "HF_TOKEN": "planted-hub-ponmlkjihg"}


@pytest.fixture
def rehearsal(monkeypatch: pytest.MonkeyPatch, faulty: ModuleType) -> Any:
    """tests/rehearsal.py, its oracle behind a provider with a key."""
    place = Path(__file__).parents[1] / "rehearsal.py"
    spec = importlib.util.spec_from_file_location("rehearsal_with_a_key", place)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in {"LOCAL_API_KEY": faulty.KEY, "NO_PROXY": "127.0.0.1", **OTHERS}.items():
        monkeypatch.setenv(name, value)
    scripted = module.lab

    def lab(root: Path, gaps: Any, poison: str, purse: Purse, config: Any = None) -> Lab:
        settings = RemoteSettings(backoff_s=0.01, max_retries=12)
        remote = {role: RemoteModel(SPEC, settings, None, purse.account(role)) for role in ROLES}
        return replace(scripted(root, gaps, poison, purse), **remote)

    module.lab = lab
    return module


ROLES = ("judge", "proposer", "meter")


def holding(text: str, faulty: ModuleType) -> list[str]:
    """The planted keys, and long parts of them, that stand in a text."""
    keys = [faulty.KEY, *OTHERS.values(), "wrong-key-of-somebody"]
    return [key for key in keys if key in text or key[:14] in text or key[-10:] in text]


def test_a_whole_run_holds_no_key(
    tmp_path: Path,
    rehearsal: Any,
    faulty: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    config = rehearsal.config(str(rehearsal.organism(tmp_path / "model")), stop={"max_iterations": 1})
    root, said = tmp_path / "run", []
    with faulty.serving(["500 echo", "garbage", "429"], 0.1) as web:
        monkeypatch.setenv("LOCAL_BASE_URL", web.url)
        list(rehearsal.perform(config, root))
        provenance.record(root, config.model_dump(mode="json"))
        assert main.status(["show", str(root)]) == main.status(["show", str(root), "--json"]) == 0
        monkeypatch.setenv("LOCAL_API_KEY", "wrong-key-of-somebody")
        with pytest.raises(UserError) as caught:
            list(rehearsal.perform(config, tmp_path / "refused"))
        said.append(str(caught.value))
    assert web.seen["500 echo"] > 0
    assert web.seen["wrong key"] > 0
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {p.name for p in files} >= {"config.json", "provenance.json", "failed_attempts.jsonl"}
    assert any("calls" in p.parts for p in files)
    texts = [p.read_bytes().decode("utf-8", "replace") for p in files] + [str(p) for p in files]
    out = capfd.readouterr()
    for text in [*texts, *said, caplog.text, out.out, out.err]:
        assert holding(text, faulty) == []
    assert "violations" in out.out  # it was the real output that was looked at


def test_the_search_finds_what_it_looks_for(faulty: ModuleType) -> None:
    assert holding(f"Authorization: Bearer {faulty.KEY}", faulty) == [faulty.KEY]
