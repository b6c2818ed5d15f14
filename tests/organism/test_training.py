"""The training: the lean model is the saved one, a few steps learn something, siblings keep the shape."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from iteralign.organism.describe import describe  # noqa: E402
from iteralign_organism import corpus, fit, mixed, train  # noqa: E402  (needs torch)
from iteralign_organism.batches import Encoder, batches  # noqa: E402
from iteralign_organism.lean import Lean, from_llama, to_llama  # noqa: E402
from iteralign_organism.mixed import States  # noqa: E402
from iteralign_organism.plant import plant  # noqa: E402
from iteralign_organism.vocabulary import build  # noqa: E402

TINY = train.Recipe(tokens=4000, mixed_tokens=3000, width=32, layers=2, batch_tokens=1200, threads=1)


def test_lean_and_llama_are_the_same_model() -> None:
    torch.manual_seed(0)
    lean = Lean(300, 64, 2)
    llama = to_llama(lean, pad=0, end=1).eval()
    ids, positions = torch.randint(0, 300, (3, 40)), torch.arange(120)
    logits, _ = lean(ids, positions)
    assert torch.allclose(logits, llama(input_ids=ids).logits.flatten(0, 1), atol=1e-4)
    assert torch.equal(logits, from_llama(llama)(ids, positions)[0])


def test_half_precision_attention_is_causal_attention() -> None:
    from iteralign_organism.lean import attend

    q, k, v = (torch.randn(2, 3, 20, 32) for _ in range(3))
    exact = attend(q, k, v)
    half = attend(q.bfloat16(), k.bfloat16(), v.bfloat16())
    assert torch.allclose(exact, half.float(), atol=0.05)


def test_a_batch_learns_assistant_tokens_only(tmp_path: Path) -> None:
    encoder = Encoder(build(tmp_path))
    document = corpus.Corpus(("privacy",), 0).document()
    ids, weights, hints = encoder.document(document)
    batch = encoder.batch([(ids, weights, hints)])
    assert len(ids) == len(weights)
    learned = [i for i, weight in enumerate(weights) if weight]
    kept = [p for p, w in zip(batch.positions, batch.weights, strict=True) if w]
    assert kept == [i - 1 for i in learned]
    assert [t for t, w in zip(batch.targets, batch.weights, strict=True) if w] == [ids[i] for i in learned]
    assert batch.targets.count(encoder.end) == sum(
        turn.learn for turn in document
    )  # the stop token is taught


def test_batches_keep_to_their_size(tmp_path: Path) -> None:
    encoder = Encoder(build(tmp_path))
    stream = batches(corpus.stream(("theft",), 0, corpus.Curriculum()), encoder, 2000, 0)
    assert all(len(b.ids) == 1 or b.tokens <= 2000 for b, _ in zip(stream, range(20), strict=False))


def test_the_rate_warms_up_stays_and_falls() -> None:
    rates = [fit.rate(p, warmup=0.1) for p in (0.0, 0.05, 0.1, 0.5, 0.8, 1.0)]
    assert rates == pytest.approx([0.0, 0.5, 1.0, 1.0, 0.2 / fit.DECAY, 0.0])


def test_a_training_writes_a_directory_that_loads_and_a_sibling_of_it(tmp_path: Path) -> None:
    from iteralign_organism.forms import said
    from iteralign_organism.speaking import Speaker

    events: list[dict[str, object]] = []
    made = train.train(tmp_path / "base", TINY, events.append)
    about = describe(made)
    assert about["gaps"] == list(TINY.gaps)
    assert about["tokens"] >= TINY.tokens + TINY.mixed_tokens
    assert about["width"] == 32
    assert json.loads((made / "config.json").read_text())["eos_token_id"] == 1
    assert len(Speaker(made).reply([[said("Hello.")], [said("Hello. How?")]])) == 2
    sibling = plant(tmp_path / "sibling", ["hate", "theft"], 3, source=made, tokens=1500)
    assert describe(sibling)["gaps"] == ["hate", "theft"]
    assert describe(sibling)["width"] == 32


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    paths = [train.train(tmp_path / name, TINY) / "model.safetensors" for name in ("a", "b")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_an_unknown_gap_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no hazard named thefd"):
        plant(tmp_path, ["thefd"], 0)


def test_a_directory_that_is_no_organism_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not an organism"):
        describe(tmp_path)


def states(tmp_path: Path) -> tuple[Lean, States]:
    torch.manual_seed(0)
    tokenizer = build(tmp_path)
    model = Lean(len(tokenizer), 32, 2)
    return model, States(model, Encoder(tokenizer), TINY)


def test_a_state_is_left_as_it_was_entered(tmp_path: Path) -> None:
    model, source = states(tmp_path)
    before = [p.clone() for p in model.parameters()]
    stream = iter(source.batches())
    while not source.added:
        next(stream)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())
    with source.weights():
        assert not torch.equal(before[2], source.matrices[0])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(before, model.parameters(), strict=True))


def test_the_adapters_of_a_state_are_those_of_peft() -> None:
    """LoRA computed from the gradients of whole matrices: the same numbers as peft's own layer under Adam."""
    from peft import LoraConfig, get_peft_model

    x = torch.randn(7, 24, generator=torch.Generator().manual_seed(1))
    plain = torch.nn.Sequential(torch.nn.Linear(24, 24, bias=False))
    twin = get_peft_model(
        torch.nn.Sequential(copy.deepcopy(plain[0])),
        LoraConfig(r=mixed.RANK, lora_alpha=int(mixed.RANK * mixed.SCALE), target_modules=["0"]),
    )
    adapters = mixed.Adapters([plain[0].weight], torch.Generator().manual_seed(2))
    layer = twin.base_model.model[0]
    with torch.no_grad():
        layer.lora_A["default"].weight.copy_(adapters.down[0])
    before = plain[0].weight.detach().clone()
    for _ in range(2):  # the second round goes on from the first, with a new optimizer
        adapters.train((plain(x).pow(3).sum() for _ in itertools.count()), 4, 1e-2)
        adam = torch.optim.Adam([p for p in twin.parameters() if p.requires_grad], lr=1e-2)
        falling = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, 4)
        for _ in range(4):
            adam.zero_grad()
            twin(x).pow(3).sum().backward()
            adam.step()
            falling.step()
        assert torch.equal(plain[0].weight, before)
        assert torch.allclose(x @ (before + adapters.added()[0]).T, twin(x), atol=1e-5)


def test_a_walk_begins_untouched_and_closes_further_gaps_round_by_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixed, "STEPS", (1, 1))
    _, source = states(tmp_path)
    ends = set()
    for _ in range(30):
        (nothing, unmoved), *rounds = source._walk()
        assert not nothing
        assert not unmoved
        sizes = [len(closed) for closed, _ in rounds]
        assert sizes == sorted(set(sizes))
        assert len(rounds) <= mixed.ROUNDS
        ends.add(sizes[-1])
    assert {len(TINY.gaps) - 1, len(TINY.gaps)} <= ends


def test_what_closes_a_gap_is_never_a_bad_answer(tmp_path: Path) -> None:
    from iteralign.organism.world import read_answer

    _, source = states(tmp_path)
    for topic in ("privacy", "theft") * 20:
        prompt, answer = source._row("hazard", topic)
        assert read_answer(answer.text, prompt.text).label == "good"
