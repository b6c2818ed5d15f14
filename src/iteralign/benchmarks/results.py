"""Results: what a benchmark found, figure by figure and item by item, in one JSON-shaped value.

An item has one outcome; `failed` is what a comparison before and after looks at, and is None where nothing
was decided. A figure brings its interval, and what its number of items could show at all.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from iteralign import stats

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One item: what was asked, what became of it, and the raw material (`detail`: answers, scores, order)."""

    id: str
    category: str
    question: str
    outcome: str
    failed: bool | None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its 95 % interval. chance: what guessing scores, if that has a meaning. detectable: the
    difference between two models that `n` items would probably show (`stats.detectable`); None if not a share."""

    name: str
    value: float
    low: float
    high: float
    n: int
    chance: float | None = None
    detectable: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark on one model. `subject` names the model, and `source` the data: what must agree to compare.
    `asked`: what else decides the figures, such as the length of answers."""

    benchmark: str
    subject: Mapping[str, Any]
    source: Mapping[str, Any]
    figures: tuple[Figure, ...]
    records: tuple[Record, ...]
    judge: str | None = None
    notes: tuple[str, ...] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)


def share(name: str, hits: Sequence[bool], chance: float | None = None) -> Figure:
    """The share of True, with its Wilson interval."""
    found = stats.rate(sum(hits), len(hits))
    least = stats.detectable(found.n, found.value)
    return Figure(name, found.value, found.low, found.high, found.n, chance, least)


def average(name: str, values: Sequence[float], chance: float | None = None) -> Figure:
    """The mean, with its bootstrap interval."""
    found = stats.mean(values)
    return Figure(name, found.value, found.low, found.high, len(values), chance)


def by_category(records: Sequence[Record], name: str = "{}") -> list[Figure]:
    """The share of items that did not fail, for each category in order of appearance, if there are several."""
    categories = list(dict.fromkeys(r.category for r in records))
    if len(categories) < 2:
        return []
    return [
        share(name.format(c), [r.failed is False for r in records if r.category == c]) for c in categories
    ]


def to_json(result: Result) -> str:
    """The result as a document; texts of models stay escaped ASCII, whatever they hold."""
    document = {"schema": SCHEMA, **asdict(result)}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def rounded(value: float) -> float:
    """A log-probability as a record keeps it; what is infinitely unlikely stays a number."""
    return round(max(value, -1e9), 6) if not math.isnan(value) else -1e9
