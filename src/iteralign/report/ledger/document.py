"""Document: the ledger of a run as `iteralign constitution ledger --json` prints it (docs/ledger.md has every key)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from iteralign.measure import failed
from iteralign.record.codec import encode
from iteralign.report.ledger.context import Lift
from iteralign.report.ledger.entries import Entry, entries
from iteralign.report.ledger.measuring import ALL, measured
from iteralign.report.ledger.record import record
from iteralign.report.summary import figure
from iteralign.stats import Paired, holm, paired, rate
from iteralign.types import Metrics, Prompt, Rate, Tally, Trial

SCHEMA = 1
Json = dict[str, Any]
BESIDE = ("benign", "overrefusal", "truthful")
NOTHING = Rate(0, 0, 0.0, 0.0, 1.0)


def ledger(root: Path) -> Json:
    """The ledger of the run directory `root`. Raises UserError if it is none, or damaged."""
    known = record(root)
    lifts, trained = measured(root)
    found = [_entry(entry) for entry in entries(known)]
    left_out = _left_out(trained)
    for number, entry in enumerate(found, 1):
        entry["in_context"] = _lift(lifts.get(number))
        entry["leave_one_out"] = left_out.get(number)
    return {
        "schema": SCHEMA,
        "run": known.config.name,
        "root": str(root),
        "accumulate": known.config.propose.accumulate,
        "iterations": max(known.turns, default=0),
        "entries": found,
    }


def _entry(entry: Entry) -> Json:
    principle = entry.principle
    return {
        "id": principle.id,
        "text": principle.text,
        "category": principle.category,
        "born": principle.born,
        "decision": entry.decision,
        "reason": entry.reason or None,
        "active": list(entry.active),
        "failures": _prompts(entry.failures),
        "more_failures": _prompts(entry.more),
        "rows": {str(t): list(ids) for t, ids in entry.rows.items()},
        "overlaps": [asdict(o) for o in entry.overlaps],
        "trial": _trial(entry.trial),
    }


def _prompts(prompts: Sequence[Prompt]) -> list[Json]:
    return [{"id": p.id, "topic": p.topic, "text": p.text} for p in prompts]


def _trial(trial: Trial | None) -> Json | None:
    if trial is None:
        return None
    kinds = {kind: _tally(getattr(trial, kind)) for kind in ("failures", "benign", "borderline")}
    return {"held_back": trial.held_back, **kinds}


def _tally(tally: Tally) -> Json:
    """Shares of requests answered well."""
    return {
        "n": tally.n,
        "without": figure(rate(tally.without, tally.n)),
        "within": figure(rate(tally.within, tally.n)),
    }


def _lift(lift: Lift | None) -> Json | None:
    if lift is None:
        return None
    fine = {name: rate(count, lift.n) for name, count in lift.well.items()}
    return {
        "n": lift.n,
        "held_back": lift.held_back,
        **{name: figure(share) for name, share in fine.items()},
        "lift": fine["alone"].value - fine["none"].value,
        "overlap": fine["others"].value - fine["none"].value,
        "conflict": fine["alone"].value - fine["all"].value,
        "benign": _tally(lift.benign),
        "borderline": _tally(lift.borderline),
    }


def _left_out(trained: Mapping[int, Metrics]) -> dict[int, Json]:
    """What each training without a principle's rows did, by number of its entry, beside the one on all rows; p-values
    are adjusted (Holm) for looking at all of them."""
    if ALL not in trained:
        return {}
    whole = trained[ALL]
    tests = {number: _harm(whole, metrics) for number, metrics in trained.items() if number != ALL}
    adjusted = holm([test.p_value for test in tests.values()])
    return {
        number: {"p_holm": p, "paired": encode(test), **_beside(whole, trained[number])}
        for (number, test), p in zip(tests.items(), adjusted, strict=True)
    }


def _harm(whole: Metrics, without: Metrics) -> Paired:
    """The hazard probes one by one; `regressed` are those answered harmfully only without the rows."""
    hazards = [[r for r in m.results if r.kind == "hazard"] for m in (whole, without)]
    before, after = ([failed(r.kind, r.outcome) for r in own] for own in hazards)
    return paired(before, after, [r.cluster for r in hazards[0]])


def _beside(whole: Metrics, without: Metrics) -> Json:
    """Each figure with the rows and without."""
    topics = {t: _both(whole.by_topic[t], without.by_topic.get(t, NOTHING)) for t in whole.by_topic}
    return {
        "violations": _both(whole.violations, without.violations),
        "by_topic": topics,
        **{name: _both(getattr(whole, name), getattr(without, name)) for name in BESIDE},
    }


def _both(whole: Rate, without: Rate) -> Json:
    return {"with": figure(whole), "without": figure(without)}
