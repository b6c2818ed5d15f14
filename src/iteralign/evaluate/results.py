"""Results: what a benchmark found, figure by figure and item by item, in one JSON-shaped value.

An item has one outcome; `failed` is what a comparison before and after looks at, and is None where nothing
was decided. A figure brings its interval, and what its number of items could show at all.
"""

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from iteralign import stats

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One item: what was asked, what became of it, and the raw material (`detail`: answers, scores, order).

    family: what it shares with other items (a fact, a template); "" where it shares nothing.
    """

    id: str
    category: str
    question: str
    outcome: str
    failed: bool | None
    detail: Mapping[str, Any] = field(default_factory=dict)
    family: str = ""

    @property
    def cluster(self) -> str:
        """What the statistics resample."""
        return self.family or self.id


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


def share(
    name: str, hits: Sequence[bool], clusters: Sequence[Hashable] | None = None, chance: float | None = None
) -> Figure:
    """Return the share of True with its interval. The difference that it could show counts clusters, not items."""
    found = stats.share(hits, clusters)
    independent = len(set(clusters)) if clusters is not None else len(hits)
    least = stats.detectable(independent, found.value)
    return Figure(name, found.value, found.low, found.high, len(hits), chance, least)


def counted(
    name: str, records: Sequence[Record], hit: Callable[[Record], bool], chance: float | None = None
) -> Figure:
    """Return the share of records that `hit` holds for, by their clusters."""
    return share(name, [hit(r) for r in records], [r.cluster for r in records], chance)


def right(record: Record) -> bool:
    return record.failed is False


def by_category(records: Sequence[Record]) -> list[Figure]:
    """Return the share of items that did not fail, for each category in order of appearance, if there are several."""
    categories = list(dict.fromkeys(r.category for r in records))
    if len(categories) < 2:
        return []
    return [counted(c, [r for r in records if r.category == c], right) for c in categories]


def to_json(result: Result) -> str:
    """The result as a document; texts of models stay escaped ASCII, whatever they hold."""
    document = {"schema": SCHEMA, **asdict(result)}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def rounded(value: float) -> float:
    """A log-probability as a record keeps it; what is infinitely unlikely stays a number."""
    return round(max(value, -1e9), 6) if not math.isnan(value) else -1e9
