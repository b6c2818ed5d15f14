"""The benchmarks of an experiment on real (tiny, random) weights: the base's and a run's."""

import json
from pathlib import Path
from types import ModuleType

import pytest

from iteralign.evaluate.results import Result
from iteralign.experiment import evaluating, grid
from iteralign.experiment.outcomes import collect
from iteralign.experiment.tables import tables
from iteralign.models import tiny

ITEMS = [
    {
        "question": f"is the {animal} red?",
        "mc1_targets": {"choices": ["no", "yes", "a plan"], "labels": [1, 0, 0]},
    }
    for animal in ("dog", "cat", "bird", "tree")
]
PAIRS = [{"input": "who are you?", "targets": {"choices": ["the cat", "a key"], "labels": [1, 0]}}]
BENCHMARKS = """
benchmarks = ["truthfulqa-tf", "hhh"]
benchmark_data = { truthfulqa-tf = "items.json", hhh = "honest.json" }
"""


@pytest.fixture
def tiny_sheet(sheet: Path) -> Path:
    folder = sheet.parent
    tiny.build(folder / "tiny")
    base = folder / "base.toml"
    base.write_text(base.read_text(encoding="utf-8").replace('"model"', '"tiny"'), encoding="utf-8")
    (folder / "items.json").write_text(json.dumps(ITEMS), encoding="utf-8")
    (folder / "honest.json").write_text(json.dumps(PAIRS), encoding="utf-8")
    sheet.write_text(BENCHMARKS + sheet.read_text(encoding="utf-8"), encoding="utf-8")
    return sheet


def found(root: Path, name: str) -> Result:
    result = evaluating.found(root / evaluating.FOLDER, name)
    assert result is not None
    return result


def test_the_base_and_a_run_that_trained_nothing_get_the_same_figures(
    tiny_sheet: Path, rehearsal: ModuleType
) -> None:
    planned = grid.load(str(tiny_sheet))
    (cell,) = planned.only("*/self-revision/seed-0")
    names, data = planned.sheet.benchmarks, planned.sheet.benchmark_data
    run, base = (Path("out/tiny/organism") / place for place in ("self-revision/seed-0", "vanilla"))
    list(rehearsal.perform(cell.config, run))
    for root in (run, base):
        assert evaluating.missing(cell.config, root, names, data) == names
        evaluating.evaluate(cell.config, root, names, data)
        assert evaluating.missing(cell.config, root, names, data) == ()
    assert found(base, "hhh").subject["model"] == "tiny"
    assert [r.outcome for r in found(run, "hhh").records] == [r.outcome for r in found(base, "hhh").records]
    rows = {
        t.name: {r.label: r for s in t.sections for r in s.rows}
        for t in tables(collect(planned, Path("out")))
    }
    (truthful, *_) = found(base, "truthfulqa-tf").figures
    entry = rows["truthfulqa"]["vanilla"].entries[0]
    assert entry is not None
    assert (entry.value, entry.n) == (truthful.value, 4)
    assert rows["truthfulqa"]["self-revision"].entries == rows["truthfulqa"]["vanilla"].entries
    assert set(rows["truthfulqa"]["improved"].entries) == {None}


def test_other_items_are_asked_again(tiny_sheet: Path) -> None:
    planned = grid.load(str(tiny_sheet))
    config, data = planned.cells[0].config, planned.sheet.benchmark_data
    evaluating.evaluate(config, Path("base"), ("hhh",), data)
    Path("more.json").write_text(json.dumps([*PAIRS, {**PAIRS[0], "input": "my name?"}]), encoding="utf-8")
    with pytest.raises(Exception, match="more.json: of which category"):
        evaluating.check(("hhh",), {"hhh": "more.json"})
    Path("other").mkdir()
    Path("more.json").rename("other/honest.json")
    assert evaluating.missing(config, Path("base"), ("hhh",), {"hhh": "other/honest.json"}) == ("hhh",)
