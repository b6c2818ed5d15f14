"""A tiny random Llama with a word-level tokenizer, built in milliseconds and offline: for tests.

It knows nothing; it is real enough to generate, be fine-tuned, saved and loaded.
"""

from collections.abc import Iterable
from pathlib import Path

SPECIAL = ("<|pad|>", "<|end|>", "<|unknown|>", "<|system|>", "<|user|>", "<|assistant|>")
CHATML = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:?'-"
_COMMON = """the a to of is are you I my your do not how what who can will would please tell me find take
give lock door key house city name street plan red blue green one two three cat dog bird tree yes no"""
WORDS = (*_LETTERS, *_COMMON.split())


def build(
    folder: Path,
    words: Iterable[str] = WORDS,
    template: str | None = CHATML,
    seed: int = 0,
    shape: tuple[int, int] = (64, 2),
    context: int = 256,
) -> Path:
    """Write a model directory: config, safetensors, tokenizer. `shape` is (width, layers).

    Every pair of letters that spells no word is split into letters, so any lower-case English text
    can be encoded. Same arguments, same weights. Returns `folder`.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(tuple(words)),
        eos_token="<|end|>",
        pad_token="<|pad|>",
        unk_token="<|unknown|>",
        additional_special_tokens=list(SPECIAL[3:]),
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    width, layers = shape
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 8 // 3 // 32 * 32,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        max_position_embeddings=context,
        # tied or small random weights repeat the last token of the prompt for ever
        tie_word_embeddings=False,
        initializer_range=0.2,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder)
    finally:
        logging.enable_progress_bar()
    return folder


def _tokenizer(words: tuple[str, ...]):  # type: ignore[no-untyped-def]
    """Whole words first, letters where no word fits: greedy longest match over a fixed vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    byte_level = pre_tokenizers.ByteLevel.alphabet()
    vocab = {token: i for i, token in enumerate(SPECIAL)}
    letters = sorted(byte_level)
    spelled = sorted({form for word in words for form in (word, f"Ġ{word}")})
    for token in (*letters, *spelled):
        vocab.setdefault(token, len(vocab))
    tokenizer = Tokenizer(BPE(vocab, [], unk_token="<|unknown|>", ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in SPECIAL])
    return tokenizer
