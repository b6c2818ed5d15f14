"""Evaluating: the benchmarks of an experiment, on what a run trained and on the untrained base."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from iteralign.budget import prices
from iteralign.config.schema import Config
from iteralign.errors import UserError
from iteralign.evaluate import benchmarks, judges, results
from iteralign.evaluate.items import READERS
from iteralign.evaluate.results import Result
from iteralign.evaluate.subject import subject
from iteralign.record.replay import outcome_of
from iteralign.run import build, offline

FOLDER = "evaluation"
AGAINST_THE_BASE = "helpfulness"
"""A benchmark that compares with the base, and says nothing about the base itself."""


def missing(config: Config, root: Path, wanted: Sequence[str], data: Mapping[str, str]) -> tuple[str, ...]:
    """The benchmarks that are still to be run: on the last checkpoint of the run in `root`, if one ended there, else
    on the untrained base of `config`. Raises UserError."""
    ended = outcome_of(root)
    trained = ended is not None and ended.policy.kind != "base"
    names = [n for n in wanted if trained or n != AGAINST_THE_BASE]
    name_of, what = ("checkpoint", ended.policy.id) if ended else ("model", config.policy.model)
    return tuple(n for n in names if not _done(root / FOLDER, n, (name_of, what), data.get(n)))


def _done(folder: Path, name: str, of: tuple[str, str], path: str | None) -> bool:
    result = found(folder, name)
    if result is None or result.subject.get(of[0]) != of[1]:
        return False
    return path is None or result.source.get("sha256") == _digest(name, path)


def found(folder: Path, name: str) -> Result | None:
    """The result there, if any. Raises UserError if it is damaged."""
    file = folder / f"{name}.json"
    return results.kept(file)[name] if file.is_file() else None


@cache
def _digest(name: str, path: str) -> str:
    """What names the items of the user's own data: they may be others than when a result was written."""
    return str(READERS[name](path, False, None).source["sha256"])


def check(wanted: Sequence[str], data: Mapping[str, str]) -> None:
    """Raises UserError if a file of the user's has not the form of its benchmark."""
    for name in wanted:
        if name in data:
            try:
                _digest(name, data[name])
            except UserError as error:
                raise UserError(f"benchmark_data.{name}: {error}") from None


def evaluate(config: Config, root: Path, wanted: Sequence[str], data: Mapping[str, str]) -> None:
    """Run these benchmarks, and keep each result as soon as it is there. Raises UserError, WorldError."""
    policy = config.policy
    settings = replace(policy, template=build.template(config))
    meter = prices.models(config)["meter"]
    request = benchmarks.Request(
        tuple(wanted),
        data,
        judges.config((meter,)),
        max_tokens=config.sampling.max_tokens,
        connections=config.oracle.max_connections,
    )
    with offline.kept(config):
        model = subject(str(root) if outcome_of(root) else policy.model, None, settings)
        for result in benchmarks.evaluate(model, request):
            results.keep(result, root / FOLDER)
