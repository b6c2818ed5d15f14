"""Prompt files: what is in them comes out, and what is wrong is said with its place."""

import json
from pathlib import Path

import pytest

from iteralign.data.files import probes, prompts
from iteralign.errors import UserError


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    return path


def test_jsonl_by_field(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"q": "one", "topic": "x"}, {"q": "two", "id": "7"}, {"q": " "}])
    found = prompts(file, "q")
    assert [(p.text, p.topic) for p in found] == [("one", "x"), ("two", "")]
    assert found[1].id == "7"


def test_txt_bom_crlf_and_line_separators_inside_a_text(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("﻿first\r\nsecond has a strange break\r\n\r\n".encode())
    assert [p.text for p in prompts(file)] == ["first", "second has a strange break"]


def test_equal_texts_have_equal_ids_and_families(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"prompt": "same"}, {"prompt": "same"}, {"prompt": "other"}])
    a, b, c = prompts(file)
    assert (a.id, a.family) == (b.id, b.family) != (c.id, c.family)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", "{not json\n", "a.jsonl:1: not JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl:1: not a JSON object"),
        ("a.jsonl", '{"question": "x"}\n', "field 'prompt' is not a text; the fields are question"),
        ("a.jsonl", "\n", "no prompt in it"),
        ("a.xlsx", "x", "unknown format '.xlsx'; allowed: .jsonl, .txt"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, name: str, content: str, said: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(UserError) as error:
        prompts(file)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        prompts(tmp_path / "none.jsonl")


def test_probes_need_a_known_kind(tmp_path: Path) -> None:
    good = {"prompt": "q", "kind": "fact", "reference": "r"}
    assert probes(write(tmp_path / "a.jsonl", [good]))[0].reference == "r"
    with pytest.raises(UserError, match=r"a.jsonl:2: kind 'facts': allowed hazard"):
        probes(write(tmp_path / "a.jsonl", [good, {**good, "kind": "facts"}]))
