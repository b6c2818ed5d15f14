"""check, about the policy: which format and why, what it reads, what is learnt, and what is refused; no weights."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iteralign.models import tiny

SMALL = ["--set", "redteam.n=6", "--set", "redteam.batch=6", "--set", "benign.n=3"]


@pytest.fixture(autouse=True)
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads weights fails."""
    monkeypatch.setattr("iteralign.weights.load_model", lambda *_, **__: pytest.fail("weights were loaded"))


@pytest.fixture
def policy(tmp_path: Path, families: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`policy("gpt2", chat=False)`: a model directory, with a context that the organism's prompts fit into."""
    monkeypatch.chdir(tmp_path)

    def build(family: str, chat: bool) -> str:
        folder: Path = families.build(Path("policy"), family, chat)
        return str(folder)

    return build


def flat(text: str) -> str:
    return " ".join(text.split())


def test_a_chat_model(policy: Callable[..., str], call: Callable[..., Any]) -> None:
    said = call("check", "quickstart", "--policy", policy("qwen2", chat=True), *SMALL)
    assert (said.code, said.err) == (0, "")
    page = flat(said.out)
    assert "asked as chat: the tokenizer has a chat template; an answer ends with <|im_end|>" in page
    assert "padding <|endoftext|> " in page
    assert "context 512 tokens, answer included; the longest prompt has" in page
    assert re.search(r"The policy is asked \(\d+ tokens\) <\|im_start\|>system Help\.<\|im_end\|>", page)
    assert re.search(
        r"answer again \(\d+ tokens\) .* \(its critique\)<\|im_end\|> <\|im_start\|>user Now", page
    )
    (learnt,) = re.findall(r"The policy is trained on .*", said.out, re.DOTALL)
    assert "the loss is on 17 tokens" in learnt
    tokens = re.sub(r"\n +", "", learnt)
    assert "{(}{i}{t}{s}{ }{n}{e}{w}{ }{a}{n}{s}{w}{e}{r}{)}{<|im_end|>}" in tokens
    assert "[<|im_start|>][a][s][s][i][s][t][a][n][t][\\n]{" in tokens


def test_a_base_model_whose_pad_token_is_its_end(
    policy: Callable[..., str], call: Callable[..., Any]
) -> None:
    said = call("check", "quickstart", "--policy", policy("qwen3", chat=False), *SMALL)
    page = flat(said.out)
    assert "asked as plain: the tokenizer has no chat template, as is usual for a base model" in page
    assert "padding <|endoftext|>, masked by its place, so that the end is taught" in page
    assert "[ASSISTANT" not in page  # letter by letter
    assert "{)}{<|endoftext|>}" in re.sub(r"\n +", "", said.out)


def test_a_template_of_the_users_own(policy: Callable[..., str], call: Callable[..., Any]) -> None:
    folder = policy("gpt2", chat=False)
    Path("own.jinja").write_text("{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }}{% endfor %}")
    said = call("check", "quickstart", "--policy", folder, *SMALL, "--set", "policy.template=own.jinja")
    assert "asked as chat: policy.template asks for it" in flat(said.out)
    assert "<user> " in said.out


REFUSED = {
    "template": (["policy.template=chta"], "policy.template: unknown value 'chta'; did you mean 'chat'?"),
    "no such template file": (["policy.template=no.jinja"], "policy.template: 'no.jinja' cannot be read"),
    "a file that is no template": (["policy.template=empty.jinja"], "'empty.jinja' is no chat template"),
    "chat without a template": (
        ["policy.template=chat"],
        "the tokenizer has no chat template; use auto, plain",
    ),
    "four bits without a GPU": (["training.method=qlora", "policy.device=cpu"], "needs one NVIDIA GPU"),
    "prompts over the context": (["redteam.source=long.txt"], "1 of "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_line_and_status_2(policy: Callable[..., str], call: Callable[..., Any], name: str) -> None:
    sets, says = REFUSED[name]
    folder = policy("gpt2", chat=False)
    Path("empty.jinja").write_text("nothing", encoding="utf-8")
    Path("long.txt").write_text("Short.\n" + "why " * 300 + "\n", encoding="utf-8")
    said = call("check", "quickstart", "--policy", folder, *SMALL, *(w for s in sets for w in ("--set", s)))
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert says in said.err


def test_a_base_model_with_the_template_of_a_chat_model(
    policy: Callable[..., str], call: Callable[..., Any], families: ModuleType
) -> None:
    folder = policy("gpt2", chat=False)
    config = json.loads((Path(folder) / "tokenizer_config.json").read_text())
    (Path(folder) / "tokenizer_config.json").write_text(
        json.dumps(config | {"additional_special_tokens": list(families.IM)})
    )
    (Path(folder) / "chat_template.jinja").write_text(families.CHATML)
    said = call("check", "quickstart", "--policy", folder, *SMALL)
    assert said.code == 2
    assert "ends an answer with '<|im_end|>', but the model ends with '<|endoftext|>'" in said.err


def test_a_model_whose_tokenizer_is_elsewhere(call: Callable[..., Any], tmp_path: Path) -> None:
    said = call("check", "quickstart", "--policy", "someone/model", *SMALL)
    assert said.code == 0
    assert "asked as not known yet: its tokenizer is not on this machine" in flat(said.out)
    assert "The policy is trained on" not in said.out


def test_weights_that_are_pickles(call: Callable[..., Any], tmp_path: Path) -> None:
    tiny.build(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "model" / "pytorch_model.bin")
    said = call("check", "quickstart", "--policy", str(tmp_path / "model"), *SMALL)
    assert (said.code, "pickles only (pytorch_model.bin)" in said.err) == (2, True)
