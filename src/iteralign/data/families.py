"""Families: which prompts are the same question, so that no question is both trained on and measured with.

A family is decided by its text alone (or by the set's own `family` column), never by its place, so the part
that is held out stays the same however the set is ordered, cut, limited or read.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from iteralign.types import Prompt

DIGITS = 12
"""Hex digits of an id: 48 bits; a collision among 40,000 prompts has a chance of 3 in a million, and is told apart."""


class Parts(NamedTuple):
    """A pool cut by family."""

    attack: tuple[Prompt, ...]
    validation: tuple[Prompt, ...]
    test: tuple[Prompt, ...]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def key(text: str) -> str:
    """What is left of a question when case, blanks of any kind and the marks around it do not count."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.strip(" .,:;!?…\"'") or folded


def prompt(text: str, topic: str = "", about: str = "") -> Prompt:
    """A prompt named by its text; `about` is the question inside it, which decides the family."""
    return Prompt(digest(text), text, digest(key(about or text)), topic)


def unique(prompts: Iterable[Prompt]) -> tuple[Prompt, ...]:
    """The same prompts; an id that was taken gets the first free number behind it (`-2`, `-3`, …)."""
    taken: set[str] = set()
    found: list[Prompt] = []
    counts: dict[str, int] = {}
    for one in prompts:
        name = one.id
        while name in taken:
            counts[one.id] = counts.get(one.id, 1) + 1
            name = f"{one.id}-{counts[one.id]}"
        taken.add(name)
        found.append(one if name == one.id else replace(one, id=name))
    return tuple(found)


def deduplicated(prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """The first prompt of each text, where texts that differ only as `key` says count as one."""
    first: dict[str, Prompt] = {}
    for one in prompts:
        first.setdefault(key(one.text), one)
    return tuple(first.values())


def parted(prompts: Sequence[Prompt], holdout: float) -> Parts:
    """Attack prompts, and the share `holdout` of the families: half to validate, half to test."""
    sides = {p.family: _place(p.family) for p in prompts}
    return Parts(
        tuple(p for p in prompts if sides[p.family] >= holdout),
        tuple(p for p in prompts if sides[p.family] < holdout / 2),
        tuple(p for p in prompts if holdout / 2 <= sides[p.family] < holdout),
    )


def _place(family: str) -> float:
    """A number in [0, 1) that depends on the family alone; another salt than the ids', so they do not correlate."""
    number = hashlib.sha256(f"holdout {family}".encode()).digest()[:6]
    return int.from_bytes(number) / 2**48
