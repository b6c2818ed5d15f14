"""The weights in memory: the base, and at most one checkpoint attached to it.

An adapter is merged into the base in float32 (generation is then as fast as the base's, and the
logits agree with the unmerged ones to about 3e-6, measured) and runs beside it in half precision,
where the small updates of a low learning rate would be rounded away by merging. Either way the base
gets its own weights back, bit by bit: merged ones are restored from a copy, never subtracted.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from iteralign.lm import adapters, devices, weights
from iteralign.lm.chat import Chat
from iteralign.types import Checkpoint


class LoadedBase:
    def __init__(self, root: Path, source: weights.Source, device: str, dtype: str) -> None:
        self.root, self.source, self.device, self.dtype = root, source, device, dtype
        self._base: Any = None
        self._chats: dict[str, Chat] = {}
        self._attached: tuple[Checkpoint, Any] | None = None
        self._undo: Callable[[], None] = lambda: None

    def attach(self, checkpoint: Checkpoint, template: str) -> tuple[Any, Chat]:
        """The model with the weights of `checkpoint`, and how it writes conversations."""
        if template not in self._chats:  # before the weights, which may take minutes
            self._chats[template] = weights.load_chat(self.source, template)
        if self._attached is None or self._attached[0] != checkpoint:
            self.detach()
            self._attached = (checkpoint, self._weights(checkpoint))
        return self._attached[1], self._chats[template]

    def detach(self) -> None:
        """Leave the bare base in memory."""
        self._attached = None
        undo, self._undo = self._undo, lambda: None
        undo()

    def close(self) -> None:
        self.detach()
        self._base = None
        self._chats.clear()
        devices.give_back(self.device)

    def _weights(self, checkpoint: Checkpoint) -> Any:
        if checkpoint.kind == "full" and checkpoint.path is not None:
            self._base = None  # two whole models at once may be one too many
            return self._load(weights.Source(str((self.root / checkpoint.path).resolve())))
        if self._base is None:
            self._base = self._load(self.source)
        if checkpoint.path is None:
            return self._base
        return self._with_adapter(self.root / checkpoint.path)

    def _load(self, source: weights.Source) -> Any:
        model = weights.load_model(source, self.device, self.dtype)
        # The repository's own sampling defaults (a repetition penalty, say) would bend our greedy decoding.
        model.generation_config = GenerationConfig()
        return model

    def _with_adapter(self, folder: Path) -> Any:
        adapted = adapters.beside(self._base, folder, self.source.name).eval()
        with weights.quiet():
            if self.dtype != "float32":
                self._undo = lambda: _remove(adapted)
                return adapted
            layers = {n: m for n, m in adapted.named_modules() if n.endswith(".base_layer")}
            kept = [(p, p.detach().clone()) for layer in layers.values() for p in layer.parameters()]
            merged = adapted.merge_and_unload()

        def restore() -> None:
            with torch.no_grad():
                for parameter, value in kept:
                    parameter.copy_(value)

        self._undo = restore
        return merged


def _remove(adapted: Any) -> None:
    with weights.quiet():
        adapted.unload()
