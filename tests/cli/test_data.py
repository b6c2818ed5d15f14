"""`iteralign data`: counts, and samples that are masked unless asked for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "one two three \x1b[31m four", "topic": "t"}))
    return str(tmp_path / "a.jsonl")


def test_samples_are_masked_unless_asked(call: Callable[..., Any], file: str) -> None:
    hidden, shown = call("data", "show", file), call("data", "show", file, "--reveal")
    assert "one two … (3 more)" in hidden.out and "three" not in hidden.out
    assert "one two three \\x1b[31m four" in shown.out and "\x1b[31m" not in shown.out


def test_json(call: Callable[..., Any], file: str) -> None:
    facts = json.loads(call("data", "show", file, "--json").out)
    assert (facts["prompts"], facts["topics"], facts["masked"]) == (1, {"t": 1}, True)
    assert "three" not in facts["samples"][0]["text"]


def test_list(call: Callable[..., Any]) -> None:
    assert "harmfulqa" in call("data", "list").out
    assert json.loads(call("data", "list", "--json").out)["sources"][0]["name"] == "hh-rlhf"


def test_a_mistake_is_one_line(call: Callable[..., Any]) -> None:
    said = call("data", "show", "harmfulqq")
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert "did you mean 'harmfulqa'" in said.err
