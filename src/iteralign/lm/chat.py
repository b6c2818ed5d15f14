"""Rendering: how a conversation becomes the token ids a language model reads.

Generation and training both call this file and nothing else, so that the prompt a policy was
trained on is, id by id, the prompt it is asked with.

Three formats:
chat    the tokenizer's own chat template, or one that the user gives, with its generation prompt
plain   SYSTEM, a blank line, then `USER: …` and `ASSISTANT: …` lines (after Vicuna v1.1, with line
        breaks); an answer also ends where the model begins the next `USER:` turn
raw     the contents alone, joined by blank lines: for prompts that carry their own wrapping, as the
        paper's released ones do; the special tokens of the first turn of the user are left alone

A policy that thinks aloud is asked as its template asks it. Its thought is neither judged nor taught (`Chat.answer`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from iteralign.errors import UserError, unknown
from iteralign.lm import template as templates
from iteralign.types import Conversation, Message

Format = Literal["chat", "plain", "raw"]
TEMPLATES = ("auto", "chat", "plain", "raw")
NAMED = "chat:"
"""Before the name of one of several chat templates of a tokenizer, as in `chat:rag`."""
PLAIN_STOP = ("\nUSER:",)


@dataclass(frozen=True)
class TrainingRow:
    """One training row as ids. The loss is on `completion` alone, which ends with the end of turn."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]


@dataclass(frozen=True)
class Chat:
    """One tokenizer's way of writing conversations; made by `chat_of`.

    lead: what stands between the prompt and the answer's first letter. end: the token that closes an
    answer, taught in training. special: the tokenizer's special tokens, longest first. stops: strings
    that also end an answer. why: how the format came to be chosen, for people. thinks: the marker of the thought that
    a prompt leaves open; `lead` closes it. embeddings: how many tokens the model knows, if that is known.
    """

    tokenizer: Any
    format: Format
    lead: str
    end: str
    special: tuple[str, ...]
    stops: tuple[str, ...] = ()
    why: str = ""
    thinks: str = ""
    embeddings: int | None = None

    def prompt(self, conversation: Conversation) -> str:
        """The prompt text, up to where the answer begins."""
        roles = [m.role for m in conversation]
        # In raw, the first turn of the user is the set's prompt, and brings markers of its own; all else a model wrote.
        own = roles.index("user") if self.format == "raw" and "user" in roles else None
        turns = [
            m if i == own else Message(m.role, self._defused(m.content)) for i, m in enumerate(conversation)
        ]
        if self.format == "chat":
            return templates.templated(self.tokenizer, turns)
        return templates.plain(turns) if self.format == "plain" else "\n\n".join(m.content for m in turns)

    def completion(self, answer: str) -> str:
        """The text that training teaches after the prompt: the answer and the end of turn."""
        return self.lead + self._defused(answer.strip()) + self.end

    def written(self, ids: Sequence[int]) -> str:
        """The text of what the model wrote, without special tokens, save those that mark a thought."""
        shown = [i for i in ids if i not in self._hidden]
        skip = not self._hidden
        return str(self.tokenizer.decode(shown, skip_special_tokens=skip, clean_up_tokenization_spaces=False))

    @cached_property
    def _hidden(self) -> frozenset[int]:
        """Where special tokens mark a thought, as Magistral's do: all others. Else none, as the decoder skips all."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        special = {i: token.content for i, token in added.items() if token.special}
        hidden = frozenset(
            i for i, content in special.items() if not any(content in m for m in templates.MARKS)
        )
        return hidden if len(hidden) < len(special) else frozenset()

    def answer(self, output: str) -> str | None:
        """The answer in what the model wrote, without the thought before it; None if it ended inside its thought."""
        return templates.after_thought(output, self.thinks)

    def prompt_ids(self, conversation: Conversation) -> list[int]:
        """Token ids of the prompt, with the tokenizer's start token where the template writes none."""
        return self._ids(self.prompt(conversation))

    def text_ids(self, text: str) -> list[int]:
        """Token ids of text that is already written as `prompt` writes it."""
        return self._ids(text)

    def row(self, conversation: Conversation, answer: str) -> TrainingRow:
        """The ids to train on; the prompt's are those of `prompt_ids`, whatever follows them.

        Tokenizers may merge letters across the seam: then prompt and completion are encoded apart.
        Raises UserError if the end would not be taught: the policy would never learn to stop.
        """
        prompt = self.prompt_ids(conversation)
        completion = self.completion(answer)
        ids = self._ids(self.prompt(conversation) + completion)
        if ids[: len(prompt)] == prompt:
            ids = ids[len(prompt) :]
        else:
            ids = self._embedded(
                self.tokenizer(completion, add_special_tokens=False, verbose=False)["input_ids"]
            )
        if ids[-1:] != [self.end_ids()[0]]:
            raise UserError(
                f"policy.model: the tokenizer does not read its end token {self.end!r} as one token, so no answer "
                "could be taught to end; look at split_special_tokens and eos_token in tokenizer_config.json"
            )
        return TrainingRow(tuple(prompt), tuple(ids))

    def portable(self) -> Any:
        """The tokenizer to go with an exported model. The plain format goes as a chat template where that gives the
        same ids; some tokenizers begin a text differently behind a start token that is written out."""
        if self.format == "plain":
            asked = (Message("user", "Hello?"), Message("assistant", "Yes."), Message("user", "Why?"))
            ids = self.prompt_ids(asked)
            begins = ids[:1] == [self.tokenizer.bos_token_id]
            self.tokenizer.chat_template = "{{ bos_token }}" * begins + templates.PLAIN
            if replace(self, format="chat").prompt_ids(asked) != ids:
                self.tokenizer.chat_template = None
        return self.tokenizer

    def fitting(self, conversations: Sequence[Conversation], limit: int) -> list[list[int]]:
        """The ids of each prompt. Raises UserError if any leaves no room for an answer within `limit` tokens: how
        many, and the longest; cutting one would ask something else."""
        ids = [self.prompt_ids(conversation) for conversation in conversations]
        over = [i for i, prompt in enumerate(ids) if len(prompt) >= limit]
        if over:
            longest = max(over, key=lambda i: len(ids[i]))
            text = " ".join(conversations[longest][-1].content.split())[:60]
            raise UserError(
                f"{len(over)} of {len(ids)} prompts do not fit into the policy's context of {limit} tokens, answer "
                f"included; the longest is prompt {longest} ({text!r}) with {len(ids[longest])} tokens; shorten or "
                "leave out such prompts, or take a base with a longer context"
            )
        return ids

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

    def lacking(self) -> list[str]:
        """The tokens that the tokenizer knows and the model does not: they have no embedding."""
        known = sorted(self.tokenizer.get_vocab().items(), key=lambda item: item[1])
        return [token for token, id in known if self.embeddings is not None and id >= self.embeddings]

    def _embedded(self, ids: Sequence[int]) -> list[int]:
        """`ids`. Raises UserError for one without an embedding: an index error later, on a GPU an unreadable one."""
        if self.embeddings is not None and (most := max(ids, default=0)) >= self.embeddings:
            token = self.tokenizer.convert_ids_to_tokens(most)
            raise UserError(
                f"policy.model: a text holds the token {token!r} (id {most}), for which the model has no embedding: it "
                f"has {self.embeddings}; resize them (resize_token_embeddings), take the token out of the tokenizer, "
                "or leave that text out"
            )
        return list(ids)

    def _ids(self, text: str) -> list[int]:
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        start = self.tokenizer.bos_token_id
        if self.format == "chat" or start is None or ids[:1] == [start]:
            return self._embedded(ids)
        adds_start = start in self.tokenizer("")["input_ids"]
        return self._embedded([start, *ids] if adds_start else ids)


def chat_of(
    tokenizer: Any,
    template: str = "auto",
    ends: Collection[int] | None = None,
    embeddings: int | None = None,
) -> Chat:
    """The `Chat` of a tokenizer; `auto` is `chat` where there is a chat template, else `plain`.

    template: one of TEMPLATES, `chat:NAME`, or a chat template's Jinja text, which takes the place of the
    tokenizer's own. ends: the ids at which the model itself ends, if known. embeddings: as in `Chat`.

    Raises UserError for an unknown template, a `chat` without one, a tokenizer without EOS, and, under `auto`,
    a template that ends answers with a token at which the model does not end.
    """
    require_template(template, "policy.template")
    if is_text(template):
        tokenizer.chat_template = template
    elif template.startswith(NAMED) or template in ("auto", "chat"):
        _choose(tokenizer, template)
    has = bool(getattr(tokenizer, "chat_template", None))
    if template == "chat" and not has:
        raise UserError(
            "policy.template: 'chat', but the tokenizer has no chat template; use auto, plain or raw, or name a "
            "*.jinja file"
        )
    if tokenizer.eos_token is None:
        raise UserError(
            "policy.model: this tokenizer has no end-of-text token, so answers could not be ended; set eos_token "
            "in its tokenizer_config.json"
        )
    chat = replace(_chosen(tokenizer, template, has), embeddings=embeddings)
    _require_end(chat)
    if template == "auto" and chat.format == "chat":
        _refuse_borrowed(chat, ends)
    _require_embeddings(chat)
    return chat


def is_text(template: str) -> bool:
    """Whether a template is the Jinja text itself, not one of TEMPLATES."""
    return "{" in template


def require_template(template: str, field: str) -> None:
    """One of TEMPLATES, `chat:NAME` or Jinja text. Raises UserError."""
    if template not in TEMPLATES and not template.startswith(NAMED) and not is_text(template):
        raise unknown(field, template, TEMPLATES)


def _choose(tokenizer: Any, template: str) -> None:
    """Take the named one of a tokenizer's chat templates. Raises UserError for several without a default."""
    own = getattr(tokenizer, "chat_template", None)
    named = own if isinstance(own, dict) else {}
    names = ", ".join(sorted(named))
    if template.startswith(NAMED):
        name = template.removeprefix(NAMED)
        if name not in named:
            raise UserError(
                f"policy.template: {template!r}, but the tokenizer has "
                + (f"the chat templates {names}" if named else "no chat templates with names; use 'auto'")
            )
        tokenizer.chat_template = named[name]
    elif named and "default" not in named:
        raise UserError(
            f"policy.template: {template}: the tokenizer has several chat templates and none is the default: {names}; "
            f"choose one, as in '{NAMED}{min(named)}', or take 'plain' or a *.jinja file of your own"
        )


def _chosen(tokenizer: Any, template: str, has: bool) -> Chat:
    special, eos = _special(tokenizer), tokenizer.eos_token
    asked = "policy.template asks for it"
    if template == "raw":
        return Chat(tokenizer, "raw", " ", eos, special, why=asked)
    if template == "plain" or not has:
        why = (
            asked
            if template == "plain"
            else "the tokenizer has no chat template, as is usual for a base model"
        )
        return Chat(tokenizer, "plain", " ", eos, special, PLAIN_STOP, why)
    seam = templates.seam(tokenizer, special)
    if seam.odd and template == "auto":
        raise UserError(
            f"policy.template: auto: the chat template opens an answer with {seam.odd!r} where it asks for one, and "
            "not where it writes one, so training would not be as it writes; choose 'chat' to train as it asks, or "
            "'plain'"
        )
    why = "the tokenizer has a chat template" if template == "auto" else asked
    if seam.thinks:
        special = _longest_first({*special, seam.thinks, templates.closer_of(seam.thinks)})
    return Chat(tokenizer, "chat", seam.lead, seam.end, special, why=why, thinks=seam.thinks)


def _require_end(chat: Chat) -> None:
    """A token that the vocabulary lacks would be read as `unknown`, and taught as the end."""
    if chat.end not in chat.tokenizer.get_vocab():
        raise UserError(
            f"policy.model: the end token {chat.end!r} is not in the tokenizer's vocabulary, so no answer could be "
            "taught to end; set eos_token in tokenizer_config.json to one that is"
        )


def _require_embeddings(chat: Chat) -> None:
    """Every row ends with the end token, and every batch is filled up with the pad token."""
    for what, id in (("end", chat.end_ids()[0]), ("pad", chat.pad_id())):
        if chat.embeddings is not None and id >= chat.embeddings:
            token = chat.tokenizer.convert_ids_to_tokens(id)
            raise UserError(
                f"policy.model: the tokenizer's {what} token {token!r} has the id {id}, but the model has "
                f"{chat.embeddings} embeddings; resize them (resize_token_embeddings), or name another token in "
                "tokenizer_config.json"
            )


def _refuse_borrowed(chat: Chat, ends: Collection[int] | None) -> None:
    """Base models are often published with the tokenizer of their chat sibling, template included, sometimes EOS
    too. What the model's own config says it ends at is the better witness."""
    end, *_ = chat.end_ids()
    known = sorted(ends or (chat.tokenizer.eos_token_id,))
    if ends is None or end in known:
        return
    own = ", ".join(repr(t) for t in chat.tokenizer.convert_ids_to_tokens(known))
    raise UserError(
        f"policy.template: auto: the tokenizer's chat template ends an answer with {chat.end!r}, but the model ends "
        f"with {own}: it looks like a base model with the template of a chat model; say which: 'plain' (base), or "
        "'chat' (to train the template in)"
    )


def _special(tokenizer: Any) -> tuple[str, ...]:
    """What text must not hold: the special tokens, and the markers of a thought that are tokens, as Qwen3's are."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    found = {t.content for t in added if t.special or t.content in templates.MARKS}
    texts = {*tokenizer.all_special_tokens, *found}
    return _longest_first(texts)


def _longest_first(tokens: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted((t for t in tokens if len(t) > 1), key=lambda t: (-len(t), t)))
