"""`iteralign compare`: item by item, of runs and of evaluations; what cannot be compared is refused."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iteralign import stats
from iteralign.evaluate.compare import Side, compare
from iteralign.evaluate.results import Record, Result, keep

WAS = [True] * 9 + [False] * 4 + [True, None]
NOW = [False] * 8 + [True] + [False] * 3 + [True] + [None, False]


def result(failed: Sequence[bool | None], sha256: str = "s") -> Result:
    records = tuple(
        Record(
            f"id{i}",
            "ab"[i % 2],
            f"question {i}",
            {True: "harmful", False: "harmless", None: "undecided"}[f],
            f,
        )
        for i, f in enumerate(failed)
    )
    return Result("violations", {"model": "m"}, {"origin": "o", "sha256": sha256}, (), records)


@pytest.fixture
def sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, failed in (("a", WAS), ("b", NOW)):
        keep(result(failed), tmp_path / name)
    keep(result(NOW, "other"), tmp_path / "other")
    keep(replace(result(NOW), benchmark="hhh"), tmp_path / "hhh")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_item_is_closed_still_open_or_regressed(sides: Path, call: Callable[..., Any]) -> None:
    said = call("compare", "a", "b", "--json")
    assert (said.code, said.err) == (0, "")
    (group,) = json.loads(said.out)["groups"]
    assert [c["id"] for c in group["closed"]] == [f"id{i}" for i in range(8)]
    assert [c["id"] for c in group["still_open"]] == ["id8"]
    assert [(c["id"], c["before"], c["after"]) for c in group["regressed"]] == [
        ("id12", "harmless", "harmful")
    ]
    assert group["paired"]["undecided"] == 2
    rates = {when: [(r["hits"], r["n"]) for r in both] for when, both in group["rates"].items()}
    assert rates == {"before": [(10, 15), (11, 15)], "after": [(2, 15), (3, 15)]}
    assert group["paired"]["n"] == 13
    assert group["paired"]["p_value"] == pytest.approx(
        stats.paired([True] * 8 + [False], [False] * 8 + [True]).p_value
    )
    raw = [pair["p_value"] for pair, _ in group["categories"].values()]
    assert [holm for _, holm in group["categories"].values()] == stats.holm(raw)


def test_the_page_says_the_same_and_shows_no_question(sides: Path, call: Callable[..., Any]) -> None:
    text = " ".join(call("compare", "a", "b").out.split())
    assert "violations: 13 items; 2 more undecided, in no paired count" in text
    assert "before 66.7 % (41.7–84.8), worst case 73.3 % (48.0–89.1), of 15" in text
    assert "failures 9 -> 2: difference -0.538" in text
    assert "McNemar p = 0.0391" in text
    assert "regressed: id12 a: harmless -> harmful still open: id8 a: harmful -> harmful" in text
    assert "question" not in text
    same = " ".join(call("compare", "a", "a").out.split())
    assert "failures 10 -> 10: no item changed" in same


def test_a_run_is_compared_with_itself_before(here: Path, call: Callable[..., Any]) -> None:
    said = call("compare", "done@before", "runs/done", "--json")
    assert said.code == 0, said.err
    groups = {g["name"]: g for g in json.loads(said.out)["groups"]}
    hazards = groups["hazards"]
    assert (len(hazards["closed"]), hazards["still_open"], hazards["regressed"]) == (16, [], [])
    assert hazards["paired"]["p_value"] == pytest.approx(2 / 2**11)  # 16 prompts of 11 templates
    assert hazards["categories"]["privacy"][0]["closed"] == 4
    between = call("compare", "done@1", "done@2", "--json")
    assert between.code == 0, between.err


MISTAKES = {
    "nothing there": (["a", "c"], "c: no such run, and no results"),
    "other questions": (["a", "other"], "violations: a and other were asked other questions"),
    "nothing in common": (["a", "hhh"], "a and hhh have no benchmark in common: violations against hhh"),
    "no run": (["a@before", "b"], "a is not a run directory, so it has no @before"),
    "empty": (["a/logs", "b"], "no result of iteralign evaluate in it"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_line_and_status_2(sides: Path, call: Callable[..., Any], name: str) -> None:
    arguments, says = MISTAKES[name]
    said = call("compare", *arguments)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert says in said.err


@pytest.mark.parametrize(
    ("side", "says"),
    [
        ("runs/half", "the run is not finished"),
        ("done@later", "after @ comes 'before' or the number of an iteration"),
        ("done@99", "nothing was measured there; the run has iterations 0 to 4"),
    ],
)
def test_sides_of_runs_that_are_not_there(here: Path, call: Callable[..., Any], side: str, says: str) -> None:
    said = call("compare", "done", side)
    assert (said.code, said.out) == (2, "")
    assert says in said.err


def test_the_same_ids_of_another_run_may_be_other_questions() -> None:
    records = result(WAS).records
    a = Side("a", "/one", {"hazards": records}, {"hazards": "x"})
    assert compare(a, replace(a, questions={"hazards": "y"}))[0].paired.n == 14
    with pytest.raises(Exception, match="other questions"):
        compare(a, replace(a, root="/two", questions={"hazards": "y"}))
