"""The policy in process, on a tiny random Llama: contract with the journal, batches, adapters, faults."""

import logging
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from iteralign.errors import UserError, WorldError
from iteralign.models import batching, tiny
from iteralign.models.hf import HfPolicies
from iteralign.settings import Policy
from iteralign.types import Checkpoint, Message, Sampling

rng = random.Random(0)
TEXTS = [" ".join(rng.choices(tiny.WORDS, k=rng.randrange(1, 30))) for _ in range(18)]
CONVERSATIONS = [(Message("user", text),) for text in [*TEXTS, TEXTS[3], TEXTS[3]]]
BASE = Checkpoint("base", "base")
GREEDY = Sampling(max_tokens=12)
WAYS = {
    "greedy": GREEDY,
    "sampled": Sampling(max_tokens=12, temperature=1.0, top_p=0.95, seed=3),
    "penalised": Sampling(max_tokens=12, frequency_penalty=0.5, stop=("the", "o")),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    tiny.build(root / "base")
    adapter(root / "checkpoints" / "a1", root / "base", seed=1)
    adapter(root / "checkpoints" / "a2", root / "base", seed=2)
    tiny.build(root / "checkpoints" / "full", seed=5)
    return root


@pytest.fixture(params=WAYS)
def sampling(request: pytest.FixtureRequest) -> Sampling:
    return WAYS[request.param]


def adapter(folder: Path, base: Path, seed: int) -> None:
    """A random adapter large enough to change every answer."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(base)
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
    model.save_pretrained(folder)


def policies(root: Path, **settings) -> HfPolicies:
    return HfPolicies(root, str(root / "base"), Policy(device="cpu", **({"batch_size": 4} | settings)))


def checkpoint(name: str, kind: str = "adapter") -> Checkpoint:
    return Checkpoint(name, "base", f"checkpoints/{name}", kind)  # type: ignore[arg-type]


def answers(root: Path, sampling: Sampling, heard=lambda _: None, conversations=CONVERSATIONS, **settings):
    leases = policies(root, **settings)
    with leases.serve(BASE) as model:
        return model.generate(conversations, sampling, heard)


def test_batch_size_does_not_change_answers(root: Path, sampling: Sampling) -> None:
    assert answers(root, sampling, batch_size=1) == answers(root, sampling, batch_size=8)


def test_order_does_not_change_answers(root: Path) -> None:
    distinct = CONVERSATIONS[:18]
    shuffled = random.Random(1).sample(range(18), 18)
    for sampling in WAYS.values():
        straight = answers(root, sampling, conversations=distinct)
        mixed = answers(root, sampling, conversations=[distinct[i] for i in shuffled])
        assert mixed == [straight[i] for i in shuffled]


def test_each_batch_is_heard_once_and_agrees_with_what_is_returned(root: Path) -> None:
    heard: list = []
    replies = answers(root, GREEDY, heard.append)
    assert [len(batch) for batch in heard] == [4, 4, 4, 4, 4]
    assert dict(pair for batch in heard for pair in batch) == dict(enumerate(replies))


@pytest.mark.parametrize("lost", [1, 2, 4])
def test_an_interrupted_call_is_taken_up_where_it_stopped(root: Path, sampling: Sampling, lost: int) -> None:
    heard: list = []
    answers(root, sampling, heard.append)
    done = {i for batch in heard[:lost] for i, _ in batch}
    left = [i for i in range(len(CONVERSATIONS)) if i not in done]
    again: list = []
    answers(root, sampling, again.append, [CONVERSATIONS[i] for i in left])
    assert [[(left[i], reply) for i, reply in batch] for batch in again] == heard[lost:]


def test_sampling_has_a_seed_and_tells_equal_conversations_apart(root: Path) -> None:
    state = torch.get_rng_state()
    sampled = answers(root, WAYS["sampled"])
    assert torch.equal(torch.get_rng_state(), state)
    assert len({sampled[3].text, sampled[18].text, sampled[19].text}) == 3
    assert sampled == answers(root, WAYS["sampled"])
    assert sampled != answers(root, replace(WAYS["sampled"], seed=4))


def test_why_an_answer_ended_and_how_long_it_was(root: Path) -> None:
    tokenizer = policies(root).engine().attach(BASE, "auto")[1].tokenizer
    # nearly uniform choice among 390 tokens: some rows meet the end token, some do not
    replies = answers(root, Sampling(max_tokens=60, temperature=50.0))
    assert {reply.stop for reply in replies} == {"stop", "length"}
    assert all(reply.usage.output_tokens == 60 for reply in replies if reply.stop == "length")
    asked = tokenizer.apply_chat_template([{"role": "user", "content": TEXTS[0]}], add_generation_prompt=True)
    assert answers(root, GREEDY)[0].usage.input_tokens == len(asked["input_ids"])
    cut = answers(root, replace(GREEDY, stop=("a", "e", "o")))
    assert all(not set("aeo") & set(reply.text) for reply in cut)
    assert {reply.stop for reply in cut} >= {"stop"}
    assert any(reply.stop == "stop" and reply.usage.output_tokens < 12 for reply in cut)


def test_nothing_is_loaded_before_something_is_asked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leases = policies(root)
    monkeypatch.setattr(leases, "engine", lambda: pytest.fail("loaded"))
    with leases.serve(BASE) as model:
        assert model.id.startswith("hf-")
        assert model.generate([], GREEDY) == []


def test_the_id_names_what_decides_the_answers(root: Path) -> None:
    def name(which: Checkpoint | None = None, **settings) -> str:
        leases = policies(root, **settings)
        with leases.serve(which or BASE) as model:
            return model.id

    assert name() == name(dtype="float32")
    variants = {
        name(),
        name(batch_size=5),
        name(template="plain"),
        name(dtype="bfloat16"),
        name(checkpoint("a1")),
        name(checkpoint("a2")),
    }
    assert len(variants) == 6


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_come_and_go_and_leave_the_base_as_it_was(root: Path, dtype: str) -> None:
    leases = policies(root, dtype=dtype)
    base, a1, a2 = BASE, checkpoint("a1"), checkpoint("a2")
    seen = []
    for which in (base, a1, base, a2, a1, checkpoint("full", "full"), base):
        with leases.serve(which) as model:
            seen.append([reply.text for reply in model.generate(CONVERSATIONS[:6], GREEDY)])
    assert seen[0] == seen[2] == seen[6]
    assert seen[1] == seen[4]
    assert len({str(texts) for texts in (seen[0], seen[1], seen[3], seen[5])}) == 4


def test_merging_restores_every_bit_and_computes_what_peft_computes(root: Path) -> None:
    from peft import PeftModel

    leases = policies(root)
    engine = leases.engine()
    base, chat = engine.attach(BASE, "auto")
    before = {name: value.clone() for name, value in base.state_dict().items()}
    ids = torch.tensor([chat.prompt_ids(CONVERSATIONS[0])])
    with torch.no_grad():
        merged = engine.attach(checkpoint("a1"), "auto")[0](ids).logits
        engine.detach()
        after = engine.attach(BASE, "auto")[0].state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        apart = PeftModel.from_pretrained(base, root / "checkpoints/a1")(ids).logits
    assert torch.allclose(merged, apart, atol=1e-4)


def test_leases_may_overlap(root: Path) -> None:
    leases = policies(root)
    with leases.serve(BASE) as base:
        alone = base.generate(CONVERSATIONS[:4], GREEDY)
        with leases.serve(checkpoint("a1")) as other:
            assert other.generate(CONVERSATIONS[:4], GREEDY) != alone
            assert base.generate(CONVERSATIONS[:4], GREEDY) == alone
        assert base.generate(CONVERSATIONS[:4], GREEDY) == alone
    leases.close()
    with leases.serve(BASE) as base:
        assert base.generate(CONVERSATIONS[:4], GREEDY) == alone


def test_too_little_memory_halves_the_batches_and_changes_nothing_else(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected: list = []
    answers(root, WAYS["sampled"], expected.append, batch_size=8)
    run = batching.Worker._run

    def small(self, rows):
        if len(rows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(self, rows)

    monkeypatch.setattr(batching.Worker, "_run", small)
    heard: list = []
    with caplog.at_level(logging.WARNING):
        answers(root, WAYS["sampled"], heard.append, batch_size=8)
    assert heard == expected
    assert [record.args for record in caplog.records] == [(8, 4), (4, 2)]

    monkeypatch.setattr(batching.Worker, "_run", lambda self, rows: None)
    with pytest.raises(WorldError, match="single conversation"):
        answers(root, GREEDY)


def test_a_prompt_that_does_not_fit_is_refused_and_one_that_nearly_does_is_answered(root: Path) -> None:
    long = [(Message("user", " ".join(["the"] * n)),) for n in (3, 248, 251, 300)]
    with pytest.raises(
        UserError, match=r"1 of 4 prompts .* of 256 tokens.* prompt 3 \(.the the .* with 303 tokens"
    ):
        answers(root, GREEDY, conversations=long)
    alone = [answers(root, GREEDY, conversations=[c])[0] for c in long[:3]]
    assert answers(root, GREEDY, conversations=long[:3]) == alone
    assert alone[2].usage.input_tokens + alone[2].usage.output_tokens <= 256


def test_bad_settings_and_lost_checkpoints_are_one_line(root: Path) -> None:
    with policies(root).serve(checkpoint("gone")) as lost:  # a run that only replays asks nobody
        assert lost.generate([], GREEDY) == []
        with pytest.raises(UserError, match=r"checkpoints/gone is missing; copy it back, or start a new run"):
            lost.generate([(Message("user", "a"),)], GREEDY)
    with pytest.raises(UserError, match="did you mean 'chat'"):
        policies(root, template="chta")
