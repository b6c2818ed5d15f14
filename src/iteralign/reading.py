"""Readers of oracle replies: total functions from free text to values; what cannot be read is None."""

import json
from collections.abc import Mapping
from typing import Any

from iteralign.types import Reply

_DECODER = json.JSONDecoder()


def said(reply: Reply) -> str:
    """The text of a reply; nothing where the oracle declined, so that a refusal is never read as an answer."""
    return "" if reply.stop == "refusal" else reply.text


def last_object(text: str) -> Mapping[str, Any] | None:
    """The last top-level JSON object in `text`, whatever stands around it; None if there is none.

    The last, because a model that reasons aloud repeats the form before it fills it in.
    """
    found: Mapping[str, Any] | None = None
    at = text.find("{")
    while at >= 0:
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            found = value
        at = text.find("{", end)
    return found


def one_line(value: Any, limit: int = 300) -> str:
    """A text field of a reply as one bounded line; anything that is not text is empty."""
    return " ".join(value.split())[:limit] if isinstance(value, str) else ""


def last_paragraph(text: str) -> str:
    """What the released code keeps of a proposal: the part after the last blank line."""
    return text.strip().split("\n\n")[-1].strip()
