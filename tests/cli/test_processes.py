"""The command line as a process: terminal or pipe, signals, exit status, what is loaded."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from iteralign.models import tiny
from iteralign.record.lock import Lock
from iteralign.report.summary import summarise

TESTS = Path(__file__).parents[1]
ACTED = f"""
import sys, time
sys.path.insert(0, {str(TESTS)!r})
import rehearsal
from iteralign.run import runner
pause = float(sys.argv.pop(1))
answers = rehearsal.answers
def slowly(open_gaps):
    answer = answers(open_gaps)
    def slow(*question):
        time.sleep(pause)
        return answer(*question)
    return slow
rehearsal.answers = slowly
runner.run = rehearsal.perform
from iteralign.cli.main import main
main()
"""
REAL = "from iteralign.cli.main import main; main()"
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]")
SMALL = [
    f"--set={assignment}"
    for assignment in (
        "redteam.n=24", "redteam.batch=12", "probes.hazards=12", "probes.benign=4", "probes.borderline=4",
        "probes.facts=4", "test.hazards=12", "test.benign=4", "test.borderline=4", "test.facts=4", "benign.n=4",
        "sampling.max_tokens=8",
    )
]  # fmt: skip


def command(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def heed_interrupts() -> None:
    """A shell that puts the tests in the background lets them, and what they start, ignore SIGINT; nohup SIGHUP."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def in_terminal(
    arguments: Sequence[str],
    cwd: Path,
    until: Callable[[str], bool] = lambda _: False,
    number: int = signal.SIGINT,
    **environment: str,
) -> tuple[int, str]:
    """Run in a pseudo-terminal of 80 columns; signal `number` once `until` is true of what was written. Status,
    output."""
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "CI")}
    env |= {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "50", **environment}
    process = subprocess.Popen(
        arguments, cwd=cwd, env=env, stdin=slave, stdout=slave, stderr=slave, preexec_fn=heed_interrupts
    )
    os.close(slave)
    written, sent, deadline = b"", False, time.monotonic() + 240
    while time.monotonic() < deadline:
        ready, _, _ = select.select([master], [], [], 0.1)
        try:
            written += os.read(master, 65536) if ready else b""
        except OSError:
            break
        if not sent and until(written.decode(errors="replace")):
            process.send_signal(number)
            sent = True
        if process.poll() is not None and not ready:
            break
    code = process.wait(timeout=60)
    os.close(master)
    return code, written.decode()


def test_on_a_terminal_the_board_moves_and_the_rows_stay(here: Path) -> None:
    code, written = in_terminal(command(ACTED, "0.002", "run", "runs/half"), here)
    assert code == 0
    assert COLOUR.search(written)
    assert "\x1b[?25l" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l"), "the cursor is shown again"
    assert "iteration 2 · judging the answers" in written
    assert re.search(r" of 18\b", written)
    assert re.search(r"2\s+6 of 18\s+1 new\s+6 accepted\s+0.0 %", written)
    assert "Held-out test probes" in written


def test_no_color_and_dumb_terminals_are_respected(here: Path) -> None:
    _, plain = in_terminal(command(ACTED, "0", "run", "runs/half"), here, NO_COLOR="1")
    assert not COLOUR.search(plain)
    code, dumb = in_terminal(command(ACTED, "0", "run", "runs/half"), here, TERM="dumb")
    assert code == 0
    assert "\x1b" not in dumb
    assert "iteration 2 done" in dumb


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=str)
def test_a_signal_ends_a_run_with_the_way_to_resume(here: Path, number: int) -> None:
    slow = command(ACTED, "0.2", "run", "runs/half")  # long enough for a busy machine to draw it
    code, written = in_terminal(slow, here, lambda text: "answering again" in text, number)
    assert code == 128 + number, written[-2000:]
    assert "interrupted; nothing recorded is lost" in written
    assert written.rstrip().endswith("resume with: iteralign run runs/half")
    assert "Traceback" not in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
    assert summarise(here / "runs" / "half")["iterations"][1]["counts"]["adopted"] == 1
    Lock(here / "runs" / "half").release()  # nobody holds it any more


SLOW_END = """
import signal, sys, time
from iteralign.cli import signals
if "nohup" in sys.argv:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
with signals.heeded():
    try:
        print("ready", flush=True)
        time.sleep(100)
    finally:
        print("ending", flush=True)
        time.sleep(100)
"""


def test_a_second_signal_ends_at_once_what_takes_long_to_end(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(SLOW_END), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert process.stdout is not None
    for said in ("ready\n", "ending\n"):
        assert process.stdout.readline() == said
        process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.count("\n")) == (143, 1)
    assert "nothing recorded is lost" in errors


SLOW_COMMAND = """
import time
from iteralign.cli import configs, terminal
def slow(name):
    print("ready", flush=True)
    time.sleep(100)
terminal.write = slow
from iteralign.cli.main import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=str)
def test_a_signal_ends_any_command_in_one_line_and_with_its_number(tmp_path: Path, number: int) -> None:
    process = subprocess.Popen(
        command(SLOW_COMMAND, "configs", "laptop"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=heed_interrupts,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + number, "interrupted\n")


def test_what_the_shell_ignores_stays_ignored(tmp_path: Path) -> None:
    process = subprocess.Popen(command(SLOW_END, "nohup"), stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.kill()
    assert process.communicate(timeout=60)[0] == ""  # it was still at work


@pytest.mark.parametrize(
    "arguments", [["show", "done", "--json"], ["check", "quickstart", "--policy", "model"]]
)
def test_a_reader_that_leaves_is_not_an_error(here: Path, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command(REAL, *arguments), cwd=here, stdout=writing, stderr=subprocess.PIPE, timeout=120
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_encoding_without_the_signs_is_no_crash(here: Path) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(command(REAL, "show", "done"), cwd=here, env=env, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"harmful answers" in done.stdout


def test_help_loads_nothing_that_it_does_not_need() -> None:
    code = f"""
import atexit, sys
def tell():
    print("LOADED", *{{m.split(".")[0] for m in sys.modules}})
atexit.register(tell)
{REAL}
"""
    done = subprocess.run(command(code, "--help"), capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "iteralign" in loaded
    assert not loaded & {"rich", "pydantic", "scipy", "numpy", "torch", "transformers", "inspect_ai"}


@pytest.mark.integration
def test_a_real_run_interrupted_resumed_and_shown(tmp_path: Path) -> None:
    """A tiny random model in process, the organism's oracle, a pipe for stdout."""
    tiny.build(tmp_path / "model")
    run = command(REAL, "run", "quickstart", "--policy", "model", "--name", "real", *SMALL)
    log = tmp_path / "log.txt"
    with log.open("w", encoding="utf-8") as out:
        first = subprocess.Popen(
            run, cwd=tmp_path, stdout=out, stderr=subprocess.STDOUT, preexec_fn=heed_interrupts
        )
        while "before: measuring on the test" not in log.read_text(encoding="utf-8"):
            assert first.poll() is None, log.read_text(encoding="utf-8")
            time.sleep(0.05)
        second = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=240)
        first.send_signal(signal.SIGINT)
        code = first.wait(timeout=240)
    if code:  # else it was done before the signal came
        assert code == 130
        assert "resume with: iteralign run runs/real" in log.read_text(encoding="utf-8")
        assert second.returncode == 2
        assert f"in use by process {first.pid}" in second.stderr
    again = subprocess.run(
        [*run, "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=True
    )
    summary = json.loads(again.stdout)
    assert summary["status"] == "finished"
    assert summary["before"]["undecided"]["value"] > 0.5
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", log.read_text(encoding="utf-8") + again.stderr)
    other = subprocess.run(
        [*run, "--set=redteam.n=12"], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert "redteam.n (was 24, now 12)" in other.stderr
    shown = subprocess.run(
        command(REAL, "show", "real"), cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert "could not read" in shown.stdout
    assert "iteration 1: 6 of 6 verdicts could not be read" in shown.stdout
