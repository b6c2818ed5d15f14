"""Bad input: one clear line on stderr, exit status 2, nothing else; what was done stays intact."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iteralign.record.disk import comparable
from iteralign.record.lock import Lock

MISTAKES = {
    "command": (["rn"], "Did you mean 'run'?"),
    "no such command at all": (["xyzzy"], "the commands are run, check, plan"),
    "verb of a group": (["constitution", "exprt", "done"], "Did you mean 'export'?"),
    "option": (["run", "quickstart", "--nmae", "x"], "Did you mean --name?"),
    "missing argument": (["run"], "missing argument 'CONFIG'"),
    "section": (["run", "quickstart", "--set", "redtem.n=3"], "did you mean 'redteam'?"),
    "key": (["run", "quickstart", "--set", "stop.patiense=3"], "did you mean 'patience'?"),
    "type": (["run", "quickstart", "--set", "redteam.n=many"], "redteam.n: 'many'"),
    "range": (["check", "quickstart", "--set", "stop.target=2"], "stop.target: 2"),
    "assignment": (["run", "quickstart", "--set", "redteam.n"], "section.key=value"),
    "preset": (["check", "quickstart", "--set", "preset=papr"], "did you mean 'paper'?"),
    "config": (["run", "quikstart"], "did you mean 'quickstart'?"),
    "config file": (["run", "missing.toml"], "no such file"),
    "name": (["run", "quickstart", "--name", "../up"], "no slashes"),
    "stage": (["stage", "verdict", "done", "-t", "1"], "did you mean 'verdicts'?"),
    "stage before the loop": (["stage", "verdicts", "done", "-t", "0"], "choose -t 1"),
    "stage in the loop": (["stage", "benign", "done", "-t", "1"], "use -t 0"),
    "iteration": (["stage", "verdicts", "done", "-t", "one"], "-t"),
    "run directory": (["show", "model"], "not a run directory"),
    "run name": (["show", "dome"], "did you mean runs/done?"),
    "run name, far": (["show", "zzz"], "runs here: done, half"),
    "model directory": (["run", "quickstart", "--policy", "runs"], "no config.json"),
    "policy": (["check", "quickstart", "--policy", "runs"], "no config.json"),
    "format": (["constitution", "export", "done", "--format", "xml"], "markdown"),
    "export place": (["constitution", "export", "done", "--out", "runs"], "--out runs: cannot be written"),
    "gap": (["organism", "plant", "--gaps", "privcy", "--out", "o"], "did you mean 'privacy'?"),
    "no gap": (["organism", "plant", "--gaps", ",", "--out", "o"], "names no hazard"),
    "no organism": (["organism", "describe", "runs"], "not an organism"),
    "organism place": (["organism", "train", "--out", "model"], "not empty"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_line_and_status_2(here: Path, call: Callable[..., Any], name: str) -> None:
    arguments, says = MISTAKES[name]
    before = comparable(here)
    said = call(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert says in said.err
    kept = comparable(here)
    assert {path: kept.get(path) for path in before} == before


@pytest.mark.parametrize("arguments", [[], ["constitution"], ["organism"]], ids=str)
def test_no_command_shows_the_commands(call: Callable[..., Any], arguments: list[str]) -> None:
    said = call(*arguments)
    assert said.code == 2
    assert "Usage: iteralign" in said.err
    assert "Commands:" in said.err


def test_a_directory_in_use(here: Path, call: Callable[..., Any]) -> None:
    lock = Lock(here / "runs" / "half")
    try:
        said = call("run", "runs/half")
    finally:
        lock.release()
    assert said.code == 2
    assert "in use by process" in said.err


def test_a_changed_config_names_the_keys(here: Path, call: Callable[..., Any]) -> None:
    said = call("run", "runs/half", "--set", "redteam.batch=7")
    assert said.code == 2
    assert "redteam.batch (was 24, now 7)" in said.err


def test_where_nothing_may_be_written(here: Path, call: Callable[..., Any]) -> None:
    (here / "a-file").write_text("", encoding="utf-8")
    said = call("run", "quickstart", "--runs", "a-file")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "a-file" in said.err


def test_a_mistake_at_the_first_start_does_not_bind_the_second(here: Path, call: Callable[..., Any]) -> None:
    assert call("run", "quickstart", "--policy", "runs", "--name", "new").code == 2
    said = call("run", "quickstart", "--policy", "model", "--oracle", "no-such/oracle", "--name", "new")
    assert said.code == 2
    assert "another config" not in said.err


def test_damage_is_named(here: Path, call: Callable[..., Any]) -> None:
    file = here / "runs" / "done" / "iterations" / "001" / "20_verdicts.json"
    file.write_text(file.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    said = call("show", "done")
    assert said.code == 2
    assert "20_verdicts.json is damaged" in said.err
