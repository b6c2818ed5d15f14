"""One file a run: a preset, and what departs from it. An unknown key is an error that names the nearest right one."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from iteralign.config.messages import explain, shown
from iteralign.config.overrides import assigned, merged
from iteralign.config.section import DAY_S, MANY, Section, Vllm
from iteralign.config.variant import (
    Finetune,
    Gate,
    GuardSection,
    MethodSection,
    Propose,
    Revise,
    TrialSection,
)
from iteralign.errors import UserError, unknown
from iteralign.security import documents


class Policy(Section):
    """The model to align: `organism`, a directory or a hub id.

    `template` is auto, chat, chat:NAME (of a tokenizer with several), plain, raw, or the name of a *.jinja file: a
    chat template that replaces its own.
    """

    model: str = "organism"
    backend: Literal["hf", "vllm"] = "hf"
    revision: str | None = None
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_size: int = Field(64, ge=1, le=65_536)
    template: str = "auto"
    trust_remote_code: bool = False


class Oracle(Section):
    """The stronger model, as provider/model; judge, proposer and meter default to `model`.

    `repair`: how often a reply that cannot be read is asked for again, by a prompt set that has repair.md.
    """

    model: str = "organism/oracle"
    judge: str | None = None
    proposer: str | None = None
    meter: str | None = None
    max_connections: int = Field(16, ge=1, le=256)
    timeout_s: float = Field(120.0, gt=0, le=DAY_S)
    max_retries: int = Field(6, ge=0, le=1000)
    backoff_s: float = Field(3.0, ge=0, le=DAY_S)
    repair: int = Field(1, ge=0, le=3)


class Member(Section):
    """A judge: provider/model, and, for a guard model, the form in which it answers (docs/judges.md)."""

    model: str
    guard: str | None = None


def _member(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


class Judge(Section):
    """Who judges: several models are a panel, and the majority decides. Empty is `oracle.judge` alone.

    An entry is "provider/model", or { model = "provider/model", guard = "llama-guard" } for a guard model.
    """

    models: tuple[Annotated[Member, BeforeValidator(_member)], ...] = ()


class Redteam(Section):
    """The attack: where prompts come from, how many, how they are cut into batches.

    `source` is organism, a name of `iteralign data list`, a file, a folder or owner/name of the Hub.
    `holdout` is the share of families that never attacks and gives the hazard probes instead.
    """

    source: str = "organism"
    path: str | None = None
    field: str | None = None
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    turns: Literal["first", "last", "transcript"] | None = None
    dedup: bool = True
    holdout: float = Field(0.0, ge=0, lt=1)
    n: int = Field(480, ge=1, le=MANY)
    batch: int = Field(60, ge=1, le=MANY)
    order: Literal["given", "shuffle", "topic"] = "topic"
    topics_per_batch: int = Field(3, ge=1, le=MANY)


class Probes(Section):
    """Held-out questions; the stop rule and the guard see `probes`, never `test`."""

    source: str = "organism"
    hazards: int = Field(240, ge=0, le=MANY)
    benign: int = Field(64, ge=0, le=MANY)
    borderline: int = Field(64, ge=0, le=MANY)
    facts: int = Field(48, ge=0, le=MANY)


class Benign(Section):
    """Safe prompts whose own answers are replayed in training."""

    source: str = "organism"
    field: str | None = None
    n: int = Field(96, ge=0, le=MANY)


class SamplingSection(Section):
    temperature: float = Field(0.0, ge=0, le=100)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(500, ge=1, le=MANY)
    stop: tuple[str, ...] = ()
    frequency_penalty: float = Field(0.0, ge=-2, le=2)


class Training(Section):
    """`keep`: how many of the last checkpoints stay on disk, beside the current policy; 0 keeps all. null: all
    adapters, but of full checkpoints the last.
    """

    method: Literal["lora", "qlora", "full"] = "lora"
    epochs: int = Field(3, ge=1, le=1000)
    lr: float = Field(2e-4, gt=0, le=10)
    batch_size: int = Field(8, ge=1, le=65_536)
    gradient_accumulation: int = Field(1, ge=1, le=65_536)
    max_length: int = Field(2048, ge=8, le=MANY)
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0, le=10)
    scheduler: str = "cosine"
    lora_rank: int = Field(16, ge=1, le=4096)
    lora_alpha: int = Field(32, ge=1, le=65_536)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    gradient_checkpointing: bool = False
    keep: int | None = Field(None, ge=0, le=MANY)

    @property
    def keeps(self) -> int | None:
        """How many of the checkpoints last trained stay, beside the current policy; None for all."""
        if self.keep is None:
            return 1 if self.method == "full" else None
        return self.keep or None


class Stop(Section):
    target: float = Field(0.05, ge=0, le=1)
    undecided: float = Field(0.05, ge=0, le=1)
    patience: int = Field(3, ge=1, le=MANY)
    max_iterations: int = Field(20, ge=1, le=MANY)


class Budget(Section):
    """What a run may cost; it stops before that is passed, and can be resumed. null is no limit."""

    usd: float | None = Field(None, ge=0, le=1e9)
    oracle_calls: int | None = Field(None, ge=0, le=10**12)
    oracle_tokens: int | None = Field(None, ge=0, le=10**15)
    hours: float | None = Field(None, ge=0, le=1e6)


class Price(Section):
    """USD per million tokens. `source` and `seen` say where it was read, and when."""

    input: float = Field(ge=0, le=1e6)
    output: float = Field(ge=0, le=1e6)
    source: str = "your own"
    seen: str = ""


class Config(Section):
    """A whole run. Every field may be set in the file as `[section] key` or by `--set section.key=value`."""

    preset: str = "improved"
    name: str = "run"
    seed: int = Field(0, ge=0, lt=2**32)
    offline: bool = False
    method: MethodSection = MethodSection()
    policy: Policy = Policy()
    vllm: Vllm = Vllm()
    oracle: Oracle = Oracle()
    judge: Judge = Judge()
    redteam: Redteam = Redteam()
    probes: Probes = Probes()
    test: Probes = Probes(hazards=600, benign=200, borderline=200, facts=150)
    benign: Benign = Benign()
    sampling: SamplingSection = SamplingSection()
    propose: Propose = Propose()
    trial: TrialSection = TrialSection()
    revise: Revise = Revise()
    gate: Gate = Gate()
    finetune: Finetune = Finetune()
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
    if not isinstance(name, str) or name not in _names("presets"):
        raise unknown("preset", str(name), _names("presets"))
    return _parse(name, _read("presets", name))


def _names(folder: str) -> list[str]:
    entries = (resources.files(__package__) / folder).iterdir()
    return sorted(p.name.removesuffix(".toml") for p in entries if p.name.endswith(".toml"))


def _read(folder: str, name: str) -> str:
    return (resources.files(__package__) / folder / f"{name}.toml").read_text(encoding="utf-8")
