"""The purse: no budget is passed, whatever calls take, however many are in flight, however often attempts fail."""

import itertools
import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign.budget import spending
from iteralign.budget.limits import BudgetSpent, Purse
from iteralign.config.schema import Config, validated
from iteralign.errors import UserError, WorldError
from iteralign.models import wire
from iteralign.models.remote import RemoteModel, RemoteSettings
from iteralign.models.scripted import ScriptedModel
from iteralign.protocols import Failure, Model
from iteralign.record.journal import Event, RunJournal
from iteralign.types import Conversation, Message, Reply, Sampling, Usage

SAMPLING = Sampling(max_tokens=50)
PAID = {"x/y": {"input": 1.0, "output": 10.0}, "openai-api/local/some-model": {"input": 1.0, "output": 10.0}}
LOCAL = "openai-api/local/some-model"


def asked(n: int) -> list[Conversation]:
    return [(Message("user", f"Question {i}?"),) for i in range(n)]


def config(model: str = "x/y", **budget: float | None) -> Config:
    return validated({"oracle": {"model": model}, "budget": budget, "prices": PAID})


def model(
    purse: Purse, input_tokens: int = 20, output_tokens: int = 10, batch_size: int = 1
) -> ScriptedModel:
    reply = Reply("!", usage=Usage(input_tokens, output_tokens))
    return ScriptedModel("x/y", lambda *_: reply, batch_size=batch_size, account=purse.account("judge"))


def spend(config: Config, root: Path, n: int, *usage: int) -> tuple[Purse, ScriptedModel]:
    scripted = model(purse := Purse(config, root), *usage)
    with pytest.raises(BudgetSpent):
        scripted.generate(asked(n), SAMPLING)
    return purse, scripted


def worst(conversation: Conversation) -> Usage:
    return wire.most(conversation, SAMPLING.max_tokens)


def test_without_a_budget_all_is_asked_at_once_and_counted(tmp_path: Path) -> None:
    purse, heard = Purse(config(), tmp_path), []
    replies = model(purse, batch_size=4).generate(asked(10), SAMPLING, heard.extend)
    assert (len(replies), [i for i, _ in heard]) == (10, list(range(10)))
    assert (purse.cost.oracle_calls, purse.cost.oracle_tokens) == (10, 300)


def test_calls_are_exact(tmp_path: Path) -> None:
    purse, scripted = spend(config(oracle_calls=7), tmp_path, 10)
    assert (len(scripted.asked), purse.cost.oracle_calls) == (7, 7)


@given(
    most=st.integers(0, 5000), input_tokens=st.integers(1, 60), output_tokens=st.integers(0, 50),
    batch_size=st.integers(1, 9),
)  # fmt: skip
def test_tokens_are_never_passed_and_less_than_one_call_is_left(
    tmp_path_factory: Any, most: int, input_tokens: int, output_tokens: int, batch_size: int
) -> None:
    limit = worst(asked(1000)[-1])
    input_tokens = min(input_tokens, worst(asked(1)[0]).input_tokens)
    root = tmp_path_factory.getbasetemp()
    purse, _ = spend(config(oracle_tokens=most), root, 5100, input_tokens, output_tokens, batch_size)
    left = most - purse.cost.oracle_tokens
    assert 0 <= left <= limit.input_tokens + limit.output_tokens


def test_money_is_never_passed(tmp_path: Path) -> None:
    purse, _ = spend(config(usd=0.01), tmp_path, 200)
    cost = spending.usd(config(), purse.cost.by_role)
    assert cost is not None
    assert 0.01 - 600e-6 < cost <= 0.01


def test_the_line_says_what_is_spent_and_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(BudgetSpent) as caught:
        model(Purse(config(oracle_calls=2), tmp_path)).generate(asked(3), SAMPLING)
    assert str(caught.value) == (
        "budget.oracle_calls: 2 of 2 are spent, and what comes next may take 1; "
        "raise it with --set budget.oracle_calls=… and run the same command to go on"
    )


def test_what_is_in_flight_is_reserved_and_freed_by_every_end(tmp_path: Path) -> None:
    """None while attempts in flight may leave room, an error once none is."""
    purse = Purse(config(oracle_calls=3), tmp_path)
    reserve = lambda: purse.account("judge").reserve(Usage(10, 10))  # noqa: E731
    a, b, c = reserve(), reserve(), reserve()
    assert a and b and c
    assert reserve() is None
    a.settle(Usage(1, 1))
    assert reserve() is None
    b.release()
    again = reserve()
    assert again
    c.fail(Failure("it broke", 500, Usage(5, 0)))
    again.settle(Usage(2, 2))
    again.settle(Usage(2, 2))  # a second end changes nothing
    again.fail(Failure("late", None, Usage(9, 9)))
    with pytest.raises(BudgetSpent, match="3 of 3"):
        reserve()
    assert (purse.cost.oracle_calls, purse.cost.oracle_tokens) == (3, 11)


def test_failed_attempts_are_recorded_with_reason_and_charge(tmp_path: Path) -> None:
    purse = Purse(config(), tmp_path)
    for failure in (Failure("broken", 500, Usage(5, 0)), Failure("no answer", None, Usage(7, 50))):
        reserved = purse.account("judge").reserve(Usage(10, 50))
        assert reserved
        reserved.fail(failure)
    rows = [json.loads(row) for row in (tmp_path / spending.FAILED).read_text().splitlines()]
    assert rows == [
        {"role": "judge", "reason": "broken", "status": 500, "input_tokens": 5, "output_tokens": 0},
        {"role": "judge", "reason": "no answer", "status": None, "input_tokens": 7, "output_tokens": 50},
    ]
    resumed = Purse(config(), tmp_path).cost
    assert (resumed.oracle_calls, resumed.oracle_tokens) == (2, 62) == (2, purse.cost.oracle_tokens)


@pytest.mark.parametrize(
    "row",
    ["5", "[]", "{}", '{"role": "judge"}', '{"role": "judge", "input_tokens": -1}', "[" * 100_000]
    + [f'{{"role": "judge", "input_tokens": {n}}}' for n in ("1.5", '"7"', "true", "null", "NaN")],
)  # fmt: skip
def test_a_damaged_record_of_failed_attempts_is_one_line(tmp_path: Path, row: str) -> None:
    (tmp_path / spending.FAILED).write_text(row + "\n")
    with pytest.raises(UserError, match=r"failed_attempts.jsonl is damaged; it may be deleted"):
        Purse(config(), tmp_path)


def test_a_record_of_an_older_version_counts(tmp_path: Path) -> None:
    (tmp_path / spending.FAILED).write_text('{"role": "judge", "input_tokens": 20}\n')
    assert Purse(config(), tmp_path).cost.oracle_tokens == 20


def test_estimates_are_said_once_a_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    purse = Purse(config(), tmp_path)
    for role in ("judge", "proposer", "judge"):
        reserved = purse.account(role).reserve(Usage(10, 10))
        assert reserved
        reserved.settle(Usage(3, 3, estimated=True))
    assert [r.getMessage() for r in caplog.records] == [
        "x/y gives no usable token counts: they are estimated from the texts"
    ]
    assert {role: spent.estimated for role, spent in purse.cost.by_role.items()} == {
        "judge": 2,
        "proposer": 1,
    }


# --- through a server that fails, sixteen calls at once ---


class Web:
    """What the budget must be kept against: each request fails or is answered, with a count of tokens, by chance."""

    def __init__(self, faulty: ModuleType, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        self.requests, self.lock, self.random = 0, threading.Lock(), random.Random(seed)
        self.faulty = faulty
        monkeypatch.setitem(faulty.FAULTS, "by chance", self.answer)
        monkeypatch.setenv("LOCAL_API_KEY", faulty.KEY)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def answer(self, handler: Any, _: Any) -> None:
        with self.lock:
            self.requests += 1
            fault = self.random.choice(
                ["429", "500", "cut within", "garbage", "page", "other json", *[""] * 8]
            )
            count = self.random.choice([0, -5, 1, 7, 30, 10**30, 5000, "seven", 2.5, None])
            pause = self.random.random() * 0.01
        time.sleep(pause)
        if fault:
            self.faulty.FAULTS[fault](handler, [])
            return
        usage = (
            None
            if count is None
            else {"prompt_tokens": count, "completion_tokens": count, "total_tokens": count}
        )
        handler.send(200, json.dumps({**self.faulty.completion("fine"), "usage": usage}).encode())


def all_asked(oracle: Model) -> int:
    """A stage."""
    return len(oracle.generate(asked(200), SAMPLING))


@pytest.mark.parametrize("seed", range(12))
def test_no_budget_is_passed_by_calls_in_flight_or_failed(
    tmp_path: Path, faulty: ModuleType, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Across resumes, as charged and as the server saw it."""
    draw = random.Random(seed)
    budget = {
        "oracle_calls": draw.choice([None, draw.randint(0, 60)]),
        "oracle_tokens": draw.choice([None, draw.randint(0, 4000)]),
        "usd": draw.choice([None, draw.random() * 0.01]),
    }
    bounded = config(
        LOCAL, **(budget if any(v is not None for v in budget.values()) else {"oracle_calls": 20})
    )
    web_of = Web(faulty, monkeypatch, seed)
    with faulty.serving(["by chance"]) as web:
        for _ in range(3):
            purse = Purse(bounded, tmp_path)
            settings = RemoteSettings(base_url=web.url, backoff_s=0.001, max_retries=draw.choice([0, 1, 50]))
            with RemoteModel(LOCAL, settings, account=purse.account("judge")) as remote:
                step = RunJournal(tmp_path).at(1)
                with pytest.raises((BudgetSpent, WorldError)):
                    step("verdicts", all_asked, remote)
            recorded = Purse(bounded, tmp_path).cost
            assert recorded.by_role == purse.cost.by_role  # what the next process reads is what was charged
            limits = {k: v for k, v in asdict(bounded.budget).items() if v is not None}
            figures = {
                "oracle_calls": recorded.oracle_calls,
                "oracle_tokens": recorded.oracle_tokens,
                "usd": spending.usd(bounded, recorded.by_role) or 0.0,
            }
            assert all(figures[key] <= most for key, most in limits.items()), (figures, limits)
            assert web_of.requests <= recorded.oracle_calls


@pytest.mark.parametrize("connections", [1, 16])
def test_the_server_sees_no_request_beyond_the_calls(
    tmp_path: Path, faulty: ModuleType, monkeypatch: pytest.MonkeyPatch, connections: int
) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", faulty.KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    purse = Purse(config(LOCAL, oracle_calls=23), tmp_path)
    with faulty.serving(["500", "429", "empty"], 0.4) as web:
        settings = RemoteSettings(
            base_url=web.url, backoff_s=0.0, max_retries=99, max_connections=connections
        )
        with (
            RemoteModel(LOCAL, settings, account=purse.account("judge")) as remote,
            pytest.raises(BudgetSpent),
        ):
            remote.generate(asked(100), SAMPLING)
    assert sum(web.seen.values()) == 23 == purse.cost.oracle_calls


def test_the_hours_end_an_attempt_in_flight_and_a_long_wait(
    tmp_path: Path, faulty: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", faulty.KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for fault, seconds, settings in (("hang", 1.0, {}), ("500", 60.0, {"backoff_s": 500.0})):
        began, purse = time.monotonic(), Purse(config(LOCAL, hours=seconds / 3600), tmp_path / fault)
        with faulty.serving([fault]) as web:
            quick = RemoteSettings(base_url=web.url, **settings)  # type: ignore[arg-type]
            remote = RemoteModel(LOCAL, quick, account=purse.account("judge"))
            with remote, pytest.raises(BudgetSpent, match="budget.hours"):
                remote.generate(asked(1), SAMPLING)
        assert time.monotonic() - began < 15  # not the 20 s of the server, nor the 500 s of the wait
        assert spending.failed(tmp_path / fault)["judge"].calls == 1
        assert sum(web.seen.values()) == 1


def test_what_was_sent_when_a_caller_gives_up_is_charged(
    tmp_path: Path, faulty: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", faulty.KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    purse = Purse(config(LOCAL), tmp_path)

    def interrupted(_: Any) -> None:
        raise KeyboardInterrupt

    with faulty.serving() as web:
        remote = RemoteModel(LOCAL, RemoteSettings(base_url=web.url), account=purse.account("judge"))
        with remote, pytest.raises(KeyboardInterrupt):
            remote.generate(asked(40), SAMPLING, interrupted)
    assert sum(web.seen.values()) <= purse.cost.oracle_calls <= 40
    assert Purse(config(LOCAL), tmp_path).cost.by_role == purse.cost.by_role


# --- hours ---


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

    assert count(text) <= worst((Message("user", text),)).input_tokens
