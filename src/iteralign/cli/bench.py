"""`iteralign organism bench`: the discovery benchmark, made or taken up again, and what it says."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from iteralign.run.bench.performing import Failure, OnEvent, OnProgress

Format = Literal["text", "markdown", "json"]
OutOption = Annotated[Path, typer.Option(metavar="DIR", help="Where organisms and runs lie.")]
ArmsOption = Annotated[str, typer.Option(metavar="A,B", help="Which methods; the first is compared.")]
SiblingsOption = Annotated[str, typer.Option(metavar="a,b,c", help="Which organisms of the family.")]


def command(
    out: OutOption = Path("runs/bench"),
    arms: ArmsOption = "improved,paper,random,withheld",
    siblings: SiblingsOption = "a,b,c,d,e,f,g,h,i,j",
    plan: Annotated[bool, typer.Option("--plan", help="What is done and left, and about how long.")] = False,
    report: Annotated[bool, typer.Option("--report", help="The tables of what is done; run nothing.")] = False,
    format: Annotated[Format, typer.Option(help="text, markdown or json.")] = "text",
) -> None:
    """The discovery benchmark: ten organisms with known gaps, several methods. Run again, it goes on."""
    from iteralign.cli import benchpage, terminal
    from iteralign.errors import UserError, WorldError
    from iteralign.run.bench import layout, outlook, performing
    from iteralign.run.bench import report as reports

    if plan and report:
        raise UserError("--plan and --report: give one of them")
    bench = layout.chosen(out, arms.split(","), siblings.split(","))
    if plan:
        benchpage.outlook(outlook.outlook(bench), format)
        return
    failures = () if report else performing.perform(bench, Teller())
    benchpage.report(reports.report(bench), format)
    if failures:
        raise WorldError(_lost(failures))
    if not report:
        terminal.note(f"runs lie in {bench.out / 'runs'}; see one with: iteralign show DIR")


class Teller:
    """Tells on stderr how the benchmark goes."""

    @contextmanager
    def planting(self, sibling: str) -> "Iterator[OnProgress]":
        from iteralign.cli.organism import progress

        with progress(f"planting {sibling}") as on_progress:
            yield on_progress

    @contextmanager
    def running(self, arm: str, sibling: str) -> "Iterator[OnEvent]":
        from iteralign.cli import words
        from iteralign.cli.organism import progress
        from iteralign.run.journal import Event

        with progress(f"{arm} {sibling}") as on_progress:

            def told(event: Event) -> None:
                on_progress({"doing": f"{words.place(event.t)}, {words.STAGES.get(event.step, event.step)}"})

            yield told

    def failed(self, failure: "Failure") -> None:
        from iteralign.cli import terminal

        terminal.note(f"{failure.what}: failed: {failure.why}")


def _lost(failures: "tuple[Failure, ...]") -> str:
    names = ", ".join(failure.what for failure in failures)
    return (
        f"{len(failures)} failed ({names}), as said above; all others are kept: "
        "run the same command to take these up again"
    )

