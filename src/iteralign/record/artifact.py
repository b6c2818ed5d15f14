"""Artifacts: what a finished step leaves, `iterations/003/20_verdicts.json`, and when it may be replayed.

An artifact is {"stage", "inputs", "value", "sha256"}. `inputs` names each parameter of the stage with the
sha256 of its canonical JSON, or with the id of the Model or Trainer that stood there. A recorded value is
replayed only for the very same stage and inputs, and only if it still has its own `sha256`.
"""

import hashlib
import inspect
import json
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from iteralign.errors import UserError
from iteralign.protocols import Model, identity
from iteralign.record.codec import Json, Undecodable, canonical, decode, digest, pretty
from iteralign.record.disk import disk, write_whole
from iteralign.security import documents

NUMBERS = {
    "benign": 5,
    "responses": 10,
    "verdicts": 20,
    "proposals": 25,
    "trials": 28,
    "constitution": 30,
    "revisions": 40,
    "gate": 45,
    "checkpoint": 50,
    "metrics": 60,
    "test": 70,
}
"""The steps of an iteration, by name, and the number that orders their files."""

FORMER = {
    "iteralign.redteam.respond": "redteam",
    "iteralign.judge.convene": "judge",
    "iteralign.constitution.propose": "propose",
    "iteralign.ledger.trials": "trial",
    "iteralign.constitution.decide": "adopt",
    "iteralign.revise.respond": "revise",
    "iteralign.judge.gate": "gate",
    "iteralign.finetune.sft": "finetune",
    "iteralign.measure.probe": "probe",
    "iteralign.run.ledger.context.lifts": "lift",
}
"""Stages were recorded by module path until 2026-11-27; such a path means the stage of this name."""

STAGE = "the stage itself"


class Changed(UserError):
    """A step is on record that was made by another stage, or from other inputs."""


_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Artifact:
    stage: str
    inputs: dict[str, str]
    value: Any
    sha256: str = ""
    """Of the value's canonical JSON; empty in an artifact of an older version."""


@dataclass(frozen=True, slots=True)
class Work:
    """A stage and what it is to be called with. `inputs` is what decides the result, besides its code."""

    stage: Callable[..., Any]
    bound: inspect.BoundArguments
    returns: Any
    inputs: dict[str, str]

    @property
    def name(self) -> str:
        """The stage's own name, else its module path: docs/extend.md."""
        path = f"{self.stage.__module__}.{self.stage.__qualname__}"
        return str(getattr(self.stage, "stage_name", path))

    @property
    def models(self) -> dict[str, Model]:
        """The models among the arguments, by parameter; a panel `oracles` is `oracle`, `oracle-2` and so on."""
        return {name: m for k, v in self.bound.arguments.items() for name, m in _models(k, v).items()}

    def run(self, models: Mapping[str, Model]) -> Any:
        """Call the stage with these models in the places of its own."""
        arguments = {
            k: tuple(models[name] for name in _models(k, v)) if _is_panel(v) else models.get(k, v)
            for k, v in self.bound.arguments.items()
        }
        bound = inspect.BoundArguments(self.bound.signature, arguments)
        return self.stage(*bound.args, **bound.kwargs)


def work(stage: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Work:
    """Bind the arguments, defaults included.

    A stage is a function or method, possibly partial, that is annotated with what it returns; the
    id of an actor whose method it is counts among the inputs, as `self`.
    """
    while isinstance(stage, partial):
        args, kwargs = (*stage.args, *args), {**stage.keywords, **kwargs}
        stage = stage.func
    hints = typing.get_type_hints(stage)
    assert "return" in hints, f"{stage} does not say what it returns"
    bound = inspect.signature(stage).bind(*args, **kwargs)
    bound.apply_defaults()
    inputs = {name: _identity(v) or digest(v) for name, v in bound.arguments.items()}
    owner = identity(getattr(stage, "__self__", None))
    return Work(stage, bound, hints["return"], inputs | ({"self": owner} if owner else {}))


def _is_panel(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(map(_is_model, value))


def _is_model(value: Any) -> bool:
    return bool(identity(value)) and hasattr(value, "generate")


def _models(name: str, value: Any) -> dict[str, Model]:
    if _is_model(value):
        return {name: value}
    stem = name.removesuffix("s")
    return {stem if i == 1 else f"{stem}-{i}": m for i, m in enumerate(value, 1)} if _is_panel(value) else {}


def _identity(value: Any) -> str | None:
    return " | ".join(m.id for m in value) if _is_panel(value) else identity(value)


def place(root: Path, t: int, step: str) -> Path:
    """Where the artifact of a step lies."""
    assert step in NUMBERS, f"unknown step {step!r}; known: {', '.join(NUMBERS)}"
    return root / "iterations" / f"{t:03d}" / f"{NUMBERS[step]:02d}_{step}.json"


def iterations(root: Path) -> list[int]:
    """The iterations that have a folder: 0, which is before the loop, and from 1 on as far as none is missing.

    Any other folder or file is not of this run, as are copies of another run's; nothing of it is read.
    """
    named = {path.name for path in root.glob("iterations/*") if path.is_dir()}
    last = next(t for t in count(1) if f"{t:03d}" not in named)
    return [t for t in range(last) if t or "000" in named]


def foreign(root: Path) -> list[str]:
    """What else lies among the iterations."""
    own = {f"{t:03d}" for t in iterations(root)}
    return sorted(path.name for path in root.glob("iterations/*") if path.name not in own)


def calls_files(root: Path) -> list[tuple[int, Path]]:
    """(t, file) of the calls on record, in the order of iterations and steps."""
    return [
        (t, path)
        for t in iterations(root)
        for path in sorted((root / "iterations" / f"{t:03d}" / "calls").glob("*.jsonl"))
    ]


def calls_place(artifact: Path, role: str) -> Path:
    """Where the calls behind an artifact to one of its actors lie; `role` is the stage's parameter."""
    return artifact.parent / "calls" / f"{artifact.stem}.{role}.jsonl"


def load(path: Path) -> Artifact | None:
    """The artifact there, or None if the step is not done. Raises UserError if it is damaged."""
    try:
        with disk(path):
            data = documents.content(path) if path.exists() else None
        if data is None:
            return None
        artifact: Artifact = decode(Artifact, documents.parsed_json(data), "artifact")
        if artifact.sha256 and artifact.sha256 != digest(artifact.value):
            raise Undecodable("its value is not the one that was recorded")
    except ValueError as error:
        raise damaged(path, error) from None
    return replace(artifact, stage=FORMER.get(artifact.stage, artifact.stage))


def save(path: Path, work: Work, value: Any) -> Any:
    """Record the value; what is returned is as a replay would give it. Raises as `disk`."""
    text = canonical(value)
    as_read = json.loads(text)
    again = decode(work.returns, as_read)
    sha256 = hashlib.sha256(text.encode("ascii")).hexdigest()
    write_whole(path, pretty(Artifact(work.name, work.inputs, as_read, sha256)))
    return again


def replayed(path: Path, artifact: Artifact, work: Work) -> Any:
    """The recorded value. Raises Changed if it was made by another stage or from other inputs."""
    changes = _changes({STAGE: artifact.stage, **artifact.inputs}, {STAGE: work.name, **work.inputs})
    if changes:
        raise Changed(
            f"{path} was recorded from other inputs, changed: {'; '.join(changes)}; "
            f"start a new run, or delete {path.parent} and all later iterations to do them again"
        )
    return value(path, artifact, work.returns)


def value(path: Path, artifact: Artifact, kind: Any) -> Any:
    """The value as type `kind`. Raises UserError if it does not have that form."""
    try:
        return decode(kind, artifact.value)
    except ValueError as error:
        raise damaged(path, error) from None


def damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is damaged ({error}); delete it to do the step again")


def _changes(old: Mapping[str, Json], new: Mapping[str, Json]) -> list[str]:
    return [
        _change(name, old.get(name), new.get(name))
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    ]


def _change(name: str, old: str | None, new: str | None) -> str:
    shown = [_short(v) for v in (old, new) if v is not None and not _DIGEST.fullmatch(v)]
    if old is None or new is None:
        return f"{name} ({'added' if old is None else 'removed'})"
    return f"{name} ({shown[0]} -> {shown[1]})" if len(shown) == 2 else name


def _short(text: str, limit: int = 80) -> str:
    return repr(text if len(text) <= limit else f"{text[: limit - 1]}…")
