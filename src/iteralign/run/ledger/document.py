"""Document: the ledger of a run as `iteralign constitution ledger --json` prints it (docs/ledger.md has every key)."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from iteralign.run.ledger.entries import Entry, entries
from iteralign.run.ledger.record import record
from iteralign.types import Prompt

SCHEMA = 1
Json = dict[str, Any]


def ledger(root: Path) -> Json:
    """The ledger of the run directory `root`. Raises UserError if it is none, or damaged."""
    known = record(root)
    return {
        "schema": SCHEMA,
        "run": known.config.name,
        "root": str(root),
        "accumulate": known.config.propose.accumulate,
        "iterations": max(known.turns, default=0),
        "entries": [_entry(entry) for entry in entries(known)],
    }


def _entry(entry: Entry) -> Json:
    principle = entry.principle
    return {
        "id": principle.id,
        "text": principle.text,
        "category": principle.category,
        "born": principle.born,
        "decision": entry.decision,
        "reason": entry.reason or None,
        "active": list(entry.active),
        "failures": _prompts(entry.failures),
        "more_failures": _prompts(entry.more),
        "rows": {str(t): list(ids) for t, ids in entry.rows.items()},
        "overlaps": [asdict(o) for o in entry.overlaps],
    }


def _prompts(prompts: Sequence[Prompt]) -> list[Json]:
    return [{"id": p.id, "topic": p.topic, "text": p.text} for p in prompts]
