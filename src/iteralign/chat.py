"""Rendering: how a conversation becomes the token ids a language model reads.

Generation and training both call this file and nothing else, so that the prompt a policy was
trained on is, id by id, the prompt it is asked with.

Three formats:
chat    the tokenizer's own chat template, with its generation prompt
plain   SYSTEM, a blank line, then `USER: …` and `ASSISTANT: …` lines (after Vicuna v1.1, with line
        breaks); an answer also ends where the model begins the next `USER:` turn
raw     the contents alone, joined by blank lines: for prompts that carry their own wrapping, as the
        paper's released ones do
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jinja2

from iteralign.errors import UserError, unknown
from iteralign.types import Conversation, Message

Format = Literal["chat", "plain", "raw"]
TEMPLATES = ("auto", "chat", "plain", "raw")
PLAIN_STOP = ("\nUSER:",)


@dataclass(frozen=True)
class Row:
    """One training row as ids. The loss is on `completion` alone, which ends with the end of turn."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]


@dataclass(frozen=True)
class Chat:
    """One tokenizer's way of writing conversations; made by `chat_of`.

    lead: what stands between the prompt and the answer's first letter. end: the token that closes an
    answer, taught in training. special: the tokenizer's special tokens, longest first. stops: strings
    that also end an answer.
    """

    tokenizer: Any
    format: Format
    lead: str
    end: str
    special: tuple[str, ...]
    stops: tuple[str, ...] = ()

    def prompt(self, conversation: Conversation) -> str:
        """The prompt text, up to where the answer begins."""
        turns = [Message(m.role, self._defused(m.content)) for m in conversation]
        if self.format == "chat":
            return _templated(self.tokenizer, turns)
        return _plain(turns) if self.format == "plain" else "\n\n".join(m.content for m in turns)

    def completion(self, answer: str) -> str:
        """The text that training teaches after the prompt: the answer and the end of turn."""
        return self.lead + self._defused(answer.strip()) + self.end

    def prompt_ids(self, conversation: Conversation) -> list[int]:
        """Token ids of the prompt, with the tokenizer's start token where the template writes none."""
        return self._ids(self.prompt(conversation))

    def text_ids(self, text: str) -> list[int]:
        """Token ids of text that is already written as `prompt` writes it."""
        return self._ids(text)

    def row(self, conversation: Conversation, answer: str) -> Row:
        """The ids to train on; the prompt's are those of `prompt_ids`, whatever follows them.

        Tokenizers may merge letters across the seam: then prompt and completion are encoded apart.
        """
        prompt = self.prompt_ids(conversation)
        completion = self.completion(answer)
        joint = self._ids(self.prompt(conversation) + completion)
        if joint[: len(prompt)] == prompt:
            return Row(tuple(prompt), tuple(joint[len(prompt) :]))
        apart = self.tokenizer(completion, add_special_tokens=False)["input_ids"]
        return Row(tuple(prompt), tuple(apart))

    def end_ids(self) -> tuple[int, ...]:
        """The ids that end an answer: the end of turn first, then the tokenizer's EOS if it differs."""
        ids = [self.tokenizer.convert_tokens_to_ids(self.end), self.tokenizer.eos_token_id]
        return tuple(dict.fromkeys(i for i in ids if i is not None))

    def pad_id(self) -> int:
        """The id that fills batches up. May equal EOS: masks here go by position, never by id."""
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.end_ids()[0])

    def _defused(self, text: str) -> str:
        """`text` with special tokens broken by a blank: what a model wrote must not open or close a turn."""
        for token in self.special:
            if token in text:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    def _ids(self, text: str) -> list[int]:
        ids = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        start = self.tokenizer.bos_token_id
        if self.format == "chat" or start is None:
            return ids
        adds_start = start in self.tokenizer("")["input_ids"]
        return [start, *ids] if adds_start and ids[:1] != [start] else ids


def chat_of(tokenizer: Any, template: str = "auto") -> Chat:
    """The `Chat` of a tokenizer; `auto` is `chat` where there is a chat template, else `plain`.

    Raises UserError for an unknown template, a `chat` without one, and a tokenizer without EOS.
    """
    if template not in TEMPLATES:
        raise unknown("policy.template", template, TEMPLATES)
    has = bool(getattr(tokenizer, "chat_template", None))
    if template == "chat" and not has:
        raise UserError("policy.template: 'chat', but there is no chat template; use auto, plain or raw")
    if tokenizer.eos_token is None:
        raise UserError(
            "policy.model: this tokenizer has no end-of-text token, so answers could not be ended"
        )
    special = _special(tokenizer)
    if template == "chat" or (template == "auto" and has):
        lead, end = _seam(tokenizer, special)
        return Chat(tokenizer, "chat", lead, end, special)
    if template == "raw":
        return Chat(tokenizer, "raw", " ", tokenizer.eos_token, special)
    return Chat(tokenizer, "plain", " ", tokenizer.eos_token, special, PLAIN_STOP)


def _plain(turns: Sequence[Message]) -> str:
    lines = [m.content + "\n" if m.role == "system" else f"{m.role.upper()}: {m.content}" for m in turns]
    return "\n".join([*lines, "ASSISTANT:"])


def _templated(tokenizer: Any, turns: Sequence[Message]) -> str:
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
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))


def _folded(turns: Sequence[Message]) -> list[Message]:
    """The turns without system role: its text opens the first user turn."""
    system = "\n\n".join(m.content for m in turns if m.role == "system")
    rest = [m for m in turns if m.role != "system"]
    for i, m in enumerate(rest):
        if system and m.role == "user":
            return [*rest[:i], Message("user", f"{system}\n\n{m.content}"), *rest[i + 1 :]]
    return rest


def _seam(tokenizer: Any, special: Sequence[str]) -> tuple[str, str]:
    """(lead, end) of a chat template, read off a probe: what it writes around an assistant's answer.

    Where the template closes an answer with a special token, that one is the end of turn (it may
    differ from EOS, as in ChatML on a base model); else EOS is.
    """
    probe = "Probe"
    user = Message("user", "Hello")
    prompt = _templated(tokenizer, [user])
    try:
        full = _apply(tokenizer, [user, Message("assistant", probe)], prompt=False)
    except jinja2.TemplateError:
        full = ""
    if not full.startswith(prompt) or probe not in full[len(prompt) :]:
        return "", tokenizer.eos_token
    lead, _, tail = full[len(prompt) :].partition(probe)
    return lead, next((t for t in special if tail.lstrip().startswith(t)), tokenizer.eos_token)


def _special(tokenizer: Any) -> tuple[str, ...]:
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    texts = {*tokenizer.all_special_tokens, *(t.content for t in added if t.special)}
    return tuple(sorted((t for t in texts if len(t) > 1), key=lambda t: (-len(t), t)))
