"""Replay: what a run did, from its artifacts alone.

The loop itself runs once more, with a journal that only reads and actors that nobody asks; so what is
reported about a run (accepted revisions, rows, roll-backs) is decided by the code that decided it then.
"""

import typing
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from iteralign.config.schema import Config, validated
from iteralign.errors import UserError
from iteralign.loop import iteralign
from iteralign.prompts import PromptSet
from iteralign.protocols import Lab, OnReplies, Step, unheard
from iteralign.record import artifact
from iteralign.record.codec import decode
from iteralign.security import documents
from iteralign.settings import Guard, Method, narrowed
from iteralign.types import Checkpoint, Conversation, Example, Iteration, Material, Metrics, Reply, Sampling

P = ParamSpec("P")
T = TypeVar("T")
CONFIG = "config.json"
OUTCOME = "outcome.json"
AGAIN = "delete it and rerun the run's command"
"""The way out where a file can be written anew from what is recorded."""
TRUTH = "truth.json"
"""The gaps that an organism was given, kept so that the report does not need the organism again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, as the runner wrote it: the reason, the last iteration, the policy it left."""

    stop_reason: str
    t: int
    policy: Checkpoint


@dataclass
class Past:
    """A run as far as it got.

    steps: the value of each recorded step by (t, name). rows: rows trained on by iteration, where it trained.
    """

    root: Path
    config: Config
    steps: dict[tuple[int, str], Any] = field(default_factory=dict)
    rows: dict[int, int] = field(default_factory=dict)
    iterations: list[Iteration] = field(default_factory=list)
    outcome: Outcome | None = None

    def test(self, t: int) -> Metrics | None:
        """The figures on the test probes after iteration `t`, if they were taken."""
        return cast(Metrics | None, step_value(self.root, t, "test", Metrics))

    @property
    def planted(self) -> tuple[str, ...] | None:
        """The gaps of an organism, the known truth; None for any other policy."""
        if not (self.root / TRUTH).is_file():
            return None
        path = self.root / TRUTH
        try:
            return cast(tuple[str, ...], decode(tuple[str, ...], _json(path)["planted"], "planted"))
        except (KeyError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}); {AGAIN}") from None

    @property
    def last(self) -> int:
        """The last iteration that has anything on record; 0 before the first."""
        return max((t for t, _ in self.steps), default=0)


class _Missing(Exception):
    """The loop asked for a step that is not on record: here the run was interrupted."""


def replay(root: Path) -> Past:
    """The past of the run directory `root`. Raises UserError if it is none, or damaged."""
    config = config_of(root)
    past = Past(root, config)
    recorded = len(artifact.iterations(root))
    policy = Checkpoint(config.policy.model, config.policy.model)
    lab = Lab(lambda _: nullcontext(NOBODY), NOBODY, NOBODY, NOBODY, NOBODY)
    material = Material(((),) * recorded)
    with suppress(_Missing):
        for turn in iteralign(policy, material, lab, method(config), _Records(past), lambda _: None):
            past.iterations.append(turn)
    past.outcome = _outcome(past)
    return past


def config_of(root: Path) -> Config:
    """The config that a run directory was made with. Raises UserError."""
    path = root / CONFIG
    if not path.exists():
        raise UserError(f"{root}: not a run directory: it has no {CONFIG}")
    try:
        values = _json(path)
    except ValueError as error:
        raise UserError(
            f"{path}: cannot be read ({error}); put a copy back, or delete it and run the same config again"
        ) from None
    try:
        return validated(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def method(config: Config) -> Method:
    """The values of the method that decide between recorded steps; the prompts are not among them."""
    guard = narrowed(Guard, config.guard) if config.guard.enabled else None
    unread = PromptSet("", {}, {})
    return Method(unread, unread, gate=config.gate.enabled, finetune=config.finetune, guard=guard)


class _Records:
    """A journal that hands out what is recorded, and does nothing."""

    def __init__(self, past: Past) -> None:
        self._past = past

    def at(self, t: int) -> Step:
        def do(name: str, stage: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
            found = step_value(self._past.root, t, name, typing.get_type_hints(stage)["return"])
            if found is None:
                raise _Missing
            self._past.steps[t, name] = found
            if name == "checkpoint":
                self._past.rows[t] = _rows(*args)
            return cast(T, found)

        return do


def _rows(_trainer: Any, _start: Any, accepted: Any, replayed: Any) -> int:
    return len(accepted) + len(replayed)


class _Nobody:
    """An actor that is never asked: whoever asks it has found a bug."""

    id = "nobody"

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling, on_replies: OnReplies = unheard
    ) -> list[Reply]:
        raise AssertionError("nobody asks a model here")

    def train(self, start: Checkpoint, examples: Sequence[Example]) -> Checkpoint:
        raise AssertionError("nobody trains here")


NOBODY = _Nobody()


def step_value(root: Path, t: int, step: str, kind: Any) -> Any:
    """The recorded value of a step, as type `kind`; None if the step is not done. Raises UserError."""
    path = artifact.place(root, t, step)
    found = artifact.load(path)
    return None if found is None else artifact.value(path, found, kind)


def _outcome(past: Past) -> Outcome | None:
    """The ending on record; None also if the run was taken up again after it and went further."""
    outcome = outcome_of(past.root)
    return outcome if outcome and outcome.t == past.last else None


def outcome_of(root: Path) -> Outcome | None:
    """The ending that was written last in the run directory `root`, if any was. Raises UserError."""
    path = root / OUTCOME
    if not path.is_file():
        return None
    try:
        return cast(Outcome, decode(Outcome, _json(path), "outcome"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); {AGAIN}") from None


def _json(path: Path) -> dict[str, Any]:
    """The object in a file of a run directory. Raises ValueError, which says what is wrong."""
    value = documents.read_json(path)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value
