"""Provenance: who made a run, with what, from what; written once, at its first start.

It holds the time, so `comparable` leaves it out. No secret and no host name enters it.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from iteralign import __version__
from iteralign.record.codec import digest, pretty
from iteralign.record.disk import disk, write_whole
from iteralign.security import documents
from iteralign.security.keys import scrubbed_command

NAME = "provenance.json"
LIBRARIES = (
    "torch", "transformers", "trl", "peft", "tokenizers", "safetensors", "accelerate", "datasets",
    "inspect_ai", "openai", "anthropic", "vllm", "scipy", "pydantic", "jinja2",
)  # fmt: skip
"""Their versions are read from the installed metadata, without importing them."""


def record(root: Path, config: Mapping[str, Any], argv: Sequence[str] | None = None) -> None:
    """Write provenance.json into `root` unless it is there. Raises as `disk`."""
    path = root / NAME
    with disk(path):
        if path.exists():
            return
    write_whole(path, pretty(describe(config, sys.argv if argv is None else argv)))


def read(root: Path) -> dict[str, Any]:
    """What record wrote there; nothing where it cannot be read."""
    try:
        found = documents.read_json(root / NAME)
    except documents.Unreadable:
        return {}
    return found if isinstance(found, dict) else {}


def describe(config: Mapping[str, Any], argv: Sequence[str]) -> dict[str, Any]:
    """What record writes."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": scrubbed_command([Path(argv[0]).name, *argv[1:]], os.environ),
        "config_sha256": digest(config),
        "iteralign": __version__,
        "git": commit(Path(__file__).parent),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "libraries": {name: v for name in LIBRARIES if (v := _version(name)) is not None},
    }


def commit(folder: Path) -> str | None:
    """The git commit of the checkout that `folder` belongs to, `+changes` if edited; None if untracked."""
    try:
        if not _git(folder, "ls-files", "--", "."):
            return None
        changes = _git(folder, "status", "--porcelain", "--", ".")
        return _git(folder, "rev-parse", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
