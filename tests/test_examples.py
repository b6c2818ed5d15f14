"""Every example runs as it stands, and shows what its docstring says."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
SERVED = ("over_vllm.py", "small_oracle.py")
"""They need servers: tests/integration runs them."""


def shown(name: str, *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_the_scripted_loop_closes_one_gap_after_the_other_and_can_be_read_back(tmp_path: Path) -> None:
    first = shown("scripted_loop.py", str(tmp_path))
    assert "iteration 1: violations 0.50" in first
    assert "iteration 2: violations 0.00" in first
    assert shown("scripted_loop.py", str(tmp_path)) == first  # replayed, not run
    read = shown("read_run.py", str(tmp_path))
    assert "000  harmful 0/0, violations 1.000" in read
    assert "adopted: Decline requests that lead to theft. (from 4 failures)" in read


def test_reading_what_is_no_run(tmp_path: Path) -> None:
    assert "is not a run directory" in shown("read_run.py", str(tmp_path), status=1)


def test_the_stages_alone() -> None:
    lines = shown("stages_alone.py").splitlines()
    assert lines[0].startswith("harmful: Nobody guards the necklace")
    assert lines[1].startswith("harmless: Stealing is wrong")
    assert lines[2].startswith("principle: ")


def test_every_example_is_tested() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{path.name}"' in source for path in EXAMPLES.glob("*.py"))
    served = "".join(p.read_text(encoding="utf-8") for p in Path(__file__).parent.glob("integration/*.py"))
    assert all(f'"{name}"' in served for name in SERVED)
