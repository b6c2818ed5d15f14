"""Witness: what a checkpoint's weights say of one training row, written down by whoever trained them.

A server that swaps weights may answer with stale ones: an adapter that did not load, a cache filled by its
predecessor. It is asked the same, and its log-probabilities must be near these, and nearer than those of what it
held before. The places asked are in the completion, where training moves a model most.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from iteralign.errors import UserError
from iteralign.security import documents

FILE = "witness.json"
PLACES = 8
"""Places asked (chosen): one prefill of the row each, from the cache after the first."""


@dataclass(frozen=True)
class Witness:
    """`ids`: prompt and completion of a row. After `ids[:cut]`, for each of `cuts`, the likeliest next token is the
    one in `tokens`, with the log-probability (nats) in `logprobs`."""

    ids: tuple[int, ...]
    cuts: tuple[int, ...]
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]

    def prompts(self) -> list[list[int]]:
        return [list(self.ids[:cut]) for cut in self.cuts]

    def distance(self, said: Sequence[Mapping[int, float]]) -> float:
        """Mean difference of log-probability, in nats, from what was said at each place: a few likeliest tokens and
        theirs. A token that is not among them is at most as likely as the last of them: a lower bound then."""
        apart = [
            abs(there.get(token, min(there.values())) - logprob)
            for there, token, logprob in zip(said, self.tokens, self.logprobs, strict=True)
        ]
        return sum(apart) / len(apart)


def of(model: Any, ids: Sequence[int], start: int) -> Witness:
    """What `model` says of a row whose completion begins at `ids[start]`, start at least 1."""
    import torch

    step = max(1, -(-(len(ids) - start) // PLACES))
    cuts = tuple(range(start, len(ids), step))
    training = model.training
    with torch.no_grad():
        logits_1TV = model.eval()(
            input_ids=torch.tensor([list(ids)], device=model.device), use_cache=False
        ).logits
        best_1T = logits_1TV.float().log_softmax(-1).max(-1)
    model.train(training)
    at = [cut - 1 for cut in cuts]
    logprobs, tokens = best_1T.values[0][at].tolist(), best_1T.indices[0][at].tolist()
    return Witness(tuple(ids), cuts, tuple(tokens), tuple(round(x, 6) for x in logprobs))


def save(folder: Path, witness: Witness) -> None:
    (folder / FILE).write_text(json.dumps(asdict(witness)) + "\n", encoding="utf-8")


def load(folder: Path) -> Witness | None:
    """The witness of a checkpoint; None where none was written."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        found = documents.read_json(path)
        return Witness(**{key: tuple(value) for key, value in found.items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); delete the checkpoint's folder to train it again"
        ) from None
