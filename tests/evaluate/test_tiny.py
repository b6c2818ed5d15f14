"""A tiny random Llama on the public sets: it knows nothing, and scores what guessing scores."""

from pathlib import Path

import pytest

from iteralign.evaluate.choices import HHH, TRUTHFULQA, evaluate
from iteralign.evaluate.items import READERS
from iteralign.models import tiny
from iteralign.models.hf import HfPolicies
from iteralign.settings import Policy
from iteralign.types import Checkpoint

BASE = Checkpoint("base", "base")


@pytest.mark.slow
def test_a_random_model_scores_chance(public: Path, tmp_path: Path) -> None:
    """One of six random models measured (docs/evaluate.md has them all): two of their twelve intervals miss chance,
    for a random model is one fixed taste in words, and no die."""
    questions = READERS["truthfulqa-tf"](
        str(public / "truthfulqa" / "data" / "mc_task.json"), False, None
    ).values
    pairs = READERS["hhh"](str(public / "hhh_alignment" / "bigbench"), False, None).values
    base = tiny.build(tmp_path / "base", context=8192, seed=3)
    with HfPolicies(tmp_path, str(base), Policy(device="cpu", batch_size=64)).serve(BASE) as model:
        truth = TRUTHFULQA.figures(questions, evaluate(TRUTHFULQA, model, questions))  # type: ignore[arg-type]
        better = HHH.figures(pairs, evaluate(HHH, model, pairs))  # type: ignore[arg-type]
    figures = {f.name: f for f in (*truth, *better)}
    corrected, released = figures["accuracy, corrected"], figures["accuracy, as released"]
    assert (corrected.n, figures["overall, corrected"].n) == (375, 120)
    assert corrected.low < 0.221 < corrected.high
    assert released.low < 0.403 < released.high
    for name in ("overall, corrected", "helpful", "honest"):
        assert figures[name].low < 0.5 < figures[name].high
