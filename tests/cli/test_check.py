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
    monkeypatch.setattr(
        "iteralign.lm.weights.load_model", lambda *_, **__: pytest.fail("weights were loaded")
    )


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


NEWWORD = "newword"
LACKS = f"'{NEWWORD}' (id 98), for which the model has no embedding: it has 98; resize them"


def test_a_thought_is_read_and_closed_token_by_token(
    policy: Callable[..., str], call: Callable[..., Any]
) -> None:
    folder = policy("qwen3", chat=True)
    template = Path(folder, "chat_template.jinja")
    asks = "<|im_start|>assistant\n<think>\n{% endif %}"
    template.write_text(
        template.read_text().partition("{% if add_gen")[0] + "{% if add_generation_prompt %}" + asks
    )
    said = call("check", "quickstart", "--policy", folder, *SMALL)
    page, tokens = flat(said.out), re.sub(r"\n +", "", said.out)
    assert "thinks aloud the template opens <think>; the thought is neither judged nor trained on" in page
    assert "sampling.max_tokens = 64 has to hold thought and answer" in page
    assert r"[<][t][h][i][n][k][>][\n]{\n}{<}{/}{t}{h}{i}{n}{k}{>}{\n}{\n}{(}{i}{t}{s}{ }{n}{e}{w}" in tokens


def test_what_an_export_would_change_and_what_has_no_embedding(
    policy: Callable[..., str], call: Callable[..., Any]
) -> None:
    folder = Path(policy("gpt2", chat=False))
    assert "no embedding" not in call("check", "quickstart", "--policy", str(folder), *SMALL).out
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.9, "eos_token_id": 0}))
    add_token(folder)
    page = flat(call("check", "quickstart", "--policy", str(folder), *SMALL).out)
    assert "does not save this generation_config.json as it is; exported with do_sample = True" in page
    assert f"no embedding 1 of the tokenizer's tokens ('{NEWWORD}'): the model knows 98; a prompt" in page
    Path("some.txt").write_text(f"Short.\nWhat is {NEWWORD}?\n")
    said = call("check", "quickstart", "--policy", str(folder), *SMALL, "--set", "redteam.source=some.txt")
    assert (said.code, LACKS in said.err, said.err.count("\n")) == (2, True, 1)


def test_several_chat_templates_and_no_default(policy: Callable[..., str], call: Callable[..., Any]) -> None:
    from transformers import AutoTokenizer

    folder = policy("gpt2", chat=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = {"tool_use": "{{ tools }}", "rag": "RAG " + tokenizer.chat_template}
    Path(folder, "chat_template.jinja").unlink()
    tokenizer.save_pretrained(folder)
    for template in ("auto", "chat"):
        said = call("check", "quickstart", "--policy", folder, *SMALL, "--set", f"policy.template={template}")
        assert said.code == 2
        assert said.err.count("\n") == 1
        assert "none is the default: rag, tool_use; choose one, as in 'chat:rag', or take 'plain'" in said.err
    said = call("check", "quickstart", "--policy", folder, *SMALL, "--set", "policy.template=chat:rag")
    assert (said.code, "RAG <|im_start|>user" in said.out) == (0, True)
    said = call("check", "quickstart", "--policy", folder, *SMALL, "--set", "policy.template=chat:rog")
    assert (said.code, "'chat:rog', but the tokenizer has the chat templates rag, tool_use" in said.err) == (
        2,
        True,
    )


KEYS = {
    "openai/gpt-4o-mini": "openai/gpt-4o-mini: the environment variable OPENAI_API_KEY is not set",
    "openai-api/fake/judge": "openai-api/fake/judge: the environment variable FAKE_API_KEY is not set",
    "together/x": "together/x: the environment variable TOGETHER_API_KEY is not set",
}


@pytest.mark.parametrize("oracle", KEYS)
def test_a_key_that_is_not_set(
    policy: Callable[..., str], call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, oracle: str
) -> None:
    variable = KEYS[oracle].split()[-4]
    monkeypatch.delenv(variable, raising=False)
    asked = ["check", "quickstart", "--policy", policy("gpt2", chat=False), "--oracle", oracle, *SMALL]
    said = call(*asked)
    assert (said.code, flat(said.out).count(KEYS[oracle])) == (0, 1)
    monkeypatch.setenv(variable, "sk-0123456789abcdef")
    monkeypatch.setenv("FAKE_BASE_URL", "http://127.0.0.1:9/v1")
    said = call(*asked)
    assert (said.code, "not ready" in said.out, "0123456789" in said.out + said.err) == (0, False, False)


def test_an_oracle_of_no_provider(policy: Callable[..., str], call: Callable[..., Any]) -> None:
    said = call("check", "quickstart", "--policy", policy("gpt2", chat=False), "--oracle", "opnai/x", *SMALL)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "model provider: unknown value 'opnai'; did you mean 'openai'?" in said.err


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no model!", "'no model!' is neither a directory nor a hub id (owner/name)"),
        ("owner/name--x", "'owner/name--x' is neither a directory nor a hub id (owner/name)"),
        ("someone/model", "no model 'someone/model' in the cache, and the hub may not be asked"),
    ],
)
def test_a_hub_id_that_is_none_or_offline_not_there(call: Callable[..., Any], name: str, says: str) -> None:
    said = call("check", "quickstart", "--offline", "--policy", name, *SMALL)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert says in said.err


def add_token(folder: Path) -> None:
    """Add an ordinary token to the tokenizer alone."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([NEWWORD])
    tokenizer.save_pretrained(folder)


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


def test_a_model_whose_tokenizer_is_elsewhere(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    said = call("check", "quickstart", "--policy", "someone/model", *SMALL)
    assert said.code == 0
    assert "asked as not known yet: its tokenizer is not on this machine" in flat(said.out)
    assert "The policy is trained on" not in said.out


def test_weights_that_are_pickles(call: Callable[..., Any], tmp_path: Path) -> None:
    tiny.build(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "model" / "pytorch_model.bin")
    said = call("check", "quickstart", "--policy", str(tmp_path / "model"), *SMALL)
    assert (said.code, "pickles only (pytorch_model.bin)" in said.err) == (2, True)
