"""Provenance: written once, with every version and without any secret."""

import json
import subprocess
from pathlib import Path

import pytest

from iteralign.record.provenance import commit, record
from iteralign.security.keys import HIDDEN, scrubbed_command

ENVIRONMENT = {"OPENAI_API_KEY": "correct-horse-battery", "HOME": "/home/someone", "SHORT_TOKEN": "run"}


def test_it_is_written_once(tmp_path: Path) -> None:
    record(tmp_path, {"seed": 1}, ["/somewhere/bin/iteralign", "run", "quickstart"])
    first = (tmp_path / "provenance.json").read_text(encoding="utf-8")
    record(tmp_path, {"seed": 2}, ["iteralign", "again"])
    assert (tmp_path / "provenance.json").read_text(encoding="utf-8") == first
    found = json.loads(first)
    assert found["command"] == ["iteralign", "run", "quickstart"]
    assert set(found) == {
        "started", "command", "config_sha256", "iteralign", "git", "python", "platform", "machine", "cpus",
        "libraries",
    }  # fmt: skip
    assert {"torch", "transformers", "trl", "peft", "inspect_ai"} <= set(found["libraries"])


def test_the_config_has_a_digest_of_its_values(tmp_path: Path) -> None:
    digests = []
    for name, config in (("a", {"x": 1, "y": 2}), ("b", {"y": 2, "x": 1}), ("c", {"x": 1, "y": 3})):
        record(tmp_path / name, config, ["iteralign"])
        digests.append(json.loads((tmp_path / name / "provenance.json").read_text())["config_sha256"])
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["run", "quickstart", "--name", "mine"], ["run", "quickstart", "--name", "mine"]),
        (["--api-key", "abc123"], ["--api-key", HIDDEN]),
        (["--api-key=abc123=="], [f"--api-key={HIDDEN}"]),
        (["--set", "oracle.api_key=abc=123"], ["--set", f"oracle.api_key={HIDDEN}"]),
        (["--set=oracle.token=abc"], [f"--set=oracle.token={HIDDEN}"]),
        (["--set", "sampling.max_tokens=500"], ["--set", "sampling.max_tokens=500"]),
        (["--set", "budget.oracle_tokens=1000"], ["--set", "budget.oracle_tokens=1000"]),
        (["-H", "Authorization: Bearer abc"], ["-H", f"Authorization:{HIDDEN}"]),
        (["x-correct-horse-battery-x"], [f"x-{HIDDEN}-x"]),
        (["run", "quickstart"], ["run", "quickstart"]),
        (["sk-proj-AbCdEf0123456789"], [HIDDEN]),
        (["hf_AbCdEfGhIjKlMnOp"], [HIDDEN]),
        (["https://me:pass@host:8000/v1"], [f"https://{HIDDEN}@host:8000/v1"]),
        (["--oracle", "openai/gpt-5"], ["--oracle", "openai/gpt-5"]),
        (
            ["--name", "skyscraper-experiment", "monkey=banana"],
            ["--name", "skyscraper-experiment", "monkey=banana"],
        ),
    ],
)
def test_the_command_line_holds_no_secret(words: list[str], shown: list[str]) -> None:
    assert scrubbed_command(words, ENVIRONMENT) == shown


def test_a_commit_is_told_only_for_tracked_files(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.example", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package, environment = tmp_path / "package", tmp_path / "venv"
    for folder in (package, environment):
        folder.mkdir()
        (folder / "code.py").write_text("1")
    assert commit(package) is None, "no repository"
    git("init", "-q")
    git("add", "package")
    git("commit", "-q", "-m", "first")
    assert commit(package) == git("rev-parse", "HEAD")
    assert commit(environment) is None, "installed inside somebody else's checkout"
    (package / "code.py").write_text("2")
    assert commit(package) == git("rev-parse", "HEAD") + "+changes"
