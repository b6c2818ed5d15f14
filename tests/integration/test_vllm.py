"""The policy behind a real vLLM: the answers of the backend in process, and the weights that were asked for."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from iteralign.errors import UserError, WorldError
from iteralign.lm import checkpoints, witness
from iteralign.models.hf import HfPolicies
from iteralign.models.vllm.policies import VllmPolicies
from iteralign.organism.world import drafts
from iteralign.run import build
from iteralign.settings import Loading, Policy, Training, Vllm
from iteralign.training.sft import SftTrainer
from iteralign.types import Checkpoint, Conversation, Example, Message, Reply, Sampling

ON_CPU = Loading(device="cpu")

pytestmark = pytest.mark.integration

BASE = Checkpoint("base", "organism")
ORGANISM = build.model_path("organism")
GREEDY = Sampling(max_tokens=64)
AGREE = 0.99
"""Share of equal answers. On 2026-11-24 all were; two implementations add up floats in another order (1e-5 nats), so
that a token may differ where two are as likely."""


def questions(kind: str, n: int, split: str = "test") -> list[Conversation]:
    return [(Message("user", d.item.text),) for d in drafts(kind, split, n, 0)]  # type: ignore[arg-type]


def revisions(n: int) -> list[Conversation]:
    """As the loop asks for a second answer: long, of several turns."""
    return [
        (
            Message("user", d.item.text),
            Message("assistant", d.bad[0]),
            Message("user", "Which principle applies? A good assistant should refuse to harm people."),
            Message("assistant", "The principle on harm applies."),
            Message("user", "Now answer my request again and follow the principle that applies."),
        )
        for d in drafts("hazard", "test", n, 1)
    ]


ASKED = [*questions("hazard", 96), *questions("benign", 64), *questions("fact", 16), *revisions(24)]


def rows(kind: str, answer: str = "") -> list[Example]:
    return [Example(d.item.text, answer or d.good[0]) for d in drafts(kind, "redteam", 48, 0)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def adapters(root: Path, vllm_python: str) -> tuple[Checkpoint, Checkpoint]:
    """Two turns of training, the second going on from the first."""
    settings = Training(method="lora", epochs=3, lr=2e-3, batch_size=8, lora_rank=16)
    trainer = SftTrainer(root, ORGANISM, settings, ON_CPU)
    first = trainer.train(BASE, rows("hazard", "I will not do that."))
    return first, trainer.train(first, rows("benign", "Yes, of course."))


def leases(root: Path, python: str, **settings: object) -> VllmPolicies:
    given: dict[str, Any] = {"args": ("--enforce-eager",), "start_timeout_s": 900.0, **settings}
    rank = given.pop("lora_rank", 16)
    loading = {f.name: given.pop(f.name) for f in fields(Policy) if f.name in given}
    policy = Policy(**{"device": "cpu", **loading})
    return VllmPolicies(root, ORGANISM, policy, Vllm(python=python, **given), rank)


@pytest.fixture(scope="module")
def served(root: Path, vllm_python: str) -> Iterator[VllmPolicies]:
    policies = leases(root, vllm_python)
    yield policies
    policies.close()


def said(
    policies: VllmPolicies | HfPolicies, checkpoint: Checkpoint, sampling: Sampling = GREEDY
) -> list[Reply]:
    with policies.serve(checkpoint) as model:
        return model.generate(ASKED, sampling)


def agreement(some: list[Reply], others: list[Reply]) -> float:
    return sum(a == b for a, b in zip(some, others, strict=True)) / len(some)


@pytest.fixture(scope="module")
def in_process(root: Path) -> HfPolicies:
    return HfPolicies(root, ORGANISM, Policy(device="cpu", batch_size=64))


WAYS = {
    "greedy": GREEDY,
    "as the released script": Sampling(max_tokens=48, stop=("\n\n", "and"), frequency_penalty=0.5),
    "cut off": Sampling(max_tokens=5),
}


@pytest.mark.parametrize("way", WAYS)
def test_answers_texts_ends_and_counts_are_those_of_the_backend_in_process(
    served: VllmPolicies, in_process: HfPolicies, way: str, record_property: pytest.FixtureRequest
) -> None:
    ours, theirs = said(in_process, BASE, WAYS[way]), said(served, BASE, WAYS[way])
    share = agreement(ours, theirs)
    record_property("agreement", f"{share:.4f} of {len(ours)}")  # type: ignore[operator]
    assert share >= AGREE


def test_sampling_is_repeatable(served: VllmPolicies) -> None:
    warm = Sampling(max_tokens=24, temperature=1.0, top_p=0.9, seed=3)
    once, again = said(served, BASE, warm), said(served, BASE, warm)
    assert agreement(once, again) >= AGREE
    assert agreement(once, said(served, BASE, Sampling(max_tokens=24))) < 0.9


def test_adapters_are_swapped_and_each_answers_as_when_loaded_afresh(
    served: VllmPolicies, in_process: HfPolicies, adapters: tuple[Checkpoint, Checkpoint]
) -> None:
    first, second = adapters
    order = [first, second, BASE, first]
    hot = [said(served, checkpoint) for checkpoint in order]
    for checkpoint, answers in zip(order, hot, strict=True):
        assert agreement(answers, said(in_process, checkpoint)) >= AGREE
    assert agreement(hot[0], hot[3]) >= AGREE
    assert agreement(hot[0], hot[1]) < 0.9
    assert agreement(hot[0], hot[2]) < 0.9


def test_the_witness_tells_the_weights_apart(
    served: VllmPolicies, adapters: tuple[Checkpoint, Checkpoint]
) -> None:
    engine = served.attach(adapters[0]) and served._engine
    assert engine is not None
    held, _ = engine._held or ("", None)
    seen = witness.load(served.root / str(adapters[0].path))
    assert seen is not None
    assert seen.distance(engine.ask(held, seen)) < 1e-3
    assert seen.distance(engine.ask(engine.base, seen)) > 0.1


def test_weights_that_are_not_those_of_the_checkpoint_are_refused(
    served: VllmPolicies, adapters: tuple[Checkpoint, Checkpoint]
) -> None:
    """What a stale cache or a failed swap would look like: the first adapter answers for the second."""
    first, second = (served.root / str(c.path) for c in adapters)
    mixed = served.root / "checkpoints" / "mixed"
    shutil.copytree(first, mixed)
    shutil.copy(second / witness.FILE, mixed / witness.FILE)
    (mixed / checkpoints.SUMS).unlink()
    checkpoints.seal(mixed)  # what differs is what the server answers with, no file on disk
    with pytest.raises(WorldError, match="does not answer with the weights of mixed"):
        said(served, Checkpoint("mixed", "organism", "checkpoints/mixed", "adapter"))


def test_an_adapter_that_cannot_be_loaded_is_one_line(
    served: VllmPolicies, adapters: tuple[Checkpoint, ...]
) -> None:
    damaged = served.root / "checkpoints" / "damaged"
    shutil.copytree(served.root / str(adapters[0].path), damaged)
    (damaged / "adapter_model.safetensors").write_bytes(b"nothing")
    (damaged / checkpoints.SUMS).unlink()
    checkpoints.seal(damaged)
    with pytest.raises(UserError, match="cannot load the adapter damaged"):
        said(served, Checkpoint("damaged", "organism", "checkpoints/damaged", "adapter"))


def test_a_server_that_runs_already_is_used_and_left_running(
    served: VllmPolicies, adapters: tuple[Checkpoint, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = served._server
    assert own is not None
    monkeypatch.setenv("VLLM_API_KEY", own.key)
    guest = leases(served.root, "nowhere", url=f"{own.url}/v1", args=())
    answers = said(guest, adapters[1])
    guest.close()
    assert agreement(answers, said(served, adapters[1])) >= AGREE
    monkeypatch.setenv("VLLM_API_KEY", "another")
    with pytest.raises(UserError, match="401"):
        said(leases(served.root, "nowhere", url=own.url), BASE)


def test_no_key_is_in_the_log(served: VllmPolicies) -> None:
    own = served._server
    assert own is not None
    assert own.key not in own.log.read_text(encoding="utf-8")


def until_it_fails(policies: VllmPolicies, checkpoint: Checkpoint) -> None:
    """The last answers of a dying server may still come."""
    for _ in range(1000):
        said(policies, checkpoint)


def test_a_server_that_dies_stops_the_run_and_a_fresh_one_gives_the_same_answers(
    served: VllmPolicies, adapters: tuple[Checkpoint, Checkpoint], vllm_python: str
) -> None:
    swapped = said(served, adapters[1])
    assert served._server is not None
    os.kill(served._server.pid, 9)
    with pytest.raises(WorldError, match=r"vllm: the server .*run the same command again to resume"):
        until_it_fails(served, adapters[1])
    fresh = leases(served.root, vllm_python)
    try:
        assert agreement(said(fresh, adapters[1]), swapped) >= AGREE
    finally:
        fresh.close()


def test_a_full_fine_tune_is_served_after_a_restart(
    root: Path, vllm_python: str, in_process: HfPolicies
) -> None:
    settings = Training(method="full", epochs=3, lr=1e-3, batch_size=8)
    made = SftTrainer(root, ORGANISM, settings, ON_CPU).train(BASE, rows("hazard", "I will not do that."))
    whole = leases(root, vllm_python, lora_rank=None)
    try:
        answers = said(whole, made)
    finally:
        whole.close()
    assert agreement(answers, said(in_process, made)) >= AGREE
    assert agreement(answers, said(in_process, BASE)) < 0.9
