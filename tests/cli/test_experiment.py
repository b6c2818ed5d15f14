"""`iteralign experiment`: mistakes, the plan, a whole grid, a stop and the same command again, the report."""

import csv
import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iteralign.config.schema import Config
from iteralign.errors import WorldError
from iteralign.experiment import grid, work


def _material() -> ModuleType:
    """The experiment file of tests/experiment, as a module."""
    path = Path(__file__).parents[1] / "experiment" / "conftest.py"
    spec = importlib.util.spec_from_file_location("experiment_conftest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


material = _material()
sheet = material.sheet
Call = Callable[..., Any]


@pytest.fixture
def fails() -> list[str]:
    """Places at which a run fails."""
    return []


@pytest.fixture(autouse=True)
def rehearsed(rehearsal: ModuleType, sheet: Path, fails: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(config: Config, root: Path) -> None:
        if any(place in root.as_posix() for place in fails):
            raise WorldError("the provider is away; rerun the same command")
        list(rehearsal.perform(config, root))

    monkeypatch.setattr(work, "execute", execute)


def test_the_whole_grid_in_one_command_and_its_tables(call: Call) -> None:
    said = call("experiment", "grid.toml")
    assert said.code == 0, said.err
    places = [f"model/organism/{arm}/seed-{s}" for s in (0, 1) for arm in ("improved", "self-revision")]
    assert [line.partition(":")[0] for line in said.err.splitlines() if "run " in line] == places
    assert all((Path("runs/experiments/rehearsed") / place / "outcome.json").is_file() for place in places)
    text = " ".join(said.out.split())
    assert "Outcomes by arm model/organism" in text
    assert "improved 2 of 2" in text
    assert "Against improved" in text
    assert "runs: 4 of 4 done" in text
    assert "report of 2" in text
    assert "command: " in text
    again = call("experiment", "grid.toml")
    assert again.code == 0
    assert "run 1 of" not in again.err


def test_a_failure_is_said_and_the_rest_is_done(call: Call, fails: list[str]) -> None:
    fails.append("improved/seed-1")
    said = call("experiment", "grid.toml", "--out", "here", "--quiet")
    assert said.code == 2
    assert said.err.splitlines() == [
        "error: model/organism/improved/seed-1: the provider is away; rerun the same command",
        "error: 1 job failed; the same command tries again what is missing",
    ]
    assert "runs: 3 of 4 done" in said.out
    fails.clear()
    assert call("experiment", "grid.toml", "--out", "here").code == 0


def test_a_part_then_the_report_of_what_is_there(call: Call) -> None:
    assert call("experiment", "grid.toml", "--only", "*/self-revision/seed-0").code == 0
    said = call("experiment", "grid.toml", "--report", "--format", "csv")
    assert said.code == 0
    rows = list(csv.DictReader(io.StringIO(said.out)))
    seeds = {
        r["row"]: (r["value"], r["n"]) for r in rows if r["column"] == "seeds" and r["table"] == "outcomes"
    }
    assert seeds == {"vanilla": ("", ""), "improved": ("0", "2"), "self-revision": ("1", "2")}
    assert "runs: 1 of 4 done" in said.err
    assert call("experiment", "grid.toml", "--report", "--format", "latex").out.count("\\begin{table}") == 2
    assert "| self\\-revision" not in call("experiment", "grid.toml", "--report", "--format", "markdown").out


def test_the_plan_counts_what_is_left(call: Call) -> None:
    call("experiment", "grid.toml", "--only", "*/improved/seed-0")
    said = call("experiment", "grid.toml", "--plan", "--format", "csv")
    assert said.code == 0
    rows = list(csv.DictReader(io.StringIO(said.out)))
    found = {(r["row"], r["column"]): r for r in rows}
    assert {a: (found[a, "runs done"]["value"], found[a, "runs done"]["n"]) for a in ("improved", "all")} == {
        "improved": ("1", "2"),
        "all": ("1", "4"),
    }
    one, two, all_ = (
        float(found[arm, "oracle calls, mid"]["value"]) for arm in ("improved", "self-revision", "all")
    )
    assert one > 0
    assert all_ == one + two
    assert found["self-revision", "time"]["value"] == ""
    assert found["improved", "time"]["kind"] == "seconds"
    assert found["all", "price, mid"]["value"] == "0.0"
    assert not Path("runs/experiments/rehearsed/model/organism/self-revision").exists()


def test_an_interruption_says_that_the_same_command_goes_on(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(config: Config, root: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(work, "execute", interrupted)
    said = call("experiment", "grid.toml", "--quiet")
    assert (said.code, said.out) == (130, "")
    assert said.err == "interrupted; nothing recorded is lost, the same command goes on\n"


MISTAKES = {
    "no such experiment": (["organsim"], "did you mean 'organism'?"),
    "no such file": (["none.toml"], "no such file"),
    "format": (["grid.toml", "--format", "latx"], "did you mean 'latex'?"),
    "both": (["grid.toml", "--plan", "--report"], "choose one"),
    "only": (["grid.toml", "--only", "nothing"], "--only 'nothing': fits no"),
    "place": (["grid.toml", "--out", "base.toml"], "base.toml"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name: str, call: Call) -> None:
    arguments, says = MISTAKES[name]
    said = call("experiment", *arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert says in said.err
    assert not Path("runs").exists()


def test_a_shipped_file_is_printed_to_be_copied(call: Call) -> None:
    said = call("experiment", "organism-ablations", "--print")
    assert said.code == 0
    Path("mine.toml").write_text(said.out, encoding="utf-8")
    assert grid.load("mine.toml").cells == grid.load("organism-ablations").cells


def test_help(call: Call) -> None:
    said = call("experiment", "--help")
    assert said.code == 0
    for option in ("--only", "--plan", "--report", "--format", "--out"):
        assert option in said.out


def test_a_damaged_result_is_named(call: Call) -> None:
    call("experiment", "grid.toml", "--only", "*/improved/seed-0")
    root = Path("runs/experiments/rehearsed/model/organism/improved/seed-0")
    (root / "outcome.json").write_text(json.dumps([]), encoding="utf-8")
    said = call("experiment", "grid.toml", "--report")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "outcome.json" in said.err
