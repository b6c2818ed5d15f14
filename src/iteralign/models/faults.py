"""Failures of a remote model, as one line that a user can act on and that never holds a key."""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from iteralign.errors import IterAlignError, NotReady, UserError, WorldError
from iteralign.models import retrying

SECRET = re.compile(r"key|token(?!s)|secret|password|credential|authorization|header", re.IGNORECASE)
KEY_SHAPE = re.compile(r"\b(?:sk|pk|rk|key)-[\w-]{6,}\**[\w-]*|(?i:\bbearer\s+)\S+")
VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
TOO_LONG = re.compile(r"context (length|window)|prompt is too long", re.IGNORECASE)
"""How servers call a conversation that does not fit; inspect_ai knows some of them by their error code."""
MARKUP = re.compile(r"\[/?[a-z ]+\]")
BUGS = (AttributeError, AssertionError, IndexError, KeyError, NameError, TypeError)
RESUME = "what was answered is kept: run the same command again to resume"


def clean(text: str, secrets: Iterable[str]) -> str:
    """`text` without the secrets and without anything that looks like a key."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return KEY_SHAPE.sub("***", text)


def secrets_of(api: Any, arguments: Mapping[str, Any]) -> frozenset[str]:
    """Values that must never be shown: of the environment, of the client, of the arguments."""
    named = {k: v for k, v in {**os.environ, **arguments}.items() if SECRET.search(k)}
    found = [*_texts(named), *_texts([getattr(api, "api_key", None)])]
    return frozenset(s for s in found if len(s) >= 8)


def unopened(spec: str, fault: Exception, arguments: Mapping[str, Any]) -> IterAlignError:
    """Why no client could be made: a missing key or package, an unknown argument."""
    if isinstance(fault, IterAlignError):
        return fault
    text = MARKUP.sub("", str(getattr(fault, "message", fault)))
    missing = VARIABLE.findall(text)
    if "defined in the environment" in text and missing:
        other = f" (or {', '.join(missing[1:])})" if missing[1:] else ""
        return NotReady(f"{spec}: the environment variable {missing[0]} is not set{other}")
    kind = NotReady if type(fault).__name__ == "PrerequisiteError" else UserError
    return kind(f"{spec}: cannot be used: {_line(text, secrets_of(None, arguments))}")


def failed(spec: str, fault: BaseException, api: Any, arguments: Mapping[str, Any]) -> BaseException:
    """What to raise for a call that failed for good. A bug stays what it is."""
    cause = _cause(fault)
    if retrying.garbled(cause):
        told = _line(f"{type(cause).__name__}: {cause}", secrets_of(api, arguments))
        return WorldError(f"{spec}: the reply is not of the provider's protocol ({told}); {RESUME}")
    if isinstance(cause, (IterAlignError, *BUGS)) or not isinstance(cause, Exception):
        return cause
    status = getattr(cause, "status_code", None)
    # The provider's own words about a key quote parts of it, so they are never passed on.
    if status == 401:
        return UserError(f"{spec}: the provider refused the key (401); check {_variable(api)}")
    text = _line(_told(cause), secrets_of(api, arguments))
    if status == 403:
        return UserError(f"{spec}: access refused (403): {text}; check the rights of {_variable(api)}")
    if status == 404:
        return UserError(f"{spec}: unknown model or address (404): {text}; check the name and the base URL")
    if isinstance(status, int) and 400 <= status < 500 and status not in (402, 408, 409, 425, 429):
        return UserError(f"{spec}: the provider rejects the request ({status}): {text}")
    kind = f"{type(cause).__name__} ({status})" if status else type(cause).__name__
    return WorldError(f"{spec}: {kind}: {text}; {RESUME}")


def too_long(fault: BaseException) -> bool:
    """Whether a server refused a conversation because it is longer than the model's context."""
    cause = _cause(fault)
    return getattr(cause, "status_code", None) in (400, 413) and bool(TOO_LONG.search(_told(cause)))


def _cause(fault: BaseException) -> BaseException:
    """The provider's own error under the wrappers of groups, retries and requests."""
    while True:
        inner: BaseException | None = None
        if isinstance(fault, BaseExceptionGroup):
            inner = fault.exceptions[0]
        elif (attempt := getattr(fault, "last_attempt", None)) is not None:
            inner = attempt.exception()
        elif type(fault).__name__ == "ModelGenerateError":
            inner = fault.__cause__
        if inner is None:
            return retrying.ours(fault) or fault
        fault = inner


def _told(cause: BaseException) -> str:
    """The error's own words and those at its root, as "Connection error." alone says nothing."""
    text, root = str(getattr(cause, "message", "") or cause), cause
    while root.__cause__ is not None:
        root = root.__cause__
    return text if str(root) in text else f"{text} ({root})"


def _variable(api: Any) -> str:
    names = [n for n in getattr(api, "api_key_vars", ()) if isinstance(n, str)]
    return next((n for n in names if os.environ.get(n)), names[0] if names else "the key of this provider")


def _line(text: str, secrets: Iterable[str]) -> str:
    return " ".join(clean(text, secrets).split())[:300] or "no message"


def _texts(value: Any) -> list[str]:
    """Every text inside nested lists and mappings."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return []
    return [text for inner in value for text in _texts(inner)]
