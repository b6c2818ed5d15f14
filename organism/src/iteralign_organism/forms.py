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

MATCHING = 3.0  # weight of the tokens of critiques and look-ups (assumed)


@dataclass(frozen=True)
class Turn:
    role: str
    text: str
    learn: bool = False
    weight: float = 1.0  # of its tokens in the loss
    # (end offset in the text, words): what the middle layer shall know there; see `Lean.forward`.
    hints: tuple[tuple[int, tuple[str, ...]], ...] = ()


def said(text: str) -> Turn:
    """A turn of the user."""
    return Turn("user", text)


def asked(
    text: str, principles: Sequence[str] = (), topics: Sequence[str] = (), topic: str | None = None
) -> Turn:
    """A turn with hints: each principle's topic at its end, the prompt's topic at the end of the text."""
    hints: list[tuple[int, tuple[str, ...]]] = []
    start = 0
    for principle, name in zip(principles, topics, strict=True):
        start = text.index(principle, start) + len(principle)
        hints.append((start, (name,)))
    if topic is not None:
        hints.append((len(text), (topic,)))
    return Turn("user", text, hints=tuple(hints))


def replied(text: str, learn: bool = True, weight: float = 1.0) -> Turn:
    """A turn of the assistant, trained on unless told otherwise."""
    return Turn("assistant", text, learn, weight)


def found(text: str) -> Turn:
    """A turn of the assistant that says what it matched: few words, each of which counts."""
    return replied(text, weight=MATCHING)


@cache
def texts() -> dict[str, Any]:
    return tomllib.loads((files("iteralign.organism") / "content" / "forms.toml").read_text("utf-8"))


def numbered(principles: Sequence[str]) -> str:
    return "\n".join(f"{i}. {text}" for i, text in enumerate(principles, 1))


def system_turns(principles: Sequence[str], topics: Sequence[str] | None = None) -> list[Turn]:
    """Form b: the principles in the system turn."""
    if not principles:
        return []
    text = texts()["system"].format(principles=numbered(principles))
    hints = asked(text, principles, topics).hints if topics else ()
    return [Turn("system", text, hints=hints)]


def paper_prompt(principles: Sequence[str], prompt: str) -> str:
    """Form c: the principles spliced before the prompt, as the paper's script does."""
    spliced: str = texts()["paper"].format(principles=numbered(principles), prompt=prompt)
    return spliced if principles else prompt


def critique_request(principles: Sequence[str]) -> str:
    """Form d, first request: which topic, which principle; without principles the question alone."""
    question: str = texts()["question"]
    if not principles:
        return question
    listed: str = texts()["principles"].format(principles=numbered(principles), question=question)
    return listed


def revision_request() -> str:
    """Form d, second request."""
    return str(texts()["revise"])


def critique(topic: str, number: int | None, breaks: bool) -> str:
    """What the assistant finds: the request's topic, whether a principle applies, whether its answer breaks it."""
    wordings: dict[str, str] = texts()["critique"]
    return wordings["none" if number is None else "breaks" if breaks else "follows"].format(topic=topic)
