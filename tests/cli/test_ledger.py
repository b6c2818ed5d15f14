"""`iteralign constitution diff` and `ledger`: what a run's principles came from and did, masked unless asked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iteralign.run.files import comparable


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
