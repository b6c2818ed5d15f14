"""`iteralign constitution`: the principles of a run, to read or to take along."""

import json
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iteralign.cli.ledger import ledger
from iteralign.cli.show import RunArgument

if TYPE_CHECKING:
    from rich.console import Console

    from iteralign.report.ledger.differences import Differences
    from iteralign.types import Principle

HELP = "The principles that a run adopted."
SIDE = "A run, or RUN@2: what was in force after iteration 2."
Principles = Sequence[Mapping[str, Any]]


class Format(StrEnum):
    MARKDOWN = "markdown"
    JSON = "json"
    YAML = "yaml"
    SYSTEM_PROMPT = "system-prompt"


def show(run: RunArgument) -> None:
    """Print the principles and where they came from."""
    from iteralign.cli import terminal, view

    view.constitution(terminal.stdout(), _principles(run))


def export(
    run: RunArgument,
    format: Annotated[Format, typer.Option(help="How to write them.")] = Format.MARKDOWN,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to; stdout if left out.")] = None,
) -> None:
    """Write the principles as a document, data or prompt."""
    from iteralign.cli import terminal
    from iteralign.errors import UserError
    from iteralign.record.disk import write_whole

    text = WRITERS[format](_principles(run))
    if out is None:
        terminal.write(text)
        return
    try:
        write_whole(out, text)
    except (OSError, UserError) as error:
        raise UserError(f"--out {out}: cannot be written: {getattr(error, 'strerror', error)}") from None
    terminal.note(f"wrote {out}")


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=SIDE)],
    b: Annotated[str, typer.Argument(metavar="B", help="The same, later or of another run.")],
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON (docs/ledger.md) and nothing else on stdout.")
    ] = False,
) -> None:
    """Say which principles of A are gone, reworded or the same in B, and which are new."""
    from iteralign.cli import terminal
    from iteralign.record.codec import encode
    from iteralign.report.ledger.differences import differences

    found = differences(_side(a), _side(b))
    if json:
        terminal.write(terminal.json_text({"schema": 1, "a": a, "b": b, **encode(found)}))
        return
    _differences(terminal.stdout(), found)


COMMANDS = {"show": show, "diff": diff, "ledger": ledger, "export": export}


def as_markdown(principles: Principles) -> str:
    from iteralign.cli.words import many

    lines = ["# Constitution", ""]
    for number, p in enumerate(principles, 1):
        lines += [f"{number}. {_markdown(p['text'])}"]
        origin = f"iteration {p['born']}, from {many(len(p['evidence']), 'failure')}"
        lines += [f"   *{_markdown(p['category'])}, {origin}*" if p["category"] else f"   *{origin}*"]
    return "\n".join(lines) + "\n"


def as_json(principles: Principles) -> str:
    from iteralign.cli.terminal import json_text

    return json_text({"principles": list(principles)}) + "\n"


def as_yaml(principles: Principles) -> str:
    """JSON strings are YAML strings, so nothing that a model wrote can change the structure."""
    lines = ["principles:"] if principles else ["principles: []"]
    for p in principles:
        pairs = [f"{key}: {_scalar(value)}" for key, value in p.items()]
        lines += [f"  - {pairs[0]}", *(f"    {pair}" for pair in pairs[1:])]
    return "\n".join(lines) + "\n"


def as_system_prompt(principles: Principles) -> str:
    """As the policy can be given them: one numbered line each."""
    from iteralign.cli.terminal import one_line

    numbered = [f"{i}. {one_line(p['text'])}" for i, p in enumerate(principles, 1)]
    return "\n".join(["Follow these principles:", *numbered]) + "\n" if numbered else ""


WRITERS: dict[Format, Callable[[Principles], str]] = {
    Format.MARKDOWN: as_markdown,
    Format.JSON: as_json,
    Format.YAML: as_yaml,
    Format.SYSTEM_PROMPT: as_system_prompt,
}


def _principles(run: str) -> Principles:
    from iteralign.cli.target import run_directory
    from iteralign.report.summary import constitution

    return constitution(run_directory(run))


def _side(name: str) -> "Sequence[Principle]":
    """The principles that `RUN` or `RUN@2` names. Raises UserError."""
    from iteralign.cli.target import run_directory
    from iteralign.report.ledger.differences import side

    place, sign, at = name.rpartition("@")
    if not sign or Path(name).exists():
        return side(run_directory(name))
    return side(run_directory(place), at)


def _differences(out: "Console", found: "Differences") -> None:
    from rich.table import Table
    from rich.text import Text

    from iteralign.cli import terminal
    from iteralign.cli.terminal import one_line

    rows = [("-", p.text, "red") for p in found.dropped] + [("+", p.text, "green") for p in found.added]
    for pair in found.reworded:
        rows += [(f"~ {pair.ratio:.2f}", pair.old.text, "yellow"), ("", pair.new.text, "yellow")]
    rows += [("=", p.text, "dim") for p in found.same]
    table = Table.grid(padding=(0, 2))
    table.pad_edge = True
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for sign, text, style in rows:
        table.add_row(Text(sign, style=style), Text(one_line(text), style=style))
    counts = ("added", "dropped", "reworded", "same")
    with terminal.trimmed(out):
        out.print()
        out.print(Text(", ".join(f"{len(getattr(found, name)):,} {name}" for name in counts), style="bold"))
        out.print(table)
        out.print()


def _scalar(value: Any) -> str:
    from iteralign.cli.terminal import escaped

    return escaped(json.dumps(value, ensure_ascii=False))


def _markdown(text: str) -> str:
    """One line in which nothing is markup."""
    import re

    from iteralign.cli.terminal import one_line

    return re.sub(r"([\\`*_\[\]<>#|!])", r"\\\1", one_line(text))
