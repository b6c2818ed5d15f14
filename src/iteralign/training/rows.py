"""From examples to token ids and labels: the loss is on the answer and its end token, nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from iteralign.chat import Chat
from iteralign.errors import UserError
from iteralign.types import Example, Message

IGNORED = -100
"""The label that torch's cross entropy, and so every library on top of it, leaves out of the loss."""


@dataclass(frozen=True)
class Labelled:
    """One row; both lists have the row's length, labels are IGNORED over the prompt."""

    input_ids: list[int]
    labels: list[int]


def labelled(examples: Sequence[Example], chat: Chat, limit: int) -> list[Labelled]:
    """The rows to train on. Raises UserError, naming the row, for one of more than `limit` tokens."""
    rows = []
    for i, example in enumerate(examples):
        row = chat.row((Message("user", example.prompt),), example.completion)
        ids = [*row.prompt, *row.completion]
        if len(ids) > limit:
            start = " ".join(example.prompt.split())[:60]
            raise UserError(
                f"training.max_length: row {i} ({start!r}) has {len(ids)} tokens, allowed are {limit}; "
                "raise it, or let the policy answer in fewer tokens"
            )
        rows.append(Labelled(ids, [IGNORED] * len(row.prompt) + list(row.completion)))
    return rows
