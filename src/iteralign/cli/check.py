"""`iteralign check`: is a config right, and what would run? No model is loaded and none is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iteralign.cli.run import (
    ConfigArgument,
    NameOption,
    OfflineOption,
    OracleOption,
    PolicyOption,
    RunsOption,
    SetOption,
)

if TYPE_CHECKING:
    from rich.console import Console

    from iteralign.config.schema import Config
    from iteralign.types import Conversation, Material, Probe


def command(
    config: ConfigArgument,
    set: SetOption = [],  # noqa: B006 (typer reads it, and copies it)
    name: NameOption = None,
    runs: RunsOption = Path("runs"),
    policy: PolicyOption = None,
    oracle: OracleOption = None,
    offline: OfflineOption = False,
) -> None:
    """Explain what a config would run, loading no weights; show what each model would read."""
    from iteralign.budget import prices
    from iteralign.cli import rendering, target, terminal
    from iteralign.run import build
    from iteralign.run import offline as walls
    from iteralign.run.inputs import left_out, material, report_probes
    from iteralign.run.preview import preview
    from iteralign.types import Example

    values, root = target.chosen(config, [*set, *target.actors(policy, oracle, offline)], name, runs)
    build.identity_of(build.model_path(values.policy.model), values.policy.revision)
    prices.require(values)
    build.trainer(values, root)
    with walls.kept(values):
        questions, probes = material(values), report_probes(values)
        missing = left_out(values)
        seen, unready = preview(values), build.unready(values)
    reading = rendering.facts(seen, _prompts(questions, probes), values.sampling.max_tokens)
    reading = {**{f"{section} data": said for section, said in missing.items()}, **reading}
    if unready:
        reading = {**reading, "not ready": f"{'; '.join(unready)}; a run stops at once"}
    out = terminal.stdout()
    with terminal.trimmed(out):
        _explain(out, values, {**_facts(values, root, questions, probes), **reading})
        for title, conversation, of_policy in _examples(values, questions):
            if seen and of_policy:
                rendering.prompt(out, title, seen.prompt(conversation))
            else:
                _example(out, title, conversation)
        if seen and questions.batches:
            rendering.row(out, seen.row(Example(questions.batches[0][0].text, "(its new answer)")))
        out.print()


def _prompts(questions: "Material", tests: "Sequence[Probe]") -> "list[Conversation]":
    """Every prompt whose length is known before the run."""
    from iteralign.types import Message

    asked = [p for batch in questions.batches for p in batch] + list(questions.benign)
    asked += [probe.prompt for probe in (*questions.probes, *tests)]
    return [(Message("user", prompt.text),) for prompt in asked]


def _explain(out: "Console", config: "Config", facts: "Mapping[str, str]") -> None:
    from rich.table import Table
    from rich.text import Text

    from iteralign.cli.terminal import one_line

    table = Table.grid(padding=(0, 2))
    for key, value in facts.items():
        table.add_row(Text(f"  {key}", style="dim"), Text(one_line(value)))
    out.print()
    out.print(Text(one_line(f"{config.name}: the config is right"), style="bold"))
    out.print(table)


def _facts(
    config: "Config", root: Path, questions: "Material", tests: "Sequence[Probe]"
) -> Mapping[str, str]:
    from iteralign.cli.words import many

    attack = sum(map(len, questions.batches))
    oracle, training = config.oracle, config.training
    named = ("proposer", "meter") if config.judge.models else ("judge", "proposer", "meter")
    roles = ", ".join(f"{r} {getattr(oracle, r)}" for r in named if getattr(oracle, r))
    replay = f"{many(len(questions.benign), 'safe answer')} and all earlier accepted answers"
    return {
        "preset": f"{config.preset}, prompt set {config.method.prompts}, seed {config.seed}",
        "policy": f"{config.policy.model} ({config.policy.backend}, {config.policy.device}, {config.policy.dtype})",
        "oracle": oracle.model + (f"; {roles}" if roles else " as judge, proposer and meter"),
        **_judges(config),
        "attack": f"{many(attack, 'prompt')} from {config.redteam.source}, in "
        f"{many(len(questions.batches), 'batch', 'batches')}, order: {config.redteam.order}",
        "validation": _kinds(questions.probes),
        "test": _kinds(tests),
        "training": f"{training.method}, {training.epochs:g} epochs, learning rate {training.lr:g}, "
        f"from the {config.finetune.start} checkpoint",
        "rows": f"accepted answers, and {replay if config.finetune.replay else 'nothing else'}",
        "gate": "only answers that the judge accepts"
        if config.gate.enabled
        else "off: all new answers are trained on",
        "oracle calls": _calls(config, questions, tests),
        "stops": _stops(config, len(questions.batches)),
        "budget": ", ".join(f"{v:g} {k}" for k, v in asdict(config.budget).items() if v is not None)
        or "no limit",
        "directory": _directory(root),
    }


def _judges(config: "Config") -> Mapping[str, str]:
    """Who judges, where `judge.models` says so."""
    members = config.judge.models
    if not members:
        return {}
    names = ", ".join(m.model + (f" (answers as {m.guard})" if m.guard else "") for m in members)
    if len(members) == 1:
        return {"judge": names}
    needed = len(members) // 2 + 1
    return {"judges": f"{names}; {needed} of {len(members)} decide, else the answer has no verdict"}


def _stops(config: "Config", batches: int) -> str:
    stop, most = config.stop, min(config.stop.max_iterations, batches)
    reasons = [f"violations at most {stop.target:g} (upper end of the interval)"] if stop.target else []
    reasons += [f"nothing new in {stop.patience} iterations"] if stop.patience < most else []
    return ", or ".join([*reasons, f"after iteration {most}"])


def _kinds(probes: "Sequence[Probe]") -> str:
    from collections import Counter

    from iteralign.cli.words import many

    kinds = Counter(p.kind for p in probes)
    return f"{many(len(probes), 'probe')}: " + ", ".join(f"{n:,} {kind}" for kind, n in kinds.items())


def _calls(config: "Config", questions: "Material", tests: "Sequence[Probe]") -> str:
    """An upper bound: every answer fails and is of another kind."""
    batch, judges = max(map(len, questions.batches), default=0), len(config.judge.models) or 1
    proposals = batch if config.propose.grouping == "category" else 1
    each = judges * batch * (1 + config.revise.candidates) + proposals + len(questions.probes)
    return f"{len(questions.probes) + 2 * len(tests):,} to measure, and at most {each:,} an iteration"


def _directory(root: Path) -> str:
    from iteralign.cli.target import is_run
    from iteralign.record import artifact

    done = sum(artifact.place(root, t, "metrics").exists() for t in artifact.iterations(root)) - 1
    return (
        f"{root} (exists: the run would resume, {max(done, 0)} iterations done)"
        if is_run(root)
        else f"{root} (new)"
    )


def _examples(config: "Config", questions: "Material") -> list[tuple[str, "Conversation", bool]]:
    """What the stages themselves would send, for the first prompt of the attack; whether to the policy."""
    from iteralign import judge, measure, propose, revise
    from iteralign.run import build
    from iteralign.types import Constitution, Label, Message, Principle, Probe, Response, Verdict

    once = config.model_copy(update={"oracle": replace(config.oracle, repair=0)})
    method, listener = build.method(once), Listener()
    prompt = next((p for batch in questions.batches for p in batch), None)
    if prompt is None:
        return []
    response = Response(prompt, "(the policy's answer)")
    failure = Verdict(response, Label.HARMFUL, "(kind of harm)", "(why it is harmful)")
    principle = Principle("example", "(a principle that was found)", "(kind of harm)", (prompt.id,))
    law = Constitution((principle,))
    safe = next((p for p in questions.probes if p.kind != "hazard"), Probe(prompt, "benign"))
    forms = list({texts.name: texts for texts in method.judges}.values())
    judge.convene([listener] * len(forms), [response], forms)
    propose.propose(listener, [failure], law, method.prompts, method.propose, 1)
    revise.respond(listener, [failure], law, method.prompts, method.revise, method.sampling)
    measure.grade(listener, [(safe, Response(safe.prompt, "(the policy's answer)"))], method.measure)
    judges_asked, (proposer_asked, *policy_asked, meter_asked) = (
        listener.heard[: len(forms)],
        listener.heard[len(forms) :],
    )
    last = max(policy_asked, key=len)
    return [
        ("The policy is asked", (Message("user", prompt.text),), True),
        *(
            (
                f"A judge that answers as {texts.name} is asked" if texts.guard else "The judge is asked",
                asked,
                False,
            )
            for texts, asked in zip(forms, judges_asked, strict=True)
        ),
        ("The proposer is asked", proposer_asked, False),
        ("The policy is asked to answer again", last, True),
        ("The meter is asked about safe prompts", meter_asked, False),
    ]


def _example(out: "Console", title: str, conversation: "Conversation") -> None:
    from rich.padding import Padding
    from rich.text import Text

    from iteralign.cli.terminal import clean

    out.print()
    out.print(Text(title, style="bold"))
    for message in conversation:
        out.print(Text(f"  {message.role}", style="cyan"))
        out.print(Padding(Text(clean(message.content)), (0, 0, 0, 4)))


class Listener:
    """A model that only takes down what it is asked."""

    id = "listener"

    def __init__(self) -> None:
        self.heard: list[Conversation] = []

    def generate(
        self, conversations: "Sequence[Conversation]", sampling: Any, on_replies: Any = None
    ) -> list[Any]:
        from iteralign.types import Reply

        self.heard.extend(conversations)
        return [Reply("(its critique)") for _ in conversations]
