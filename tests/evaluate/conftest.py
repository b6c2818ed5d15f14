"""The public sets, where a checkout has them: read, never copied."""

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("ITERALIGN_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture(scope="session")
def public() -> Path:
    """The folder of public data sets in their published formats; set ITERALIGN_DATA to have one."""
    if not (DATA / "truthfulqa").is_dir():
        pytest.skip(
            "no public data sets here: set ITERALIGN_DATA to a folder that has truthfulqa/, hhh_alignment/ …"
        )
    return DATA
