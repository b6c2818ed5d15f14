"""`iteralign data`: the red-team sets by name, and what is in one, before any run.

The sets hold harmful text: samples are masked unless they are asked for.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iteralign.cli.run import JsonOption

if TYPE_CHECKING:
    from iteralign.data.sources import Loaded, Wanted
    from iteralign.types import Prompt

HELP = "Sets of red-team prompts: their names, and what is in one."
SHOWN_WORDS = 2
SHOWN_LETTERS = 16
"""Words and letters of a masked sample, and at most a third of it: too few to see what it asks for."""
SHOWN_TOPICS = 12
TOPIC_WORDS = 6
"""A topic of more words than the published sets have is masked: it might be a prompt."""


class Turns(StrEnum):
    FIRST = "first"
    LAST = "last"
    TRANSCRIPT = "transcript"


def names(json: JsonOption = False) -> None:
    """List the sets that are known by name."""
    from iteralign.cli import terminal

    sets = _sets()
    if json:
        terminal.write(terminal.json_text({"sources": sets}))
        return
    out = terminal.stdout()
    with terminal.trimmed(out):
        out.print(_grid([(s["name"], f"{s['size']:,}", s["license"], s["about"]) for s in sets]))
        out.print()
        out.print(
            "Also: a file (.jsonl .json .csv .tsv .txt .parquet .pkl), a folder, or owner/name of the Hub."
        )


def show(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A name, a file, a folder or owner/name.")],
    path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where a copy of a named set lies: a file or folder.")
    ] = None,
    field: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column that holds the prompts.")
    ] = None,
    subset: Annotated[str | None, typer.Option(metavar="NAME", help="A subset (config) of the Hub.")] = None,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="A split; train if left out.")] = None,
    revision: Annotated[str | None, typer.Option(metavar="REV", help="A revision of the Hub.")] = None,
    turns: Annotated[
        Turns | None, typer.Option(help="Of conversations: the user's first turn, the last, or all.")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=0, help="How many samples.")] = 5,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the samples unmasked: harmful text.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Count what is in a set and show samples, masked unless asked."""
    from iteralign.cli import terminal
    from iteralign.data.sources import Wanted, load

    wanted = Wanted(source, path, field, subset, split, revision, turns.value if turns else None)
    facts = _facts(wanted, load(wanted), n, reveal)
    if json:
        terminal.write(terminal.json_text(facts))
    else:
        _page(facts, reveal)


COMMANDS = {"list": names, "show": show}


def masked(text: str) -> str:
    """The first words, and how many more there are; of short texts and long words less, in letters."""
    words = text.split()
    whole, start = " ".join(words), " ".join(words[:SHOWN_WORDS])
    most = min(SHOWN_LETTERS, len(whole) // 3)
    if len(start) <= most:
        return f"{start} … ({len(words) - SHOWN_WORDS} more)"
    return f"{whole[:most].rstrip()}… ({len(whole) - most} more letters)"


def _sets() -> list[dict[str, Any]]:
    from iteralign.data.sources import SOURCES

    return [
        {
            "name": name,
            "size": s.size,
            "license": s.license,
            "hub": s.hub.id if s.hub else None,
            "origin": s.origin or None,
            "files": list(s.files),
            "about": s.about,
        }
        for name, s in SOURCES.items()
    ]


def _facts(wanted: "Wanted", loaded: "Loaded", n: int, reveal: bool) -> dict[str, Any]:
    """All that the page says, for `--json` (docs/data.md)."""
    from iteralign.data import families
    from iteralign.data.formats import shown, titled
    from iteralign.data.sources import SOURCES

    def name(text: str) -> str:
        return text if reveal else titled(text)

    def topic(text: str) -> str:
        return text if reveal else shown(text, TOPIC_WORDS)

    source, prompts = SOURCES.get(wanted.source), loaded.prompts
    repeated = len(prompts) - len(families.deduplicated(prompts))
    return {
        "source": wanted.source,
        "about": source.about if source else None,
        "license": source.license if source else None,
        "from": loaded.origin,
        "columns": [name(c) for c in loaded.columns],
        "column": name(loaded.read[0]) if loaded.read else None,
        "joined": [name(c) for c in loaded.read[1:]],
        "topic": name(loaded.topic) or None,
        "rows": loaded.rows,
        "prompts": len(prompts),
        "blank": loaded.left_out.get("blank", 0),
        "repeated": repeated,
        "left_out": {**loaded.left_out, "repeated": repeated},
        "families": len({p.family for p in prompts}),
        "topics": dict(Counter(topic(p.topic) for p in prompts if p.topic)),
        "characters": _spread([len(p.text) for p in prompts]),
        "digest": families.digest("\n".join(p.id for p in prompts)),
        "masked": not reveal,
        "samples": [
            {
                "id": name(p.id),
                "topic": topic(p.topic),
                "text": p.text if reveal else masked(p.text),
            }
            for p in _even(prompts, n)
        ],
    }


def _spread(lengths: Sequence[int]) -> dict[str, int]:
    ordered = sorted(lengths)
    return {"shortest": ordered[0], "median": ordered[len(ordered) // 2], "longest": ordered[-1]}


def _even(prompts: "Sequence[Prompt]", n: int) -> "list[Prompt]":
    """`n` prompts from all over the set, the same ones every time."""
    n = min(n, len(prompts))
    return [prompts[i * len(prompts) // n] for i in range(n)]


def _page(facts: Mapping[str, Any], reveal: bool) -> None:
    from iteralign.cli import terminal

    out = terminal.stdout()
    with terminal.trimmed(out):
        out.print()
        out.print(_grid([(f"  {key}", value) for key, value in _rows(facts).items() if value]))
        if facts["samples"]:
            out.print()
            out.print(
                "Samples" if reveal else "Samples, masked (--reveal shows them: the text may be harmful)"
            )
            out.print(_grid([(f"  {s['id']}", s["text"]) for s in facts["samples"]]))
        out.print()


def _rows(facts: Mapping[str, Any]) -> dict[str, str]:
    from iteralign.cli.words import many

    size, left_out = facts["characters"], {what: n for what, n in facts["left_out"].items() if n}
    topics = Counter(facts["topics"]).most_common()
    more = f" and {len(topics) - SHOWN_TOPICS} more" if len(topics) > SHOWN_TOPICS else ""
    return {
        "source": facts["source"] + (f": {facts['about']}" if facts["about"] else ""),
        "licence": facts["license"] or "",
        "from": facts["from"],
        "columns": ", ".join(facts["columns"]) or "none: each row is a text",
        "read": ", with ".join([facts["column"] or "", *facts["joined"]]),
        "topics from": facts["topic"] or "",
        "prompts": f"{facts['prompts']:,} of {many(facts['rows'], 'row')}",
        "left out": ", ".join(f"{n:,} {what}" for what, n in left_out.items()) or "nothing",
        "families": f"{facts['families']:,}",
        "topics": ", ".join(f"{name} {n:,}" for name, n in topics[:SHOWN_TOPICS]) + more,
        "characters": f"{size['shortest']:,} to {size['longest']:,}, half of them up to {size['median']:,}",
        "digest": facts["digest"],
    }


def _grid(rows: Sequence[tuple[str, ...]]) -> Any:
    """Columns without lines; the last one flows, and no text in it is markup."""
    from rich.table import Table
    from rich.text import Text

    from iteralign.cli.terminal import one_line

    table = Table.grid(padding=(0, 2))
    for at in range(len(rows[0])):
        table.add_column(no_wrap=at < len(rows[0]) - 1, overflow="fold")
    for row in rows:
        indent = " " * (len(row[0]) - len(row[0].lstrip()))
        head = Text(indent + one_line(row[0]), style="dim" if indent else "bold")
        table.add_row(head, *(Text(one_line(cell)) for cell in row[1:]))
    return table
