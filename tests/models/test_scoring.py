"""Scoring on a tiny random Llama: against the plain computation, whatever the batch, template or ending."""

import random
from pathlib import Path

import pytest
import torch

from iteralign.errors import UserError, WorldError
from iteralign.models import scoring, tiny
from iteralign.models.hf import HfPolicies
from iteralign.settings import Policy
from iteralign.types import Checkpoint, Message, Options

rng = random.Random(0)
PREAMBLE = "please tell me who will find a key in the house and who will not find one on the street . "
TEXTS = [PREAMBLE + " ".join(rng.choices(tiny.WORDS, k=rng.randrange(1, 30))) for _ in range(11)]
ENDINGS = {
    "one token": (" yes", " no"),
    "several tokens": (" true", " false"),  # spelled in letters by this tokenizer
    "of other lengths": (" yes", " yes please", " a red door"),
    "merged with what stands before": ("s", "es"),
}
BASE = Checkpoint("base", "base")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scoring")
    tiny.build(root / "base", words=(*tiny.WORDS, "keys", "keyes"))
    return root


def policies(root: Path, **settings: object) -> HfPolicies:
    values = {"device": "cpu", "batch_size": 4} | settings
    return HfPolicies(root, str(root / "base"), Policy(**values))  # type: ignore[arg-type]


def questions(endings: tuple[str, ...]) -> list[Options]:
    return [Options((Message("user", text),), "sure, the key", endings) for text in TEXTS]


def plain(root: Path, question: Options, template: str) -> list[float]:
    """Each ending alone, unbatched, the logits of every position."""
    with policies(root, template=template).serve(BASE) as leased:
        model, chat = leased.loaded()  # type: ignore[attr-defined]
    text = chat.prompt(question.conversation) + chat.lead + question.begun
    whole = [chat.text_ids(text + ending) for ending in question.endings]
    bare = chat.text_ids(text)
    start = next((i for i in range(len(bare)) if any(ids[i] != bare[i] for ids in whole)), len(bare))
    found = []
    for ids in whole:
        with torch.inference_mode():
            logps = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        found.append(float(sum(logps[i - 1, ids[i]] for i in range(start, len(ids)))))
    return found


@pytest.mark.parametrize("template", ["chat", "plain", "raw"])
@pytest.mark.parametrize("endings", ENDINGS.values(), ids=list(ENDINGS))
def test_scores_are_those_of_the_plain_computation(
    root: Path, endings: tuple[str, ...], template: str
) -> None:
    asked = questions(endings)
    with policies(root, template=template).serve(BASE) as model:
        found = model.score(asked)  # type: ignore[attr-defined]
    expected = [plain(root, q, template) for q in asked]
    assert [list(scores) for scores in found] == [pytest.approx(e, abs=2e-5) for e in expected]


@pytest.mark.parametrize("size", [1, 3, 64])
def test_neither_batch_nor_order_changes_a_score(root: Path, size: int) -> None:
    asked = [q for endings in ENDINGS.values() for q in questions(endings)]
    order = rng.sample(range(len(asked)), len(asked))
    with policies(root, batch_size=7).serve(BASE) as model:
        expected = model.score(asked)  # type: ignore[attr-defined]
    with policies(root, batch_size=size).serve(BASE) as model:
        found = model.score([asked[i] for i in order])  # type: ignore[attr-defined]
    for i, scores in zip(order, found, strict=True):
        assert scores == pytest.approx(expected[i], abs=2e-5)


def test_the_common_beginning_is_computed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    widths: list[tuple[int, int]] = []
    forward = scoring.Runner._forward

    def noted(self: scoring.Runner, ids_BT: torch.Tensor, *rest: object) -> torch.Tensor:
        widths.append((ids_BT.shape[0], ids_BT.shape[1]))
        return forward(self, ids_BT, *rest)  # type: ignore[arg-type]

    asked = questions((" yes", " no"))
    with policies(root, batch_size=len(asked)).serve(BASE) as model:
        _, chat = model.loaded()  # type: ignore[attr-defined]
        shortest = min(len(chat.prompt_ids(q.conversation)) for q in asked)
        monkeypatch.setattr(scoring.Runner, "_forward", noted)
        model.score(asked)  # type: ignore[attr-defined]
    assert [rows for rows, _ in widths] == [len(asked)]
    longest = max(len(chat.prompt_ids(q.conversation)) for q in asked)
    assert widths[0][1] <= longest - min(shortest, len(PREAMBLE.split())) + 10


def test_too_little_memory_halves_the_batches_and_changes_no_score(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = questions((" yes", " no"))
    with policies(root, batch_size=8).serve(BASE) as model:
        expected = model.score(asked)  # type: ignore[attr-defined]
        compute = scoring.Runner._logits

        def scarce(self: scoring.Runner, rows: list[tuple[int, ...]], positions: list[int]) -> torch.Tensor:
            if len(rows) > most:
                raise torch.OutOfMemoryError
            return compute(self, rows, positions)

        monkeypatch.setattr(scoring.Runner, "_logits", scarce)
        most = 2
        assert [pytest.approx(e, abs=2e-5) for e in expected] == model.score(asked)  # type: ignore[attr-defined]
        most = 0
        with pytest.raises(WorldError, match="out of memory with a single question"):
            model.score(asked)  # type: ignore[attr-defined]


def test_a_question_that_does_not_fit_is_refused(root: Path) -> None:
    long = Options((Message("user", "a " * 300),), "sure,", (" yes", " no"))
    with (
        policies(root).serve(BASE) as model,
        pytest.raises(UserError, match="tokens, but the model's context holds 256"),
    ):
        model.score([long])  # type: ignore[attr-defined]
