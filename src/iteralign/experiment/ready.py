"""Ready: everything about a grid that can be wrong, found before the first run starts."""

from collections.abc import Sequence
from pathlib import Path

from iteralign.budget import prices
from iteralign.config.overrides import changed
from iteralign.config.schema import Config
from iteralign.errors import IterAlignError, UserError
from iteralign.experiment.grid import Cell
from iteralign.record import artifact
from iteralign.record.replay import CONFIG, OUTCOME, config_of
from iteralign.run import build, offline
from iteralign.run.inputs import material, report_probes
from iteralign.run.runner import RESUMABLE


def check(cells: Sequence[Cell], out: Path) -> None:
    """Every arm's prompts, principles, actors and questions, once each; and that no other run lies in a cell's place.

    Loads no weights. Raises UserError, WorldError that name the cell.
    """
    seen: set[str] = set()
    for cell in cells:
        try:
            _checked(cell.config, out / cell.place, seen)
            _same(cell.config, out / cell.place)
        except IterAlignError as error:
            raise type(error)(f"{cell.place}: {error}") from None


def _checked(config: Config, root: Path, seen: set[str]) -> None:
    key = config.model_copy(update={"name": "", "seed": 0}).model_dump_json()
    if key in seen:
        return
    seen.add(key)
    prices.require(config)
    build.method(config)
    build.trainer(config, root)
    folder = Path(build.model_path(config.policy.model))
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise UserError(
            f"policy.model: {config.policy.model!r} is not a model directory: it has no config.json"
        )
    with offline.kept(config):
        material(config)
        report_probes(config)


def _same(config: Config, root: Path) -> None:
    """Raises UserError if the directory holds a run that another config made."""
    keys = [k for k in differences(config, root) if not {k, k.split(".")[0]} & set(RESUMABLE)]
    if keys:
        raise UserError(
            f"{root} holds a run with another config ({', '.join(keys)}); choose another --out, or remove it"
        )


def differences(config: Config, root: Path) -> list[str]:
    """The keys in which the run that lies there, if any, has other values. Raises UserError."""
    old = kept(root)
    if old is None:
        return []
    now = config.model_copy(update={"name": old.name}).model_dump(mode="json")
    return changed(old.model_dump(mode="json"), now)


def kept(root: Path) -> Config | None:
    """The config of the run that lies there; None if none has recorded anything. Raises UserError."""
    return config_of(root) if (root / CONFIG).is_file() and artifact.iterations(root) else None


def named(config: Config, root: Path) -> Config:
    """The config under the name that the run there has already: a name binds a run, and decides nothing."""
    old = kept(root)
    return config if old is None else config.model_copy(update={"name": old.name})


def finished(config: Config, root: Path) -> bool:
    """Whether the very run of this config lies there, done to its end."""
    return (root / OUTCOME).is_file() and kept(root) is not None and not differences(config, root)
