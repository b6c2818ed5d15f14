"""Decoding rules that transformers' `generate` calls at each step, each row on its own.

Shapes: B rows of a batch, T ids so far (left-padded prompt and answer), V vocabulary.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from iteralign.types import Conversation, Sampling


def row_seeds(conversations: Sequence[Conversation], seed: int) -> list[int]:
    """A seed for each row, from what it is and not from where it stands.

    Equal conversations are told apart by how many of them FOLLOW: replies are computed in list order
    among equals, so a list that lost its answered front still gives each survivor the same number.
    """
    left = Counter(conversations)
    seeds = []
    for conversation in conversations:
        left[conversation] -= 1
        turns = [[m.role, m.content] for m in conversation]
        text = json.dumps([seed, turns, left[conversation]])
        seeds.append(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1)
    return seeds


class FrequencyPenalty:
    """Subtract `penalty` from a token's logit for each time the answer has used it (OpenAI's definition)."""

    def __init__(self, penalty: float, prompt_tokens: int) -> None:
        self.penalty, self.prompt_tokens = penalty, prompt_tokens

    def __call__(self, ids_BT: Tensor, logits_BV: Tensor) -> Tensor:
        used_BT = ids_BT[:, self.prompt_tokens :]
        counts_BV = torch.zeros_like(logits_BV)
        counts_BV.scatter_add_(1, used_BT, torch.ones_like(used_BT, dtype=logits_BV.dtype))
        return logits_BV - self.penalty * counts_BV


class SeededChoice:
    """Sampling as argmax over logits/temperature plus Gumbel noise, so that greedy decoding samples.

    argmax(x + Gumbel) is distributed as softmax(x) (Gumbel-max trick). Every row draws its noise from
    a generator of its own: its answer doesn't depend on its neighbours or on the global generator.
    """

    def __init__(self, sampling: Sampling, seeds: Sequence[int], device: str) -> None:
        self.temperature, self.top_p = sampling.temperature, sampling.top_p
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, ids_BT: Tensor, logits_BV: Tensor) -> Tensor:
        scaled_BV = logits_BV.float() / self.temperature
        if self.top_p < 1:
            scaled_BV = nucleus(scaled_BV, self.top_p)
        noise_BV = torch.empty_like(scaled_BV)
        for noise_V, generator in zip(noise_BV, self.generators, strict=True):
            noise_V.exponential_(generator=generator)
        return scaled_BV - noise_BV.log()


def nucleus(logits_BV: Tensor, top_p: float) -> Tensor:
    """Keep the fewest likeliest tokens whose probabilities reach `top_p`; the rest become -inf.

    Tokens exactly as likely as the last one kept stay too. top_p 0 means the likeliest token, not none.
    """
    ordered_BV = logits_BV.sort(descending=True, dim=-1).values
    before_BV = ordered_BV.softmax(-1).cumsum(-1).roll(1, -1)
    before_BV[:, 0] = 0
    kept_B1 = (before_BV < top_p).sum(-1, keepdim=True).clamp(min=1)
    return logits_BV.masked_fill(logits_BV < ordered_BV.gather(1, kept_B1 - 1), float("-inf"))


class StopStrings:
    """Ends a row as soon as its answer contains a stop string; the text is cut afterwards.

    Only the tail is decoded at each step: a stop string spans at most as many tokens as it has bytes.
    `ended` maps a row to the tokens it had by then; what follows there is padding.
    """

    def __init__(self, stops: Sequence[str], decode: Callable[[list[int]], str], prompt_tokens: int) -> None:
        self.stops, self.decode, self.prompt_tokens = stops, decode, prompt_tokens
        self.tail = max((len(s.encode()) for s in stops), default=0) + 4
        self.ended: dict[int, int] = {}

    def __call__(self, ids_BT: Tensor, _scores: Any, **_: Any) -> Tensor:
        start = max(self.prompt_tokens, ids_BT.shape[1] - self.tail)
        for row, ids in enumerate(ids_BT[:, start:].tolist() if self.stops else ()):
            if row not in self.ended and any(s in self.decode(ids) for s in self.stops):
                self.ended[row] = ids_BT.shape[1] - self.prompt_tokens
        done = [row in self.ended for row in range(len(ids_BT))]
        return torch.tensor(done, dtype=torch.bool, device=ids_BT.device)
