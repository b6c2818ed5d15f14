"""About: when a report was made and by what, and the runs behind it: what stands under its tables."""

import os
import shlex
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from iteralign import __version__
from iteralign.run import provenance
from iteralign.run.experiment.outcomes import Outcomes

UNKNOWN = "an unknown commit"


def facts(outcomes: Outcomes) -> tuple[str, ...]:
    """Date, version and commit of the report, of the runs, and the command."""
    now = datetime.now(UTC).isoformat(timespec="minutes")
    here = provenance.commit(Path(__file__).parent) or UNKNOWN
    command = provenance.scrubbed([Path(sys.argv[0]).name, *sys.argv[1:]], os.environ)
    return (
        f"report of {now}: iteralign {__version__} at {here}",
        _runs(outcomes),
        f"command: {shlex.join(command)}",
    )


def _runs(outcomes: Outcomes) -> str:
    made = [run.provenance for run in outcomes.runs.values()]
    done = f"runs: {len(made)} of {len(outcomes.grid.cells)} done"
    if not made:
        return done
    at = _distinct(f"iteralign {p.get('iteralign', '?')} at {p.get('git') or UNKNOWN}" for p in made)
    started = sorted(str(p.get("started", "")) for p in made)
    return f"{done}, started {started[0]} to {started[-1]}, by {', '.join(at)}"


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
