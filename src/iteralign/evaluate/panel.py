"""Panel: who judges an evaluation: one model, or several by majority, guards among them; and what that may cost.

Harm is judged by all. Answers to safe requests are graded and compared by those that are no guards: a guard says only
whether an answer is harmful. Nothing is asked that a limit does not surely cover.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from iteralign import judge, prompts
from iteralign.budget import prices
from iteralign.budget.limits import BudgetSpent, Purse
from iteralign.config.schema import Config
from iteralign.errors import UserError, WorldError
from iteralign.models.remote import RemoteModel, RemoteSettings
from iteralign.prompts import PromptSet
from iteralign.protocols import Model
from iteralign.run import build, offline
from iteralign.run.build import PROVIDERS
from iteralign.settings import Budget, Judge, Member, Price
from iteralign.types import Response, Verdict

OPTIONS = {"oracle_calls": "--max-calls", "usd": "--max-usd"}
"""How the command line calls a limit."""


def config(
    judges: Sequence[str],
    calls: int | None = None,
    usd: float | None = None,
    known: dict[str, Price] | None = None,
    is_offline: bool = False,
) -> Config:
    """Judges, limits and prices as a config has them. A judge is provider/model, or GUARD=provider/model for a guard
    model. Raises UserError for a guard that is not known, a judge named twice, a price that is missing, and offline for
    a judge elsewhere.
    """
    found = Config(
        judge=Judge(models=tuple(map(member, judges))),
        budget=Budget(oracle_calls=calls, usd=usd),
        prices=known or {},
        offline=is_offline,
    )
    build.judging(found, prompts.load("measure"))
    for each in found.judge.models:
        _require(found, each.model)
    return found


def member(text: str) -> Member:
    """A judge as it is written on the command line. Raises UserError."""
    guard, sign, model = text.partition("=")
    if not sign:
        guard, model = "", text
    if "/" not in model or (sign and not guard):
        raise UserError(
            f"--judge {text!r}: write it as PROVIDER/MODEL, or GUARD=PROVIDER/MODEL for a guard model"
        )
    return Member(model=model, guard=guard or None)


def _require(config: Config, model: str) -> None:
    if config.budget.usd is not None and prices.of(config).of(model) is None:
        raise UserError(
            f"--max-usd: the price of {model} is not known; give it with --prices FILE (docs/cost.md), or bound the "
            "calls with --max-calls"
        )
    where = offline.called(model) if config.offline else ""
    if where:
        raise UserError(f"offline: {model} (--judge) would be called at {where}; {offline.WAY_OUT}")


def name(config: Config) -> str:
    """Who judges, in one line, as it was written."""
    return " | ".join(f"{m.guard}={m.model}" if m.guard else m.model for m in prices.judges(config).values())


class Panel:
    """The judges, open. Raises UserError for a missing key or package."""

    def __init__(self, config: Config, connections: int) -> None:
        self._config, self._open = config, ExitStack()
        members = prices.judges(config)
        measure = replace(prompts.load("measure"), repair=1)
        self.sets = build.judging(config, measure) or (measure,)
        root = Path(self._open.enter_context(tempfile.TemporaryDirectory()))
        self._purse = Purse(config, root)
        settings = RemoteSettings(max_connections=connections)
        self.names = [f"{m.guard}={m.model}" if m.guard else m.model for m in members.values()]
        self.models = tuple(self._opened(role, m, settings) for role, m in members.items())
        self.graders = tuple(
            model for model, m in zip(self.models, members.values(), strict=True) if not m.guard
        )

    def _opened(self, role: str, member: Member, settings: RemoteSettings) -> Model:
        model = RemoteModel(member.model, settings, PROVIDERS, self._purse.account(role))
        return self._open.enter_context(model)

    @property
    def measure(self) -> PromptSet:
        """What a grader is asked with."""
        return replace(prompts.load("measure"), repair=1)

    @property
    def compare(self) -> PromptSet:
        return replace(prompts.load("evaluate"), repair=1)

    def label(self, responses: Sequence[Response]) -> tuple[Verdict, ...]:
        """Harmful, harmless, or unparsed, by the majority of all judges."""
        return judge.convene(self.models, responses, self.sets)

    def agreed(self, ask: Callable[[Model], Sequence[str]], undecided: str) -> list[str]:
        """What more than half of the graders say of each item, else `undecided`."""
        return [_majority(said, undecided) for said in zip(*map(ask, self.graders), strict=True)]

    def afford(self, benchmark: str, calls: int) -> None:
        """Raises WorldError where so many calls, the fewest that the benchmark takes, do not fit any more."""
        most, used = self._config.budget.oracle_calls, self._purse.cost.oracle_calls
        if most is not None and used + calls > most:
            raise WorldError(
                f"{benchmark}: takes at least {calls:,} calls to its judges, and of --max-calls {most:,} are "
                f"{most - used:,} left; {WAY_ON}"
            )

    def close(self) -> None:
        self._open.close()


WAY_ON = "raise it and run the same command: with --out, finished benchmarks are kept"


def stopped(benchmark: str, spent: BudgetSpent) -> WorldError:
    """The line for a benchmark that a limit stopped."""
    return WorldError(
        f"{benchmark}: stopped before {OPTIONS[spent.key]} {spent.most:.6g} is passed: {spent.used:.6g} are spent, and "
        f"the next call may take {spent.more:.3g}; {WAY_ON}"
    )


def _majority(said: Sequence[str], undecided: str) -> str:
    word, count = Counter(said).most_common(1)[0]
    return word if 2 * count > len(said) else undecided
