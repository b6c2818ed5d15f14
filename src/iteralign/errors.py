"""Every error this package raises on purpose.

IterAlignError            one line, no traceback, exit status 2
├── UserError             the user's mistake: names the field, the value and the way out
│   └── NotReady          a key or a package that the config needs is not on this machine
└── WorldError            a fault of the outside world: the run stays resumable, the message says how

Anything else that escapes is a bug and shows its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class IterAlignError(Exception):
    """Base of both; its text is one line that a user can act on."""


class UserError(IterAlignError):
    """A mistake in what the user wrote: config, command line, files."""


class NotReady(UserError):
    """What a right config needs of this machine is not there: a key in the environment, a package."""


class WorldError(IterAlignError):
    """The outside world failed: network, provider, disk, memory. Rerun the command to resume."""


def unknown(what: str, value: str, allowed: Iterable[str]) -> UserError:
    """The error for a name that does not exist: the value, the nearest right one, all right ones."""
    names = sorted(allowed)
    near = get_close_matches(value, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"{what}: unknown value {value!r}; {hint}allowed: {', '.join(names)}")
