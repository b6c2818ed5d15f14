"""Tiny random models of the architecture families that people align, each in a base and a chat form.

Only the architecture is real: two layers of width 32, random weights, and a tokenizer of letters. Each has what
is peculiar to its family: how text is cut and begun, which token ends and pads (several have no pad token, or one
that is their end token), how a chat template writes turns, which turns it refuses.

Loaded by path (see conftest.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WIDTH, LAYERS, HEADS, CONTEXT, SCALE = 32, 2, 2, 512, 0.3
LETTERS = "".join(map(chr, range(32, 127))) + "\n"

GENERATE = "{% if add_generation_prompt %}"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    + GENERATE
    + "<|im_start|>assistant\n{% endif %}"
)
QWEN2 = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nHelp.<|im_end|>\n{% endif %}" + CHATML
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if loop.last and m['role'] == 'assistant' %}"
    "<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}" + GENERATE + "<|im_start|>"
    "assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}<|start|>system<|stop|>\n\nToday is {{ strftime_now('%d %b %Y') }}.<|eot|>{% for m in messages %}"
    "<|start|>{{ m['role'] }}<|stop|>\n\n{{ m['content'] | trim }}<|eot|>{% endfor %}"
    + GENERATE
    + "<|start|>assistant<|stop|>\n\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant turns') }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    "{% for m in messages %}<turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}" + GENERATE + "<turn>model\n{% endif %}"
)
PHI3 = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    + GENERATE
    + "<|assistant|>\n{% endif %}"
)
PROMPTER = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>{% else %}<|prompter|>{% endif %}"
    "{{ m['content'] }}<|endoftext|>{% endfor %}" + GENERATE + "<|assistant|>{% endif %}"
)
SPOKEN = (
    "{% for m in messages %}{{ 'AI' if m['role'] == 'assistant' else 'Human' }}: {{ m['content'] }}"
    "{{ eos_token if m['role'] == 'assistant' else '\n' }}{% endfor %}" + GENERATE + "AI:{% endif %}"
)


@dataclass(frozen=True)
class Form:
    """A tokenizer's peculiarities. turns: further special tokens. ends: what the generation config ends at."""

    eos: str
    pad: str | None = None
    bos: str | None = None
    starts: bool = False
    turns: tuple[str, ...] = ()
    template: str | None = None
    ends: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """`pieces` cuts text as sentencepiece does, with a mark in place of a blank; else by bytes."""

    architecture: str
    base: Form
    chat: Form
    pieces: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


TEXT = Form("<|endoftext|>")
IM = ("<|im_start|>", "<|im_end|>")


def gemma(name: str) -> Family:
    """Gemma 2 and 3 differ in their layers alone."""
    return Family(
        name,
        Form("<eos>", "<pad>", "<bos>", starts=True),
        Form(
            "<eos>",
            "<pad>",
            "<bos>",
            True,
            ("<turn>", "<end_of_turn>"),
            GEMMA,
            ends=("<eos>", "<end_of_turn>"),
        ),
        pieces=True,
        options={"num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 16},
    )


FAMILIES: dict[str, Family] = {
    "llama": Family(
        "Llama",
        Form("</s>", bos="<s>", starts=True),
        Form("<|eot|>", bos="<s>", starts=True, turns=("<|start|>", "<|stop|>"), template=LLAMA3),
        pieces=True,
        options={"tie_word_embeddings": False},
    ),
    "smollm": Family(
        "Llama",
        TEXT,
        Form("<|im_end|>", "<|im_end|>", "<|im_start|>", template=CHATML),
        options={"tie_word_embeddings": True, "num_key_value_heads": 1},
    ),
    "qwen2": Family(
        "Qwen2",
        Form("<|endoftext|>", "<|endoftext|>"),
        Form("<|im_end|>", "<|endoftext|>", turns=IM, template=QWEN2),
        options={"num_key_value_heads": 1, "tie_word_embeddings": True},
    ),
    "qwen3": Family(
        "Qwen3",
        Form("<|endoftext|>", "<|endoftext|>"),
        Form("<|im_end|>", "<|endoftext|>", turns=IM, template=QWEN3),
        options={"num_key_value_heads": 1, "head_dim": 16, "tie_word_embeddings": True},
    ),
    "mistral": Family(
        "Mistral",
        Form("</s>", bos="<s>", starts=True),
        Form("</s>", bos="<s>", starts=True, turns=("[INST]", "[/INST]"), template=MISTRAL),
        pieces=True,
        options={"num_key_value_heads": 1, "sliding_window": 64},
    ),
    "gemma2": gemma("Gemma2"),
    "gemma3": gemma("Gemma3Text"),
    "phi": Family(
        "Phi",
        TEXT,
        Form(
            "<|endoftext|>",
            turns=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
            template=PHI3,
            ends=("<|endoftext|>", "<|end|>"),
        ),
    ),
    "gpt_neox": Family(
        "GPTNeoX",
        TEXT,
        Form("<|endoftext|>", "<|endoftext|>", turns=("<|prompter|>", "<|assistant|>"), template=PROMPTER),
    ),
    "opt": Family(
        "OPT",
        Form("</s>", "<pad>", "</s>", starts=True),
        Form("</s>", "<pad>", "</s>", starts=True, template=SPOKEN),
        options={"ffn_dim": 64, "word_embed_proj_dim": 16, "init_std": SCALE},
    ),
    "gpt2": Family(
        "GPT2",
        Form("<|endoftext|>", bos="<|endoftext|>"),
        Form("<|endoftext|>", bos="<|endoftext|>", turns=IM, template=CHATML, ends=("<|endoftext|>", IM[1])),
    ),
}


def build(folder: Path, family: str, chat: bool, seed: int = 0) -> Path:
    """Write the model directory. Returns `folder`."""
    import torch
    import transformers

    chosen = FAMILIES[family]
    form = chosen.chat if chat else chosen.base
    tokenizer = _tokenizer(form, chosen.pieces)
    tokenizer.save_pretrained(folder)
    ids = tokenizer.convert_tokens_to_ids
    config = getattr(transformers, f"{chosen.architecture}Config")(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=CONTEXT,
        initializer_range=SCALE,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **chosen.options,
    )
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    embeddings = model.get_input_embeddings()
    if embeddings.padding_idx is not None:
        # zero at first, which tied weights could not learn to say where it is the end token too
        torch.nn.init.normal_(embeddings.weight.data[embeddings.padding_idx], std=SCALE)
    model.generation_config.eos_token_id = [ids(t) for t in form.ends] or tokenizer.eos_token_id
    model.save_pretrained(folder)
    return folder


def _tokenizer(form: Form, pieces: bool) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = list(dict.fromkeys(t for t in (form.bos, form.eos, form.pad, *form.turns, "<unk>") if t))
    # only letters that English is written in: an answer at random is then text that can be taught
    letters = [*LETTERS, "▁"] if pieces else [*LETTERS.replace("\n", "").replace(" ", ""), "Ġ", "Ċ"]
    vocab = {token: i for i, token in enumerate(dict.fromkeys([*special, *letters]))}
    tokenizer = Tokenizer(models.BPE(vocab, [], unk_token="<unk>"))
    if pieces:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    if form.starts:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{form.bos} $A", special_tokens=[(str(form.bos), vocab[str(form.bos)])]
        )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=form.bos,
        eos_token=form.eos,
        pad_token=form.pad,
        unk_token="<unk>",
        additional_special_tokens=list(form.turns),
    )
    wrapped.chat_template = form.template
    return wrapped
