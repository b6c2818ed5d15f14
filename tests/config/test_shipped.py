"""Every shipped config is right and says on top what it needs and costs; what it says of its calls is `plan`'s."""

import os
import re
import shlex
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from iteralign.cli.main import status
from iteralign.config.schema import load, shipped
from iteralign.run import planner

COPIES = Path(os.environ.get("ITERALIGN_DATA") or Path(__file__).parents[3] / "shared" / "data")
PATH = f"redteam.path={COPIES}"
FOLDER = resources.files("iteralign.config") / "shipped"
FOREIGN = [name for name in shipped() if name != "quickstart"]
PAPER = [name for name in FOREIGN if name.startswith("paper-")]
with_copies = pytest.mark.skipif(
    not COPIES.is_dir(), reason="no copies of the published sets; set ITERALIGN_DATA"
)


def text(name: str) -> str:
    return (FOLDER / f"{name}.toml").read_text(encoding="utf-8")


def head(name: str) -> str:
    return text(name).partition("\nname = ")[0]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sets are copies, and no weights are needed to check a config: a model that is not here may be fetched."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for name in [n for n in os.environ if n.endswith("_API_KEY")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("name", shipped())
def test_a_config_is_named_as_its_file_and_says_how_to_run_it(name: str) -> None:
    assert tomllib.loads(text(name))["name"] == name
    assert f"iteralign run {name}" in head(name)


@pytest.mark.parametrize("name", FOREIGN)
def test_what_was_not_run_is_called_an_estimate(name: str) -> None:
    for word in ("needs", "Estimates, nothing of this was run here", "time", "money", "memory"):
        assert word in head(name), word
    assert f"iteralign plan {name}" in head(name) or "`iteralign plan`" in head(name)


@with_copies
@pytest.mark.parametrize("name", shipped())
def test_check_finds_it_right(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    where = [] if name == "quickstart" else ["--set", PATH]
    assert status(["check", name, *where]) == 0
    said = capsys.readouterr().out
    assert f"{name}: the config is right" in said
    assert "The judge is asked" in said


@with_copies
@pytest.mark.parametrize("name", PAPER)
def test_all_three_red_team_sets_go_as_its_head_says(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    variants = re.findall(r"(--set .*?)(?: {5}\(|$)", head(name), re.MULTILINE)
    own = load(name).redteam.source
    found = {own}
    for line in variants:
        arguments = shlex.split(line.replace("toxic_outs.json", str(COPIES)).replace("FOLDER", str(COPIES)))
        found |= {a.partition("=")[2] for a in arguments if a.startswith("redteam.source=")}
        assert status(["check", name, "--set", PATH, *arguments]) == 0, line
    assert found >= {"hh-rlhf", "harmfulqa", "dangerousqa"}
    assert "Traceback" not in capsys.readouterr().err


@with_copies
@pytest.mark.parametrize("name", [n for n in FOREIGN if "calls)" in head(n)])
def test_the_estimate_is_what_plan_says(name: str) -> None:
    plan = planner.plan(load(name, [PATH]))
    totals: list[Any] = [plan.total(plan.outlooks[i]) for i in (0, 2)]
    low, high = re.findall(r"\(([\d,]+) to ([\d,]+) calls\)", head(name))[0]
    assert [f"{t.oracle.calls:,}" for t in totals] == [low, high]
    money = [float(m) for m in re.findall(r"money {3}([\d.]+)(?: to ([\d.]+))? USD", head(name))[0] if m]
    for said, total in zip(money, (totals[0], totals[-1]), strict=False):
        assert said == pytest.approx(total.usd, rel=0.1, abs=0.005)


@pytest.mark.parametrize("name", PAPER)
def test_the_paper_s_settings_are_those_of_its_preset(name: str) -> None:
    """What a config sets above the preset is named, so that a departure is a decision."""
    written = tomllib.loads(text(name))
    assert written["preset"] == "paper"
    method = {
        k: v
        for k, v in written.items()
        if k in ("method", "sampling", "propose", "revise", "gate", "finetune")
    }
    assert method == {}
    values = load(name)
    assert values.redteam.batch == 20
    full = values.training.method == "full"
    assert full is (name != "paper-llama-2-13b")
    assert values.training.lr == (2e-6 if full else 2e-4)
    # a step of 2e-6 is rounded away in weights of bfloat16
    assert not full or values.policy.dtype == "float32"


def test_the_command_line_lists_and_prints_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == shipped()
    assert all(len(line) > 40 for line in lines)
    assert status(["configs", "laptop"]) == 0
    copy = tmp_path / "mine.toml"
    copy.write_text(capsys.readouterr().out, encoding="utf-8")
    assert load(copy) == load("laptop")
    assert status(["configs", "labtop"]) == 2
    assert "did you mean 'laptop'" in capsys.readouterr().err
