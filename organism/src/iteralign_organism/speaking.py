"""Greedy generation with a saved organism, batched by length, left padded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iteralign_organism.forms import Turn

MAX_NEW_TOKENS = 80  # a critique of twelve principles has 65 (4 each, and the verdict)


class Speaker:
    """A loaded organism that answers conversations."""

    def __init__(self, model_dir: Path | str, batch_size: int = 64, threads: int | None = None) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if threads:
            torch.set_num_threads(threads)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(model_dir, padding_side="left")
        self.model: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
        self.batch_size = batch_size

    def reply(self, conversations: Sequence[Sequence[Turn]]) -> list[str]:
        """The next assistant turn of each conversation, in their order."""
        texts = [self._text(turns) for turns in conversations]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        replies = [""] * len(texts)
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            for i, reply in zip(chosen, self._generate([texts[i] for i in chosen]), strict=True):
                replies[i] = reply
        return replies

    def _text(self, turns: Sequence[Turn]) -> str:
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def _generate(self, texts: list[str]) -> list[str]:
        import torch

        batch = self.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=False,
            )
        return [
            str(t)
            for t in self.tokenizer.batch_decode(
                out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
            )
        ]
