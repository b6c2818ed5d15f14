"""`iteralign show`: everything about a run, finished or not."""

from typing import Annotated

import typer

from iteralign.cli.run import JsonOption

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run directory, or a name in runs/.")]


def command(run: RunArgument, json: JsonOption = False) -> None:
    """Show what a run found, changed and cost."""
    from iteralign.cli import target, terminal, view
    from iteralign.report.summary import summarise

    summary = summarise(target.run_directory(run))
    if json:
        terminal.write(terminal.json_text(summary))
    else:
        view.page(terminal.stdout(), summary)
