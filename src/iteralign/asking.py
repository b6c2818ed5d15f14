"""Ask an oracle one template for each of many values; a reply that cannot be read is asked for again."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from iteralign.prompts import PromptSet, defused
from iteralign.protocols import Model
from iteralign.reading import Form
from iteralign.types import Conversation, Message, Sampling

T = TypeVar("T")

ORACLE = Sampling(max_tokens=1000)
"""Oracles answer greedily (the released code's temperature 0); the length bound is ours."""

NOTHING = "(no answer)"
"""Stands for an empty reply, as providers refuse an empty turn."""

SHOWN = 8_000
"""Characters of an unreadable reply that the oracle sees again. 1,000 tokens of prose are about 4,000 (ours)."""


def ask(
    oracle: Model, prompts: PromptSet, name: str, values: Sequence[Mapping[str, Any]], form: Form[T]
) -> list[T | None]:
    """Return what the oracle says to template `name` under each of the values, in order; None if it cannot be read.

    In that case the oracle sees its own reply and template `repair`, up to `prompts.repair` times; a set without
    that template asks once. A refusal is an answer and is not argued with.
    """
    conversations = [prompts.render(name, **each) for each in values]
    replies = oracle.generate(conversations, ORACLE)
    found = [form.of(reply) for reply in replies]
    for _ in range(prompts.repair if prompts.has("repair") else 0):
        unread = [i for i, r in enumerate(replies) if found[i] is None and r.stop != "refusal"]
        if not unread:
            break
        again = [_repaired(conversations[i], replies[i].text, prompts, name) for i in unread]
        for i, reply in zip(unread, oracle.generate(again, ORACLE), strict=True):
            replies[i], found[i] = reply, form.of(reply)
    return found


def _repaired(asked: Conversation, reply: str, prompts: PromptSet, name: str) -> Conversation:
    """The form is taken from the template, not from what was asked: judged text may stand there."""
    form = prompts.texts[name].rstrip().rpartition("\n")[2]
    # The reply may quote the judged text, tokens included.
    shown = defused(reply[:SHOWN].strip()) or NOTHING
    return (*asked, Message("assistant", shown), *prompts.render("repair", form=form))
