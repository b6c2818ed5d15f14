"""What a model directory has that loads and cannot be saved, or that the tokenizer has and the model has not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from iteralign.errors import UserError
from iteralign.lm import weights
from iteralign.lm.weights import Source
from iteralign.models.hf import HfPolicies
from iteralign.settings import Loading, Policy, Training
from iteralign.training.merge import MergeOptions, merge
from iteralign.training.sft import SftTrainer
from iteralign.types import Checkpoint, Example, Message, Sampling
from iteralign.types import Options as Choice

ON_CPU = Loading(device="cpu")

SETTINGS = Training(lr=1e-3, epochs=1, batch_size=1, lora_rank=4)
ROWS = [Example("who can take the key?", "the dog.")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, families: ModuleType) -> dict[bool, Path]:
    """A chat and a base model."""
    folder = tmp_path_factory.mktemp("built")
    return {chat: families.build(folder / str(chat), "llama", chat) for chat in (True, False)}


@pytest.fixture
def model(built: dict[bool, Path], tmp_path: Path) -> Callable[..., Path]:
    """`model(chat=True, generation_config={…})`: a copy with some values of some files changed."""

    def copy(chat: bool = True, **files: dict[str, Any]) -> Path:
        folder = Path(shutil.copytree(built[chat], tmp_path / "model"))
        for name, values in files.items():
            file = folder / f"{name}.json"
            file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
        return folder

    return copy


GENERATION: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as it is": ({}, {"do_sample": None}),
    "samples": (
        {"do_sample": True, "temperature": 0.7, "top_k": 20},
        {"do_sample": True, "temperature": 0.7, "top_k": 20},
    ),
    "Vicuna 1.5": (
        {"temperature": 0.9, "top_p": 0.6},
        {"do_sample": True, "temperature": 0.9, "top_p": 0.6},
    ),
    "others of sampling": ({"min_p": 0.1, "typical_p": 0.5}, {"do_sample": True, "min_p": 0.1}),
    "of beams": ({"length_penalty": 2.0}, {"do_sample": None, "length_penalty": None}),
    "no pad token": ({"pad_token_id": -1}, {"pad_token_id": None}),
    "both": ({"pad_token_id": -1, "temperature": 0.9}, {"pad_token_id": None, "temperature": None}),
}


@pytest.mark.parametrize("name", GENERATION)
def test_what_is_loaded_can_be_saved(model: Callable[..., Path], tmp_path: Path, name: str) -> None:
    values, expected = GENERATION[name]
    folder = model(generation_config=values)
    loaded = weights.load_model(Source(str(folder)), "cpu", "float32")
    loaded.save_pretrained(tmp_path / "out")
    saved = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert {key: saved.get(key) for key in expected} == expected
    own = json.loads((folder / "generation_config.json").read_text())
    assert (saved["bos_token_id"], saved["eos_token_id"]) == (own["bos_token_id"], own["eos_token_id"])


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_training_and_its_export_are_not_lost(
    model: Callable[..., Path], tmp_path: Path, method: str
) -> None:
    base = model(generation_config=GENERATION["Vicuna 1.5"][0])
    settings = Training(**{**vars(SETTINGS), "method": method})
    trained = SftTrainer(tmp_path, str(base), settings, ON_CPU).train(Checkpoint("base", str(base)), ROWS)
    out = merge(Source(str(base)), trained, tmp_path, tmp_path / "out", MergeOptions())
    assert json.loads((out / "generation_config.json").read_text())["do_sample"] is True
    assert weights.load_model(Source(str(out)), "cpu", "float32").generation_config.temperature == 0.9


def test_what_transformers_does_not_save_is_known_before_a_training(
    model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(str(model()))
    config, tokenizer = weights.config_in(Path(source.name), source), weights.load_tokenizer(source)
    weights.require_savable(config, tokenizer, source)
    config.rope_kernel = object()  # as the code of a model's own repository may leave it
    with pytest.raises(
        UserError, match="loads, but transformers does not save it again .* not JSON serializable"
    ):
        weights.require_savable(config, tokenizer, source)


@pytest.mark.parametrize("text", ["[1]", "null", "{"])
def test_a_damaged_generation_config_is_one_line(model: Callable[..., Path], text: str) -> None:
    folder = model()
    (folder / "generation_config.json").write_text(text)
    with pytest.raises(UserError, match=r"^policy.model: cannot load .*generation_config.json': \S.*$"):
        weights.load_chat(Source(str(folder)))


def test_a_pad_token_that_the_config_names_and_the_model_has_not(model: Callable[..., Path]) -> None:
    with pytest.raises(
        UserError, match="policy.model: cannot load .*: Padding_idx must be within num_embeddings"
    ):
        weights.load_model(Source(str(model(config={"pad_token_id": 100_000}))), "cpu", "float32")


def added(folder: Path, **roles: str) -> Path:
    """`added(folder, bos_token="<new>")`: a token for the tokenizer alone, in a role or in none."""
    tokenizer = weights.load_tokenizer(Source(str(folder)))
    tokenizer.add_special_tokens(roles) if roles else tokenizer.add_tokens(["newword"])
    if "bos_token" in roles:
        id = tokenizer.bos_token_id
        begins = TemplateProcessing(
            single=f"{roles['bos_token']} $A", special_tokens=[(roles["bos_token"], id)]
        )
        tokenizer.backend_tokenizer.post_processor = begins
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("role", ["eos_token", "pad_token", "bos_token"])
def test_a_token_of_the_tokenizer_alone_in_a_role(model: Callable[..., Path], role: str) -> None:
    folder = added(model(chat=False), **{role: "<new>"})
    with pytest.raises(UserError, match=r"token '<new>' (has the id|\(id) 1?\d\d"):
        weights.load_chat(Source(str(folder)), "plain").prompt_ids((Message("user", "a"),))


USES = {
    "asked": lambda p, t: p.generate([(Message("user", "a newword"),)], Sampling(max_tokens=2)),
    "scored": lambda p, t: p.score([Choice((Message("user", "a"),), "", (" newword", " b"))]),
    "taught as a prompt": lambda p, t: t.train(Checkpoint("base", "base"), [Example("a newword", "no")]),
    "taught as an answer": lambda p, t: t.train(Checkpoint("base", "base"), [Example("a", "a newword")]),
}


@pytest.mark.parametrize("chat", [True, False], ids=["chat", "base"])
@pytest.mark.parametrize("use", USES)
def test_a_token_without_an_embedding_is_no_index_error(
    model: Callable[..., Path], tmp_path: Path, chat: bool, use: str
) -> None:
    folder = added(model(chat=chat))
    assert weights.load_chat(Source(str(folder))).lacking() == ["newword"]
    policies = HfPolicies(tmp_path, str(folder), Policy(device="cpu"))
    with policies.serve(Checkpoint("base", "base")) as policy:
        with pytest.raises(
            UserError, match=r"token 'newword' \(id 1?\d\d\), for which the model has no embedding"
        ):
            USES[use](policy, SftTrainer(tmp_path, str(folder), SETTINGS, ON_CPU))
        (reply,) = policy.generate([(Message("user", "a new word"),)], Sampling(max_tokens=2))
    assert reply.usage.output_tokens > 0


def test_embeddings_without_a_token_are_no_fault(built: dict[bool, Path], tmp_path: Path) -> None:
    loaded = weights.load_model(Source(str(built[True])), "cpu", "float32")
    loaded.resize_token_embeddings(loaded.config.vocab_size + 64)
    loaded.lm_head.weight.data[:-64] = 0.0  # so that only they are said
    folder = Path(shutil.copytree(built[True], tmp_path / "wide"))
    loaded.save_pretrained(folder)
    assert weights.load_chat(Source(str(folder))).lacking() == []
    with HfPolicies(tmp_path, str(folder), Policy(device="cpu")).serve(Checkpoint("b", "b")) as policy:
        (reply,) = policy.generate([(Message("user", "a"),)], Sampling(max_tokens=4))
    assert reply.text == ""
