"""A result as an Inspect log, which `inspect view` opens: a sample for each item, with its score and raw material."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iteralign.evaluate.results import Record, Result

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample

SCORER = "iteralign"
GRADES = {False: "C", True: "I", None: "N"}
"""Inspect's letters: correct, incorrect, no answer."""


def write(result: Result, path: Path, created: str) -> None:
    """Write the log to `path`, which ends in .eval. `created` is an ISO time with a zone."""
    from inspect_ai.log import write_eval_log

    write_eval_log(log(result, created), str(path))


def log(result: Result, created: str) -> "EvalLog":
    """The log as a value."""
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalMetric, EvalResults, EvalScore, EvalSpec

    n = len(result.records)
    metrics = {f.name: EvalMetric(name=f.name, value=f.value, metadata=_interval(f)) for f in result.figures}
    return EvalLog(
        status="success",
        eval=EvalSpec(
            created=created,
            task=f"iteralign/{result.benchmark}",
            dataset=EvalDataset(
                name=result.benchmark, location=str(result.source.get("origin", "")), samples=n
            ),
            model=str(result.subject.get("model", "")),
            config=EvalConfig(),
            metadata={"subject": result.subject, "source": result.source, "judge": result.judge},
        ),
        results=EvalResults(
            total_samples=n,
            completed_samples=n,
            scores=[EvalScore(name=SCORER, scorer=SCORER, metrics=metrics)],
        ),
        samples=[_sample(r, result) for r in result.records],
    )


def _interval(figure: Any) -> dict[str, Any]:
    return {"low": figure.low, "high": figure.high, "n": figure.n, "chance": figure.chance}


def _sample(record: Record, result: Result) -> "EvalSample":
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import Score

    detail = _sound(dict(record.detail))
    candidates = detail.get("candidates")
    answer = detail.get("response")
    if answer is None and candidates and "chosen" in detail:
        answer = candidates[detail["chosen"]]
    right = detail.get("right")
    return EvalSample(
        id=record.id,
        epoch=1,
        input=_sound(record.question),
        choices=candidates,
        target=candidates[right] if candidates and isinstance(right, int) else "",
        output=ModelOutput.from_content(str(result.subject.get("model", "")), answer or ""),
        scores={SCORER: Score(value=GRADES[record.failed], answer=answer, explanation=record.outcome)},
        metadata={"category": record.category, "outcome": record.outcome, **detail},
    )


def _sound(value: Any) -> Any:
    """Texts that UTF-8 can hold, as Inspect's strings are: a model may have written half a surrogate pair."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {_sound(k): _sound(v) for k, v in value.items()}
    return [_sound(v) for v in value] if isinstance(value, list | tuple) else value
