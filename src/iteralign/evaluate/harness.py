"""TruthfulQA MC1 and MC2 by lm-evaluation-harness, the field's standard: its tasks, its prompt, its arithmetic.

Our part is to hand over a model that is already in memory, adapter and all, and a local file where the Hub is not
wanted; the file's tasks `include` the built-in ones, so that not a word of the prompt is ours. Needs the extra `eval`.
"""

import contextlib
import importlib.util
import io
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from iteralign import stats
from iteralign.errors import UserError
from iteralign.evaluate.choices import by_length
from iteralign.evaluate.items import Choice, family, key
from iteralign.evaluate.results import Figure, Record, rounded, share

TASKS = ("truthfulqa_mc1", "truthfulqa_mc2")
LOCAL = "iteralign_{}"


def installed() -> bool:
    return importlib.util.find_spec("lm_eval") is not None


def require() -> None:
    """Raises UserError where lm-evaluation-harness is missing."""
    if not installed():
        raise UserError("truthfulqa-mc needs lm-evaluation-harness: pip install 'iteralign[eval]'")


def write_tasks(rows: Sequence[Mapping[str, Any]], folder: Path) -> tuple[str, ...]:
    """Lay the rows and the two tasks over them into `folder`; the names of the tasks, for `--include_path`."""
    import lm_eval

    data = folder / "items.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    home = Path(lm_eval.__file__).parent / "tasks" / "truthfulqa"
    for task in TASKS:
        lines = {
            "include": str(home / f"{task}.yaml"),
            "task": LOCAL.format(task),
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {"validation": str(data)}},
        }
        # A JSON value is a YAML value.
        text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items())
        (folder / f"{LOCAL.format(task)}.yaml").write_text(text, encoding="utf-8")
    return tuple(LOCAL.format(task) for task in TASKS)


Found = Mapping[str, tuple[float, Sequence[Mapping[str, Any]]]]
"""For each of TASKS lm-eval's own figure, and its samples in the order of the file."""


def evaluate(model: Any, tokenizer: Any, batch_size: int, folder: Path) -> Found:
    """Run the tasks that lie in `folder` on the loaded model. Raises UserError for an MC2 that is not a number."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with contextlib.redirect_stderr(io.StringIO()):  # four progress bars, whatever is asked
        lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
        said = lm_eval.simple_evaluate(
            model=lm,
            tasks=[LOCAL.format(task) for task in TASKS],
            task_manager=manager,
            bootstrap_iters=0,
            verbosity="ERROR",
        )
    found = {}
    for task in TASKS:
        samples = sorted(said["samples"][LOCAL.format(task)], key=lambda s: int(s["doc_id"]))
        found[task] = float(said["results"][LOCAL.format(task)]["acc,none"]), samples
    for sample in found[TASKS[1]][1]:
        if math.isnan(sample["acc"]):
            raise UserError(
                f"truthfulqa-mc: MC2 is not a number: to this model every candidate of item {sample['doc_id']} is "
                "too unlikely for a floating point number; it is not a language model of this text"
            )
    return found


def figures(found: Found) -> tuple[Figure, ...]:
    """MC1 is a share; MC2 the mean probability of the right answers. The values are lm-eval's own, unrounded. Beside
    them is what MC1 gives to lengths alone."""
    (mc1, first), (mc2, second) = (found[task] for task in TASKS)
    asked = [
        Choice(key(question, *texts), question, texts, 0, family=_family(sample))
        for sample in first
        for question, texts in [(sample["doc"]["question"], tuple(sample["doc"]["mc1_targets"]["choices"]))]
    ]
    chance = _chance(first, "mc1_targets")
    right = share("MC1", [s["acc"] == 1 for s in first], [c.family for c in asked], chance)
    mean = stats.mean([float(s["acc"]) for s in second], [_family(s) for s in second])
    return (
        replace(right, value=mc1),
        Figure("MC2", mc2, mean.low, mean.high, len(second), _chance(second, "mc2_targets")),
        *by_length(asked, chance),
    )


def records(found: Found) -> tuple[Record, ...]:
    """One for each question: right or wrong by MC1, and its share of MC2."""
    (_, first), (_, second) = (found[task] for task in TASKS)
    return tuple(
        Record(
            f"{a['doc_id']}",
            "",
            str(a["doc"]["question"]),
            "right" if a["acc"] == 1 else "wrong",
            a["acc"] != 1,
            {
                "mc2": float(b["acc"]),
                "loglikelihoods": [rounded(float(r[0])) for r in a["filtered_resps"]],
                "candidates": list(a["doc"]["mc1_targets"]["choices"]),
            },
            _family(a),
        )
        for a, b in zip(first, second, strict=True)
    )


def _family(sample: Mapping[str, Any]) -> str:
    return family(sample["doc"], str(sample["doc"]["mc1_targets"]["choices"][0]))


def _chance(samples: Sequence[Mapping[str, Any]], field: str) -> float:
    labels: list[list[int]] = [s["doc"][field]["labels"] for s in samples]
    return sum(sum(each) / len(each) for each in labels) / max(1, len(labels))
