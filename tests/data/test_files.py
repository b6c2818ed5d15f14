"""Probe files: what is in them comes out, and what is wrong is said with its place."""

import json
from pathlib import Path

import pytest

from iteralign.data.probe_files import probes
from iteralign.errors import UserError

GOOD = {"prompt": "q", "kind": "fact", "reference": "r", "topic": "t"}


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    return path


def test_probes_with_their_reference_and_ids_of_their_own(tmp_path: Path) -> None:
    found = probes(write(tmp_path / "a.jsonl", [GOOD, {**GOOD, "kind": "hazard", "reference": None}]))
    assert [(p.kind, p.reference, p.prompt.topic) for p in found] == [("fact", "r", "t"), ("hazard", "", "t")]
    assert len({p.prompt.id for p in found}) == 2


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**GOOD, "kind": "facts"}, r"a.jsonl:2: kind 'facts': allowed hazard"),
        ("bare", r"a.jsonl:2: kind None"),
        ({"kind": "fact", "prmpt": "q"}, r"a.jsonl:2: .*did you mean 'prmpt'"),
        ({**GOOD, "prompt": " "}, r"a.jsonl:2: prompt is blank"),
    ],
)
def test_a_mistake_names_its_row(tmp_path: Path, row: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        probes(write(tmp_path / "a.jsonl", [GOOD, row]))
