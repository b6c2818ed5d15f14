"""Shapes: one table from what a file says to its prompts, topics and what is left out, or to the refusal."""

import json
from pathlib import Path

import pytest

from iteralign.data.sources import Loaded, Wanted, load
from iteralign.errors import UserError

TWO = ["Why is the sky blue?", "Name a tree."]
TOPICS = {"sky": TWO[:1], "wood": TWO[1:]}
INDEX = {"columns without a name": 1}
BEYOND = "entries beside the prompts"
TURNS = [{"role": r, "content": c} for r, c in zip(("user", "assistant", "user"), "abc", strict=True)]
SEMICOLONS = ["Name a tree; name a river", "Why?"]
CHINESE = ["天空为什么是蓝色的呢？", "说出一种树。"]
HARMBENCH = "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\n"
SHAPES: dict[str, tuple[str, str | bytes, list[str], list[str], dict[str, int]]] = {
    # what it is: (name, content, prompts, topics, left out)
    "an index column": ("a.csv", f",prompt\r\n0,{TWO[0]}\r\n1,{TWO[1]}\r\n", TWO, [], INDEX),
    "a named index": ("a.csv", f"Unnamed: 0,prompt\n0,{TWO[0]}\n1.0,{TWO[1]}\n", TWO, [], INDEX),
    "semicolons": ("a.csv", f"id;prompt;topic\n1;{TWO[0]};sky\n2;{TWO[1]};wood\n", TWO, ["sky", "wood"], {}),
    "semicolons, commas in texts": ("a.csv", "id;prompt\n1;One, two?\n", ["One, two?"], [], {}),
    "tabs in a .csv": ("a.csv", f"id\tprompt\n1\t{TWO[0]}\n2\t{TWO[1]}\n", TWO, [], {}),
    "commas in a .tsv": ("a.tsv", f"id,prompt\n1,{TWO[0]}\n2,{TWO[1]}\n", TWO, [], {}),
    "a list without a header": ("a.csv", f"{TWO[0]}\n{TWO[1]}\n", TWO, [], {}),
    "a quoted list without a header": ("a.csv", '"One, two?"\n"Name."\n', ["One, two?", "Name."], [], {}),
    "a Chinese list without a header": ("a.csv", "\n".join(CHINESE), CHINESE, [], {}),
    "semicolons in a list": ("a.csv", "\n".join(SEMICOLONS), SEMICOLONS, [], {}),
    "lines that end in CR": ("a.txt", "\r".join(TWO), TWO, [], {}),
    "semicolons, odd names": ("a.csv", f"n;forbidden_prompt;text\n1;a;{TWO[0]}\n2;b;{TWO[1]}\n", TWO, [], {}),
    "a header of one column": ("a.csv", f"forbidden_prompt\n{TWO[0]}\n{TWO[1]}\n", TWO, [], {}),
    "blanks around names": ("a.csv", f"id, prompt\n1,{TWO[0]}\n2,{TWO[1]}\n", TWO, [], {}),
    "contextual rows of HarmBench": (
        "a.csv",
        HARMBENCH + 'Sum up.,contextual,law,context,"A long, dull letter.",a_1\nName a tree.,standard,wood,,,b_2\n',
        ["A long, dull letter.\n\n---\n\nSum up.", "Name a tree."], ["law", "wood"], {},
    ),
    "Alpaca": (
        "a.json",
        json.dumps([{"instruction": "Shorten.", "input": t, "output": "x"} for t in ("One text.", "Two texts.", "")]),
        ["Shorten.\n\nOne text.", "Shorten.\n\nTwo texts.", "Shorten."], [], {},
    ),
    "messages": (
        "a.jsonl",
        json.dumps({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": TWO[0]}]}),
        TWO[:1], [], {"system turns": 1},
    ),
    "turns under prompt": (
        "a.jsonl",
        json.dumps({"prompt": TURNS}),
        ["\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"], [], {},
    ),
    "conversations of ShareGPT": (
        "a.json",
        json.dumps([{"conversations": [{"from": "human", "value": TWO[0]}, {"from": "gpt", "value": "x"}]}]),
        TWO[:1], [], {},
    ),
    "a transcript": (
        "a.jsonl",
        json.dumps({"transcript": "\n\nHuman: One?\n\nAssistant: x\n\nHuman: Two?\n\nAssistant: y", "rating": 1}),
        ["One?"], [], {"rows cut to one turn": 1},
    ),
    "texts beside metadata": ("a.json", json.dumps({"meta": {"tags": ["x", "y"]}, "data": TWO}), TWO, [], {BEYOND: 1}),
    "objects beside metadata": (
        "a.json",
        json.dumps({"version": "1", "authors": ["x", "y"], "data": [{"prompt": t, "category": "c"} for t in TWO]}),
        TWO, ["c", "c"], {BEYOND: 2},
    ),
    "any list beside metadata": ("a.json", json.dumps({"about": {"n": 2}, "harm": TWO}), TWO, [], {BEYOND: 1}),
    "a task of BIG-bench": (
        "a.json",
        json.dumps({"name": "t", "keywords": ["x"], "metrics": ["y"], "examples": [{"prompt": t} for t in TWO]}),
        TWO, [], {BEYOND: 3},
    ),
    "topics beside metadata": ("a.json", json.dumps({"info": ["x"], **TOPICS}), TWO, [*TOPICS], {BEYOND: 1}),
    "topics under data": ("a.json", json.dumps({"version": 2, "data": TOPICS}), TWO, [*TOPICS], {BEYOND: 1}),
    "blank rows": ("a.csv", f"id,prompt\n1,{TWO[0]}\n2, \n3,{TWO[1]}\n", TWO, [], {"blank": 1}),
}  # fmt: skip
REFUSED: dict[str, tuple[str, str | bytes, str]] = {
    "dialogues in a plain text": ("a.txt", "\n\nHuman: Name a tree.\n\nAssistant: Oak.\n" * 3, "it holds dialogues"),
    "a list whose first line is one word": ("a.csv", f"spill\n{TWO[0]}\n{TWO[1]}\n", "a prompt? set field"),
    "a header above a list of texts": ("a.txt", f"prompt\n{TWO[0]}\n{TWO[1]}\n", "take it out, or name the file .csv"),
    "UTF-16 without a mark": ("a.txt", "Name a tree.\n".encode("utf-16-le"), "UTF-16 without a mark"),
    "UTF-16 without a mark, big": ("a.csv", "prompt\nName a tree.\n".encode("utf-16-be"), "save it as UTF-8"),
    "UTF-16 in JSON": ("a.json", '["a"]'.encode("utf-16-le"), "UTF-16 without a mark"),
    "UTF-32": ("a.jsonl", '{"prompt": "a"}\n'.encode("utf-32-le"), "UTF-16"),
    "a nameless column of texts": ("a.csv", f",label\n{TWO[0]},safe\n", "column 1 has no name and holds texts"),
    "cells without a header": ("a.csv", f"1,{TWO[0]}\n2,{TWO[1]}\n", "does not look like names of columns"),
    "texts with commas": ("a.csv", "One, two?\nName a tree.\n", "line 2 has 1 cells, the first line 2"),
    "a first line that may be either": ("a.csv", "Name a tree\nName a river\n", "or a prompt? set field to the column"),
    "a Chinese one": ("a.csv", "说出一种树\n说出一条河\n", "or a prompt?"),
    "semicolons that do not add up": ("a.csv", "id;prompt\n1;a;b\n", "line 2 has 3 cells"),
    "two lists": ("a.json", json.dumps({"prompts": TWO, "labels": ["x"]}), "lists under labels: which are prompts?"),
    "several turns without answers": ("a.jsonl", '{"turns": ["a", "b"]}', "set turns to first, last or transcript"),
    "two columns": ("a.csv", "one,two\na,b\n", "set field to one of: one, two"),
}  # fmt: skip


def loaded(folder: Path, name: str, content: str | bytes, field: str | None = None) -> Loaded:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return load(Wanted(str(file), field=field))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_is_read_as_it_is_meant(tmp_path: Path, shape: str) -> None:
    name, content, prompts, topics, left_out = SHAPES[shape]
    found = loaded(tmp_path, name, content)
    assert [p.text for p in found.prompts] == prompts
    assert [p.topic for p in found.prompts if p.topic] == topics
    assert dict(found.left_out) == left_out


@pytest.mark.parametrize("shape", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused_in_one_line(tmp_path: Path, shape: str) -> None:
    name, content, said = REFUSED[shape]
    with pytest.raises(UserError) as error:
        loaded(tmp_path, name, content)
    line = str(error.value).removeprefix(f"{tmp_path}/")
    assert said in line and "\n" not in line
    assert "sky" not in line and "tree" not in line and "树" not in line


def test_a_field_settles_what_the_first_line_is(tmp_path: Path) -> None:
    for head in ("Name a tree", "Why is the sky blue?", "0"):
        found = loaded(tmp_path, "a.csv", f"{head}\nName a river\n", field=head)
        assert [p.text for p in found.prompts] == ["Name a river"]


def test_a_parquet_file_has_an_index_too(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"q": TWO, "__index_level_0__": [0, 1]}), tmp_path / "a.parquet")
    found = load(Wanted(str(tmp_path / "a.parquet")))
    assert (found.read, [p.text for p in found.prompts]) == (("q",), TWO)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.csv": "prompt\na\n", "LICENSE_NOTE.txt": "MIT", "README.md": "# Notes"}, ["a"]),
        ({"a.csv": "prompt\na\n", "b.csv": "prompt\nb\n"}, ["a", "b"]),
        ({"data/b.csv": "prompt\nb\n"}, ["b"]),
        ({"a.csv": "prompt\na\n", "b.csv": "goal\nb\n"}, "holds several files: choose one of"),
        ({"a.csv": "prompt\na\n", "b.txt": "b\n"}, "holds several files: choose one of"),
        (
            {"bad_train.csv": "prompt\na\n", "good_val.csv": "prompt\nb\n"},
            "holds several files: choose one of",
        ),
        ({"train.csv": "prompt\na\n", "test.csv": "prompt\nb\n"}, ["a"]),
        ({"LICENSE.txt": "MIT"}, "no data file in it"),
    ],
)
def test_a_folder_is_its_file_its_like_files_or_its_split(
    tmp_path: Path, files: dict[str, str], expected: list[str] | str
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    if isinstance(expected, list):
        assert [p.text for p in load(Wanted(str(tmp_path))).prompts] == expected
    else:
        with pytest.raises(UserError, match=expected):
            load(Wanted(str(tmp_path)))
