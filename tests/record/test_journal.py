"""Journal: a step runs once, is replayed for the same inputs, and refused for any other."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from iteralign import finetune, judge, measure, prompts, redteam
from iteralign.errors import UserError
from iteralign.models.scripted import ScriptedModel
from iteralign.protocols import Model
from iteralign.record.artifact import NUMBERS, place
from iteralign.record.calls import read
from iteralign.record.journal import Event, RunJournal, StepReached, timings
from iteralign.types import (
    Checkpoint,
    Example,
    Label,
    Message,
    Probe,
    Prompt,
    Response,
    Revision,
    Sampling,
    Verdict,
)

BATCH = tuple(Prompt(f"q{i}", f"question {i}", topic="theft") for i in range(3))
GREEDY = Sampling()
ORACLE = json.dumps({"label": "harmful", "category": "theft", "reason": "tells how"})


def policy(name: str = "policy-1") -> ScriptedModel:
    return ScriptedModel(name, lambda conversation, _: f"answer to {conversation[-1].content}")


def oracle(name: str = "oracle-1") -> ScriptedModel:
    return ScriptedModel(name, lambda conversation, _: ORACLE)


def never(name: str) -> ScriptedModel:
    """A model that must not be asked."""

    def answer(*_: object) -> str:
        raise AssertionError(f"{name} was asked")

    return ScriptedModel(name, answer)


class Trainer:
    id = "trainer-1"

    def __init__(self) -> None:
        self.trained = 0

    def train(self, start: Checkpoint, examples: Sequence[Example]) -> Checkpoint:
        self.trained += 1
        return Checkpoint(
            f"{start.id}+{len(examples)}", start.base, "iterations/001/50_checkpoint", "adapter"
        )


def test_a_step_runs_once(tmp_path: Path) -> None:
    model = policy()
    first = RunJournal(tmp_path).at(1)("responses", redteam.respond, model, BATCH, GREEDY)
    again = RunJournal(tmp_path).at(1)("responses", redteam.respond, never("policy-1"), BATCH, GREEDY)
    assert first == again == tuple(Response(p, f"answer to {p.text}") for p in BATCH)
    assert len(model.asked) == 3


def test_iterations_are_apart(tmp_path: Path) -> None:
    model = policy()
    journal = RunJournal(tmp_path)
    journal.at(1)("responses", redteam.respond, model, BATCH, GREEDY)
    journal.at(2)("responses", redteam.respond, model, BATCH, GREEDY)
    assert len(model.asked) == 6, "what one iteration asked answers no other"


def test_the_artifact_says_what_it_was_made_of(tmp_path: Path) -> None:
    RunJournal(tmp_path).at(3)("responses", redteam.respond, policy(), BATCH, GREEDY)
    path = tmp_path / "iterations" / "003" / "10_responses.json"
    text = path.read_text(encoding="utf-8")
    artifact = json.loads(text)
    assert artifact["stage"] == "redteam"
    assert artifact["inputs"]["model"] == "policy-1"
    assert {k: len(v) for k, v in artifact["inputs"].items() if k != "model"} == {"batch": 64, "sampling": 64}
    assert artifact["value"][0] == {
        "cut": False,
        "prompt": {"family": "", "id": "q0", "text": "question 0", "topic": "theft"},
        "text": "answer to question 0",
    }
    assert text == json.dumps(artifact, indent=2, sort_keys=True) + "\n"


def test_steps_lie_in_the_order_of_the_method() -> None:
    files = [place(Path("r"), 3, step).relative_to("r").as_posix() for step in NUMBERS]
    assert files == sorted(files)
    assert files[1] == "iterations/003/10_responses.json"
    with pytest.raises(AssertionError, match="unknown step 'answers'"):
        place(Path("r"), 3, "answers")


def test_values_of_every_stage_are_replayed_equal(tmp_path: Path) -> None:
    P, Q = prompts.load("improved"), prompts.load("measure")
    probes = tuple(Probe(p, "hazard") for p in BATCH)
    revision = Revision(BATCH[0], "bad", "good", shown=("p-1",))
    trainer = Trainer()

    def steps(model: Model, meter: Model) -> list[object]:
        do = RunJournal(tmp_path).at(1)
        responses = do("responses", redteam.respond, model, BATCH, GREEDY)
        return [
            responses,
            do("verdicts", judge.assess, meter, responses, P),
            do("gate", judge.gate, (meter,), [revision], (P,)),
            do("checkpoint", finetune.sft, trainer, Checkpoint("m", "b"), (revision,), ()),
            do("metrics", measure.probe, model, meter, probes, Q, GREEDY),
        ]

    fresh = steps(policy(), oracle())
    assert steps(never("policy-1"), never("oracle-1")) == fresh
    assert trainer.trained == 1
    assert isinstance(fresh[1], tuple)
    assert fresh[1][0] == Verdict(fresh[0][0], Label.HARMFUL, "theft", "tells how")  # type: ignore[index]


@pytest.mark.parametrize(
    ("parameter", "change"),
    [
        ("model", {"model": policy("policy-2")}),
        ("batch", {"batch": BATCH[:2]}),
        ("batch", {"batch": (replace(BATCH[0], topic="fraud"), *BATCH[1:])}),
        ("sampling", {"sampling": Sampling(seed=1)}),
    ],
)
def test_a_changed_input_is_refused_by_name(
    tmp_path: Path, parameter: str, change: dict[str, object]
) -> None:
    inputs = {"model": policy(), "batch": BATCH, "sampling": GREEDY}
    RunJournal(tmp_path).at(2)("responses", redteam.respond, **inputs)  # type: ignore[arg-type]
    with pytest.raises(UserError) as refused:
        RunJournal(tmp_path).at(2)("responses", redteam.respond, **{**inputs, **change})  # type: ignore[arg-type]
    message = str(refused.value)
    assert message.startswith(f"{tmp_path}/iterations/002/10_responses.json was recorded from other inputs")
    changed = message.partition("changed: ")[2].partition("; start a new run")[0]
    assert changed == (parameter if parameter != "model" else "model ('policy-1' -> 'policy-2')")
    assert f"delete {tmp_path}/iterations/002 and all later iterations" in message


def test_a_changed_prompt_text_is_refused(tmp_path: Path) -> None:
    texts = prompts.load("improved")
    other = replace(texts, texts={**texts.texts, "judge": texts.texts["judge"] + "Think first.\n"})
    responses = (Response(BATCH[0], "text"),)
    RunJournal(tmp_path).at(1)("verdicts", judge.assess, oracle(), responses, texts)
    with pytest.raises(UserError, match="changed: prompts; start"):
        RunJournal(tmp_path).at(1)("verdicts", judge.assess, oracle(), responses, other)


def test_another_stage_is_refused(tmp_path: Path) -> None:
    def respond(model: Model, batch: Sequence[Prompt], sampling: Sampling) -> tuple[Response, ...]:
        return ()

    RunJournal(tmp_path).at(1)("responses", redteam.respond, policy(), BATCH, GREEDY)
    with pytest.raises(UserError, match=r"the stage itself \('redteam' -> "):
        RunJournal(tmp_path).at(1)("responses", respond, policy(), BATCH, GREEDY)


def test_a_new_parameter_is_refused(tmp_path: Path) -> None:
    path = place(tmp_path, 1, "responses")
    RunJournal(tmp_path).at(1)("responses", redteam.respond, policy(), BATCH, GREEDY)
    artifact = json.loads(path.read_text())
    artifact["inputs"]["depth"] = artifact["inputs"].pop("sampling")
    path.write_text(json.dumps(artifact))
    with pytest.raises(UserError, match=r"changed: depth \(removed\); sampling \(added\); start"):
        RunJournal(tmp_path).at(1)("responses", redteam.respond, policy(), BATCH, GREEDY)


def test_deleting_an_iteration_is_the_way_out(tmp_path: Path) -> None:
    RunJournal(tmp_path).at(1)("responses", redteam.respond, policy(), BATCH, GREEDY)
    place(tmp_path, 1, "responses").unlink()
    (tmp_path / "iterations" / "001" / "calls" / "10_responses.model.jsonl").unlink()
    model = policy("policy-2")
    RunJournal(tmp_path).at(1)("responses", redteam.respond, model, BATCH, GREEDY)
    assert len(model.asked) == 3


@pytest.mark.parametrize("text", ["", '{"stage": "s"', "\xff", '{"stage": "s", "inputs": {}}', "[]"])
def test_a_damaged_artifact_is_one_line(tmp_path: Path, text: str) -> None:
    place(tmp_path, 1, "responses").parent.mkdir(parents=True)
    place(tmp_path, 1, "responses").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"10_responses\.json is damaged .*; delete it to do the step again"):
        RunJournal(tmp_path).at(1)("responses", redteam.respond, policy(), BATCH, GREEDY)


def test_a_value_of_another_form_is_damage(tmp_path: Path) -> None:
    RunJournal(tmp_path).at(1)("responses", redteam.respond, policy(), BATCH, GREEDY)
    path = place(tmp_path, 1, "responses")
    artifact = json.loads(path.read_text())
    artifact["value"][0]["text"] = 7
    path.write_text(json.dumps(artifact))
    with pytest.raises(UserError, match=r"is damaged \(its value is not the one that was recorded\)"):
        RunJournal(tmp_path).at(1)("responses", redteam.respond, policy(), BATCH, GREEDY)
    del artifact["sha256"]  # as an older version wrote it
    path.write_text(json.dumps(artifact))
    with pytest.raises(UserError, match=r"is damaged \(value\[0\]\.text: expected str\)"):
        RunJournal(tmp_path).at(1)("responses", redteam.respond, policy(), BATCH, GREEDY)


def test_a_stage_that_returns_something_else_is_a_bug_and_leaves_nothing(tmp_path: Path) -> None:
    def liar(batch: Sequence[Prompt]) -> tuple[Response, ...]:
        return batch  # type: ignore[return-value]

    with pytest.raises(ValueError, match=r"value\[0\]: expected no keys but prompt, text"):
        RunJournal(tmp_path).at(1)("responses", liar, BATCH)
    assert not place(tmp_path, 1, "responses").exists()


def test_a_stage_that_does_not_say_what_it_returns_is_a_bug(tmp_path: Path) -> None:
    def silent(batch):  # type: ignore[no-untyped-def]
        return batch

    with pytest.raises(AssertionError, match="does not say what it returns"):
        RunJournal(tmp_path).at(1)("responses", silent, BATCH)


def test_a_fresh_value_is_as_a_replayed_one(tmp_path: Path) -> None:
    """A list where a tuple is promised must not make a resumed run differ from a fresh one."""

    def listing(names: Sequence[str]) -> tuple[str, ...]:
        return list(names)  # type: ignore[return-value]

    fresh = RunJournal(tmp_path).at(1)("benign", listing, ["b", "a"])
    assert fresh == RunJournal(tmp_path).at(1)("benign", listing, ("b", "a")) == ("b", "a")


def test_partial_stages_defaults_and_keywords(tmp_path: Path) -> None:
    def stage(model: Model, prompt: str, sampling: Sampling = GREEDY, *, times: int = 1) -> str:
        conversations = [(Message("user", prompt),)] * times
        return " | ".join(reply.text for reply in model.generate(conversations, sampling))

    twice = partial(stage, times=2)
    model = policy()
    assert RunJournal(tmp_path).at(1)("benign", twice, model, prompt="x") == "answer to x | answer to x"
    assert RunJournal(tmp_path).at(1)("benign", stage, never("policy-1"), "x", GREEDY, times=2) == (
        "answer to x | answer to x"
    )
    with pytest.raises(UserError, match="changed: times; start"):
        RunJournal(tmp_path).at(1)("benign", stage, model, "x")


def test_the_owner_of_a_method_is_an_input(tmp_path: Path) -> None:
    trainer = Trainer()
    start = Checkpoint("m", "b")
    RunJournal(tmp_path).at(1)("checkpoint", trainer.train, start, ())
    trainer.id = "trainer-2"
    with pytest.raises(UserError, match=r"changed: self \('trainer-1' -> 'trainer-2'\)"):
        RunJournal(tmp_path).at(1)("checkpoint", trainer.train, start, ())


def test_models_are_known_by_the_parameter_they_stand_in(tmp_path: Path) -> None:
    probes = tuple(Probe(p, kind) for p, kind in zip(BATCH, ("hazard", "benign", "fact"), strict=True))
    RunJournal(tmp_path).at(0)(
        "metrics", measure.probe, policy(), oracle(), probes, prompts.load("measure"), GREEDY
    )
    folder = tmp_path / "iterations" / "000" / "calls"
    assert sorted(p.name for p in folder.iterdir()) == ["60_metrics.meter.jsonl", "60_metrics.model.jsonl"]
    assert {c.question.model for c in read(folder / "60_metrics.meter.jsonl")} == {"oracle-1"}


def test_events_tell_what_goes_on(tmp_path: Path) -> None:
    events: list[Event] = []
    journal = RunJournal(tmp_path, events.append)
    journal.progress(1, 2)
    journal.at(1)("responses", redteam.respond, policy(), BATCH[:2], GREEDY)
    RunJournal(tmp_path, events.append).at(1)("responses", redteam.respond, policy(), BATCH[:2], GREEDY)
    assert [(e.kind, e.done, e.total, e.detail) for e in events] == [
        ("started", 0, None, ""),
        ("advanced", 0, 2, "model"),
        ("advanced", 1, 2, "model"),
        ("advanced", 2, 2, "model"),
        ("finished", 2, 2, ""),
        ("replayed", 0, 0, ""),
    ]
    assert {(e.t, e.step) for e in events} == {(1, "responses")}


def test_a_trainer_tells_its_progress_through_the_journal(tmp_path: Path) -> None:
    events: list[Event] = []
    journal = RunJournal(tmp_path, events.append)

    def train(rows: int) -> str:
        journal.progress(1, rows, "epoch 1")
        return "done"

    journal.at(2)("checkpoint", train, 5)
    assert Event("advanced", 2, "checkpoint", 1, 5, "epoch 1") in events


def test_a_run_can_end_after_one_step(tmp_path: Path) -> None:
    def run() -> None:
        do = RunJournal(tmp_path, stop_after=(1, "verdicts")).at(1)
        responses = do("responses", redteam.respond, policy(), BATCH, GREEDY)
        do("verdicts", judge.assess, oracle(), responses, prompts.load("improved"))

    for _ in ("done", "replayed"):
        with pytest.raises(StepReached) as reached:
            run()
        assert (reached.value.t, reached.value.step) == (1, "verdicts")
        assert [v.label for v in reached.value.value] == [Label.HARMFUL] * 3


def test_timings_say_what_was_done_and_what_it_took(tmp_path: Path) -> None:
    for _ in range(2):
        RunJournal(tmp_path).at(1)("responses", redteam.respond, policy(), BATCH, GREEDY)
    done, replay = timings(tmp_path)
    assert (done.t, done.step, done.replayed, replay.replayed) == (1, "responses", False, True)
    assert done.models["policy-1"].calls == 3
    assert done.models["policy-1"].input_tokens == 6
    assert replay.models == {}
