"""Entries: for each proposal of a run, adopted or not, where it came from and what it did.

Computed from the run directory alone. What only a model can say (report/ledger/measuring.py) is not in here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iteralign.report.ledger.differences import likeness
from iteralign.report.ledger.record import LedgerRecord
from iteralign.types import Principle, Prompt, Trial

GIVEN = "given"
"""What stands for a decision where a principle was in force without having been proposed."""

TRIED = ("adopted", "rejected")


@dataclass(frozen=True, slots=True)
class Overlap:
    """With another principle in force. evidence: the share of the failures behind either that are behind both
    (Jaccard). wording: difflib's ratio, given where it is above 0.6; 0 stands for all below."""

    id: str
    evidence: float
    wording: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One proposal.

    active: iterations in which it was in force. failures: those that caused it. more: failures behind later
    proposals that repeated it. rows: prompt ids of the accepted revisions that had it in context, by iteration.
    trial: what it did in context before it was decided upon; None where it was not tried.
    """

    principle: Principle
    decision: str
    reason: str
    active: tuple[int, ...]
    failures: tuple[Prompt, ...]
    more: tuple[Prompt, ...]
    rows: Mapping[int, tuple[str, ...]]
    overlaps: tuple[Overlap, ...]
    trial: Trial | None = None


def entries(record: LedgerRecord) -> tuple[Entry, ...]:
    """One for each proposal, in the order in which they were made; first what was given and never proposed."""
    prompts = {
        v.response.prompt.id: v.response.prompt for turn in record.turns.values() for v in turn.verdicts
    }
    made = [
        (proposal.principle, proposal.decision, proposal.reason)
        for turn in record.turns.values()
        for proposal in turn.law.proposals
    ]
    proposed = {principle.id for principle, _, _ in made}
    given = [(p, GIVEN, "") for p in record.constitution if p.id not in proposed]
    return tuple(_entry(record, prompts, *fate) for fate in (*given, *made))


def _entry(
    record: LedgerRecord, prompts: Mapping[str, Prompt], principle: Principle, decision: str, reason: str
) -> Entry:
    active = _active(record, principle) if decision in ("adopted", GIVEN) else ()
    latest = _latest(record, principle, active)
    return Entry(
        principle,
        decision,
        reason,
        active,
        _asked(prompts, principle.evidence),
        _asked(prompts, [id for id in latest.evidence if id not in principle.evidence]),
        {t: rows for t in active if (rows := _rows(record, t, principle.id))},
        _overlaps(record, latest),
        _trial(record, principle) if decision in TRIED else None,
    )


def _active(record: LedgerRecord, principle: Principle) -> tuple[int, ...]:
    """From its birth on; where principles last for one batch, the same text may be adopted anew later."""
    if not record.config.propose.accumulate and principle.born:
        return (principle.born,)
    return tuple(
        t
        for t, turn in record.turns.items()
        if t >= principle.born and any(p.id == principle.id for p in turn.law.constitution.principles)
    )


def _trial(record: LedgerRecord, principle: Principle) -> Trial | None:
    turn = record.turns[principle.born]
    return next((trial for trial in turn.trials if trial.principle == principle.id), None)


def _latest(record: LedgerRecord, principle: Principle, active: Sequence[int]) -> Principle:
    """The principle with all the evidence that it had in the end."""
    last = record.turns[active[-1]].law.constitution.principles if active else ()
    return next((p for p in last if p.id == principle.id), principle)


def _asked(prompts: Mapping[str, Prompt], ids: Sequence[str]) -> tuple[Prompt, ...]:
    return tuple(prompts.get(id, Prompt(id, "")) for id in ids)


def _rows(record: LedgerRecord, t: int, id: str) -> tuple[str, ...]:
    return tuple(r.prompt.id for r in record.turns[t].accepted if id in r.shown)


def _overlaps(record: LedgerRecord, principle: Principle) -> tuple[Overlap, ...]:
    """With every other principle that was ever in force and has something in common with it, most first."""
    others = [p for p in record.constitution if p.id != principle.id]
    found = [
        Overlap(p.id, jaccard(p.evidence, principle.evidence), likeness(p.text, principle.text))
        for p in others
    ]
    common = [o for o in found if o.evidence or o.wording]
    return tuple(sorted(common, key=lambda o: (-o.evidence, -o.wording)))


def jaccard(a: Sequence[str], b: Sequence[str]) -> float:
    """The share of what is in either that is in both; 0 where there is nothing."""
    either = {*a, *b}
    return len({*a} & {*b}) / len(either) if either else 0.0
