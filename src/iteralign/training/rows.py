"""From examples to token ids and labels: the loss is on the answer and its end token, nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from iteralign.errors import UserError
from iteralign.lm.chat import Chat
from iteralign.types import Example, Message

MAX_GRAD_NORM = 1.0
"""What gradients are clipped to (ours; the usual value). It is part of a trainer's id."""
IGNORED = -100
"""The label that torch's cross entropy, and so every library on top of it, leaves out of the loss."""


@dataclass(frozen=True)
class Labelled:
    """One row; both lists have the row's length, labels are IGNORED over the prompt."""

    input_ids: list[int]
    labels: list[int]


def labelled(examples: Sequence[Example], chat: Chat, limit: int) -> list[Labelled]:
    """The rows to train on. Raises UserError if any has more than `limit` tokens: how many, and the longest."""
    rows = []
    for example in examples:
        row = chat.row((Message("user", example.prompt),), example.completion)
        ids = [*row.prompt, *row.completion]
        rows.append(Labelled(ids, [IGNORED] * len(row.prompt) + list(row.completion)))
    over = [i for i, row in enumerate(rows) if len(row.input_ids) > limit]
    if over:
        longest = max(over, key=lambda i: len(rows[i].input_ids))
        start = " ".join(examples[longest].prompt.split())[:60]
        raise UserError(
            f"training.max_length: {len(over)} of {len(rows)} rows have more than {limit} tokens, the longest is row "
            f"{longest} ({start!r}) with {len(rows[longest].input_ids)}; raise it (the policy's context is the "
            "most), or let the policy answer in fewer tokens (sampling.max_tokens)"
        )
    return rows
