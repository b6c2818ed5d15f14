"""Checkpoints in a run directory: whether they are as training wrote them, and how they leave when disk is needed.

Training ends by writing the sha256 of every file into SHA256SUMS (`sha256sum -c` reads it); the sha256 of that file
is the checkpoint's `hash`, which the run records. One changed byte anywhere in the folder is then noticed before
the checkpoint is used.

A pruned checkpoint keeps its record, under another name, and its witness. The record is renamed first, and a
checkpoint without a record counts as not there: a process killed in the middle leaves a pruned checkpoint, and
what is left of its weights goes with the next pruning.
"""

import logging
import os
import shutil
from functools import lru_cache
from pathlib import Path

from iteralign.errors import UserError
from iteralign.lm import witness
from iteralign.security import documents
from iteralign.types import Checkpoint

log = logging.getLogger(__name__)
RECORD = "training.json"
PRUNED = "pruned.json"
"""What the record of a checkpoint is called once its weights are gone."""
SUMS = "SHA256SUMS"


def is_complete(folder: Path) -> bool:
    """The record is written last, into a directory that is then renamed; without it nothing counts."""
    return (folder / RECORD).is_file()


def seal(folder: Path) -> None:
    """Write SHA256SUMS over the files of a finished training in `folder`. Raises OSError."""
    sums = [f"{documents.sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in _files(folder)]
    (folder / SUMS).write_text("".join(sums), encoding="utf-8")


def hash_of(folder: Path) -> str:
    """The hash of the sealed checkpoint in `folder`: one digest over all its files. Raises OSError."""
    return documents.sha256(folder / SUMS)


def require(root: Path, checkpoint: Checkpoint) -> None:
    """Raise UserError if a checkpoint of the run in `root` is gone or damaged. The line says how to go on.

    A checkpoint without a hash is an adapter from elsewhere, or was trained by an older version. Its files are
    compared where it has SHA256SUMS.
    """
    if checkpoint.path is None:
        return
    folder = root / checkpoint.path
    if (folder / PRUNED).is_file():
        raise UserError(
            f"checkpoint {checkpoint.id}: its weights were pruned to save disk (training.keep); a new run with "
            "training.keep = 0 keeps every checkpoint"
        )
    try:
        if not folder.is_dir():
            raise _Damaged(f"{folder} is missing; copy it back")
        if not checkpoint.hash and not (folder / SUMS).exists():
            if is_complete(folder):
                log.warning(
                    "checkpoint %s: trained by an older version; its files cannot be verified", checkpoint.id
                )
            return
        files = [(path.relative_to(folder).as_posix(), path.lstat()) for path in _files(folder)]
        # ctime: mtime can be set back, and a file that is copied back gets a new ctime
        signature = tuple((name, at.st_ino, at.st_size, at.st_ctime_ns) for name, at in files)
        _verify(folder, checkpoint.hash, signature)
    except (_Damaged, OSError) as error:
        steps = [*root.glob("iterations/*/*_checkpoint.json"), *root.glob("ledger/*_checkpoint.json")]
        named = [path for path in sorted(steps) if checkpoint.id in _text(path)]
        old = " and ".join(str(path) for path in (folder, *named) if path.exists())
        again = f"delete {old} and run again to train it anew" if old else "start a new run"
        raise UserError(f"checkpoint {checkpoint.id}: {error}, or {again}") from None


class _Damaged(Exception):
    """What is wrong with a checkpoint's folder, and how to put it right."""


@lru_cache(maxsize=64)  # full weights take seconds to minutes to hash, and every batch of questions asks
def _verify(folder: Path, expected: str, signature: tuple[tuple[str, int, int, int], ...]) -> None:
    """Raise _Damaged for the first file that differs. `signature` changes when a file of the folder does."""
    if not (folder / SUMS).is_file():
        raise _Damaged(f"{folder / SUMS} is missing; copy it back")
    if expected and hash_of(folder) != expected:
        raise _Damaged(f"{folder / SUMS} is not the one that training wrote; copy it back")
    lines = (line.partition("  ") for line in _text(folder / SUMS).splitlines())
    sums = {name: digest for digest, _, name in lines}
    there = {name for name, *_ in signature} - {SUMS}
    if extra := sorted(there - sums.keys()):
        raise _Damaged(f"{folder / extra[0]} is not part of it; move it away")
    for name, digest in sums.items():
        if name not in there or not (folder / name).is_file():
            raise _Damaged(f"{folder / name} is missing; copy it back")
        if documents.sha256(folder / name) != digest:
            raise _Damaged(f"{folder / name} has changed since training; copy it back")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def prune(folder: Path) -> None:
    """Remove the weights of the checkpoint in `folder`; twice does no harm. Raises OSError."""
    if is_complete(folder):
        os.replace(folder / RECORD, folder / PRUNED)
    if not (folder / PRUNED).is_file():
        return
    for path in list(folder.iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (PRUNED, witness.FILE):
            path.unlink()
