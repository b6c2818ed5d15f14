"""One file a run: a preset, and what departs from it. An unknown key is an error that names the nearest right one."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from iteralign.config.messages import explain, shown
from iteralign.config.overrides import assigned, merged
from iteralign.errors import UserError, unknown
from iteralign.options import STRICT, option
from iteralign.security import documents
from iteralign.settings import (
    Benign,
    Budget,
    Finetuning,
    Gate,
    Guard,
    Judge,
    Oracle,
    Policy,
    Price,
    Probes,
    Prompting,
    Propose,
    Redteam,
    Revising,
    Stop,
    Training,
    Trying,
    Vllm,
)
from iteralign.types import Decoding


@dataclass(frozen=True, config=STRICT)
class ProposeSection(Propose):
    """How failures become principles, and which they are where none is proposed."""

    principles: str = option(
        "",
        "Where `source` is given or drawn: a shipped list (generic, …), a text file with one principle a line, or what "
        "`iteralign constitution export --format json` wrote.",
    )


@dataclass(frozen=True, config=STRICT)
class TrialSection(Trying):
    """Whether and how a proposal is tried before it is adopted."""

    enabled: bool = option(
        True,
        "Try each proposal in context before it is adopted.",
        source="every proposal is in force. Ours: tried first, in context, on failures of its kind that the oracle was "
        "not shown and on safe probes; adopted if it gets more of the failures answered well than no principle does, "
        "and spoils at most a tenth of the safe ones",
    )


@dataclass(frozen=True, config=STRICT)
class GuardSection(Guard):
    """Whether and when a checkpoint is rolled back."""

    enabled: bool = option(
        True,
        "Roll a checkpoint back that is worse on the guard figures.",
        source="no measuring in the loop. Ours: a checkpoint that is worse on the guard figures is rolled back",
    )


class Config(BaseModel):
    """A whole run. Every field may be set in the file as `[section] key` or by `--set section.key=value`."""

    model_config = ConfigDict(**STRICT, frozen=True, protected_namespaces=())

    preset: str = option("improved", "The values below this config: improved or paper.")
    name: str = option("run", "The name of the run's directory under runs/.")
    seed: int = option(0, "Of everything that is drawn.", ge=0, lt=2**32)
    offline: bool = option(False, "Call nothing outside this machine.")
    method: Prompting = Prompting()
    policy: Policy = Policy()
    vllm: Vllm = Vllm()
    oracle: Oracle = Oracle()
    judge: Judge = Judge()
    redteam: Redteam = Redteam()
    probes: Probes = Probes()
    test: Probes = Probes(hazards=600, benign=200, borderline=200, facts=150)
    benign: Benign = Benign()
    sampling: Decoding = Decoding()
    propose: ProposeSection = ProposeSection()
    trial: TrialSection = TrialSection()
    revise: Revising = Revising()
    gate: Gate = Gate()
    finetune: Finetuning = Finetuning()
    training: Training = Training()
    guard: GuardSection = GuardSection()
    stop: Stop = Stop()
    budget: Budget = Budget()
    prices: dict[str, Price] = Field(default_factory=dict)


def load(source: Path | str, sets: Sequence[str] = ()) -> Config:
    """The config of a file, or of a shipped config by its name, with `--set` values on top.

    Raises UserError in one line: no such file, not TOML, unknown key, wrong type or value.
    """
    return resolved(assigned(written(source), sets))


def written(source: Path | str) -> dict[str, Any]:
    """What a config file, or a shipped config, says itself. Raises UserError."""
    return _parse(*_find(source))


def resolved(values: Mapping[str, Any]) -> Config:
    """What a file says, over the preset that it names. Raises UserError."""
    preset = values.get("preset", Config.model_fields["preset"].default)
    return validated(merged(_preset(preset), values))


def validated(values: Mapping[str, Any]) -> Config:
    """What the values say. Raises UserError in one line."""
    for text in _texts(values):
        if "\0" in text:
            raise UserError(f"config: {shown(text)} holds NUL, which no name and no message can hold")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise explain(error, Config) from None


def _texts(value: Any) -> Iterator[str]:
    """Every text in it, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in (*value, *value.values()) if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def shipped() -> list[str]:
    """Names of the configs that come with the package."""
    return _names("shipped")


def presets() -> list[str]:
    """Names of the presets."""
    return _names("presets")


def text(name: str) -> str:
    """A shipped config as it is written. Raises UserError."""
    if name not in shipped():
        raise unknown("config", name, shipped())
    return _read("shipped", name)


def about(name: str) -> str:
    """The first sentence on top of a shipped config."""
    lines = takewhile(lambda line: line.startswith("#"), text(name).splitlines())
    return " ".join(line.strip("# ") for line in lines).partition(". ")[0]


def _find(source: Path | str) -> tuple[str, str]:
    path = Path(source)
    try:
        if path.exists() and not path.is_dir():
            return str(path), documents.text(path, documents.SETTINGS)
    except documents.Unreadable as error:
        raise UserError(f"config {path}: cannot be read ({error})") from None
    if path.suffix or len(path.parts) > 1 or (path.is_dir() and str(source) not in shipped()):
        raise UserError(f"config {path}: no such file; shipped configs: {', '.join(shipped())}")
    return str(source), text(str(source))


def _parse(name: str, text: str) -> dict[str, Any]:
    try:
        return documents.parsed_toml(text)
    except documents.Unreadable as error:
        raise UserError(f"config {name}: {error}") from None


def _preset(name: Any) -> dict[str, Any]:
    if not isinstance(name, str) or name not in presets():
        raise unknown("preset", str(name), presets())
    return _parse(name, _read("presets", name))


def _names(folder: str) -> list[str]:
    entries = (resources.files(__package__) / folder).iterdir()
    return sorted(p.name.removesuffix(".toml") for p in entries if p.name.endswith(".toml"))


def _read(folder: str, name: str) -> str:
    return (resources.files(__package__) / folder / f"{name}.toml").read_text(encoding="utf-8")
