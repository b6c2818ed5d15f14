"""Summary: everything that can be said about a run, finished or not, as `show --json` prints it.

Computed from the run directory alone, without a model. A figure that was not taken is null, never
zero. docs/show.md documents every key; a change of one raises SCHEMA.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from iteralign import __version__, finetune, measure
from iteralign.budget import prices, spending
from iteralign.record import artifact, calls, journal
from iteralign.record.calls import Spent
from iteralign.record.replay import Past, replay
from iteralign.stats import fleiss, rate
from iteralign.types import Amendment, Checkpoint, Iteration, Label, Metrics, Principle, Rate, Verdict

SCHEMA = 1
Json = dict[str, Any]


def summarise(root: Path) -> Json:
    """The summary of the run directory `root`, JSON-shaped. Raises UserError if it is none, or damaged."""
    past = replay(root)
    outcome, config = past.outcome, past.config
    current = outcome.policy if outcome else _current(past)
    return {
        "schema": SCHEMA,
        "iteralign": __version__,
        "run": config.name,
        "root": str(root),
        "status": "finished" if outcome else "unfinished",
        "stop_reason": outcome.stop_reason if outcome else None,
        "preset": config.preset,
        "policy": config.policy.model,
        "seed": config.seed,
        "checkpoint": asdict(current) if current else None,
        "before": figures(past.test(0)),
        "after": figures(past.test(outcome.t)) if outcome else None,
        "validation": _validation(past),
        "replay": _replay(past),
        "max_tokens": config.sampling.max_tokens,
        "cut_trained": config.finetune.cut,
        "iterations": _iterations(past),
        "constitution": _constitution(past),
        "discovery": discovery(past.planted, _principles(past)),
        "panel": _panel(past),
        "oracle": _oracle(past),
        "seconds": _seconds(root),
        "foreign": artifact.foreign(root),
    }


def constitution(root: Path) -> list[Json]:
    """The principles that the run in `root` adopted, in order. Raises UserError."""
    return _constitution(replay(root))


def figures(metrics: Metrics | None) -> Json | None:
    """The figures of one checkpoint; null where nothing was measured."""
    if metrics is None:
        return None
    return {
        "violations": figure(metrics.violations),
        "worst_case": figure(measure.worst(metrics)),
        "by_topic": {topic: figure(rate) for topic, rate in metrics.by_topic.items()},
        "worst_case_by_topic": {topic: figure(measure.worst(metrics, topic)) for topic in metrics.by_topic},
        "benign": figure(metrics.benign),
        "overrefusal": figure(metrics.overrefusal),
        "truthful": figure(metrics.truthful),
        "undecided": figure(metrics.undecided),
    }


def figure(rate: Rate) -> Json | None:
    """A share with its interval; null if it is a share of nothing."""
    return asdict(rate) if rate.n else None


def discovery(planted: Sequence[str] | None, principles: Sequence[Principle]) -> Json | None:
    """How the hazards that the principles name compare with the planted gaps; null without known truth.

    A principle that names no hazard of the world counts against precision. A text of several lines, as
    the paper's proposals are, is read line by line.
    """
    from iteralign.run import build

    if planted is None:
        return None
    lines = [line for p in principles for line in p.text.splitlines() if line.strip()]
    named = [build.read_principle(line) for line in lines]
    found = sorted({hazard for hazard in named if hazard})
    unread, hits = named.count(None), len(set(found) & set(planted))
    return {
        "planted": list(planted),
        "discovered": found,
        "unrecognised": unread,
        "precision": hits / (len(found) + unread) if named else None,
        "recall": hits / len(planted) if planted else None,
    }


def _current(past: Past) -> Checkpoint | None:
    """The policy that an unfinished run stands on; null before its first iteration is done."""
    return past.iterations[-1].policy if past.iterations else None


def _validation(past: Past) -> list[Json]:
    taken = [(t, past.steps[t, "metrics"]) for t in range(past.last + 1) if (t, "metrics") in past.steps]
    return [{"t": t, **(figures(m) or {}), "reopened": figure(m.reopened)} for t, m in taken]


def _iterations(past: Past) -> list[Json]:
    done = {i.t: i for i in past.iterations}
    seconds = journal.seconds(past.root)
    return [
        {
            "t": t,
            "finished": t in done,
            "counts": _counts(past, t, done.get(t)),
            "principles": _adopted(past.steps.get((t, "constitution"))),
            "seconds": {step: s for (at, step), s in seconds.items() if at == t and step != "test"},
            "rejected": _rejected(past.steps.get((t, "constitution"))),
            "rolled_back": done[t].rolled_back or None if t in done else None,
            "checkpoint": _checkpoint(past, t),
        }
        for t in range(1, past.last + 1)
    ]


def _counts(past: Past, t: int, iteration: Iteration | None) -> Json:
    """Counts of an iteration; null for what it has not come to yet."""
    responses, verdicts, law, revisions, gate = (
        past.steps.get((t, step)) for step in ("responses", "verdicts", "constitution", "revisions", "gate")
    )
    config = past.config
    passed = (
        None
        if revisions is None or gate is None
        else finetune.accept(revisions, gate, config.gate.enabled, config.finetune.cut)
    )
    trained = past.rows.get(t, 0 if iteration or passed == () else None)
    return {
        "prompts": _size(responses),
        "missing": None if responses is None else sum(response.missing for response in responses),
        "harmful": _with(verdicts, Label.HARMFUL),
        "unparsed": _with(verdicts, Label.UNPARSED),
        "proposed": None if law is None else len(law.proposals),
        "adopted": None if law is None else sum(p.decision == "adopted" for p in law.proposals),
        "duplicate": None if law is None else sum(p.decision == "duplicate" for p in law.proposals),
        "vetoed": None if law is None else sum(p.decision == "vetoed" for p in law.proposals),
        "rejected": None if law is None else sum(p.decision == "rejected" for p in law.proposals),
        "revisions": _size(revisions),
        "cut": _cut(revisions),
        "accepted": _size(passed),
        "rows": trained,
    }


def _replay(past: Past) -> Json | None:
    """The policy's own answers to safe prompts; null where none were asked for."""
    safe = past.steps.get((0, "benign"))
    if not safe:
        return None
    rows = finetune.keep(safe, past.config.finetune.cut)
    return {"answers": len(safe), "cut": _cut(safe), "rows": len(rows)}


def _cut(answers: Sequence[Any] | None) -> int | None:
    """How many of them `max_tokens` cut off."""
    return None if answers is None else sum(answer.cut for answer in answers)


def _size(values: Sequence[Any] | None) -> int | None:
    return None if values is None else len(values)


def _with(verdicts: Iterable[Any] | None, label: Label) -> int | None:
    return None if verdicts is None else sum(v.label is label for v in verdicts)


def _adopted(law: Amendment | None) -> list[str] | None:
    return None if law is None else [p.principle.id for p in law.proposals if p.decision == "adopted"]


def _rejected(law: Amendment | None) -> list[Json] | None:
    """Proposals that failed their trial, and why."""
    if law is None:
        return None
    return [
        {"id": p.principle.id, "text": p.principle.text, "reason": p.reason}
        for p in law.proposals
        if p.decision == "rejected"
    ]


def _checkpoint(past: Past, t: int) -> str | None:
    trained: Checkpoint | None = past.steps.get((t, "checkpoint"))
    return trained.path if trained else None


def _principles(past: Past) -> list[Principle]:
    """Every principle adopted, in order, with its latest evidence; also those that lasted for one batch."""
    laws = [past.steps[key] for key in sorted(past.steps) if key[1] == "constitution"]
    return list({p.id: p for law in laws for p in law.constitution.principles}.values())


def _constitution(past: Past) -> list[Json]:
    return [{**asdict(p), "evidence": list(p.evidence)} for p in _principles(past)]


def oracle_spent(root: Path, t: int, step: str) -> dict[str, Spent]:
    """What one step has asked of its oracle, by role, as far as it is on record."""
    place = artifact.place(root, t, step)
    files = (place.parent / "calls").glob(f"{place.stem}.*.jsonl")
    actors = {file.stem.partition(".")[2]: file for file in sorted(files)}
    return {
        calls.role_of(step, actor): sum(calls.spent(calls.read(file)).values(), Spent())
        for actor, file in actors.items()
        if calls.is_oracle(actor)
    }


def _oracle(past: Past) -> Json:
    """Calls and tokens on record, also those of an iteration that is not done, and what they cost."""
    config, failed = past.config, spending.failed(past.root)
    cost = spending.total(spending.costs(past.root).values())
    spent, table, models = cost.by_role, prices.of(config), prices.models(config)
    roles = {
        role: {
            "model": model,
            **asdict(used := spent.get(role, Spent())),
            "refusals": cost.refusals.get(role, 0),
            "usd": table.usd(model, used),
        }
        for role, model in models.items()
    }
    return {
        "model": config.oracle.model,
        "by_role": roles,
        **asdict(sum((spent.get(role, Spent()) for role in models), Spent())),
        "usd": spending.usd(config, spent),
        "local": all(map(prices.is_local, models.values())),
        "failed_attempts": sum(lost.calls for lost in failed.values()),
        "budget": asdict(config.budget),
    }


def _panel(past: Past) -> Json | None:
    """How far the judges of a panel agree, on all answers and revisions that they judged; null without a panel."""
    members = prices.judges(past.config)
    if len(members) < 2:
        return None
    kept = [past.steps[key] for key in sorted(past.steps) if key[1] in ("verdicts", "gate")]
    judged: list[Verdict] = [v for verdicts in kept for v in verdicts if v.votes]
    labels = [[vote.label for vote in v.votes] for v in judged]
    return {
        "judged": len(judged),
        "undecided": sum(v.label is Label.UNPARSED for v in judged),
        "unanimous": figure(rate(sum(len(set(votes)) == 1 for votes in labels), len(labels))),
        "kappa": fleiss(labels),
        "judges": [
            {
                "role": role,
                "model": member.model,
                "guard": member.guard,
                **{label.value: sum(votes[i] is label for votes in labels) for label in Label},
                "with_majority": figure(_with_majority(i, judged)),
            }
            for i, (role, member) in enumerate(members.items())
        ],
    }


def _with_majority(judge: int, judged: Sequence[Verdict]) -> Rate:
    """Of what the panel decided, the share on which this judge was on its side."""
    decided = [v for v in judged if v.label is not Label.UNPARSED]
    return rate(sum(v.votes[judge].label is v.label for v in decided), len(decided))


def _seconds(root: Path) -> Json:
    """Time by step, summed over the run, in the order of the steps; null if none was noted."""
    by_step: dict[str, float] = defaultdict(float)
    for (_, step), seconds in journal.seconds(root).items():
        by_step[step] += seconds
    ordered = {step: round(by_step[step], 3) for step in artifact.NUMBERS if step in by_step}
    return {"total": round(sum(by_step.values()), 3) if by_step else None, "by_stage": ordered}
