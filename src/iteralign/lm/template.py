"""Chat templates: how turns become text, by a tokenizer's Jinja template or in the plain format of base models.

A template is read, not trusted: some refuse a system turn or drop it, some tell the date, some think aloud.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import takewhile
from typing import Any

import jinja2

from iteralign.errors import UserError
from iteralign.types import Message

PLAIN = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}\n\n"
    "{% else %}{{ m['role'] | upper }}: {{ m['content'] }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""The plain format as a chat template, for those who load an exported model elsewhere."""

THOUGHTS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|channel|>analysis<|message|>": "<|channel|>final<|message|>",
}
"""How models that think aloud mark it: what opens a thought, and what closes it. From the templates of Qwen3 and
DeepSeek-R1, Granite, EXAONE Deep, Seed-OSS, Magistral, Kimi and gpt-oss."""

MARKS = (*THOUGHTS, *THOUGHTS.values())

OPENED = re.compile(
    r"<(\w{0,20}(?:think|thought|reason|analy[sz]|reflect|scratchpad|rationale)\w{0,20})>\s*\Z", re.I
)
"""How a prompt ends that opens a thought by a tag which THOUGHTS does not name; `</…>` closes it."""

TODAY = date(2024, 7, 26)
"""What a template is told that asks for the date (the default of Llama 3's): a prompt must not change overnight,
neither between training and generation nor in a run that is resumed."""


SAID = (
    "Hello. "
    + "\n\n".join(f"Line {i} of a request, with `code`, 1 < 2 & more." for i in range(40))
    + " Done."
)
"""A probe about as long as a long request (2,000 characters): some templates cut what is long."""

FAULTS = (jinja2.TemplateError, TypeError, ValueError)
"""What a template raises: to refuse, or where it expects another kind of content."""


def plain(turns: Sequence[Message]) -> str:
    lines = [m.content + "\n" if m.role == "system" else f"{m.role.upper()}: {m.content}" for m in turns]
    return "\n".join([*lines, "ASSISTANT:"])


def templated(tokenizer: Any, turns: Sequence[Message]) -> str:
    """The chat template's text. A template that refuses or drops a system turn gets it folded away."""
    try:
        text = _apply(tokenizer, turns)
        system = next((m.content.strip() for m in turns if m.role == "system"), "")
        if system in text:
            return text
    except FAULTS:
        pass
    try:
        return _apply(tokenizer, _folded(turns))
    except FAULTS as error:
        roles = ", ".join(m.role for m in turns)
        why = " ".join(str(error).split())[:200]
        raise UserError(f"policy.template: the chat template refuses the turns {roles}: {why}") from error


def _apply(tokenizer: Any, turns: Sequence[Message], prompt: bool = True) -> str:
    messages = [{"role": m.role, "content": m.content} for m in turns]
    text = tokenizer.apply_chat_template(
        messages,
        tokenize=False,
        add_generation_prompt=prompt,
        enable_thinking=False,  # where a template knows it, the answer begins at once (Qwen3, SmolLM3)
        strftime_now=TODAY.strftime,
    )
    return str(text)


def _folded(turns: Sequence[Message]) -> list[Message]:
    """The turns without system role: its text opens the first user turn."""
    system = "\n\n".join(m.content for m in turns if m.role == "system")
    rest = [m for m in turns if m.role != "system"]
    for i, m in enumerate(rest):
        if system and m.role == "user":
            return [*rest[:i], Message("user", f"{system}\n\n{m.content}"), *rest[i + 1 :]]
    return rest


def after_thought(text: str, opened: str = "") -> str | None:
    """Return what a model says after the thought that its output begins with; None if the thought has no end.

    Only a thought at the very beginning counts: text in the middle of an answer cannot hide what stands before it.

    Args:
        text: the output of a model; without a thought it is the answer as it is.
        opened: the marker of a thought that the prompt has opened already.
    """
    rest = text.lstrip()
    while marker := opened or next((m for m in MARKS if rest.startswith(m)), ""):
        opened = ""
        _, closed, rest = rest.partition(closer_of(marker))
        if not closed:
            return None
        rest = rest.lstrip()
    return rest


def closer_of(marker: str) -> str:
    """Return what closes the thought that `marker` opens; a closing mark stands for itself."""
    if marker in MARKS:
        return THOUGHTS.get(marker, marker)
    return f"</{marker[1:]}"


@dataclass(frozen=True)
class Seam:
    """What a chat template writes around an assistant's answer.

    lead: what stands between the prompt and the answer. end: the special token that closes it (it may differ from
    EOS, as in ChatML on a base model), else EOS. thinks: the marker of the thought that a prompt leaves open; `lead`
    then closes it. odd: what else the template writes when it asks for an answer but not before one that is there.
    """

    lead: str
    end: str
    thinks: str = ""
    odd: str = ""


def seam(tokenizer: Any, special: Sequence[str]) -> Seam:
    """Read off a probe. Raises UserError for a template that leaves out or changes what was said."""
    said, answer = SAID, "Probe"
    user = Message("user", said)
    prompt = templated(tokenizer, [user])
    if said not in prompt:
        raise UserError(
            f"policy.template: the chat template {'cuts or changes' if said[:5] in prompt else 'leaves out'} what the "
            "user says (templates for images leave out plain text); use 'plain', or name a *.jinja file"
        )
    _require_history(tokenizer)
    try:
        full = _apply(tokenizer, [user, Message("assistant", answer)], prompt=False)
    except FAULTS:
        full = prompt
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(prompt, full, strict=False)))
    asks, (written, found, tail) = prompt[same:], full[same:].partition(answer)
    end = next((t for t in special if found and tail.lstrip().startswith(t)), tokenizer.eos_token)
    lead = written if found and not asks else ""
    opening = prompt.rpartition(said)[2]
    thinks = next((opener for opener in THOUGHTS if opener in opening), "")
    if not thinks and (tag := OPENED.search(opening)):
        thinks = tag[0].rstrip()
    if not thinks:
        return Seam(lead, end, odd=asks)
    closer = closer_of(thinks)
    if closer in opening:  # an empty thought: the answer begins at once
        return Seam(lead, end)
    return Seam(lead if closer in lead else f"{prompt[len(prompt.rstrip()) :]}{closer}\n\n", end, thinks)


def _require_history(tokenizer: Any) -> None:
    """Raise UserError for a template that drops earlier turns: a revision is asked with all of them.

    One that refuses several turns does so by itself, and only where they are used.
    """
    turns = [Message("user", SAID), Message("assistant", f"{SAID} Yes."), Message("user", "And then?")]
    try:
        text = _apply(tokenizer, turns)
    except FAULTS:
        return
    if missing := [m.role for m in turns if m.content not in text]:
        raise UserError(
            f"policy.template: the chat template leaves out or cuts an earlier turn of the {missing[0]}; use 'plain', "
            "or name a *.jinja file"
        )
