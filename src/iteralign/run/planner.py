"""Plan: a small run of the loop, whose records are extrapolated to the whole config.

With the actors of the config the small run is a calibration. With stubs nothing is loaded or asked: the prompts are
real, the replies assumed.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import TypeVar

from iteralign import finetune, judge, propose, stats
from iteralign.budget import calibration, prices, stubs
from iteralign.budget.calibration import Calibration
from iteralign.budget.estimate import Plan
from iteralign.budget.limits import Purse
from iteralign.config.schema import Config
from iteralign.loop import iteralign
from iteralign.measure import probe
from iteralign.models.scripted import ScriptedModel
from iteralign.protocols import Lab
from iteralign.record.journal import Event, RunJournal, StepReached, unwatched
from iteralign.record.replay import NOBODY, step_value
from iteralign.run import build, offline
from iteralign.run.inputs import material, report_probes
from iteralign.types import (
    Checkpoint,
    Constitution,
    Conversation,
    Material,
    Principle,
    Probe,
    Reply,
    Sampling,
    Usage,
    Verdict,
)

T = TypeVar("T")
Tell = Callable[[str], None]
MOST = 256  # prompts of a sample: as many as one batch of the policy, but not more than this
PRINCIPLE = (
    "If a request asks for help that would hurt people, the assistant must decline and say briefly what "
    "would be safe instead."
)
"""Stands for one that was adopted earlier: one sentence, as the proposer is told (its length is assumed)."""


def plan(config: Config, calibrate: bool = False, tell: Tell = lambda _: None) -> Plan:
    """The plan of `config`. Raises UserError; with `calibrate` also what its actors raise.

    calibrate: load the policy, ask the oracle about a sample, and fine-tune on a few rows; what is asked
    counts against the budget of the config. tell: hears of each stage of that.
    """
    with offline.kept(config), tempfile.TemporaryDirectory(prefix="iteralign-plan-") as folder:
        questions, probes = material(config), report_probes(config)
        root, policy = Path(folder) / "stubs", Checkpoint("policy", config.policy.model)
        found = rehearse(config, questions, probes, stub_lab(config), journal_of(root), policy, real=False)
        if calibrate:
            root = Path(folder) / "real"
            purse = Purse(config, root)
            silent = {"trials", "constitution"}  # a small run adopts every proposal untried

            def told(event: Event) -> None:
                if event.kind == "started" and event.step not in silent:
                    silent.add(event.step)
                    tell("loading the policy" if event.step == "test" else event.step)
                purse.event(event)

            journal, policy = journal_of(root, told), Checkpoint(build.identity(config), config.policy.model)
            with closing(build.lab(config, root, journal.progress, purse)) as lab:
                real = rehearse(config, questions, probes, lab, journal, policy, real=True)
            found = real.completed(found)
    return Plan(config, questions, probes, found)


def journal_of(root: Path, told: Callable[[Event], None] = unwatched) -> RunJournal:
    """The journal of a small run in `root`, which ends with the gate of its first iteration."""
    root.mkdir(parents=True, exist_ok=True)
    return RunJournal(root, told, stop_after=(1, "gate"))


def rehearse(
    config: Config,
    questions: Material,
    probes: Sequence[Probe],
    lab: Lab,
    journal: RunJournal,
    policy: Checkpoint,
    real: bool,
) -> Calibration:
    """Run the loop on a sample, up to the gate, and read what its calls took. Raises what its actors raise.

    Two things depend on the size of a batch, so they are run once more, as steps of later iterations: proposals
    for as many failures as a batch would have, and, if the actors are `real`, trainings of known sizes.
    """
    method, root = build.method(config), journal.root
    size = sample_size(config)
    attack = spaced([p for batch in questions.batches for p in batch], size)
    # A run that does not measure as it goes still has test probes, and the small run needs some.
    measured, benign = spaced(questions.probes or probes, size), spaced(questions.benign, size)
    sample = Material((attack,) if attack else (), measured, benign)
    if real:  # loads scipy and statsmodels, which every later interval finds loaded
        stats.share((0, 1, 1), ("a", "a", "b"))
    with lab.serve(policy) as model:  # loads the policy; its time counts nowhere
        do = journal.at(0)
        do("test", probe, model, lab.meter, measured[:1], method.measure, method.sampling)
    with suppress(StepReached):
        for _ in iteralign(policy, sample, lab, replace(method, trial=None), journal, lambda _: None):
            pass
    verdicts: tuple[Verdict, ...] = step_value(root, 1, "verdicts", tuple[Verdict, ...]) or ()
    if failures := judge.harmful(verdicts):
        batches, settings = questions.batches, method.propose
        wanted = settings.examples or round(sum(map(len, batches)) / len(batches))
        many = [v for _, kind in propose.group(failures, settings) for v in islice(cycle(kind), wanted)]
        half = Constitution(tuple(Principle(str(i), PRINCIPLE) for i in range(len(batches) // 2)))
        journal.at(2)("proposals", propose.propose, lab.proposer, many, half, method.prompts, settings, 2)
    rows = calibration.rows(root, method) if real else ()
    for t, n in calibration.TRAININGS.items() if rows else ():
        some = tuple(islice(cycle(rows), n * config.training.batch_size))
        journal.at(t)("checkpoint", finetune.sft, lab.trainer, policy, (), some)
    return calibration.read(root, config, method, real)


def stub_lab(config: Config) -> Lab:
    """Actors that reply with texts of assumed length; nothing is loaded or asked, and nothing can be trained."""
    method, judges, counts = build.method(config), list(prices.judges(config)), build.counts(config)

    def actor(role: str, says: Callable[[Conversation], str]) -> ScriptedModel:
        def reply(asked: Conversation, _: Sampling) -> Reply:
            text, count = says(asked), counts.get(role, stubs.by_characters)
            sent = sum(count(m.content) for m in asked)
            # A provider's output holds the text once more, in a frame of some hundred characters.
            raw = f"{text}{' ' * 300}" if role in counts else None
            return Reply(text, usage=Usage(sent, count(text)), raw=raw)

        return ScriptedModel(role, reply, batch_size=MOST)

    models = {role: actor(role, says) for role, says in stubs.replies(method, judges).items()}
    first, *panel = (models[role] for role in judges)
    answer = stubs.answer(method.sampling)
    policy = actor("policy", lambda _: answer)
    return Lab(
        lambda _: nullcontext(policy),
        first,
        models["proposer"],
        NOBODY,
        models["meter"],
        tuple(panel),
    )


def sample_size(config: Config) -> int:
    """Full batches, as the time of an answer depends on how many are computed together."""
    return min(MOST, max(32, config.policy.batch_size, config.oracle.max_connections))


def spaced(items: Sequence[T], n: int) -> tuple[T, ...]:
    """Up to `n` of the items, evenly spaced, so that every part of an ordered list is met."""
    if len(items) <= n:
        return tuple(items)
    return tuple(items[i * len(items) // n] for i in range(n))
