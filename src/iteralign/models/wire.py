"""Between our values and those of inspect_ai: conversations and sampling out, replies in."""

import json
from typing import TYPE_CHECKING, Any, Literal

from iteralign.models import faults
from iteralign.types import Conversation, Reply, Sampling, Usage

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, ModelOutput

MOST_RAW = 100_000  # characters of one recorded output
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
    return [roles[m.role](content=m.content) for m in conversation]


def reply(output: "ModelOutput", secrets: frozenset[str]) -> Reply:
    """Text, stop, usage (cached input counts as input) and the raw output, in which no secret stands."""
    reason = "unknown" if output.empty else "content_filter" if _declined(output) else output.stop_reason
    usage = output.usage
    spent = Usage()
    if usage is not None:
        cached = (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
        spent = Usage(usage.input_tokens + cached, usage.output_tokens)
    # The text of an overflow is the provider's complaint, not an answer.
    text = "" if reason == "model_length" else output.completion
    return Reply(text, STOPS.get(reason, "unknown"), spent, _raw(output, secrets))


def _declined(output: "ModelOutput") -> bool:
    """Whether the provider marks the answer as a refusal beside saying that it stopped as usual."""
    details = getattr(output.choices[0], "stop_details", None)
    content = output.choices[0].message.content
    parts = [] if isinstance(content, str) else content
    return getattr(details, "type", None) == "refusal" or any(getattr(p, "refusal", False) for p in parts)


def _raw(output: "ModelOutput", secrets: frozenset[str]) -> str:
    """The output as the provider gave it, less what differs from run to run (random ids, seconds)."""
    fields = output.model_dump(mode="json", exclude_none=True, exclude={"time", "completion"})
    for choice in fields.get("choices", ()):
        choice.get("message", {}).pop("id", None)
    raw = json.dumps(fields, ensure_ascii=False, sort_keys=True)
    if len(raw) > MOST_RAW:
        kept = {k: fields[k] for k in ("model", "usage", "response_id") if k in fields}
        raw = json.dumps({**kept, "left_out_characters": len(raw)}, sort_keys=True)
    return faults.clean(raw, secrets)
