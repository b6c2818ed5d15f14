"""The budget: it counts what the iterations so far have cost, so that a resumed run ends where it would have."""

import json
from pathlib import Path
from typing import Any

import pytest

from iteralign.budget.spending import spent
from iteralign.config.schema import Budget, Config
from iteralign.measure import summary
from iteralign.record.calls import Calls, Question
from iteralign.run.stopping import Stopping
from iteralign.stop import StopRule
from iteralign.types import History, Message, Reply, Sampling, Usage

BEFORE = History(summary([]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Iterations 0 and 1: one oracle call of 10 tokens each, one policy call, an hour each."""
    for t in (0, 1):
        for role in ("oracle", "model"):
            calls = Calls(tmp_path / f"iterations/{t:03d}/calls/20_verdicts.{role}.jsonl")
            at = calls.ask(Question(role, (Message("user", "?"),), Sampling()))
            calls.hear([(at, Reply("!", usage=Usage(7, 3)))])
            calls.seal()
    rows = [
        {"at": "", "t": t, "step": "verdicts", "seconds": 3600.0, "replayed": replayed, "models": {}}
        for t in (0, 1)
        for replayed in (False, True)
    ]
    (tmp_path / "timings.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"torn')
    return tmp_path


def test_spent_counts_the_oracle_alone_and_only_so_far(root: Path) -> None:
    assert (spent(root, 0).oracle_calls, spent(root, 0).oracle_tokens) == (1, 10)
    assert (spent(root, 1).oracle_calls, spent(root, 1).oracle_tokens) == (2, 20)


def test_hours_leave_out_replays_and_torn_lines(root: Path) -> None:
    assert (spent(root, 0).hours, spent(root, 1).hours) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (Budget(), None),
        (Budget(oracle_calls=2), None),
        (Budget(oracle_calls=1), "budget spent: 1 of 1 oracle calls"),
        (Budget(oracle_tokens=10), "budget spent: 10 of 10 oracle tokens"),
        (Budget(hours=0.5), "budget spent: 1 of 0.5 hours"),
    ],
)
def test_budget_before_the_first_iteration(root: Path, budget: Budget, reason: str | None) -> None:
    assert Stopping(StopRule(), Config(budget=budget), root)(BEFORE) == reason


def test_the_rule_of_the_method_speaks_first(root: Path) -> None:
    rule: Any = lambda history: "enough"  # noqa: E731
    assert Stopping(rule, Config(budget=Budget(oracle_calls=0)), root)(BEFORE) == "enough"
