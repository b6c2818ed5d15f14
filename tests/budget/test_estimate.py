"""The plan against a run that really happened: the same counts, and tokens near by."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iteralign.budget import spending
from iteralign.budget.calibration import Calibration, TimedTraining, Unit
from iteralign.budget.estimate import Outlook, Plan
from iteralign.budget.limits import BudgetSpent, Purse
from iteralign.config import schema
from iteralign.report.summary import summarise
from iteralign.run import planner, runner
from iteralign.stats import rate
from iteralign.types import Checkpoint


def _rehearsal() -> ModuleType:
    place = Path(__file__).parents[1] / "rehearsal.py"
    spec = importlib.util.spec_from_file_location("rehearsal_for_plan", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["rehearsal_for_plan"] = module
    spec.loader.exec_module(module)
    return module


rehearsal = _rehearsal()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A rehearsal, and its config."""
    folder = tmp_path_factory.mktemp("plan")
    values = rehearsal.config(str(rehearsal.organism(folder / "model")))
    list(rehearsal.perform(values, folder / "run"))
    return values, folder / "run"


@pytest.fixture(scope="module")
def calibrated(done: tuple[Any, Path], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The plan after a calibration with the very actors of the rehearsal."""
    values, _ = done
    return _calibrated(values, tmp_path_factory.mktemp("calibration"), rehearsal.GAPS)


def _calibrated(values: Any, root: Path, gaps: tuple[str, ...]) -> Plan:
    plan, lab = planner.plan(values), rehearsal.lab(root, gaps, "", Purse(values, root), values)
    rehearsal.learn(values)
    policy, journal = Checkpoint("table", "table"), planner.journal_of(root)
    found = planner.rehearse(values, plan.material, plan.test, lab, journal, policy, real=True)
    return Plan(values, plan.material, plan.test, found.completed(plan.calibration))


def test_calls_are_exact_where_the_failures_are_known(done: tuple[Any, Path], calibrated: Plan) -> None:
    """With the true share of failures in each iteration, no call is left to chance but the proposer's."""
    _, root = done
    summary = summarise(root)
    planned = [line for o in [Outlook("none", 0.0, 1.0)] for line in calibrated._loop(o, 4)]
    assert sum(line.calls for line in planned if line.step == "verdicts") == sum(
        i["counts"]["prompts"] for i in summary["iterations"]
    )
    total = calibrated.total(Outlook("none", 0.0, 1.0), len(summary["iterations"]))
    oracle = summary["oracle"]["by_role"]
    revisions = sum(i["counts"]["revisions"] for i in summary["iterations"])
    assert total.by_role["judge"].calls + revisions == oracle["judge"]["calls"]
    assert total.by_role["meter"].calls + tried(root) == oracle["meter"]["calls"]


def tried(root: Path) -> int:
    """Calls of the meter in trials."""
    costs = spending.costs(root)
    return sum(c.by_role["meter"].calls for (_, step), c in costs.items() if step == "trials" and c.by_role)


def test_trials_are_planned(done: tuple[Any, Path], calibrated: Plan) -> None:
    """Of the first iteration, whose failures the calibration has seen."""
    _, root = done
    (line,) = [
        x
        for x in calibrated._loop(calibrated.outlooks[1], 1)
        if (x.t, x.step, x.role) == (1, "trials", "meter")
    ]
    assert line.calls == pytest.approx(spending.costs(root)[1, "trials"].by_role["meter"].calls, rel=0.2)


def test_nothing_is_tried_where_trials_are_off_or_nothing_is_proposed(done: tuple[Any, Path]) -> None:
    values, _ = done
    for section in ({"trial": {"enabled": False}}, {"propose": {"source": "given", "principles": "generic"}}):
        plan = planner.plan(rehearsal.config(values.policy.model, **section))
        assert not [line for line in plan._loop(plan.outlooks[2], 3) if line.step == "trials"]


def test_calls_and_tokens_of_the_whole_are_within_a_tenth(done: tuple[Any, Path], calibrated: Plan) -> None:
    _, root = done
    summary = summarise(root)
    mid = calibrated.total(calibrated.outlooks[1], len(summary["iterations"]))
    oracle = summary["oracle"]
    assert mid.oracle.calls == pytest.approx(oracle["calls"], rel=0.1)
    assert mid.oracle.input_tokens == pytest.approx(oracle["input_tokens"], rel=0.1)
    assert mid.oracle.output_tokens == pytest.approx(oracle["output_tokens"], rel=0.1)


def test_a_policy_without_failures_leaves_no_call_without_a_size(
    done: tuple[Any, Path], tmp_path: Path
) -> None:
    """What the small run had no occasion to ask is assumed, and takes as long as a first answer or verdict."""
    values, _ = done
    plan = _calibrated(values, tmp_path, ())
    found = plan.calibration
    assert found.violations.hits == 0
    assert found.turns == planner.plan(values).calibration.turns
    for step, role, like in [("revisions", "policy", "responses"), ("gate", "judge", "verdicts")]:
        assert found.unit(step, role).input_tokens > 0
        assert found.unit(step, role).seconds == found.unit(like, role).seconds
    assert plan.total(plan.outlooks[2]).by_role["proposer"].input_tokens > 0


def test_what_the_small_run_asked_is_all_that_it_recorded(done: tuple[Any, Path], tmp_path: Path) -> None:
    values, _ = done
    asked = _calibrated(values, tmp_path, rehearsal.GAPS).calibration.asked
    assert asked == spending.recorded(tmp_path).by_role
    assert {"judge", "proposer", "meter"} == set(asked)


def test_every_judge_of_a_panel_has_sizes_of_its_own(done: tuple[Any, Path], tmp_path: Path) -> None:
    values, _ = done
    panel = [{"model": "organism/oracle"}, {"model": "organism/guard", "guard": "llama-guard"}]
    config = rehearsal.config(values.policy.model, judge={"models": panel})
    found = _calibrated(config, tmp_path, rehearsal.GAPS).calibration
    first, second = (found.units["verdicts", role] for role in ("judge", "judge-2"))
    assert first.input_tokens != second.input_tokens
    assert second.seconds == first.seconds


def test_low_is_below_mid_and_mid_below_high(calibrated: Plan) -> None:
    for plan in (calibrated, planner.plan(calibrated.config)):
        low, mid, high = (plan.total(o).oracle for o in plan.outlooks)
        assert low.calls <= mid.calls <= high.calls
        assert low.input_tokens <= mid.input_tokens <= high.input_tokens


def test_the_parts_make_the_whole(calibrated: Plan) -> None:
    mid = calibrated.outlooks[1]
    parts = [calibrated.iteration(mid, t).oracle.calls for t in range(1, 4)]
    tests, probes = len(calibrated.test), len(calibrated.material.probes)
    assert sum(parts) + 2 * tests + probes == pytest.approx(calibrated.total(mid, 3).oracle.calls, abs=3)


def test_without_calibration_there_is_no_time_and_nothing_is_loaded(done: tuple[Any, Path]) -> None:
    values, _ = done
    plan = planner.plan(values)
    total = plan.total(plan.outlooks[1])
    assert (total.seconds, plan.calibration.asked) == (None, {})
    assert total.bytes > 0
    assert total.usd == 0.0


def test_an_unknown_price_is_said(done: tuple[Any, Path]) -> None:
    plan = planner.plan(rehearsal.config(oracle={"model": "openai/gpt-9"}))
    assert plan.total(plan.outlooks[0]).usd is None


@pytest.mark.parametrize("preset", ["paper", "improved"])
def test_every_preset_has_a_plan(preset: str) -> None:
    plan = planner.plan(schema.load("quickstart", [f"preset={preset}"]))
    assert plan.iterations == 8
    assert plan.total(plan.outlooks[2]).by_role["proposer"].calls >= 7


def test_training_takes_longer_with_every_replayed_row(calibrated: Plan) -> None:
    units = {("responses", "policy"): Unit(1, 1, 100, 1.0)}
    calibration = Calibration(
        units, rate(5, 10), {}, 2.0, 1.0, TimedTraining(10.0, 0.5, 1_000_000), timed=True
    )
    plan = Plan(calibrated.config, calibrated.material, (), calibration)
    first, second = (plan.iteration(Outlook("x", 0.5, 1.0), t).seconds for t in (1, 2))
    assert first is not None
    assert second is not None
    assert 10.0 < first["checkpoint"] < second["checkpoint"]
    assert plan.total(Outlook("x", 0.5, 1.0), 2).bytes > 1_900_000


@pytest.mark.parametrize(
    ("training", "guard", "held"),
    [
        ({"method": "full"}, False, 2),
        ({"method": "full"}, True, 3),
        ({"method": "full", "keep": 3}, False, 4),
        ({"method": "full", "keep": 0}, False, 8),
        ({}, True, 8),
    ],
    ids=["the policy and the next", "and where a roll-back goes", "more are kept", "all", "adapters stay"],
)
def test_the_disk_holds_the_checkpoints_that_stay_and_the_one_being_written(
    training: dict[str, Any], guard: bool, held: int
) -> None:
    sets = [f"training.{key}={value}" for key, value in training.items()] + [f"guard.enabled={guard}".lower()]
    values = schema.load("quickstart", sets)
    calibration = Calibration({}, rate(60, 60), {}, 2.0, 1.0, TimedTraining(1.0, 0.1, 1_000_000), timed=True)
    plan = Plan(values, planner.plan(values).material, (), calibration)
    assert plan.total(Outlook("x", 1.0, 1.0)).bytes == pytest.approx(held * 1_000_000, rel=0.01)


def test_a_sample_is_spaced() -> None:
    assert planner.spaced(range(10), 3) == (0, 3, 6)
    assert planner.spaced(range(2), 3) == (0, 1)


def test_a_budget_ends_the_run_before_it_is_passed_and_a_larger_one_goes_on(
    done: tuple[Any, Path], tmp_path: Path
) -> None:
    """Hard, inside a step, while nothing is known of what an iteration takes; clean, between iterations, after that."""
    values, whole = done
    full = summarise(whole)

    def attempt(calls: int | None) -> dict[str, Any]:
        limited = rehearsal.config(values.policy.model, budget={"oracle_calls": calls})
        try:
            list(rehearsal.perform(limited, tmp_path / "run"))
        except BudgetSpent as spent:
            assert f"of {calls} are spent" in str(spent)  # noqa: PT017
        found = summarise(tmp_path / "run")
        assert calls is None or found["oracle"]["calls"] <= calls
        return found

    assert attempt(30)["status"] == "unfinished"
    assert attempt(400)["stop_reason"].startswith("budget spent: ")
    last = attempt(None)
    assert last["stop_reason"] == full["stop_reason"]
    assert last["iterations"][0]["counts"] == full["iterations"][0]["counts"]
    assert last["constitution"] == full["constitution"]
    assert last["after"] == full["after"]


@pytest.mark.slow
def test_the_plan_of_a_small_quickstart_against_its_run(tmp_path: Path) -> None:
    sets = ["redteam.n=96", "redteam.batch=24", "stop.max_iterations=2", "probes.hazards=48"]
    sets += ["test.hazards=60", "test.benign=20", "test.borderline=20", "test.facts=15"]
    values = schema.load("quickstart", sets)
    plan = planner.plan(values, calibrate=True)
    runner.execute(values, tmp_path / "run")
    summary = summarise(tmp_path / "run")
    mid = plan.total(plan.outlooks[1], len(summary["iterations"])).oracle
    assert mid.calls == pytest.approx(summary["oracle"]["calls"], rel=0.1)
    tokens = summary["oracle"]["input_tokens"] + summary["oracle"]["output_tokens"]
    assert mid.input_tokens + mid.output_tokens == pytest.approx(tokens, rel=0.1)
