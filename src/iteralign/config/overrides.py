"""Overlay: values above values, section by section; what `--set` writes, and where two configs differ."""

from collections.abc import Mapping, Sequence
from typing import Any

from iteralign.errors import UserError
from iteralign.security import documents


def assigned(values: Mapping[str, Any], sets: Sequence[str]) -> dict[str, Any]:
    """`values` with `--set` assignments above them; a later one wins. Raises UserError."""
    for assignment in sets:
        values = merged(values, _assignment(assignment))
    return dict(values)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, section by section."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def changed(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ."""
    keys = [k for k in {**old, **new} if old.get(k) != new.get(k)]
    found: list[str] = []
    for key in keys:
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += changed(a, b, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key}")
    return found


def _assignment(text: str) -> dict[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise UserError(f"--set {text!r}: write it as section.key=value")
    try:
        parsed = documents.parsed_toml(f"value = {value}")["value"]
    except documents.Unreadable:
        parsed = value.strip()
    nested: Any = parsed
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return dict(nested)
