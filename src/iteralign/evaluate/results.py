"""Results: what a benchmark found, figure by figure and item by item; and how it is kept.

An item has one outcome; `failed` is what a comparison before and after looks at, and is None where nothing
was decided. A figure brings its interval, and what its number of items could show at all. Each result is kept as one
JSON document and as one Inspect log, which `inspect view` opens.
"""

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from iteralign import stats
from iteralign.errors import UserError
from iteralign.record.codec import decode
from iteralign.record.disk import disk, write_whole
from iteralign.security import documents

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog
    from inspect_ai.scorer import Score

SCHEMA = 1
LOGS = "logs"
SCORER = "iteralign"
GRADES = {False: "C", True: "I", None: "N"}
"""Inspect's letters: correct, incorrect, no answer."""


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


def rounded(value: float) -> float:
    """A log-probability as a record keeps it; what is infinitely unlikely stays a number."""
    return round(max(value, -1e9), 6) if not math.isnan(value) else -1e9


def to_json(result: Result) -> str:
    """The result as a document; texts of models stay escaped ASCII, whatever they hold."""
    document = {"schema": SCHEMA, **asdict(result)}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def keep(result: Result, out: Path) -> None:
    """Write OUT/NAME.json and OUT/logs/NAME.eval. Raises WorldError where the disk refuses."""
    from inspect_ai.log import write_eval_log

    with disk(out):
        (out / LOGS).mkdir(parents=True, exist_ok=True)
        write_whole(out / f"{result.benchmark}.json", to_json(result))
        created = datetime.now(UTC).isoformat(timespec="seconds")
        write_eval_log(log(result, created), str(out / LOGS / f"{result.benchmark}.eval"))


def found(out: Path, names: Sequence[str]) -> dict[str, Result]:
    """Those of these benchmarks that are finished in `out`. Raises UserError where one is damaged."""
    files = [out / f"{name}.json" for name in names]
    return {name: result for file in files if file.is_file() for name, result in kept(file).items()}


def kept(place: Path) -> dict[str, Result]:
    """The results in a folder, or in one file, by benchmark. Raises UserError."""
    files = [place] if place.is_file() else sorted(place.glob("*.json"))
    results = list(map(read, files))
    if not results:
        raise UserError(f"{place}: no result of iteralign evaluate in it")
    return {result.benchmark: result for result in results}


def read(file: Path) -> Result:
    """The result in the document that `keep` wrote. Raises UserError."""
    try:
        value = decode(dict[str, Any], documents.read_json(file))
        if value.pop("schema", None) != SCHEMA:
            raise ValueError("another schema")
        return cast(Result, decode(Result, value, "result"))
    except ValueError as error:
        raise UserError(f"{file}: not a result of iteralign evaluate ({error})") from None


def log(result: Result, created: str) -> "EvalLog":
    """The result as an Inspect log: a sample for each item, with its score and raw material.

    `created` is an ISO time with a zone.
    """
    from inspect_ai.log import (
        EvalConfig,
        EvalDataset,
        EvalLog,
        EvalMetric,
        EvalResults,
        EvalSample,
        EvalScore,
        EvalSpec,
    )
    from inspect_ai.model import ModelOutput

    n, model = len(result.records), str(result.subject.get("model", ""))
    metrics = {}
    for f in result.figures:
        interval = {"low": f.low, "high": f.high, "n": f.n, "chance": f.chance}
        metrics[f.name] = EvalMetric(name=f.name, value=f.value, metadata=interval)
    samples = []
    for record in result.records:
        grade, detail = score(record), sound(dict(record.detail))
        candidates, right = detail.get("candidates"), detail.get("right")
        samples.append(
            EvalSample(
                id=record.id,
                epoch=1,
                input=sound(record.question),
                choices=candidates,
                target=candidates[right] if candidates and isinstance(right, int) else "",
                output=ModelOutput.from_content(model, grade.answer or ""),
                scores={SCORER: grade},
                metadata={"category": record.category, "outcome": record.outcome, **detail},
            )
        )
    return EvalLog(
        status="success",
        eval=EvalSpec(
            created=created,
            task=f"iteralign/{result.benchmark}",
            dataset=EvalDataset(
                name=result.benchmark, location=str(result.source.get("origin", "")), samples=n
            ),
            model=model,
            config=EvalConfig(),
            metadata={"subject": result.subject, "source": result.source, "judge": result.judge},
        ),
        results=EvalResults(
            total_samples=n,
            completed_samples=n,
            scores=[EvalScore(name=SCORER, scorer=SCORER, metrics=metrics)],
        ),
        samples=samples,
    )


def score(record: Record) -> "Score":
    """The record as Inspect scores a sample: the letter, what the model answered or chose, and the outcome."""
    from inspect_ai.scorer import Score

    answer, chosen = record.detail.get("response"), record.detail.get("chosen")
    if answer is None and chosen is not None:
        answer = record.detail["candidates"][chosen]
    return Score(value=GRADES[record.failed], answer=sound(answer), explanation=record.outcome)


def sound(value: Any) -> Any:
    """Texts that UTF-8 can hold, as Inspect's strings are: a model may have written half a surrogate pair."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {sound(k): sound(v) for k, v in value.items()}
    return [sound(v) for v in value] if isinstance(value, list | tuple) else value
