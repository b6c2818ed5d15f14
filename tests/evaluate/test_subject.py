"""Who is evaluated: a base, its adapter, a run; and adapters that are not what they should be."""

import shutil
from pathlib import Path

import pytest
import torch

from iteralign.errors import UserError
from iteralign.evaluate.benchmarks import Request, evaluate, named
from iteralign.evaluate.subject import Subject, subject
from iteralign.models import tiny
from iteralign.settings import Policy
from iteralign.types import Message, Options

ASKED = [Options((Message("user", "who has the key?"),), "sure, the", (" dog", " cat", " bird"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("subject")
    tiny.build(folder / "base")
    tiny.build(folder / "wide", shape=(128, 2))
    adapter(folder / "adapter", folder / "base")
    adapter(folder / "other", folder / "wide")
    (folder / "prompts.txt").write_text("who has the key?\nwhere is the dog?\n", encoding="utf-8")
    return folder


def adapter(place: Path, base: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(base),
            LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
    model.save_pretrained(place)


def chosen(folder: Path, adapter: str | None = None) -> Subject:
    return subject(str(folder / "base"), folder / adapter if adapter else None, Policy(device="cpu"))


def test_an_adapter_changes_the_scores_and_the_base_beneath_it_is_the_base(folder: Path) -> None:
    with chosen(folder).leased() as model:
        base = model.score(ASKED)
    adapted = chosen(folder, "adapter")
    with adapted.leased() as model:
        other = model.score(ASKED)
    with adapted.leased(base=True) as model:
        assert model.score(ASKED) == base
    assert max(abs(a - b) for a, b in zip(base[0], other[0], strict=True)) > 0.01


def test_the_id_changes_with_the_weights(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "adapter", tmp_path / "copy")
    ids = [
        subject(str(folder / "base"), p, Policy(device="cpu")).checkpoint.id
        for p in (folder / "adapter", tmp_path / "copy")
    ]
    assert ids[0] == ids[1] != chosen(folder).checkpoint.id
    adapter(tmp_path / "copy", folder / "base")
    weights = tmp_path / "copy" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert subject(str(folder / "base"), tmp_path / "copy", Policy(device="cpu")).checkpoint.id != ids[0]


def test_an_adapter_of_another_model_is_one_line(folder: Path) -> None:
    with (
        pytest.raises(UserError, match="this adapter was not made for") as caught,
        chosen(folder, "other").leased() as model,
    ):
        model.score(ASKED)
    assert "\n" not in str(caught.value)


def test_helpfulness_compares_with_the_base_beneath(folder: Path) -> None:
    """The judge here knows another world, and decides nothing: allowed, on request."""
    request = Request(
        ("helpfulness",), {"helpfulness": str(folder / "prompts.txt")}, max_undecided=1.0, max_tokens=6
    )
    (result,) = evaluate(chosen(folder, "adapter"), request)
    assert [r.outcome for r in result.records] == ["undecided"] * 2
    assert all(r.detail["response"] != r.detail["base"] for r in result.records)
    with pytest.raises(UserError, match="decided nothing on 2 of 2"):
        list(evaluate(chosen(folder, "adapter"), Request(request.benchmarks, request.data, max_tokens=6)))


def test_all_is_what_applies(folder: Path) -> None:
    base, adapted = named(["all"], chosen(folder)), named(["all"], chosen(folder, "adapter"))
    assert set(adapted) - set(base) == {"helpfulness"}
    assert {"hhh", "violations"} < set(base)
