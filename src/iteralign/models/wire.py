"""Between our values and those of inspect_ai: conversations and sampling out, replies in."""

import json
import math
from typing import TYPE_CHECKING, Any, Literal

from iteralign.models.client import MOST_TOKENS
from iteralign.reading import encodable
from iteralign.security.keys import Keys
from iteralign.types import Conversation, Reply, Sampling, Usage

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, ModelOutput

MOST_RAW = 100_000  # characters of one recorded output
FRAME = 16  # tokens around a message that a provider may add (assumed; the known chat formats take 3 to 8)
BYTES_A_TOKEN = (
    3  # for estimates: English has about 4, Chinese about 3 (assumed, so that few texts take more)
)
BYTES_AT_MOST = 64  # of a token: a smaller count is no count (the longest known are runs of blanks or dashes)
STOPS: dict[str, Literal["stop", "length", "refusal"]] = {
    "stop": "stop",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "refusal",
}


def decoding(sampling: Sampling) -> dict[str, Any]:
    """Fields of a GenerateConfig: only what departs from a provider's own default, as some refuse the rest.

    Temperature 0 is no provider's default, so it is always sent; the seed only when something is drawn.
    """
    wanted: dict[str, Any] = {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature}
    if sampling.top_p != 1.0:
        wanted["top_p"] = sampling.top_p
    if sampling.stop:
        wanted["stop_seqs"] = list(sampling.stop)
    if sampling.frequency_penalty:
        wanted["frequency_penalty"] = sampling.frequency_penalty
    if sampling.temperature > 0:
        wanted["seed"] = sampling.seed
    return wanted


def messages(conversation: Conversation) -> "list[ChatMessage]":
    """One chat message a turn."""
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    roles = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    return [roles[m.role](content=encodable(m.content)) for m in conversation]


def sent(conversation: Conversation) -> int:
    """Bytes of a conversation."""
    return sum(len(m.content.encode(errors="surrogatepass")) for m in conversation)


def most(conversation: Conversation, answer: int | None, more: int = 0) -> Usage:
    """Return the most tokens that a call can take: a token is at least a byte of what is sent.

    Args:
        answer: tokens of the answer at most; None is no limit.
        more: bytes that are sent beside the conversation.
    """
    return Usage(
        sent(conversation) + FRAME * (len(conversation) + 1) + more, MOST_TOKENS if answer is None else answer
    )


def estimate(asked: int, answered: int, most: Usage) -> Usage:
    """Tokens of a call by the bytes of its texts, at most `most`."""
    return Usage(
        min(math.ceil(asked / BYTES_A_TOKEN), most.input_tokens),
        min(math.ceil(answered / BYTES_A_TOKEN), most.output_tokens),
        estimated=True,
    )


def reply(output: "ModelOutput", asked: int, most: Usage, keys: Keys) -> Reply:
    """Text, stop, usage (cached input counts as input) and the raw output, in which no key stands.

    Args:
        asked: bytes that were sent.
        most: tokens that the call can take.
    """
    reason = "unknown" if output.empty else "content_filter" if _declined(output) else output.stop_reason
    # The text of an overflow is the provider's complaint, not an answer.
    text = "" if reason == "model_length" else keys.redact(encodable(output.completion))
    said = sum(_size(c.message.content) for c in output.choices)
    return Reply(text, STOPS.get(reason, "unknown"), _usage(output, asked, said, most), _raw(output, keys))


def _size(content: Any) -> int:
    """Bytes of an answer and its reasoning."""
    parts = (
        [content]
        if isinstance(content, str)
        else [str(getattr(p, "text", "") or getattr(p, "reasoning", "")) for p in content]
    )
    return sum(len(part.encode(errors="surrogatepass")) for part in parts)


def _usage(output: "ModelOutput", asked: int, said: int, most: Usage) -> Usage:
    """What the provider counted, where that can be; else an estimate, so that no budget is passed unseen."""
    counted = output.usage
    if counted is None:
        return estimate(asked, said, most)
    read, written = counted.input_tokens_cache_read or 0, counted.input_tokens_cache_write or 0
    tokens = Usage(counted.input_tokens + read + written, counted.output_tokens)
    if not (0 < tokens.input_tokens <= MOST_TOKENS and 0 <= tokens.output_tokens <= MOST_TOKENS):
        return estimate(asked, said, most)
    least = Usage(asked // BYTES_AT_MOST, said // BYTES_AT_MOST)
    few = tokens.input_tokens < least.input_tokens or tokens.output_tokens < least.output_tokens
    if few or (said and not tokens.output_tokens):
        return estimate(asked, said, most)
    if tokens.input_tokens > most.input_tokens or tokens.output_tokens > most.output_tokens:
        return Usage(
            min(tokens.input_tokens, most.input_tokens),
            min(tokens.output_tokens, most.output_tokens),
            estimated=True,
        )
    return tokens


def _declined(output: "ModelOutput") -> bool:
    """Whether the provider marks the answer as a refusal beside saying that it stopped as usual."""
    details = getattr(output.choices[0], "stop_details", None)
    content = output.choices[0].message.content
    parts = [] if isinstance(content, str) else content
    return getattr(details, "type", None) == "refusal" or any(getattr(p, "refusal", False) for p in parts)


def _raw(output: "ModelOutput", keys: Keys) -> str:
    """The output as the provider gave it, less what differs from run to run (random ids, seconds)."""
    fields = keys.scrubbed(
        output.model_dump(mode="json", exclude_none=True, exclude={"time", "completion"}, warnings="none")
    )
    for choice in fields.get("choices", ()):
        choice.get("message", {}).pop("id", None)
    raw = json.dumps(fields, ensure_ascii=False, sort_keys=True)
    if len(raw) > MOST_RAW:
        kept = {k: fields[k] for k in ("model", "usage", "response_id") if k in fields}
        raw = json.dumps({**kept, "left_out_characters": len(raw)}, sort_keys=True)
    return raw
