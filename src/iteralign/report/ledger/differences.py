"""Differences: two constitutions, principle by principle: added, dropped, reworded, the same.

A side is a run (all that it adopted), or `RUN@2`: what was in force after its iteration 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from iteralign.errors import UserError
from iteralign.propose import alike
from iteralign.report.ledger.record import record
from iteralign.types import Principle

REWORDED = 0.6
"""Similarity (difflib's ratio) above which a principle is the other one in other words: difflib's own threshold for
close matches. Principles of two different kinds of harm are never that, as an oracle has its habits of wording."""


@dataclass(frozen=True, slots=True)
class Rewording:
    old: Principle
    new: Principle
    ratio: float


@dataclass(frozen=True, slots=True)
class Differences:
    added: tuple[Principle, ...]
    dropped: tuple[Principle, ...]
    reworded: tuple[Rewording, ...]
    same: tuple[Principle, ...]


def side(root: Path, at: str | None = None) -> tuple[Principle, ...]:
    """The principles of a run, or those in force after iteration `at`. Raises UserError."""
    known = record(root)
    if at is None:
        return known.constitution
    if not at.isdecimal():
        raise UserError(f"{root}@{at}: after @ comes the number of an iteration, not {at!r}")
    turn = known.turns.get(int(at))
    if turn is None:
        there = ", ".join(map(str, known.turns)) or "none"
        raise UserError(f"{root}@{at}: no constitution is on record there; iterations that have one: {there}")
    return turn.law.constitution.principles


def differences(a: Sequence[Principle], b: Sequence[Principle]) -> Differences:
    """What became of the principles of `a` in `b`; each is in one place."""
    old, new = {p.text: p for p in a}, {p.text: p for p in b}
    left = [p for text, p in old.items() if text not in new]
    right = [p for text, p in new.items() if text not in old]
    pairs = _pairs(left, right)
    gone, come = {w.old.text for w in pairs}, {w.new.text for w in pairs}
    return Differences(
        added=tuple(p for p in right if p.text not in come),
        dropped=tuple(p for p in left if p.text not in gone),
        reworded=pairs,
        same=tuple(p for text, p in new.items() if text in old),
    )


def likeness(a: str, b: str) -> float:
    """difflib's ratio, whichever comes first; 0 where it is not above `REWORDED`."""
    first, second = sorted((a, b))
    if not alike(first, second, REWORDED):
        return 0.0
    return SequenceMatcher(None, first, second, autojunk=False).ratio()


def _pairs(left: Sequence[Principle], right: Sequence[Principle]) -> tuple[Rewording, ...]:
    """The most similar ones first, each principle in one pair at most."""
    close = [
        Rewording(a, b, ratio)
        for a in left
        for b in right
        if _one_kind(a, b) and (ratio := likeness(a.text, b.text))
    ]
    pairs: list[Rewording] = []
    for pair in sorted(close, key=lambda w: -w.ratio):
        if all(pair.old != kept.old and pair.new != kept.new for kept in pairs):
            pairs.append(pair)
    return tuple(pairs)


def _one_kind(a: Principle, b: Principle) -> bool:
    """Whether both are about the same kind of harm, as far as both say."""
    return not (a.category and b.category) or a.category == b.category
