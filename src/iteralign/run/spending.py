"""What a run has cost so far, from what it recorded."""

from dataclasses import dataclass
from pathlib import Path

from iteralign.run.calls import read
from iteralign.run.timings import seconds

ORACLES = ("oracle", "meter")
"""Names under which stages receive an oracle, and so the second part of a calls file's name."""


@dataclass(frozen=True, slots=True)
class Cost:
    oracle_calls: int
    oracle_tokens: int
    hours: float


def spent(root: Path, through: int) -> Cost:
    """Oracle calls, oracle tokens (in and out) and hours of the finished steps of iterations 0 to `through`."""
    replies = [
        call.reply.usage
        for t in range(through + 1)
        for role in ORACLES
        for file in sorted((root / "iterations" / f"{t:03d}" / "calls").glob(f"*.{role}.jsonl"))
        for call in read(file)
    ]
    tokens = sum(u.input_tokens + u.output_tokens for u in replies)
    return Cost(len(replies), tokens, _hours(root, through))


def _hours(root: Path, through: int) -> float:
    return sum(s for (t, _), s in seconds(root).items() if t <= through) / 3600
