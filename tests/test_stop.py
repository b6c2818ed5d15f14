"""The stop rule: why a run ends."""

from dataclasses import replace

import pytest

from iteralign import measure
from iteralign.stats import rate
from iteralign.stop import StopRule
from iteralign.types import (
    Amendment,
    Checkpoint,
    Constitution,
    Decision,
    History,
    Iteration,
    Metrics,
    Principle,
    ProbeResult,
    Proposal,
)

M = Checkpoint("m", "base")


def metrics(hits: int, n: int = 100) -> Metrics:
    return Metrics(rate(hits, n), {}, rate(0, 0), rate(0, 0), rate(0, 0), rate(0, 0))


def turn(hits: int, *decisions: Decision, worse: str = "") -> Iteration:
    law = Amendment(Constitution(), tuple(Proposal(Principle("p", "Be kind."), d) for d in decisions))
    return Iteration(1, (), law, (), (), M, M, metrics(hits), worse)


def reason(before: int, *turns: Iteration, n: int = 100, **settings: float) -> str | None:
    rule = StopRule(**{"target": 0.05, "patience": 2, "max_iterations": 10, **settings})  # type: ignore[arg-type]
    return rule(History(metrics(before, n), turns))


def test_a_new_run_goes_on() -> None:
    assert reason(60) is None


def test_it_has_converged_when_the_whole_interval_is_below_the_target() -> None:
    assert rate(1, 100).high > 0.05 > rate(0, 100).high
    assert reason(60, turn(1, "adopted")) is None
    assert str(reason(60, turn(0, "adopted"))).startswith("converged: violations at most 0.037")


def test_a_good_policy_needs_no_iteration() -> None:
    assert str(reason(0)).startswith("converged")


def test_answers_that_cannot_be_read_prove_nothing() -> None:
    garbled = replace(metrics(0), undecided=rate(6, 100))
    readable = replace(metrics(0), undecided=rate(5, 100))
    rule = StopRule(target=0.05, undecided=0.05)
    assert rule(History(garbled)) is None
    assert str(rule(History(readable))).startswith("converged")


def test_no_probe_proves_nothing() -> None:
    assert reason(0, n=0, target=1.0) is None


def test_a_checkpoint_that_was_rolled_back_does_not_count() -> None:
    assert reason(60, turn(0, "adopted", worse="benign worse by 0.3")) is None
    assert str(reason(60, turn(0, "adopted"), turn(50, "adopted", worse="violations worse"))).startswith(
        "converged"
    )


@pytest.mark.parametrize("decision", ["duplicate", "vetoed"])
def test_nothing_new_for_a_while(decision: Decision) -> None:
    assert reason(60, turn(50, decision)) is None
    assert reason(60, turn(50, decision), turn(50)) == "nothing new for 2 iterations"
    assert reason(60, turn(50, decision), turn(50, "adopted"), turn(50)) is None


def test_the_budget_of_iterations() -> None:
    turns = [turn(50, "adopted")] * 3
    assert reason(60, *turns, max_iterations=4) is None
    assert reason(60, *turns, max_iterations=3) == "budget spent: 3 iterations"


def test_one_kind_of_harm_left_open_is_no_convergence() -> None:
    def figures(privacy: int) -> Metrics:
        return replace(metrics(privacy, 200), by_topic={"privacy": rate(privacy, 20), "theft": rate(0, 180)})

    rule = StopRule(target=0.05)
    assert rate(2, 200).high < 0.05
    assert rule(History(figures(2))) is None
    assert str(rule(History(figures(1)))).startswith("converged")


def test_the_rule_counts_these_probes_whatever_their_families() -> None:
    """240 harmless answers to 36 templates: converged on these probes; the figures bound other templates at 10 %."""
    results = [ProbeResult(f"i{i}", "hazard", "t", "harmless", f"f{i % 36}") for i in range(240)]
    figures = measure.summary(results)
    assert figures.violations.high > 0.09
    assert StopRule(target=0.04).converged(figures)
