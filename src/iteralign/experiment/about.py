"""About: when a report was made and by what, and the runs behind it: what stands under its tables."""

import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from iteralign import __version__
from iteralign.experiment.outcomes import Outcomes
from iteralign.record import provenance
from iteralign.security.keys import scrubbed_command

UNKNOWN = "an unknown commit"


def facts(outcomes: Outcomes) -> tuple[str, ...]:
    """Date, version and commit of the report, of the runs, and the command; and which runs are in no table."""
    said = lines([run.provenance for run in outcomes.runs.values()], len(outcomes.grid.cells))
    return (*said, *_others(outcomes))


def lines(made: Sequence[Mapping[str, Any]], wanted: int) -> tuple[str, ...]:
    """The same of runs with these provenances, of so many that are wanted."""
    now = datetime.now(UTC).isoformat(timespec="minutes")
    here = provenance.commit(Path(__file__).parent) or UNKNOWN
    command = scrubbed_command([Path(sys.argv[0]).name, *sys.argv[1:]], os.environ)
    return (
        f"report of {now}: iteralign {__version__} at {here}",
        _runs(made, wanted),
        f"command: {shlex.join(command)}",
    )


def _runs(made: Sequence[Mapping[str, Any]], wanted: int) -> str:
    done = f"runs: {len(made)} of {wanted} done"
    if not made:
        return done
    at = _distinct(f"iteralign {p.get('iteralign', '?')} at {p.get('git') or UNKNOWN}" for p in made)
    started = sorted(str(p.get("started", "")) for p in made)
    return f"{done}, started {started[0]} to {started[-1]}, by {', '.join(at)}"


def _others(outcomes: Outcomes) -> list[str]:
    """A run that is in no table, though it lies where one belongs."""
    if not outcomes.others:
        return []
    place, keys = next(iter(outcomes.others.items()))
    count = f"{len(outcomes.others)} run{'s' if len(outcomes.others) > 1 else ''}"
    return [f"in no table, since of another config: {count}, as {place} ({', '.join(keys)})"]


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
