"""The benchmark made, interrupted, read and compared: what is planted is known, so every figure can be checked."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iteralign import stats
from iteralign.budget import spending
from iteralign.errors import UserError, WorldError
from iteralign.record.journal import StepReached
from iteralign.record.lock import Lock
from iteralign.report.summary import summarise
from iteralign_organism.discovery import layout, report
from iteralign_organism.discovery.family import FAMILY
from iteralign_organism.discovery.layout import ARMS, Bench
from iteralign_organism.discovery.outcome import SiblingOutcome, calls_until, outcome
from iteralign_organism.discovery.outlook import PLANTING_S, RUN_S, outlook
from iteralign_organism.discovery.performing import perform


def test_each_arm_is_the_quickstart_on_the_sibling_but_for_its_own_values() -> None:
    bench = Bench(Path("runs/bench"))
    configs = {arm: bench.config(arm, "d") for arm in ARMS}
    assert {c.policy.model for c in configs.values()} == {"runs/bench/organisms/d"}
    assert {c.test for c in configs.values()} == {configs["improved"].test}
    assert configs["paper"].preset == "paper"
    assert configs["random"].propose.source == "drawn"
    assert not configs["random"].trial.enabled
    assert configs["withheld"].revise.constitution == "none"
    assert (
        configs["improved"].model_copy(update={"revise": configs["withheld"].revise}) == configs["withheld"]
    )


def test_a_part_of_it_is_chosen_by_name() -> None:
    bench = layout.chosen(Path("x"), ["paper", "improved"], ["c", "a"])
    assert list(bench.jobs) == [("improved", "a"), ("paper", "a"), ("improved", "c"), ("paper", "c")]
    with pytest.raises(UserError, match=r"--siblings: unknown value 'k'"):
        layout.chosen(Path("x"), ["paper"], ["k"])
    with pytest.raises(UserError, match=r"--arms: names none"):
        layout.chosen(Path("x"), [" "], ["a"])


def test_naming_and_closing_are_told_apart(made: Bench) -> None:
    for arm, sibling in made.jobs:
        found = outcome(made.root(arm, sibling), arm, sibling)
        assert found is not None
        assert set(found.named) == set(found.planted) == set(FAMILY[sibling])
        assert (found.precision, found.recall) == (1.0, 1.0)
        assert found.closed.hits == (len(found.planted) if arm == "improved" else 0)
        assert found.violations[0].hits > 0
        assert (found.violations[1].hits == 0) == (arm == "improved")


def test_the_last_gap_is_named_in_the_iteration_that_completes_the_discovery(made: Bench) -> None:
    """Checked against the iterations in which the summary says that principles were adopted."""
    for sibling in made.siblings:
        root = made.root("improved", sibling)
        adopted = [i["t"] for i in summarise(root)["iterations"] if i["principles"]]
        found = outcome(root, "improved", sibling)
        assert found is not None
        assert found.discovered_at == max(adopted)


def test_calls_until_the_discovery_are_those_that_found_it(made: Bench) -> None:
    root = made.root("improved", "a")
    costs = {at: c.oracle_calls for at, c in spending.costs(root).items() if c.oracle_calls}
    first = sum(costs.get((1, step), 0) for step in ("verdicts", "proposals", "trials"))
    assert calls_until(root, 1) == first > 0
    assert calls_until(root, 2) == first + costs[1, "gate"] + sum(
        costs.get((2, step), 0) for step in ("verdicts", "proposals", "trials")
    )


def test_a_gap_that_was_never_named_leaves_no_iteration_and_no_calls(made: Bench, tmp_path: Path) -> None:
    root = tmp_path / "a"
    shutil.copytree(made.root("improved", "a"), root)
    planted = [*FAMILY["a"], "certainty"]
    (root / "truth.json").write_text(json.dumps({"planted": planted}), encoding="utf-8")
    found = outcome(root, "improved", "a")
    assert found is not None
    assert (found.recall, found.discovered_at, found.calls) == (0.75, None, None)
    arm = report.pooled("improved", [found])
    assert (arm.complete.hits, arm.complete.n, arm.iterations, arm.calls) == (0, 1, None, None)
    assert (arm.named.hits, arm.named.n) == (3, 4)


def test_arms_are_pooled_and_compared_probe_by_probe(made: Bench) -> None:
    found = report.report(made)
    improved, withheld = found.arms
    assert (improved.siblings, withheld.siblings) == (made.siblings, made.siblings)
    assert (improved.recall.value, withheld.recall.value) == (1.0, 1.0)
    assert improved.recall.low < 1  # three siblings are no certainty
    assert (improved.closed.hits, withheld.closed.hits, withheld.closed.n) == (6, 0, 6)
    assert improved.before == withheld.before
    assert withheld.after.n == sum(r.violations[1].n for r in found.runs if r.arm == "withheld")
    (against,) = found.against
    assert (against.first, against.other) == ("improved", "withheld")
    assert against.differences["recall"] == stats.Interval(0.0, 0.0, 0.0)
    assert (against.violations.closed, against.violations.regressed) == (withheld.after.hits, 0)
    # Siblings are the pieces of evidence, and there are three; a loss would be read from the smallest p.
    assert (against.violations.clusters, against.violations.p_value) == (3, pytest.approx(2 / 2**3))
    smallest, largest = against.alone
    assert smallest < 0.001 < largest
    assert withheld.worst.hits >= withheld.after.hits
    assert found.missing == ()


def test_only_siblings_that_both_arms_have_are_compared(made: Bench) -> None:
    runs = {(r.arm, r.sibling): r for r in report.report(made).runs}
    ours = [replace(runs["improved", "a"], recall=1.0), runs["improved", "c"]]
    theirs = [replace(runs["withheld", "a"], recall=0.5, calls=None), runs["withheld", "f"]]
    (against,) = report.against(ours, [theirs])
    assert against.on == {"recall": 1, "precision": 1, "iterations": 1, "calls": 0}
    assert against.differences["recall"] == stats.Interval(0.5, 0.5, 0.5)
    assert against.differences["calls"] is None
    assert report.against(ours, [[runs["withheld", "f"]]]) == ()


def test_what_is_not_finished_is_missing_not_zero(made: Bench, tmp_path: Path) -> None:
    shutil.copytree(made.out, tmp_path / "bench")
    bench = replace(made, out=tmp_path / "bench")
    (bench.root("withheld", "c") / "outcome.json").unlink()
    found = report.report(bench)
    assert found.missing == ("withheld/c",)
    assert {a.name: a.siblings for a in found.arms} == {"improved": ("a", "c", "f"), "withheld": ("a", "f")}
    assert report.report(Bench(tmp_path / "nowhere")).arms == ()


def test_a_failure_costs_the_others_nothing(
    made: Bench, tmp_path: Path, listener: Any, run: Callable[..., None]
) -> None:
    shutil.copytree(made.out / "organisms", tmp_path / "organisms")
    bench = replace(made, out=tmp_path)
    (bench.organism("c") / "organism.json").write_text('{"gaps": ["hate"]}', encoding="utf-8")

    def failing(config: Any, root: Path, on_event: Any) -> None:
        if root == bench.root("improved", "a"):
            raise WorldError("the disk is full")
        run(config, root, on_event)

    failures = perform(bench, listener, run=failing)
    assert [f.what for f in failures] == ["improved a", "planting c"]
    assert failures[0].why == "the disk is full"
    assert "is planted with other gaps (hate), not with fraud" in failures[1].why
    assert [(r.arm, r.sibling) for r in report.report(bench).runs] == [
        *(("withheld", "a"), ("improved", "f"), ("withheld", "f"))
    ]


def test_what_another_process_works_on_is_left_to_it(made: Bench, tmp_path: Path, listener: Any) -> None:
    shutil.copytree(made.out / "organisms", tmp_path / "organisms")
    bench = replace(made, out=tmp_path, siblings=("a",), arms=("improved",))
    bench.root("improved", "a").mkdir(parents=True)
    lock = Lock(bench.root("improved", "a"))
    assert perform(bench, listener) == ()  # the real runner: it gets no further than the lock
    lock.release()
    assert listener.heard == ["improved a", "left: improved a"]


def test_a_run_that_was_interrupted_is_taken_up(
    made: Bench, tmp_path: Path, listener: Any, run: Callable[..., None]
) -> None:
    shutil.copytree(made.out / "organisms", tmp_path / "organisms")
    bench = replace(made, out=tmp_path, siblings=("a",), arms=("improved",))

    def stopping(config: Any, root: Path, on_event: Any) -> None:
        def told(event: Any) -> None:
            if (event.t, event.step) == (2, "gate"):
                raise StepReached(2, "gate", None)

        run(config, root, told)

    with pytest.raises(StepReached):
        perform(bench, listener, run=stopping)
    assert outlook(bench).runs == {("improved", "a"): "begun"}
    assert perform(bench, listener, run=run) == ()
    (found,) = report.report(bench).runs
    whole = outcome(made.root("improved", "a"), "improved", "a")
    assert whole is not None
    assert _but_time(found) == _but_time(whole)


def _but_time(found: SiblingOutcome) -> SiblingOutcome:
    return replace(found, seconds=0.0, provenance={})


def test_what_is_left_is_timed_by_what_is_on_record(made: Bench, tmp_path: Path) -> None:
    more = replace(made, arms=("improved", "paper"), siblings=("a", "b"))
    found = outlook(more)
    assert found.organisms == {"a": "planted", "b": "absent"}
    assert found.runs["improved", "a"] == "done"
    assert {state for job, state in found.runs.items() if job != ("improved", "a")} == {"to do"}
    assert (found.timed_plantings, found.planting_s, found.timed_runs) == (1, 600.0, 1)
    done = outcome(made.root("improved", "a"), "improved", "a")
    assert done is not None
    assert found.running_s == pytest.approx({"improved": done.seconds, "paper": 2 * done.seconds})
    nothing = outlook(Bench(tmp_path, ("paper",), ("a", "b")))
    assert (nothing.planting_s, nothing.running_s) == (2 * PLANTING_S, {"paper": 2 * RUN_S})
    assert (nothing.timed_plantings, nothing.timed_runs) == (0, 0)
