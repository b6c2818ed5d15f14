"""Prompt sets: folders of text files, chosen whole, whose text is part of every fingerprint.

A file holds one conversation: a line `@system`, `@user` or `@assistant` opens a turn, the text under
it is a Jinja template. Every text of a model or a data set enters through `quoted`, which fences it off so
that it cannot close its own fence; values are substituted in one pass and never re-read as template.
`set.toml` names the readers for the replies, and with `like` a set whose texts stand where it has none of its own
(docs/extend.md).

A guard model is asked with a set of its own, `guards/NAME.toml`: it was trained to answer in one form, whoever asks.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from iteralign.errors import UserError, unknown
from iteralign.security import documents
from iteralign.types import Conversation, Message, Principle

TOKEN = re.compile(
    r"""<(?=[|｜][^<>\s]{1,200}>         # <|im_end|>, <｜Assistant｜>, and halves such as <|name>
          | [|｜][^<>\n]{1,60}[|｜]>    # <|im end|>
          | /?[\w:.▁-]{1,60}[|｜]?[ ]?/?>   # </s>, <s/>, <end_of_turn>, <think>, <seed:bos>, <response-0a1b2c3d>
          | </?[A-Z]{1,20}>>)           # <<SYS>>
      | \[(?=/?[A-Z][A-Z_\d]{1,40}\] | gMASK\] | e~\[ | unused\d{1,4}\] | \|[^\[\]\s]{1,60}\])
      # [INST], [TOOL_CALLS], [UNUSED_TOKEN_145], [gMASK], [e~[, [unused1], [|user|]
      | ◁(?=/?\w{1,40}▷)               # ◁think▷
      | \](?=~!?b[\[\]])               # ]~b], ]~!b[""",
    re.VERBOSE,
)
"""The bracket that opens a special token of any family of models. A tag of markup cannot be told apart from one."""

TURN = re.compile(r"^@(system|user|assistant)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class GuardForm:
    """The form in which a guard model answers: patterns (Python's `re`) that tell its two words apart.

    category: finds the kind of harm, its last group if it has one. categories: what its codes mean.
    """

    harmful: str
    harmless: str
    category: str = ""
    categories: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PromptSet:
    """The texts of one way to judge, propose and revise, and the names of the readers of the replies.

    repair: how often a reply that cannot be read is asked for again, if there is a template `repair`.
    """

    name: str
    texts: Mapping[str, str]
    readers: Mapping[str, str]
    repair: int = 0
    guard: GuardForm | None = None

    def has(self, name: str) -> bool:
        return name in self.texts

    def render(self, name: str, **values: Any) -> Conversation:
        """Return the conversation of template `name`.

        Raises UserError where the template does not work, as with a missing value: it is never an empty text.
        """
        turns = TURN.split(self.texts.get(name, ""))[1:]
        if not turns:
            raise UserError(f"method.prompts {self.name}: {name}.md is missing, or opens no turn (@user)")
        try:
            return tuple(
                Message(role, _template(text).render(values).strip("\n"))  # type: ignore[arg-type]
                for role, text in zip(turns[::2], turns[1::2], strict=True)
            )
        except Exception as error:  # a template computes, and may end in any error
            raise UserError(
                f"method.prompts {self.name}: {name}.md: {type(error).__name__}: {error}"
            ) from error

    def text(self, name: str, **values: Any) -> str:
        """The content of a template with a single turn."""
        return self.render(name, **values)[-1].content


def quoted(kind: str, text: str) -> str:
    """Return `text`, its special tokens broken, between tags that do not occur in it.

    The tag carries a digest of the text, salted until it does not: an attacker can find a text that holds its own.
    """
    text = defused(text)
    tag, salt = "", 0
    while not tag or tag in text:
        digest = hashlib.sha256(f"{salt or ''}{text}".encode(errors="surrogatepass")).hexdigest()
        tag, salt = f"{kind}-{digest[:8]}", salt + 1
    return f"<{tag}>\n{text}\n</{tag}>"


def defused(text: str) -> str:
    """Return `text` with a blank behind each bracket that opens a tag or a special token.

    A server may read such a token as its own template's, and what a model wrote must not end its turn.
    """
    return TOKEN.sub(lambda bracket: f"{bracket[0]} ", str(text))  # str: a missing value says so


def listing(principles: tuple[Principle, ...]) -> str:
    """A constitution as it stands in a context: numbered lines."""
    return "\n".join(f"{i}. {p.text}" for i, p in enumerate(principles, 1))


def load(name: str) -> PromptSet:
    """A shipped set by name, or a directory of the user's own. Raises UserError."""
    shipped = _shipped()
    if name in shipped:
        return _read(name, _here() / name)
    folder = Path(name)
    if (folder / "set.toml").is_file():
        try:
            return _read(folder.name, folder)
        except documents.Unreadable as error:
            raise UserError(f"method.prompts: {name!r} cannot be read ({error})") from None
    if folder.is_dir():
        raise UserError(f"method.prompts: {name!r} has no set.toml; copy one of {', '.join(shipped)}")
    raise unknown("method.prompts", name, shipped)


def _here() -> Traversable:
    return resources.files(__package__)


def _shipped() -> list[str]:
    return sorted(p.name for p in _here().iterdir() if (p / "set.toml").is_file())


def _read(name: str, folder: Traversable) -> PromptSet:
    """The set in a folder. Raises UserError, Unreadable."""
    own = {
        p.name.removesuffix(".md"): _text(folder / p.name) for p in folder.iterdir() if p.name.endswith(".md")
    }
    readers = documents.parsed_toml(_text(folder / "set.toml"))
    like = readers.pop("like", None)
    if like is not None and like not in _shipped():
        raise unknown(f"method.prompts {name}: set.toml: like", str(like), _shipped())
    texts = {**(load(like).texts if like else {}), **own}
    for template, text in own.items():
        try:
            _template(text)
        except jinja2.TemplateSyntaxError as error:
            raise UserError(f"method.prompts {name}: {template}.md:{error.lineno}: {error.message}") from None
    return PromptSet(name, dict(sorted(texts.items())), readers)


def _text(file: Traversable) -> str:
    """A file of a set: on the user's disk it may be anything. Raises Unreadable."""
    if isinstance(file, Path):
        return documents.text(file, documents.SETTINGS)
    return file.read_text(encoding="utf-8")


@lru_cache
def _template(text: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.globals.update(quoted=quoted, listing=listing, defused=defused)
    return environment.from_string(text)
