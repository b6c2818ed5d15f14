"""Formats: each quirk of published files is read as meant; a file of another kind is named in one line."""

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from iteralign.data.formats import columns, rows, usual
from iteralign.errors import UserError


def read(tmp_path: Path, name: str, content: str | bytes) -> list[Any]:
    file = tmp_path / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(rows(file))


def test_csv_with_bom_crlf_and_a_line_feed_in_a_cell(tmp_path: Path) -> None:
    found = read(tmp_path, "a.csv", '\ufeffgoal,target\r\n"one\ntwo, still",x\r\n"with ""marks""",y\r\n')
    assert found == [{"goal": "one\ntwo, still", "target": "x"}, {"goal": 'with "marks"', "target": "y"}]


def test_a_csv_cell_may_be_long(tmp_path: Path) -> None:
    assert len(read(tmp_path, "a.csv", "text\n" + "x" * 200_000 + "\n")[0]["text"]) == 200_000


def test_tsv(tmp_path: Path) -> None:
    assert read(tmp_path, "a.tsv", "a\tb\n1,2\t3\n") == [{"a": "1,2", "b": "3"}]


def test_txt_with_bom_crlf_and_a_line_separator_inside_a_text(tmp_path: Path) -> None:
    assert read(tmp_path, "a.txt", "\ufefffirst\r\nsecond\u2028still\r\n\r\nlast") == [
        "first",
        "second\u2028still",
        "last",
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson"])
def test_jsonl(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, name, '\ufeff{"q": "one"}\r\n\n"bare"\n') == [{"q": "one"}, "bare"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        ([{"q": "a"}], [{"q": "a"}]),
        ({"data": [{"q": "a"}], "version": 1}, [{"q": "a"}]),
        ({"instructions": ["a", "b"], "inputs": []}, ["a", "b"]),
        ({"instructions": ["a"], "tags": ["t"], "inputs": []}, [{"instructions": "a", "tags": "t"}]),
        (
            {"T": {"S": ["a"]}, "U": {"V": ["b"]}},
            [{"topic": "T", "subtopic": "S", "prompt": "a"}, {"topic": "U", "subtopic": "V", "prompt": "b"}],
        ),
        ({"T": ["a"], "U": ["b"]}, [{"topic": "T", "prompt": "a"}, {"topic": "U", "prompt": "b"}]),
    ],
)
def test_json_and_pickles_in_every_shape(tmp_path: Path, value: object, expected: list[object]) -> None:
    assert read(tmp_path, "a.json", json.dumps(value)) == expected
    assert read(tmp_path, "a.pkl", pickle.dumps(value)) == expected


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"q": ["a", None]}), tmp_path / "a.parquet")
    assert list(rows(tmp_path / "a.parquet")) == [{"q": "a"}, {"q": None}]
    (tmp_path / "b.csv").write_bytes((tmp_path / "a.parquet").read_bytes())
    with pytest.raises(UserError, match="b.csv: cannot be read as .csv: it is Parquet: name it .parquet"):
        rows(tmp_path / "b.csv")


def test_gzip_on_top(tmp_path: Path) -> None:
    assert read(tmp_path, "a.jsonl.gz", gzip.compress(b'{"q": "a"}')) == [{"q": "a"}]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "question\nwho?\n", "a file in another format is named by that"),
        ("a.jsonl", "{not json\n", "line 1 is not JSON"),
        ("a.jsonl", '{\n"q": "x"}', "one JSON document: name it .json"),
        ("a.jsonl", "[1]\n", "line 1 is not a JSON object"),
        ("a.json", '{"q": 1}\n{"q": 2}\n', "one object a line: name it .jsonl"),
        ("a.json", "[1, 2]", "item 1 is neither an object nor a text"),
        ("a.json", "3", "holds one int"),
        ("a.json", '{"a": {"b": {"c": {"d": ["x"]}}}}', "under topics"),
        ("a.json", "[" * 100_000, "nested too deep"),
        ("a.csv", '[{"q": "x"}]', "it is JSON: name it .json"),
        ("a.csv", "a,b\n1\n", "line 2 has 1 cells, the first line 2"),
        ("a.csv", "a,a\n1,2\n", "a column stands twice"),
        ("a.csv", 'a\n"x', "line 2"),
        ("a.csv", gzip.compress(b"a\n1\n"), "it is gzip: name it .gz"),
        ("a.csv", "<!DOCTYPE html><p>", "a web page, not the data"),
        ("a.csv", b"PK\x03\x04", "spreadsheet"),
        ("a.pkl", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.txt", pickle.dumps(["a"]), "it is a pickle: name it .pkl"),
        ("a.txt", b"\xff\xfea\x00", "UTF-16 text: save it as UTF-8"),
        ("a.txt", b"caf\xe9", "not UTF-8 text (byte 3)"),
        ("a.json", b'["\xe9"]', "not UTF-8 text"),
        ("a.txt.gz", b"plain", "not gzip as its name says"),
        ("a.txt.gz", gzip.compress(b"plain" * 99)[:-9], "cannot be read"),
        ("a.parquet", b"plain", "cannot be read as .parquet"),
        ("a.xlsx", b"x", "unknown format '.xlsx'; allowed: .jsonl"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_named_in_one_line(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, name, content)
    assert said in str(error.value) and name in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none.jsonl: no such file"):
        rows(tmp_path / "none.jsonl")


def test_the_column_that_holds_the_prompts() -> None:
    assert usual(["id", "Question"]) == "Question"
    assert usual(["Instructions", "tags"]) == "Instructions"
    assert usual(["what"]) == "what"
    assert usual(["a", "b"]) is None
    assert columns(["bare", {"a": 1}, {"b": 1, "a": 2}]) == ("a", "b")
