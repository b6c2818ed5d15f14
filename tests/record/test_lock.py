"""Lock: one process at a time, and none that is dead."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from iteralign.errors import UserError
from iteralign.record.lock import Lock

HOLD = """
import sys, time
from pathlib import Path
from iteralign.record.lock import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_a_second_process_is_told_who_has_it_and_a_killed_one_has_not(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(UserError, match=rf"{tmp_path} is in use by process {holder.pid};"):
                Lock(tmp_path)
        finally:
            holder.send_signal(signal.SIGKILL)
    Lock(tmp_path).release()


def test_it_is_free_again_after_release(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    with pytest.raises(UserError, match=f"in use by process {os.getpid()}"):
        Lock(tmp_path)
    lock.release()
    lock.release()
    Lock(tmp_path).release()


def test_a_place_that_cannot_be_locked_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="not a directory"):
        Lock(tmp_path / "run")


FULL = """
import resource, signal, sys
from pathlib import Path
from iteralign.errors import WorldError
from iteralign.record.lock import Lock
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
try:
    Lock(Path(sys.argv[1]))
except WorldError as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    Lock(Path(sys.argv[1])).release()
    sys.exit(str(error))
"""


def test_a_full_disk_is_one_line_and_leaves_no_lock(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "free space and rerun the same command" in done.stderr
    assert len(done.stderr.splitlines()) == 1
