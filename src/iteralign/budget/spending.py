"""What a run has cost so far, from what it recorded."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iteralign.budget import prices
from iteralign.config.schema import Config
from iteralign.errors import UserError
from iteralign.record.calls import POLICY, Spent, count, files, read, used
from iteralign.record.codec import decode
from iteralign.record.disk import Lines
from iteralign.record.journal import timings
from iteralign.security import documents

FAILED = "failed_attempts.jsonl"
"""Attempts that failed, in the run directory, one a line: role, reason, HTTP status or null, tokens charged."""

SECONDS = 3600  # an hour
ByRole = Mapping[str, Spent]


@dataclass(frozen=True, slots=True)
class Cost:
    """Oracle use by role, failed attempts included, and hours. refusals: finished calls that the oracle declined to
    answer, by role."""

    by_role: ByRole = field(default_factory=dict)
    hours: float = 0.0
    refusals: Mapping[str, int] = field(default_factory=dict)

    @property
    def oracle_calls(self) -> int:
        return sum(used.calls for used in self.by_role.values())

    @property
    def oracle_tokens(self) -> int:
        """In and out."""
        return sum(used.input_tokens + used.output_tokens for used in self.by_role.values())

    def __add__(self, other: "Cost") -> "Cost":
        declined = Counter(self.refusals)
        declined.update(other.refusals)
        return Cost(added(self.by_role, other.by_role), self.hours + other.hours, declined)


def usd(config: Config, by_role: ByRole) -> float | None:
    """What the roles' tokens cost; None if the price of one that was asked is not known."""
    models, table = prices.models(config), prices.of(config)
    parts = [table.usd(models[role], used) for role, used in by_role.items() if used.calls]
    return None if None in parts else sum(part for part in parts if part is not None)


def spent(root: Path, through: int) -> Cost:
    """The cost of the steps of iterations 0 to `through`, and all failed attempts. Raises UserError."""
    steps = costs(root)
    return total([Cost(failed(root)), *(cost for (t, _), cost in steps.items() if t <= through)])


def recorded(root: Path) -> Cost:
    """The cost of everything on record, also of a step that is not done. Raises UserError."""
    return total([Cost(failed(root)), *costs(root).values()])


def costs(root: Path) -> dict[tuple[int, str], Cost]:
    """(t, step) to its cost: calls on record, and the time of all attempts. Raises UserError."""
    found: dict[tuple[int, str], Cost] = defaultdict(Cost)
    for t, step, role, path in files(root):
        if role != POLICY:
            replies = [call.reply for call in read(path)]
            declined = sum(reply.stop == "refusal" for reply in replies)
            found[t, step] += Cost({role: used(replies)}, refusals={role: declined})
    for timing in timings(root):
        if not timing.replayed:
            found[timing.t, timing.step] += Cost(hours=timing.seconds / SECONDS)
    return dict(found)


def oracle_calls(root: Path) -> int:
    """Calls to the oracle on record, without reading them: a look at many runs costs little. Raises UserError."""
    return sum(count(path) for _, _, role, path in files(root) if role != POLICY)


def failed(root: Path) -> dict[str, Spent]:
    """Failed attempts by role, with the tokens that each was charged. Raises UserError."""
    lost: dict[str, Spent] = defaultdict(Spent)
    path = root / FAILED
    for text in Lines(path).found:
        try:
            attempt = decode(dict[str, Any], documents.parsed_json(text))
            # older runs charged no output
            tokens = [decode(int, n) for n in (attempt["input_tokens"], attempt.get("output_tokens", 0))]
            if min(tokens) < 0:
                raise ValueError("less than nothing was sent")
            lost[decode(str, attempt["role"])] += Spent(1, *tokens)
        except (ValueError, KeyError):
            raise UserError(f"{path} is damaged; it may be deleted") from None
    return dict(lost)


def total(parts: Iterable[Cost]) -> Cost:
    return sum(parts, Cost())


def added(a: ByRole, b: ByRole) -> dict[str, Spent]:
    return {role: a.get(role, Spent()) + b.get(role, Spent()) for role in dict.fromkeys((*a, *b))}
