"""Plan: what a config will ask for, before it asks: calls, tokens, money, time and disk.

A plan multiplies how often a stage asks (known from the config and its material) by what one call takes (read from
the records of a small run, `calibration.py`). How often depends on how many answers fail, and that is not known, so
a plan has three outlooks: low, mid and high.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp

from iteralign.budget import prices, spending
from iteralign.budget.calibration import Calibration, Unit
from iteralign.config.schema import Config
from iteralign.record import artifact
from iteralign.record.calls import POLICY, Spent
from iteralign.types import Material, Probe

ARTIFACTS = 1.1
"""Disk of a run over that of its recorded calls alone (measured on the quickstart: 1.09)."""

UNLABELLED = 4
"""Kinds of harm in a batch whose prompts have no topic (assumed)."""

TRAINER = "trainer"


@dataclass(frozen=True, slots=True)
class Outlook:
    """rate: share of the first answers that fail, in the whole attack. left: how much of it an iteration leaves."""

    name: str
    rate: float
    left: float


@dataclass(frozen=True, slots=True)
class Line:
    """What one step asks of one actor; shares of a call are expected values."""

    t: int
    step: str
    role: str
    calls: float
    unit: Unit
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums: oracle and policy use by role, USD (None where a price is not known), seconds by step (None where not
    calibrated), bytes on disk at once (checkpoints are among them only where calibrated)."""

    by_role: Mapping[str, Spent]
    usd: float | None
    seconds: Mapping[str, float] | None
    bytes: int

    @property
    def oracle(self) -> Spent:
        return sum((used for role, used in self.by_role.items() if role != POLICY), Spent())


@dataclass(frozen=True)
class Plan:
    """The plan of a config: `test` are the probes that only the report sees."""

    config: Config
    material: Material
    test: Sequence[Probe]
    calibration: Calibration

    @property
    def iterations(self) -> int:
        """The longest campaign: all batches, or what the stop rule allows."""
        return min(len(self.material.batches), self.config.stop.max_iterations)

    @property
    def outlooks(self) -> tuple[Outlook, Outlook, Outlook]:
        """low: one iteration closes everything. mid: each halves what is left. high: none closes anything.

        The rate is the measured one, its interval at the ends; without calibration it is assumed.
        """
        found = self.calibration.violations
        low, mid, high = (found.low, found.value, found.high) if self.calibration.timed else ASSUMED
        return Outlook("low", low, 0.0), Outlook("mid", mid, 0.5), Outlook("high", high, 1.0)

    def total(self, outlook: Outlook, iterations: int | None = None) -> Totals:
        """The whole run, were it to take so many iterations; the longest campaign if it is not said."""
        n = self.iterations if iterations is None else min(iterations, len(self.material.batches))
        return self._sum([*self.before(), *self._loop(outlook, n), *self.measured(n, "test", self.test)])

    def iteration(self, outlook: Outlook, t: int) -> Totals:
        """Iteration `t`, from 1, alone."""
        return self._sum([line for line in self._loop(outlook, t) if line.t == t])

    def before(self) -> list[Line]:
        """What is asked before the loop."""
        replay = self.material.benign if self.config.finetune.replay else ()
        return [
            *self.measured(0, "test", self.test),
            *self.measured(0, "metrics", self.material.probes),
            self._line(0, "benign", POLICY, len(replay)),
        ]

    def measured(self, t: int, step: str, probes: Sequence[Probe], more: float = 0.0) -> list[Line]:
        return [self._line(t, step, role, len(probes) + more) for role in (POLICY, "meter")]

    def _loop(self, outlook: Outlook, iterations: int) -> Iterable[Line]:
        earlier, judges, guard = 0.0, tuple(prices.judges(self.config)), self.config.guard
        for t, batch in enumerate(self.material.batches[:iterations], 1):
            failures = self._failures([p.topic for p in batch], outlook, t)
            failed = sum(failures.values())
            revisions = failed * self.config.revise.candidates
            accepted = failed * self.calibration.accepted
            yield self._line(t, "responses", POLICY, len(batch))
            yield from (self._line(t, "verdicts", judge, len(batch)) for judge in judges)
            yield from self._law(t, failures)
            yield self._line(t, "revisions", POLICY, revisions * self.calibration.turns)
            yield from (self._line(t, "gate", judge, revisions) for judge in judges)
            yield self._training(t, accepted, earlier)
            again = earlier + accepted if guard.enabled and guard.reopened is not None else 0.0
            yield from self.measured(t, "metrics", self.material.probes, again)
            earlier += accepted

    def _law(self, t: int, failures: Mapping[str, float]) -> Iterable[Line]:
        """One proposal for each kind of failure, and its trial."""
        groups, source, settings = self._groups(failures), self.config.propose.source, self.config.trial
        yield self._line(t, "proposals", "proposer", groups if source == "oracle" else 0.0)
        if not settings.enabled or source == "given":
            return
        probes = (sum(p.kind == kind for p in self.material.probes) for kind in ("benign", "borderline"))
        safe = sum(map(min, probes, (settings.benign, settings.borderline)))
        tried = sum(min(settings.failures, self._held_back(n)) * _any(n) for n in failures.values())
        revised = 2 * tried + safe * (groups + _any(sum(failures.values())))
        yield self._line(t, "trials", POLICY, revised * self.calibration.turns + safe)
        yield self._line(t, "trials", "meter", revised)

    def _held_back(self, failures: float) -> float:
        """Of so many failures of one kind, those that a proposal is tried on before the limit."""
        shown = min(self.config.propose.examples or failures, failures - failures // 3)
        return failures - shown or failures

    def _failures(self, topics: Sequence[str], outlook: Outlook, t: int) -> dict[str, float]:
        """Failures expected in a batch, by topic: a measured rate differs between topics, an assumed one does not."""
        found, left = self.calibration.violations.value, outlook.left ** (t - 1)
        scale = outlook.rate / found if self.calibration.timed and found else None
        expected: dict[str, float] = defaultdict(float)
        for topic in topics:
            rate = (
                outlook.rate
                if scale is None
                else min(1.0, self.calibration.by_topic.get(topic, found) * scale)
            )
            expected[topic] += rate * left
        return dict(expected)

    def _groups(self, failures: Mapping[str, float]) -> float:
        """Calls to the proposer: one for each kind of harm that is met at all, taken to be the topic."""
        if self.config.propose.grouping == "none":
            return _any(sum(failures.values()))
        if set(failures) == {""}:
            return min(sum(failures.values()), UNLABELLED)
        return sum(map(_any, failures.values()))

    def _training(self, t: int, accepted: float, earlier: float) -> Line:
        found, trained = self.calibration.training, _any(accepted)
        if found is None:
            return Line(t, "checkpoint", TRAINER, trained, Unit(), 0.0 if self.calibration.timed else None)
        replayed = len(self.material.benign) + earlier if self.config.finetune.replay else 0.0
        seconds = found.overhead_s + (accepted + replayed) * self.config.training.epochs * found.row_s
        disk = Unit(bytes=found.checkpoint_bytes)
        return Line(t, "checkpoint", TRAINER, trained, disk, seconds * trained)

    def _line(self, t: int, step: str, role: str, calls: float) -> Line:
        unit = self.calibration.unit(step, role)
        return Line(t, step, role, calls, unit, calls * unit.seconds if self.calibration.timed else None)

    def _sum(self, lines: Sequence[Line]) -> Totals:
        def used(role: str) -> Spent:
            asked = [line for line in lines if line.role == role]
            return Spent(
                round(sum(line.calls for line in asked)),
                round(sum(line.calls * line.unit.input_tokens for line in asked)),
                round(sum(line.calls * line.unit.output_tokens for line in asked)),
            )

        by_role = {role: used(role) for role in (POLICY, *prices.models(self.config))}
        seconds: dict[str, float] = defaultdict(float)
        for line in lines:
            seconds[line.step] += line.seconds or 0.0
        oracle = {role: spent for role, spent in by_role.items() if role != POLICY}
        recorded = sum(line.calls * line.unit.bytes for line in lines if line.role != TRAINER)
        return Totals(
            by_role=by_role,
            seconds={step: seconds[step] for step in artifact.NUMBERS if step in seconds}
            if self.calibration.timed
            else None,
            usd=spending.usd(self.config, oracle),
            bytes=round(recorded * ARTIFACTS + self._checkpoints(lines)),
        )

    def _checkpoints(self, lines: Sequence[Line]) -> float:
        """Bytes of the checkpoints that are on disk at once: all of them, or those that stay, the policy that a
        roll-back goes back to, and the one that is being written."""
        trained = [line for line in lines if line.role == TRAINER]
        n, total = sum(line.calls for line in trained), sum(line.calls * line.unit.bytes for line in trained)
        keep = self.config.training.keeps
        if keep is None or not n:
            return total
        return total * min(1.0, (keep + self.config.guard.enabled + 1) / n)


ASSUMED = (0.1, 0.3, 0.6)
"""Shares of failing answers where nothing was measured (assumed)."""


def unpriced(config: Config) -> list[str]:
    """Models of the oracle whose price is not known."""
    table = prices.of(config)
    return [m for m in dict.fromkeys(prices.models(config).values()) if table.of(m) is None]


def _any(expected: float) -> float:
    """The chance of at least one, where so many are expected (Poisson)."""
    return 1.0 - exp(-expected)
