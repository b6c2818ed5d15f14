"""Runs to show, made in a second by tests/rehearsal.py, and the command line called in this process."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from iteralign.cli import main
from iteralign.record.journal import StepReached


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def runs(rehearsal: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, and one that stopped while iteration 2 was being judged."""
    folder = tmp_path_factory.mktemp("cli")
    config = rehearsal.config(str(rehearsal.organism(folder / "model")))
    list(rehearsal.perform(config, folder / "runs" / "done"))
    with pytest.raises(StepReached):
        list(rehearsal.perform(config, folder / "runs" / "half", stop_after=(2, "responses")))
    return folder


@pytest.fixture
def here(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of the test's own, with copies of both runs."""
    shutil.copytree(runs, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`call("show", "done")`: exit status, stdout, stderr."""

    def call(*arguments: str) -> Said:
        capsys.readouterr()
        code = main.status(list(arguments))
        return Said(code, *capsys.readouterr())

    return call
