"""The purse: no budget is passed, whatever calls take and however often an attempt fails."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign.models.scripted import ScriptedModel
from iteralign.run import spending
from iteralign.run.config import Config, validated
from iteralign.run.journal import Event
from iteralign.run.purse import BudgetSpent, Guarded, Purse, worst
from iteralign.types import Conversation, Message, Reply, Sampling, Usage

SAMPLING = Sampling(max_tokens=50)
PAID = {"x/y": {"input": 1.0, "output": 10.0}}


def asked(n: int) -> list[Conversation]:
    return [(Message("user", f"Question {i}?"),) for i in range(n)]


def config(**budget: float) -> Config:
    return validated({"oracle": {"model": "x/y"}, "budget": budget, "prices": PAID})


def model(input_tokens: int = 20, output_tokens: int = 10, batch_size: int = 1) -> ScriptedModel:
    reply = Reply("!", usage=Usage(input_tokens, output_tokens))
    return ScriptedModel("x/y", lambda *_: reply, batch_size=batch_size)


def spend(config: Config, root: Path, n: int, model: ScriptedModel) -> Purse:
    purse = Purse(config, root)
    with pytest.raises(BudgetSpent):
        Guarded(model, "judge", purse).generate(asked(n), SAMPLING)
    return purse


def test_without_a_budget_all_is_asked_at_once_and_counted(tmp_path: Path) -> None:
    purse, heard = Purse(config(), tmp_path), []
    replies = Guarded(model(batch_size=4), "judge", purse).generate(asked(10), SAMPLING, heard.extend)
    assert (len(replies), [i for i, _ in heard]) == (10, list(range(10)))
    assert (purse.cost.oracle_calls, purse.cost.oracle_tokens) == (10, 300)


def test_calls_are_exact(tmp_path: Path) -> None:
    scripted = model()
    purse = spend(config(oracle_calls=7), tmp_path, 10, scripted)
    assert (len(scripted.asked), purse.cost.oracle_calls) == (7, 7)


@given(
    most=st.integers(0, 5000), input_tokens=st.integers(1, 60), output_tokens=st.integers(0, 50),
    batch_size=st.integers(1, 9),
)  # fmt: skip
def test_tokens_are_never_passed_and_less_than_one_call_is_left(
    tmp_path_factory: Any, most: int, input_tokens: int, output_tokens: int, batch_size: int
) -> None:
    limit = worst(asked(1000)[-1], SAMPLING)
    input_tokens = min(input_tokens, worst(asked(1)[0], SAMPLING).input_tokens)
    purse = spend(
        config(oracle_tokens=most),
        tmp_path_factory.getbasetemp(),
        5100,
        model(input_tokens, output_tokens, batch_size),
    )
    left = most - purse.cost.oracle_tokens
    assert 0 <= left <= limit.input_tokens + limit.output_tokens


def test_money_is_never_passed(tmp_path: Path) -> None:
    purse = spend(config(usd=0.01), tmp_path, 200, model())
    cost = spending.usd(config(), purse.cost.by_role)
    assert cost is not None
    assert 0.01 - 600e-6 < cost <= 0.01


def test_the_line_says_what_is_spent_and_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(BudgetSpent) as caught:
        Guarded(model(), "judge", Purse(config(oracle_calls=2), tmp_path)).generate(asked(3), SAMPLING)
    assert str(caught.value) == (
        "budget.oracle_calls: 2 of 2 are spent, and what comes next may take 1; "
        "raise it with --set budget.oracle_calls=… and run the same command to go on"
    )


def test_failed_attempts_count_and_stay_counted(tmp_path: Path) -> None:
    purse = Purse(config(oracle_calls=4), tmp_path)
    Guarded(model(), "judge", purse).generate(asked(2), SAMPLING)
    purse.attempt_failed("judge")
    assert (purse.cost.oracle_calls, purse.cost.oracle_tokens) == (3, 80)
    with pytest.raises(BudgetSpent):
        purse.attempt_failed("judge")
    assert spending.failed(tmp_path)["judge"].calls == 2
    assert Purse(config(), tmp_path).cost.oracle_calls == 2  # the finished calls were not recorded here


def ticking(seconds: float) -> Callable[[], float]:
    return itertools.count(0.0, seconds).__next__


def test_hours_stop_before_the_step_that_would_pass_them(tmp_path: Path) -> None:
    times = [0.0]
    purse = Purse(config(hours=1), tmp_path, lambda: times[-1])
    purse.event(Event("started", 1, "checkpoint"))
    for now in (900.0, 1800.0):
        times.append(now)
        purse.event(Event("advanced", 1, "checkpoint"))
    times.append(2700.0)
    with pytest.raises(BudgetSpent, match=r"budget.hours: 0.75 of 1 are spent.*0.25"):
        purse.event(Event("advanced", 1, "checkpoint"))


def test_a_finished_step_is_never_lost_to_the_clock(tmp_path: Path) -> None:
    purse = Purse(config(hours=0), tmp_path, ticking(1))
    purse.event(Event("finished", 1, "checkpoint"))
    purse.event(Event("replayed", 1, "metrics"))
    with pytest.raises(BudgetSpent):
        purse.event(Event("started", 2, "responses"))


@given(text=st.text(max_size=60))
def test_no_text_has_more_tokens_than_its_worst(text: str) -> None:
    from iteralign.organism.tokens import count

    assert count(text) <= worst((Message("user", text),), SAMPLING).input_tokens
