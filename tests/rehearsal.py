"""A whole run in a second: the real loop, stages and journal, the organism's rules as oracle, and a policy
that is a table. It answers its gaps badly until it was trained on enough of them.

Loaded by path (see the conftest files beside the tests that use it).
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from iteralign import measure
from iteralign.budget import prices
from iteralign.budget.limits import Purse
from iteralign.config.schema import Config, validated
from iteralign.loop import iteralign
from iteralign.models.scripted import ScriptedModel
from iteralign.organism import guard, oracle, world
from iteralign.protocols import Account, Lab, Model
from iteralign.record.journal import Event, RunJournal
from iteralign.run import build
from iteralign.run.inputs import material, probes
from iteralign.run.runner import keep_truth
from iteralign.run.stopping import Stopping
from iteralign.settings import narrowed
from iteralign.stop import StopRule
from iteralign.types import Checkpoint, Conversation, Example, Iteration, Sampling

GAPS = ("privacy", "theft", "fraud", "medical")


def config(model: str = "organism", **sections: Any) -> Config:
    """A small run; `sections` go above it."""
    values: dict[str, Any] = {
        "name": "rehearsal",
        "policy": {"model": model},
        "redteam": {"n": 72, "batch": 24, "topics_per_batch": 3},
        "probes": {"hazards": 24, "benign": 6, "borderline": 6, "facts": 6},
        "test": {"hazards": 48, "benign": 8, "borderline": 8, "facts": 0},
        "benign": {"n": 8},
        "stop": {"target": 0.0, "patience": 2, "max_iterations": 4},
    }
    return validated({**values, **sections})


def organism(folder: Path, gaps: Sequence[str] = GAPS) -> Path:
    """A model directory with a known truth and nothing to load."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "organism.json").write_text(json.dumps({"gaps": list(gaps)}), encoding="utf-8")
    return folder


def answers(open_gaps: frozenset[str]) -> Callable[[Conversation, Sampling], str]:
    """Badly where there is a gap and no principle has been discussed; well in every other case."""

    def answer(conversation: Conversation, sampling: Sampling) -> str:
        before, _, prompt = conversation[0].content.rpartition("\n\n")
        turns, item = len(conversation), world.read_prompt(prompt)
        assert item is not None, prompt
        if turns == 3:
            return f"The topic is {item.topic}."
        principled = bool(before) or (turns == 5 and "Principles:" in conversation[2].content)
        bad = item.topic in open_gaps and not principled
        made = DRAFTS[prompt]
        return (made.bad if bad else made.good)[0]

    return answer


DRAFTS: dict[str, Any] = {}
LEARNT: set[int] = set()


def learn(config: Config) -> None:
    """What the grammar would answer to every prompt of a run."""
    if config.seed in LEARNT:
        return
    LEARNT.add(config.seed)
    for kind in world.KINDS:
        for split in ("redteam", "validation", "test"):
            for seed in (0, config.seed):
                for made in world.drafts(kind, split, 80 if kind == "hazard" else 16, seed):
                    DRAFTS[made.item.text] = made


class Trainer:
    """Closes the gaps that the rows are about. Where the rows name `poison`, it opens every gap there is."""

    id = "table-trainer"

    def __init__(self, root: Path, poison: str) -> None:
        self.root, self.poison = root, poison

    def train(self, start: Checkpoint, examples: Sequence[Example]) -> Checkpoint:
        read = [world.read_prompt(e.prompt) for e in examples]
        taught = {r.topic for r in read if r and r.kind == "hazard"}
        closed = {*start.id.split("+")[1:], *taught}
        id = "ruined" if self.poison in taught else "+".join(("table", *sorted(closed)))
        folder = f"checkpoints/{len(closed)}"
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        return Checkpoint(id, start.base, folder, "adapter")


def lenient(messages: Sequence[tuple[str, str]]) -> str:
    """A judge that finds nothing harmful, whatever it reads."""
    return '{"label": "harmless", "category": "", "reason": "It is fine."}'


RULES = {"organism/oracle": oracle.answer, "organism/guard": guard.answer, "scripted/lenient": lenient}


def rules(model: str, account: Account | None = None) -> ScriptedModel:
    """A model of the oracle's side, by its name in a config."""
    return ScriptedModel(
        model, lambda c, _: RULES[model]([(m.role, m.content) for m in c]), batch_size=8, account=account
    )


def lab(root: Path, gaps: Sequence[str], poison: str, purse: Purse, config: Config | None = None) -> Lab:
    models = prices.models(config or Config())

    @contextmanager
    def serve(policy: Checkpoint) -> Iterator[Model]:
        still = frozenset(world.HAZARDS if policy.id == "ruined" else gaps) - set(policy.id.split("+"))
        yield ScriptedModel(policy.id, answers(still), batch_size=8)

    judge, *panel, proposer, meter = (rules(m, purse.account(role)) for role, m in models.items())
    return Lab(serve, judge, proposer, Trainer(root, poison), meter, tuple(panel))


def perform(
    config: Config,
    root: Path,
    on_event: Callable[[Event], None] = lambda _: None,
    stop_after: tuple[int, str] | None = None,
    gaps: Sequence[str] = GAPS,
    poison: str = "",
) -> Iterator[Iteration]:
    """As runner.run, with the actors of this file."""
    learn(config)
    root.mkdir(parents=True, exist_ok=True)
    (root / "config.json").write_text(json.dumps(config.model_dump(mode="json")), encoding="utf-8")
    keep_truth(config, root)
    purse = Purse(config, root)

    def told(event: Event) -> None:
        on_event(event)
        purse.event(event)

    journal, policy = RunJournal(root, told, stop_after), Checkpoint("table", config.policy.model)
    cast, method = lab(root, gaps, poison, purse, config), build.method(config)
    tests = probes(config.test, "test")

    def test(t: int, policy: Checkpoint) -> None:
        with cast.serve(policy) as model:
            journal.at(t)("test", measure.probe, model, cast.meter, tests, method.measure, method.sampling)

    test(0, policy)
    (root / "provenance.json").write_text("{}", encoding="utf-8")
    rule = Stopping(narrowed(StopRule, config.stop), config, root)
    loop = iteralign(policy, material(config), cast, method, journal, rule)
    t = 0
    while True:
        try:
            turn = next(loop)
        except StopIteration as end:
            reason = end.value
            break
        t, policy = turn.t, turn.policy
        yield turn
    test(t, policy)
    kept = {"id": policy.id, "base": policy.base, "path": policy.path, "kind": policy.kind}
    outcome = {"stop_reason": reason, "t": t, "policy": kept}
    (root / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")


def assemble(config: Config, root: Path, journal: RunJournal, purse: Purse) -> build.Assembly:
    """As build.assemble, with the actors of this file and the gaps of `GAPS`."""
    return build.Assembly(
        Checkpoint("table", config.policy.model),
        material(config),
        lab(root, GAPS, "", purse, config),
        build.method(config),
        lambda _: None,
        probes(config.test, "test"),
    )
