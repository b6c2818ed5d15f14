"""`make demo-vllm`, on a handful of prompts: the loop, its policy and its oracle behind real servers, offline."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from iteralign.models.vllm.policies import LOG
from iteralign.report.summary import summarise

pytestmark = pytest.mark.integration

EXAMPLES = Path(__file__).parents[2] / "examples"
SETS = ("harmfulqa", "dangerousqa")
DATA = Path(__file__).parents[3] / "shared" / "data"
KEY = "sk-" + "planted-0123456789abcdef"  # in two parts, as no file may hold what looks like a key
FEW = ["redteam.n=8", "redteam.batch=4", "test.hazards=4", "probes.hazards=4"]


@pytest.fixture(scope="module")
def runs(small_oracle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("over") / "runs"
    shutil.copytree(small_oracle, folder / "small-oracle")
    return folder


def command(python: str, runs: Path, server: str) -> list[str]:
    sets = [part for assignment in FEW for part in ("--set", assignment)]
    name = str(EXAMPLES / "over_vllm.py")
    return [
        sys.executable,
        name,
        "--vllm",
        python,
        "--data",
        str(DATA),
        "--runs",
        str(runs),
        "--oracle",
        server,
        *sets,
    ]


def whole(root: Path) -> dict:
    """The summary of a run in which everything is accounted for."""
    summary = summarise(root)
    assert summary["stop_reason"]
    for turn in summary["iterations"]:
        counts = turn["counts"]
        assert counts["prompts"] == 4
        assert 0 <= counts["harmful"] + counts["unparsed"] <= counts["prompts"]
    assert summary["oracle"]["calls"] > 0
    return summary


@pytest.mark.skipif(
    not all((DATA / name).is_dir() for name in SETS), reason=f"the red-team sets are not in {DATA}"
)
def test_the_loop_over_two_servers_killed_once_and_resumed(runs: Path, vllm_python: str) -> None:
    """The policy's server dies under the first run; the same command then finishes both."""
    environment = {**os.environ, "OPENAI_API_KEY": KEY}
    first = subprocess.Popen(
        command(vllm_python, runs, "transformers"), env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    log = runs / "over-transformers-harmfulqa" / LOG
    while first.poll() is None and not (log.exists() and "POST /v1/completions" in log.read_text("utf-8")):
        time.sleep(0.1)
    for pid in servers_of(log):
        os.kill(pid, signal.SIGKILL)
    output, _ = first.communicate(timeout=600)
    assert first.returncode == 2, output
    assert "vllm: the server" in output
    assert "again to resume" in output
    assert "Traceback" not in output
    again = command(vllm_python, runs, "transformers")
    done = subprocess.run(again, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    trained = []
    for name in SETS:
        assert re.search(rf"{name}: of 8 answers \d harmful, ", done.stdout)
        root = runs / f"over-transformers-{name}"
        trained += [t["checkpoint"] for t in whole(root)["iterations"]]
        assert json.loads((root / "config.json").read_text("utf-8"))["offline"] is True
        assert not [f for f in root.rglob("*") if f.is_file() and KEY.encode() in f.read_bytes()]
    assert any(checkpoint for checkpoint in trained), "no adapter was ever trained and swapped in"


def servers_of(log: Path) -> list[int]:
    """The process ids that vLLM writes before its lines."""
    return sorted(
        {int(pid) for pid in re.findall(r"\((?:APIServer|EngineCore) pid=(\d+)\)", log.read_text("utf-8"))}
    )


def test_a_set_that_is_not_there_is_left_out(runs: Path, vllm_python: str, tmp_path: Path) -> None:
    arguments = command(vllm_python, runs, "transformers")
    arguments[arguments.index("--data") + 1] = str(tmp_path)
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=900, check=True)
    assert all(f"{name}: left out, there is no folder" in done.stdout for name in SETS)


def test_the_small_oracle_by_itself(small_oracle: Path) -> None:
    assert (EXAMPLES / "small_oracle.py").is_file()
    assert (small_oracle / "model.safetensors").is_file()
