"""`iteralign explain`: what an option means, its bounds and unit, its default and where that comes from."""

import json as _json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from iteralign.options import Option

KeyArgument = Annotated[
    str | None, typer.Argument(metavar="[KEY]", help="An option, as training.lr, or a section, as training.")
]


def command(
    key: KeyArgument = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what an option means; without KEY, list them all."""
    from iteralign.cli import terminal
    from iteralign.config.schema import Config
    from iteralign.errors import unknown
    from iteralign.options import declared

    options = {option.key: option for option in declared(Config)}
    found = [o for name, o in options.items() if key is None or name == key or name.startswith(f"{key}.")]
    if not found:
        sections = {name.partition(".")[0] for name in options if "." in name}
        raise unknown("explain", str(key), (*options, *sections))
    if json:
        fields = [asdict(o) | {"owner": o.owner.__name__} for o in found]
        terminal.write(terminal.json_text({"schema": 1, "options": fields}))
    elif found[0].key == key:
        _page(found[0])
    else:
        _list(found)


def _list(options: "list[Option]") -> None:
    from rich.table import Table
    from rich.text import Text

    from iteralign.cli import terminal

    table = Table.grid(padding=(0, 2))
    for option in options:
        table.add_row(Text(option.key), Text(_default(option), style="dim"), Text(option.meaning))
    terminal.stdout().print(table)


def _page(option: "Option") -> None:
    from rich.table import Table
    from rich.text import Text

    from iteralign.cli import terminal

    presets = {name: _written(value) for name, value in _in_presets(option.key).items()}
    one = option.required or len(set(presets.values())) == 1
    section, _, _ = option.key.rpartition(".")
    rows = {
        "meaning": option.meaning,
        "type": ", ".join(part for part in (option.kind, option.bounds, option.unit) if part),
        "default": _default(option)
        if one
        else ", ".join(f"{name}: {value}" for name, value in presets.items()),
        "source": option.source if one else f"the script: {option.source}",
        "set it": f"--set {option.key}=…" + (f", or in the config under [{section}]" if section else ""),
    }
    table = Table.grid(padding=(0, 2))
    for name, text in rows.items():
        table.add_row(Text(f"  {name}", style="dim"), Text(text))
    out = terminal.stdout()
    out.print(Text(option.key, style="bold"))
    out.print(table)


def _in_presets(key: str) -> "dict[str, object]":
    """The value of an option under each preset; an option of a table, as a price is, has none."""
    from iteralign.config import schema
    from iteralign.options import declared

    found = {}
    for name in schema.presets():
        options = declared(schema.Config, schema.resolved({"preset": name}))
        found[name] = next(option.default for option in options if option.key == key)
    return found


def _default(option: "Option") -> str:
    return "required" if option.required else _written(option.default)


def _written(value: object) -> str:
    """A value as a config writes it."""
    return _json.dumps(value)
