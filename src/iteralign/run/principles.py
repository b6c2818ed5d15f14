"""Principles that are not discovered: a shipped list, a text file, or what another run's constitution exported."""

from importlib import resources
from pathlib import Path
from typing import Any

from iteralign.errors import UserError, unknown
from iteralign.propose import written
from iteralign.security import documents
from iteralign.types import Principle

FIELD = "config propose.principles"


def load(name: str) -> tuple[Principle, ...]:
    """The principles of a shipped list or a file, in order, each once. Raises UserError in one line."""
    exported = False
    if name in shipped():
        entry = resources.files("iteralign.prompts") / "principles" / f"{name}.txt"
        text = entry.read_text(encoding="utf-8")
    else:
        path = Path(name)
        if not path.suffix and not path.exists():
            raise unknown(FIELD, name, shipped())
        try:
            text = documents.text(path, documents.SETTINGS)
        except documents.Unreadable as error:
            raise UserError(f"{FIELD}: {name!r} cannot be read ({error})") from None
        exported = path.suffix == ".json"
    lines = _exported(name, text) if exported else [x.strip() for x in text.splitlines() if x.strip()]
    if not lines:
        raise UserError(f"{FIELD}: {name!r} holds no principle; write one a line")
    return tuple(written("", line) for line in dict.fromkeys(lines))


def shipped() -> list[str]:
    """Names of the lists that come with the package."""
    folder = resources.files("iteralign.prompts") / "principles"
    return sorted(p.name.removesuffix(".txt") for p in folder.iterdir() if p.name.endswith(".txt"))


def _exported(name: str, text: str) -> list[str]:
    try:
        document: Any = documents.parsed_json(text)
    except documents.Unreadable as error:
        raise UserError(f"{FIELD}: {name!r} is {error}") from None
    rows = document.get("principles") if isinstance(document, dict) else None
    texts = (
        [row.get("text") if isinstance(row, dict) else None for row in rows] if isinstance(rows, list) else []
    )
    if not all(isinstance(t, str) and t.strip() for t in texts):
        raise UserError(
            f"{FIELD}: {name!r}: every principle needs a text, as `constitution export` writes it"
        )
    return [" ".join(str(t).split()) for t in texts]
