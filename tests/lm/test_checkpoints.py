"""Pruned checkpoints: what goes, what stays, and what is said to who asks for what is gone."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from iteralign.errors import UserError
from iteralign.lm import checkpoints
from iteralign.types import Checkpoint

KEPT = ["pruned.json", "witness.json"]


def written(root: Path, name: str = "a") -> Checkpoint:
    folder = root / "checkpoints" / name
    folder.mkdir(parents=True)
    for file in ("model.safetensors", "config.json", "witness.json", "training.json"):
        (folder / file).write_text(file)
    (folder / "more").mkdir()
    return Checkpoint(name, "base", f"checkpoints/{name}", "full")


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_the_weights_go_and_the_record_stays_under_another_name(tmp_path: Path) -> None:
    folder = tmp_path / str(written(tmp_path).path)
    assert checkpoints.is_complete(folder)
    for _ in range(2):
        checkpoints.prune(folder)
        assert names(folder) == KEPT
        assert (folder / "pruned.json").read_text() == "training.json"
        assert not checkpoints.is_complete(folder)


def test_what_a_kill_left_goes_with_the_next_pruning(tmp_path: Path) -> None:
    folder = tmp_path / str(written(tmp_path).path)
    (folder / "training.json").rename(folder / "pruned.json")
    checkpoints.prune(folder)
    assert names(folder) == KEPT


def test_what_is_no_finished_checkpoint_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("")
    checkpoints.prune(tmp_path / "other")
    assert names(tmp_path / "other") == ["mine.txt"]
    checkpoints.prune(tmp_path / "nothing")


def test_who_asks_for_what_is_gone_is_told_why(tmp_path: Path) -> None:
    checkpoint = written(tmp_path)
    checkpoints.require(tmp_path, checkpoint)
    checkpoints.require(tmp_path, Checkpoint("base", "base"))
    checkpoints.prune(tmp_path / str(checkpoint.path))
    with pytest.raises(
        UserError, match=r"^checkpoint a: its weights were pruned .* training\.keep = 0 keeps every"
    ):
        checkpoints.require(tmp_path, checkpoint)
    with pytest.raises(
        UserError, match=r"^checkpoint b: .*/checkpoints/b is missing; copy it back, or start a new run$"
    ):
        checkpoints.require(tmp_path, Checkpoint("b", "base", "checkpoints/b", "full"))


def test_stopped_before_any_file_operation_and_done_again_it_is_as_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are four: the renaming, two files, a folder."""
    left = 0

    class Killed(BaseException):
        pass

    def mortal(operation: Callable[..., None]) -> Callable[..., None]:
        def done(*arguments: object, **options: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            operation(*arguments, **options)

        return done

    for module, name in ((os, "replace"), (shutil, "rmtree"), (Path, "unlink")):
        monkeypatch.setattr(module, name, mortal(getattr(module, name)))
    for at in range(4):
        folder = tmp_path / str(written(tmp_path, f"{at}").path)
        left = at
        with pytest.raises(Killed):
            checkpoints.prune(folder)
        assert checkpoints.is_complete(folder) == (at == 0)
        left = 99
        checkpoints.prune(folder)
        assert names(folder) == KEPT
