"""Red team: the policy answers a batch of attack prompts. R_t = M_t(B_t)."""

from collections.abc import Sequence

from iteralign.protocols import Model, stage
from iteralign.types import Message, Prompt, Response, Sampling


@stage("redteam")
def respond(model: Model, batch: Sequence[Prompt], sampling: Sampling) -> tuple[Response, ...]:
    """One response to each prompt, in order; the prompt stands alone, without system turn."""
    conversations = [(Message("user", prompt.text),) for prompt in batch]
    replies = model.generate(conversations, sampling)
    return tuple(
        Response(p, reply.text, reply.stop == "length") for p, reply in zip(batch, replies, strict=True)
    )
