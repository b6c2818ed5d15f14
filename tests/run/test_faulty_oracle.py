"""A step of a run whose oracle fails: recorded, counted, resumed, and the same in the end."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iteralign import judge
from iteralign.budget import spending
from iteralign.budget.limits import BudgetSpent, Purse
from iteralign.config.schema import Config, validated
from iteralign.errors import UserError, WorldError
from iteralign.models.remote import RemoteModel
from iteralign.organism.world import drafts
from iteralign.record.journal import RunJournal
from iteralign.run import build, runner
from iteralign.types import Label, Prompt, Response, Verdict

N = 40
RIGHT = [Label.HARMFUL] * N


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, faulty: ModuleType) -> Any:
    """Point the provider `local` at a server, as a user does: by the environment."""
    monkeypatch.setenv("LOCAL_API_KEY", faulty.KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return lambda web: monkeypatch.setenv("LOCAL_BASE_URL", web.url)


def config(**oracle: Any) -> Config:
    budget = oracle.pop("budget", {})
    quick = {"model": "openai-api/local/some-model", "backoff_s": 0.002, "max_retries": 12, **oracle}
    return validated({"oracle": quick, "budget": budget})


def step(config: Config, root: Path) -> tuple[Verdict, ...]:
    """The judge's step of an iteration, as a run takes it."""
    asked = [
        Response(Prompt(f"q{i}", d.item.text), d.bad[0])
        for i, d in enumerate(drafts("hazard", "redteam", N, 0))
    ]
    lab = build.lab(config, root, lambda *_: None, Purse(config, root))
    return RunJournal(root).at(1)("verdicts", judge.assess, lab.judge, asked, build.method(config).prompts)


def test_failed_attempts_of_a_real_provider_are_counted(
    tmp_path: Path, faulty: ModuleType, local: Any
) -> None:
    with faulty.serving(["429", "500", "empty", "cut before"], 0.3) as web:
        local(web)
        verdicts = step(config(), tmp_path)
    assert [v.label for v in verdicts] == RIGHT
    assert web.failed > 0
    assert spending.failed(tmp_path)["judge"].calls == web.failed
    cost = Purse(config(), tmp_path).cost.by_role["judge"]
    assert cost.calls == N + web.failed == sum(web.seen.values())


def test_a_fault_that_stays_leaves_a_step_that_goes_on_where_it_stopped(
    tmp_path: Path, faulty: ModuleType, local: Any
) -> None:
    bad = config(max_retries=0, max_connections=2)
    with faulty.serving(["500"], 0.1) as web:
        local(web)
        with pytest.raises(WorldError, match="again to resume"):
            step(bad, tmp_path)
        answered = web.seen[""]
    assert 0 < answered < N
    with faulty.serving() as well:
        local(well)
        assert [v.label for v in step(bad, tmp_path)] == RIGHT
    # Two were in flight: the answer of one may have come too late to be heard.
    assert N - answered <= well.seen[""] <= N - answered + 1
    with faulty.serving() as idle:
        local(idle)
        assert [v.label for v in step(bad, tmp_path)] == RIGHT
    assert not idle.seen


def test_a_budget_ends_attempts_that_fail_without_end(tmp_path: Path, faulty: ModuleType, local: Any) -> None:
    bounded = config(max_retries=1000, max_connections=1, budget={"oracle_calls": 10})
    with faulty.serving(["503"]) as web:
        local(web)
        with pytest.raises(BudgetSpent, match=r"budget.oracle_calls: 10 of 10 are spent"):
            step(bounded, tmp_path)
    assert web.seen == {"503": 10}
    assert spending.failed(tmp_path)["judge"].calls == 10


def test_answers_that_cannot_be_read_are_asked_for_again(
    tmp_path: Path, faulty: ModuleType, local: Any
) -> None:
    unreadable = ["no text", "chatter", "cut off"]
    with faulty.serving(unreadable, 0.2, seed=1) as web:
        local(web)
        repaired, once = step(config(repair=3), tmp_path / "3"), step(config(repair=0), tmp_path / "0")
        asked = sum(web.seen.values())
    assert [v.label for v in repaired] == RIGHT
    unread = sum(v.label is Label.UNPARSED for v in once)
    assert {v.label for v in once} == {Label.HARMFUL, Label.UNPARSED}
    recorded = Purse(config(), tmp_path / "3").cost.oracle_calls
    assert recorded >= N + unread
    assert recorded + N == asked


def test_the_settings_of_the_config_reach_the_provider(
    tmp_path: Path, faulty: ModuleType, local: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    opened = RemoteModel.__init__

    def spy(self: RemoteModel, spec: str, settings: Any, *others: Any, **named: Any) -> None:
        seen.append(settings)
        opened(self, spec, settings, *others, **named)

    monkeypatch.setattr(RemoteModel, "__init__", spy)
    with faulty.serving() as web:
        local(web)
        build.lab(
            config(timeout_s=7, max_connections=3), tmp_path, lambda *_: None, Purse(config(), tmp_path)
        )
    assert {(s.timeout_s, s.max_connections, s.max_retries, s.backoff_s) for s in seen} == {(7, 3, 12, 0.002)}


def test_a_run_may_be_resumed_with_more_patience_but_with_no_other_oracle(tmp_path: Path) -> None:
    (tmp_path / "iterations" / "001").mkdir(parents=True)
    with runner._opened(config(max_retries=0), tmp_path):
        pass
    with runner._opened(config(max_retries=9, timeout_s=5, max_connections=1, backoff_s=1), tmp_path):
        pass
    with pytest.raises(UserError, match="oracle.model"), runner._opened(config(model="a/b"), tmp_path):
        pass
    with pytest.raises(UserError, match="oracle.repair"), runner._opened(config(repair=2), tmp_path):
        pass
