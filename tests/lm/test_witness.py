"""A witness says what its checkpoint says, and nothing that another one says."""

from pathlib import Path

import pytest

from iteralign.lm import weights, witness
from iteralign.lm.witness import PLACES, Witness
from iteralign.models import tiny
from iteralign.models.loaded import LoadedBase
from iteralign.settings import Loading, Training
from iteralign.training.sft import SftTrainer
from iteralign.types import Checkpoint, Example, Message

ON_CPU = Loading(device="cpu")

ROWS = [Example("open the red door", "take the blue key and give the cat a name")] * 8


def said(model, seen: Witness) -> list[dict[int, float]]:
    """What a server would tell: the five likeliest next tokens at each place."""
    import torch

    with torch.no_grad():
        logits = [model(input_ids=torch.tensor([ids])).logits[0, -1] for ids in seen.prompts()]
    best = [row.log_softmax(-1).topk(5) for row in logits]
    return [dict(zip(b.indices.tolist(), b.values.tolist(), strict=True)) for b in best]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_trained_checkpoint_is_recognised_by_it(tmp_path: Path, method: str) -> None:
    base = str(tiny.build(tmp_path / "base"))
    settings = Training(method=method, epochs=2, lr=1e-2, batch_size=4)  # type: ignore[arg-type]
    made = SftTrainer(tmp_path, base, settings, ON_CPU).train(Checkpoint("base", base), ROWS)
    seen = witness.load(tmp_path / str(made.path))
    assert seen is not None
    assert 1 < len(seen.cuts) <= PLACES
    engine = LoadedBase(tmp_path, weights.Source(base), "cpu", "float32")
    trained, chat = engine.attach(made, "auto")
    row = chat.row((Message("user", ROWS[0].prompt),), ROWS[0].completion)
    assert seen.ids == (*row.prompt, *row.completion)
    assert seen.cuts[0] == len(row.prompt)
    assert seen.distance(said(trained, seen)) < 1e-4
    before, _ = engine.attach(Checkpoint("base", base), "auto")
    assert seen.distance(said(before, seen)) > 0.5


def test_a_token_that_was_not_told_is_at_most_as_likely_as_the_last_that_was() -> None:
    seen = Witness((1, 2, 3), (1, 2), (2, 3), (-0.5, -1.0))
    assert seen.distance([{2: -0.5}, {3: -1.0}]) == 0
    assert seen.distance([{2: -0.5}, {9: -0.1, 8: -4.0}]) == pytest.approx(1.5)


def test_saved_and_loaded(tmp_path: Path) -> None:
    assert witness.load(tmp_path) is None
    seen = Witness((1, 2, 3), (1, 2), (2, 3), (-0.5, -1.0))
    witness.save(tmp_path, seen)
    assert witness.load(tmp_path) == seen
