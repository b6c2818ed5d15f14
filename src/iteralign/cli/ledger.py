"""`iteralign constitution ledger`: what each principle of a run came from, and what it did."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iteralign.cli.show import RunArgument

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Entry = Mapping[str, Any]
SHOWN_FAILURES = 2
"""Failures of a principle of which the page shows the beginning; --json has them all."""
COLOURS = {"adopted": "green", "rejected": "yellow", "vetoed": "yellow"}


def ledger(
    run: RunArgument,
    in_context: Annotated[
        bool, typer.Option("--in-context", help="Measure each principle in context; asks models.")
    ] = False,
    leave_one_out: Annotated[
        bool, typer.Option("--leave-one-out", help="Train without each principle's rows, and measure.")
    ] = False,
    n: Annotated[int, typer.Option("--n", min=1, help="Failures of a principle, for --in-context.")] = 12,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the failed prompts unmasked: harmful text.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON (docs/ledger.md) and nothing else on stdout.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Say where each principle came from, and what it did.

    Nothing is asked unless one of the two measurements is wanted. They are kept in RUN/ledger; interrupted, the same
    command goes on.
    """
    from iteralign.cli import target, terminal
    from iteralign.run.ledger import document

    root = target.run_directory(run)
    if in_context or leave_one_out:
        _measure(root, n if in_context else 0, leave_one_out, quiet)
    found = document.ledger(root)
    if not reveal:
        _mask(found["entries"])
    found["masked"] = not reveal
    if json:
        terminal.write(terminal.json_text(found))
        return
    out = terminal.stdout()
    with terminal.trimmed(out):
        _page(out, found)


def _measure(root: Path, n: int, leave_one_out: bool, quiet: bool) -> None:
    """What is wanted, its size said first. `n` is 0 where nothing is wanted in context."""
    from iteralign.cli.terminal import note, shell_word
    from iteralign.errors import WorldError
    from iteralign.run.ledger.measuring import InContext, LeaveOneOut, opened

    tell: Callable[[str], None] = (lambda _: None) if quiet else note
    try:
        with opened(root, partial(_event, tell)) as bench:
            wanted = [InContext(bench, n)] if n else []
            for each in (*wanted, *([LeaveOneOut(bench)] if leave_one_out else [])):
                tell(_cost(each.cost, bench.past.config.oracle))
                each.measure()
    except WorldError as error:
        raise WorldError(f"{error} (the same command goes on: {shell_word(str(root))}/ledger keeps what is done)") from error


def _mask(entries: Sequence[Entry]) -> None:
    from iteralign.cli.data import masked

    for entry in entries:
        for failure in (*entry["failures"], *entry["more_failures"]):
            failure["text"] = masked(failure["text"])


def _page(out: "Console", found: Mapping[str, Any]) -> None:
    from rich.text import Text

    from iteralign.cli.terminal import one_line

    out.print()
    head = Text(one_line(found["run"]), style="bold")
    head.append(f"  {_counts(found['entries'])}", "")
    out.print(head)
    for number, entry in enumerate(found["entries"], 1):
        out.print()
        out.print(_entry(number, entry))
    out.print()


def _counts(entries: Sequence[Entry]) -> str:
    """`9 principles: 8 adopted, 1 duplicate`."""
    from collections import Counter

    from iteralign.cli.words import many

    if not entries:
        return "no principle was proposed"
    fates = Counter(entry["decision"] for entry in entries)
    return f"{many(len(entries), 'principle')}: {', '.join(f'{n:,} {fate}' for fate, n in fates.items())}"


def _entry(number: int, entry: Entry) -> Any:
    from rich.table import Table
    from rich.text import Text

    from iteralign.cli.terminal import one_line

    table = Table.grid(padding=(0, 2))
    table.pad_edge = True
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(Text(str(number), style="bold"), Text(one_line(entry["text"])))
    for line in (_origin(entry), *(Text(one_line(line), style="dim") for line in _lines(entry))):
        table.add_row("", line)
    return table


def _origin(entry: Entry) -> "Text":
    from rich.text import Text

    from iteralign.cli.terminal import one_line

    text = Text(entry["decision"], style=COLOURS.get(entry["decision"], "dim"))
    text.append(f" ({one_line(entry['reason'])})" if entry["reason"] else "")
    parts = [entry["id"], one_line(entry["category"]), f"iteration {entry['born']}", _active(entry["active"])]
    text.append("".join(f" · {part}" for part in parts if part), "dim")
    return text


def _active(turns: Sequence[int]) -> str:
    if not turns:
        return ""
    return f"in force {turns[0]}" + (f" to {turns[-1]}" if turns[-1] != turns[0] else "")


def _lines(entry: Entry) -> list[str]:
    """What the page says below the text, one fact a line."""
    return [_failures(entry), *_rows(entry), *_overlaps(entry)]


def _failures(entry: Entry) -> str:
    from iteralign.cli.words import many

    shown = [repr(failure["text"]) for failure in entry["failures"][:SHOWN_FAILURES] if failure["text"]]
    more = len(entry["more_failures"])
    text = f"from {many(len(entry['failures']), 'failure')}"
    text += f", {more:,} more since" if more else ""
    return text + (f": {', '.join(shown)}" if shown else "")


def _rows(entry: Entry) -> list[str]:
    from iteralign.cli.words import many

    if not entry["active"]:
        return []
    each = {t: len(ids) for t, ids in entry["rows"].items()}
    turns = f" ({', '.join(f'iteration {t}: {n:,}' for t, n in each.items())})" if len(each) > 1 else ""
    return [f"in the context of {many(sum(each.values()), 'accepted row')}{turns}"]


def _overlaps(entry: Entry) -> list[str]:
    return [f"overlaps {o['id']}: {_common(o)}" for o in entry["overlaps"]]


def _common(overlap: Mapping[str, Any]) -> str:
    shared = f"{100 * overlap['evidence']:.0f} % of the failures" if overlap["evidence"] else ""
    alike = f"wording {overlap['wording']:.2f}" if overlap["wording"] else ""
    return ", ".join(part for part in (shared, alike) if part)
