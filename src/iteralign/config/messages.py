"""A validation error as one line that a person can act on."""

import re
from difflib import get_close_matches
from typing import Annotated, Any, get_args, get_origin

from pydantic import ValidationError

from iteralign.errors import UserError
from iteralign.options import fields_of, is_section

UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""What pydantic calls a key that a model, or a dataclass, does not have."""
KINDS = {"tuple": "a list", "string": "a text", "boolean": "true or false"}
"""What pydantic calls a value, and what a config calls it."""
SHOWN = 200
"""Characters of a value in a message."""


def explain(error: ValidationError, model: type) -> UserError:
    """The first mistake: its dotted key, its value, and what is right."""
    errors = error.errors(include_url=False)
    # a misspelt key is also a missing one; the misspelling is the mistake
    first = next((e for e in errors if e["type"] in UNKNOWN), errors[0])
    where = [str(p) for p in first["loc"]]
    key = ".".join(where)
    if first["type"] in UNKNOWN:
        return UserError(_unknown_key(where, model))
    count = error.error_count()
    rest = f" (and {count - 1} more)" if count > 1 else ""
    return UserError(f"config {key}: {shown(first['input'])}: {_plain(first['msg'])}{rest}")


def shown(value: Any) -> str:
    """A value as a message can hold it: cut where it is long; Python does not even write out the longest numbers."""
    try:
        text = repr(value)
    except ValueError:
        return (
            f"a number of {value.bit_length():,} bits"
            if isinstance(value, int)
            else "a number too long to show"
        )
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _unknown_key(where: list[str], model: type) -> str:
    owner: Any = model
    for part in where[:-1]:
        # below a table, as prices are, every name is allowed and all have the same keys; so have entries of a list
        owner = _within(owner) if get_origin(owner) in (dict, tuple) else fields_of(owner)[part].annotation
    allowed = sorted(fields_of(owner))
    near = get_close_matches(where[-1], allowed, n=1) or _elsewhere(where[-1], model)
    hint = f"did you mean {near[0]!r}? " if near else ""
    section = f"[{'.'.join(where[:-1])}]" if where[:-1] else "the top level"
    return f"config {'.'.join(where)}: unknown key; {hint}{section} knows {', '.join(allowed)}"


def _within(container: Any) -> Any:
    """What a table's values, or a list's entries, are."""
    kind = get_args(container)[get_origin(container) is dict]
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _elsewhere(name: str, model: type) -> list[str]:
    sections: dict[str, Any] = {
        key: info.annotation for key, info in fields_of(model).items() if is_section(info.annotation)
    }
    return [f"{key}.{name}" for key, kind in sections.items() if name in fields_of(kind)]


def _plain(message: str) -> str:
    """pydantic's message in the words of a config file."""
    message = re.sub(r"a (?:valid )?dictionary or an? (?:instance|object) .*", "a table", message)
    message = re.sub(r"a valid (tuple|string|boolean)", lambda kind: KINDS[kind[1]], message)
    return re.sub(
        r"^Input should",
        "it should",
        message[:1].lower() + message[1:] if message[:5] != "Input" else message,
    )
