"""Progress by itself: pace, the live board and the lines, driven by events and a clock of the test's own."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from iteralign.cli import words
from iteralign.cli.progress import Beat, Board, LogLines, Meter, Pace, Silent, watching
from iteralign.record.calls import Spent
from iteralign.record.journal import Event


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_left_goes_by_what_was_made_since_the_start() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.begin("judging")
    pace.advance(40, 100)  # found on record: says nothing about the pace
    assert pace.left() is None
    clock.now += 10
    pace.advance(60, 100)
    assert pace.left() == pytest.approx(20.0)
    pace.advance(100, 100)
    assert pace.left() == 0
    pace.advance(100, None)
    assert pace.left() is None
    pace.begin("gate")
    assert (pace.done, pace.total, pace.left()) == (0, None, None)


def shown(board: Board, width: int) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(board.render())
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_the_board_says_what_how_far_how_long_and_what_it_cost(runs: Path, width: int) -> None:
    clock, stayed = Clock(), []
    board = Board(runs / "runs" / "done", lambda text: stayed.append(text.plain), clock)
    board.event(Event("replayed", 0, "test"))
    board.event(Event("replayed", 0, "metrics"))
    board.event(Event("started", 1, "verdicts"))
    board.event(Event("advanced", 1, "verdicts", 0, 1200))
    clock.now += 30
    board.event(Event("advanced", 1, "verdicts", 300, 1200, "oracle", {"judge": Spent(300, 60_000, 9_000)}))
    blank, what, far, cost = shown(board, width)
    assert what[2:].strip() == "iteration 1 · judging the answers"
    assert far.split() == [far.split()[0], "300", "of", "1,200", "about", "1", "min", "30", "s", "left"]
    assert cost.strip().startswith("violations 33.3 % · oracle 406 calls, ")
    assert cost.endswith(" · 30 s")
    assert all(len(line) <= width for line in (blank, what, far, cost))
    assert [line.split() for line in stayed] == [
        ["resuming:", "what", "is", "on", "record", "is", "not", "done", "again"],
        ["failures", "principles", "revisions", "violations", "95", "%"],
        ["before", "33.3", "%", "16.8–55.3"],
    ]


def test_usage_is_live_in_money_and_against_the_budget(tmp_path: Path) -> None:
    config = {
        "oracle": {"model": "x/y"},
        "prices": {"x/y": {"input": 1.0, "output": 10.0}},
        "budget": {"usd": 2, "oracle_tokens": 100_000},
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    meter = Meter(tmp_path)
    meter.event(Event("advanced", 0, "metrics", 40, 90, "meter", {"meter": Spent(30, 50_000, 10_000)}))
    assert meter.text() == "oracle 30 calls, 60,000 of 100,000 tokens, 0.15 USD of 2.0"
    meter.event(Event("advanced", 1, "checkpoint", 3, 9))
    assert meter.text().startswith("oracle 0 calls, 0 of 100,000 tokens")


def test_a_row_stays_for_every_iteration(runs: Path, tmp_path: Path, rehearsal: Any) -> None:
    stayed: list[str] = []
    config = rehearsal.config(str(runs / "model"))
    board = Board(tmp_path, lambda text: stayed.append(text.plain))
    for turn in rehearsal.perform(config, tmp_path, board.event, poison="medical"):
        board.iteration(turn)
    rows = [" ".join(line.split()) for line in stayed]
    assert rows[1] == "before 33.3 % 16.8–55.3"
    assert rows[2] == "1 18 of 18 3 new 18 accepted 8.3 % 2.1–27.8"
    assert rows[3].startswith("2 6 of 18 1 new 6 accepted")
    assert "rolled back: violations worse by" in rows[3]
    assert len(rows) == 6
    assert all(len(line) <= 80 for line in stayed if "rolled" not in line)


def test_lines_name_the_stage_its_result_and_its_time(runs: Path) -> None:
    said: list[str] = []
    clock = Clock()
    lines = LogLines(runs / "runs" / "done", said.append, clock)
    lines.event(Event("replayed", 0, "test"))
    lines.event(Event("started", 0, "metrics"))
    clock.now += 75
    lines.event(Event("finished", 0, "metrics", 42, 42))
    assert said == [
        "resuming: what is on record is not done again",
        "before: measuring on the validation probes: violations 33.3 % (16.8–55.3) (1 min 15 s)",
    ]


def test_a_slow_stage_is_never_silent_for_longer_than_half_a_minute(tmp_path: Path) -> None:
    """Also where a model computes for minutes without one event; the clock is the test's own."""
    clock, said = Clock(), []
    lines = LogLines(tmp_path, lambda text: said.append((clock.now - 100, text)), clock)
    lines.event(Event("started", 1, "verdicts"))
    for second in range(1, 101):
        clock.now += 1
        if second % 10 == 0 and second <= 60:
            lines.event(Event("advanced", 1, "verdicts", 2 * second, 600, "judge"))
        lines.beat.tick()
    lines.event(Event("finished", 1, "verdicts", 600, 600))
    assert said == [
        (1, "iteration 1: judging the answers …"),
        (30, "iteration 1: judging the answers: 60 of 600, 2 a second, 30 s"),
        (59, "iteration 1: judging the answers: 100 of 600, 1.6 a second, 59 s"),
        (88, "iteration 1: judging the answers: 120 of 600, 1.3 a second, 1 min 28 s"),
        (100, "iteration 1: judging the answers (1 min 40 s)"),
    ]


def test_training_says_its_update_and_its_loss_and_loading_is_not_silent_either(tmp_path: Path) -> None:
    clock, said = Clock(), []
    lines = LogLines(tmp_path, said.append, clock)
    clock.now += 30
    lines.beat.tick()
    lines.event(Event("started", 2, "checkpoint"))
    clock.now += 1
    lines.beat.tick()
    lines.event(Event("advanced", 2, "checkpoint", 1, 40, "loss 2.100"))
    clock.now += 30
    lines.event(Event("advanced", 2, "checkpoint", 7, 40, "loss 1.234"))
    lines.beat.tick()
    assert said == [
        "loading: 30 s",
        "iteration 2: fine-tuning on the accepted answers …",
        "iteration 2: fine-tuning on the accepted answers: update 7 of 40, loss 1.234, 0.2 a second, 31 s",
    ]


def test_quick_and_replayed_stages_say_one_line_at_most(tmp_path: Path) -> None:
    clock, said = Clock(), []
    lines = LogLines(tmp_path, said.append, clock)
    for step in ("benign", "responses"):
        lines.event(Event("replayed", 0, step))
    for step in ("verdicts", "proposals"):
        lines.event(Event("started", 1, step))
        clock.now += 0.4
        lines.beat.tick()
        lines.event(Event("finished", 1, step, 3, 3))
    assert said == [
        "resuming: what is on record is not done again",
        "iteration 1: judging the answers (0.4 s)",
        "iteration 1: writing principles for the failures (0.4 s)",
    ]


def test_the_beat_ends_with_its_block_and_outlives_a_closed_pipe() -> None:
    def closed(_: str) -> None:
        raise BrokenPipeError

    before = threading.active_count()
    clock = Clock()
    beat = Beat(closed, clock)
    with beat.running():
        clock.now += 60
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_who_watches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = Console(force_terminal=False)
    with watching(plain, tmp_path, quiet=True) as watcher:
        assert isinstance(watcher, Silent)
    with watching(plain, tmp_path, quiet=False) as watcher:
        assert isinstance(watcher, LogLines)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (8, "8 s"), (59.6, "1 min 00 s"),
     (185.2, "3 min 05 s"), (7499.0, "2 h 04 min")],
)  # fmt: skip
def test_durations(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_every_step_has_words() -> None:
    from iteralign.record.artifact import NUMBERS

    assert words.STAGES.keys() == NUMBERS.keys() == words.SHORT.keys()
