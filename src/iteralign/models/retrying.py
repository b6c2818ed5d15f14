"""When a failed attempt is repeated, and after how long.

inspect_ai repeats what the provider's SDK calls temporary. Here two things are added: a reply that is not of
the provider's protocol (empty, cut short, a page of a proxy) is repeated too, and what the provider says in
`Retry-After` is waited for.
"""

import json
import random
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from iteralign.errors import IterAlignError

if TYPE_CHECKING:
    from inspect_ai.model import Model

LONGEST_S = 600.0
"""No provider makes a call wait longer than this, whatever it says (ours)."""

READERS = ("inspect_ai.model._openai", "inspect_ai.model._providers", "openai", "anthropic")
"""The code that reads a provider's reply: what fails there failed on the reply."""
MISREADINGS = (AssertionError, AttributeError, IndexError, KeyError, TypeError)


def govern(model: "Model", backoff_s: float, on_failed_attempt: Callable[[], None] | None) -> None:
    """Set when `model` repeats an attempt. `backoff_s` is the first wait, which then doubles.

    inspect_ai asks `should_retry` of every failed attempt, the last one too, and has no other place that
    hears of each: `on_failed_attempt` is told there, and what it raises ends the call.
    """
    decide, api = model.should_retry, model.api

    def heard(fault: BaseException) -> bool:
        if ours(fault):
            return False
        if on_failed_attempt is not None:
            on_failed_attempt()
        return decide(fault) or garbled(fault)

    def wait_s(state: Any) -> float:
        fault = state.outcome.exception()
        told = getattr(api.should_retry(fault), "retry_after", None) or 0.0
        backoff = backoff_s * (2.0 ** (state.attempt_number - 1) + random.random())
        return float(min(max(backoff, told), LONGEST_S))

    model.should_retry = heard  # type: ignore[method-assign, assignment]
    api.retry_wait = lambda: wait_s  # type: ignore[method-assign]


def ours(fault: BaseException | None) -> IterAlignError | None:
    """The error of this package that a library has wrapped into its own, as when a connection is refused offline."""
    while fault is not None and not isinstance(fault, IterAlignError):
        fault = fault.exceptions[0] if isinstance(fault, BaseExceptionGroup) else fault.__cause__
    return fault


def garbled(fault: BaseException) -> bool:
    """Whether an attempt failed because the reply is not of the provider's protocol."""
    if isinstance(fault, json.JSONDecodeError):
        return True
    if not isinstance(fault, MISREADINGS) or fault.__traceback__ is None:
        return False
    module = _innermost(fault.__traceback__)
    return any(module == reader or module.startswith((f"{reader}.", f"{reader}_")) for reader in READERS)


def _innermost(trace: TracebackType) -> str:
    while trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", ""))
