"""Sheet: the experiment file. What all runs share, and by which values models, red-team sets and arms differ."""

import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from iteralign.config.messages import explain
from iteralign.errors import UserError, unknown
from iteralign.options import STRICT
from iteralign.security import documents

VANILLA = "vanilla"
"""The name under which the untrained base stands; no arm has it."""

BENCHMARKS = ("truthfulqa-tf", "truthfulqa-mc", "hhh", "violations", "overrefusal", "helpfulness")
"""What `iteralign evaluate` knows and says something about a policy; `agreement` is about the judge."""

SECTIONS = ("models", "redteam", "arms")
_LABEL = re.compile(r"\w[\w.+-]*")
Overrides = Mapping[str, Any]


class ExperimentSheet(BaseModel):
    """An experiment file. `config`: what all runs start from. `reference`: the arm that all others are compared with.

    `shared`, and the entries of `models`, `redteam` and `arms` by label, hold values as a config does; a later one of
    these goes above an earlier one. Without `models` or `redteam` there is one, the config's own.
    """

    model_config = ConfigDict(**STRICT, frozen=True)

    name: str
    config: str = "quickstart"
    seeds: tuple[int, ...] = Field(min_length=1)
    reference: str
    benchmarks: tuple[str, ...] = ()
    benchmark_data: dict[str, str] = Field(default_factory=dict)
    shared: dict[str, Any] = Field(default_factory=dict)
    models: dict[str, dict[str, Any]] = Field(default_factory=dict)
    redteam: dict[str, dict[str, Any]] = Field(default_factory=dict)
    arms: dict[str, dict[str, Any]] = Field(min_length=1)


def read(source: str) -> tuple[ExperimentSheet, Path | None]:
    """The sheet of a file, or a shipped one by its name; and the folder that its `config` is relative to.

    Raises UserError in one line.
    """
    written, folder = _find(source)
    try:
        values = documents.parsed_toml(written)
    except documents.Unreadable as error:
        raise UserError(f"experiment {source}: {error}") from None
    try:
        sheet = ExperimentSheet.model_validate(values)
    except ValidationError as error:
        said = str(explain(error, ExperimentSheet)).removeprefix("config ")
        raise UserError(f"experiment {source}: {said}") from None
    for problem in _problems(sheet):
        raise UserError(f"experiment {source}: {problem}")
    return sheet, folder


def shipped() -> list[str]:
    """Names of the experiments that come with the package."""
    entries = (resources.files(__package__) / "shipped").iterdir()
    return sorted(p.name.removesuffix(".toml") for p in entries if p.name.endswith(".toml"))


def text(source: str) -> str:
    """An experiment file as it is written. Raises UserError."""
    return _find(source)[0]


def _find(source: str) -> tuple[str, Path | None]:
    path = Path(source)
    try:
        if path.exists() and not path.is_dir():
            return documents.text(path, documents.SETTINGS), path.parent
    except documents.Unreadable as error:
        raise UserError(f"experiment {path}: cannot be read ({error})") from None
    if path.suffix or len(path.parts) > 1 or (path.is_dir() and source not in shipped()):
        raise UserError(f"experiment {path}: no such file; shipped experiments: {', '.join(shipped())}")
    if source not in shipped():
        raise unknown("experiment", source, shipped())
    entry = resources.files(__package__) / "shipped" / f"{source}.toml"
    return entry.read_text(encoding="utf-8"), None


def _problems(sheet: ExperimentSheet) -> Iterable[str]:
    """What is wrong with the words of a sheet, each with the way out."""
    yield from _bad_labels(sheet)
    yield from _set_by_the_grid(sheet)
    yield from _twice("seeds", sheet.seeds)
    yield from _twice("benchmarks", sheet.benchmarks)
    if VANILLA in sheet.arms:
        yield f"arms.{VANILLA}: stands for the untrained base; choose another label"
    if sheet.reference not in sheet.arms:
        yield str(unknown("reference", sheet.reference, sheet.arms))
    for name in (*sheet.benchmarks, *sheet.benchmark_data):
        if name not in BENCHMARKS:
            yield str(unknown("benchmarks", name, BENCHMARKS))
    for name in sheet.benchmark_data:
        if name not in sheet.benchmarks:
            yield f"benchmark_data.{name}: is not among benchmarks; add it there, or leave its data out"


def _bad_labels(sheet: ExperimentSheet) -> Iterable[str]:
    if not _LABEL.fullmatch(sheet.name):
        yield f"name: {sheet.name!r} is a folder's name too: letters, digits and - _ . + only, no slash"
    for section in SECTIONS:
        for label in getattr(sheet, section):
            if not _LABEL.fullmatch(label):
                yield f"{section}: label {label!r} is a folder's name: letters, digits and - _ . + only, no slash"


def _labelled(sheet: ExperimentSheet) -> dict[str, Overrides]:
    return {f"{s}.{label}": values for s in SECTIONS for label, values in getattr(sheet, s).items()}


def _set_by_the_grid(sheet: ExperimentSheet) -> Iterable[str]:
    overrides = {"shared": sheet.shared, **_labelled(sheet)}
    for where, values in overrides.items():
        for key in ("seed", "name"):
            if key in values:
                yield f"{where}.{key}: is set by the grid; leave it out"


def _twice(field: str, values: tuple[Any, ...]) -> Iterable[str]:
    for i, value in enumerate(values):
        if value in values[:i]:
            yield f"{field}: {value!r} is there twice"
