"""A panel in a config: who is asked, what it costs, and that faults of its servers change no verdict."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iteralign import judge
from iteralign.budget import prices, spending
from iteralign.budget.limits import Purse
from iteralign.config.schema import Config, load, validated
from iteralign.errors import UserError
from iteralign.organism.world import drafts
from iteralign.record.journal import RunJournal
from iteralign.run import build, planner
from iteralign.types import Label, Prompt, Response

LOCAL = "openai-api/local/some-model"
GUARD = {"model": "openai-api/local/some-guard", "guard": "llama-guard"}
PANEL = [LOCAL, GUARD, "organism/oracle"]


def config(models: list[Any], **oracle: Any) -> Config:
    return validated({"judge": {"models": models}, "oracle": oracle})


def test_a_name_alone_and_a_guard_are_both_judges() -> None:
    found = prices.judges(config(PANEL))
    assert [(role, m.model, m.guard) for role, m in found.items()] == [
        ("judge", LOCAL, None),
        ("judge-2", "openai-api/local/some-guard", "llama-guard"),
        ("judge-3", "organism/oracle", None),
    ]
    sets = build.method(config(PANEL)).judges
    assert [s.name for s in sets] == ["improved", "llama-guard", "improved"]


def test_without_a_panel_the_judge_is_the_oracle_or_its_own() -> None:
    assert prices.judges(config([]))["judge"].model == "organism/oracle"
    other = config([], model="a/b", judge="c/d", proposer="e/f")
    assert prices.models(other) == {"judge": "c/d", "proposer": "e/f", "meter": "a/b"}
    assert build.method(config([])).judges == (build.method(config([])).prompts,)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"judge": {"models": [{"model": "a/b", "gaurd": "x"}]}},
            "judge.models.0.gaurd: unknown key; did you mean 'guard'",
        ),
        ({"judge": {"models": [3]}}, "config judge.models.0"),
        ({"judge": {"modles": []}}, "did you mean 'models'"),
        ({"judge": {"models": [{"model": "a/b", "guard": "lama-guard"}]}}, "did you mean 'llama-guard'"),
        ({"judge": {"models": ["a/b", "a/b"]}}, "'a/b' is there twice"),
        ({"judge": {"models": ["a/b"]}, "oracle": {"judge": "c/d"}}, "both say who judges"),
    ],
)
def test_a_mistake_is_one_line(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        build.method(validated(values))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_price_that_is_missing_is_asked_for_by_the_key_that_names_the_model() -> None:
    panel = validated({"judge": {"models": ["organism/oracle", "far/away"]}, "budget": {"usd": 1.0}})
    with pytest.raises(UserError, match=r"far/away \(judge.models\)"):
        prices.require(panel)


def test_a_plan_counts_every_judge() -> None:
    sets = [
        'judge.models=["organism/oracle", {model="organism/guard", guard="llama-guard"}, "openai/gpt-5-mini"]'
    ]
    alone, panel = planner.plan(load("quickstart")), planner.plan(load("quickstart", sets))
    one, three = (p.total(p.outlooks[1]).by_role for p in (alone, panel))
    assert one["judge"].calls == three["judge"].calls == three["judge-2"].calls == three["judge-3"].calls > 0
    assert three["judge-2"].output_tokens < three["judge"].output_tokens
    money = panel.total(panel.outlooks[1]).usd
    assert money is not None and money > 0
    assert panel.total(panel.outlooks[1]).oracle.calls == sum(
        used.calls for role, used in three.items() if role != "policy"
    )


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, faulty: ModuleType) -> Any:
    monkeypatch.setenv("LOCAL_API_KEY", faulty.KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return lambda web: monkeypatch.setenv("LOCAL_BASE_URL", web.url)


def test_a_panel_over_http_keeps_its_verdicts_under_faults(
    tmp_path: Path, faulty: ModuleType, local: Any
) -> None:
    """Three judges, two behind a server: a guard among them; each is counted for itself."""
    asked = [
        Response(Prompt(f"q{i}{k}", d.item.text), text)
        for i, d in enumerate(drafts("hazard", "redteam", 12, 0))
        for k, text in enumerate((d.good[0], d.bad[0]))
    ]
    values = config(PANEL, backoff_s=0.002, max_retries=12)
    faults = ["429", "500", "503", "cut before", "truncated", "garbage", "empty"]
    with faulty.serving(faults, 0.3) as web:
        local(web)
        lab, method = (
            build.lab(values, tmp_path, lambda *_: None, Purse(values, tmp_path)),
            build.method(values),
        )
        found = RunJournal(tmp_path).at(1)("verdicts", judge.convene, lab.judges, asked, method.judges)
    assert [v.label for v in found] == [Label.HARMLESS, Label.HARMFUL] * 12
    assert all(len({vote.label for vote in v.votes}) == 1 for v in found)
    assert web.failed > 0
    cost = spending.recorded(tmp_path).by_role
    assert cost["judge-3"].calls == 24
    assert cost["judge"].calls + cost["judge-2"].calls == 48 + web.failed
    calls = tmp_path / "iterations" / "001" / "calls"
    assert sorted(p.name for p in calls.iterdir()) == [
        "20_verdicts.oracle-2.jsonl", "20_verdicts.oracle-3.jsonl", "20_verdicts.oracle.jsonl",
    ]  # fmt: skip
