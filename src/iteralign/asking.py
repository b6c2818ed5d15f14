"""Asking: an oracle answers one template for each of many values; a reply that cannot be read is asked for again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from iteralign.lab import Model
from iteralign.prompts import PromptSet
from iteralign.reading import said
from iteralign.types import Conversation, Message, Sampling

ORACLE = Sampling(max_tokens=1000)
"""Oracles answer greedily (the released code's temperature 0); the length bound is ours."""

NOTHING = "(no answer)"
"""Stands for an empty reply, as providers refuse an empty turn."""

Readable = Callable[[str], bool]


def ask(
    oracle: Model,
    prompts: PromptSet,
    name: str,
    values: Sequence[Mapping[str, Any]],
    readable: Readable = lambda _: True,
) -> list[str]:
    """What the oracle says to template `name` under each of the values, in order.

    Where that is not `readable`, it sees its own reply and template `repair`, up to `prompts.repair` times; a set
    without that template asks once. A refusal is an answer, an empty one, and is not argued with.
    """
    conversations = [prompts.render(name, **each) for each in values]
    replies = oracle.generate(conversations, ORACLE)
    for _ in range(prompts.repair if prompts.has("repair") else 0):
        unread = [i for i, r in enumerate(replies) if r.stop != "refusal" and not readable(r.text)]
        if not unread:
            break
        again = [_repaired(conversations[i], replies[i].text, prompts, name) for i in unread]
        for i, reply in zip(unread, oracle.generate(again, ORACLE), strict=True):
            replies[i] = reply
    return [said(reply) for reply in replies]


def _repaired(asked: Conversation, reply: str, prompts: PromptSet, name: str) -> Conversation:
    """The form is taken from the template, not from what was asked: judged text may stand there."""
    form = prompts.texts[name].rstrip().rpartition("\n")[2]
    return (*asked, Message("assistant", reply.strip() or NOTHING), *prompts.render("repair", form=form))
