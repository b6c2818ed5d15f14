"""Real servers, on the loopback interface: `make test-integration` installs them and says where they are."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from iteralign.models.vllm import server as servers
from iteralign.models.vllm.server import Server

EXAMPLES = Path(__file__).parents[2] / "examples"
START_S = 900.0


@pytest.fixture(scope="session")
def vllm_python() -> str:
    """A Python that has vLLM, and transformers' server with it."""
    name = os.environ.get("ITERALIGN_VLLM_PYTHON", "")
    if not name:
        pytest.skip("ITERALIGN_VLLM_PYTHON names no Python that has vLLM: run `make test-integration`")
    found = shutil.which(name)
    assert found is not None, f"ITERALIGN_VLLM_PYTHON: {name} is no program"
    return os.path.abspath(found)  # not resolved: a virtual environment's Python is a link


def example(name: str) -> ModuleType:
    """A script of examples/, as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def small_oracle(vllm_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model that has learned to judge, approximately (examples/small_oracle.py)."""
    maker = example("small_oracle")
    folder: Path = maker.make(tmp_path_factory.mktemp("oracle") / "small", maker.lessons())
    return folder


@pytest.fixture(scope="session")
def serving() -> Callable[[list[str], Path], AbstractContextManager[Server]]:
    """`with serving(command, log) as server`: it answers, until the block ends."""

    @contextmanager
    def start(command: list[str], log: Path) -> Iterator[Server]:
        server = Server(command, log, servers.environment(), "the server")
        try:
            server.wait(START_S)
            yield server
        finally:
            server.close()

    return start
