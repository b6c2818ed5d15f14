"""`--offline`: one line that names what would have been called, before anything is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "planted-0123456789")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    return tmp_path


@pytest.mark.parametrize("command", ["run", "plan", "check"])
@pytest.mark.parametrize("way", [("--offline",), ("--set", "offline=true")])
def test_a_remote_oracle_is_refused(
    here: Path, call: Callable[..., Any], command: str, way: tuple[str, ...]
) -> None:
    said = call(command, "quickstart", "--oracle", "openai/gpt-x", *way)
    assert said.code == 2
    assert said.err == (
        "error: offline: openai/gpt-x (oracle.judge) would be called at its provider (openai); "
        "leave --offline out, or name what is on this machine\n"
    )
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("command", ["plan", "check"])
def test_a_data_set_of_the_hub_is_named(here: Path, call: Callable[..., Any], command: str) -> None:
    said = call(command, "quickstart", "--offline", "--set", "redteam.source=nobody/nothing")
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    assert "source nobody/nothing: the Hub cannot be reached and no copy is cached" in said.err
    assert "--offline" in said.err


@pytest.mark.parametrize("command", ["plan", "check"])
def test_the_organism_needs_nobody(here: Path, call: Callable[..., Any], command: str) -> None:
    said = call(command, "quickstart", "--offline")
    assert (said.code, said.err) == (0, "")
