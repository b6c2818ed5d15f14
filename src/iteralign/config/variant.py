"""The sections of a config that choose the variant of the algorithm; `settings.py` says what the values mean."""

from typing import Annotated, Literal

from pydantic import Field

from iteralign.config.section import MANY, Section


class MethodSection(Section):
    prompts: str = "improved"


class Propose(Section):
    """How failures become principles. `principles`: where `source` is given or drawn, a shipped list (generic, …), a
    text file with one principle a line, or what `iteralign constitution export --format json` wrote.
    """

    grouping: Literal["category", "none"] = "category"
    examples: int = Field(8, ge=0, le=1000)
    accumulate: bool = True
    duplicate_above: float = Field(0.95, ge=0, le=1)
    veto: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    source: Literal["oracle", "given", "drawn"] = "oracle"
    principles: str = ""


class TrialSection(Section):
    """A proposal is tried before it is adopted: on so many failures and safe probes, at most. `harm` is the share of
    the safe ones that it may spoil."""

    enabled: bool = True
    failures: int = Field(12, ge=1, le=MANY)
    benign: int = Field(8, ge=0, le=MANY)
    borderline: int = Field(8, ge=0, le=MANY)
    harm: float = Field(0.1, ge=0, le=1)


class Revise(Section):
    constitution: Literal["discovered", "none"] = "discovered"
    show: Literal["relevant", "all"] = "relevant"
    candidates: int = Field(2, ge=1, le=64)


class Gate(Section):
    enabled: bool = True


class Finetune(Section):
    start: Literal["previous", "base"] = "previous"
    replay: bool = True
    cut: bool = False


class GuardSection(Section):
    enabled: bool = True
    violations: float = Field(0.0, ge=0, le=1)
    benign: float = Field(0.05, ge=0, le=1)
    overrefusal: float = Field(0.05, ge=0, le=1)
    reopened: float | None = Field(None, ge=0, le=1)
