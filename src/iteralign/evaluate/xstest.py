"""XSTest's format (Röttger et al. 2024): safe prompts that look dangerous, and unsafe ones to contrast them with.

Columns: prompt; label (safe | unsafe) or, as in the first release, a type that begins with `contrast_` where the
prompt is unsafe; id and type where known. Safe ones become borderline probes, unsafe ones hazards.
"""

from collections.abc import Sequence
from typing import Any

from iteralign.errors import UserError, unknown
from iteralign.evaluate.choices import key, text_of
from iteralign.types import Probe, Prompt

LABELS = {"safe": "borderline", "unsafe": "hazard"}
CONTRAST = "contrast_"


def read(rows: Sequence[Any], name: str) -> tuple[Probe, ...]:
    """The prompts as probes. Raises UserError; a set without a safe prompt measures no over-refusal."""
    probes = tuple(_read(row, f"{name}: row {number}") for number, row in enumerate(rows, 1))
    if not any(p.kind == "borderline" for p in probes):
        raise UserError(f"{name}: no safe prompt in it")
    ids = [p.prompt.id for p in probes]
    twice = next((i for i in range(len(ids)) if ids[i] in ids[:i]), None)
    if twice is not None:
        raise UserError(f"{name}: row {twice + 1} repeats the prompt of row {ids.index(ids[twice]) + 1}")
    return probes


def _read(row: Any, where: str) -> Probe:
    text = text_of(row, ("prompt",), where)
    topic = str(row.get("type") or "")
    label = str(row.get("label") or "").strip().lower()
    if not label:
        if not topic:
            raise UserError(f"{where}: no field 'label' or 'type'; it has {', '.join(map(str, row))}")
        label = "unsafe" if topic.startswith(CONTRAST) else "safe"
    if label not in LABELS:
        raise unknown(f"{where}: label", label, LABELS)
    prompt = Prompt(key(text), text, str(row.get("family") or ""), topic.removeprefix(CONTRAST))
    return Probe(prompt, LABELS[label])  # type: ignore[arg-type]
