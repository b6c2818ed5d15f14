"""Which checkpoints stay: the current policy's and the last ones; never one that a later turn stands on."""

from dataclasses import replace
from pathlib import Path

import pytest

from iteralign import measure
from iteralign.config.schema import Training
from iteralign.record import artifact
from iteralign.run.runner import prune
from iteralign.types import Amendment, Checkpoint, Constitution, Iteration

BASE = Checkpoint("base", "base")


def trained(root: Path, name: str, t: int) -> Checkpoint:
    """As the trainer leaves it, and on record."""
    folder = root / "checkpoints" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pruned.json").unlink(missing_ok=True)
    for file in ("weights", "training.json"):
        (folder / file).write_text(file)
    place = artifact.place(root, t, "checkpoint")
    place.parent.mkdir(parents=True)
    place.write_text("{}")
    return Checkpoint(name, "base", f"checkpoints/{name}", "full")


def turn(t: int, made: Checkpoint, policy: Checkpoint) -> Iteration:
    return Iteration(t, (), Amendment(Constitution()), (), (), made, policy, measure.summary(()))


def there(root: Path) -> list[str]:
    return sorted(p.parent.name for p in root.glob("checkpoints/*/weights"))


def test_the_current_policy_and_the_last_one_trained(tmp_path: Path) -> None:
    turns: list[Iteration] = []
    policy = BASE
    for t, (name, kept_back) in enumerate([("a", False), ("b", False), ("c", True), ("d", True)], 1):
        made = trained(tmp_path, name, t)
        policy = policy if kept_back else made
        turns.append(turn(t, made, policy))
        prune(tmp_path, turns, 1)
        assert there(tmp_path) == {1: ["a"], 2: ["b"], 3: ["b", "c"], 4: ["b", "d"]}[t]


def test_nothing_trained_changes_nothing(tmp_path: Path) -> None:
    made = trained(tmp_path, "a", 1)
    turns = [turn(1, made, made), turn(2, made, made)]
    prune(tmp_path, turns, 1)
    assert there(tmp_path) == ["a"]
    prune(tmp_path, [turn(1, BASE, BASE)], 1)


@pytest.mark.parametrize(("keep", "left"), [(None, "abc"), (3, "abc"), (2, "bc"), (1, "c")])
def test_as_many_as_are_wanted(tmp_path: Path, keep: int | None, left: str) -> None:
    made = [trained(tmp_path, name, t) for t, name in enumerate("abc", 1)]
    prune(tmp_path, [turn(t, m, m) for t, m in enumerate(made, 1)], keep)
    assert there(tmp_path) == list(left)


def test_a_replay_removes_nothing_that_a_later_turn_stands_on(tmp_path: Path) -> None:
    """The third turn trained the same rows from the base as the first: it is the same checkpoint."""
    first, second = trained(tmp_path, "a", 1), trained(tmp_path, "b", 2)
    turns = [turn(1, first, first), turn(2, second, second)]
    prune(tmp_path, turns, 1)
    assert there(tmp_path) == ["b"]
    again = trained(tmp_path, "a", 3)
    assert again == first
    prune(tmp_path, turns, 1)  # the run is interrupted, and resumed
    assert there(tmp_path) == ["a", "b"]
    prune(tmp_path, [*turns, turn(3, again, again)], 1)
    assert there(tmp_path) == ["a"]


def test_adapters_stay_and_of_whole_models_the_last_unless_one_says_so() -> None:
    full = Training(method="full")
    assert [t.keeps for t in (Training(), Training(method="qlora"), full)] == [None, None, 1]
    assert [replace(t, keep=3).keeps for t in (Training(), full)] == [3, 3]
    assert replace(full, keep=0).keeps is None
