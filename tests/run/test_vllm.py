"""The vLLM backend in a config: who is built, what may change when a run goes on, who is closed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iteralign.budget.limits import Purse
from iteralign.config.schema import Config, validated
from iteralign.errors import UserError
from iteralign.models.hf import HfPolicies
from iteralign.models.vllm.policies import VllmPolicies
from iteralign.run import build, offline, runner

SMALL = {"redteam": {"n": 4, "batch": 4}, "benign": {"n": 3}}


def config(vllm: dict[str, Any] | None = None, **sections: Any) -> Config:
    return validated(
        {**SMALL, "policy": {"backend": "vllm", "batch_size": 7}, "vllm": vllm or {}, **sections}
    )


def test_the_settings_of_the_config_reach_the_server(tmp_path: Path) -> None:
    given = {"python": "elsewhere/python", "args": ["--enforce-eager"], "timeout_s": 9, "sleep": False}
    made = build.policies(config(given, training={"lora_rank": 5}), tmp_path)
    assert isinstance(made, VllmPolicies)
    s = made.vllm
    assert (s.python, s.args, s.timeout_s, s.sleep) == ("elsewhere/python", ("--enforce-eager",), 9, False)
    assert (made.policy.batch_size, made.lora_rank) == (7, 5)
    full = build.policies(config(training={"method": "full"}), tmp_path)
    assert isinstance(full, VllmPolicies)
    assert full.lora_rank is None
    assert isinstance(build.policies(validated(SMALL), tmp_path), HfPolicies)


def test_a_full_fine_tune_and_a_server_of_somebody_else(tmp_path: Path) -> None:
    wrong = config({"url": "http://127.0.0.1:8000"}, training={"method": "full"})
    with pytest.raises(UserError, match=r"vllm\.url: .* use 'lora'"):
        build.lab(wrong, tmp_path, lambda *_: None, Purse(wrong, tmp_path))


def test_offline_looks_where_the_policy_answers() -> None:
    with pytest.raises(UserError, match=r"offline: http://gpu\.example:8000 \(vllm\.url\) would be called"):
        offline.require(config({"url": "http://gpu.example:8000"}))
    offline.require(config({"url": "http://127.0.0.1:8000/v1"}))
    offline.require(config())
    offline.require(validated({"vllm": {"url": "http://gpu.example:8000"}}))  # not asked: the backend is hf


def test_a_run_may_go_on_with_a_server_elsewhere_but_with_no_other_one(tmp_path: Path) -> None:
    (tmp_path / "iterations" / "001").mkdir(parents=True)
    with runner._opened(config(), tmp_path):
        pass
    with runner._opened(config({"url": "http://127.0.0.1:1", "python": "x", "timeout_s": 1}), tmp_path):
        pass
    with pytest.raises(UserError, match=r"vllm\.args"), runner._opened(config({"args": ["--x"]}), tmp_path):
        pass


def test_a_start_that_fails_is_one_line_and_binds_nobody(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"vllm\.python: 'nowhere' is no program"):
        runner.execute(config({"python": "nowhere"}), tmp_path)
    assert not list(tmp_path.glob("iterations/*/*.json"))


def test_whatever_ends_a_run_ends_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    assemble = build.assemble

    def watched(*arguments: Any) -> build.Assembly:
        made = assemble(*arguments)
        return replace(made, lab=replace(made.lab, close=lambda: closed.append("closed")))

    monkeypatch.setattr(build, "assemble", watched)
    with pytest.raises(UserError):
        runner.execute(config({"python": "nowhere"}), tmp_path / "fails")
    assert closed == ["closed"]
