"""A run from its config to its summary: measure, iterate, measure again; every step through the journal."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from iteralign import measure
from iteralign.budget.limits import Purse
from iteralign.config.overrides import changed
from iteralign.config.schema import Config
from iteralign.errors import UserError
from iteralign.lm import checkpoints
from iteralign.loop import iteralign
from iteralign.record import artifact
from iteralign.record.disk import disk, sweep, write_whole
from iteralign.record.journal import Event, RunJournal
from iteralign.record.lock import Lock
from iteralign.record.provenance import record
from iteralign.record.replay import OUTCOME, TRUTH, config_of
from iteralign.run import build, offline
from iteralign.types import Checkpoint, Iteration

PATIENCE = ("backoff_s", "max_connections", "max_retries", "timeout_s")
SERVER = ("python", "sleep", "start_timeout_s", "timeout_s", "url")
RESUMABLE = (
    *("budget", "offline", "prices", "stop", "training.keep"),
    *(f"oracle.{key}" for key in PATIENCE),
    *(f"vllm.{key}" for key in SERVER),
)
"""What may change when a run is resumed: when to end, whom not to call, how patiently, where the server is, which
old checkpoints stay; not what to do."""


def run(
    config: Config,
    root: Path,
    on_event: Callable[[Event], None] = lambda _: None,
    stop_after: tuple[int, str] | None = None,
) -> Iterator[Iteration]:
    """Run, or resume, what `config` describes in directory `root`; yields each iteration.

    Raises UserError (config changed, directory in use), WorldError (resume by calling again) and,
    with `stop_after`, StepReached.
    """
    with offline.kept(config), _opened(config, root):
        purse = Purse(config, root)

        def told(event: Event) -> None:
            on_event(event)
            purse.event(event)

        journal = RunJournal(root, told, stop_after=stop_after)
        a = build.assemble(config, root, journal, purse)
        with closing(a.lab):
            _test(a, journal, 0, a.policy)
            loop = iteralign(a.policy, a.material, a.lab, a.method, journal, a.until)
            turns: list[Iteration] = []
            t, policy, reason = 0, a.policy, ""
            while not reason:
                try:
                    iteration = next(loop)
                except StopIteration as end:
                    reason = end.value
                else:
                    turns.append(iteration)
                    t, policy = iteration.t, iteration.policy
                    prune(root, turns, config.training.keeps)
                    yield iteration
            _test(a, journal, t, policy)
        checkpoints.require(root, policy)  # also where every step was replayed and nothing read the weights
        outcome = {"stop_reason": reason, "t": t, "policy": dataclasses.asdict(policy)}
        _write(root / OUTCOME, outcome)


def execute(config: Config, root: Path, on_event: Callable[[Event], None] = lambda _: None) -> None:
    """The whole run, without listening to it."""
    for _ in run(config, root, on_event):
        pass


def prune(root: Path, turns: Sequence[Iteration], keep: int | None) -> None:
    """Remove the checkpoints that are not needed after the last of `turns`, all turns so far. Raises as `disk`.

    To go on, to be resumed, tested, exported and evaluated, a run needs the policy that it stands on. keep: how many
    of the last ones stay besides; None keeps all, as an adapter is small and only other checkpoints hold all weights.
    While a resumed run replays, nothing is removed: a later turn may stand on what this one doesn't.
    """
    if keep is None:
        return
    later = [t for t in artifact.iterations(root) if t > turns[-1].t]
    if any(artifact.place(root, t, "checkpoint").exists() for t in later):
        return
    trained = list(dict.fromkeys(turn.trained.path for turn in reversed(turns) if turn.trained.path))
    for path in set(trained[keep:]) - {turns[-1].policy.path}:
        with disk(root / path):
            checkpoints.prune(root / path)


def _test(a: build.Assembly, journal: RunJournal, t: int, policy: Checkpoint) -> None:
    with a.lab.serve(policy) as model:
        journal.at(t)("test", measure.probe, model, a.lab.meter, a.test, a.method.measure, a.method.sampling)


@contextmanager
def _opened(config: Config, root: Path) -> Iterator[None]:
    """The directory, locked, holding the config of this run and of no other."""
    with disk(root):
        try:
            root.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError:  # as below /proc
            raise UserError(f"{root}: no folder can be made there; choose another place") from None
    lock = Lock(root)
    try:
        sweep(root)
        values = config.model_dump(mode="json")
        kept = root / "config.json"
        if kept.is_file() and artifact.iterations(root):
            old = config_of(root).model_dump(mode="json")
            keys = [k for k in changed(old, values) if not {k, k.split(".")[0]} & set(RESUMABLE)]
            if keys:
                was = ", ".join(f"{k} (was {_at(old, k)!r}, now {_at(values, k)!r})" for k in keys)
                raise UserError(
                    f"run directory {root} holds a run with another config: {was}; "
                    "resume with the old values, or choose a new --name"
                )
        else:  # nothing is recorded: a first start that a mistake ended binds nobody
            (root / "provenance.json").unlink(missing_ok=True)
        _write(kept, values)
        record(root, values)
        keep_truth(config, root)
        yield
    finally:
        lock.release()


def keep_truth(config: Config, root: Path) -> None:
    """Write down which gaps the policy was given, where that is known."""
    planted = build.planted(config)
    if planted is not None:
        _write(root / TRUTH, {"planted": planted})


def _write(path: Path, value: dict[str, Any]) -> None:
    write_whole(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def _at(values: dict[str, Any], key: str) -> Any:
    found: Any = values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
