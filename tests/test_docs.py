"""docs/paper.md says what every value is in which the presets differ; it is held to the presets here."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from iteralign.config.schema import Config, load
from iteralign.options import declared

ROOT = Path(__file__).parents[1]
PAPER = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([a-z_.]+)` \| `([^`]+)` \| `([^`]+)` \| (.+) \|$", re.MULTILINE)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Each preset with nothing on top of it."""
    found = {}
    for name in ("paper", "improved"):
        path = tmp_path_factory.mktemp("preset") / "bare.toml"
        path.write_text(f'preset = "{name}"\n', encoding="utf-8")
        found[name] = flat(load(path).model_dump(mode="json"))
    return found


def test_the_table_has_every_difference_and_no_other(presets: dict[str, dict[str, Any]]) -> None:
    keys = [k for k in presets["paper"] if presets["paper"][k] != presets["improved"][k] and k != "preset"]
    assert sorted(row[0] for row in ROW.findall(PAPER)) == sorted(keys)


@pytest.mark.parametrize("row", ROW.findall(PAPER), ids=lambda row: row[0])
def test_a_value_in_the_table(row: tuple[str, str, str, str], presets: dict[str, dict[str, Any]]) -> None:
    key, paper, improved, source = row
    assert source == next(option.source for option in declared(Config) if option.key == key)
    written = tomllib.loads(f"paper = {paper}\nimproved = {improved}")
    assert written == {name: presets[name][key] for name in ("paper", "improved")}


def test_the_values_that_both_take_from_the_script(presets: dict[str, dict[str, Any]]) -> None:
    expected = {
        "sampling.temperature": 0,
        "sampling.top_p": 1,
        "sampling.max_tokens": 500,
        "training.epochs": 3,
        "training.warmup_ratio": 0.03,
        "training.scheduler": "cosine",
        "training.weight_decay": 0,
        "training.batch_size": 8,
        "finetune.start": "previous",
    }
    for name in ("paper", "improved"):
        assert {key: presets[name][key] for key in expected} == expected


def test_the_benchmarks_in_the_table_are_those_there_are() -> None:
    from iteralign.evaluate.benchmarks import BENCHMARKS

    page = (ROOT / "docs" / "evaluate.md").read_text(encoding="utf-8")
    table = page.partition("| `--benchmarks` |")[2].partition("\n\n")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    judged = {row[0].strip("| `"): row[-1].strip(" |") == "yes" for row in rows}
    assert judged == {name: benchmark.judged for name, benchmark in BENCHMARKS.items()}


def test_the_experiment_shown_is_one(tmp_path: Path) -> None:
    from iteralign.experiment import grid

    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    path = tmp_path / "grid.toml"
    path.write_text(block, encoding="utf-8")
    assert len(grid.load(str(path)).cells) == 10


def test_the_experiments_page_has_every_option_and_every_shipped_arm() -> None:
    import inspect

    from iteralign.cli import experiment
    from iteralign.experiment import grid, sheet

    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    options = set(inspect.signature(experiment.command).parameters) - {"file", "quiet"}
    assert set(re.findall(r"^\| `--(\w+)", page, re.MULTILINE)) == options
    assert all(f"`{name}`" in page for name in sheet.shipped())
    assert all(f"`{arm}`" in page for arm in grid.load("organism").arms)
