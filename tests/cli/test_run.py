"""run, check, stage, version: what they print and leave. The actors of `run` are those of tests/rehearsal.py."""

import json
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from iteralign import __version__
from iteralign.cli import progress
from iteralign.config.schema import Config
from iteralign.errors import WorldError
from iteralign.organism import world
from iteralign.report.summary import summarise
from iteralign.run import runner

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@pytest.fixture
def acted(monkeypatch: pytest.MonkeyPatch, rehearsal: Any) -> None:
    """`runner.run` with scripted actors; the CLI cannot tell the difference."""
    monkeypatch.setattr(runner, "run", rehearsal.perform)


@pytest.fixture
def config(here: Path, rehearsal: Any) -> str:
    """A config file for the rehearsal."""
    values = rehearsal.config("model").model_dump(exclude_defaults=True, exclude={"policy"})
    lines = [f"{k} = {json.dumps(v)}" for k, v in values.items() if not isinstance(v, dict)]
    for section, entries in values.items():
        if isinstance(entries, dict):
            lines += [f"[{section}]", *(f"{k} = {json.dumps(v)}" for k, v in entries.items())]
    (here / "small.toml").write_text("\n".join(lines), encoding="utf-8")
    return "small.toml"


@pytest.mark.usefixtures("acted")
def test_run_tells_each_stage_and_ends_with_the_page(
    here: Path, config: str, call: Callable[..., Any]
) -> None:
    said = call("run", config, "--policy", "model", "--name", "new")
    assert (said.code, said.err) == (0, "")
    assert not CONTROL.search(said.out)
    lines = said.out.splitlines()
    first = "before: measuring on the test probes: violations 33.3 % (18.4–52.6) ("
    assert any(line.startswith(first) for line in lines[:2])  # above it, on a slow machine, that it began
    assert any(line.startswith("iteration 1: judging the answers (") for line in lines)
    done = [line for line in lines if line.startswith("iteration 1 done")]
    assert len(done) == 1
    assert (
        "failures 18 of 18, principles 3 new, revisions 18 accepted, violations 8.3 % (2.1–27.8)" in done[0]
    )
    assert re.search(r"oracle \d+ calls, [\d,]+ tokens$", done[0])
    page = call("show", "new").out
    assert said.out.endswith(page)


@pytest.mark.usefixtures("acted")
def test_run_says_first_what_of_the_data_is_left_out(
    here: Path, config: str, call: Callable[..., Any]
) -> None:
    texts = [draft.item.text for draft in world.drafts("hazard", "redteam", 18, 0)]
    rows = [{"prompt": text} for text in [*texts, f" {texts[0]} ", ""]]
    (here / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = ("run", config, "--policy", "model", "--name", "new", "--set", "redteam.source=a.jsonl")
    said = call(*arguments)
    assert said.out.startswith("redteam data: of 20 rows left out: 1 blank, 1 repeated\n"), said.err
    assert "left out" not in call(*arguments, "--quiet").out


@pytest.mark.usefixtures("acted")
def test_run_quietly_and_as_json(here: Path, config: str, call: Callable[..., Any]) -> None:
    quiet = call("run", config, "--policy", "model", "--name", "a", "--quiet")
    assert quiet.out == call("show", "a").out
    said = call("run", config, "--policy", "model", "--name", "b", "--json", "--runs", "elsewhere")
    assert json.loads(said.out) == summarise(Path("elsewhere/b"))
    assert "iteration 1 done" in said.err
    silent = call("run", config, "--policy", "model", "--name", "b", "--json", "-q", "--runs", "elsewhere")
    assert (silent.code, silent.err) == (0, "")


@pytest.mark.usefixtures("acted")
def test_a_run_directory_is_a_config_to_resume(here: Path, call: Callable[..., Any]) -> None:
    said = call("run", "runs/half")
    assert said.code == 0
    assert said.out.startswith("resuming: what is on record is not done again\niteration 1 done: ")
    assert said.out.count("iteration 1 done") == 1
    assert "iteration 1: " not in said.out
    assert summarise(here / "runs" / "half")["after"] == summarise(here / "runs" / "done")["after"]


def test_policy_oracle_name_and_set_reach_the_config(
    here: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Any]
) -> None:
    seen: list[tuple[Config, Path]] = []

    def look(config: Config, root: Path, on_event: Any) -> Iterator[Any]:
        seen.append((config, root))
        raise WorldError("looked")
        yield

    monkeypatch.setattr(runner, "run", look)
    options = ["--policy", 'a "b"', "--oracle", "openai/x", "--name", "n", "--runs", "r s"]
    said = call(
        "run", "quickstart", *options, "--set", "seed=3", "--set", "policy.model=lost", "--set", "seed=4"
    )
    ((config, root),) = seen
    assert (config.policy.model, config.oracle.model, config.name, config.seed) == (
        'a "b"',
        "openai/x",
        "n",
        4,
    )
    assert root == Path("r s/n")
    assert (said.code, said.err) == (2, "error: looked\n")  # nothing began, so there is nothing to resume


def test_ctrl_c_says_how_to_resume(
    here: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Any], rehearsal: Any
) -> None:
    def interrupted(config: Config, root: Path, on_event: Any) -> Iterator[Any]:
        yield next(rehearsal.perform(config, root, on_event))
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", interrupted)
    said = call("run", "runs/half")
    assert said.code == 130
    assert said.err == "interrupted; nothing recorded is lost, resume with: iteralign run runs/half\n"


@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "interrupted before it began\n"),
        (WorldError("the disk is full"), 2, "error: the disk is full\n"),
    ],
)
def test_an_end_before_the_beginning(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[..., Any],
    fault: BaseException,
    code: int,
    says: str,
) -> None:
    def fail(*_: Any) -> Iterator[Any]:
        raise fault
        yield

    monkeypatch.setattr(runner, "run", fail)
    said = call("run", "quickstart", "--name", "never")
    assert (said.code, said.err) == (code, says)


def test_a_fault_of_the_world_says_how_to_resume(
    here: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Any]
) -> None:
    (here / "runs" / "half").rename(here / "runs" / "two words")

    def fail(*_: Any) -> Iterator[Any]:
        raise WorldError("rate limit")
        yield

    monkeypatch.setattr(runner, "run", fail)
    said = call("run", "runs/two words")
    assert (said.code, said.err) == (2, "error: rate limit (resume with: iteralign run 'runs/two words')\n")


def test_check_explains_and_shows_every_prompt(here: Path, config: str, call: Callable[..., Any]) -> None:
    said = call("check", config, "--policy", "model")
    assert (said.code, said.err) == (0, "")
    text = " ".join(said.out.split())
    assert "the config is right" in text
    for fact in (
        "72 prompts from organism, in 4 batches",
        "validation 42 probes: 24 hazard",
        "test 64 probes",
    ):
        assert fact in text
    assert "8 safe answers and all earlier accepted answers" in text
    assert "nothing new in 2 iterations, or after iteration 4" in text
    assert "runs/rehearsal (new)" in text
    for prompt in ("The judge is asked", "The proposer is asked", "answer again", "about safe prompts"):
        assert prompt in text
    assert "You judge whether an assistant's response is harmful." in text
    assert "Which topic is my request about?" in text
    assert not (here / "runs" / "rehearsal").exists()


def test_check_of_the_paper_preset_and_of_a_run(here: Path, call: Callable[..., Any]) -> None:
    said = call("check", "quickstart", "--policy", "model", "--set", "preset=paper")
    assert "(a principle that was found)" in said.out
    assert "off: all new answers are trained on" in said.out
    again = call("check", "runs/half")
    assert "runs/half (exists: the run would resume, 1 iterations done)" in again.out


def test_check_says_who_judges_and_what_a_guard_is_asked(here: Path, call: Callable[..., Any]) -> None:
    panel = (
        'judge.models=["organism/oracle", {model="organism/guard", guard="llama-guard"}, "openai/gpt-5-mini"]'
    )
    said = call("check", "quickstart", "--policy", "model", "--set", panel)
    text = " ".join(said.out.split())
    assert (
        "organism/oracle, organism/guard (answers as llama-guard), openai/gpt-5-mini; 2 of 3 decide" in text
    )
    assert text.count("The judge is asked") == 1  # two of them are asked the same
    assert "A judge that answers as llama-guard is asked" in text
    one = call("check", "quickstart", "--policy", "model", "--set", 'judge.models=["organism/oracle"]')
    assert "judge organism/oracle" in " ".join(one.out.split())


@pytest.mark.usefixtures("acted")
def test_stage_runs_up_to_the_stage_and_no_further(here: Path, call: Callable[..., Any]) -> None:
    said = call("stage", "constitution", "half", "-t", "2")
    assert said.code == 0
    artifact = json.loads(said.out)
    assert artifact["stage"] == "adopt"
    assert len(artifact["value"]["constitution"]["principles"]) == 4
    assert "iteration 2: judging the answers" in said.err
    folder = here / "runs" / "half" / "iterations" / "002"
    assert sorted(p.name for p in folder.glob("*.json")) == [
        "10_responses.json", "20_verdicts.json", "25_proposals.json", "28_trials.json", "30_constitution.json",
    ]  # fmt: skip


def test_a_recorded_stage_is_replayed_from_disk(
    here: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Any]
) -> None:
    monkeypatch.setattr(runner, "run", partial(pytest.fail, "nothing was to run"))
    said = call("stage", "gate", "done", "-t", "1")
    assert json.loads(said.out)["value"][0]["label"] == "harmless"
    assert said.err == ""


@pytest.mark.usefixtures("acted")
@pytest.mark.parametrize(
    ("stage", "t", "says"),
    [
        ("checkpoint", "3", "iteration 3 has none: nothing was accepted to train on"),
        ("verdicts", "9", "the run ends with iteration 4"),
        ("test", "2", "after its end"),
    ],
)
def test_a_stage_that_never_comes(
    here: Path, call: Callable[..., Any], stage: str, t: str, says: str
) -> None:
    said = call("stage", stage, "done", "-t", t, "--quiet")
    assert said.code == 2
    assert says in said.err


def test_version(call: Callable[..., Any]) -> None:
    assert call("version").out.startswith(f"iteralign {__version__}\npython 3.")


def test_organism_describe(here: Path, call: Callable[..., Any]) -> None:
    model = here / "model"
    card = {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 900}
    (model / "config.json").write_text(json.dumps(card), encoding="utf-8")
    said = call("organism", "describe", "model")
    assert said.code == 0
    assert "4: privacy, theft, fraud, medical" in said.out
    facts = json.loads(call("organism", "describe", "model", "--json").out)
    assert facts["hazards"] == list(world.HAZARDS)


def test_organism_progress_is_told_in_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.5)
    with progress.status_line("training") as tell:
        tell({"step": 50, "progress": 0.25, "tokens": 12000, "loss": 1.5, "seconds": 61.0})
        time.sleep(2.5)
    assert "training: 25 %, 12,000 tokens, loss 1.500, 1 min 01 s, " in capsys.readouterr().err
