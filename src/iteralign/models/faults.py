"""Failures of a remote model, as one line that a user can act on and that never holds a key."""

import asyncio
import json
import os
import re
from typing import Any

from pydantic import ValidationError
from tenacity import RetryError

from iteralign.errors import IterAlignError, NotReady, UserError, WorldError
from iteralign.models.client import Garbled
from iteralign.security.keys import Keys

VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
TOO_LONG = re.compile(
    r"context (length|window)|prompt is too long|max_tokens must be at least 1, got (0|-\d+)", re.IGNORECASE
)
"""How servers call a conversation that does not fit; inspect_ai knows some of them by their error code."""
MARKUP = re.compile(r"\[/?[a-z ]+\]")
MISREAD = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    RecursionError,
    TypeError,
    UnicodeError,
    json.JSONDecodeError,
    ValidationError,
)
"""What a library raises that stumbles over a reply. From a provider of ours it is a bug of ours."""
RESUME = "what was answered is kept: run the same command again to resume"


def unopened(spec: str, fault: Exception, keys: Keys) -> IterAlignError:
    """Why no client could be made: a missing key or package, an unknown argument."""
    if isinstance(fault, IterAlignError):
        return fault
    text = MARKUP.sub("", str(getattr(fault, "message", fault)))
    missing = VARIABLE.findall(text)
    if "defined in the environment" in text and missing:
        other = f" (or {', '.join(missing[1:])})" if missing[1:] else ""
        return NotReady(f"{spec}: the environment variable {missing[0]} is not set{other}")
    kind = NotReady if type(fault).__name__ == "PrerequisiteError" else UserError
    return kind(f"{spec}: cannot be used: {line(text, keys)}")


def failed(spec: str, fault: BaseException, api: Any, keys: Keys) -> BaseException:
    """What to raise for a call that failed for good. A bug of ours stays what it is."""
    found = cause(fault)
    if isinstance(found, Garbled):
        return WorldError(f"{spec}: the reply {line(str(found), keys)}; {RESUME}")
    if isinstance(found, (IterAlignError, *MISREAD)) or not isinstance(found, Exception):
        return found
    code = status(found)
    # The provider's own words about a key quote parts of it, so they are never passed on.
    if code == 401:
        return UserError(f"{spec}: the provider refused the key (401); check {_variable(api)}")
    text = line(_words(found), keys)
    if code == 403:
        return UserError(f"{spec}: access refused (403): {text}; check the rights of {_variable(api)}")
    if code == 404:
        return UserError(f"{spec}: unknown model or address (404): {text}; check the name and the base URL")
    if code is not None and 300 <= code < 400:
        to = line(str(found.response.headers.get("location", "?")), keys)  # type: ignore[attr-defined]
        return WorldError(
            f"{spec}: the address is redirected ({code}) to {to}, which is not followed; set the base URL to where "
            f"it leads; {RESUME}"
        )
    if code is not None and 400 <= code < 500 and code not in (402, 408, 409, 425, 429):
        return UserError(f"{spec}: the provider rejects the request ({code}): {text}")
    kind = f"{type(found).__name__} ({code})" if code else type(found).__name__
    return WorldError(f"{spec}: {kind}: {text}; {RESUME}")


def reason(fault: BaseException, keys: Keys) -> str:
    """A failed attempt in a few words."""
    found = cause(fault)
    if isinstance(found, asyncio.CancelledError):
        return "it was given up before its answer came"
    words = str(found) if isinstance(found, Garbled) else f"{type(found).__name__}: {_words(found)}"
    return line(words, keys)


def status(fault: BaseException) -> int | None:
    """The status of HTTP, if the provider answered with one."""
    found = getattr(fault, "status_code", None)
    return found if type(found) is int else None


def too_long(fault: BaseException) -> bool:
    """Whether a server refused a conversation because it is longer than the model's context."""
    found = cause(fault)
    return status(found) in (400, 413) and bool(TOO_LONG.search(_words(found)))


def cause(fault: BaseException) -> BaseException:
    """What failed, under the wrappers of groups, retries and requests: ours, else the provider's own error."""
    if isinstance(fault, BaseExceptionGroup):
        return cause(fault.exceptions[0])
    if isinstance(fault, RetryError) and (inner := fault.last_attempt.exception()) is not None:
        return cause(inner)
    under: BaseException | None = fault
    while under is not None:
        if isinstance(under, (IterAlignError, Garbled)):
            return under
        under = under.exceptions[0] if isinstance(under, BaseExceptionGroup) else under.__cause__
    # inspect_ai wraps an error that a provider returns into one with the request, which is not for a message.
    wrapped = fault.__cause__ if hasattr(fault, "provider_message") else None
    return wrapped or fault


def _words(found: BaseException) -> str:
    """The error's own words and those at its root, as "Connection error." alone says nothing."""
    text, root = str(getattr(found, "message", "") or found), found
    while root.__cause__ is not None:
        root = root.__cause__
    return text if str(root) in text else f"{text} ({root})"


def _variable(api: Any) -> str:
    names = [n for n in getattr(api, "api_key_vars", ()) if isinstance(n, str)]
    return next((n for n in names if os.environ.get(n)), names[0] if names else "the key of this provider")


def line(text: str, keys: Keys) -> str:
    """At most 300 characters on one line, without a key."""
    plain = "".join(c if c.isprintable() else " " for c in text[:20_000])
    return " ".join(keys.scrub(plain).split())[:300] or "no message"
