"""`iteralign configs`: the configs that come with the package, to run by name or to copy and change."""

from typing import Annotated

import typer


def command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Print this one, to copy it: … > mine.toml")
    ] = None,
) -> None:
    """List the configs that come with the package, or print one.

    A config is run by its name, as in `iteralign run quickstart`; what one needs and costs stands on its top.
    """
    from iteralign.cli import terminal
    from iteralign.config import schema

    if name is not None:
        terminal.write(schema.text(name))
        return
    wide = max(map(len, schema.shipped()))
    for each in schema.shipped():
        terminal.write(f"{each:<{wide}}  {schema.about(each)}\n")
