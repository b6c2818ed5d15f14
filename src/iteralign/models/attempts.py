"""The loop in front of a provider: one call of the library is one attempt, and every attempt is charged.

inspect_ai's retries are off (`max_retries = 0` of its GenerateConfig), and so are those of the SDK where it takes
`max_retries` as an argument (remote.py); docs/cost.md lists the others. This is the only place that decides whether,
when and with which budget an attempt is made.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from iteralign.protocols import Account, Failure, Reservation
from iteralign.types import Reply, Usage

LONGEST_S = 600.0
"""No provider makes an attempt wait longer than this, whatever it asks for (ours)."""
POLL_S = 0.02


class Free:
    """An account without a limit that forgets what it is charged."""

    def reserve(self, most: Usage) -> Reservation:
        return self

    def settle(self, used: Usage) -> None: ...

    def fail(self, failure: Failure) -> None: ...

    def release(self) -> None: ...

    def require_time(self, seconds: float) -> None: ...

    def seconds_left(self) -> float | None:
        return None


@dataclass(frozen=True)
class Rules:
    """How attempts are made.

    account: where each is charged. max_retries: attempts after the first. backoff_s: the first wait, then doubled.
    again: for a fault, None if another attempt is pointless, else the seconds that the provider asks to wait, or 0.
    describe: a failed attempt as it is recorded; None if nothing was sent.
    """

    account: Account
    max_retries: int
    backoff_s: float
    again: Callable[[BaseException], float | None]
    describe: Callable[[BaseException], Failure | None]


async def answered(
    send: Callable[[], Awaitable[Reply]], most: Usage, rules: Rules
) -> tuple[Reply, Reservation]:
    """Call `send` until it answers. The caller ends the reservation of the attempt that did.

    Args:
        most: the most tokens that one attempt can take.

    Raises what the last attempt raised, and BudgetSpent before an attempt or a wait that may pass the budget.
    """
    account = rules.account

    async def attempt() -> tuple[Reply, Reservation]:
        # Pacing (requests a second, fewer connections after time-outs) belongs here, before the reservation.
        while (reservation := account.reserve(most)) is None:
            await asyncio.sleep(POLL_S)  # attempts in flight, of any thread, may leave room when they end
        try:
            async with asyncio.timeout(account.seconds_left()) as clock:
                return await send(), reservation
        except BaseException as fault:  # a cancelled attempt too: it was sent, and may be billed
            failure = rules.describe(fault)
            reservation.fail(failure) if failure else reservation.release()
            if clock.expired():
                account.require_time(1.0)
            raise

    def wait(state: RetryCallState) -> float:
        fault = state.outcome.exception() if state.outcome else None
        asked = rules.again(fault) if fault else None
        return wait_s(state.attempt_number, rules.backoff_s, asked or 0.0)

    retrying = AsyncRetrying(
        stop=stop_after_attempt(rules.max_retries + 1),
        retry=retry_if_exception(lambda fault: rules.again(fault) is not None),
        wait=wait,
        before_sleep=lambda state: account.require_time(state.upcoming_sleep),
        reraise=True,
    )
    return await retrying(attempt)


def wait_s(attempt: int, backoff_s: float, asked: float) -> float:
    """Seconds to wait after a failed attempt, numbered from 1.

    Args:
        backoff_s: the first wait; it doubles with each attempt, and up to as much is added by chance.
        asked: what the provider asks for, which is obeyed where it is longer; what is no number of seconds is not.
    """
    backoff = backoff_s * (2.0 ** min(attempt - 1, 30) + random.random())
    return min(max(backoff, asked if math.isfinite(asked) else 0.0), LONGEST_S)
