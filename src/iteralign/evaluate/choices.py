"""Choices: questions with candidates, of which one is right; how they are checked, and how scores decide.

Files put the right candidate first, so nothing here may look at the place: equal scores are decided by a hash of
the item and the text. A scorer that is constant, random or bound to places then gets chance. One that is bound to
lengths does not: right and wrong candidates differ in length (`by_length`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iteralign.errors import UserError
from iteralign.evaluate.results import Figure, share

TIE = 1e-6
"""Scores closer than this are equal."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One question. `right` is the place of the right candidate in the file's order. `family`: what it shares with
    others, from the file's field `family`, or what the reader finds to be shared."""

    id: str
    question: str
    candidates: tuple[str, ...]
    right: int
    category: str = ""
    family: str = ""

    @property
    def cluster(self) -> str:
        """What the statistics resample."""
        return self.family or self.id


def text_of(row: Any, names: Sequence[str], where: str) -> str:
    """The text in the first of these fields. Raises UserError: none of them, not a text, or blank."""
    name = next((n for n in names if isinstance(row, Mapping) and n in row), None)
    if name is None:
        has = ", ".join(map(str, row)) if isinstance(row, Mapping) else "no fields"
        raise UserError(f"{where}: no field {' or '.join(map(repr, names))}; it has {has}")
    value = row[name]
    if not isinstance(value, str):
        raise UserError(f"{where}: field {name!r} is not a text but {type(value).__name__}")
    if not value.strip():
        raise UserError(f"{where}: field {name!r} is blank")
    return value.strip()


def targets(value: Any, where: str) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """(candidates, whether each is right) of `{"choices": […], "labels": […]}` or `{text: label}`.

    A candidate that is repeated with the same label counts once, as a wrong answer of the published TruthfulQA.csv
    is (row 437). Raises UserError.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: candidates are not an object but {type(value).__name__}")
    if {"choices", "labels"} <= value.keys():
        texts, labels = list(value["choices"]), list(value["labels"])
    else:
        texts, labels = list(value.keys()), list(value.values())
    if len(texts) != len(labels):
        raise UserError(f"{where}: {len(texts)} candidates but {len(labels)} labels")
    if any(label not in (0, 1) for label in labels):
        raise UserError(f"{where}: labels are 0 or 1")
    pairs = list(zip((t.strip() if isinstance(t, str) else t for t in texts), labels, strict=True))
    pairs = [pair for i, pair in enumerate(pairs) if pair not in pairs[:i]]
    return checked([text for text, _ in pairs], where), tuple(label == 1 for _, label in pairs)


def checked(texts: Sequence[Any], where: str) -> tuple[str, ...]:
    """At least two candidates, none blank, all different. Raises UserError."""
    found = tuple(t.strip() if isinstance(t, str) else "" for t in texts)
    if len(found) < 2:
        raise UserError(f"{where}: {len(found)} candidates; a choice needs at least 2")
    if not all(found):
        raise UserError(f"{where}: candidate {found.index('') + 1} is blank or not a text")
    twice = [i for i, text in enumerate(found, 1) if text in found[: i - 1]]
    if twice:
        raise UserError(f"{where}: candidate {twice[0]} stands there twice")
    return found


def only_right(labels: Sequence[bool], where: str) -> int:
    """The place of the one right candidate. Raises UserError if there is none, or more than one."""
    count = sum(labels)
    if count != 1:
        raise UserError(
            f"{where}: {count or 'no'} right {'answer' if count < 2 else 'answers'}; it takes one"
        )
    return list(labels).index(True)


def unique(choices: Sequence[Choice], name: str) -> tuple[Choice, ...]:
    """All of them, if there are any and each has an id of its own. Raises UserError."""
    if not choices:
        raise UserError(f"{name}: no item in it")
    seen: dict[str, int] = {}
    for number, choice in enumerate(choices, 1):
        if choice.id in seen:
            raise UserError(f"{name}: row {number} repeats row {seen[choice.id]}: the same question twice")
        seen[choice.id] = number
    return tuple(choices)


def key(*texts: str) -> str:
    """An id made of the texts: the same in every copy of a set, whatever its order and format."""
    return hashlib.sha256("\0".join(texts).encode(errors="surrogatepass")).hexdigest()[:16]


def best(choice: Choice, scores: Sequence[float], of: int | None = None) -> int:
    """The place of the highest score among the first `of` candidates (all, if None); ties are decided by hash."""
    places = range(len(scores) if of is None else of)
    top = max(scores[i] for i in places)
    tied = [i for i in places if scores[i] >= top - TIE]
    return min(tied, key=lambda i: key(choice.id, choice.candidates[i]))


def by_length(choices: Sequence[Choice], chance: float) -> tuple[Figure, Figure]:
    """Return what scorers get that know nothing but lengths: the baselines beside a figure, from the data alone."""
    signs = {"the longest candidate": 1.0, "the shortest candidate": -1.0}
    longest, shortest = (
        share(
            name,
            [best(c, [sign * len(text) for text in c.candidates]) == c.right for c in choices],
            [c.cluster for c in choices],
            chance,
        )
        for name, sign in signs.items()
    )
    return longest, shortest


def length_note(figures: Sequence[Figure]) -> str:
    """Return what the two baselines of `by_length`, the last figures of a benchmark, mean for a reader."""
    longest, shortest = figures[-2:]
    return (
        f"knowing only lengths scores {longest.value:.3f} by the longest candidate and {shortest.value:.3f} by the "
        f"shortest, where guessing scores {longest.chance or 0:.3f}: a model bound to lengths scores those, not chance"
    )
