"""`iteralign constitution diff` and `ledger`: what a run's principles came from and did, masked unless asked."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iteralign.record.disk import comparable
from iteralign.report.ledger.measuring import InContext, LeaveOneOut, opened


def test_the_entries_of_a_run(here: Path, call: Callable[..., Any]) -> None:
    said = call("constitution", "ledger", "done", "--json")
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert (found["schema"], found["run"], found["accumulate"]) == (1, "rehearsal", True)
    adopted = [e for e in found["entries"] if e["decision"] == "adopted"]
    assert len(adopted) == 4
    shown = json.loads(call("constitution", "export", "done", "--format", "json").out)["principles"]
    assert [(e["id"], len(e["failures"]) + len(e["more_failures"])) for e in adopted] == [
        (p["id"], len(p["evidence"])) for p in shown
    ]
    assert all(e["active"] == [*range(e["born"], found["iterations"] + 1)] for e in adopted)
    summary = json.loads(call("show", "done", "--json").out)
    rows = {i["t"]: i["counts"]["accepted"] for i in summary["iterations"]}
    taught = {t: {id for e in adopted for id in e["rows"].get(str(t), [])} for t in rows}
    assert {t: len(ids) for t, ids in taught.items()} == rows


def test_failed_prompts_are_masked_unless_asked(here: Path, call: Callable[..., Any]) -> None:
    masked = json.loads(call("constitution", "ledger", "done", "--json").out)
    bare = json.loads(call("constitution", "ledger", "done", "--json", "--reveal").out)
    assert (masked["masked"], bare["masked"]) == (True, False)
    hidden, text = (found["entries"][0]["failures"][0]["text"] for found in (masked, bare))
    assert "more)" in hidden
    assert len(text.split()) > 3
    assert text not in call("constitution", "ledger", "done").out
    assert text in " ".join(call("constitution", "ledger", "done", "--reveal").out.split())


def test_the_page_says_the_same(here: Path, call: Callable[..., Any]) -> None:
    found = json.loads(call("constitution", "ledger", "done", "--json").out)
    text = " ".join(call("constitution", "ledger", "done").out.split())
    for number, entry in enumerate(found["entries"], 1):
        assert f"{number} {entry['text']} {entry['decision']} · {entry['id']}" in text
    first = found["entries"][0]
    rows = sum(map(len, first["rows"].values()))
    assert f"in force 1 to {found['iterations']} from {len(first['failures'])} failures" in text
    assert f"in the context of {rows} accepted rows" in text


def test_an_unfinished_run_has_a_ledger_and_nothing_is_written(here: Path, call: Callable[..., Any]) -> None:
    before = comparable(here)
    assert json.loads(call("constitution", "ledger", "half", "--json").out)["iterations"] == 1
    call("constitution", "diff", "done", "half")
    assert comparable(here) == before


def test_what_was_in_force_earlier(here: Path, call: Callable[..., Any]) -> None:
    first = json.loads(call("show", "done", "--json").out)["iterations"][0]["principles"]
    found = json.loads(call("constitution", "diff", "done@1", "runs/done", "--json").out)
    assert [p["id"] for p in found["same"]] == first
    assert len(found["added"]) == 4 - len(first)
    assert (found["dropped"], found["reworded"]) == ([], [])
    back = call("constitution", "diff", "done", "done@1").out
    assert f"0 added, {4 - len(first)} dropped, 0 reworded, {len(first)} same" in back
    assert all(" ".join(p["text"].split()[:4]) in back for p in found["added"])


def test_a_reworded_principle_is_shown_in_both_forms(here: Path, call: Callable[..., Any]) -> None:
    for file in (here / "runs" / "half").glob("iterations/*/30_constitution.json"):
        document = json.loads(file.read_text(encoding="utf-8"))
        document["value"]["constitution"]["principles"][0]["text"] += " At all.\x1b[2J"
        document.pop("sha256")  # the digest of what was there
        file.write_text(json.dumps(document), encoding="utf-8")
    out = call("constitution", "diff", "done@1", "half").out
    assert "1 reworded" in out
    assert "~ 0." in out
    assert "At all.\\x1b[2J" in out


@pytest.mark.parametrize(
    ("side", "says"),
    [
        ("done@99", "no constitution is on record there; iterations that have one: 1, 2, 3, 4"),
        ("done@", "after @ comes the number of an iteration, not ''"),
        ("done@later", "after @ comes the number of an iteration, not 'later'"),
        ("dome@1", "did you mean runs/done?"),
        ("model", "not a run directory"),
    ],
)
def test_sides_that_are_not_there(here: Path, call: Callable[..., Any], side: str, says: str) -> None:
    said = call("constitution", "diff", "done", side)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert says in said.err


@pytest.fixture
def measured(here: Path, rehearsal: ModuleType) -> Path:
    """The finished run, each of its principles measured."""
    with opened(here / "runs" / "done", lambda _: None, rehearsal.assemble) as bench:
        InContext(bench).measure()
        LeaveOneOut(bench).measure()
    return here


def test_what_was_measured_is_on_the_page(measured: Path, call: Callable[..., Any]) -> None:
    found = json.loads(call("constitution", "ledger", "done", "--json").out)
    text = " ".join(call("constitution", "ledger", "done").out.split())
    entry = next(e for e in found["entries"] if e["leave_one_out"])
    context, left_out = entry["in_context"], entry["leave_one_out"]
    n = context["n"]
    assert (context["none"]["hits"], context["alone"]["hits"]) == (0, n)
    assert f"in context, failures {n} 0 % 100 % 100 % 100 %" in text
    assert "lift +100, overlap +100, conflict +0 points" in text
    without = left_out["violations"]["without"]
    assert f"trained without its rows: violations 0 % (0–10) -> {100 * without['value']:.0f} %" in text
    topic = entry["failures"][0]["topic"]
    assert f"{topic} 0 % (0–56) -> 100 % (44–100)" in text


def test_a_trial_and_its_decision(here: Path, call: Callable[..., Any]) -> None:
    entry = json.loads(call("constitution", "ledger", "done", "--json").out)["entries"][0]
    trial = entry["trial"]
    text = " ".join(call("constitution", "ledger", "done").out.split())
    assert trial["held_back"]
    assert (trial["failures"]["without"]["hits"], trial["failures"]["within"]["value"]) == (0, 1.0)
    assert "held-back failures well with it" in entry["reason"]
    assert (
        f"answered well with n no principle it alone on trial, held back {trial['failures']['n']} 0 % 100 %"
        in text
    )


def test_a_run_from_before_there_were_trials(here: Path, call: Callable[..., Any]) -> None:
    for file in (here / "runs" / "done").glob("iterations/*/2[58]_*.json"):
        file.unlink()
    said = call("constitution", "ledger", "done", "--json")
    assert said.code == 0
    assert [e["trial"] for e in json.loads(said.out)["entries"]] == [None] * 4
    assert "on trial" not in call("constitution", "ledger", "done").out


@pytest.mark.parametrize("option", ["--in-context", "--leave-one-out"])
def test_an_unfinished_run_is_not_measured(here: Path, call: Callable[..., Any], option: str) -> None:
    said = call("constitution", "ledger", "half", option)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(
        "error: runs/half: the run is not finished; finish it with: iteralign run runs/half"
    )
