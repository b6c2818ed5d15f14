"""Who acts: the Protocols that the algorithm is written against. `run/build.py` chooses who stands behind them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

from iteralign.types import Checkpoint, Conversation, Example, Options, Reply, Sampling, Usage

P = ParamSpec("P")
T = TypeVar("T")
OnReplies = Callable[[Sequence[tuple[int, Reply]]], None]


def stage(name: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Give a stage its name in artifacts, which outlives every move and renaming of the code.

    A stage without one is recorded under its module path.
    """

    def named(function: Callable[P, T]) -> Callable[P, T]:
        function.stage_name = name  # type: ignore[attr-defined]
        return function

    return named


def unheard(_: Sequence[tuple[int, Reply]]) -> None:
    """The callback of a caller who does not listen."""


class Model(Protocol):
    """Anything that answers conversations: the policy in process, an engine, a remote oracle.

    Synchronous and batch-shaped for the algorithm; concurrency, retries and batching live inside.
    """

    @property
    def id(self) -> str:
        """Names everything that decides the answers besides conversation and sampling."""
        ...

    def generate(
        self,
        conversations: Sequence[Conversation],
        sampling: Sampling,
        on_replies: OnReplies = unheard,
    ) -> list[Reply]:
        """Answer each conversation, in order.

        `on_replies` hears (index, reply) pairs as they are finished, in any order; what it hears in
        one call was computed together and is to be kept or lost together.

        Raises WorldError where an answer cannot be had; what was heard before stays valid.
        """
        ...


class Scorer(Protocol):
    """Anything that says how likely answers are: a model whose probabilities can be read."""

    @property
    def id(self) -> str:
        """Names everything that decides the scores."""
        ...

    def score(self, questions: Sequence[Options]) -> list[tuple[float, ...]]:
        """For each question the log-probability (natural) of each ending, in order, all its tokens together."""
        ...


class Trainer(Protocol):
    """Supervised fine-tuning."""

    @property
    def id(self) -> str:
        """Names everything that decides the weights besides the starting point and the rows."""
        ...

    def train(self, start: Checkpoint, examples: Sequence[Example]) -> Checkpoint:
        """Fine-tune `start` on the rows; same inputs and id, same checkpoint."""
        ...


class Step(Protocol):
    """`do(name, stage, actor, inputs…)`: run a stage once and record it, or replay what was recorded."""

    def __call__(self, name: str, stage: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


class Journal(Protocol):
    """Remembers finished steps, so that resuming a run is running it again."""

    def at(self, t: int) -> Step:
        """The steps of iteration `t`; 0 is what happens before the loop."""
        ...


@dataclass(frozen=True)
class Failure:
    """An attempt that failed. status: of HTTP, if there was one. used: the tokens that it is charged."""

    reason: str
    status: int | None
    used: Usage


class Reservation(Protocol):
    """Budget set aside for one attempt. Exactly one of the methods ends it."""

    def settle(self, used: Usage) -> None:
        """Charge an answer, once it is recorded."""
        ...

    def fail(self, failure: Failure) -> None:
        """Record and charge an attempt without one."""
        ...

    def release(self) -> None:
        """Charge nothing: nothing was sent."""
        ...


class Account(Protocol):
    """What one role may spend. Every method may be called from any thread."""

    def reserve(self, most: Usage) -> Reservation | None:
        """Set aside one call and the most tokens that it can take; None while other reservations leave no room.

        Raises WorldError where the budget itself leaves none.
        """
        ...

    def require_time(self, seconds: float) -> None:
        """Raise WorldError if that many seconds more would pass the budget."""
        ...

    def seconds_left(self) -> float | None:
        """None without a limit."""
        ...


def nothing() -> None:
    """What is to be closed where nothing was opened."""


@dataclass(frozen=True)
class Lab:
    """The actors of one run. `close` ends what serving has started; twice does no harm."""

    serve: Callable[[Checkpoint], AbstractContextManager[Model]]
    judge: Model
    proposer: Model
    trainer: Trainer
    meter: Model
    """The judge behind the figures: one for all methods, so that their figures compare."""
    panel: tuple[Model, ...] = ()
    """Further judges beside `judge`; the majority of all decides."""
    close: Callable[[], None] = nothing

    @property
    def judges(self) -> tuple[Model, ...]:
        return (self.judge, *self.panel)


def identity(actor: Any) -> str | None:
    """The id of a Model or Trainer; None for a plain value."""
    name = getattr(actor, "id", None)
    acts = callable(getattr(actor, "generate", None)) or callable(getattr(actor, "train", None))
    return name if acts and isinstance(name, str) else None
