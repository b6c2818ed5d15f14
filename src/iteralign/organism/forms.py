"""The conversation forms in which the organism meets principles: the texts, in one place.

A conversation is a list of turns; `learn` says whether the turn is an assistant's that is trained on.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Turn:
    role: str
    text: str
    learn: bool = False


def said(text: str) -> Turn:
    """A turn of the user."""
    return Turn("user", text)


def replied(text: str, learn: bool = True) -> Turn:
    """A turn of the assistant, trained on unless told otherwise."""
    return Turn("assistant", text, learn)


@cache
def texts() -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "content" / "forms.toml").read_text("utf-8"))


def numbered(principles: Sequence[str]) -> str:
    return "\n".join(f"{i}. {text}" for i, text in enumerate(principles, 1))


def system_turns(principles: Sequence[str]) -> list[Turn]:
    """Form b: the principles in the system turn."""
    return [Turn("system", texts()["system"].format(principles=numbered(principles)))] if principles else []


def paper_prompt(principles: Sequence[str], prompt: str) -> str:
    """Form c: the principles spliced before the prompt, as the paper's script does."""
    return texts()["paper"].format(principles=numbered(principles), prompt=prompt) if principles else prompt


def critique_request(principles: Sequence[str]) -> str:
    """Form d, first request: which topic, which principle; without principles the question alone."""
    question: str = texts()["question"]
    if not principles:
        return question
    return texts()["principles"].format(principles=numbered(principles), question=question)


def revision_request() -> str:
    """Form d, second request."""
    return texts()["revise"]


def critique(topic: str, number: int | None, breaks: bool) -> str:
    """What the assistant finds: the topic, the principle that applies, whether its answer breaks it."""
    said_texts = texts()["critique"]
    if number is None:
        return said_texts["none"].format(topic=topic)
    return said_texts["breaks" if breaks else "follows"].format(topic=topic, number=number)
