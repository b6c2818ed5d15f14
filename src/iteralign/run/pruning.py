"""Pruning: a checkpoint that the run needs no more leaves the disk, where every one holds all weights.

What a run needs to go on, to be resumed, tested, exported and evaluated is the policy that it stands on; what is
reported about earlier ones is recorded. An adapter is small: by default all stay.
"""

from collections.abc import Sequence
from pathlib import Path

from iteralign.lm import checkpoints
from iteralign.record import artifact
from iteralign.record.disk import disk
from iteralign.types import Iteration


def prune(root: Path, turns: Sequence[Iteration], keep: int | None) -> None:
    """Remove what is not needed after the last of `turns`, all turns so far. Raises as `disk`.

    While a resumed run replays, nothing is removed: a later turn may stand on what this one doesn't.
    """
    if keep is None or _goes_on(root, turns[-1].t):
        return
    trained = list(dict.fromkeys(turn.trained.path for turn in reversed(turns) if turn.trained.path))
    for path in set(trained[keep:]) - {turns[-1].policy.path}:
        with disk(root / path):
            checkpoints.prune(root / path)


def _goes_on(root: Path, t: int) -> bool:
    """Whether a training after iteration `t` is on record."""
    later = [n for n in artifact.iterations(root) if n > t]
    return any(artifact.place(root, n, "checkpoint").exists() for n in later)
