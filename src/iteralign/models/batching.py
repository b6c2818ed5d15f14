"""From conversations to replies: batches by length, one call of transformers' `generate` for each.

The order of work is a function of the prompts alone (longest first, equals in list order, batches of
a fixed size), which is what lets an interrupted call be taken up where it stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from iteralign.lm.chat import Chat
from iteralign.lm.weights import context_of
from iteralign.models.oom import Halving
from iteralign.models.sampling import FrequencyPenalty, SeededChoice, StopStrings, row_seeds
from iteralign.protocols import OnReplies
from iteralign.types import Conversation, Reply, Sampling, Usage

WAY_OUT = (
    "free memory and rerun to resume, or start anew with a smaller sampling.max_tokens, policy.dtype = 'bfloat16' "
    "or a smaller model"
)


@dataclass(frozen=True)
class BatchRow:
    """One conversation ready to be answered. `room` is how many new tokens it may have."""

    index: int
    ids: list[int]
    seed: int
    room: int


def answer_all(
    model: Any,
    chat: Chat,
    conversations: Sequence[Conversation],
    sampling: Sampling,
    batch_size: int,
    on_replies: OnReplies,
) -> list[Reply]:
    """Replies in the order of `conversations`; `on_replies` hears each batch once, with its indices."""
    rows = rows_of(conversations, chat, sampling, context_of(model.config))
    worker = Worker(model, chat, sampling, Halving(batch_size, "conversation", WAY_OUT))
    replies: dict[int, Reply] = {}
    for batch in batches(rows, batch_size):
        heard = [(row.index, reply) for row, reply in zip(batch, worker.answer(batch), strict=True)]
        replies.update(heard)
        on_replies(heard)
    return [replies[i] for i in range(len(conversations))]


def batches(rows: Sequence[BatchRow], size: int) -> list[list[BatchRow]]:
    """Longest first, so that a batch too large for the memory shows at once and not after an hour."""
    ordered = sorted(rows, key=lambda row: -len(row.ids))
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]


def rows_of(
    conversations: Sequence[Conversation], chat: Chat, sampling: Sampling, limit: int
) -> list[BatchRow]:
    ids = chat.fitting(conversations, limit)
    return [
        BatchRow(i, row, seed, min(sampling.max_tokens, limit - len(row)))
        for i, (row, seed) in enumerate(zip(ids, row_seeds(conversations, sampling.seed), strict=True))
    ]


@dataclass(frozen=True)
class Answers:
    """How the answers of one call are read. `stops`: strings that end an answer, beside the end tokens."""

    chat: Chat
    stops: tuple[str, ...]

    def reply(self, asked: int, new: Sequence[int]) -> Reply:
        """The answer up to its end token or stop string, without the thought before it.

        One that ended inside its thought has no text, and counts as cut. `raw` keeps what was written where that is
        more than the answer. `asked` is the number of tokens of the prompt; usage counts the end token, as providers
        do.
        """
        ended = bool(new) and new[-1] in self.chat.end_ids()
        text = self.chat.written(new[:-1] if ended else new)
        cut = min((at for s in self.stops if (at := text.find(s)) >= 0), default=None)
        complete = ended or cut is not None
        written, usage = text[:cut].strip(), Usage(asked, len(new))
        answer = self.chat.answer(written)
        raw = None if answer == written else written
        if answer is None:
            return Reply("", "length", usage, raw)
        return Reply(answer, "stop" if complete else "length", usage, raw)


def answers_of(chat: Chat, sampling: Sampling) -> Answers:
    return Answers(chat, tuple(dict.fromkeys((*sampling.stop, *chat.stops))))


@dataclass
class Worker:
    """Answers batches, in halves once the memory has proved too small for a whole one."""

    model: Any
    chat: Chat
    sampling: Sampling
    parts: Halving
    answers: Answers = field(init=False)

    def __post_init__(self) -> None:
        self.answers = answers_of(self.chat, self.sampling)

    def answer(self, batch: Sequence[BatchRow]) -> list[Reply]:
        """Replies in the order of `batch`. Rows near the end of the context, where there is less room
        than asked for, run apart, so that no row is cut short because of another."""
        replies: dict[int, Reply] = {}
        for _, rows in groupby(sorted(batch, key=lambda row: row.room), key=lambda row: row.room):
            for part, ids in self.parts.run(list(rows), self._run):
                for row, new in zip(part, ids, strict=True):
                    replies[row.index] = self.answers.reply(len(row.ids), new)
        return [replies[row.index] for row in batch]

    def _run(self, rows: Sequence[BatchRow]) -> list[list[int]]:
        width = max(len(row.ids) for row in rows)
        pad = self.chat.pad_id()
        ids_BT = torch.tensor([[pad] * (width - len(r.ids)) + r.ids for r in rows], device=self.model.device)
        mask_BT = torch.tensor([[0] * (width - len(r.ids)) + [1] * len(r.ids) for r in rows])
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=rows[0].room,
            eos_token_id=list(self.chat.end_ids()),
            pad_token_id=pad,
        )
        stopped = StopStrings(self.answers.stops, self.chat.written, width)
        with torch.inference_mode():
            out_BT = self.model.generate(
                input_ids=ids_BT,
                attention_mask=mask_BT.to(self.model.device),
                generation_config=config,
                logits_processor=LogitsProcessorList(self._processors(rows, width)),
                stopping_criteria=StoppingCriteriaList([stopped]),
            )
        return [
            self._until_end(new, stopped.ended.get(i)) for i, new in enumerate(out_BT[:, width:].tolist())
        ]

    def _until_end(self, new: list[int], stopped: int | None) -> list[int]:
        """`new` without the padding behind its end token, or behind what completed its stop string."""
        ends = self.chat.end_ids()
        return new[: next((i + 1 for i, token in enumerate(new[:stopped]) if token in ends), stopped)]

    def _processors(self, rows: Sequence[BatchRow], width: int) -> list[Any]:
        s = self.sampling
        seeds = [row.seed for row in rows]
        penalty = [FrequencyPenalty(s.frequency_penalty, width)] * bool(s.frequency_penalty)
        choice = [SeededChoice(s, seeds, self.model.device.type)] if s.temperature > 0 else []
        return [*penalty, *choice]
