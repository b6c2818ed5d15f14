"""One thread a test process, set before torch is imported: figures then do not move with the machine."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# No deadline: the machine may be shared. Derandomised: a red run is red again.
hypothesis.settings.register_profile("iteralign", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.load_profile("iteralign")


@pytest.fixture(scope="session")
def rehearsal() -> ModuleType:
    """tests/rehearsal.py: a whole run in a second."""
    return _module("rehearsal.py")


@pytest.fixture(scope="session")
def faulty() -> ModuleType:
    """tests/models/faulty.py: a server that fails on demand."""
    return _module("models/faulty.py")


@pytest.fixture(scope="session")
def families() -> ModuleType:
    """tests/families.py: tiny random models of many architectures."""
    return _module("families.py")


def _module(path: str) -> ModuleType:
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
