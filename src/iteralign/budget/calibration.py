"""Calibration: what a call of each kind takes, read from the records of a small run (`run/planner.py`)."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from iteralign import finetune, stats
from iteralign.budget import spending
from iteralign.config.schema import Config
from iteralign.record import calls, journal, replay
from iteralign.record.calls import POLICY, Spent
from iteralign.settings import Method
from iteralign.types import Checkpoint, Example, Label, Rate, Response, Revision, Verdict

ACCEPTED = 0.8
"""Share of failures that become rows, where nothing was really judged (assumed)."""

TRAININGS = {2: 1, 3: 2, 4: 5}
"""Iteration to size of the trainings that are timed alone, in batches of rows. The first pays for what a process loads
once; the other two give the slope."""

TWINS = {
    ("test", "policy"): "metrics", ("test", "meter"): "metrics", ("trials", "policy"): "revisions",
    ("trials", "meter"): "metrics",
}  # fmt: skip
"""Which step asks a role the same: test probes are as validation probes, a trial revises and is measured."""


@dataclass(frozen=True, slots=True)
class Unit:
    """An average call: tokens, bytes of its record, seconds at the settings of the config."""

    input_tokens: float = 0.0
    output_tokens: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TimedTraining:
    """A fine-tuning: seconds whatever it is trained on, seconds a row and epoch, bytes of its checkpoint."""

    overhead_s: float
    row_s: float
    checkpoint_bytes: int


@dataclass(frozen=True)
class Calibration:
    """What a small run found.

    units: (step, role) to its average call. by_topic: share of attack prompts answered harmfully.
    turns: answers of the policy for one revision. accepted: share of the failures that became rows.
    training, timed: None and false where the actors were stubs. asked: what the small run took itself.
    """

    units: Mapping[tuple[str, str], Unit]
    violations: Rate
    by_topic: Mapping[str, float]
    turns: float
    accepted: float
    training: TimedTraining | None = None
    timed: bool = False
    asked: Mapping[str, Spent] = field(default_factory=dict)

    def unit(self, step: str, role: str) -> Unit:
        """That of a step, or of one that asks the same."""
        return self.units.get((step, role), self.units.get((TWINS.get((step, role), step), role), Unit()))

    def completed(self, assumed: "Calibration") -> "Calibration":
        """Take from `assumed` what a run without failures cannot show: proposals, revisions and their gate.

        Such a call takes as long as a first answer or a first verdict.
        """
        missing = {
            (step, role): replace(
                unit, seconds=self.unit("responses" if role == POLICY else "verdicts", role).seconds
            )
            for (step, role), unit in assumed.units.items()
            if (step, role) not in self.units
        }
        return replace(self, units={**missing, **self.units}, turns=self.turns or assumed.turns)


def read(root: Path, config: Config, method: Method, real: bool) -> Calibration:
    """What the small run in `root` took and found. Raises UserError where its records are damaged.

    real: its actors were those of the config, so that times, trainings and verdicts mean something.
    """
    verdicts: tuple[Verdict, ...] = replay.step_value(root, 1, "verdicts", tuple[Verdict, ...]) or ()
    revisions, accepted = _revisions(root, method)
    by_topic: dict[str, list[bool]] = defaultdict(list)
    for verdict in verdicts:
        by_topic[verdict.response.prompt.topic].append(verdict.label is Label.HARMFUL)
    harmful = sum(map(sum, by_topic.values()))
    failures = {r.prompt.id for r in revisions}
    spent, found = _units(root)
    return Calibration(
        units=found,
        violations=stats.rate(harmful, len(verdicts)),
        by_topic={topic: sum(failed) / len(failed) for topic, failed in by_topic.items()},
        turns=spent["revisions", POLICY].calls / len(revisions) if revisions else 0.0,
        accepted=len(accepted) / len(failures) if real and failures else ACCEPTED,
        training=_training(root, config),
        timed=real,
        asked=spending.recorded(root).by_role if real else {},
    )


def rows(root: Path, method: Method) -> tuple[Example, ...]:
    """The rows that the small run could train on: accepted revisions and replayed answers."""
    benign: tuple[Response, ...] = replay.step_value(root, 0, "benign", tuple[Response, ...]) or ()
    _, accepted = _revisions(root, method)
    return (*finetune.rows(accepted), *finetune.keep(benign, method.finetune.cut))


def _revisions(root: Path, method: Method) -> tuple[tuple[Revision, ...], tuple[Revision, ...]]:
    """All of them, and the accepted ones."""
    revisions: tuple[Revision, ...] = replay.step_value(root, 1, "revisions", tuple[Revision, ...]) or ()
    gate: tuple[Verdict, ...] = replay.step_value(root, 1, "gate", tuple[Verdict, ...]) or ()
    return revisions, finetune.accept(revisions, gate, method.gate, method.finetune.cut)


def _units(root: Path) -> tuple[dict[tuple[str, str], Spent], dict[tuple[str, str], Unit]]:
    """(step, role) to all its calls, and to the average one.

    Where several iterations recorded a step, the last one counts. All calls of a step share its time alike: how
    much of it each actor took is not recorded, and every step asks its actors in a fixed proportion.
    """
    steps: dict[str, dict[str, tuple[Spent, int]]] = {}
    at: dict[str, int] = {}
    for t, step, role, path in calls.files(root):
        if at.get(step) != t:
            at[step], steps[step] = t, {}
        steps[step][role] = calls.used([call.reply for call in calls.read(path)]), path.stat().st_size
    steps.pop("test", None)  # it pays for the loading of the policy
    seconds = journal.seconds(root)
    spent = {(step, role): used for step, roles in steps.items() for role, (used, _) in roles.items()}
    units = {}
    for (step, role), used in spent.items():
        together = sum(other.calls for other, _ in steps[step].values())
        units[step, role] = Unit(
            used.input_tokens / used.calls,
            used.output_tokens / used.calls,
            steps[step][role][1] / used.calls,
            seconds[at[step], step] / together,
        )
    return spent, units


def _training(root: Path, config: Config) -> TimedTraining | None:
    found = journal.seconds(root)
    trained: Checkpoint | None = replay.step_value(root, max(TRAININGS), "checkpoint", Checkpoint)
    if trained is None:
        return None
    (small, large), batch = list(TRAININGS)[1:], config.training.batch_size * config.training.epochs
    slow, slower = found[small, "checkpoint"], found[large, "checkpoint"]
    row_s = max(0.0, slower - slow) / ((TRAININGS[large] - TRAININGS[small]) * batch)
    bytes = sum(f.stat().st_size for f in (root / str(trained.path)).rglob("*") if f.is_file())
    return TimedTraining(max(0.0, slow - TRAININGS[small] * batch * row_s), row_s, bytes)
