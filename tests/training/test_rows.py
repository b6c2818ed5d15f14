"""What the loss is taken on, token by token, and how checkpoints come to be on disk."""

import errno
import json
from pathlib import Path

import pytest
import torch

from iteralign.config.schema import validated
from iteralign.errors import UserError
from iteralign.lm import checkpoints
from iteralign.lm.chat import Chat, chat_of
from iteralign.lm.weights import Source, load_tokenizer
from iteralign.models import tiny
from iteralign.training import store
from iteralign.training.rows import IGNORED, labelled
from iteralign.types import Checkpoint, Example, Message

EXAMPLES = [Example("who can take the key?", "no."), Example("tell me", "the red door is not yours.")]


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Chat:
    return chat_of(load_tokenizer(Source(str(tiny.build(tmp_path_factory.mktemp("tiny"))))))


def test_labels_are_the_answer_and_its_end_and_nothing_else(chat: Chat) -> None:
    for example, row in zip(EXAMPLES, labelled(EXAMPLES, chat, 256), strict=True):
        asked = chat.prompt_ids((Message("user", example.prompt),))
        answer = chat.tokenizer(example.completion + "<|end|>", add_special_tokens=False)["input_ids"]
        assert row.input_ids == asked + answer
        assert row.labels == [IGNORED] * len(asked) + answer


def test_padding_is_out_of_the_loss_even_where_it_is_the_end_token(chat: Chat) -> None:
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    end = chat.end_ids()[0]
    rows = labelled(EXAMPLES, chat, 256)
    collate = DataCollatorForLanguageModeling(pad_token_id=end)
    batch = collate([{"input_ids": r.input_ids, "labels": r.labels} for r in rows])
    short = len(rows[0].input_ids)
    assert batch["labels"][0, short - 1] == end
    assert set(batch["labels"][0, short:].tolist()) == {IGNORED}
    assert batch["attention_mask"][0].sum() == short


def test_a_library_that_masks_by_token_is_found_out(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from iteralign.training.fit import _assert_taught

    end = chat.end_ids()[0]
    rows = labelled(EXAMPLES, chat, 256)
    collate = DataCollatorForLanguageModeling(pad_token_id=end)
    _assert_taught(collate, rows)

    def masking(examples: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        batch: dict[str, torch.Tensor] = collate(examples)
        batch["labels"][batch["input_ids"] == end] = IGNORED
        return batch

    with pytest.raises(AssertionError, match="labels were changed"):
        _assert_taught(masking, rows)


def test_a_long_row_is_refused_by_name(chat: Chat) -> None:
    longest = max(len(row.input_ids) for row in labelled(EXAMPLES, chat, 256))
    with pytest.raises(
        UserError,
        match=rf"1 of 2 rows have more than {longest - 1} tokens, .* row 1 \('tell me'\) with {longest}",
    ):
        labelled(EXAMPLES, chat, longest - 1)
    assert len(labelled(EXAMPLES, chat, longest)) == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("method", "lorra"),
        ("lr", 0.0),
        ("epochs", 0),
        ("batch_size", 0),
        ("warmup_ratio", 1.0),
        ("scheduler", "x"),
    ],
)
def test_settings_out_of_range_are_one_line(field: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"^config training\.{field}: "):
        validated({"training": {field: value}})


def test_a_checkpoint_is_named_by_what_made_it() -> None:
    base = Checkpoint("b", "base")
    names = {
        store.checkpoint_id("sft-1", base, EXAMPLES),
        store.checkpoint_id("sft-2", base, EXAMPLES),
        store.checkpoint_id("sft-1", Checkpoint("c", "base"), EXAMPLES),
        store.checkpoint_id("sft-1", base, EXAMPLES[::-1]),
        store.checkpoint_id("sft-1", base, [Example("ab", "c")]),
        store.checkpoint_id("sft-1", base, [Example("a", "bc")]),
    }
    assert len(names) == 6


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "x"

    def interrupted() -> None:
        with store.written_whole(folder) as partial:
            (partial / "weights").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(folder.parent.iterdir()) == []
    stale = folder.with_name(".tmp-x")
    stale.mkdir()
    (stale / "rest").write_text("of a killed process")
    with store.written_whole(folder) as partial:
        store.write_json(partial / checkpoints.RECORD, {"a": 1})
        assert not checkpoints.is_complete(folder)
    assert checkpoints.is_complete(folder)
    assert [p.name for p in folder.iterdir()] == [checkpoints.RECORD]
    assert [p.name for p in folder.parent.iterdir()] == ["x"]


def test_json_has_one_form(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for targets in (["b", "a"], {"a", "b"}):
        store.write_json(path, {"target_modules": targets, "x": torch.float32})
        assert json.loads(path.read_text()) == {"target_modules": ["a", "b"], "x": "torch.float32"}


def test_a_full_disk_under_safetensors_is_the_systems_error(tmp_path: Path) -> None:
    from safetensors import SafetensorError

    text = "Error while serializing: I/O error: No space left on device (os error 28)"
    with pytest.raises(OSError, match="No space left") as caught, store.written_whole(tmp_path / "x"):
        raise SafetensorError(text)
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(SafetensorError), store.written_whole(tmp_path / "x"):
        raise SafetensorError("Error while deserializing header")
    assert list(tmp_path.iterdir()) == []
