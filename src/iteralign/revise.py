"""Revise: the policy answers again under the constitution (the paper's self-reflection). V_t = M_t(N_t | C_{t+1})."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from iteralign.prompts import PromptSet
from iteralign.protocols import Model, stage
from iteralign.settings import Revising
from iteralign.types import (
    Constitution,
    Conversation,
    Message,
    Principle,
    Reply,
    Revision,
    Sampling,
    Verdict,
)

TEMPERATURE = 0.7
"""Of every candidate after the first, which is decoded as the run decodes (ours)."""

Shown = tuple[Principle, ...]


@stage("revise")
def respond(
    model: Model,
    failures: Sequence[Verdict],
    constitution: Constitution,
    prompts: PromptSet,
    settings: Revising,
    sampling: Sampling,
) -> tuple[Revision, ...]:
    """`candidates` revisions of each failure, all first candidates before all second ones."""
    pairs = [(v, principles_for(v, constitution, settings)) for v in failures]
    return tuple(
        revision
        for k in range(settings.candidates)
        for revision in under(model, pairs, prompts, _nth(sampling, k))
    )


def under(
    model: Model, pairs: Sequence[tuple[Verdict, Shown]], prompts: PromptSet, sampling: Sampling
) -> list[Revision]:
    """One revision of each answer, under the principles that stand beside it."""
    return WAYS[prompts.readers["revision"]](model, pairs, prompts, sampling)


def principles_for(failure: Verdict, constitution: Constitution, settings: Revising) -> Shown:
    """What stands in the context: all principles, or those that this failure or its kind gave rise to."""
    if settings.constitution == "none":
        return ()
    if settings.show == "all":
        return constitution.principles
    fitting = tuple(
        p
        for p in constitution.principles
        if failure.response.prompt.id in p.evidence or (p.category and p.category == failure.category)
    )
    return fitting or constitution.principles


def by_critique(
    model: Model, failures: Sequence[tuple[Verdict, Shown]], prompts: PromptSet, sampling: Sampling
) -> list[Revision]:
    """The model sees its own answer and the principles, criticises it aloud, then answers again (ours)."""
    asked = [_ask_critique(v, shown, prompts) for v, shown in failures]
    critiques = [r.text for r in model.generate(asked, sampling)]
    again = [
        (*asking, Message("assistant", critique), *prompts.render("revise"))
        for asking, critique in zip(asked, critiques, strict=True)
    ]
    replies = model.generate(again, sampling)
    return [
        _revision(v, shown, reply, sampling, critique)
        for (v, shown), reply, critique in zip(failures, replies, critiques, strict=True)
    ]


def by_splice(
    model: Model, failures: Sequence[tuple[Verdict, Shown]], prompts: PromptSet, sampling: Sampling
) -> list[Revision]:
    """The released code: a fresh answer to the prompt with the constitution spliced in; no critique."""
    asked = [
        (Message("user", splice(v.response.prompt.text, "\n".join(p.text for p in shown))),)
        for v, shown in failures
    ]
    replies = model.generate(asked, sampling)
    return [_revision(v, shown, reply, sampling) for (v, shown), reply in zip(failures, replies, strict=True)]


def splice(prompt: str, constitution: str) -> str:
    """The constitution before the last block of the prompt, joined to the block before it by a blank."""
    if not constitution:
        return prompt
    head, _, last = prompt.rpartition("\n\n")
    return f"{head} {constitution}\n\n{last}"


WAYS: dict[str, Callable[..., list[Revision]]] = {"critique": by_critique, "splice": by_splice}


def _ask_critique(failure: Verdict, shown: Shown, prompts: PromptSet) -> Conversation:
    response = failure.response
    return (
        Message("user", response.prompt.text),
        Message("assistant", response.text),
        *prompts.render("critique", constitution=shown),
    )


def _nth(sampling: Sampling, k: int) -> Sampling:
    return sampling if k == 0 else replace(sampling, temperature=TEMPERATURE, seed=sampling.seed + k)


def _revision(
    failure: Verdict, shown: Shown, reply: Reply, sampling: Sampling, critique: str = ""
) -> Revision:
    first = failure.response
    ids = tuple(p.id for p in shown)
    cut = reply.stop == "length"
    return Revision(first.prompt, first.text, reply.text, critique, ids, sampling.seed, cut)
