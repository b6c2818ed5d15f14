"""Probes of the user's own: a file of any format, with `prompt`, `kind` and, if known, `topic` and `reference`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from iteralign.data import families, formats, readers
from iteralign.data.readers import Layout
from iteralign.errors import UserError
from iteralign.types import Probe, ProbeKind, Prompt

KINDS: tuple[ProbeKind, ...] = ("hazard", "benign", "borderline", "fact")


def probes(path: Path) -> tuple[Probe, ...]:
    """Every probe of the file, in order; their ids are unique. Raises UserError: its line is the row's number."""
    found: list[Probe] = []
    for number, row in enumerate(formats.rows(path), 1):
        values = row if isinstance(row, Mapping) else {}
        kind = values.get("kind")
        if kind not in KINDS:
            raise UserError(f"{path}:{number}: kind {kind!r}: allowed {', '.join(KINDS)}")
        prompt = readers.read([row], Layout(f"{path}:{number}", field="prompt")).prompts
        if not prompt:
            raise UserError(f"{path}:{number}: prompt is blank")
        found.append(Probe(prompt[0], kind, str(values.get("reference") or "")))
    ids: tuple[Prompt, ...] = families.unique(probe.prompt for probe in found)
    return tuple(replace(probe, prompt=prompt) for probe, prompt in zip(found, ids, strict=True))
