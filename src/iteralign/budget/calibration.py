"""Calibration: one small iteration, to see what a call of each kind takes.

The stages themselves run on a sample of the real material, so the prompts are the real ones. With the
actors of the config this is the calibration; with stand-ins (standins.py) nothing is loaded or asked, and
what the models would say is assumed.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from typing import TypeVar

from iteralign import finetune, judge, measure, propose, redteam, revise, stats
from iteralign.budget import prices
from iteralign.budget.spending import added
from iteralign.config.schema import Config
from iteralign.protocols import Lab, Model, OnReplies, unheard
from iteralign.record.calls import Call, Question, Spent, used
from iteralign.record.codec import line
from iteralign.settings import Method
from iteralign.types import (
    Checkpoint,
    Constitution,
    Conversation,
    Example,
    Label,
    Material,
    Principle,
    Rate,
    Reply,
    Response,
    Revision,
    Sampling,
    Verdict,
)

T = TypeVar("T")
MOST = 256  # prompts of a sample: as many as one batch of the policy, but not more than this
ACCEPTED = 0.8  # share of failures that become rows, where nothing was really judged (assumed)
PRETENDED = 4  # failures that a calibration pretends where it found none, so that what follows has a size

TWINS = {
    ("test", "policy"): "metrics", ("test", "meter"): "metrics", ("metrics", "policy"): "test",
    ("metrics", "meter"): "test", ("benign", "policy"): "responses", ("trials", "policy"): "revisions",
    ("trials", "meter"): "metrics",
}  # fmt: skip
"""Which step asks a role the same: test probes are as validation probes, a trial revises and is measured."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Unit:
    """An average call: tokens, bytes of its record, seconds at the settings of the config."""

    input_tokens: float = 0.0
    output_tokens: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Training:
    """A fine-tuning: seconds whatever it is trained on, seconds a row and epoch, bytes of its checkpoint."""

    overhead_s: float
    row_s: float
    checkpoint_bytes: int


@dataclass(frozen=True)
class Calibration:
    """What a calibration found.

    units: (step, role) to its average call. by_topic: share of attack prompts answered harmfully.
    turns: answers of the policy for one revision. accepted: share of the failures that became rows.
    training, timed: None and false where nothing was really run. asked: what it took itself.
    """

    units: Mapping[tuple[str, str], Unit]
    violations: Rate
    by_topic: Mapping[str, float]
    turns: float
    accepted: float
    training: Training | None = None
    timed: bool = False
    asked: Mapping[str, Spent] = field(default_factory=dict)

    def unit(self, step: str, role: str) -> Unit:
        """That of a step, or of one that asks the same."""
        return self.units.get((step, role), self.units.get((TWINS.get((step, role), step), role), Unit()))


class Noted:
    """A model whose calls are noted: what they take, under the step at work."""

    def __init__(self, model: Model, role: str, notes: "Notes") -> None:
        self._model, self._role, self._notes = model, role, notes

    @property
    def id(self) -> str:
        return self._model.id

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling, on_replies: OnReplies = unheard
    ) -> list[Reply]:
        began = self._notes.clock()
        replies = self._model.generate(conversations, sampling, on_replies)
        seconds = self._notes.clock() - began
        calls = [
            Call(Question(self.id, tuple(c), sampling), r)
            for c, r in zip(conversations, replies, strict=True)
        ]
        self._notes.take(self._role, calls, seconds)
        return replies


class Notes:
    """What was noted so far; `step` is set by whoever runs the stages."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.step = ""
        self.spent: dict[tuple[str, str], Spent] = defaultdict(Spent)
        self._bytes: dict[tuple[str, str], int] = defaultdict(int)
        self._seconds: dict[tuple[str, str], float] = defaultdict(float)

    def take(self, role: str, calls: Sequence[Call], seconds: float) -> None:
        key = self.step, role
        self.spent[key] += used([call.reply for call in calls])
        self._bytes[key] += sum(len(line(call).encode(errors="surrogatepass")) for call in calls)
        self._seconds[key] += seconds

    def units(self) -> dict[tuple[str, str], Unit]:
        return {
            key: Unit(
                s.input_tokens / s.calls, s.output_tokens / s.calls, self._bytes[key] / s.calls,
                self._seconds[key] / s.calls,
            )
            for key, s in self.spent.items()
            if s.calls
        }  # fmt: skip

    def asked(self) -> dict[str, Spent]:
        """What the roles of the oracle were asked."""
        sums: dict[str, Spent] = defaultdict(Spent)
        for (_, role), spent in self.spent.items():
            if role != "policy":
                sums[role] += spent
        return dict(sums)


@dataclass(frozen=True)
class Stage:
    """A calibration at work. `real`: the actors are those of the config, and training is tried too."""

    config: Config
    method: Method
    material: Material
    lab: Lab
    root: Path
    real: bool
    tell: Tell = lambda _: None
    notes: Notes = field(default_factory=Notes)
    started: Notes = field(default_factory=Notes)
    """Calls that only start what is behind them."""

    def run(self, policy: Checkpoint) -> Calibration:
        """One small iteration. Raises what its actors raise."""
        size, sampling = sample_size(self.config), self.method.sampling
        attack = spaced([p for batch in self.material.batches for p in batch], size)
        with self.lab.serve(policy) as served:
            if self.real and attack:
                self.tell("loading the policy")
                redteam.respond(served, attack[:1], sampling)
            model = Noted(served, "policy", self.notes)
            self._at("responses")
            verdicts = self._judged(redteam.respond(model, attack, sampling))
            failures = judge.harmful(verdicts) or pretended(verdicts)
            law = self._law(failures)
            self._at("revisions")
            revisions = revise.respond(
                model, failures[: max(1, size // 2)], law, self.method.prompts, self.method.revise, sampling
            )
            self._measure(model, size)
            self._at("benign")
            safe = redteam.respond(model, spaced(self.material.benign, size), sampling)
            replayed = finetune.keep(safe, self.method.finetune.cut)
        accepted = self._accepted(revisions)
        training = self._train(policy, (*finetune.rows(accepted), *replayed)) if self.real else None
        return self._found(verdicts, revisions, accepted, training)

    def _judged(self, responses: Sequence[Response]) -> tuple[Verdict, ...]:
        if self.real:  # the first call to a provider pays for its start
            judge.convene(self._judges(self.started), responses[:1], self.method.judges)
        self._at("verdicts")
        return judge.convene(self._judges(self.notes), responses, self.method.judges)

    def _judges(self, notes: Notes) -> tuple[Noted, ...]:
        roles = prices.judges(self.config)
        return tuple(Noted(m, role, notes) for m, role in zip(self.lab.judges, roles, strict=True))

    def _law(self, failures: Sequence[Verdict]) -> Constitution:
        """Proposed for as many failures at once as a batch would have, below a constitution half grown."""
        self._at("proposals")
        settings, proposer = self.method.propose, Noted(self.lab.proposer, "proposer", self.notes)
        batches = self.material.batches
        wanted = settings.examples or round(sum(map(len, batches)) / max(1, len(batches)))
        many = [v for _, members in propose.group(failures, settings) for v in islice(cycle(members), wanted)]
        current = Constitution(tuple(Principle(str(i), PRINCIPLE) for i in range(len(batches) // 2)))
        law = propose.propose(proposer, many, current, self.method.prompts, settings, 1).constitution
        new = tuple(p for p in law.principles if p not in current.principles)
        return Constitution(new or current.principles[:1])

    def _measure(self, model: Model, size: int) -> None:
        self._at("metrics")
        meter = Noted(self.lab.meter, "meter", self.notes)
        probes = spaced(self.material.probes, size)
        measure.probe(model, meter, probes, self.method.measure, self.method.sampling)

    def _accepted(self, revisions: Sequence[Revision]) -> tuple[Revision, ...]:
        self._at("gate")
        verdicts = judge.gate(self._judges(self.notes), revisions, self.method.judges)
        return finetune.accept(revisions, verdicts, self.method.gate, self.method.finetune.cut)

    def _train(self, policy: Checkpoint, rows: Sequence[Example]) -> Training | None:
        """Twice, as the first time pays for what is loaded once in a process; then more rows, for the slope."""
        if not rows:
            return None
        self._at("checkpoint")
        step, clock = self.config.training.batch_size, self.notes.clock
        sizes, seconds = [n * step for n in (1, 2, 5)], []
        for size in sizes:
            began = clock()
            trained = self.lab.trainer.train(policy, tuple(islice(cycle(rows), size)))
            seconds.append(clock() - began)
        epochs = self.config.training.epochs
        row_s = max(0.0, seconds[2] - seconds[1]) / ((sizes[2] - sizes[1]) * epochs)
        bytes = sum(f.stat().st_size for f in (self.root / str(trained.path)).rglob("*") if f.is_file())
        return Training(max(0.0, seconds[1] - sizes[1] * epochs * row_s), row_s, bytes)

    def _found(
        self,
        verdicts: Sequence[Verdict],
        revisions: Sequence[Revision],
        accepted: Sequence[Revision],
        training: Training | None,
    ) -> Calibration:
        harmful = [v.label is Label.HARMFUL for v in verdicts]
        by_topic: dict[str, list[bool]] = defaultdict(list)
        for verdict, failed in zip(verdicts, harmful, strict=True):
            by_topic[verdict.response.prompt.topic].append(failed)
        spent = self.notes.spent.get(("revisions", "policy"), Spent())
        failures = {r.prompt.id for r in revisions}
        return Calibration(
            units=self.notes.units(),
            violations=stats.rate(sum(harmful), len(harmful)),
            by_topic={topic: sum(found) / len(found) for topic, found in by_topic.items()},
            turns=spent.calls / len(revisions) if revisions else 0.0,
            accepted=len(accepted) / len(failures) if self.real and failures else ACCEPTED,
            training=training,
            timed=self.real,
            asked=added(self.notes.asked(), self.started.asked()) if self.real else {},
        )

    def _at(self, step: str) -> None:
        self.notes.step = step
        self.tell(step)


PRINCIPLE = (
    "If a request asks for help that would hurt people, the assistant must decline and say briefly what "
    "would be safe instead."
)
"""Stands for one that was adopted earlier: one sentence, as the proposer is told (its length is assumed)."""


def sample_size(config: Config) -> int:
    """Full batches, as the time of an answer depends on how many are computed together."""
    return min(MOST, max(32, config.policy.batch_size, config.oracle.max_connections))


def spaced(items: Sequence[T], n: int) -> tuple[T, ...]:
    """Up to `n` of the items, evenly spaced, so that every part of an ordered list is met."""
    if len(items) <= n:
        return tuple(items)
    return tuple(items[i * len(items) // n] for i in range(n))


def pretended(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """The first answers, as if they had failed."""
    return tuple(
        replace(v, label=Label.HARMFUL, category="harm", reason="It helps to hurt somebody.")
        for v in verdicts[:PRETENDED]
    )
