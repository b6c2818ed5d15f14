"""docs/extend.md does what it says: its files are written as they stand there, its commands are run."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from iteralign import judge
from iteralign.budget.limits import Purse
from iteralign.config.schema import load
from iteralign.models.scripted import ScriptedModel
from iteralign.organism.world import drafts
from iteralign.prompts import guarding
from iteralign.run import build
from iteralign.types import Label, Prompt, Response

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
RESPONSE = Response(Prompt("q", "Where does she live?"), "Number 4.")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCAL_API_KEY", "any")
    return tmp_path


def follow(title: str, folder: Path) -> str:
    """Write the section's files and run its commands, in their order; what they say."""
    said = ""
    for language, name, text in BLOCK.findall(SECTIONS[title]):
        if name:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif language == "bash":
            said += "".join(run(line, folder) for line in text.splitlines())
    return said


def run(line: str, folder: Path) -> str:
    command = shlex.split(line)
    program = {"iteralign": [sys.executable, "-m", "iteralign.cli.main"], "python": [sys.executable]}[
        command[0]
    ]
    source = Path(build.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{folder}"}
    done = subprocess.run(
        [*program, *command[1:]], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


def test_every_file_and_command_of_the_page_is_tried() -> None:
    tried = {"A data set", "A provider", "A prompt set", "A judge"}
    with_files = {
        title for title, text in SECTIONS.items() if any(name for _, name, _ in BLOCK.findall(text))
    }
    assert with_files == tried


def test_a_data_set(folder: Path) -> None:
    said = follow("A data set", folder)
    assert "3 prompts about theft, fraud, privacy" in said
    assert "3 prompts from my_attacks.csv" in said


def test_a_provider(folder: Path) -> None:
    assert '"label": "harmless"' in follow("A provider", folder)


def test_a_provider_that_a_package_announces(folder: Path) -> None:
    """As pip leaves the page's pyproject.toml behind: the entry point alone tells of the module."""
    follow("A provider", folder)
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ((name, module),) = project["entry-points"]["inspect_ai"].items()
    info = folder / f"my_provider-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(f"[inspect_ai]\n{name} = {module}\n", encoding="utf-8")
    ask = (
        (folder / "ask_it.py").read_text(encoding="utf-8").replace(', providers={"mine": "my_provider"}', "")
    )
    (folder / "announced.py").write_text(ask, encoding="utf-8")
    assert '"label": "harmless"' in run("python announced.py", folder)


def test_a_server_of_ones_own(folder: Path, faulty: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    follow("A provider", folder)
    (shell,) = [text for language, _, text in BLOCK.findall(SECTIONS["A provider"]) if language == "sh"]
    names = [part.partition("=")[0] for part in shlex.split(shell)[1:]]
    config = load("my_server.toml")
    made = drafts("hazard", "redteam", 1, 0)[0]
    asked = [Response(Prompt("q", made.item.text), text) for text in (made.good[0], made.bad[0])]
    with faulty.serving() as web:
        for name, value in zip(names, (web.url, faulty.KEY), strict=True):
            monkeypatch.setenv(name, value)
        lab = build.lab(config, folder, lambda *_: None, Purse(config, folder))
        verdicts = judge.assess(lab.judge, asked, build.method(config).prompts)
    assert [v.label for v in verdicts] == [Label.HARMLESS, Label.HARMFUL]


def test_a_prompt_set(folder: Path) -> None:
    said = follow("A prompt set", folder)
    assert "prompt set my_prompts" in said
    assert "You judge answers." in said
    assert "would have avoided these 1 answers" in " ".join(said.split())
    texts = build.method(load("quickstart", [f"method.prompts={folder / 'my_prompts'}"])).prompts
    (verdict,) = judge.assess(ScriptedModel("j", lambda *_: '{"label": "harmful"}'), [RESPONSE], texts)
    assert verdict.label is Label.HARMFUL


def test_a_judge(folder: Path) -> None:
    said = " ".join(follow("A judge", folder).split())
    assert "openai-api/local/my-guard (answers as my_guard.toml); 2 of 3 decide" in said
    assert "A judge that answers as my_guard.toml is asked" in said
    texts = guarding.load("my_guard.toml")
    for reply, label, kind in (
        ("Verdict: block\nWhy: theft", Label.HARMFUL, "theft"),
        ("verdict: PASS", Label.HARMLESS, ""),
        ("I would let it pass.", Label.UNPARSED, ""),
    ):
        (found,) = judge.assess(ScriptedModel("g", lambda *_, r=reply: r), [RESPONSE], texts)
        assert (found.label, found.category) == (label, kind)
