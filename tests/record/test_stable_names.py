"""What moves of the code must leave alone: names of stages, ids of models and trainers, and runs made before."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from iteralign import finetune, judge, measure, propose, redteam, revise, trial
from iteralign.budget import prices
from iteralign.cli.main import status
from iteralign.config.schema import load, shipped
from iteralign.models.remote import RemoteModel
from iteralign.record import artifact
from iteralign.record.disk import comparable
from iteralign.report.ledger import context
from iteralign.run import build
from iteralign.types import Checkpoint

MADE_BEFORE = Path(__file__).parent / "data" / "run-of-2026-11-27.tar.xz"
"""A run of one iteration, recorded when artifacts named stages by module path."""
STAGES = {
    redteam.respond: "redteam",
    judge.convene: "judge",
    propose.propose: "propose",
    trial.trials: "trial",
    propose.decide: "adopt",
    revise.respond: "revise",
    judge.gate: "gate",
    finetune.sft: "finetune",
    measure.probe: "probe",
    context.lifts: "lift",
}


def test_stages_are_recorded_under_names_of_their_own() -> None:
    assert {stage: stage.stage_name for stage in STAGES} == STAGES  # type: ignore[attr-defined]
    assert sorted(artifact.FORMER.values()) == sorted(STAGES.values())


def ids(name: str) -> dict[str, str]:
    """The ids that a shipped config gives to its trainer, policy and oracles, on a CPU."""
    config = load(name, ["policy.device=cpu", "policy.dtype=float32"])
    policies = build.policies(config, Path("nowhere"))
    with policies.serve(Checkpoint("base-1", "base-1")) as policy:
        found = {"trainer": build.trainer(config, Path("nowhere")).id, "policy": policy.id}
    for role, spec in prices.models(config).items():
        with RemoteModel(spec, build.asking(config), build.PROVIDERS) as oracle:
            found[role] = oracle.id
    return found


GOLDEN: dict[str, dict[str, str]] = {
    "laptop": {
        "trainer": "sft-84221d3dfc142e87",
        "policy": "hf-4d8e76289e53024f",
        "judge": "openai/gpt-4o-mini",
        "proposer": "openai/gpt-4o-mini",
        "meter": "openai/gpt-4o-mini",
    },
    "paper-llama-2-13b": {
        "trainer": "sft-02106951d46ad503",
        "policy": "hf-772ab6172929c9ce",
        "judge": "openai/gpt-4.1-mini",
        "proposer": "openai/gpt-4.1-mini",
        "meter": "openai/gpt-4.1-mini",
    },
    "paper-llama-2-7b": {
        "trainer": "sft-d8bce81e49e31f63",
        "policy": "hf-dd5551b1086002ed",
        "judge": "openai/gpt-4.1-mini",
        "proposer": "openai/gpt-4.1-mini",
        "meter": "openai/gpt-4.1-mini",
    },
    "paper-vicuna-7b": {
        "trainer": "sft-3c21a8d0cd37abbd",
        "policy": "hf-772ab6172929c9ce",
        "judge": "openai/gpt-4.1-mini",
        "proposer": "openai/gpt-4.1-mini",
        "meter": "openai/gpt-4.1-mini",
    },
    "quickstart": {
        "trainer": "sft-fee674fe4b5e4e1a",
        "policy": "hf-6ddcd1531e95e988",
        "judge": "organism/oracle #82073703a1b2",
        "proposer": "organism/oracle #82073703a1b2",
        "meter": "organism/oracle #82073703a1b2",
    },
    "small-gpu": {
        "trainer": "sft-b44dadd099df6b76",
        "policy": "hf-25ff808d1e87cd58",
        "judge": "openai/gpt-4.1-mini",
        "proposer": "openai/gpt-4.1-mini",
        "meter": "openai/gpt-4.1-mini",
    },
}
"""As they were on 2026-11-27. A change of one makes every run that has it unresumable: it needs a reason."""


@pytest.mark.parametrize("name", shipped())
def test_ids_of_models_and_trainers_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in ("OPENAI", "ANTHROPIC"):
        monkeypatch.setenv(f"{provider}_API_KEY", "no-key-at-all")
    assert ids(name) == GOLDEN[name]


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with tarfile.open(MADE_BEFORE) as packed:
        packed.extractall(tmp_path / "runs", filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "old"


def stage_of(root: Path, step: str) -> str:
    return str(json.loads((root / "iterations" / step).read_text(encoding="utf-8"))["stage"])


def test_a_run_made_before_is_shown(before: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage_of(before, "001/20_verdicts.json") == "iteralign.judge.convene"
    assert status(["show", "old", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (len(shown["iterations"]), len(shown["constitution"]), shown["after"]["violations"]["n"]) == (
        1,
        3,
        4,
    )


def test_a_run_made_before_is_replayed_without_a_change(before: Path) -> None:
    was = comparable(before)
    assert status(["run", "runs/old", "-q"]) == 0
    assert comparable(before) == was


def test_a_run_made_before_goes_on(before: Path) -> None:
    shutil.rmtree(before / "iterations" / "001" / "calls")
    for step in ("45_gate", "50_checkpoint", "60_metrics", "70_test"):
        (before / "iterations" / "001" / f"{step}.json").unlink()
    assert status(["run", "runs/old", "-q"]) == 0
    assert stage_of(before, "001/40_revisions.json") == "iteralign.revise.respond"
    assert stage_of(before, "001/45_gate.json") == "gate"
    assert (before / "outcome.json").is_file()
