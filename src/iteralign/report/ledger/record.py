"""Record: what the ledger reads from a run directory, step by step.

It asks for single steps and does not replay the loop, so a run of an older version, or one that was interrupted,
has a ledger too.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from iteralign import finetune
from iteralign.config.schema import Config
from iteralign.record import artifact
from iteralign.record.replay import config_of, step_value
from iteralign.types import Amendment, Principle, Revision, Trial, Verdict


@dataclass(frozen=True, slots=True)
class LedgerTurn:
    """One iteration, as far as the ledger is concerned. `accepted` is empty until the gate has spoken, `trials`
    where nothing was tried."""

    law: Amendment
    verdicts: tuple[Verdict, ...]
    accepted: tuple[Revision, ...]
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """A run's law-making by iteration, in order."""

    root: Path
    config: Config
    turns: dict[int, LedgerTurn]

    @property
    def constitution(self) -> tuple[Principle, ...]:
        """Every principle that was ever in force, in order, with its latest evidence."""
        laws = [turn.law.constitution.principles for turn in self.turns.values()]
        return tuple({p.id: p for principles in laws for p in principles}.values())


def record(root: Path) -> LedgerRecord:
    """What the run in `root` has on record. Raises UserError if it is none, or damaged."""
    config = config_of(root)
    found = {t: _turn(root, t, config) for t in artifact.iterations(root) if t}
    return LedgerRecord(root, config, {t: turn for t, turn in found.items() if turn is not None})


def _turn(root: Path, t: int, config: Config) -> LedgerTurn | None:
    law = cast(Amendment | None, step_value(root, t, "constitution", Amendment))
    if law is None:
        return None
    verdicts = _steps(root, t, "verdicts", Verdict)
    revisions, judged = _steps(root, t, "revisions", Revision), _steps(root, t, "gate", Verdict)
    settings = config.gate.enabled, config.finetune.cut
    accepted = finetune.accept(revisions, judged, *settings) if len(revisions) == len(judged) else ()
    return LedgerTurn(law, verdicts, accepted, _steps(root, t, "trials", Trial))


def _steps(root: Path, t: int, step: str, kind: Any) -> tuple[Any, ...]:
    return tuple(step_value(root, t, step, tuple[kind, ...]) or ())
