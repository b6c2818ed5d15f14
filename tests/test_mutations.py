"""Mutations: whatever is done to a config, a data file or a run directory, a command ends in time, within memory,
and with at most one line of error."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("mutations.py")
MORE_MB = 500
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def wrong(case: dict[str, Any]) -> str:
    """What is wrong with how a case ended; "" if nothing is."""
    said = case["said"]
    if case["code"] not in (0, 2):
        return f"ended with {case['code']}"
    if "Traceback" in said or CONTROL.search(said):
        return "a traceback, or a raw control character"
    if case["code"] == 2 and not (said.startswith("error: ") and said.count("\n") == 1):
        return "not one line"
    return f"{case['more']} MB more than undamaged" if case["more"] > MORE_MB else ""


def check(folder: Path, seed: int, number: int, every: int) -> None:
    command = [sys.executable, str(PROGRAM), str(folder), *map(str, (seed, number, every))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=folder.parent)
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    counts = Counter((case["command"][0], case["code"]) for case in cases)
    print(
        f"seed {seed}:",
        *(f"{command} {code}: {n}" for (command, code), n in sorted(counts.items())),
        sep="\n  ",
    )
    failed = [(problem, case) for case in cases if (problem := wrong(case))]
    assert len(cases) == number
    assert not failed, "\n".join(f"{problem}: {str(case)[-1500:]}" for problem, case in failed)


def test_a_sample_of_mutations(tmp_path: Path) -> None:
    check(tmp_path / "work", seed=0, number=60, every=0)


@pytest.mark.slow
def test_a_thousand_mutations(tmp_path: Path) -> None:
    check(tmp_path / "work", seed=1, number=1000, every=20)
