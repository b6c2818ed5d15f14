"""Reading: from the rows of a set to prompts, and a count of what of the rows is not in them.

A cell is a text, a transcript of hh-rlhf, or a list of turns. A text may have an input or a context in another
column, which is part of the prompt. Of several turns nothing is cut unless that is asked for or documented.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from iteralign.data import dialogues, families, formats
from iteralign.data.dialogues import ROLES, TOOLS, Conversation, Turns, dialogue, structured
from iteralign.data.formats import Row
from iteralign.errors import UserError, unknown
from iteralign.reading import encodable
from iteralign.types import Prompt

SYSTEM = ("system", "systemprompt")
"""Columns that hold a system turn."""
CONTEXTS = {
    "contextstring": "{beside}\n\n---\n\n{text}",  # as HarmBench's direct request joins them
    "context": "{beside}\n\n{text}",
}
INPUT = "{text}\n\n{beside}"
"""How columns that belong to the prompt are joined to it: contexts, and the input of an instruction."""
OPEN = "\n\nAssistant:"
"""How a transcript ends, where the assistant speaks next."""
TOPICS = ("topic", "category", "semanticcategory")
"""Columns that are topics by their plain names, the likeliest first, and others by the pattern below."""
TOPIC = re.compile(
    r".*(topic|category|categorie|(harm|risk|hazard)(area|type|domain|class)|(area|type)sofharm)|area|theme"
)


SPEAKERS = ("role", "from", "speaker", "sender", "author")
"""Columns that say who speaks, in a set that has one turn in each row."""
ANSWERS = {
    *(
        "output",
        "response",
        "answer",
        "target",
        "completion",
        "reference",
        "chosen",
        "rejected",
        "description",
    ),
    *("correctanswer", "bestanswer", "incorrectanswer", "note", "explanation", "rationale", "generation"),
}
"""Columns of texts that are no prompts (plain names)."""
NO_PROMPTS = {
    "id",
    "index",
    "label",
    "topic",
    "category",
    "categorie",
    "family",
    "kind",
    "tag",
    "source",
    "type",
}
"""Columns of names: of themselves no prompts, even if there is no other column."""
EMPTY = {
    "",
    "nan",
    "none",
    "null",
    "n/a",
    "<noinput>",
    "noinput",
    "<no input>",
    "no input",
    "<none>",
    "<nan>",
}
"""What sets, pandas and Alpaca write into a cell that is empty."""


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
class ReadRows:
    """The prompts of a set. `columns` are those read, the prompt's own first; `topic` is that of topics, or "".

    conversations: rows that hold turns. left_out: rows and turns that are not in the prompts, by what they are.
    """

    prompts: tuple[Prompt, ...]
    columns: tuple[str, ...]
    topic: str
    conversations: int
    left_out: Mapping[str, int]


def read(rows: Sequence[Row], layout: Layout) -> ReadRows:
    """Read the prompts of one column, with what belongs to them; `family`, `topic` and `id` are honoured.

    The first turn of the user decides the family: conversations that open alike are one.

    Raises UserError: no such column, no text in it, or several turns of which it is not clear what to read.
    """
    columns = formats.columns(rows)
    name = chosen(columns, layout)
    beside = _beside(columns, name)
    topic = _topic([c for c in columns if c not in (name, *beside)], layout)
    if layout.field is None and name not in layout.text:
        _doubted(rows, name, [c for c in columns if c not in (*beside, topic)], layout.name)
    talks = [_talk(row, name, f"{layout.name}: row {number}") for number, row in enumerate(rows, 1)]
    if dialogues.spread(talk for talk in talks if isinstance(talk, str)):
        raise UserError(
            f'{layout.name}: it holds dialogues (rows or lines begin with "Human:" and "Assistant:", or marks like '
            'these): save one transcript a row as JSON lines, {"transcript": "…"}, named .jsonl'
        )
    speaker = _speaker(rows, columns, name)
    left: Counter[str] = Counter()
    found: list[Prompt] = []
    conversations = 0
    for number, (row, talk) in enumerate(zip(rows, talks, strict=True), 1):
        where = f"{layout.name}: row {number}"
        if speaker and isinstance(row, Mapping) and ROLES.get(_role(row.get(speaker))) != "Human":
            left["turns of other roles"] += 1
            continue
        if isinstance(talk, Conversation):
            conversations += 1
            left["system turns"] += sum(role == "System" for role, _ in talk.turns)
            text, about, cut = asked(talk, layout.turns, where)
            left["rows cut to one turn"] += cut
        else:
            text, about = talk, bare_question(talk)
        if _is_empty(text):
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
    return ReadRows(families.unique(found), (name, *beside) if name else (), topic, conversations, left_out)


def chosen(columns: Sequence[str], layout: Layout) -> str:
    """The column that holds the prompts; "" if the rows are bare texts. Raises UserError."""
    if not columns:
        return ""
    if layout.field is not None:
        if layout.field not in columns:
            shown = [formats.titled(name) for name in columns]
            raise unknown(f"{layout.name}: column (field)", layout.field, shown)
        return layout.field
    known = next((name for name in layout.text if name in columns), None) or formats.usual(columns)
    if known is None:
        raise UserError(
            f"{layout.name}: which column holds the prompts? set field to one of: {formats.listed(columns)}"
        )
    return known


def _doubted(rows: Sequence[Row], name: str, columns: Sequence[str], where: str) -> None:
    """Raise UserError where the column has the usual name, but its cells look like labels, ids or one constant, and
    those of another column like prompts."""
    held = {c: [row[c] for row in rows if isinstance(row, Mapping) and _is_text(row.get(c))] for c in columns}
    if not name or not held[name]:
        return
    own = held[name]
    if len(columns) == 1 and formats.plain(name) in NO_PROMPTS and not any(map(_is_sentence, own)):
        raise UserError(
            f"{where}: its only column is {formats.titled(name)!r}: set field (--field) to it if it holds prompts"
        )
    labels = sum(map(_is_label, own)) >= 0.9 * len(own)
    few = len(own) > 1 and len(set(own)) * 10 <= max(10, len(own))
    for other in columns:
        if other == name or formats.plain(other) in ANSWERS | NO_PROMPTS or other in SYSTEM:
            continue
        sentences = sum(map(_is_sentence, held[other]))
        if sentences < 0.5 * len(own) or not (labels or (few and len(set(held[other])) >= 0.5 * len(own))):
            continue
        what = "labels or ids" if labels else "the same few texts again and again"
        raise UserError(
            f"{where}: column {formats.titled(name)!r} holds {what}, and {formats.titled(other)!r} texts: which "
            f"holds the prompts? set field (--field) to one of: {formats.listed(columns)}"
        )


def _speaker(rows: Sequence[Row], columns: Sequence[str], name: str) -> str:
    """The column that says who speaks, where each row is one turn; "" if none does."""
    for column in columns:
        if formats.plain(column) not in SPEAKERS or column == name:
            continue
        said = {_role(row.get(column)) for row in rows if isinstance(row, Mapping)} - {"", "none", "nan"}
        kinds = {ROLES.get(role, "Tool" if role in TOOLS else "") for role in said}
        if {"Human", "Assistant"} <= kinds or (kinds and "" not in kinds and kinds != {"Human"}):
            return column
    return ""


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
            f"{where}: {len(human)} turns of the user without an answer: set turns to first, last or transcript "
            "(prompts that are no turns of one conversation: save each in a row of its own)"
        )
    if chosen in ("first", "last"):
        return human[0 if chosen == "first" else -1], bare_question(human[0]), len(turns) > 1
    if chosen is None and len(turns) == 1:
        return human[0], bare_question(human[0]), False
    text = "".join(f"\n\n{role}: {text.strip()}" for role, text in turns)
    return f"{text}{OPEN}", bare_question(human[0]), False


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
        return _told(row, where)
    if name not in row:
        raise UserError(f"{where}: no column {formats.titled(name)!r}; its columns are {formats.listed(row)}")
    place = f"{where}: column {formats.titled(name)!r}"
    value = row[name]
    if _is_empty(value):
        found: Conversation | str = ""
    elif isinstance(value, str):
        found = _told(value, place)
    elif isinstance(value, list | tuple):
        found = Conversation(tuple(_turn(turn, place) for turn in value), None)
    else:
        kind = type(value).__name__
        raise UserError(f"{place} is not a text but {kind}; its columns are {formats.listed(row)}")
    history = row.get("history")
    if isinstance(history, str):
        history = structured(history, f"{where}: column 'history'", sure=True)
    if isinstance(history, list) and history:  # pairs of request and answer, in Alpaca's format
        before = [
            {"role": role, "content": said}
            for pair in history
            for role, said in zip(
                ("user", "assistant"), pair if isinstance(pair, list | tuple) else [pair], strict=False
            )
        ]
        now = found.turns if isinstance(found, Conversation) else (("Human", found),)
        found = Conversation((*(_turn(turn, f"{where}: column 'history'") for turn in before), *now), None)
    if isinstance(found, Conversation):
        return replace(found, turns=tuple((role, text) for role, text in found.turns if text.strip()))
    return found


def _told(text: str, place: str) -> Conversation | str:
    """A text as the turns that it holds, or as it is. Raises UserError where it holds turns that cannot be read."""
    turns = structured(text, place)
    if turns is not None:
        return Conversation(tuple(_turn(turn, place) for turn in turns), None)
    return dialogue(text, place) or encodable(text)


def _turn(value: Any, place: str) -> tuple[str, str]:
    """One turn in any of the usual shapes; a bare text is the user's. Raises UserError."""
    if isinstance(value, str):
        return "Human", encodable(value)
    turn = value if isinstance(value, Mapping) else {}
    role = ROLES.get(_role(next((turn[k] for k in ("role", "from", "speaker") if k in turn), None)))
    said = [turn[k] for k in ("content", "value", "text", "message") if k in turn]
    content = said[0] if said else turn  # a turn that says nothing under a name known here is no blank turn
    if isinstance(content, list):  # parts, of which a text is one kind
        parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        content = "\n\n".join(texts) if len(texts) == len(parts) else content
    if role is None or not isinstance(content, str | None):
        raise UserError(f"{place} holds a turn that is not a text of user, assistant or system")
    return role, encodable(content or "")


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
    if _is_empty(value):
        return text, about
    if not isinstance(value, str):
        raise UserError(f"{place} belongs to the prompt, but is not a text: rename it to leave it out")
    if value in text:
        return text, about
    fill = {"beside": encodable(value)}
    if joint == INPUT and text.endswith(OPEN):  # a conversation: the input belongs to the user's last turn
        return joint.format(text=text.removesuffix(OPEN), **fill) + OPEN, joint.format(text=about, **fill)
    return joint.format(text=text, **fill), joint.format(text=about, **fill)


def _topic(columns: Sequence[str], layout: Layout) -> str:
    """The column that tells topics apart, or ""."""
    names = [c for c in layout.topic if c in columns]
    names += [c for name in TOPICS for c in columns if formats.plain(c) == name]
    return next(iter(names + [c for c in columns if TOPIC.fullmatch(formats.plain(c))]), "")


def _role(value: Any) -> str:
    return str(value or "").strip().lower()


def _is_empty(value: Any) -> bool:
    """Whether a cell says that it is empty: None, NaN, blanks, or a word for it."""
    if isinstance(value, str):
        return value.strip().casefold() in EMPTY
    return value is None or value != value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not _is_empty(value)


def _is_sentence(text: str) -> bool:
    """Whether a cell could be a prompt: three words, or as much in a script without blanks."""
    return len(text.split()) > 2 or (not text.isascii() and len(text) > 7)


def _is_label(text: str) -> bool:
    """Whether a cell could be a label or an id: at most two words, without the mark of a sentence."""
    return not _is_sentence(text) and len(text) <= 60 and not re.search(r"[.?!…。？！]\s*$", text)


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
    named = [part for part in parts if isinstance(part, str | int | float) and part == part]  # NaN is no name
    return ", ".join(encodable(str(part)).strip() for part in named)
