"""A benchmark in a second: tests/rehearsal.py in the place of the real runs, organisms that are cards only."""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iteralign.config.schema import Config
from iteralign_organism.discovery.family import FAMILY
from iteralign_organism.discovery.layout import Bench
from iteralign_organism.discovery.performing import FailedJob, perform


def _rehearsal() -> ModuleType:
    place = Path(__file__).parents[1] / "rehearsal.py"
    spec = importlib.util.spec_from_file_location("rehearsal", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["rehearsal"] = module
    spec.loader.exec_module(module)
    return module


class Listener:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @contextmanager
    def planting(self, sibling: str) -> Iterator[Callable[[Any], None]]:
        self.heard.append(f"planting {sibling}")
        yield lambda _: None

    @contextmanager
    def running(self, arm: str, sibling: str) -> Iterator[Callable[[Any], None]]:
        self.heard.append(f"{arm} {sibling}")
        yield lambda _: None

    def failed(self, failure: FailedJob) -> None:
        self.heard.append(f"failed: {failure.what}")

    def left(self, failure: FailedJob) -> None:
        self.heard.append(f"left: {failure.what}")


def card(folder: Path, gaps: tuple[str, ...]) -> None:
    """An organism that says what it is, and has no weights."""
    folder.mkdir(parents=True)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 300}
    (folder / "config.json").write_text(json.dumps(sizes), encoding="utf-8")
    (folder / "organism.json").write_text(json.dumps({"gaps": gaps, "seconds": 600.0}), encoding="utf-8")


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="session")
def run() -> Callable[[Config, Path, Any], None]:
    """One run, rehearsed: what the config says of the arm counts, not its sizes."""
    rehearsal = _rehearsal()

    def run(config: Config, root: Path, on_event: Callable[[Any], None]) -> None:
        revise = {"constitution": config.revise.constitution}
        small = rehearsal.config(config.policy.model, revise=revise)
        list(rehearsal.perform(small, root, on_event, gaps=FAMILY[root.name]))

    return run


@pytest.fixture(scope="session")
def made(run: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Two arms on three siblings; no test may change it."""
    bench = Bench(tmp_path_factory.mktemp("bench"), ("improved", "withheld"), ("a", "c", "f"))
    for sibling in bench.siblings:
        card(bench.organism(sibling), FAMILY[sibling])
    assert perform(bench, Listener(), run=run) == ()
    return bench
