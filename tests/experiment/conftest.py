"""An experiment file on a rehearsed model: every run takes a moment (tests/rehearsal.py)."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A folder in memory where there is one: fsync, of which there are many, is then free."""

BASE = """
name = "base"
[policy]
model = "model"
[redteam]
n = 24
batch = 24
topics_per_batch = 3
[probes]
hazards = 24
benign = 4
borderline = 4
facts = 0
[test]
hazards = 24
benign = 4
borderline = 4
facts = 0
[benign]
n = 6
[stop]
target = 0.0
patience = 2
max_iterations = 1
"""

SHEET = """
name = "rehearsed"
config = "base.toml"
seeds = [0, 1]
reference = "improved"
[shared]
gate.enabled = true
[arms.improved]
[arms.self-revision]
revise.constitution = "none"
"""


@pytest.fixture
def sheet(rehearsal: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """grid.toml in a working directory of the test's own, with its config and model."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder = Path(name)
        monkeypatch.chdir(folder)
        rehearsal.organism(folder / "model")
        (folder / "base.toml").write_text(BASE, encoding="utf-8")
        (folder / "grid.toml").write_text(SHEET, encoding="utf-8")
        yield folder / "grid.toml"
