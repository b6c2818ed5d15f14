"""How an option is declared: once, with default, bounds, unit, meaning and source; and how that is read again."""

import dataclasses
from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints

import annotated_types
from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

MANY = 1_000_000
"""The most of anything that is counted out in memory, as prompts are (chosen: the paper's preset asks for as many)."""
DAY_S = 86_400
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""How a class of options is validated: an unknown key is an error, and so is a number that is none."""
OURS = "ours"


def option(default: Any, meaning: str, source: str = OURS, unit: str = "", **bounds: Any) -> Any:
    """Declare an option of a pydantic dataclass.

    Args:
        default: Its value where neither preset nor config says another.
        meaning: What it does, in a sentence or two.
        source: Where the default comes from. Where the presets differ: what the released script does, and why ours
            differs.
        unit: Of a number.
        bounds: As pydantic's Field takes them (ge, gt, le, lt).
    """
    return Field(default, description=meaning, json_schema_extra={"source": source, "unit": unit}, **bounds)


@dataclasses.dataclass(frozen=True)
class Option:
    """A declared option. `owner` declares it, `bounds` are in words; a required one has no default."""

    key: str
    owner: type
    kind: str
    required: bool
    default: Any
    meaning: str
    source: str
    unit: str
    bounds: str


def is_section(kind: Any) -> bool:
    """Whether a type is a class of options: a pydantic model or dataclass."""
    return isinstance(kind, type) and (issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind))


def fields_of(kind: type) -> dict[str, FieldInfo]:
    """Return the fields of a class of options, by name."""
    found: dict[str, FieldInfo] = getattr(kind, "__pydantic_fields__", {})
    return dict(found)


def declared(kind: type, given: Any = None, prefix: str = "") -> Iterator[Option]:
    """Yield every option of a config class, section by section; those of a table, as prices are, with a `*`.

    Args:
        kind: The class.
        given: An instance, whose values are the defaults; without it the class's own.
        prefix: Of the keys.
    """
    for name, info in fields_of(kind).items():
        required = info.is_required()
        own = None if required else info.get_default(call_default_factory=True)
        default = own if given is None else getattr(given, name)
        if is_section(info.annotation):
            yield from declared(info.annotation, default, f"{prefix}{name}.")  # type: ignore[arg-type]
        elif get_origin(info.annotation) is dict:
            yield from declared(get_args(info.annotation)[1], None, f"{prefix}{name}.*.")
        else:
            extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
            yield Option(
                prefix + name,
                next(c for c in reversed(kind.__mro__) if name in get_type_hints(c)),
                _words(info.annotation),
                required,
                default,
                info.description or "",
                str(extra.get("source", OURS)),
                str(extra.get("unit", "")),
                ", ".join(_bounds(info)),
            )


def _words(annotation: Any) -> str:
    """A type as a user knows it: `integer`, `"lora" | "full"`, `text or null`."""
    names: dict[Any, str] = {str: "text", int: "integer", float: "number", bool: "true or false"}
    arguments = get_args(annotation)
    if annotation in names:
        return names[annotation]
    if annotation is type(None):
        return "null"
    if get_origin(annotation) is tuple:
        return "list"
    if arguments and all(isinstance(a, str) for a in arguments):
        return " | ".join(f'"{a}"' for a in arguments)
    return " or ".join(_words(a) for a in arguments)


def _bounds(info: FieldInfo) -> Iterator[str]:
    signs = {"Ge": ("at least", "ge"), "Gt": ("above", "gt"), "Le": ("at most", "le"), "Lt": ("below", "lt")}
    for bound in info.metadata:
        if isinstance(bound, annotated_types.BaseMetadata) and type(bound).__name__ in signs:
            words, attribute = signs[type(bound).__name__]
            yield f"{words} {getattr(bound, attribute):,}"
