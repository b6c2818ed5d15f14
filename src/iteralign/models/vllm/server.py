"""Server: a vLLM of our own as a child process, on the loopback interface, its output in a log file.

It lives as long as this process at most (warden.py). A random key, made here and known to nobody else, keeps other
users of the machine from asking it or swapping its weights.
"""

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from iteralign.errors import UserError, WorldError
from iteralign.models.vllm import child
from iteralign.models.vllm.http import Gone, Refused, Web

HOST = "127.0.0.1"
MODULE = "vllm.entrypoints.openai.api_server"
QUIET = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_HOST_IP": "127.0.0.1",
}
"""The server gets a directory: it has nothing to look up, and nothing to tell anybody."""

CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
"""Unless the user says otherwise: 1 GiB of cache, and threads where the system puts them."""

_ERROR = re.compile(r"([A-Z]\w*(?:Error|Exception|Interrupt)(?:: .*)?|\S+: error: .*|.*No module named .*)$")
_EMPTY = ("See root cause above", "Engine core initialization failed", "leaked", "SystemExit")


class Server:
    """A started server; `wait` until it answers, `close` to end it. `name`: what it is called in errors."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str], name: str) -> None:
        self.name, self.log = name, log
        self.key = secrets.token_hex(16)
        self.port = _free_port()
        own = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")}  # keys for others stay here
        given = {**own, **uncompiled(command[0]), **environment, "VLLM_API_KEY": self.key}
        log.parent.mkdir(parents=True, exist_ok=True)
        self._from = log.stat().st_size if log.exists() else 0
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-I", child.__file__, str(os.getpid()), *command, "--port", str(self.port)],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=given,
            )

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The warden's; it leads to the server's."""
        return self._process.pid

    def wait(self, timeout_s: float, path: str = "/health") -> None:
        """Until it answers; else it is ended. Raises UserError where there is no vLLM to start, else WorldError."""
        web, deadline = Web(self.url, self.key, 5.0), time.monotonic() + timeout_s
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(Gone, Refused):
                web.get(path)
                return
            time.sleep(0.25)
        late = self._process.poll() is None
        self.close()
        if late:
            raise WorldError(
                f"{self.name} did not answer in {timeout_s:g} s (vllm.start_timeout_s); its log: {self.log}"
            )
        raise self.ended()

    def ended(self) -> UserError | WorldError:
        """The error of a server that is no more, or does not answer: its own last word, and where the rest stands."""
        why = self._why()
        if "No module named" in why and "vllm" in why:
            return UserError(
                f"vllm.python: {why}; install vLLM there, name a Python that has it, or set vllm.url (docs/vllm.md)"
            )
        status = self._process.poll()
        state = "does not answer" if status is None else f"ended with status {status}"
        return WorldError(
            f"{self.name} {state}: {why}; its log: {self.log}; run the same command again to resume"
        )

    def close(self) -> None:
        """End it, with its workers. Harmless if it has ended."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(child.GRACE_S + 20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if (self._process.returncode or 0) < 0:  # the warden was killed, so it ended nobody
            self._end_group()

    def _end_group(self) -> None:
        found = re.search(rf"^{child.GROUP} (\d+)$", self._said(), re.MULTILINE)
        if found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(found[1]), signal.SIGKILL)

    def _said(self) -> str:
        """The log of this server, not of those before it."""
        with self.log.open("rb") as file:
            file.seek(self._from)
            return file.read().decode(errors="replace")

    def _why(self) -> str:
        """The last line of the log that looks like an error, for a person."""
        lines = [line for line in self._said().splitlines() if not line.startswith(child.GROUP)]
        found = [m[1] for line in lines if (m := _ERROR.search(line)) and not any(e in line for e in _EMPTY)]
        said = found or [line for line in lines if line.strip()] or ["it said nothing"]
        return " ".join(said[-1].split())[:200]


def command(python: str, arguments: Sequence[str]) -> list[str]:
    """How a vLLM server is started. By its module, as the console script wants a distribution called vllm."""
    return [python, "-m", MODULE, "--host", HOST, *arguments]


def uncompiled(python: str) -> dict[str, str]:
    """What an interpreter in a folder whose path has a blank needs: torch 2.13 hands its compiler the paths of its own
    headers unquoted, so whatever vLLM would compile fails there, in the middle of a request."""
    return {"TORCHDYNAMO_DISABLE": "1"} if " " in str(Path(python).absolute()) else {}


def environment(**more: str) -> dict[str, str]:
    """What its environment holds beside ours."""
    return {**QUIET, **{k: v for k, v in CPU.items() if k not in os.environ}, **more}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
