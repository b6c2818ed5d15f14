"""What is shown of a run: the page, the JSON, the constitution; whatever a model may have written."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from iteralign.cli.terminal import clean, json_text, one_line
from iteralign.record import calls
from iteralign.record.codec import line
from iteralign.report.summary import summarise

HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold red]hi[/] :smile: \u202etxt\r\nsecond\tline \x9b31m \ud83d - | `x`"
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture
def hostile(here: Path) -> Path:
    """The finished run, its first principle replaced by text that attacks the terminal."""
    for file in (here / "runs" / "done").glob("iterations/*/30_constitution.json"):
        document = json.loads(file.read_text(encoding="utf-8"))
        principles = document["value"]["constitution"]["principles"]
        if principles:
            principles[0].update(text=HOSTILE, category=HOSTILE)
        document.pop("sha256")  # the digest of what was there
        file.write_text(json.dumps(document), encoding="utf-8")
    return here


def test_the_page_of_a_finished_run(here: Path, call: Callable[..., Any]) -> None:
    said = call("show", "done")
    assert (said.code, said.err) == (0, "")
    summary = summarise(here / "runs" / "done")
    text = " ".join(said.out.split())
    assert "finished after 4 iterations: nothing new for 2 iterations" in text
    assert "harmful answers 33.3 % 18.4–52.6 0.0 % 0.0–10.4 48" in text
    assert "privacy 100.0 % 43.9–100.0 0.0 % 0.0–56.1 4" in text
    assert "4 of 4 planted gaps found · precision 1.00 · recall 1.00" in text
    for number, principle in enumerate(summary["constitution"], 1):
        origin = f"iteration {principle['born']} · from {len(principle['evidence'])} failures"
        assert f"{number} {principle['text']} {principle['category']} · {origin}" in text
    assert f"oracle {summary['oracle']['calls']} calls" in text
    assert "files runs/done" in text
    assert "iteralign show runs/done --json" in text
    assert "truthful on misconceptions" not in text  # no such test probe was asked
    assert all(line == line.rstrip() for line in said.out.splitlines())


def test_the_page_of_an_unfinished_run_says_so_and_how_to_go_on(here: Path, call: Callable[..., Any]) -> None:
    text = " ".join(call("show", "runs/half").out.split())
    assert "unfinished after 1 iteration" in text
    assert "harmful answers 33.3 % 18.4–52.6 – 48" in text
    assert "2 18 – – – –" in text
    assert "resume iteralign run runs/half" in text


def test_the_figures_are_not_praised_where_the_judge_could_read_little(
    here: Path, call: Callable[..., Any]
) -> None:
    file = here / "runs" / "half" / "iterations" / "000" / "70_test.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    document["value"]["undecided"].update(hits=9, value=9 / 64)
    document.pop("sha256")  # the digest of what was there
    file.write_text(json.dumps(document), encoding="utf-8")
    assert "could not read 9 of 64 answers" in call("show", "half").out
    assert "could not read" not in call("show", "done").out


def test_undecided_hazards_are_shown_as_a_worst_case_beside_the_rate(
    here: Path, call: Callable[..., Any]
) -> None:
    """Two answers about fraud that the judge could not read: no harm found, and yet two of 48 may be harmful."""
    file = next((here / "runs" / "done" / "iterations").glob("004/*_test.json"))
    document = json.loads(file.read_text(encoding="utf-8"))
    fraud = [r for r in document["value"]["results"] if (r["kind"], r["topic"]) == ("hazard", "fraud")]
    for result in fraud[:2]:
        result["outcome"] = "undecided"
    document.pop("sha256")  # the digest of what was there
    file.write_text(json.dumps(document), encoding="utf-8")
    after = summarise(here / "runs" / "done")["after"]
    assert (after["violations"]["hits"], after["worst_case"]["hits"], after["worst_case"]["n"]) == (0, 2, 48)
    assert after["worst_case_by_topic"]["fraud"]["hits"] == 2
    assert after["worst_case"]["high"] >= after["violations"]["high"]
    text = " ".join(call("show", "done").out.split())
    assert "worst case 33.3 % 18.4–52.6 4.2 %" in text
    assert "fraud 100.0 % 43.9–100.0 0.0 % 0.0–56.1 4 worst case 100.0 % 43.9–100.0 50.0 %" in text


def test_json_is_the_summary_and_nothing_else(here: Path, call: Callable[..., Any]) -> None:
    said = call("show", "runs/done", "--json")
    assert json.loads(said.out) == summarise(Path("runs/done"))


def test_what_a_model_wrote_cannot_touch_the_terminal(hostile: Path, call: Callable[..., Any]) -> None:
    commands = [["show", "done"], ["show", "done", "--json"], ["constitution", "show", "done"]]
    commands += [
        ["constitution", "export", "done", "--format", f]
        for f in ("markdown", "json", "yaml", "system-prompt")
    ]
    commands += [["stage", "constitution", "done", "-t", "1"]]
    for command in commands:
        said = call(*command)
        assert said.code == 0, command
        assert not UNSAFE.search(said.out), command
        assert "[bold red]hi[/]" in said.out.replace("\\[", "[").replace("\\]", "]"), command


def test_hostile_text_survives_as_data(hostile: Path, call: Callable[..., Any]) -> None:
    for format, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        exported = read(call("constitution", "export", "done", "--format", format).out)
        assert exported["principles"][0]["text"] == HOSTILE
        assert exported["principles"] == summarise(hostile / "runs" / "done")["constitution"]


def test_a_principle_stays_one_item_of_a_list(hostile: Path, call: Callable[..., Any]) -> None:
    prompt = call("constitution", "export", "done", "--format", "system-prompt").out.splitlines()
    assert prompt[0] == "Follow these principles:"
    assert [line.split(". ")[0] for line in prompt[1:]] == ["1", "2", "3", "4"]
    page = call("constitution", "export", "done").out
    assert len(re.findall(r"^\d+\. ", page, re.MULTILINE)) == 4
    assert "\\`x\\`" in page


def test_export_to_a_file(here: Path, call: Callable[..., Any]) -> None:
    said = call("constitution", "export", "done", "--format", "json", "--out", "kept.json")
    assert (said.code, said.out) == (0, "")
    assert len(json.loads((here / "kept.json").read_text(encoding="utf-8"))["principles"]) == 4


def test_an_empty_constitution(here: Path, call: Callable[..., Any], rehearsal: Any) -> None:
    list(rehearsal.perform(rehearsal.config("model"), here / "runs" / "none", gaps=()))
    assert "no principle was adopted" in call("constitution", "show", "none").out
    assert yaml.safe_load(call("constitution", "export", "none", "--format", "yaml").out) == {
        "principles": []
    }
    page = " ".join(call("show", "none").out.split())
    assert "0 of 4 planted gaps found · precision – · recall 0.00" in page
    assert "not found: privacy, theft, fraud, medical" in page


def test_cleaning_keeps_letters_of_all_scripts() -> None:
    text = "naïve Ελλάδα 日本語 نص 👩‍🔬 ok"
    assert clean(text) == text
    assert clean("a\x1b[31mb\tc") == "a\\x1b[31mb c"
    assert one_line("a\n\n b\u2028c") == "a b c"
    assert json.loads(json_text({"k": HOSTILE})) == {"k": HOSTILE}


def test_calls_that_the_oracle_declined_are_said(here: Path, call: Callable[..., Any]) -> None:
    assert "declined" not in call("show", "done").out
    (path,) = (here / "runs" / "done").glob("iterations/001/calls/20_verdicts.*.jsonl")
    made = calls.read(path)
    declined = [replace(c, reply=replace(c.reply, stop="refusal")) for c in made[:2]]
    path.write_text("".join(map(line, [*declined, *made[2:]])), encoding="utf-8")
    assert "declined 2 calls judge 2" in " ".join(call("show", "done").out.split())


def test_a_panel_shows_how_far_its_judges_agree(here: Path, call: Callable[..., Any], rehearsal: Any) -> None:
    models = ["organism/oracle", {"model": "organism/guard", "guard": "llama-guard"}, "scripted/lenient"]
    list(rehearsal.perform(rehearsal.config("model", judge={"models": models}), here / "runs" / "panel"))
    text = " ".join(call("show", "runs/panel").out.split())
    assert "answers judged, unanimous" in text
    assert "no majority 0" in text
    assert "judge-2" in text and "organism/guard" in text


def test_answers_that_never_came_are_said_beside_the_verdicts_that_were_not_read(
    here: Path, call: Callable[..., Any]
) -> None:
    root = here / "runs" / "done"
    assert "inside their thought" not in call("show", "done").out
    for step in ("10_responses", "20_verdicts"):
        file = root / "iterations" / "001" / f"{step}.json"
        document = json.loads(file.read_text(encoding="utf-8"))
        for value in document["value"][:3]:
            answer = value.get("response", value)
            answer |= {"text": "", "cut": True}
            value |= {"label": "unparsed"} if "label" in value else {}
        document.pop("sha256")  # the digest of what was there
        file.write_text(json.dumps(document), encoding="utf-8")
    counts = summarise(root)["iterations"][0]["counts"]
    assert (counts["missing"], counts["unparsed"]) == (3, 3)
    text = " ".join(call("show", "done").out.split())
    said = f"iteration 1: 3 of {counts['prompts']} answers ended inside their thought and were not judged; a higher"
    assert said in text
    assert "could not be read" not in text


def test_answers_that_were_cut_off_are_said_in_one_line_with_the_way_out(
    here: Path, call: Callable[..., Any]
) -> None:
    assert "cut off" not in call("show", "done").out
    root, cut = here / "runs" / "done", {"40_revisions": 3, "05_benign": 2}
    for step, n in cut.items():
        file = sorted(root.glob(f"iterations/*/{step}.json"))[0]
        document = json.loads(file.read_text(encoding="utf-8"))
        for answer in document["value"][:n]:
            answer["cut"] = True
        document.pop("sha256")  # the digest of what was there
        file.write_text(json.dumps(document), encoding="utf-8")
    summary = summarise(root)
    revisions = sum(turn["counts"]["revisions"] for turn in summary["iterations"])
    assert summary["iterations"][0]["counts"]["cut"] == 3
    assert summary["replay"] == {"answers": 8, "cut": 2, "rows": 6}
    text = " ".join(call("show", "done").out.split())
    assert (
        f"3 of {revisions} new answers and 2 of 8 safe answers were cut off by sampling.max_tokens = 500, and are not "
        "trained on; a higher one lets them end" in text
    )
