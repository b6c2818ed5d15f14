"""`iteralign evaluate`: benchmarks of one model, with intervals, per item, as JSON and as Inspect logs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iteralign.cli.run import OfflineOption, PricesOption, QuietOption

if TYPE_CHECKING:
    from rich.console import Console

    from iteralign.evaluate.benchmarks import Request
    from iteralign.evaluate.results import Figure, Result
    from iteralign.evaluate.subject import Subject
    from iteralign.settings import Price

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A model directory, a hub id, organism, or a finished run.")
]
BenchmarksOption = Annotated[
    str, typer.Option(metavar="A,B,C", help="Which benchmarks (docs/evaluate.md), or all.")
]
DataOption = Annotated[
    list[str], typer.Option("--data", metavar="NAME=PATH", help="The file of one benchmark; may be repeated.")
]
FieldOption = Annotated[
    list[str],
    typer.Option(
        "--field",
        metavar="[NAME=]COLUMN",
        help="The column of the prompts in the --data file; may be repeated, with NAME where several are given.",
    ),
]
JudgeOption = Annotated[
    list[str],
    typer.Option(
        "--judge",
        metavar="PROVIDER/MODEL",
        help="Who judges answers; GUARD=PROVIDER/MODEL for a guard. Several are a panel: the majority decides.",
    ),
]
SMALL = 0.05
"""Where two models must differ by more than this to be told apart, it is said."""


def command(
    model: ModelArgument,
    benchmarks: BenchmarksOption,
    adapter: Annotated[Path | None, typer.Option(metavar="DIR", help="A LoRA adapter of the model.")] = None,
    data: DataOption = [],  # noqa: B006 (typer reads it, and copies it)
    field: FieldOption = [],  # noqa: B006
    judge: JudgeOption = ["organism/oracle"],  # noqa: B006
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where results and logs are written.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="auto (the default), chat, chat:NAME, plain or raw.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto (the default), cpu, cuda, all-gpus or mps.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="auto (the default), float32, bfloat16 or float16.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=65_536, help="Questions computed at once; 64 by default.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many items of each.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most tokens of an answer.")] = 500,
    max_calls: Annotated[
        int | None, typer.Option(min=0, help="Most calls to judges; what may pass it is not asked.")
    ] = None,
    max_usd: Annotated[
        float | None, typer.Option(min=0, help="The same in money, by the prices known or given.")
    ] = None,
    prices: PricesOption = None,
    offline: OfflineOption = False,
    max_undecided: Annotated[
        float, typer.Option(min=0, max=1, help="Share of items that the judge may leave undecided.")
    ] = 0.1,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON (docs/evaluate.md) and nothing else on stdout.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Evaluate a model on benchmarks."""
    from iteralign.evaluate import judges
    from iteralign.evaluate.benchmarks import BENCHMARKS, Request, named
    from iteralign.evaluate.subject import loading, subject
    from iteralign.run import offline as walls

    files = _files(data, tuple(BENCHMARKS))
    judging = judges.config(judge, max_calls, max_usd, _prices(prices), offline)
    with walls.kept(judging):
        given = {"device": device, "dtype": dtype, "batch_size": batch_size, "template": template}
        chosen = subject(model, adapter, loading({k: v for k, v in given.items() if v is not None}))
        names = named(benchmarks.split(","), chosen)
        wanted = Request(
            names, files, judging, max_undecided, limit, max_tokens, fields=_fields(field, files)
        )
        _run(chosen, wanted, out, as_json=json, quiet=quiet)


def _prices(file: Path | None) -> "dict[str, Price] | None":
    from iteralign.budget import prices
    from iteralign.config import schema

    return schema.validated({"prices": prices.read(file)}).prices if file else None


def _files(data: list[str], known: tuple[str, ...]) -> dict[str, str]:
    from iteralign.errors import UserError, unknown

    found: dict[str, str] = {}
    for text in data:
        name, sign, path = text.partition("=")
        if not sign or not path:
            raise UserError(f"--data {text!r}: write it as NAME=PATH")
        if name not in known:
            raise unknown("--data", name, known)
        found[name] = path
    return found


def _fields(fields: list[str], files: dict[str, str]) -> dict[str, str]:
    """The column of each benchmark; a column without a name belongs to the only file."""
    from iteralign.errors import UserError

    found: dict[str, str] = {}
    for text in fields:
        name, sign, column = text.partition("=")
        if not sign or name not in files:
            if len(files) != 1:
                raise UserError(f"--field {text!r}: write it as NAME=COLUMN, NAME one of --data NAME=PATH")
            name, column = next(iter(files)), text
        found[name] = column
    return found


def _run(chosen: "Subject", wanted: "Request", out: Path | None, *, as_json: bool, quiet: bool) -> None:
    from dataclasses import asdict

    from iteralign.cli import terminal
    from iteralign.cli.progress import Beat
    from iteralign.cli.words import many
    from iteralign.evaluate import results
    from iteralign.evaluate.benchmarks import evaluate

    began: set[str] = set()
    tell = (lambda _: None) if quiet else terminal.note
    beat = Beat(tell)

    def starts(name: str, n: int) -> None:
        began.add(name)
        tell(f"{name}: {many(n, 'item')} …")
        beat.begin(name, said=True)

    console, shown = terminal.stdout(), []
    done = results.found(out, wanted.benchmarks) if out else {}
    with beat.running():
        for result in evaluate(chosen, wanted, starts, done):
            if result.benchmark not in began:
                tell(f"{result.benchmark}: kept, as model, items and judges are the same")
            elif out is not None:
                results.keep(result, out)
            brief = {k: v for k, v in asdict(result).items() if k != "records"}
            shown.append(brief)
            if not as_json:
                _table(console, result)
    if as_json:
        terminal.write(terminal.json_text({"schema": 1, "results": shown}))
    elif out is not None:
        terminal.note(
            f"wrote {out}; look at the items with: inspect view --log-dir {terminal.shell_word(str(out))}"
        )


def _table(console: "Console", result: "Result") -> None:
    from rich.table import Table
    from rich.text import Text

    from iteralign.cli import terminal

    table = Table.grid(padding=(0, 2))
    table.add_row(*(Text(t, style="dim") for t in ("", "", "95 % interval", "n", "guessing")))
    for f in result.figures:
        chance = "" if f.chance is None else f"{f.chance:.3f}"
        cells = (f"{f.value:.3f}", f"{f.low:.3f} to {f.high:.3f}", str(f.n), chance)
        table.add_row(Text(f"  {terminal.one_line(f.name)}"), *(Text(c, justify="right") for c in cells))
    with terminal.trimmed(console):
        console.print()
        console.print(
            Text(f"{result.benchmark}: {terminal.one_line(str(result.source['origin']))}", style="bold")
        )
        console.print(table)
        for note in (*result.notes, *_power(result.figures[:1])):
            console.print(Text(f"  {terminal.one_line(note)}", style="dim"))


def _power(figures: "tuple[Figure, ...]") -> list[str]:
    """What the number of items could show, where that is little."""
    return [
        f"n = {f.n}: two models must differ by {f.detectable:.2f} to be told apart (80 % power, unpaired)"
        for f in figures
        if f.detectable is not None and f.detectable > SMALL
    ]
