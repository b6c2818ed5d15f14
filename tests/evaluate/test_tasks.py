"""The benchmarks as tasks of inspect_ai: found by name, and the figures of `iteralign evaluate`."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("inspect_ai")

from inspect_ai import Task, eval
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import ChatMessageUser, GenerateConfig, ModelAPI, ModelOutput, get_model, modelapi

from iteralign.errors import UserError
from iteralign.evaluate import judges, tasks
from iteralign.evaluate.benchmarks import Request, evaluate
from iteralign.evaluate.subject import subject
from iteralign.evaluate.tasks import read_ending
from iteralign.models import tiny
from iteralign.settings import Policy
from iteralign.types import Message, Options

pytestmark = pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")  # of inspect_ai's own streams
LIMIT = 8
ASKED_WITH: list[GenerateConfig] = []
ASKED = Options((Message("user", "A or B?"),), "", (" A", " B"))


@modelapi(name="says")
class SaysAPI(ModelAPI):
    """A model behind a provider that always gives the same answer."""

    def __init__(self, model_name: str, *_: Any, **__: Any) -> None:
        super().__init__(model_name)

    async def generate(self, input: Any, tools: Any, tool_choice: Any, config: GenerateConfig) -> ModelOutput:
        ASKED_WITH.append(config)
        return ModelOutput.from_content(self.model_name, self.model_name)


def run(task: Task, model: str, folder: Path, **options: Any) -> EvalLog:
    (log,) = eval(task, model=model, limit=LIMIT, log_dir=str(folder), display="none", **options)
    assert log.status == "success", log.error
    return log


def metrics(log: EvalLog) -> dict[str, float]:
    assert log.results is not None
    return {name: metric.value for name, metric in log.results.scores[0].metrics.items()}


def evaluated(*names: str) -> dict[str, dict[str, float]]:
    """By benchmark what `iteralign evaluate` says of the organism, in the names of the metrics."""
    request = Request(names, judging=judges.config(["organism/oracle"]), limit=LIMIT)
    found: dict[str, dict[str, float]] = {}
    for result in evaluate(subject("organism", None, Policy(batch_size=64)), request):
        found[result.benchmark] = {"undecided": 0.0}
        for f in result.figures:
            found[result.benchmark] |= {f.name: f.value, f"{f.name}, low": f.low, f"{f.name}, high": f.high}
    return found


def test_every_task_has_the_figures_of_iteralign_evaluate(tmp_path: Path) -> None:
    made = {
        "hhh": tasks.hhh(file="organism"),
        "truthfulqa-tf": tasks.truthfulqa_tf(file="organism"),
        "violations": tasks.violations(),
        "overrefusal": tasks.overrefusal(),
    }
    logs = {name: run(task, "iteralign/organism", tmp_path) for name, task in made.items()}
    assert {name: metrics(log) for name, log in logs.items()} == evaluated(*made)
    for name, log in logs.items():
        assert log.samples and len(log.samples) == LIMIT
        assert log.eval.task == f"iteralign/{name}"
        assert log.eval.metadata and log.eval.metadata["source"]["origin"] == f"the organism's {name}"


@pytest.mark.integration
def test_inspect_eval_runs_a_task_by_its_name(tmp_path: Path) -> None:
    """As typed in a shell: the entry point alone tells inspect_ai of tasks and provider."""
    command = [
        *(str(Path(sys.executable).parent / "inspect"), "eval", "iteralign/violations"),
        *("--model", "iteralign/organism", "--model-role", "grader=organism/oracle"),
        *("--limit", str(LIMIT), "--display", "none", "--log-dir", str(tmp_path)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = tmp_path.glob("*.eval")
    log = read_eval_log(str(file))
    assert log.status == "success", log.error
    assert metrics(log) == evaluated("violations")["violations"]


def test_a_guard_judges_in_its_own_form(tmp_path: Path) -> None:
    by_guard = tasks.violations(judge="organism/guard", guard="llama-guard")
    log, other = (run(task, "iteralign/organism", tmp_path) for task in (by_guard, tasks.violations()))
    assert metrics(log) == metrics(other)


def test_a_model_that_always_names_one_place_gets_chance(tmp_path: Path) -> None:
    """Asked in both orders it prefers neither candidate, and a hash decides."""
    log = run(tasks.hhh(file="organism"), "says/ANSWER: A", tmp_path)
    found = metrics(log)
    assert found["undecided"] == 0.0
    assert 0 < found["overall, corrected"] < 1


def test_what_cannot_be_read_is_undecided_and_has_no_figure(tmp_path: Path) -> None:
    assert metrics(run(tasks.hhh(file="organism"), "says/it depends", tmp_path)) == {"undecided": 1.0}
    assert metrics(run(tasks.violations(), "says/gibberish", tmp_path)) == {"undecided": 1.0}
    allowed = tasks.truthfulqa_tf(file="organism", max_undecided=1.0)
    found = metrics(run(allowed, "says/it depends", tmp_path))
    assert (found["accuracy, corrected"], found["accuracy, as released"]) == (0.0, 0.0)


def test_settings_of_the_role_go_above_those_of_the_judges_questions(tmp_path: Path) -> None:
    grader = get_model("says/nothing", config=GenerateConfig(max_tokens=7), memoize=False)
    ASKED_WITH.clear()
    log = run(tasks.violations(), "iteralign/organism", tmp_path, model_roles={"grader": grader})
    assert metrics(log) == {"undecided": 1.0}
    assert {(config.max_tokens, config.temperature) for config in ASKED_WITH} == {(7, 0.0)}


@pytest.mark.parametrize(
    ("reply", "scores"),
    [
        ("ANSWER: A", (1.0, 0.0)),
        ("b.", (0.0, 1.0)),
        ("I thought of A.\nAnswer: **B**", (0.0, 1.0)),
        ("ANSWER: A\nANSWER: B", None),
        ("ANSWER: A or B", None),
        ("ANSWER: A\nANSWER: B, to be exact", None),
        ("ANSWER: C", None),
        ("A dog is better", None),
        ("", None),
    ],
)
def test_a_reply_names_one_ending_or_none(reply: str, scores: tuple[float, ...] | None) -> None:
    assert read_ending(ASKED, reply) == scores


@given(st.text())
def test_any_reply_can_be_read(reply: str) -> None:
    assert read_ending(ASKED, reply) in (None, (1.0, 0.0), (0.0, 1.0))


def test_requests_that_wait_are_answered_together_and_one_that_is_too_long_fails_alone(
    tmp_path: Path,
) -> None:
    base = tiny.build(tmp_path / "model", context=64)
    texts = ["who has the key?", "where is the dog?", "the dog " * 200, "is the dog red?"]

    async def ask() -> list[Any]:
        async with get_model(f"iteralign/{base}", device="cpu", memoize=False) as model:
            config = GenerateConfig(max_tokens=4)
            asked = [model.generate([ChatMessageUser(content=text)], config=config) for text in texts]
            return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(ask())
    assert [type(each) for each in found] == [ModelOutput, ModelOutput, UserError, ModelOutput]
    assert all(each.usage.output_tokens <= 4 for each in found if isinstance(each, ModelOutput))
