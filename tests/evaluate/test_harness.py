"""TruthfulQA MC by lm-evaluation-harness: our number is its command line's, to the digit."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from iteralign.errors import UserError
from iteralign.evaluate import harness
from iteralign.evaluate.items import read_harness
from iteralign.models import tiny
from iteralign.models.hf import HfPolicies
from iteralign.settings import Policy
from iteralign.types import Checkpoint

pytest.importorskip("lm_eval")

GOOD: dict[str, Any] = {
    "question": "q?",
    "mc1_targets": {"choices": ["a", "b"], "labels": [1, 0]},
    "mc2_targets": {"choices": ["a", "b", "c"], "labels": [1, 1, 0]},
}
FAULTS: list[tuple[dict[str, Any], str]] = [
    (
        {"question": "q?", "mc1_targets": GOOD["mc1_targets"]},
        "no field 'mc2_targets'; it has question, mc1_targets",
    ),
    (GOOD | {"mc1_targets": {"a": 1, "b": 1}}, "mc1_targets: 2 right answers; it takes one"),
    (
        GOOD | {"mc1_targets": {"a": 0, "b": 1}},
        "mc1_targets: lm-eval takes the first candidate for the right one",
    ),
    (GOOD | {"mc2_targets": {"a": 0, "b": 0}}, "mc2_targets: no right answer"),
    (GOOD | {"mc2_targets": {"a": 1, "b": 1}}, "mc2_targets: no wrong answer"),
    (
        GOOD | {"mc2_targets": {"choices": ["a", "a"], "labels": [1, 0]}},
        "mc2_targets: candidate 2 stands there twice",
    ),
    (GOOD | {"question": ""}, "field 'question' is blank"),
]


@pytest.mark.parametrize(("row", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_a_bad_item_is_one_line(row: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        read_harness([GOOD, row], "f.json")
    assert str(caught.value).startswith(f"f.json: row 2: {said}")


def rows() -> list[dict[str, Any]]:
    """Questions in the words of the tiny model, with 2 to 6 candidates."""
    words = tiny.WORDS[-40:]
    made = []
    for i in range(25):
        texts = [
            " ".join(words[(i * 7 + j * 3 + k) % 40] for k in range(2 + j % 2)) for j in range(2 + i % 5)
        ]
        labels = [1] + [0] * (len(texts) - 1)
        made.append(
            {
                "question": f"{words[i]} {words[i + 1]}?",
                "mc1_targets": {"choices": texts, "labels": labels},
                "mc2_targets": {"choices": [*texts, "yes"], "labels": [*labels, 1]},
            }
        )
    return made


@pytest.mark.integration
def test_our_number_is_that_of_lm_evals_own_command_line(tmp_path: Path) -> None:
    base = tiny.build(tmp_path / "model", context=1024)
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    names = harness.write_tasks(read_harness(rows(), "rows"), tasks)
    with HfPolicies(tmp_path, str(base), Policy(device="cpu")).serve(Checkpoint("b", "b")) as leased:
        model, chat = leased.loaded()  # type: ignore[attr-defined]
        found = harness.evaluate(model, chat.tokenizer, 16, tasks)
    ours = {figure.name: figure for figure in harness.figures(found)}

    command = [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--tasks", *names, "--device", "cpu"),
        *("--model_args", f"pretrained={base},dtype=float32", "--include_path", str(tasks)),
        *("--batch_size", "16", "--output_path", str(tmp_path / "theirs")),
    ]
    quiet = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    subprocess.run(command, check=True, capture_output=True, timeout=600, env=quiet)
    (file,) = (tmp_path / "theirs").rglob("results_*.json")
    theirs = json.loads(file.read_text("utf-8"))["results"]
    for name, task in zip(("MC1", "MC2"), names, strict=True):
        assert ours[name].value == theirs[task]["acc,none"]
        assert ours[name].n == 25
        assert ours[name].low <= ours[name].value <= ours[name].high
    records = harness.records(found)
    assert sum(r.failed is False for r in records) / 25 == ours["MC1"].value
    assert 0 < ours["MC1"].value < 1  # or the numbers would agree whatever was scored
