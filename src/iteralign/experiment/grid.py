"""Grid: the cells of an experiment, each an ordinary run with a place of its own, MODEL/REDTEAM/ARM/seed-N."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from iteralign.config import schema as configs
from iteralign.config.overrides import merged
from iteralign.config.schema import Config
from iteralign.errors import UserError
from iteralign.experiment import sheet as sheets
from iteralign.experiment.sheet import VANILLA, ExperimentSheet, Overrides


@dataclass(frozen=True, slots=True)
class Block:
    """What is compared with each other: the arms on one base model and one red-team set."""

    model: str
    redteam: str

    @property
    def place(self) -> str:
        return f"{self.model}/{self.redteam}"


@dataclass(frozen=True)
class Cell:
    """One run."""

    block: Block
    arm: str
    seed: int
    config: Config

    @property
    def place(self) -> str:
        return f"{self.block.place}/{self.arm}/seed-{self.seed}"


@dataclass(frozen=True)
class Grid:
    """All cells of an experiment: block by block, seed by seed, and in a seed arm by arm, so that a grid that was
    stopped has arms to compare."""

    sheet: ExperimentSheet
    cells: tuple[Cell, ...]

    @property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(dict.fromkeys(c.block for c in self.cells))

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(self.sheet.arms)

    def of(self, block: Block, arm: str) -> tuple[Cell, ...]:
        """The cells of an arm, by seed."""
        return tuple(c for c in self.cells if c.block == block and c.arm == arm)

    def only(self, pattern: str | None) -> tuple[Cell, ...]:
        """The cells whose place the pattern fits. Raises UserError if it fits none."""
        found = tuple(c for c in self.cells if pattern is None or fnmatchcase(c.place, pattern))
        if not found:
            raise UserError(
                f"--only {pattern!r}: fits no MODEL/REDTEAM/ARM/seed-N of this experiment, as {self.cells[0].place}"
            )
        return found

    def base(self, block: Block) -> Config:
        """The config under which the untrained base is asked: the reference arm's, with the first seed."""
        return self.of(block, self.sheet.reference)[0].config


def load(source: str) -> Grid:
    """The grid of an experiment file, or of a shipped experiment; every config is validated. Raises UserError."""
    sheet, folder = sheets.read(source)
    try:
        return Grid(sheet, tuple(_cells(sheet, folder)))
    except UserError as error:
        raise UserError(f"experiment {source}: {error}") from None


def vanilla(block: Block) -> str:
    """The place of the untrained base's evaluation."""
    return f"{block.place}/{VANILLA}"


def _cells(sheet: ExperimentSheet, folder: Path | None) -> Sequence[Cell]:
    written = configs.written(_config(sheet.config, folder))
    arms: dict[tuple[Block, str], Config] = {}
    for model, of_model in _sections(sheet.models, sheet, written, "policy", "model"):
        for attack, of_attack in _sections(sheet.redteam, sheet, written, "redteam", "source"):
            for arm, of_arm in sheet.arms.items():
                layers = {
                    "shared": sheet.shared,
                    f"models.{model}": of_model,
                    f"redteam.{attack}": of_attack,
                    f"arms.{arm}": of_arm,
                }
                arms[Block(model, attack), arm] = _resolved(written, layers)
    _distinct(arms)
    blocks = dict.fromkeys(block for block, _ in arms)
    return [
        Cell(block, arm, seed, _seeded(arms[block, arm], arm, seed))
        for block in blocks
        for seed in sheet.seeds
        for arm in sheet.arms
    ]


def _seeded(config: Config, arm: str, seed: int) -> Config:
    return config.model_copy(update={"seed": seed, "name": f"{arm}-seed-{seed}"})


def _config(name: str, folder: Path | None) -> Path | str:
    """A file relative to the experiment's; a bare word is the name of a shipped config, unless it is a file."""
    path = (folder or Path()) / name
    is_word = not path.suffix and len(Path(name).parts) == 1
    return name if folder is None or (is_word and not path.is_file()) else path


def _sections(
    given: Mapping[str, Overrides], sheet: ExperimentSheet, written: Overrides, section: str, key: str
) -> list[tuple[str, Overrides]]:
    """The labelled entries; or the only one there is, under the name that the config has for it."""
    if given:
        return list(given.items())
    found = _resolved(written, {"shared": sheet.shared})
    name = Path(str(getattr(getattr(found, section), key))).name
    return [(re.sub(r"[^\w.+-]|^[^\w]", "-", name).lstrip("-.+") or section, {})]


def _resolved(written: Overrides, layers: Mapping[str, Overrides]) -> Config:
    """The config of an arm. Raises UserError that names the first layer with which it goes wrong."""
    values: dict[str, Any] = dict(written)
    for layer in layers.values():
        values = merged(values, layer)
    try:
        return configs.resolved(values)
    except UserError as whole:
        raise UserError(f"{_culprit(written, layers)}: {whole}") from None


def _culprit(written: Overrides, layers: Mapping[str, Overrides]) -> str:
    values: dict[str, Any] = dict(written)
    for name, layer in layers.items():
        values = merged(values, layer)
        try:
            configs.resolved(values)
        except UserError:
            return name
    return "arms"


def _distinct(arms: Mapping[tuple[Block, str], Config]) -> None:
    """Two cells of the same values would be one run under two names. Raises UserError."""
    seen: dict[str, str] = {}
    for (block, arm), config in arms.items():
        values = config.model_copy(update={"name": ""}).model_dump_json()
        place = f"{block.place}/{arm}"
        if values in seen:
            raise UserError(f"{seen[values]} and {place} are the same: their values do not differ")
        seen[values] = place
