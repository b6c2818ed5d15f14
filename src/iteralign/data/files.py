"""Prompts and probes of the user's own: JSONL (one object a line) or TXT (one prompt a line)."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iteralign.errors import UserError
from iteralign.types import Probe, ProbeKind, Prompt

KINDS: tuple[ProbeKind, ...] = ("hazard", "benign", "borderline", "fact")


def prompts(path: Path, field: str = "prompt") -> tuple[Prompt, ...]:
    """Every prompt of the file, in order, empty ones left out. Raises UserError."""
    if path.suffix == ".txt":
        rows: list[Mapping[str, Any]] = [{field: line} for line in _lines(path)]
    else:
        rows = [row for _, row in _objects(path)]
    found = [_prompt(row, field, path) for row in rows]
    kept = tuple(p for p in found if p.text.strip())
    if not kept:
        raise UserError(f"{path}: no prompt in it")
    return kept


def probes(path: Path) -> tuple[Probe, ...]:
    """Probes: objects with `prompt`, `kind` and, if known, `topic` and `reference`. Raises UserError."""
    found: list[Probe] = []
    for number, row in _objects(path):
        kind = row.get("kind")
        if kind not in KINDS:
            raise UserError(f"{path}:{number}: kind {kind!r}: allowed {', '.join(KINDS)}")
        found.append(Probe(_prompt(row, "prompt", path), kind, str(row.get("reference", ""))))
    return tuple(found)


def _prompt(row: Mapping[str, Any], field: str, path: Path) -> Prompt:
    text = row.get(field)
    if not isinstance(text, str):
        raise UserError(f"{path}: field {field!r} is not a text; the fields are {', '.join(row)}")
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    family = str(row.get("family", digest))
    return Prompt(str(row.get("id", digest)), text, family, str(row.get("topic", "")))


def _objects(path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    found: list[tuple[int, Mapping[str, Any]]] = []
    for number, line in enumerate(_lines(path), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(row, Mapping):
            raise UserError(f"{path}:{number}: not a JSON object")
        found.append((number, row))
    return found


def _lines(path: Path) -> list[str]:
    if path.suffix not in (".jsonl", ".txt"):
        raise UserError(f"{path}: unknown format {path.suffix!r}; allowed: .jsonl, .txt")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    # Not splitlines(): it also cuts at U+2028 and form feeds, which stand inside texts.
    return [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
