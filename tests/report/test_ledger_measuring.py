"""What only models can say about a principle: in context, and left out of training; by actors that are tables."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iteralign import prompts
from iteralign.budget import spending
from iteralign.errors import UserError, WorldError
from iteralign.models.scripted import ScriptedModel
from iteralign.report.ledger.context import Tried, lifts, revisions
from iteralign.report.ledger.document import ledger
from iteralign.report.ledger.measuring import InContext, LeaveOneOut, Workbench, measured, opened
from iteralign.settings import Method
from iteralign.trial import Case
from iteralign.types import (
    Conversation,
    Label,
    Principle,
    Probe,
    Prompt,
    Response,
    Sampling,
    Tally,
    Verdict,
)

PAGE = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text(encoding="utf-8")
METHOD = Method(prompts=prompts.load("improved"), measure=prompts.load("measure"))
HELPS = Principle("p-helps", "HELPS", evidence=("a", "b"))
TWIN = Principle("p-twin", "TWIN")
SPOILS = Principle("p-spoils", "SPOILS")


def policy(conversation: Conversation, _: Sampling) -> str:
    """Good with HELPS or TWIN in context, unless SPOILS stands there too; under SPOILS it refuses to make soup."""
    if len(conversation) == 3:
        return "I see."
    shown = conversation[2].content if len(conversation) == 5 else ""
    if "soup" in conversation[0].content:
        return "REFUSED" if "SPOILS" in shown else "Boil it."
    helped = ("HELPS" in shown or "TWIN" in shown) and "SPOILS" not in shown
    return "GOOD" if helped else "BAD"


def meter(conversation: Conversation, _: Sampling) -> str:
    asked = conversation[-1].content
    if "Grade the response" in asked:
        return json.dumps({"grade": "refused" if "REFUSED" in asked else "answered"})
    return json.dumps({"label": "harmless" if "GOOD" in asked else "harmful"})


def failure(id: str) -> Verdict:
    return Verdict(Response(Prompt(id, f"attack {id}"), "BAD"), Label.HARMFUL)


SOUP = Probe(Prompt("s", "Make soup."), "benign")


def lift(principle: Principle, *others: Principle) -> Any:
    tried = [Tried(1, principle, (principle, *others), (failure("a"), failure("b")), 1)]
    (found,) = lifts(ScriptedModel("m", policy), ScriptedModel("o", meter), tried, [SOUP], METHOD)
    return found


def test_a_principle_alone_lifts_what_failed() -> None:
    found = lift(HELPS)
    assert (found.number, found.n, found.held_back) == (1, 2, 1)
    assert found.well == {"none": 0, "alone": 2, "all": 2, "others": 0}
    assert (found.benign, found.borderline) == (Tally(1, 1, 1), Tally(0, 0, 0))


def test_a_twin_does_its_work_without_it() -> None:
    assert lift(HELPS, TWIN).well == {"none": 0, "alone": 2, "all": 2, "others": 2}


def test_another_gets_in_its_way() -> None:
    assert lift(HELPS, SPOILS).well == {"none": 0, "alone": 2, "all": 0, "others": 0}


def test_what_it_spoils_is_counted() -> None:
    found = lift(SPOILS)
    assert found.well["alone"] == 0
    assert found.benign == Tally(1, 1, 0)


def test_no_answer_is_revised_twice_under_the_same_principles() -> None:
    tried = [Tried(i, p, (HELPS, TWIN), (failure("a"),), 0) for i, p in enumerate((HELPS, TWIN), 1)]
    pairs = revisions(tried)
    assert len(pairs) == len(set(pairs)) == 4  # none, each alone, and both: the others of one are the other
    assert all(isinstance(case, Case) for case, _ in pairs)


@pytest.fixture(scope="module")
def finished(rehearsal: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ledger")
    model = str(rehearsal.organism(folder / "model"))
    config = rehearsal.config(model, stop={"target": 0.0, "max_iterations": 1})
    list(rehearsal.perform(config, folder / "run"))
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def measure(rehearsal: ModuleType, root: Path, *kinds: Callable[[Workbench], Any]) -> list[str]:
    """Measure, and say which steps were really done."""
    done: list[str] = []

    def event(event: Any) -> None:
        if event.kind == "finished":
            done.append(f"{event.t} {event.step}")

    with opened(root, event, rehearsal.assemble) as bench:
        for kind in kinds:
            kind(bench).measure()
    return done


def test_each_principle_of_a_run_in_context(rehearsal: ModuleType, run: Path) -> None:
    assert measure(rehearsal, run, InContext) == ["0 lifts"]
    for entry in ledger(run)["entries"]:
        found = entry["in_context"]
        assert (found is None) == (entry["decision"] != "adopted")
        if found:
            n = min(12, len(entry["failures"]) + len(entry["more_failures"]))
            assert (found["n"], found["none"]["hits"], found["alone"]["hits"]) == (n, 0, n)
            assert (found["lift"], found["conflict"]) == (1.0, 0.0)
            assert 0 < found["held_back"] <= n
            assert found["benign"]["within"]["hits"] == found["benign"]["n"]


def test_left_out_rows_open_their_gap_again(rehearsal: ModuleType, run: Path) -> None:
    done = measure(rehearsal, run, LeaveOneOut)
    adopted = [(i, e) for i, e in enumerate(ledger(run)["entries"], 1) if e["decision"] == "adopted"]
    numbers = [0, *(i for i, e in adopted if e["rows"])]
    assert done == [f"{i} {step}" for i in numbers for step in ("checkpoint", "test")]
    for _, entry in adopted:
        found, topic = entry["leave_one_out"], entry["failures"][0]["topic"]
        more = {t: both["without"]["hits"] - both["with"]["hits"] for t, both in found["by_topic"].items()}
        assert {t: n for t, n in more.items() if n} == {topic: found["paired"]["regressed"]}
        assert found["paired"]["p_value"] <= found["p_holm"] <= 1.0


def test_every_training_takes_the_same_number_of_rows(rehearsal: ModuleType, run: Path) -> None:
    with opened(run, lambda _: None, rehearsal.assemble) as bench:
        trainings = LeaveOneOut(bench)
        whole = [r.prompt.text for r in trainings.left_out[0]]
        for number, kept in trainings.left_out.items():
            texts, more = [r.prompt.text for r in kept], [e.prompt for e in trainings.filling(kept)]
            assert len(texts) + len(more) == len(whole)
            assert set(more) <= {*texts, *(e.prompt for e in trainings.replayed)}
            assert bool(more) == bool(number)


def test_measuring_again_asks_nobody(rehearsal: ModuleType, run: Path) -> None:
    measure(rehearsal, run, InContext, LeaveOneOut)
    before = measured(run)
    assert measure(rehearsal, run, InContext, LeaveOneOut) == []
    assert measured(run) == before


def test_the_budget_of_the_run_holds_and_what_was_paid_is_kept(rehearsal: ModuleType, run: Path) -> None:
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    with opened(run, lambda _: None, rehearsal.assemble) as bench:
        wanted = InContext(bench).cost.judged
    spent = spending.recorded(run).oracle_calls
    config["budget"]["oracle_calls"] = spent + wanted // 2
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(WorldError, match=r"budget\.oracle_calls"):
        measure(rehearsal, run, InContext)
    kept = sum(1 for _ in (run / "ledger" / "calls").glob("*.meter.jsonl"))
    assert kept == 1
    with pytest.raises(
        WorldError, match=r"budget\.oracle_calls"
    ):  # what is on record counts: not one call more
        measure(rehearsal, run, InContext)
    config["budget"]["oracle_calls"] = spent + wanted
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert measure(rehearsal, run, InContext) == ["0 lifts"]


def test_another_measurement_is_not_taken_for_this_one(rehearsal: ModuleType, run: Path) -> None:
    measure(rehearsal, run, InContext)
    before = measured(run)
    with pytest.raises(UserError, match="ledger holds measurements of another --n"):
        measure(rehearsal, run, lambda bench: InContext(bench, 2))
    assert measured(run) == before


def test_every_key_is_documented(rehearsal: ModuleType, run: Path) -> None:
    measure(rehearsal, run, InContext, LeaveOneOut)
    found = {**ledger(run), "masked": True}
    assert f"Schema {found['schema']}" in PAGE
    written = {line.split("`")[1] for line in PAGE.splitlines() if re.match(r"\| `[a-z_]+(`|\[)", line)}
    keys = leaves(found)
    empty = {key for key in keys if any(row.startswith(f"{key}[].") for row in written)}
    unseen = {row for row in written for key in empty if row.startswith(f"{key}[].")}
    assert keys - empty | unseen == written


def leaves(value: Any, path: str = "") -> set[str]:
    """Dotted keys as the page writes them."""
    last = path.rpartition(".")[2]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return set().union(*(leaves(v, f"{path}[]") for v in value))
    if not isinstance(value, dict) or "hits" in value or last == "paired":
        return {path}
    named = {"rows": "<t>", "by_topic": "<topic>"}
    pairs = [(named.get(last, key), v) for key, v in value.items()]
    return set().union(*(leaves(v, f"{path}.{key}".lstrip(".")) for key, v in pairs)) if pairs else set()


def test_only_a_finished_run_is_measured(rehearsal: ModuleType, run: Path) -> None:
    (run / "outcome.json").unlink()
    with pytest.raises(UserError, match="the run is not finished"):
        measure(rehearsal, run, InContext)
    assert not (run / "ledger").exists()


def test_another_untrained_policy_is_refused(rehearsal: ModuleType, run: Path) -> None:
    path = run / "iterations" / "000" / "60_metrics.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["inputs"]["model"] = "somebody"
    document.pop("sha256")  # the digest of what was there
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UserError, match=r"not the one that the run began with \(somebody, now table\)"):
        measure(rehearsal, run, InContext)


def test_where_no_principle_did_anything_nothing_is_trained(rehearsal: ModuleType, tmp_path: Path) -> None:
    list(rehearsal.perform(rehearsal.config(), tmp_path / "run", gaps=()))
    for kind in (InContext, LeaveOneOut):
        with pytest.raises(UserError, match="no principle"):
            measure(rehearsal, tmp_path / "run", kind)
