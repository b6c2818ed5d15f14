"""`iteralign run`: the whole loop, from a config to its result. Running it again resumes."""

from pathlib import Path
from typing import Annotated

import typer

ConfigArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG", help="A config file, a shipped one (iteralign configs), or a run to resume."
    ),
]
SetOption = Annotated[
    list[str], typer.Option("--set", metavar="A.B=C", help="Set one value; may be repeated.")
]
NameOption = Annotated[str | None, typer.Option(metavar="NAME", help="Name of the run, and of its folder.")]
RunsOption = Annotated[Path, typer.Option(metavar="DIR", help="Where runs lie.")]
PolicyOption = Annotated[
    str | None, typer.Option(metavar="MODEL", help="The model to align: a directory or hub id.")
]
OracleOption = Annotated[
    str | None, typer.Option(metavar="PROVIDER/MODEL", help="The stronger model, as in openai/NAME.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON (docs/show.md) and nothing else on stdout.")
]
PricesOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Prices that go above the known ones (docs/cost.md).")
]
OfflineOption = Annotated[
    bool, typer.Option("--offline", help="Call nothing outside this machine; refuse what would.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; the result only.")]


def command(
    config: ConfigArgument,
    set: SetOption = [],  # noqa: B006 (typer reads it, and copies it)
    name: NameOption = None,
    runs: RunsOption = Path("runs"),
    policy: PolicyOption = None,
    oracle: OracleOption = None,
    prices: PricesOption = None,
    offline: OfflineOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run the loop, or resume it.

    The policy answers attack prompts, the oracle finds the failures and writes principles for them, the
    policy answers again under the principles and is trained on what the oracle accepts; then the next
    batch. Running the same command again resumes.
    """
    from iteralign.cli import target, terminal, view

    values, root = target.chosen(config, [*set, *target.actors(policy, oracle, offline)], name, runs, prices)
    out = terminal.stdout()
    with target.resumable(root):
        from iteralign.cli.progress import watching
        from iteralign.report.summary import summarise
        from iteralign.run import offline as walls
        from iteralign.run import runner
        from iteralign.run.inputs import left_out

        if not (json or quiet):
            with walls.kept(values):
                missing = left_out(values)
            for section, said in missing.items():
                out.print(f"{section} data: {said}", soft_wrap=True)
        with watching(terminal.stderr() if json else out, root, quiet) as watcher:
            for turn in runner.run(values, root, watcher.event):
                watcher.iteration(turn)
        summary = summarise(root)
    if json:
        terminal.write(terminal.json_text(summary))
    else:
        view.page(out, summary)
