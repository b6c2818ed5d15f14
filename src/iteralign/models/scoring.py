"""How likely a model finds given endings of an answer: one forward pass for many questions, no generation.

The text up to the ending is rendered as for generation (`chat`). Tokenizers may merge letters across the seam,
and an ending may be several tokens: everything behind the ids that all endings of a question have in common with
the bare text is scored, so that the endings compare. Rows are padded on the right, where causal attention never
looks, so that no mask and no position depends on the neighbours. B rows, T tokens, K positions read, V words.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from iteralign.errors import UserError
from iteralign.lm.chat import Chat
from iteralign.lm.weights import context_of
from iteralign.models.oom import Halving
from iteralign.types import Options

WAY_OUT = "free memory and run the command again"
WORTH = 16
"""Tokens that a batch's rows must have in common before they are computed once for all (assumed)."""

Ids = tuple[int, ...]
Scores = dict[tuple[Ids, int], float]
"""Log-probability of a token after the ids before it."""


@dataclass(frozen=True)
class ScoringPlan:
    """One question as ids: what all its endings begin with, and what each adds."""

    context: Ids
    tails: tuple[Ids, ...]

    def rows(self) -> Iterator[tuple[Ids, Ids]]:
        """(ids to run, ids to read behind the context): an ending's last token is read, never run."""
        for tail in self.tails:
            yield self.context + tail[:-1], tail


def score_all(
    model: Any, chat: Chat, questions: Sequence[Options], batch_size: int
) -> list[tuple[float, ...]]:
    """Log-probabilities of the endings, in the order of `questions`. Raises UserError, WorldError."""
    limit = context_of(model.config)
    plans = [_plan(chat, question, limit) for question in questions]
    found: Scores = {}
    runner = Runner(model, chat.pad_id(), Halving(batch_size, "question", WAY_OUT))
    for batch in _batches(plans, batch_size):
        found.update(runner.run(batch))
    return [tuple(_total(found, plan.context, tail) for tail in plan.tails) for plan in plans]


def _plan(chat: Chat, question: Options, limit: int) -> ScoringPlan:
    prompt = chat.prompt(question.conversation) + chat.lead + question.begun
    bare = chat.text_ids(prompt)
    whole = [chat.text_ids(prompt + ending) for ending in question.endings]
    shared = 0
    while shared < min(len(bare), *(len(ids) - 1 for ids in whole)) and all(
        ids[shared] == bare[shared] for ids in whole
    ):
        shared += 1
    longest = max(map(len, whole))
    if longest > limit:
        raise UserError(
            f"a question to be scored has {longest} tokens, but the model's context holds {limit}; "
            "leave that item out, or take a model with a longer context"
        )
    return ScoringPlan(tuple(bare[:shared]), tuple(tuple(ids[shared:]) for ids in whole))


def _total(found: Scores, context: Ids, tail: Ids) -> float:
    return sum(found[context + tail[:i], token] for i, token in enumerate(tail))


Row = tuple[Ids, dict[int, set[int]]]
"""Ids to run, and the tokens wanted after each of its lengths."""


def _batches(plans: Sequence[ScoringPlan], size: int) -> list[list[Row]]:
    """Every different row once, longest first, as in generation."""
    wanted: dict[Ids, dict[int, set[int]]] = {}
    for plan in plans:
        for ids, tail in plan.rows():
            reads = wanted.setdefault(ids, {})
            for i, token in enumerate(tail):
                reads.setdefault(len(plan.context) + i, set()).add(token)
    rows = sorted(wanted.items(), key=lambda row: (-len(row[0]), row[0]))
    return [rows[i : i + size] for i in range(0, len(rows), size)]


@dataclass
class Runner:
    """Runs rows, in halves once the memory has proved too small."""

    model: Any
    pad: int
    parts: Halving

    def run(self, rows: Sequence[Row]) -> Scores:
        found: Scores = {}
        for _, scores in self.parts.run(rows, self._scores):
            found.update(scores)
        return found

    @torch.inference_mode()
    def _scores(self, rows: Sequence[Row]) -> Scores:
        positions = sorted({length - 1 for _, reads in rows for length in reads})
        logits_BKV = self._logits([ids for ids, _ in rows], positions)
        found: Scores = {}
        for b, (ids, reads) in enumerate(rows):
            for length, tokens in reads.items():
                logits_V = logits_BKV[b, positions.index(length - 1)].float()
                chosen = logits_V[list(tokens)] - torch.logsumexp(logits_V, 0)
                found |= {(ids[:length], t): v for t, v in zip(tokens, chosen.tolist(), strict=True)}
        return found

    def _logits(self, rows: Sequence[Ids], positions: Sequence[int]) -> torch.Tensor:
        """Logits [B, K, V] after `positions`. What all rows begin with is run once, where the cache allows it."""
        width = max(map(len, rows))
        ids_BT = torch.tensor([[*r, *[self.pad] * (width - len(r))] for r in rows], device=self.model.device)
        head = min(_common(rows), positions[0])
        cache = self._head(ids_BT[:1, :head], len(rows)) if head >= WORTH and len(rows) > 1 else None
        done = head if cache is not None else 0
        kept = [p - done for p in positions]
        if not self._keeps:
            logits_BTV = self._forward(ids_BT[:, done:], cache, {})
            return logits_BTV[:, kept]
        at_K = torch.tensor(kept, device=self.model.device)
        return self._forward(ids_BT[:, done:], cache, {"logits_to_keep": at_K})

    def _forward(self, ids_BT: torch.Tensor, cache: Any, extra: dict[str, Any]) -> torch.Tensor:
        with_cache = (
            {"past_key_values": cache, "use_cache": True} if cache is not None else {"use_cache": False}
        )
        logits: torch.Tensor = self.model(input_ids=ids_BT, **with_cache, **extra).logits
        return logits

    def _head(self, ids_1T: torch.Tensor, rows: int) -> Any:
        """Keys and values of the common beginning, once for each row; None where layers keep something else
        (a window, a state), which is then computed with each row."""
        cache = DynamicCache(config=self.model.config)
        if any(type(layer).__name__ != "DynamicLayer" for layer in cache.layers):
            return None
        self.model(input_ids=ids_1T, past_key_values=cache, use_cache=True, **self._least)
        cache.batch_repeat_interleave(rows)
        return cache

    @property
    def _least(self) -> dict[str, Any]:
        return {"logits_to_keep": 1} if self._keeps else {}

    @property
    def _keeps(self) -> bool:
        """Whether the model can be told which logits to compute: all of them fill a memory quickly."""
        inner = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        return "logits_to_keep" in inspect.signature(inner.forward).parameters


def _common(rows: Sequence[Ids]) -> int:
    """How many ids all rows begin with."""
    first, last = min(rows), max(rows)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
