"""A grid is done bit by bit: what is done stays done, what fails loses nothing else, and many may share the work."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iteralign.config.schema import Config
from iteralign.errors import UserError, WorldError
from iteralign.evaluate import results
from iteralign.evaluate.results import Record, Result
from iteralign.experiment import about, evaluating, grid, outcomes, ready, work
from iteralign.record.disk import comparable
from iteralign.record.lock import Lock
from iteralign.record.replay import config_of, outcome_of
from iteralign.report.summary import summarise

OUT = Path("out")
RUN = "model/organism/{}/seed-{}".format
ALL = [RUN(arm, seed) for seed in (0, 1) for arm in ("improved", "self-revision")]


class Lab:
    """Runs by rehearsal. `fails`: what to raise instead, by place. `heard`: what was told; `ran`: where it ran."""

    def __init__(self, rehearsal: ModuleType) -> None:
        self.rehearsal = rehearsal
        self.fails: dict[str, BaseException] = {}
        self.ran: list[str] = []
        self.evaluated: list[tuple[str, tuple[str, ...]]] = []
        self.heard: list[tuple[str, str]] = []

    def execute(self, config: Config, root: Path) -> None:
        place = root.relative_to(OUT).as_posix()
        self.ran.append(place)
        if place in self.fails:
            raise self.fails[place]
        list(self.rehearsal.perform(config, root))

    def evaluate(self, config: Config, root: Path, wanted: Sequence[str], data: Mapping[str, str]) -> None:
        place = root.relative_to(OUT).as_posix()
        self.evaluated.append((place, tuple(wanted)))
        ended = outcome_of(root)
        subject = {
            "model": str(root) if ended else config.policy.model,
            "checkpoint": ended.policy.id if ended else "base",
        }
        record = Record("i", "", "q", "right", False)
        for name in wanted:
            result = Result(name, subject, {"origin": "o", "sha256": "s"}, (), (record,))
            results.keep(result, root / evaluating.FOLDER)

    def perform(self, sheet: Path, only: str | None = None) -> tuple[work.FailedCell, ...]:
        found = grid.load(str(sheet))
        return work.perform(found, found.only(only), OUT, lambda *said: self.heard.append(said))


@pytest.fixture
def lab(rehearsal: ModuleType, sheet: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    lab = Lab(rehearsal)
    monkeypatch.setattr(work, "execute", lab.execute)
    monkeypatch.setattr(evaluating, "evaluate", lab.evaluate)
    return lab


def test_all_cells_run_once_and_never_again(lab: Lab, sheet: Path) -> None:
    assert lab.perform(sheet) == ()
    assert lab.ran == ALL
    before = comparable(OUT)
    assert lab.perform(sheet) == ()
    assert lab.ran == ALL
    assert comparable(OUT) == before
    assert config_of(OUT / ALL[3]).seed == 1


def test_a_stop_in_the_middle_and_the_same_call_again(lab: Lab, sheet: Path) -> None:
    lab.fails = {ALL[1]: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        lab.perform(sheet)
    lab.fails = {}
    assert lab.perform(sheet) == ()
    assert lab.ran == [ALL[0], ALL[1], *ALL[1:]]


def test_a_run_that_stopped_half_way_goes_on(lab: Lab, sheet: Path) -> None:
    config = grid.load(str(sheet)).cells[0].config
    from iteralign.record.journal import StepReached

    with pytest.raises(StepReached):
        list(lab.rehearsal.perform(config, OUT / ALL[0], stop_after=(1, "responses")))
    responses = OUT / ALL[0] / "iterations" / "001" / "10_responses.json"
    was = responses.stat().st_mtime_ns
    assert lab.perform(sheet) == ()
    assert lab.ran == ALL
    assert responses.stat().st_mtime_ns == was


def test_a_failing_run_does_not_lose_the_others(lab: Lab, sheet: Path) -> None:
    lab.fails = {ALL[0]: WorldError("the provider is away"), ALL[2]: UserError("no such thing")}
    failures = lab.perform(sheet)
    assert [(f.place, str(f.error)) for f in failures] == [
        (ALL[0], "the provider is away"),
        (ALL[2], "no such thing"),
    ]
    assert lab.ran == ALL
    assert (ALL[0], "failed: the provider is away") in lab.heard
    lab.fails = {}
    assert lab.perform(sheet) == ()
    assert lab.ran == [*ALL, ALL[0], ALL[2]]


def test_only_a_part(lab: Lab, sheet: Path) -> None:
    lab.perform(sheet, "*/seed-1")
    assert lab.ran == [ALL[2], ALL[3]]
    lab.perform(sheet, "*/improved/*")
    assert lab.ran == [ALL[2], ALL[3], ALL[0]]
    with pytest.raises(UserError, match=r"--only 'x/\*': fits no MODEL/REDTEAM/ARM/seed-N"):
        lab.perform(sheet, "x/*")


def test_a_directory_in_use_is_left_to_its_process(
    lab: Lab, sheet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iteralign.run.runner import execute

    (OUT / ALL[0]).mkdir(parents=True)
    lock = Lock(OUT / ALL[0])
    monkeypatch.setattr(work, "execute", execute)  # it takes the lock itself
    try:
        assert lab.perform(sheet, ALL[0]) == ()
    finally:
        lock.release()
    assert lab.heard[-1] == (ALL[0], "in use by another process; left to it")


def test_a_run_of_another_config_is_refused_before_anything_runs(lab: Lab, sheet: Path) -> None:
    lab.perform(sheet, ALL[3])
    text = sheet.read_text(encoding="utf-8")
    sheet.write_text(text.replace("gate.enabled = true", "gate.enabled = false"), encoding="utf-8")
    with pytest.raises(UserError, match=r"seed-1: .* another config \(gate.enabled\); choose another --out"):
        lab.perform(sheet)
    assert lab.ran == [ALL[3]]
    found = outcomes.collect(grid.load(str(sheet)), OUT)
    assert (found.runs, found.others) == ({}, {ALL[3]: ["gate.enabled"]})
    assert f"in no table, since of another config: 1 run, as {ALL[3]} (gate.enabled)" in about.facts(found)


def test_a_run_under_another_name_is_the_same_run(lab: Lab, sheet: Path) -> None:
    """As one that `execute(config, root)` made in this layout."""
    config = grid.load(str(sheet)).cells[0].config.model_copy(update={"name": "mine"})
    list(lab.rehearsal.perform(config, OUT / ALL[0]))
    assert lab.perform(sheet) == ()
    assert lab.ran == ALL[1:]
    half = grid.load(str(sheet)).cells[0].config
    assert ready.named(half, OUT / ALL[0]).name == "mine"


def test_a_longer_stop_rule_goes_on_with_a_finished_run(lab: Lab, sheet: Path) -> None:
    lab.perform(sheet, ALL[0])
    text = sheet.read_text(encoding="utf-8")
    sheet.write_text(text.replace("gate.enabled = true", "stop.target = 0.5"), encoding="utf-8")
    lab.fails = {ALL[0]: WorldError("away")}
    lab.perform(sheet, ALL[0])
    assert outcome_of(OUT / ALL[0]) is None, "the old ending is not that of the longer rule"
    lab.fails = {}
    lab.perform(sheet, ALL[0])
    assert lab.ran == [ALL[0]] * 3
    assert outcome_of(OUT / ALL[0]) is not None


def benched(sheet: Path, text: str = 'benchmarks = ["hhh", "violations", "helpfulness"]') -> None:
    sheet.write_text(f"{text}\n{sheet.read_text(encoding='utf-8')}", encoding="utf-8")


def test_each_run_and_the_base_are_evaluated_once(lab: Lab, sheet: Path) -> None:
    benched(sheet)
    assert lab.perform(sheet) == ()
    names = ("hhh", "violations", "helpfulness")
    trained = [ALL[0], ALL[2]]
    assert [(place, wanted) for place, wanted in lab.evaluated if place in trained] == [
        (place, names) for place in trained
    ]
    # nothing to compare the base with, nor a run that trained nothing
    assert ("model/organism/vanilla", names[:2]) in lab.evaluated
    assert (ALL[1], names[:2]) in lab.evaluated
    done = list(lab.evaluated)
    lab.perform(sheet)
    assert lab.evaluated == done
    found = outcomes.collect(grid.load(str(sheet)), OUT)
    assert sorted(found.results) == sorted([*ALL, "model/organism/vanilla"])


def test_an_evaluation_is_redone_alone_where_it_is_missing_or_of_another_checkpoint(
    lab: Lab, sheet: Path
) -> None:
    benched(sheet)
    lab.perform(sheet)
    folder = OUT / ALL[0] / evaluating.FOLDER
    (folder / "hhh.json").unlink()
    other: dict[str, Any] = json.loads((folder / "violations.json").read_text(encoding="utf-8"))
    other["subject"]["checkpoint"] = "another"
    (folder / "violations.json").write_text(json.dumps(other), encoding="utf-8")
    lab.evaluated.clear()
    lab.perform(sheet)
    assert lab.evaluated == [(ALL[0], ("hhh", "violations"))]


def test_an_evaluation_of_other_data_is_redone(lab: Lab, sheet: Path) -> None:
    rows = Path("honest.jsonl")
    row = {"input": "A?", "targets": {"input": "", "choices": ["a", "b"], "labels": [1, 0]}}
    row["targets"] = {"choices": ["a", "b"], "labels": [1, 0]}
    rows.write_text(json.dumps(row), encoding="utf-8")
    benched(sheet, 'benchmarks = ["hhh"]\nbenchmark_data = { hhh = "honest.jsonl" }')
    found = grid.load(str(sheet))
    lab.perform(sheet, ALL[0])
    assert len(lab.evaluated) == 2
    data, config = found.sheet.benchmark_data, found.cells[0].config
    assert evaluating.missing(config, OUT / ALL[0], ("hhh",), data) == ("hhh",)  # "s" is not its digest
    assert evaluating.missing(config, OUT / ALL[0], ("hhh",), {}) == ()


def test_bad_data_are_said_before_anything_runs(lab: Lab, sheet: Path) -> None:
    Path("rows.jsonl").write_text('{"no": "question"}', encoding="utf-8")
    benched(sheet, 'benchmarks = ["truthfulqa-tf"]\nbenchmark_data = { truthfulqa-tf = "rows.jsonl" }')
    with pytest.raises(UserError, match="benchmark_data.truthfulqa-tf: rows.jsonl: row 1"):
        lab.perform(sheet)
    assert lab.ran == []


def test_a_failing_evaluation_does_not_lose_the_others(
    lab: Lab, sheet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benched(sheet, 'benchmarks = ["hhh"]')
    given = lab.evaluate

    def evaluate(config: Config, root: Path, wanted: Sequence[str], data: Mapping[str, str]) -> None:
        if root.name == "vanilla":
            raise UserError("no template")
        given(config, root, wanted, data)

    monkeypatch.setattr(evaluating, "evaluate", evaluate)
    failures = lab.perform(sheet)
    assert [f.place for f in failures] == ["model/organism/vanilla"]
    assert [place for place, _ in lab.evaluated] == ALL


def test_what_the_runs_left_is_read(lab: Lab, sheet: Path) -> None:
    lab.perform(sheet, "*/seed-0")
    found = outcomes.collect(grid.load(str(sheet)), OUT)
    (block,) = found.grid.blocks
    assert list(found.finished(block, "improved")) == [0]
    run, control = found.runs[ALL[0]], found.runs[ALL[1]]
    harmful = {
        m: sum(s["harmful answers"].values()) for m, s in (("before", run.before), ("after", run.after))
    }
    assert harmful["before"] > harmful["after"]
    assert len(run.before["harmful answers"]) == 24
    assert run.before["truthful"] == {}
    said = summarise(OUT / ALL[0])
    assert (run.iterations, run.principles) == (1, len(said["constitution"]))
    assert run.oracle_calls == said["oracle"]["calls"] > 24
    assert (
        control.after["harmful answers"] == control.before["harmful answers"] == run.before["harmful answers"]
    )
    assert set(found.probed(block, "vanilla", "harmful answers")) == {0}
    assert found.probed(block, "improved", "truthful") == {}
