"""Checkpoints in a run directory: whether their weights are there, and how they leave when the disk is needed.

A pruned checkpoint keeps its record, under another name, and its witness. The record is renamed first, and a
checkpoint without a record counts as not there: a process killed in the middle leaves a pruned checkpoint, and
what is left of its weights goes with the next pruning.
"""

import os
import shutil
from pathlib import Path

from iteralign import witness
from iteralign.errors import UserError
from iteralign.types import Checkpoint

RECORD = "training.json"
PRUNED = "pruned.json"
"""What the record of a checkpoint is called once its weights are gone."""


def is_complete(folder: Path) -> bool:
    """The record is written last, into a directory that is then renamed; without it nothing counts."""
    return (folder / RECORD).is_file()


def require(root: Path, checkpoint: Checkpoint) -> None:
    """Raises UserError if the weights of a checkpoint of the run in `root` are gone, and says how."""
    if checkpoint.path is None:
        return
    folder = root / checkpoint.path
    if (folder / PRUNED).is_file():
        raise UserError(
            f"checkpoint {checkpoint.id}: its weights were pruned to save disk (training.keep); a new run with "
            "training.keep = 0 keeps every checkpoint"
        )
    if not folder.is_dir():
        raise UserError(
            f"checkpoint {checkpoint.id}: {checkpoint.path} is not in the run directory; copy it back, or start a "
            "new run"
        )


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
