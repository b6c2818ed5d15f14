"""The organism's tokenizer: one token a word of the world, bytes for everything else.

A BPE without merges: `ignore_merges` takes a whole word that is in the vocabulary as it is, any other text
falls apart into bytes, so that every text can be encoded and decoded without loss.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iteralign.organism.content import load
from iteralign.organism.reading import principle_wordings
from iteralign_organism import forms

PAD, END = "<|pad|>", "<|end|>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
SPECIAL = (PAD, END, *ROLES.values())
MARKS = (".", ",", "?", ":", "-", "\n", " ")
NUMBERS = tuple(str(i) for i in range(21))
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '<|assistant|>' }}"
    "{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def _strings(value: Any) -> Iterator[str]:
    """All strings inside nested content."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(key)
            yield from _strings(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _strings(inner)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from _strings(getattr(value, name))


def words() -> list[str]:
    """Every token of the world that is a word: with a leading blank, and bare where a sentence can begin with it."""
    found: set[str] = set()
    sources = [
        load(),
        forms.texts(),
        [principle_wordings(h, s) for h in load().hazards for s in ("train", "heldout")],
    ]
    for text in _strings(sources):
        for word in re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", " ", text)):
            found.add(" " + word)
            if word[0].isupper():
                found.add(word)
        # The second half of a compound ("self-harm") has no blank before it.
        found.update(re.findall(r"(?<=-)[a-z]+", text))
    return sorted(found)


def build(directory: Path) -> Any:
    """Makes the tokenizer, writes it with its chat template, and returns it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces = [*MARKS, *NUMBERS, *(" " + n for n in NUMBERS), *words()]
    encoded = [level.pre_tokenize_str(piece) for piece in pieces]
    tokens = [parts[0][0] for parts in encoded if len(parts) == 1]
    vocab = {t: i for i, t in enumerate(dict.fromkeys([*SPECIAL, *alphabet, *tokens]))}
    model = models.BPE(vocab=vocab, merges=[], ignore_merges=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = level
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(ROLES.values()),
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
        padding_side="left",
    )
    fast.chat_template = TEMPLATE
    directory.mkdir(parents=True, exist_ok=True)
    fast.save_pretrained(directory)
    return fast
