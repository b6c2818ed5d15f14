"""The README's commands and configs are what they say.

Every line of a ```bash block is accounted for: cheap ones run here as they stand; `make` lines must be
targets of the Makefile (CI runs them); `iteralign run` lines are checked with `iteralign check`, which
reads the same config and loads no model; `iteralign show` lines need a finished run, so their options
are looked up; examples run in test_examples.py. A ```toml block must be a valid config, in the README
and in docs/extend.md.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from iteralign.config.schema import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def fences(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in fences(README, "bash") for line in block.splitlines() if line.strip()]


def run(command: list[str], folder: Path) -> str:
    """The output of a command that must succeed, with this interpreter's scripts first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
    return done.stdout


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder that holds what the README tells its reader to write."""
    (config,) = [b for b in fences(README, "toml") if 'name = "mine"' in b]
    (tmp_path / "mine.toml").write_text(config, encoding="utf-8")
    (tmp_path / "path/or/hub-id").mkdir(parents=True)
    (tmp_path / "path/or/hub-id/config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    row = '{"prompt": "What is it?", "kind": "hazard", "topic": "x"}\n'
    for name in ("attacks", "benign", "validation", "test"):
        (tmp_path / f"{name}.jsonl").write_text(row, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme(line: str, mine: Path) -> None:
    match shlex.split(line):
        case ["source", ".venv/bin/activate"]:
            pass
        case ["make", target]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        case ["iteralign", "run" | "check", *rest]:
            assert run(["iteralign", "check", *rest], mine)
        case ["iteralign", "show", "runs/quickstart", *options]:
            help = run(["iteralign", "show", "--help"], mine)
            assert all(option in help for option in options)
        case ["iteralign", "experiment", name]:  # hours
            assert run(["iteralign", "experiment", name, "--plan"], mine)
        case ["iteralign", "constitution", verb, _]:  # of a finished run
            assert run(["iteralign", "constitution", verb, "--help"], mine)
        case ["iteralign", "compare" | "evaluate" as verb, *_]:  # minutes, and run in tests of their own
            assert run(["iteralign", verb, "--help"], mine)
        case ["iteralign", *rest]:
            assert run(["iteralign", *rest], mine)
        case ["python", script]:
            assert (ROOT / script).is_file()
        case _:
            pytest.fail(f"no test knows what to do with: {line}")


def test_the_two_commands_of_a_newcomer() -> None:
    assert {"make demo", "make test"} <= set(COMMANDS)


@pytest.mark.parametrize("page", ["README.md", "docs/extend.md"])
def test_every_config_shown_is_one(page: str, tmp_path: Path) -> None:
    blocks = fences((ROOT / page).read_text(encoding="utf-8"), "toml")
    assert blocks
    for i, block in enumerate(blocks):
        path = tmp_path / f"{i}.toml"
        path.write_text(block, encoding="utf-8")
        load(path)


def test_the_example_in_python_runs(tmp_path: Path) -> None:
    (block,) = fences(README, "python")
    assert len([line for line in block.splitlines() if line]) <= 12
    assert "theft" in run([sys.executable, "-c", block], tmp_path)


def test_every_command_is_in_the_table() -> None:
    from typer.main import get_command

    from iteralign.cli.main import app

    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        verbs = getattr(command, "commands", None)
        assert f"| `{name}" in page
        assert all(f"`{verb}`" in page or f"`{name} {verb}`" in page for verb in verbs or ())


def test_no_figure_is_left_out() -> None:
    """A block that waits for figures is empty until a real run fills it; then both its marks stay."""
    opened = re.findall(r"<!-- figures: (\w+) -->", README)
    closed = re.findall(r"<!-- /figures: (\w+) -->", README)
    assert opened == closed
