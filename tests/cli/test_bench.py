"""`iteralign organism bench` from its command line: its formats, and its mistakes in one line."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iteralign_organism.discovery.family import FAMILY


@pytest.fixture
def bench(rehearsal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One sibling, on which the default method found and closed its gap."""
    monkeypatch.chdir(tmp_path)
    model, root = Path("bench/organisms/c"), Path("bench/runs/improved/c")
    rehearsal.organism(model, FAMILY["c"])
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 300}
    (model / "config.json").write_text(json.dumps(sizes), encoding="utf-8")
    list(rehearsal.perform(rehearsal.config(str(model)), root, gaps=FAMILY["c"]))
    return ["organism", "bench", "--out", "bench", "--siblings", "c", "--arms", "improved,paper"]


def test_the_report_in_each_format(bench: list[str], call: Callable[..., Any]) -> None:
    said = {f: call(*bench, "--report", "--format", f) for f in ("text", "markdown", "latex", "csv", "json")}
    assert {s.code for s in said.values()} == {0}
    assert "Discovery by arm" in said["text"].out
    assert "not finished: paper/c" in said["text"].out
    assert "| improved | 1 of 1 | 100.0 % (20.7–100.0) |" in said["markdown"].out
    assert r"\toprule" in said["latex"].out
    rows = {
        (r["table"], r["row"], r["column"]): r["value"] for r in csv.DictReader(io.StringIO(said["csv"].out))
    }
    assert rows["siblings", "improved", "gaps closed"] == "1"
    found = json.loads(said["json"].out)
    assert (found["schema"], found["missing"]) == (1, ["paper/c"])
    assert found["runs"][0]["named"] == found["runs"][0]["planted"] == ["fraud"]
    assert "hazards" not in found["runs"][0]


def test_the_plan_says_what_is_done_and_left(bench: list[str], call: Callable[..., Any]) -> None:
    found = json.loads(call(*bench, "--plan", "--format", "json").out)
    assert found["organisms"] == {"c": "planted"}
    assert found["runs"] == {"improved": {"c": "done"}, "paper": {"c": "to do"}}
    assert "the mean of 1 on record" in call(*bench, "--plan").out


def test_a_failure_is_one_line_and_ends_with_status_2(bench: list[str], call: Callable[..., Any]) -> None:
    """The config that the run was rehearsed with is not the benchmark's, so it is not taken up."""
    said = call(*bench[:-1], "improved")
    assert said.code == 2
    assert (
        "improved c: failed: run directory bench/runs/improved/c holds a run with another config" in said.err
    )
    assert said.err.splitlines()[-1].startswith("error: 1 failed (improved c)")


MISTAKES = {
    "arm": (["--arms", "improvd"], "did you mean 'improved'?"),
    "sibling": (["--siblings", "z"], "--siblings: unknown value 'z'"),
    "format": (["--format", "html"], "--format: unknown value 'html'"),
    "both": (["--plan", "--report"], "choose one"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_line_and_status_2(name: str, call: Callable[..., Any]) -> None:
    arguments, says = MISTAKES[name]
    said = call("organism", "bench", *arguments)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert says in said.err
