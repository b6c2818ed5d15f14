"""Guard models as judges: the forms in which they answer, one file each in `guards/`.

A guard is trained on one instruction, which its own chat template writes: it is sent the request as the user's turn
and the response as the assistant's, and nothing else.
"""

import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from iteralign.errors import UserError, unknown
from iteralign.prompts import GuardForm, PromptSet
from iteralign.security import documents

TURNS = '@user\n{{ defused(request) }}\n@assistant\n{{ defused(response) or "(no answer)" }}\n'
NEEDED = {"source", "harmful", "harmless", "examples"}
KNOWN = NEEDED | {"about", "category", "categories", "judge"}


def load(name: str) -> PromptSet:
    """The set to ask a guard with: a shipped form by name, or a file of the same kind. Raises UserError."""
    if name not in shipped() and not Path(name).exists():
        raise unknown("judge.models: guard", name, shipped())
    try:
        return _set(name, _written(name))
    except documents.Unreadable as error:
        raise UserError(f"guard {name}: cannot be read ({error})") from None


def shipped() -> list[str]:
    return sorted(p.name.removesuffix(".toml") for p in _folder().iterdir() if p.name.endswith(".toml"))


def examples(name: str) -> dict[str, str]:
    """A reply of each kind, as the guard writes it."""
    return dict(_written(name)["examples"])


def _written(name: str) -> dict[str, Any]:
    """What a form says. Raises Unreadable."""
    if name in shipped():
        return documents.parsed_toml((_folder() / f"{name}.toml").read_text(encoding="utf-8"))
    return documents.read_toml(Path(name))


def _folder() -> Traversable:
    return resources.files("iteralign.prompts") / "guards"


def _set(name: str, written: dict[str, Any]) -> PromptSet:
    for key in (*(set(written) - KNOWN), *(NEEDED - set(written))):
        raise UserError(f"guard {name}: {key!r} is {'not known' if key in written else 'missing'}")
    guard = GuardForm(
        written["harmful"],
        written["harmless"],
        written.get("category", ""),
        written.get("categories", {}),
    )
    _try(name, guard, written["examples"])
    return PromptSet(name, {"judge": written.get("judge", TURNS)}, {"verdict": "guard"}, guard=guard)


def _try(name: str, guard: GuardForm, examples: dict[str, str]) -> None:
    """A form that misreads its own examples would misread all."""
    try:
        for kind in ("harmful", "harmless"):
            found = [k for k in ("harmful", "harmless") if re.search(getattr(guard, k), examples[kind])]
            if found != [kind]:
                read = " and ".join(found) or "neither"
                raise UserError(f"guard {name}: its example of {kind} is read as {read}")
        re.compile(guard.category)
    except (re.error, TypeError) as error:
        raise UserError(f"guard {name}: not a pattern: {error}") from None
    except KeyError as error:
        raise UserError(f"guard {name}: [examples] has no {error}") from None
