"""Reading: from the rows of a set to prompts, and a count of what of the rows is not in them.

A cell is a text, a transcript of hh-rlhf, or a list of turns. A text may have an input or a context in another
column, which is part of the prompt. Of several turns nothing is cut unless that is asked for or documented.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from iteralign.data import families, formats
from iteralign.data.formats import Row
from iteralign.errors import UserError, unknown
from iteralign.types import Prompt

Turns = Literal["first", "last", "transcript"]

ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "Human"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "ai", "chatgpt"), "Assistant"),
    **dict.fromkeys(("system", "developer"), "System"),
}
"""Roles as published sets write them, and the names that a transcript gives them."""
SYSTEM = ("system", "systemprompt")
"""Columns that hold a system turn."""
CONTEXTS = {
    "contextstring": "{beside}\n\n---\n\n{text}",  # as HarmBench's direct request joins them
    "context": "{beside}\n\n{text}",
}
INPUT = "{text}\n\n{beside}"
"""How columns that belong to the prompt are joined to it: contexts, and the input of an instruction."""
TOPICS = ("topic", "category", "semanticcategory")
"""Columns that are topics by their plain names, the likeliest first, and others by the pattern below."""
TOPIC = re.compile(
    r".*(topic|category|categorie|(harm|risk|hazard)(area|type|domain|class)|(area|type)sofharm)|area|theme"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a set keeps what: `text` and `topic` name its columns in each form in which it is published.

    `field` is the user's own choice of the column and wins; `turns` the choice among several turns. `name` is for
    error messages.
    """

    name: str
    text: tuple[str, ...] = ()
    topic: tuple[str, ...] = ()
    field: str | None = None
    turns: Turns | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """The prompts of a set. `columns` are those read, the prompt's own first; `topic` is that of topics, or "".

    conversations: rows that hold turns. left_out: rows and turns that are not in the prompts, by what they are.
    """

    prompts: tuple[Prompt, ...]
    columns: tuple[str, ...]
    topic: str
    conversations: int
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns as (role, text), blank ones left out; `usual` is what is read of them if nothing is chosen."""

    turns: tuple[tuple[str, str], ...]
    usual: Turns | None


def read(rows: Sequence[Row], layout: Layout) -> Reading:
    """Read the prompts of one column, with what belongs to them; `family`, `topic` and `id` are honoured.

    The first turn of the user decides the family: conversations that open alike are one.

    Raises UserError: no such column, no text in it, or several turns of which it is not clear what to read.
    """
    columns = formats.columns(rows)
    name = chosen(columns, layout)
    beside = _beside(columns, name)
    topic = _topic([c for c in columns if c not in (name, *beside)], layout)
    left: Counter[str] = Counter()
    found: list[Prompt] = []
    conversations = 0
    for number, row in enumerate(rows, 1):
        where = f"{layout.name}: row {number}"
        talk = _talk(row, name, where)
        if isinstance(talk, Conversation):
            conversations += 1
            left["system turns"] += sum(role == "System" for role, _ in talk.turns)
            text, about, cut = asked(talk, layout.turns, where)
            left["rows cut to one turn"] += cut
        else:
            text, about = talk, bare_question(talk)
        if not text.strip():
            left["blank"] += 1
            continue
        label = ""
        if isinstance(row, Mapping):
            for column, joint in beside.items():
                text, about = _joined(row.get(column), joint, text, about, f"{where}: column {column!r}")
            left["system turns"] += any(
                row.get(c) for c in columns if formats.plain(c) in SYSTEM and c != name
            )
            label = _label(row.get(topic)) if topic else ""
        found.append(_own(families.prompt(text, label, about), row))
    left_out = {what: n for what, n in left.items() if n}
    return Reading(families.unique(found), (name, *beside) if name else (), topic, conversations, left_out)


def chosen(columns: Sequence[str], layout: Layout) -> str:
    """The column that holds the prompts; "" if the rows are bare texts. Raises UserError."""
    if not columns:
        return ""
    if layout.field is not None:
        if layout.field not in columns:
            shown = [formats.shown(str(name)) for name in columns]
            raise unknown(f"{layout.name}: column (field)", layout.field, shown)
        return layout.field
    known = next((name for name in layout.text if name in columns), None) or formats.usual(columns)
    if known is None:
        raise UserError(
            f"{layout.name}: which column holds the prompts? set field to one of: {formats.listed(columns)}"
        )
    return known


def asked(talk: Conversation, way: Turns | None, where: str) -> tuple[str, str, bool]:
    """What is asked in a conversation, its first turn of the user, and whether turns of it are cut.

    A transcript ends after the user's last turn, where the assistant speaks next. Raises UserError where the user
    speaks several times without an answer, and nobody chose what to read.
    """
    turns = [(role, text) for role, text in talk.turns if role != "System"]
    while turns and turns[-1][0] != "Human":
        turns.pop()
    human = [text for role, text in turns if role == "Human"]
    if not human:
        return "", "", False
    chosen = way or talk.usual
    if chosen is None and len(turns) == len(human) > 1:
        raise UserError(
            f"{where}: {len(human)} turns of the user without an answer: set turns to first, last or transcript"
        )
    if chosen in ("first", "last"):
        return human[0 if chosen == "first" else -1], bare_question(human[0]), len(turns) > 1
    if chosen is None and len(turns) == 1:
        return human[0], bare_question(human[0]), False
    text = "".join(f"\n\n{role}: {text.strip()}" for role, text in turns)
    return f"{text}\n\nAssistant:", bare_question(human[0]), False


# A blank line before a role is a marker; any other blank line belongs to the turn.
_MARKER = re.compile(r"(?:\A\s*|\r?\n\r?\n)(Human|Assistant):")


def transcript(text: str) -> Conversation | None:
    """A transcript of hh-rlhf as turns, without the blanks (NBSP too) around them; None for any other text."""
    parts = _MARKER.split(text)
    if len(parts) < 5 or parts[0].strip() or parts[1] != "Human" or "Assistant" not in parts:
        return None
    turns = zip(parts[1::2], (said.strip() for said in parts[2::2]), strict=True)
    return Conversation(tuple((role, said) for role, said in turns if said), "first")


def bare_question(text: str) -> str:
    """The question inside a template of the released data; the text itself where none fits.

    The two templates: Vicuna's line, and the last conversation of a chain of utterances.
    """
    head, _, rest = text.partition(" USER: ")
    if rest.rstrip().endswith(" ASSISTANT:"):
        return rest.rstrip().removesuffix(" ASSISTANT:")
    head, _, rest = text.rpartition("\n\nNow, given the conversation:\n\nRed-LM: ")
    question, end, _ = rest.partition("\n\n")
    return question if head and end else text


def _talk(row: Row, name: str, where: str) -> Conversation | str:
    """The prompt cell of a row: a text, or a conversation. Raises UserError."""
    if isinstance(row, str):
        return transcript(row) or _sound(row)
    if name not in row:
        raise UserError(f"{where}: no column {formats.shown(name)!r}; its columns are {formats.listed(row)}")
    place = f"{where}: column {formats.shown(name)!r}"
    value = row[name]
    if value is None or isinstance(value, str):
        found: Conversation | str = transcript(value or "") or _sound(value or "")
    elif isinstance(value, list | tuple):
        found = Conversation(tuple(_turn(turn, place) for turn in value), None)
    else:
        kind = type(value).__name__
        raise UserError(f"{place} is not a text but {kind}; its columns are {formats.listed(row)}")
    if (
        isinstance(row.get("history"), list) and row["history"]
    ):  # pairs of request and answer, in Alpaca's format
        before = [
            {"role": role, "content": said}
            for pair in row["history"]
            for role, said in zip(
                ("user", "assistant"), pair if isinstance(pair, list) else [pair], strict=False
            )
        ]
        now = found.turns if isinstance(found, Conversation) else (("Human", found),)
        found = Conversation((*(_turn(turn, f"{where}: column 'history'") for turn in before), *now), None)
    if isinstance(found, Conversation):
        return replace(found, turns=tuple((role, text) for role, text in found.turns if text.strip()))
    return found


def _turn(value: Any, place: str) -> tuple[str, str]:
    """One turn in any of the usual shapes; a bare text is the user's. Raises UserError."""
    if isinstance(value, str):
        return "Human", _sound(value)
    turn = value if isinstance(value, Mapping) else {}
    role = ROLES.get(str(turn.get("role", turn.get("from"))).lower())
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list):  # parts, of which a text is one kind
        parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        content = "\n\n".join(texts) if len(texts) == len(parts) else content
    if role is None or not isinstance(content, str | None):
        raise UserError(f"{place} holds a turn that is not a text of user, assistant or system")
    return role, _sound(content or "")


def _beside(columns: Sequence[str], name: str) -> dict[str, str]:
    """The other columns that belong to the prompt, and how they are joined to it."""
    found = {c: CONTEXTS[formats.plain(c)] for c in columns if formats.plain(c) in CONTEXTS and c != name}
    if formats.plain(name) == "instruction":
        found |= {c: INPUT for c in columns if formats.plain(c) in ("input", "instance")}
    return found


def _joined(value: Any, joint: str, text: str, about: str, place: str) -> tuple[str, str]:
    """Text and family's text with the cell beside them, unless they hold it already. Raises UserError."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        value = value[0].get("input")  # the instances of self-instruct
    if value is not None and not isinstance(value, str):
        raise UserError(f"{place} belongs to the prompt, but is not a text: rename it to leave it out")
    if not value or not value.strip() or value in text:
        return text, about
    fill = {"beside": _sound(value)}
    return joint.format(text=text, **fill), joint.format(text=about, **fill)


def _topic(columns: Sequence[str], layout: Layout) -> str:
    """The column that tells topics apart, or ""."""
    names = [c for c in layout.topic if c in columns]
    names += [c for name in TOPICS for c in columns if formats.plain(c) == name]
    return next(iter(names + [c for c in columns if TOPIC.fullmatch(formats.plain(c))]), "")


def _own(prompt: Prompt, row: Row) -> Prompt:
    """The row's own id and family, where it has them."""
    if isinstance(row, str):
        return prompt
    family = _label(row.get("family"))
    return replace(prompt, id=_label(row.get("id")) or prompt.id, family=family or prompt.family)


def _label(value: Any) -> str:
    """A name in a cell: a text, a number, a list of them, or a mapping of names to whether they hold (BeaverTails).

    What is nested deeper names nothing.
    """
    if isinstance(value, Mapping):
        value = [name for name, holds in value.items() if holds is True]
    parts = value if isinstance(value, list | tuple) else [value]
    return ", ".join(_sound(str(part)).strip() for part in parts if isinstance(part, str | int | float))


def _sound(text: str) -> str:
    """Text that UTF-8 can hold: JSON may escape half of a surrogate pair."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
