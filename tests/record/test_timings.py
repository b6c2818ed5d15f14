"""Timings: lines that only grow, readable after any crash."""

from pathlib import Path

import pytest

from iteralign.errors import UserError
from iteralign.record.calls import Spent
from iteralign.record.codec import line
from iteralign.record.journal import TIMINGS, Timing, seconds, timings


def row(step: str, seconds: float, replayed: bool = False) -> Timing:
    return Timing("2026-11-24T03:20:28+00:00", 1, step, seconds, replayed, {"m": Spent(1, 2, 3)})


def test_the_attempt_that_did_the_step_counts(tmp_path: Path) -> None:
    rows = [row("verdicts", 2.5), row("verdicts", 0.001, replayed=True), row("gate", 1.0), row("gate", 3.0)]
    (tmp_path / TIMINGS).write_text("".join(map(line, rows)) + '{"at": "2026-')
    assert timings(tmp_path) == rows
    assert seconds(tmp_path) == {(1, "verdicts"): 2.5, (1, "gate"): 3.0}


def test_no_run_no_timings(tmp_path: Path) -> None:
    assert timings(tmp_path) == []


def test_damage_is_one_line(tmp_path: Path) -> None:
    (tmp_path / TIMINGS).write_text("{}\n")
    with pytest.raises(UserError, match=r"timings\.jsonl is damaged .*; it may be deleted"):
        timings(tmp_path)
