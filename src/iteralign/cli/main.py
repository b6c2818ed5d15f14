"""`iteralign`: the commands, and what every one of them does with a mistake, an interruption, a closed pipe.

Only typer is imported here; a command imports what it needs when it runs, so that `--help` is quick.
Exit status: 0; 2 for a mistake or a fault of the outside world, with one line on stderr; 130 after Ctrl-C,
143 after SIGTERM, 129 where the terminal is gone.
"""

import os
import re
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from iteralign.cli import (
    check,
    compare,
    configs,
    constitution,
    data,
    evaluate,
    experiment,
    explain,
    export,
    organism,
    plan,
    run,
    show,
    signals,
    stage,
    terminal,
    version,
)
from iteralign.errors import IterAlignError

ORDER = (
    *("run", "check", "plan", "configs", "explain", "show", "stage", "export", "evaluate", "compare"),
    *("experiment", "constitution", "data", "organism", "version"),
)
USAGE: Any = typer.BadParameter.__mro__[1]
"""The base of typer's usage errors, which it does not export."""


def application() -> typer.Typer:
    app = typer.Typer(
        name="iteralign",
        help="Find where a language model fails, turn the failures into principles, and train the corrections in.",
        epilog="Start here: iteralign run quickstart",
        no_args_is_help=True,
        cls=Commands,
        **PLAIN,
    )
    app.command("run")(run.command)
    app.command("check")(check.command)
    app.command("plan")(plan.command)
    app.command("configs")(configs.command)
    app.command("explain")(explain.command)
    app.command("show")(show.command)
    app.command("stage")(stage.command)
    app.command("export")(export.command)
    app.command("evaluate")(evaluate.command)
    app.command("compare")(compare.command)
    app.command("experiment")(experiment.command)
    app.add_typer(_group("constitution", constitution.HELP, constitution.COMMANDS))
    app.add_typer(_group("data", data.HELP, data.COMMANDS))
    app.add_typer(group := _group("organism", organism.HELP, {"describe": organism.describe}))
    organism.extend(group)
    app.command("version")(version.command)
    return app


class Commands(TyperGroup):
    """The commands in the order in which they are needed; typer puts the groups last."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=ORDER.index)


def main() -> None:
    """The entry point. Exits; never returns a value."""
    # Idle OpenMP threads that spin cost the working ones most of their time where cores are few or shared; it is
    # read when torch is loaded first.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with signals.heeded():
        code = status()
    sys.exit(code)


def status(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status. Only a bug raises."""
    terminal.prepare()
    try:
        code = typer.main.get_command(app)(arguments, prog_name="iteralign", standalone_mode=False)
        sys.stdout.flush()
    except IterAlignError as error:
        terminal.note(f"error: {error}")
        return 2
    except USAGE as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(f"{error.format_message()}\n")
            return 2
        terminal.note(f"error: {_usage(error)}")
        return 2
    except (signals.Stopped, KeyboardInterrupt, typer.Abort) as error:
        terminal.note("interrupted")
        return signals.status_of(error)
    except BrokenPipeError:
        terminal.broken_pipe()
    except (OSError, MemoryError) as error:
        from iteralign.record.disk import explained

        full = "out of memory; free some, and run this again"
        known = explained(error, "the output") if isinstance(error, OSError) else full
        if known is None:
            raise
        terminal.note(f"error: {known}")
        return 2
    except SystemExit as end:  # typer's own answer to a closed pipe
        if isinstance(end.__context__, BrokenPipeError):
            terminal.broken_pipe()
        raise
    return code if isinstance(code, int) else 0


def _group(name: str, help: str, commands: dict[str, Any]) -> typer.Typer:
    group = typer.Typer(name=name, help=help, no_args_is_help=True, **PLAIN)
    for verb, command in commands.items():
        group.command(verb)(command)
    return group


def _usage(error: Any) -> str:
    """Typer's message as one line, with the nearest right name and where to read on."""
    message = str(error.format_message()).rstrip(".").replace("Value error, ", "")
    message = re.sub(r" \(Possible options: ([^,)]+).*\)", r". Did you mean \1?", message)
    commands = getattr(error.ctx and error.ctx.command, "commands", {})
    if commands and "Did you mean" not in message:
        message += f"; the commands are {', '.join(commands)}"
    where = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
    return f"{message[:1].lower()}{message[1:]}{where}"


PLAIN: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
app = application()

if __name__ == "__main__":
    main()
