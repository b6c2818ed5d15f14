"""`iteralign organism bench`: the discovery benchmark, made or taken up again, and what it says."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from iteralign_organism.discovery.family import OnProgress
    from iteralign_organism.discovery.layout import Bench
    from iteralign_organism.discovery.performing import FailedJob, OnEvent

OutOption = Annotated[Path, typer.Option(metavar="DIR", help="Where organisms and runs lie.")]
ArmsOption = Annotated[str, typer.Option(metavar="A,B", help="Which methods; the first is compared.")]
SiblingsOption = Annotated[str, typer.Option(metavar="a,b,c", help="Which organisms of the family.")]


def command(
    out: OutOption = Path("runs/bench"),
    arms: ArmsOption = "improved,paper,random,withheld",
    siblings: SiblingsOption = "a,b,c,d,e,f,g,h,i,j",
    plan: Annotated[bool, typer.Option("--plan", help="What is done and left, and about how long.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="The tables of what is done; run nothing.")
    ] = False,
    format: Annotated[str, typer.Option(metavar="NAME", help="text, markdown, latex, csv or json.")] = "text",
) -> None:
    """The discovery benchmark: organisms with known gaps, several methods.

    Organisms that are not there are planted. Whatever stops it, the same command goes on. Two processes may share
    the work.
    """
    from iteralign.cli import tabular
    from iteralign.errors import UserError, WorldError, unknown
    from iteralign_organism.discovery import layout, performing

    if format not in (*tabular.FORMATS, "json"):
        raise unknown("--format", format, (*tabular.FORMATS, "json"))
    if plan and report:
        raise UserError("organism bench: --plan and --report: choose one")
    bench = layout.chosen(out, arms.split(","), siblings.split(","))
    if plan:
        _plan(bench, format)
        return
    failures = () if report else performing.perform(bench, Teller())
    _report(bench, format)
    if failures:
        raise WorldError(_lost(failures))


def _plan(bench: "Bench", format: str) -> None:
    from iteralign.cli import tabular, terminal
    from iteralign_organism.discovery import tables
    from iteralign_organism.discovery.outlook import outlook

    found = outlook(bench)
    if format != "json":
        tabular.show([tables.outlook(found)], [], format)
        return
    runs: dict[str, dict[str, str]] = {arm: {} for arm in bench.arms}
    for (arm, sibling), state in found.runs.items():
        runs[arm][sibling] = state
    terminal.write(terminal.json_text({"schema": 1, **_fields(found), "runs": runs}))


def _report(bench: "Bench", format: str) -> None:
    from iteralign.cli import tabular, terminal
    from iteralign.experiment import about
    from iteralign.record.codec import encode
    from iteralign_organism.discovery import tables
    from iteralign_organism.discovery.report import report

    found = report(bench)
    if format != "json":
        facts = about.lines([run.provenance for run in found.runs], len(tuple(bench.jobs)))
        missing = (f"not finished: {', '.join(found.missing)}",) if found.missing else ()
        tabular.show(tables.tables(found, len(bench.siblings)), (*facts, *missing), format)
        return
    written = {"schema": 1, **encode(found)}
    for run in written["runs"]:
        del run["hazards"]  # single probes: compare has them
    terminal.write(terminal.json_text(written))


def _fields(value: Any) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in fields(value)}


class Teller:
    """Tells on stderr how the benchmark goes."""

    @contextmanager
    def planting(self, sibling: str) -> "Iterator[OnProgress]":
        from iteralign.cli.progress import status_line

        with status_line(f"planting {sibling}") as on_progress:
            yield on_progress

    @contextmanager
    def running(self, arm: str, sibling: str) -> "Iterator[OnEvent]":
        from iteralign.cli import words
        from iteralign.cli.progress import status_line
        from iteralign.record.journal import Event

        with status_line(f"{arm} {sibling}") as on_progress:

            def told(event: Event) -> None:
                on_progress({"doing": f"{words.place(event.t)}, {words.STAGES.get(event.step, event.step)}"})

            yield told

    def failed(self, failure: "FailedJob") -> None:
        from iteralign.cli import terminal

        terminal.note(f"{failure.what}: failed: {failure.why}")

    def left(self, failure: "FailedJob") -> None:
        from iteralign.cli import terminal

        terminal.note(f"{failure.what}: in use by another process; left to it")


def _lost(failures: "tuple[FailedJob, ...]") -> str:
    names = ", ".join(failure.what for failure in failures)
    return (
        f"{len(failures)} failed ({names}), as said above; all others are kept: "
        "run the same command to take these up again"
    )
