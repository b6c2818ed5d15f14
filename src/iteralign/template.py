"""Chat templates: how turns become text, by a tokenizer's Jinja template or in the plain format of base models.

A template is read, not trusted: some refuse a system turn or drop it, some tell the date, some think aloud.
"""

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

TODAY = date(2024, 7, 26)
"""What a template is told that asks for the date (the default of Llama 3's): a prompt must not change overnight,
neither between training and generation nor in a run that is resumed."""


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
    except jinja2.TemplateError:
        pass
    try:
        return _apply(tokenizer, _folded(turns))
    except jinja2.TemplateError as error:
        roles = ", ".join(m.role for m in turns)
        why = str(error).splitlines()[0]
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


@dataclass(frozen=True)
class Seam:
    """What a chat template writes around an assistant's answer.

    end: the special token that closes it (it may differ from EOS, as in ChatML on a base model), else EOS.
    odd: what the template writes when it asks for an answer but not before one that is there, as templates of models
    do that always think aloud.
    """

    lead: str
    end: str
    odd: str = ""


def seam(tokenizer: Any, special: Sequence[str]) -> Seam:
    """Read off a probe. Raises UserError for a template that leaves out what the user says."""
    said, answer = "Hello", "Probe"
    user = Message("user", said)
    prompt = templated(tokenizer, [user])
    if said not in prompt:
        raise UserError(
            "policy.template: the chat template leaves out what the user says, as templates for images do with plain "
            "text; use 'plain', or name a *.jinja file"
        )
    try:
        full = _apply(tokenizer, [user, Message("assistant", answer)], prompt=False)
    except jinja2.TemplateError:
        full = prompt
    if not full.startswith(prompt):
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(prompt, full, strict=False)))
        return Seam("", tokenizer.eos_token, prompt[same:])
    lead, found, tail = full[len(prompt) :].partition(answer)
    if not found:
        return Seam("", tokenizer.eos_token)
    return Seam(lead, next((t for t in special if tail.lstrip().startswith(t)), tokenizer.eos_token))
