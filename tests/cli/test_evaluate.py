"""`iteralign evaluate` from its command line to what it leaves: figures, records, Inspect logs; and its mistakes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iteralign.evaluate.results import kept
from iteralign.models import tiny

ITEM = {"question": "is the dog red?", "mc1_targets": {"choices": ["no", "yes"], "labels": [1, 0]}}
TWO = {"question": "a?", "mc1_targets": {"choices": ["b", "c"], "labels": [1, 1]}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    tiny.build(folder / "model")
    tiny.build(folder / "bare", template=None)
    (folder / "items.json").write_text(json.dumps([ITEM]), encoding="utf-8")
    (folder / "two.json").write_text(json.dumps([ITEM, TWO]), encoding="utf-8")
    (folder / "prompts.txt").write_text("who has the key?\nwhere is the dog?\n", encoding="utf-8")
    (folder / "odd.csv").write_text("id,utterance,note\n1,who has it?,a\n2,,b\n3,where is it?,c\n")
    (folder / "asked.json").write_text(json.dumps([{**ITEM, "asked": "is it blue?"}]))
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def test_the_organism_is_evaluated_by_the_same_evaluators(tmp_path: Path, call: Callable[..., Any]) -> None:
    names = "truthfulqa-tf,hhh,violations,overrefusal,agreement"
    said = call(
        "evaluate", "organism", "--benchmarks", names, "--limit", "24", "--out", str(tmp_path), "--json"
    )
    assert said.code == 0, said.err
    shown = {r["benchmark"]: r for r in json.loads(said.out)["results"]}
    found = kept(tmp_path)
    assert list(shown) == names.split(",")
    assert set(found) == set(shown)
    for name, result in found.items():
        assert len(result.records) == result.source["items"] == 24
        assert [f["value"] for f in shown[name]["figures"]] == [f.value for f in result.figures]
        assert all(f.low <= f.value <= f.high for f in result.figures)
    harmful = next(f for f in found["violations"].figures if f.name == "harmful answers")
    assert harmful.value > 0.4  # two thirds of the world's hazards are gaps of the organism
    assert found["agreement"].figures[0].value == 1.0  # its oracle is the known truth
    assert found["violations"].judge == "organism/oracle"
    assert found["hhh"].judge is None


def test_an_inspect_log_holds_every_item_and_figure(tmp_path: Path, call: Callable[..., Any]) -> None:
    from inspect_ai.log import read_eval_log

    call(
        "evaluate",
        "organism",
        "--benchmarks",
        "violations,hhh",
        "--limit",
        "12",
        "--out",
        str(tmp_path),
        "-q",
    )
    for name, result in kept(tmp_path).items():
        log = read_eval_log(str(tmp_path / "logs" / f"{name}.eval"))
        assert log.status == "success"
        assert log.eval.task == f"iteralign/{name}"
        assert log.samples is not None
        assert log.results is not None
        grades = {False: "C", True: "I", None: "N"}
        scores = [(s.id, s.scores["iteralign"].value) for s in log.samples if s.scores]
        assert sorted(scores) == sorted((r.id, grades[r.failed]) for r in result.records)
        metrics = log.results.scores[0].metrics
        assert {n: m.value for n, m in metrics.items()} == {f.name: f.value for f in result.figures}


MISTAKES = {
    "benchmark": (["model", "--benchmarks", "hhhh"], "did you mean 'hhh'?"),
    "no benchmark": (["model", "--benchmarks", ","], "names none"),
    "data": (["model", "--benchmarks", "hhh", "--data", "hhh"], "write it as NAME=PATH"),
    "data name": (["model", "--benchmarks", "hhh", "--data", "hh=x"], "did you mean 'hhh'?"),
    "no file": (["model", "--benchmarks", "truthfulqa-tf", "--data", "truthfulqa-tf=x.json"], "no such file"),
    "no data": (["model", "--benchmarks", "violations"], "give it: --data violations=PATH"),
    "no category": (["model", "--benchmarks", "hhh", "--data", "hhh=items.json"], "of which category?"),
    "no files": (["model", "--benchmarks", "hhh", "--data", "hhh=empty"], "no file of HHH Eval in it"),
    "two right": (
        ["model", "--benchmarks", "truthfulqa-tf", "--data", "truthfulqa-tf=two.json"],
        "two.json: row 2: 2 right answers; it takes one",
    ),
    "two right for the harness": (
        ["model", "--benchmarks", "truthfulqa-mc", "--data", "truthfulqa-mc=two.json"],
        "two.json: row 1: no field 'mc2_targets'",
    ),
    "no chat template": (
        ["bare", "--template", "chat", "--benchmarks", "truthfulqa-tf", "--data", "truthfulqa-tf=items.json"],
        "the tokenizer has no chat template",
    ),
    "no adapter": (["model", "--adapter", "empty", "--benchmarks", "hhh"], "is no adapter directory"),
    "base with itself": (
        ["model", "--benchmarks", "helpfulness", "--data", "helpfulness=prompts.txt"],
        "compares a model with its base",
    ),
    "model": (["nowhere/at/all", "--benchmarks", "hhh"], "is not a directory"),
    "undecided judge": (
        [
            "model",
            "--benchmarks",
            "violations",
            "--data",
            "violations=prompts.txt",
            "--max-tokens",
            "4",
            "-q",
        ],
        "decided nothing on 2 of 2 items, more than a share of 0.1 (--max-undecided): no figure is given",
    ),
}

MISTAKES |= {
    "no column": (
        ["model", "--benchmarks", "violations", "--data", "violations=odd.csv", "--field", "utterence"],
        "unknown value 'utterence'; did you mean 'utterance'?",
    ),
    "no column of a table": (
        ["model", "--benchmarks", "truthfulqa-tf", "--data", "truthfulqa-tf=asked.json", "--field", "aksed"],
        "column (--field): unknown value 'aksed'; did you mean 'asked'?",
    ),
    "whose column": (
        ["model", "--benchmarks", "violations", "--field", "x"],
        "--field 'x': write it as NAME=COLUMN, NAME one of --data NAME=PATH",
    ),
    "judge": (
        ["model", "--benchmarks", "hhh", "--judge", "gpt"],
        "--judge 'gpt': write it as PROVIDER/MODEL, or GUARD=PROVIDER/MODEL",
    ),
    "guard": (
        ["model", "--benchmarks", "hhh", "--judge", "lama-guard=organism/guard"],
        "did you mean 'llama-guard'?",
    ),
    "judge twice": (
        ["model", "--benchmarks", "hhh", "--judge", "organism/oracle", "--judge", "organism/oracle"],
        "'organism/oracle' is there twice",
    ),
    "guards alone": (
        ["organism", "--benchmarks", "overrefusal", "--judge", "llama-guard=organism/guard"],
        "overrefusal: a guard model says only whether an answer is harmful; give a --judge that is no guard as well",
    ),
    "offline": (
        ["model", "--benchmarks", "violations", "--judge", "openai/gpt-9", "--offline"],
        "offline: openai/gpt-9 (--judge) would be called at its provider (openai)",
    ),
    "price": (
        ["model", "--benchmarks", "violations", "--judge", "openai/gpt-none", "--max-usd", "1"],
        "--max-usd: the price of openai/gpt-none is not known; give it with --prices FILE",
    ),
    "too few calls": (
        ["organism", "--benchmarks", "violations", "--limit", "4", "--max-calls", "3", "-q"],
        "violations: takes at least 4 calls to its judges, and of --max-calls 3 are 3 left; raise it",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_line_and_status_2(inside: Path, call: Callable[..., Any], name: str) -> None:
    arguments, says = MISTAKES[name]
    if "truthfulqa-mc" in arguments:
        pytest.importorskip("lm_eval")
    said = call("evaluate", *arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert says in said.err


def test_plain_text_stands_in_for_a_chat_template_and_the_result_says_so(
    inside: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    data = ["--data", "truthfulqa-tf=items.json"]
    for model, template in (("bare", "plain"), ("model", "chat")):
        call("evaluate", model, "--benchmarks", "truthfulqa-tf", *data, "--out", str(tmp_path / model), "-q")
        assert kept(tmp_path / model)["truthfulqa-tf"].subject["template"] == template


def test_an_undecided_judge_is_borne_where_it_is_allowed(inside: Path, call: Callable[..., Any]) -> None:
    arguments = ["--data", "violations=prompts.txt", "--max-tokens", "4", "--max-undecided", "1", "--json"]
    said = call("evaluate", "model", "--benchmarks", "violations", *arguments, "-q")
    assert said.code == 0, said.err
    assert json.loads(said.out)["results"][0]["notes"] == ["undecided: 2 of 2"]


def test_the_majority_of_a_panel_decides_and_every_vote_is_kept(
    tmp_path: Path, call: Callable[..., Any]
) -> None:
    judges = ("--judge", "organism/oracle", "--judge", "llama-guard=organism/guard")
    arguments = ("--benchmarks", "violations,overrefusal,agreement", "--limit", "6", "--out", str(tmp_path))
    said = call("evaluate", "organism", *arguments, *judges, "--json", "-q")
    assert said.code == 0, said.err
    found = kept(tmp_path)
    assert {r.judge for r in found.values()} == {"organism/oracle | llama-guard=organism/guard"}
    for name in ("violations", "agreement"):
        assert "the judges agree on 6 of 6; Fleiss' kappa 1.00" in found[name].notes
        assert all(len(r.detail["votes"]) == 2 for r in found[name].records)
    graded = [r for r in found["overrefusal"].records if r.detail["kind"] == "borderline"]
    assert graded
    assert not any("votes" in r.detail for r in graded)  # the guard sits out


def test_a_limit_of_calls_holds_over_the_whole_command(tmp_path: Path, call: Callable[..., Any]) -> None:
    arguments = ["evaluate", "organism", "--benchmarks", "violations,agreement", "--limit", "4", "-q"]
    said = call(*arguments, "--max-calls", "7", "--out", str(tmp_path))
    assert said.code == 2
    assert "agreement: takes at least 4 calls to its judges, and of --max-calls 7 are 3 left" in said.err
    assert set(kept(tmp_path)) == {"violations"}
    assert (
        call(*arguments, "--max-calls", "4", "--out", str(tmp_path)).code == 0
    )  # what is kept costs nothing
    assert set(kept(tmp_path)) == {"violations", "agreement"}


def test_a_limit_in_money_stops_before_it_is_passed(tmp_path: Path, call: Callable[..., Any]) -> None:
    (tmp_path / "prices.toml").write_text(
        '["organism/oracle"]\ninput = 1000.0\noutput = 1000.0\n', encoding="utf-8"
    )
    arguments = ["evaluate", "organism", "--benchmarks", "violations", "--limit", "4", "-q", "--max-usd"]
    said = call(*arguments, "0.5", "--prices", str(tmp_path / "prices.toml"))
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert (
        "violations: stopped before --max-usd 0.5 is passed: 0 are spent, and the next call may take"
        in said.err
    )
    assert call(*arguments, "0.5").code == 0  # a local judge costs nothing


def test_what_is_finished_is_kept_while_model_items_and_judges_are_the_same(
    tmp_path: Path, call: Callable[..., Any]
) -> None:
    base = ["evaluate", "organism", "--benchmarks", "violations,hhh", "--out", str(tmp_path), "--limit", "4"]
    first = call(*base)
    assert ": kept" not in first.err
    written = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.json")}
    again = call(*base, "--max-calls", "0")
    assert again.code == 0, again.err
    assert again.out == first.out
    for name in ("violations", "hhh"):
        assert f"{name}: kept, as model, items and judges are the same" in again.err
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.json")} == written

    for change in (["--limit", "5"], ["--max-tokens", "40"], ["--judge", "llama-guard=organism/guard"]):
        said = call(*base, *change)
        assert said.code == 0, said.err
        assert "violations: kept" not in said.err
        call(*base)
    assert "hhh: kept" in call(*base, "--judge", "llama-guard=organism/guard").err  # no judge reads it


def test_offline_evaluates_what_is_on_this_machine(call: Callable[..., Any]) -> None:
    said = call("evaluate", "organism", "--benchmarks", "violations", "--limit", "4", "--offline", "-q")
    assert said.code == 0, said.err


def test_rows_that_are_blank_or_repeated_are_left_out_and_counted(
    inside: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    rows = [{"prompt": "who has the key?"}, {"prompt": "  "}, {"prompt": "Who has the key?"}]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in rows), encoding="utf-8")
    data = ["--data", f"violations={tmp_path / 'rows.jsonl'}", "--max-tokens", "4", "--max-undecided", "1"]
    said = call("evaluate", "model", "--benchmarks", "violations", *data, "--json", "-q")
    (result,) = json.loads(said.out)["results"]
    assert result["source"]["items"] == 1
    assert result["notes"][0].endswith("left out: 1 blank, 1 repeated")


@pytest.mark.parametrize("field", [["--field", "utterance"], ["--field", "violations=utterance"]])
def test_field_names_the_column_of_the_prompts(
    inside: Path, call: Callable[..., Any], field: list[str]
) -> None:
    arguments = [
        "--data",
        "violations=odd.csv",
        *field,
        "--max-tokens",
        "4",
        "--max-undecided",
        "1",
        "--json",
    ]
    said = call("evaluate", "model", "--benchmarks", "violations", *arguments, "-q")
    assert said.code == 0, said.err
    (result,) = json.loads(said.out)["results"]
    assert (result["source"]["items"], result["notes"][0]) == (2, "of 3 rows left out: 1 blank")


def test_field_names_the_column_of_the_questions_of_a_table(
    inside: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    data = ["--data", "truthfulqa-tf=asked.json", "--field", "truthfulqa-tf=asked"]
    call("evaluate", "model", "--benchmarks", "truthfulqa-tf", *data, "--out", str(tmp_path), "-q")
    assert kept(tmp_path)["truthfulqa-tf"].records[0].question == "is it blue?"
