"""Crash: real processes, killed at random moments and at every file operation, then resumed."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from iteralign.record.disk import comparable

PROGRAM = Path(__file__).with_name("crash_program.py")
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
BATCH_SIZE = 2  # of the program's models: so many calls may be in flight when it is killed
KILLS = 24
PAUSE_S = 0.003  # in each call, so that kills land in calls as well as between them
LONGEST_S = 0.15  # until the kill; a whole run takes three to ten times as long


class Nursery:
    """Starts the program's processes, each a real one, without importing everything anew."""

    def __init__(self) -> None:
        command = [sys.executable, str(PROGRAM), "nursery"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, root: Path, asked: Path, kill_after_s: float | None = None) -> int:
        """How one attempt ended: 0, or the signal that killed it, negative."""
        child = int(self._told(json.dumps([str(root), str(asked), PAUSE_S])))
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            os.kill(child, signal.SIGKILL)
        return int(self._told("wait"))

    def close(self) -> None:
        self._process.communicate()

    def _told(self, line: str) -> str:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(line + "\n")
        stdin.flush()
        return stdout.readline()


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


def questions(asked: Path) -> Counter[str]:
    return Counter(asked.read_text().split() if asked.exists() else ())


def test_killed_at_random_moments_and_resumed_is_as_never_killed(tmp_path: Path, nursery: Nursery) -> None:
    chance = random.Random(24)
    assert nursery.run(tmp_path / "whole", tmp_path / "whole.asked") == 0
    expected, once = comparable(tmp_path / "whole"), questions(tmp_path / "whole.asked")

    kills, trial = 0, 0
    while kills < KILLS:
        root, asked, landed = tmp_path / f"{trial}", tmp_path / f"{trial}.asked", 0
        while (status := nursery.run(root, asked, chance.uniform(0, LONGEST_S))) == -signal.SIGKILL:
            landed += 1
            if kills + landed == KILLS:
                status = nursery.run(root, asked)
                break
        assert status == 0
        assert comparable(root) == expected
        assert once <= questions(asked)
        assert (questions(asked) - once).total() <= landed * BATCH_SIZE, "more was asked again than in flight"
        kills, trial = kills + landed, trial + 1


@pytest.mark.parametrize("iterations", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_dying_at_any_file_operation_shows_nowhere(iterations: int) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        command = [sys.executable, str(PROGRAM), "boundaries", folder, str(iterations)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50
