"""A lean Llama for training: the same numbers as LlamaForCausalLM, twice as fast on a CPU (measured).

Fused norms, attention by hand in half precision, logits only where they are learned; `to_llama` names the weights
as transformers does. Sizes: B rows, T tokens, D width, H heads of size 32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD = 32
MAX_LENGTH = 1024
EPS = 1e-6
ROPE_BASE = 10_000.0


def rotary(length: int) -> tuple[Tensor, Tensor]:
    """cos and sin [T, HEAD] as Llama has them: the two halves of a head rotate together."""
    freqs = ROPE_BASE ** (-torch.arange(0, HEAD, 2).float() / HEAD)
    angles = torch.outer(torch.arange(length).float(), freqs)
    angles = torch.cat((angles, angles), -1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    turned: Tensor = x * cos + torch.cat((-b, a), -1) * sin
    return turned


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention [B, H, T, HEAD]; in half precision by hand: torch's CPU kernel needs thrice the time there."""
    if q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    b, h, t, d = q.shape
    q, k, v = (x.reshape(b * h, t, d) for x in (q, k, v))
    future = torch.full((t, t), -30_000.0, dtype=q.dtype).triu(1).expand(b * h, t, t)
    with torch.autocast("cpu", enabled=False):
        scores = torch.baddbmm(future, q, k.transpose(1, 2), alpha=d**-0.5)
        return torch.bmm(scores.softmax(-1), v).view(b, h, t, d)


class Layer(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.heads = width // HEAD
        # Matrices of their own: Muon gives the rows of a matrix shares of one update, and with queries, keys and
        # values in one matrix the values take nearly all of it (measured: no look-ups were learned).
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width, bias=False)
        self.gate, self.up = (nn.Linear(width, inner, bias=False) for _ in range(2))
        self.down = nn.Linear(inner, width, bias=False)
        self.norm1 = nn.RMSNorm(width, eps=EPS)
        self.norm2 = nn.RMSNorm(width, eps=EPS)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        b, t, d = x.shape
        normed = self.norm1(x)
        q, k, v = (
            side(normed).view(b, t, self.heads, HEAD).transpose(1, 2)
            for side in (self.query, self.key, self.value)
        )
        mixed = attend(rotate(q, cos, sin), rotate(k, cos, sin), v)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, d))
        normed = self.norm2(x)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))  # type: ignore[no-any-return]


class Lean(nn.Module):
    def __init__(self, vocab: int, width: int, layers: int) -> None:
        super().__init__()
        self.width, self.layers = width, layers
        self.inner = width * 8 // 3 // 32 * 32
        self.embed = nn.Embedding(vocab, width)
        self.blocks = nn.ModuleList(Layer(width, self.inner) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=EPS)
        self.cos, self.sin = rotary(MAX_LENGTH)
        self.head = nn.Linear(width, vocab, bias=False)
        self._initialize()

    def _initialize(self) -> None:
        """Embeddings of size one and blocks that start as nothing, so that the stream carries the words themselves.

        With small ones (0.03) the first blocks drowned them: after 2 M tokens not even copying was learned. Large
        embeddings cannot be tied to the output, where each word would predict itself.
        """
        for name, p in self.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                nn.init.zeros_(p)
            elif p.ndim == 2:
                nn.init.normal_(
                    p, std=1.0 if name.startswith("embed") else 0.01 if name.startswith("head") else 0.05
                )

    def forward(
        self, ids: Tensor, positions: Tensor, hints: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Logits [P, vocab] at flat positions, and those of the middle layer at the hinted ones.

        Training the middle layer to know the topic at the end of a principle or a prompt puts the topic's own
        embedding there; the upper layers then match like with like. The finished model is a plain Llama.
        """
        x = self.embed(ids)
        dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else x.dtype
        cos, sin = self.cos[: ids.shape[1]].to(dtype), self.sin[: ids.shape[1]].to(dtype)
        middle = None
        for depth, block in enumerate(self.blocks, 1):
            x = block(x, cos, sin)
            if hints is not None and depth == self.layers // 2:
                known = F.rms_norm(x.flatten(0, 1)[hints], (self.width,))
                middle = F.linear(known, self.embed.weight) * self.width**-0.5
        return self.head(self.norm(x.flatten(0, 1)[positions])), middle


def to_llama(lean: Lean, pad: int, end: int) -> Any:
    """The same model as transformers' LlamaForCausalLM."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=lean.embed.num_embeddings,
        hidden_size=lean.width,
        intermediate_size=lean.inner,
        num_hidden_layers=lean.layers,
        num_attention_heads=lean.width // HEAD,
        num_key_value_heads=lean.width // HEAD,
        max_position_embeddings=MAX_LENGTH,
        rms_norm_eps=EPS,
        tie_word_embeddings=False,
        pad_token_id=pad,
        bos_token_id=None,
        eos_token_id=end,
    )
    llama = LlamaForCausalLM(config)
    llama.load_state_dict(_llama_names(lean))
    llama.generation_config.do_sample = False
    llama.generation_config.pad_token_id = pad
    llama.generation_config.eos_token_id = end
    return llama


def _llama_names(lean: Lean) -> dict[str, Tensor]:
    """transformers' names of the lean model's own parameters."""
    named: dict[str, Tensor] = {
        "model.embed_tokens.weight": lean.embed.weight,
        "lm_head.weight": lean.head.weight,
        "model.norm.weight": lean.norm.weight,
    }
    for i, block in enumerate(lean.blocks):
        assert isinstance(block, Layer)
        modules: dict[str, nn.Linear | nn.RMSNorm] = {
            "self_attn.q_proj": block.query,
            "self_attn.k_proj": block.key,
            "self_attn.v_proj": block.value,
            "self_attn.o_proj": block.out,
            "mlp.gate_proj": block.gate,
            "mlp.up_proj": block.up,
            "mlp.down_proj": block.down,
            "input_layernorm": block.norm1,
            "post_attention_layernorm": block.norm2,
        }
        named |= {f"model.layers.{i}.{name}.weight": module.weight for name, module in modules.items()}
    return named


def from_llama(llama: Any) -> Lean:
    """The lean twin of a saved organism, to train it further."""
    lean = Lean(llama.config.vocab_size, llama.config.hidden_size, llama.config.num_hidden_layers)
    state = llama.state_dict()
    with torch.no_grad():
        for name, parameter in _llama_names(lean).items():
            parameter.copy_(state[name])
    return lean
