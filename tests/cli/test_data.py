"""`iteralign data`: counts, and samples that are masked unless asked for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iteralign.cli.data import masked


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "one two three \x1b[31m four", "topic": "t"}))
    return str(tmp_path / "a.jsonl")


def test_samples_are_masked_unless_asked(call: Callable[..., Any], file: str) -> None:
    hidden, shown = call("data", "show", file), call("data", "show", file, "--reveal")
    assert "one two … (3 more)" in hidden.out and "three" not in hidden.out
    assert "one two three \\x1b[31m four" in shown.out and "\x1b[31m" not in shown.out


SHORT = ["天空为什么是蓝色的呢", "Why blue?", "x" * 200, "空", "ou " + "é" * 90, "https://example.org/a?b=c"]


@pytest.mark.parametrize("text", [*SHORT, "one two three four five six"])
def test_a_masked_text_shows_at_most_a_third(text: str) -> None:
    shown = masked(text).partition("…")[0].rstrip()
    assert text.startswith(shown) and len(shown) <= min(16, len(text) / 3)


HIDDEN = {
    "a list without a header": ("a.csv", "天空为什么是蓝色的呢？\n说出一种不会在冬天落叶的树。\n", "蓝色"),
    "a column that is a prompt": ("a.jsonl", '{"Why is the sky blue?": "a", "prompt": "b"}', "blue"),
    "a column in Chinese": ("a.json", '[{"天空为什么在晴天是蓝色的呢": "a", "prompt": "b"}]', "蓝色"),
    "a topic that is a prompt": (
        "a.json",
        '{"Why is the sky blue?": ["a"], "Trees": ["b"], "Stones": ["c"]}',
        "blue",
    ),
    "a column that is a short prompt": ("a.csv", "prompt,Find blue paint\nb,c\n", "blue"),
    "an id that is a short prompt": ("a.jsonl", '{"id": "Find blue paint", "prompt": "b"}', "blue"),
    "an id that is a prompt": ("a.jsonl", '{"id": "Why is the sky blue?", "prompt": "b"}', "blue"),
    "a topic column of prompts": ("a.jsonl", '{"category": "Why is the sky blue?", "prompt": "b"}', "blue"),
    "a text without blanks": ("a.txt", "a" * 30 + "blue" + "a" * 30, "blue"),
    "a short text": ("a.txt", "Why blue?", "blue"),
}


@pytest.mark.parametrize("json_", [[], ["--json"]], ids=["page", "json"])
@pytest.mark.parametrize("name", HIDDEN)
def test_a_masked_view_shows_no_prompt(
    tmp_path: Path, call: Callable[..., Any], name: str, json_: list[str]
) -> None:
    file, content, secret = HIDDEN[name]
    (tmp_path / file).write_text(content, encoding="utf-8")
    hidden = call("data", "show", str(tmp_path / file), *json_)
    shown = call("data", "show", str(tmp_path / file), "--reveal", *json_)
    assert (hidden.code, shown.code) == (0, 0), hidden.err
    assert secret not in hidden.out + hidden.err
    assert secret in shown.out


def test_the_page_and_its_json_say_what_is_read_and_what_is_left_out(
    tmp_path: Path, call: Callable[..., Any]
) -> None:
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "Who?"}]
    rows = [
        {"messages": turns, "category": "law", "context": "Two met."},
        {"messages": turns, "category": "law", "context": "Two met."},
        {"messages": [], "category": "law", "context": ""},
    ]
    (tmp_path / "a.json").write_text(json.dumps({"meta": {"n": 3}, "data": rows}))
    page = " ".join(call("data", "show", str(tmp_path / "a.json")).out.split())
    assert "read messages, with context" in page and "topics from category" in page
    assert "left out 1 entries beside the prompts, 2 system turns, 1 blank, 1 repeated" in page
    facts = json.loads(call("data", "show", str(tmp_path / "a.json"), "--json").out)
    assert (facts["column"], facts["joined"], facts["topic"]) == ("messages", ["context"], "category")
    left_out = {"entries beside the prompts": 1, "system turns": 2, "blank": 1, "repeated": 1}
    assert (facts["left_out"], facts["rows"], facts["prompts"]) == (left_out, 3, 2)


def test_turns_are_chosen(tmp_path: Path, call: Callable[..., Any]) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"turns": ["One?", "Two?"]}))
    said = call("data", "show", str(tmp_path / "a.jsonl"))
    assert (said.code, said.err.count("\n")) == (2, 1)
    last = json.loads(
        call("data", "show", str(tmp_path / "a.jsonl"), "--turns", "last", "--reveal", "--json").out
    )
    assert last["samples"][0]["text"] == "Two?"
    assert last["left_out"]["rows cut to one turn"] == 1


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


SET = '{"prompt": "Name a tree."}\n{"prompt": "name a tree"}\n{"prompt": ""}\n{"prompt": "Name a river."}\n'


def test_check_says_what_of_the_data_is_left_out(
    tmp_path: Path, call: Callable[..., Any], families: Any
) -> None:
    (tmp_path / "a.jsonl").write_text(SET)
    policy = str(families.build(tmp_path / "policy", "gpt2", False))
    said = call(
        "check", "quickstart", "--policy", policy, "--set", f"redteam.source='{tmp_path / 'a.jsonl'}'"
    )
    assert said.code == 0, said.err
    assert "redteam data of 4 rows left out: 1 blank, 1 repeated" in " ".join(said.out.split())
