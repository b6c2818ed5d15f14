"""Preview: how the policy will be asked and taught, from its tokenizer and config alone; no weights are loaded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iteralign.config.schema import Config
from iteralign.lm import weights
from iteralign.lm.chat import Chat
from iteralign.run import build
from iteralign.training.rows import IGNORED, labelled
from iteralign.types import Conversation, Example


@dataclass(frozen=True)
class Piece:
    """The text of one token, or of the few that share a letter. `taught`: the loss is on it."""

    text: str
    taught: bool
    tokens: int


@dataclass(frozen=True)
class Preview:
    """One policy's way of reading. `context` counts tokens, prompt and answer together."""

    chat: Chat
    context: int
    longest_row: int
    exported: str = ""
    """How an export departs from the model's own generation config; empty if it does not."""

    def prompt(self, conversation: Conversation) -> list[Piece]:
        """What the policy is sent, piece by piece."""
        ids = self.chat.prompt_ids(conversation)
        return list(self._pieces(ids, [IGNORED] * len(ids)))

    def row(self, example: Example) -> list[Piece]:
        """What it is trained on: what is taught is read off the labels that training uses. Raises UserError."""
        (row,) = labelled([example], self.chat, self.longest_row)
        return list(self._pieces(row.input_ids, row.labels))

    def longest(self, conversations: Sequence[Conversation]) -> int:
        """The tokens of the longest prompt. Raises UserError if any does not fit into the context."""
        return max(map(len, self.chat.fitting(conversations, self.context)), default=0)

    @property
    def padding(self) -> str:
        """The token that fills batches up, and whether it is the end token too."""
        token = str(self.chat.tokenizer.convert_ids_to_tokens(self.chat.pad_id()))
        ends = self.chat.pad_id() in self.chat.end_ids()
        return token + (", masked by its place, so that the end is taught" if ends else "")

    def _pieces(self, ids: Sequence[int], labels: Sequence[int]) -> Iterator[Piece]:
        """Tokens that hold parts of one letter only are shown together."""
        start, written = 0, ""
        for i in range(len(ids)):
            text = self._text(ids[: i + 1])
            whole = not text.endswith("\ufffd") and text.startswith(written)
            last = i + 1 == len(ids) or (labels[i + 1] == IGNORED) != (labels[i] == IGNORED)
            if whole or last:
                yield Piece(text[len(written) :], labels[i] != IGNORED, i + 1 - start)
                start, written = i + 1, text

    def _text(self, ids: Sequence[int]) -> str:
        return str(
            self.chat.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )


def preview(config: Config) -> Preview | None:
    """The policy's preview; None if its tokenizer is not on this machine. Raises UserError for a model that could
    not be run, trained or saved."""
    source, template = build.source(config), build.template(config)
    folder = weights.at_hand(source)
    if folder is None:
        return None
    if source.folder:
        weights.check(source.folder)
    described = weights.config_in(folder, source)
    chat = weights.read_chat(folder, source, template)
    weights.require_savable(described, chat.tokenizer, source)
    context = weights.context_of(described)
    own = weights.generation_in(folder, described)
    exported = _difference(own.to_diff_dict(), weights.savable(own).to_diff_dict())
    return Preview(chat, context, min(config.training.max_length, context), exported)


def _difference(own: Mapping[str, Any], saved: Mapping[str, Any]) -> str:
    """`do_sample = True` for what is added, `without top_p` for what is left out."""
    added = [f"{name} = {saved[name]!r}" for name in sorted(saved) if own.get(name) != saved[name]]
    left_out = [f"without {name}" for name in sorted(own) if name not in saved]
    return ", ".join(added + left_out)
