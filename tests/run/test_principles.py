"""Principles that are not discovered: where they are read from, and what is said of a list that is none."""

import json
from pathlib import Path

import pytest

from iteralign.config.schema import load
from iteralign.errors import UserError
from iteralign.organism.world import HAZARDS, read_principle
from iteralign.run import build, principles


def test_every_shipped_list_is_read() -> None:
    assert principles.shipped() == ["generic", "organism-generic", "organism-pool"]
    assert all(len(principles.load(name)) > 5 for name in principles.shipped())
    pool = [read_principle(p.text) for p in principles.load("organism-pool")]
    assert pool == list(HAZARDS)


def test_lines_and_exports_are_read_once_each(tmp_path: Path) -> None:
    text, exported = tmp_path / "mine.txt", tmp_path / "other.json"
    text.write_text("\ufeffBe kind.\r\n\n  Be true. \nBe kind.\n", encoding="utf-8")
    rows = [{"id": "p-1", "text": "Be\nkind.", "born": 3}, {"text": "Be true."}]
    exported.write_text(json.dumps({"principles": rows}), encoding="utf-8")
    for path in (text, exported):
        assert [p.text for p in principles.load(str(path))] == ["Be kind.", "Be true."]
    assert [p.id for p in principles.load(str(text))] == [p.id for p in principles.load(str(exported))]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("generik", None, "did you mean 'generic'"),
        ("absent.txt", None, "'absent.txt' cannot be read"),
        ("empty.txt", " \n", "holds no principle"),
        ("bad.json", "{", "is not JSON"),
        ("none.json", "[]", "holds no principle"),
        ("odd.json", '{"principles": [{"txt": "Be kind."}]}', "every principle needs a text"),
        ("flat.json", '{"principles": ["Be kind."]}', "every principle needs a text"),
    ],
)
def test_what_is_no_list_is_said(
    name: str, content: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        principles.load(name)
    assert said in str(caught.value)
    assert "propose.principles" in str(caught.value)


@pytest.mark.parametrize("sets", [["propose.source=given"], ["propose.principles=generic"]])
def test_a_list_and_a_source_belong_together(sets: list[str]) -> None:
    with pytest.raises(UserError, match="propose.principles"):
        build.method(load("quickstart", sets))


def test_a_config_names_the_list() -> None:
    found = build.method(load("quickstart", ["propose.source=drawn", "propose.principles=generic", "seed=3"]))
    assert (found.propose.source, found.propose.seed) == ("drawn", 3)
    assert found.propose.given == principles.load("generic")
    assert build.method(load("quickstart", ["preset=paper"])).trial is None
