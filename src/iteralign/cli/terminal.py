"""Terminal: how text reaches a screen, a pipe or a file.

What a model wrote is untrusted: control characters, terminal escapes and text-direction marks are shown
as escapes, and nothing is read as markup. Colour and movement are for terminals only.
"""

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 80
"""Columns where there is no terminal to ask."""
LONGEST_NOTE = 2000
"""Characters of a line on stderr: a name or a value in it may be as long as a file."""

# C0 without line feed, DEL, C1; marks that reorder or hide text; line separators; surrogates.
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def clean(text: str) -> str:
    """`text` with everything that could move the cursor, hide or reorder as a visible escape; tabs as blanks."""
    return _UNSAFE.sub(lambda m: " " if m[0] == "\t" else _escaped(m[0]), text)


def one_line(text: str) -> str:
    """The same on a single line."""
    return clean(" ".join(text.split()))


def shell_word(text: str) -> str:
    """`text` as a shell wants it, to be copied into a command."""
    return shlex.quote(text)


def json_text(value: Any) -> str:
    """`value` as JSON for people and programs: all scripts as they are, unsafe characters escaped."""
    return escaped(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def escaped(json_text: str) -> str:
    """JSON (or a JSON string in YAML) with unsafe characters escaped; it means the same."""
    return _UNSAFE.sub(lambda m: f"\\u{ord(m[0]):04x}", json_text)


def stdout() -> "Console":
    return _console(sys.stdout)


def stderr() -> "Console":
    return _console(sys.stderr)


def write(text: str) -> None:
    """Plain text to stdout, as it is but for what the encoding of stdout lacks."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """One line to stderr; of a very long one the middle is left out, as its end says what to do."""
    line = one_line(text)
    if len(line) > LONGEST_NOTE:
        line = f"{line[: LONGEST_NOTE // 2]} … {line[-LONGEST_NOTE // 2 :]}"
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def is_live(stream: IO[str]) -> bool:
    """Whether lines can be redrawn there."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def prepare() -> None:
    """A character that the terminal's encoding lacks is replaced, not a crash."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


@contextmanager
def trimmed(console: "Console") -> Iterator[None]:
    """What is printed within is written at its end, without the blanks that tables leave behind lines."""
    with console.capture() as captured:
        yield
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    console.file.flush()


def broken_pipe() -> NoReturn:
    """The reader of our output has left: end as a program does that SIGPIPE ends, without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would complain when it flushes at exit
    sys.exit(141)


def _console(stream: IO[str]) -> "Console":
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    live = is_live(stream)
    width = None if live or "COLUMNS" in os.environ else PLAIN_WIDTH
    return Quiet(file=stream, force_terminal=live, width=width, markup=False, emoji=False, highlight=False)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
