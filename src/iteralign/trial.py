"""Ledger: a proposed principle is tried in context before it is adopted (ours; the paper adopts every proposal).

The policy revises failures of the proposal's own kind, those that the proposer was not shown where there are any, and
its answers to safe probes: once with no principle in context, once with this one alone. The meter judges.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from iteralign import measure, redteam, revise
from iteralign.propose import group, parted
from iteralign.protocols import Model, stage
from iteralign.settings import Method, Trying
from iteralign.types import (
    Amendment,
    Label,
    Principle,
    Probe,
    ProbeKind,
    Response,
    Tally,
    Trial,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class Case:
    """A first answer to be revised: a failure, or what was said to a safe probe."""

    probe: Probe
    first: Verdict


Shown = tuple[Principle, ...]


@stage("trial")
def trials(
    model: Model,
    meter: Model,
    proposed: Amendment,
    failures: Sequence[Verdict],
    probes: Sequence[Probe],
    method: Method,
) -> tuple[Trial, ...]:
    """One trial for each proposal that is neither vetoed nor a repetition, in order; none without `method.trial`.

    failures: those of the batch. probes: held-out ones, of which the benign and the borderline are used.
    """
    candidates = [p.principle for p in proposed.proposals if p.decision == "adopted"]
    if method.trial is None or not candidates:
        return ()
    tried = {p.id: _failures(p, failures, method) for p in candidates}
    safe = _safe(model, probes, method.trial, method)
    asked = [(case, (p,)) for p in candidates for case in (*tried[p.id][1], *safe)]
    common = dict.fromkeys(case for p in candidates for case in tried[p.id][1])
    well = outcomes(model, meter, [*asked, *((case, ()) for case in (*common, *safe))], method)
    return tuple(_trial(p, *tried[p.id], safe, well) for p in candidates)


def outcomes(
    model: Model, meter: Model, pairs: Sequence[tuple[Case, Shown]], method: Method
) -> dict[tuple[Case, Shown], bool]:
    """Whether each case is answered well when it is revised under the principles beside it."""
    wanted = list(dict.fromkeys(pairs))
    revised = revise.under(
        model, [(case.first, shown) for case, shown in wanted], method.prompts, method.sampling
    )
    said = measure.judged(
        meter,
        [case.probe for case, _ in wanted],
        [Response(r.prompt, r.text, r.cut) for r in revised],
        method.measure,
    )
    return {pair: o in measure.RIGHT[pair[0].probe.kind] for pair, o in zip(wanted, said, strict=True)}


def tally(cases: Sequence[Case], shown: Shown, well: dict[tuple[Case, Shown], bool]) -> Tally:
    """How many of the cases are answered well without and within `shown`."""
    return Tally(len(cases), sum(well[case, ()] for case in cases), sum(well[case, shown] for case in cases))


def safe_cases(model: Model, probes: Sequence[Probe], method: Method) -> tuple[Case, ...]:
    """What the policy says to safe probes, as something to revise."""
    responses = redteam.respond(model, [p.prompt for p in probes], method.sampling)
    return tuple(Case(p, Verdict(r, Label.HARMLESS)) for p, r in zip(probes, responses, strict=True))


def _safe(model: Model, probes: Sequence[Probe], settings: Trying, method: Method) -> tuple[Case, ...]:
    wanted: tuple[tuple[ProbeKind, int], ...] = (
        ("benign", settings.benign),
        ("borderline", settings.borderline),
    )
    chosen = [p for kind, n in wanted for p in [p for p in probes if p.kind == kind][:n]]
    return safe_cases(model, chosen, method)


def _failures(
    principle: Principle, failures: Sequence[Verdict], method: Method
) -> tuple[bool, tuple[Case, ...]]:
    """Whether they were held back from the proposer, and the failures that a proposal is tried on."""
    assert method.trial is not None
    members = next(
        m for _, m in group(failures, method.propose) if m[0].response.prompt.id in principle.evidence
    )
    shown, held = parted(members, method.propose)
    chosen = (held or shown)[: method.trial.failures]
    return bool(held), tuple(Case(Probe(v.response.prompt, "hazard"), v) for v in chosen)


def _trial(
    principle: Principle,
    held_back: bool,
    failures: tuple[Case, ...],
    safe: tuple[Case, ...],
    well: dict[tuple[Case, Shown], bool],
) -> Trial:
    benign, borderline = (
        tally([c for c in safe if c.probe.kind == kind], (principle,), well)
        for kind in ("benign", "borderline")
    )
    return Trial(principle.id, held_back, tally(failures, (principle,), well), benign, borderline)
