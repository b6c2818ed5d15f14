"""Target: which run a command is about."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from iteralign.errors import UserError, WorldError

if TYPE_CHECKING:
    from iteralign.config.schema import Config

LONGEST_NAME = 200
"""Bytes; most file systems allow 255."""
RUNS = Path("runs")
"""Where runs lie unless `--runs` says otherwise."""


def run_directory(name: str) -> Path:
    """A run directory, given as a path, or by its name in `runs/`. Raises UserError."""
    for root in (Path(name), RUNS / name):
        if is_run(root):
            return root
    here = runs_in(RUNS)
    near = get_close_matches(Path(name).name, here, n=1)
    known = f"; did you mean {RUNS / near[0]}?" if near else f"; runs here: {', '.join(here)}" if here else ""
    problem = (
        "not a run directory: it holds no run's config.json"
        if Path(name).exists()
        else "no such run directory"
    )
    raise UserError(f"{name}: {problem}{known}")


def is_run(root: Path) -> bool:
    """Whether a run has begun there. A model directory has a config.json too, but no iterations."""
    return (root / "config.json").is_file() and (
        (root / "iterations").is_dir() or (root / "provenance.json").is_file()
    )


def runs_in(folder: Path) -> list[str]:
    try:
        return sorted(p.name for p in folder.iterdir() if is_run(p))
    except OSError:
        return []


def chosen(
    source: str, sets: Sequence[str], name: str | None, runs: Path, prices: Path | None = None
) -> tuple["Config", Path]:
    """The config and the run directory that `run`, `plan` and `check` are about.

    `source` is a config file, the name of a shipped config, or a run directory, which is resumed. `prices`
    is a file of prices that go above those of the config.
    """
    values, root = _chosen(source, sets, name, runs)
    if prices is None:
        return values, root
    from iteralign.budget.prices import read
    from iteralign.config import overrides
    from iteralign.config import schema as configs

    return configs.validated(overrides.merged(values.model_dump(mode="json"), {"prices": read(prices)})), root


def _chosen(source: str, sets: Sequence[str], name: str | None, runs: Path) -> tuple["Config", Path]:
    from iteralign.config import overrides
    from iteralign.config import schema as configs
    from iteralign.record.replay import config_of

    if not is_run(Path(source)):
        found = configs.load(source, [*sets, *_set("name", name)])
        return found, runs / _folder(found.name)
    old = config_of(Path(source))
    found = configs.validated(overrides.assigned(old.model_dump(mode="json"), [*sets, *_set("name", name)]))
    return found, runs / _folder(found.name) if name else Path(source)


def actors(policy: str | None, oracle: str | None, offline: bool = False) -> list[str]:
    """`--policy`, `--oracle` and `--offline` as `--set` values."""
    here = ["offline=true"] if offline else []
    return [*_set("policy.model", policy), *_set("oracle.model", oracle), *here]


@contextmanager
def resumable(root: Path) -> Iterator[None]:
    """While a run is at work: whatever interrupts it, say how to go on."""
    import typer

    from iteralign.cli import signals, terminal

    try:
        yield
    except (signals.Stopped, KeyboardInterrupt) as error:
        resume = _resume(root)
        terminal.note(
            f"interrupted; nothing recorded is lost, {resume}" if resume else "interrupted before it began"
        )
        raise typer.Exit(signals.status_of(error)) from None
    except WorldError as error:
        resume = _resume(root)
        raise WorldError(f"{error} ({resume})" if resume else str(error)) from error


def _resume(root: Path) -> str:
    """How to go on; nothing if the run had not begun."""
    from iteralign.cli.terminal import shell_word

    return f"resume with: iteralign run {shell_word(str(root))}" if is_run(root) else ""


def free(out: Path) -> None:
    """Make the folder `out`; a model is not written over another. Raises UserError, WorldError."""
    from iteralign.record.disk import disk

    with disk(out):
        if out.is_dir() and any(out.iterdir()):
            raise UserError(f"{out}: exists and is not empty; choose a new folder")
        out.mkdir(parents=True, exist_ok=True)


def _set(key: str, value: str | None) -> list[str]:
    import json

    return [] if value is None else [f"{key}={json.dumps(value)}"]


def _folder(name: str) -> str:
    plain = name.isprintable() and len(os.fsencode(name)) <= LONGEST_NAME
    if not name.strip() or name in (".", "..") or Path(name).name != name or "\\" in name or not plain:
        raise UserError(
            f"name {name!r}: a run's name is the name of its folder: no slashes or control characters, not empty, at "
            f"most {LONGEST_NAME} bytes"
        )
    return name
