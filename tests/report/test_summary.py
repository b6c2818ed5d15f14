"""The summary of a run is true at every moment of it."""

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iteralign.errors import UserError
from iteralign.record import artifact, calls
from iteralign.record.codec import line
from iteralign.record.journal import StepReached
from iteralign.report.summary import oracle_spent, summarise
from iteralign.types import Iteration, Label

ROOT = Path(__file__).parents[2]


def _rehearsal() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rehearsal", ROOT / "tests" / "rehearsal.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rehearsal = _rehearsal()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(rehearsal.organism(tmp_path_factory.mktemp("models") / "organism"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, model: str) -> tuple[Path, list[Iteration]]:
    """A finished run whose second training spoils the policy and is rolled back."""
    root = tmp_path_factory.mktemp("runs") / "rehearsal"
    return root, list(rehearsal.perform(rehearsal.config(model), root, poison="medical"))


@pytest.fixture(scope="module")
def summary(done: tuple[Path, list[Iteration]]) -> dict[str, Any]:
    return summarise(done[0])


def test_a_finished_run_says_how_it_went(summary: dict[str, Any], model: str) -> None:
    assert (summary["run"], summary["status"], summary["policy"]) == ("rehearsal", "finished", model)
    assert (summary["preset"], summary["seed"], summary["oracle"]["model"]) == (
        "improved",
        0,
        "organism/oracle",
    )
    assert summary["stop_reason"] == "nothing new for 2 iterations"
    assert summary["before"]["violations"]["hits"] == 16
    assert summary["before"]["by_topic"]["theft"]["value"] == 1.0
    assert summary["after"]["by_topic"]["theft"]["value"] == 0.0
    assert summary["after"]["by_topic"]["medical"]["value"] == 1.0
    assert summary["before"]["violations"].keys() == {"value", "low", "high", "hits", "n"}


def test_it_agrees_with_the_iterations_that_the_loop_yielded(
    done: tuple[Path, list[Iteration]], summary: dict[str, Any]
) -> None:
    for turn, said in zip(done[1], summary["iterations"], strict=True):
        fates = [p.decision for p in turn.amendment.proposals]
        counts = said["counts"]
        assert counts["prompts"] == len(turn.verdicts)
        assert counts["harmful"] == sum(v.label is Label.HARMFUL for v in turn.verdicts)
        assert counts["unparsed"] == sum(v.label is Label.UNPARSED for v in turn.verdicts)
        assert counts["proposed"] == len(fates)
        assert [counts[d] for d in ("adopted", "duplicate", "vetoed")] == [
            fates.count("adopted"), fates.count("duplicate"), fates.count("vetoed")
        ]  # fmt: skip
        assert counts["revisions"] == len(turn.revisions)
        assert counts["accepted"] == len(turn.accepted)
        assert said["rolled_back"] == (turn.rolled_back or None)
        assert said["finished"] is True
        assert summary["validation"][turn.t]["violations"] == asdict(turn.metrics.violations)
    assert [i["rolled_back"] is not None for i in summary["iterations"]] == [False, True, False, False]
    assert summary["checkpoint"]["id"] == done[1][-1].policy.id == "table+fraud+privacy+theft"


def test_the_rows_are_those_that_were_trained_on(summary: dict[str, Any]) -> None:
    first, second, third, _ = (i["counts"] for i in summary["iterations"])
    benign = 8
    assert first["rows"] == first["accepted"] + benign
    # The rows of the rolled-back iteration are not replayed; nothing accepted, nothing trained.
    assert second["rows"] == second["accepted"] + benign + first["accepted"]
    assert (third["accepted"], third["rows"]) == (0, 0)
    assert summary["iterations"][2]["checkpoint"] is None


def test_a_share_of_nothing_is_null(summary: dict[str, Any]) -> None:
    assert summary["before"]["truthful"] is None
    assert summary["validation"][0]["truthful"] is not None


def test_oracle_use_adds_up(done: tuple[Path, list[Iteration]], summary: dict[str, Any]) -> None:
    root, use = done[0], summary["oracle"]
    every = calls.usage(root)["organism/oracle"]
    assert (use["calls"], use["input_tokens"], use["output_tokens"]) == (
        every.calls, every.input_tokens, every.output_tokens
    )  # fmt: skip
    assert sum(role["calls"] for role in use["by_role"].values()) == every.calls
    # 48 + 8 + 8 test probes twice, 24 + 6 + 6 + 6 validation probes five times.
    trials = [oracle_spent(root, i["t"], "trials").get("meter") for i in summary["iterations"]]
    tried = sum(t.calls for t in trials if t)
    assert tried > 0
    assert use["by_role"]["meter"]["calls"] == 2 * 64 + 5 * 42 + tried
    judged = sum(i["counts"]["prompts"] + i["counts"]["revisions"] for i in summary["iterations"])
    assert use["by_role"]["judge"]["calls"] == judged
    assert oracle_spent(root, 1, "verdicts")["judge"].calls == summary["iterations"][0]["counts"]["prompts"]
    assert oracle_spent(root, 1, "checkpoint") == {}


def test_the_constitution_carries_its_evidence(summary: dict[str, Any]) -> None:
    ids = [p["id"] for p in summary["constitution"]]
    assert ids == [i for turn in summary["iterations"] for i in turn["principles"]]
    assert all(p["evidence"] and p["born"] in (1, 2) for p in summary["constitution"])


@pytest.mark.parametrize(
    ("planted", "precision", "recall"),
    [(rehearsal.GAPS, 1.0, 1.0), (("privacy", "theft"), 0.5, 1.0), ((*rehearsal.GAPS, "hate"), 1.0, 0.8)],
)
def test_discovery_is_measured_against_the_planted_gaps(
    done: tuple[Path, list[Iteration]],
    tmp_path: Path,
    planted: tuple[str, ...],
    precision: float,
    recall: float,
) -> None:
    root = shutil.copytree(done[0], tmp_path / "run")
    (root / "truth.json").write_text(json.dumps({"planted": planted}), encoding="utf-8")
    found = summarise(root)["discovery"]
    assert found["planted"] == list(planted)
    assert found["discovered"] == sorted(rehearsal.GAPS)
    assert (found["precision"], found["recall"]) == (pytest.approx(precision), pytest.approx(recall))


def test_a_run_keeps_the_known_truth(done: tuple[Path, list[Iteration]]) -> None:
    assert json.loads((done[0] / "truth.json").read_text())["planted"] == list(rehearsal.GAPS)


def test_without_known_truth_there_is_no_discovery(tmp_path: Path) -> None:
    config = rehearsal.config(str(tmp_path / "no-organism"))
    rehearsal.learn(config)
    (tmp_path / "run" / "iterations").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text(
        json.dumps(config.model_dump(mode="json")), encoding="utf-8"
    )
    summary = summarise(tmp_path / "run")
    assert summary["discovery"] is None


def test_before_anything_is_done_every_figure_is_null(tmp_path: Path, model: str) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps(rehearsal.config(model).model_dump(mode="json")), encoding="utf-8"
    )
    summary = summarise(tmp_path)
    assert summary["status"] == "unfinished"
    for key in ("stop_reason", "before", "after", "checkpoint"):
        assert summary[key] is None, key
    assert (summary["validation"], summary["iterations"], summary["constitution"]) == ([], [], [])
    assert (summary["seconds"]["total"], summary["discovery"]) == (None, None)


def test_an_unfinished_run_is_told_truly_after_every_step(tmp_path: Path, model: str) -> None:
    """Stop after each step of two iterations in turn, resume, and compare with what is on record."""
    config = rehearsal.config(model)
    inside = ("responses", "verdicts", "constitution", "revisions", "gate", "checkpoint", "metrics")
    steps = [(0, "test"), (0, "metrics"), (0, "benign"), *((t, s) for t in (1, 2) for s in inside)]
    reached = {
        "prompts": "responses", "harmful": "verdicts", "unparsed": "verdicts", "proposed": "constitution",
        "adopted": "constitution", "duplicate": "constitution", "vetoed": "constitution",
        "revisions": "revisions", "accepted": "gate", "rows": "checkpoint",
    }  # fmt: skip
    for t, step in steps:
        with pytest.raises(StepReached):
            list(rehearsal.perform(config, tmp_path, stop_after=(t, step)))
        summary = summarise(tmp_path)
        assert (summary["status"], summary["stop_reason"], summary["after"]) == ("unfinished", None, None)
        assert len(summary["iterations"]) == t
        assert summary["before"] is not None
        assert len(summary["validation"]) == sum(
            1 for at in steps[: steps.index((t, step)) + 1] if at[1] == "metrics"
        )
        if not t:
            continue
        turn = summary["iterations"][-1]
        assert turn["finished"] is (step == "metrics")
        for count, needs in reached.items():
            assert (turn["counts"][count] is not None) is (inside.index(needs) <= inside.index(step)), (
                step,
                count,
            )
    assert list(rehearsal.perform(config, tmp_path))
    assert summarise(tmp_path)["status"] == "finished"


def test_a_run_that_is_taken_up_again_is_unfinished(tmp_path: Path, model: str) -> None:
    short = rehearsal.config(model, stop={"target": 0.0, "patience": 9, "max_iterations": 1})
    list(rehearsal.perform(short, tmp_path))
    assert summarise(tmp_path)["status"] == "finished"
    longer = rehearsal.config(model, stop={"target": 0.0, "patience": 9, "max_iterations": 2})
    with pytest.raises(StepReached):
        list(rehearsal.perform(longer, tmp_path, stop_after=(2, "verdicts")))
    again = summarise(tmp_path)
    assert (again["status"], again["stop_reason"], again["after"]) == ("unfinished", None, None)


def test_principles_that_last_for_one_batch_are_all_kept(tmp_path: Path, model: str) -> None:
    """The paper's way: each batch has its own constitution, one text of several lines."""
    paper = {"prompts": "paper"}
    values = {"grouping": "none", "examples": 0, "accumulate": False}
    config = rehearsal.config(model, method=paper, propose=values, revise={"candidates": 1, "show": "all"})
    list(rehearsal.perform(config, tmp_path))
    summary = summarise(tmp_path)
    born = [p["born"] for p in summary["constitution"]]
    assert born == [1, 2]
    assert "\n" in summary["constitution"][0]["text"]
    assert summary["discovery"]["discovered"] == sorted(rehearsal.GAPS)
    assert summary["discovery"]["precision"] == 1.0


def test_the_summary_is_plain_json(summary: dict[str, Any]) -> None:
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


PANEL = {
    "models": ["organism/oracle", {"model": "organism/guard", "guard": "llama-guard"}, "scripted/lenient"]
}


@pytest.fixture(scope="module")
def panelled(tmp_path_factory: pytest.TempPathFactory, model: str) -> Path:
    """A finished run whose judges are three, one of which finds nothing harmful."""
    root = tmp_path_factory.mktemp("runs") / "panel"
    list(rehearsal.perform(rehearsal.config(model, judge=PANEL), root))
    return root


def test_a_panel_finds_what_its_majority_finds_and_its_votes_are_kept(
    panelled: Path, done: tuple[Path, list[Iteration]]
) -> None:
    paths = (artifact.place(root, 1, "verdicts") for root in (panelled, done[0]))
    panel, alone = (json.loads(path.read_text(encoding="utf-8"))["value"] for path in paths)
    assert [v["label"] for v in panel] == [v["label"] for v in alone]
    assert all([vote["judge"] for vote in v["votes"]] == list(rehearsal.RULES) for v in panel)
    assert all(v["votes"][2]["label"] == "harmless" for v in panel)
    assert all(v["votes"][1]["label"] == v["votes"][0]["label"] for v in panel)
    assert all(v["votes"] == [] for v in alone)
    assert {v["category"] for v in panel} == {v["category"] for v in alone}  # the first judge's words
    assert {v["votes"][1]["category"] for v in panel} == {"privacy", "non-violent crimes"}


def test_the_agreement_of_a_panel_is_reported(panelled: Path) -> None:
    summary = summarise(panelled)
    panel = summary["panel"]
    counts = [i["counts"] for i in summary["iterations"]]
    assert panel["judged"] == sum(c["prompts"] + c["revisions"] for c in counts)
    first, second, third = panel["judges"]
    assert (first["harmful"], third["harmful"]) == (second["harmful"], 0)
    assert first["harmful"] >= sum(c["harmful"] for c in counts) > 0
    assert panel["unanimous"]["hits"] == panel["judged"] - first["harmful"]
    assert 0 < panel["kappa"] < 1
    assert (first["with_majority"]["value"], second["guard"]) == (1.0, "llama-guard")
    assert third["with_majority"]["value"] < 1
    use = summary["oracle"]["by_role"]
    assert use["judge"]["calls"] == use["judge-2"]["calls"] == use["judge-3"]["calls"] == panel["judged"]
    assert use["judge-2"]["model"] == "organism/guard"


def test_a_run_with_a_panel_is_replayed_without_a_call(panelled: Path, model: str, tmp_path: Path) -> None:
    panelled = Path(shutil.copytree(panelled, tmp_path / "panel"))
    before = {p: p.read_bytes() for p in panelled.glob("iterations/*/**/*.json*")}
    list(rehearsal.perform(rehearsal.config(model, judge=PANEL), panelled))
    assert {p: p.read_bytes() for p in panelled.glob("iterations/*/**/*.json*")} == before
    fewer = {"models": PANEL["models"][:2]}
    with pytest.raises(UserError, match="oracles"):
        list(rehearsal.perform(rehearsal.config(model, judge=fewer), panelled))


def test_every_key_is_documented(summary: dict[str, Any], panelled: Path) -> None:
    """docs/show.md names every key once, dotted, lists as `[]`; what depends on the run stands in <>."""
    assert summary["panel"] is None
    summary = {**summary, "panel": summarise(panelled)["panel"]}
    page = (ROOT / "docs" / "show.md").read_text(encoding="utf-8")
    assert f"schema {summary['schema']}" in page
    written = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert leaves(summary) == written


def leaves(value: Any, path: str = "") -> set[str]:
    """Dotted keys as the page writes them."""
    named = {
        "by_topic": "<topic>",
        "worst_case_by_topic": "<topic>",
        "by_stage": "<stage>",
        "seconds": "<stage>",
        "by_role": "<role>",
    }
    figures = {
        "violations",
        "worst_case",
        "benign",
        "overrefusal",
        "truthful",
        "undecided",
        "unanimous",
        "with_majority",
    }
    last = path.rpartition(".")[2]
    if last in figures or last == "<topic>":
        return {path}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return set().union(*(leaves(v, f"{path}[]") for v in value))
    if not isinstance(value, dict):
        return {path}
    own = path.endswith("[].seconds") or (last in named and last != "seconds")
    keys = {named[last]: next(iter(value.values()))} if own and value else {} if own else value
    return set().union(*(leaves(v, f"{path}.{k}".lstrip(".")) for k, v in keys.items()))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda root: (root / "config.json").unlink(), "not a run directory"),
        (lambda root: (root / "config.json").write_text("{", encoding="utf-8"), "cannot be read"),
        (lambda root: (root / "config.json").write_text("[]", encoding="utf-8"), "not a JSON object"),
        (
            lambda root: (root / "config.json").write_text('{"architectures": []}', encoding="utf-8"),
            "architectures",
        ),
        (
            lambda root: (root / "outcome.json").write_text('{"t": 1}', encoding="utf-8"),
            "outcome.json is damaged",
        ),
        (
            lambda root: artifact.place(root, 1, "verdicts").write_text("{", encoding="utf-8"),
            "verdicts.json is damaged",
        ),
    ],
)
def test_damage_is_told_in_one_line(
    done: tuple[Path, list[Iteration]], tmp_path: Path, damage: Any, says: str
) -> None:
    import shutil

    root = tmp_path / "copy"
    shutil.copytree(done[0], root)
    damage(root)
    with pytest.raises(UserError, match=says) as caught:
        summarise(root)
    assert "\n" not in str(caught.value)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run directory"):
        summarise(tmp_path / "nowhere")


def test_no_model_library_is_loaded(done: tuple[Path, list[Iteration]]) -> None:
    code = f"""
import sys
from pathlib import Path
from iteralign.report.summary import summarise
assert summarise(Path({str(done[0])!r}))["status"] == "finished"
heavy = {{"torch", "transformers", "inspect_ai", "peft", "trl", "datasets"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def declining(root: Path, step: str, n: int) -> None:
    """Turn the first `n` recorded calls of each such step into refusals."""
    for path in root.glob(f"iterations/*/calls/*_{step}.*.jsonl"):
        made = calls.read(path)
        lines = [replace(c, reply=replace(c.reply, stop="refusal")) for c in made[:n]] + made[n:]
        path.write_text("".join(map(line, lines)), encoding="utf-8")


def test_refusals_are_counted_by_role_from_the_recorded_calls(
    tmp_path: Path, done: tuple[Path, list[Iteration]], summary: dict[str, Any]
) -> None:
    assert {r: used["refusals"] for r, used in summary["oracle"]["by_role"].items()} == dict.fromkeys(
        ("judge", "proposer", "meter"), 0
    )
    root = tmp_path / "copy"
    shutil.copytree(done[0], root)
    declining(root, "verdicts", 2)
    declining(root, "test", 3)
    found = {r: used["refusals"] for r, used in summarise(root)["oracle"]["by_role"].items()}
    assert found == {"judge": 2 * 4, "proposer": 0, "meter": 3 * 2}
    unchanged = summarise(root)["oracle"]
    assert (unchanged["calls"], unchanged["usd"]) == (summary["oracle"]["calls"], summary["oracle"]["usd"])
