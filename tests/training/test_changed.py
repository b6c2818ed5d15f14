"""What training moved, and what half precision rounds away of it, is counted and said."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from iteralign.models import tiny
from iteralign.settings import Loading, Training
from iteralign.training import changed
from iteralign.training.sft import SftTrainer
from iteralign.types import Checkpoint, Example

ON_CPU = Loading(device="cpu")

BASE = Checkpoint("base", "base")
ROWS = [Example("tell me the city", "the city is red."), Example("find a cat", "one cat, two dog.")]
LOW = Training(method="full", lr=2e-6, epochs=3, batch_size=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("base"))


def shares(base: Path, root: Path, settings: Training, dtype: Any = "auto") -> tuple[float, float]:
    loading = replace(ON_CPU, dtype=dtype)
    trained = SftTrainer(root, str(base), settings, loading).train(BASE, ROWS)
    record = json.loads((root / str(trained.path) / "training.json").read_text())
    return record["moved"], record["kept"]


def test_a_low_rate_in_half_precision_is_said_in_one_line_with_the_way_out(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "iteralign"):
        moved, kept = shares(base, tmp_path, LOW, "bfloat16")
    assert kept < 0.1 < 0.5 < moved
    (line,) = [r.getMessage() for r in caplog.records if "training changed" in r.getMessage()]
    assert f"{100 * kept:.1f} % as the policy holds them (bfloat16)" in line
    assert "policy.dtype = 'float32' or a higher training.lr than 2e-06 or training.method = 'lora'" in line


@pytest.mark.parametrize(
    ("settings", "dtype"),
    [
        (LOW, "float32"),
        (replace(LOW, lr=5e-3), "bfloat16"),
        (replace(LOW, method="lora", lr=2e-4), "bfloat16"),
    ],
    ids=["the way out: float32", "the way out: a higher rate", "the way out: an adapter"],
)
def test_what_the_line_advises_brings_it_to_rest(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: Training, dtype: str
) -> None:
    with caplog.at_level(logging.WARNING, "iteralign"):
        moved, kept = shares(base, tmp_path, settings, dtype)
    assert kept > 0.5 * moved > 0.01
    assert not [r for r in caplog.records if "training changed" in r.getMessage()]


def test_shares_are_of_all_trained_weights_however_large_their_tensors() -> None:
    large, small, fixed = nn.Linear(100, 100, bias=False), nn.Linear(100, 10, bias=False), nn.Linear(9, 9)
    model = nn.Sequential(large, small, fixed.requires_grad_(False))
    before = changed.values(model)
    assert len(before) == 2
    with torch.no_grad():
        small.weight += 1.0
        fixed.weight += 1.0
    assert changed.since(before, model, "float32") == changed.WeightChange(round(1 / 11, 4), round(1 / 11, 4))
    with torch.no_grad():
        large.weight.fill_(1.0)
        before = changed.values(model)
        large.weight += 1e-4
    assert changed.since(before, model, "bfloat16") == changed.WeightChange(round(10 / 11, 4), 0.0)
    assert changed.since(before, model, "bfloat16").too_little


def test_an_update_too_small_for_float32_is_too_little() -> None:
    assert changed.WeightChange(0.0, 0.0).too_little
    assert not changed.WeightChange(0.02, 0.02).too_little


def test_a_single_update_under_a_warm_up_is_none_and_said(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    once = replace(LOW, epochs=1, lr=5e-3)
    with caplog.at_level(logging.WARNING, "iteralign"):
        assert shares(base, tmp_path / "a", once) == (0.0, 0.0)
        assert "or training.warmup_ratio = 0" in caplog.messages[-1]
        assert shares(base, tmp_path / "b", replace(once, warmup_ratio=0.0))[1] > 0.5
    assert len([m for m in caplog.messages if "training changed" in m]) == 1
