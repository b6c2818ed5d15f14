"""In context: what a principle does, and what it adds to the others, before anything is trained.

The untrained policy revises answers that failed, under four constitutions: none, the principle alone, all that were in
force, all but the principle. The difference of alone and none is its lift; what the others do without it is overlap;
what it does alone and not among them is conflict. A stage, with actors passed in; the meter judges.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from iteralign.protocols import Model, stage
from iteralign.settings import Method
from iteralign.trial import Case, Shown, outcomes, safe_cases, tally
from iteralign.types import Principle, Probe, Tally, Verdict


@dataclass(frozen=True, slots=True)
class Tried:
    """A principle on trial. law: all that were in force, itself included. held_back: so many of the failures, the
    first ones, had not been seen by the oracle that proposed it."""

    number: int
    principle: Principle
    law: Shown
    failures: tuple[Verdict, ...]
    held_back: int

    @property
    def conditions(self) -> dict[str, Shown]:
        return {
            "none": (),
            "alone": (self.principle,),
            "all": self.law,
            "others": tuple(p for p in self.law if p.id != self.principle.id),
        }

    @property
    def cases(self) -> tuple[Case, ...]:
        return tuple(Case(Probe(v.response.prompt, "hazard"), v) for v in self.failures)


@dataclass(frozen=True, slots=True)
class Lift:
    """Of `n` failures, how many are answered `well` with none, it alone, all, and all others in context; and of safe
    requests, how many without and within it alone. `number` is that of the entry."""

    number: int
    n: int
    held_back: int
    well: Mapping[str, int]
    benign: Tally
    borderline: Tally


@stage("lift")
def lifts(
    model: Model, meter: Model, tried: Sequence[Tried], safe: Sequence[Probe], method: Method
) -> tuple[Lift, ...]:
    """The figures of each principle, in order. safe: benign and borderline probes that never train."""
    beside = safe_cases(model, safe, method)
    well = outcomes(model, meter, [*revisions(tried), *_beside(tried, beside)], method)
    return tuple(_lift(one, beside, well) for one in tried)


def revisions(tried: Sequence[Tried]) -> list[tuple[Case, Shown]]:
    """Every failure under every constitution; each pair once."""
    return list(dict.fromkeys((c, s) for one in tried for s in one.conditions.values() for c in one.cases))


def _beside(tried: Sequence[Tried], safe: Sequence[Case]) -> Iterator[tuple[Case, Shown]]:
    for shown in ((), *((one.principle,) for one in tried)):
        yield from ((case, shown) for case in safe)


def _lift(one: Tried, safe: Sequence[Case], well: dict[tuple[Case, Shown], bool]) -> Lift:
    fine = {name: sum(well[case, shown] for case in one.cases) for name, shown in one.conditions.items()}
    benign, borderline = (
        tally([c for c in safe if c.probe.kind == kind], (one.principle,), well)
        for kind in ("benign", "borderline")
    )
    return Lift(one.number, len(one.failures), one.held_back, fine, benign, borderline)
