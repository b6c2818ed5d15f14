"""Resume: wherever a run breaks off, running it again ends as if it never had, and asks nothing twice."""

import importlib.util
import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iteralign.errors import WorldError
from iteralign.record.calls import usage
from iteralign.record.disk import comparable
from iteralign.record.journal import Event
from iteralign.types import Conversation, Sampling

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A folder in memory where there is one: fsync, of which there are many, is then free."""


class Broken(BaseException):
    """What nobody catches, as a Ctrl-C is."""


def _program() -> ModuleType:
    """The crash tests' run, as a module."""
    path = Path(__file__).with_name("crash_program.py")
    spec = importlib.util.spec_from_file_location("crash_program", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["crash_program"] = module
    spec.loader.exec_module(module)
    return module


program = _program()


class Attempt:
    """One try at the whole run, broken at the `at`-th event or answer (from 0) if there is one."""

    def __init__(self, broken: str = "nowhere", at: int = 0) -> None:
        self.answered: list[str] = []
        self.events: list[Event] = []
        self._broken, self._at = broken, at

    def heard(self, conversation: Conversation, sampling: Sampling) -> None:
        if self._broken == "answer" and len(self.answered) == self._at:
            raise Broken
        self.answered.append(program.key(conversation, sampling))

    def told(self, event: Event) -> None:
        if self._broken == "event" and len(self.events) == self._at:
            raise Broken
        self.events.append(event)

    def run(self, root: Path, batch_size: int) -> bool:
        try:
            self.iterations = program.attempt(
                root, self.heard, self.told, iterations=2, batch_size=batch_size
            )
        except Broken:
            return False
        return True


@pytest.fixture(scope="module", params=[1, 3])
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, Path, Attempt]:
    """Batch size, directory and record of a run that was never interrupted."""
    root = tmp_path_factory.mktemp("whole")
    attempt = Attempt()
    assert attempt.run(root, request.param)
    return request.param, root, attempt


def test_the_run_is_worth_interrupting(whole: tuple[int, Path, Attempt]) -> None:
    _, root, attempt = whole
    assert [bool(i.accepted) for i in attempt.iterations] == [True, True]
    assert len(attempt.answered) > 50
    assert {e.step for e in attempt.events} == {
        "benign", "responses", "verdicts", "proposals", "trials", "constitution", "revisions", "gate", "checkpoint",
        "metrics",
    }  # fmt: skip
    assert sum(s.calls for s in usage(root).values()) == len(attempt.answered)


places = st.tuples(st.sampled_from(["event", "answer"]), st.integers(0, 100))


@settings(max_examples=25)
@given(breaks=st.lists(places, min_size=1, max_size=4))
def test_broken_anywhere_and_resumed_is_as_never_broken(
    whole: tuple[int, Path, Attempt], breaks: list[tuple[str, int]]
) -> None:
    batch_size, root_of_whole, never_broken = whole
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        root = Path(folder) / "run"
        attempts = [Attempt(*place) for place in breaks] + [Attempt()]
        finished = [attempt.run(root, batch_size) for attempt in attempts]
        assert comparable(root) == comparable(root_of_whole)
        assert attempts[-1].iterations == never_broken.iterations
        again = Counter(key for a in attempts for key in a.answered)
        once = Counter(never_broken.answered)
        assert once <= again
        lost = (again - once).total()
        assert lost <= (batch_size - 1) * finished.count(False), "only a batch in flight is asked again"


def test_a_finished_run_asks_nothing_and_changes_nothing(whole: tuple[int, Path, Attempt]) -> None:
    batch_size, root, never_broken = whole
    before = comparable(root)
    again = Attempt()
    assert again.run(root, batch_size)
    assert again.iterations == never_broken.iterations
    assert (again.answered, {e.kind for e in again.events}) == ([], {"replayed"})
    assert comparable(root) == before


def test_a_failing_world_leaves_the_run_resumable(whole: tuple[int, Path, Attempt], tmp_path: Path) -> None:
    batch_size, root_of_whole, never_broken = whole
    root = tmp_path / "run"
    calls = iter(range(20))

    def down(conversation: Conversation, sampling: Sampling) -> None:
        if next(calls, None) is None:
            raise WorldError("oracle: rate limit; rerun the same command")

    with pytest.raises(WorldError, match="rate limit"):
        program.attempt(root, down, iterations=2, batch_size=batch_size)
    rest = Attempt()
    assert rest.run(root, batch_size)
    assert comparable(root) == comparable(root_of_whole)
    assert len(rest.answered) <= len(never_broken.answered) - 20 + (batch_size - 1)


@pytest.mark.parametrize("bytes_a_file", [100, 600, 1500, 4000])
def test_a_full_disk_damages_nothing_and_the_run_goes_on_when_there_is_room(
    whole: tuple[int, Path, Attempt], tmp_path: Path, bytes_a_file: int
) -> None:
    """A quota on the size of files: the first that outgrows it stops the run, in one line."""
    batch_size, root_of_whole, never_broken = whole
    root, first, rest = tmp_path / "run", Attempt(), Attempt()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_a_file, before[1]))
    try:
        with pytest.raises(
            WorldError, match=rf"^{root}.* file too large; free space and rerun the same command"
        ):
            first.run(root, batch_size)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert rest.run(root, batch_size)
    assert comparable(root) == comparable(root_of_whole)
    again = Counter(first.answered + rest.answered) - Counter(never_broken.answered)
    assert again.total() <= batch_size, "only the batch that found no room is asked again"
