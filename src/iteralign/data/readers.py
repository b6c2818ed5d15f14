"""Readers: pure functions from the rows of a set to prompts. Blank ones are left out; the caller counts them.

`column` takes one column, `transcript` a conversation of hh-rlhf, `wrapped` a question inside a template.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from iteralign.data import families, formats
from iteralign.data.formats import Row
from iteralign.errors import UserError, unknown
from iteralign.types import Prompt

Turns = Literal["first", "transcript"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a set keeps what: `text` and `topic` name its columns in each form in which it is published.

    `field` is the user's own choice of the column and wins. `name` is for error messages.
    """

    name: str
    text: tuple[str, ...] = ()
    topic: tuple[str, ...] = ()
    field: str | None = None
    turns: Turns = "first"


Reader = Callable[[Sequence[Row], Layout], tuple[Prompt, ...]]


def column(rows: Sequence[Row], layout: Layout) -> tuple[Prompt, ...]:
    """The prompts of one column; the columns `family`, `topic` and `id` are honoured. Raises UserError."""
    texts, topics = cells(rows, layout), _topics(rows, layout)
    found: list[Prompt] = []
    for row, text, topic in zip(rows, texts, topics, strict=True):
        if text.strip():
            found.append(_own(families.prompt(text, topic), row))
    return families.unique(found)


def transcript(rows: Sequence[Row], layout: Layout) -> tuple[Prompt, ...]:
    """Conversations of hh-rlhf: the first human turn, or all up to the last `Assistant:`. Raises UserError.

    Either way the first human turn decides the family: transcripts that open alike are one.
    """
    found: list[Prompt] = []
    for text in cells(rows, layout):
        first = first_human_turn(text)
        asked = first if layout.turns == "first" else to_last_assistant(text)
        if first:
            found.append(families.prompt(asked, about=first))
    return families.unique(found)


def wrapped(rows: Sequence[Row], layout: Layout) -> tuple[Prompt, ...]:
    """Whole prompts of IterAlign; the question inside the template decides the family. Raises UserError."""
    texts = [text for text in cells(rows, layout) if text.strip()]
    return families.unique(families.prompt(text, about=bare_question(text)) for text in texts)


# What a blank line must hold to be a role marker; any other blank line belongs to the turn.
_MARKER = re.compile(r"(?:\A\s*|\r?\n\r?\n)(Human|Assistant):")


def first_human_turn(text: str) -> str:
    """The first human turn that says something, without the blanks (NBSP too) around it; "" if there is none."""
    turns = _MARKER.split(text)[1:]
    said = (turn.strip() for role, turn in zip(turns[::2], turns[1::2], strict=True) if role == "Human")
    return next(filter(None, said), "")


def to_last_assistant(text: str) -> str:
    """The transcript up to and with its last `Assistant:`, so that the assistant speaks next."""
    ends = [m.end() for m in _MARKER.finditer(text) if m[1] == "Assistant"]
    return text[: ends[-1]] if ends else f"{text.rstrip()}\n\nAssistant:"


# The two templates of the released data: Vicuna's line, and the last conversation of a chain of utterances.
_TEMPLATES = (
    re.compile(r" USER: (.+) ASSISTANT:\s*\Z", re.DOTALL),
    re.compile(r".*\n\nNow, given the conversation:\n\nRed-LM: (.+?)\n\n", re.DOTALL),
)


def bare_question(text: str) -> str:
    """The question inside a template of the released data; the text itself where none fits."""
    for template in _TEMPLATES:
        if match := template.search(text):
            return match[1]
    return text


def cells(rows: Sequence[Row], layout: Layout) -> list[str]:
    """The text of each row, blank where it has none. Raises UserError: no such column, or no text in it."""
    name = chosen(formats.columns(rows), layout)
    return [_text(row, name, f"{layout.name}: row {number}") for number, row in enumerate(rows, 1)]


def chosen(columns: Sequence[str], layout: Layout) -> str:
    """The column that holds the prompts; "" if the rows are bare texts. Raises UserError."""
    if not columns:
        return ""
    if layout.field is not None:
        if layout.field not in columns:
            raise unknown(f"{layout.name}: column (field)", layout.field, columns)
        return layout.field
    known = next((name for name in layout.text if name in columns), None) or formats.usual(columns)
    if known is None:
        raise UserError(
            f"{layout.name}: which column holds the prompts? set field to one of: {_list(columns)}"
        )
    return known


def _text(row: Row, name: str, where: str) -> str:
    if isinstance(row, str):
        return _sound(row)
    if name not in row:
        raise UserError(f"{where}: no column {name!r}; its columns are {_list(row)}")
    value = _first_turn(row[name])
    if value is not None and not isinstance(value, str):
        kind = type(value).__name__
        raise UserError(f"{where}: column {name!r} is not a text but {kind}; its columns are {_list(row)}")
    return _sound(value or "")


def _first_turn(value: Any) -> Any:
    """Of a conversation, what the user says first: a list of texts, or of messages in either usual shape."""
    if not isinstance(value, list | tuple) or not value:
        return value
    messages = [m for m in value if isinstance(m, Mapping)]
    asked = [m for m in messages if m.get("role", m.get("from")) in ("user", "human")]
    return asked[0].get("content", asked[0].get("value")) if asked else value[0]


def _topics(rows: Sequence[Row], layout: Layout) -> list[str]:
    columns = formats.columns(rows)
    name = next((c for c in (*layout.topic, "topic") if c in columns), "")
    return [_label(row.get(name)) if isinstance(row, Mapping) else "" for row in rows]


def _own(prompt: Prompt, row: Row) -> Prompt:
    """The row's own id and family, where it has them."""
    if isinstance(row, str):
        return prompt
    family = _label(row.get("family"))
    return replace(prompt, id=_label(row.get("id")) or prompt.id, family=family or prompt.family)


def _label(value: Any) -> str:
    return "" if value is None else _sound(str(value)).strip()


def _sound(text: str) -> str:
    """Text that UTF-8 can hold: JSON may escape half of a surrogate pair."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _list(columns: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(map(str, columns))
