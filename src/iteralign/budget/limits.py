"""Enforce the budget: no attempt is sent that might pass it, and time stops the step at work.

The most that an attempt can take is known before it: a token is at least one byte of what is sent, and the answer
is bounded by `max_tokens`. That much is reserved before it is sent, so that calls in flight are within the budget too.
What it really took is charged when it ends. A failed attempt is on disk with its reason and what it is charged.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from iteralign.budget import prices, spending
from iteralign.budget.spending import Cost
from iteralign.config.schema import Config
from iteralign.errors import WorldError
from iteralign.protocols import Failure
from iteralign.record.calls import Spent, used
from iteralign.record.codec import line
from iteralign.record.disk import Lines
from iteralign.record.journal import Event
from iteralign.types import Reply, Usage

log = logging.getLogger(__name__)


class BudgetSpent(WorldError):
    """What is left of the budget does not cover what comes next. The run is resumable with a larger one.

    key: of the budget. used, most: what is spent of what. more: what comes next may take.
    """

    def __init__(self, key: str, used: float, most: float, more: float) -> None:
        super().__init__(
            f"budget.{key}: {used:.6g} of {most:.6g} are spent, and what comes next may take {more:.3g}; "
            f"raise it with --set budget.{key}=… and run the same command to go on"
        )
        self.key, self.used, self.most, self.more = key, used, most, more


class Purse:
    """What the run in `root` has cost and has reserved. Its methods may be called from any thread.

    Raises BudgetSpent where the next attempt, or going on until the next event, could pass the budget.
    """

    def __init__(self, config: Config, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._cost = spending.recorded(root)
        self._reserved = Cost()
        self._failed = Lines(root / spending.FAILED)
        self._guard = threading.Lock()
        self._began = self._last = clock()
        self._longest = 0.0
        self._estimated: set[str] = set()

    @property
    def cost(self) -> Cost:
        return self._cost + Cost(hours=(self._clock() - self._began) / spending.SECONDS)

    def account(self, role: str) -> "RoleAccount":
        """What one role may spend."""
        return RoleAccount(self, role)

    def reserve(self, role: str, most: Usage) -> "Reserved | None":
        """As `protocols.Account.reserve`."""
        self.require_time(0.0)
        need = Spent(1, most.input_tokens, most.output_tokens)
        with self._guard:
            key = self._over(role, need)
            if not key:
                self._reserved += Cost({role: need})
                return Reserved(self, role, need)
            if self._reserved.oracle_calls:
                return None  # an attempt in flight may take less than it reserved
            with_it, most_of_it = self._bounds(role, need)[key]
            used = self._bounds(role, Spent())[key][0]
            raise BudgetSpent(key, used, most_of_it, with_it - used)

    def end(self, reserved: "Reserved", used: Usage | None, failure: Failure | None = None) -> None:
        """Charge an attempt, and free what it had reserved. used: None if nothing was sent."""
        role, sent = reserved.role, used is not None
        used = used or Usage()
        estimated = used.estimated and failure is None
        spent = Spent(int(sent), used.input_tokens, used.output_tokens, int(estimated))
        with self._guard:
            if reserved.ended:
                return
            reserved.ended = True
            self._reserved += Cost({role: -reserved.need})
            self._cost += Cost({role: spent})
            if failure is not None:
                row = {"role": role, "reason": failure.reason, "status": failure.status}
                tokens = {"input_tokens": used.input_tokens, "output_tokens": used.output_tokens}
                self._failed.append(line(row | tokens))
            model = prices.models(self._config).get(role, role)
            first = estimated and model not in self._estimated
            self._estimated |= {model} if first else set()
        if first:
            log.warning("%s gives no usable token counts: they are estimated from the texts", model)

    def pay(self, role: str, replies: Sequence[Reply]) -> None:
        """Charge calls of an earlier process that `spending.recorded` does not count, as those of the ledger."""
        with self._guard:
            self._cost += Cost({role: used(replies)})

    def require_time(self, seconds: float) -> None:
        """Raise BudgetSpent if that many seconds more would pass the hours."""
        most, hours, coming = self._config.budget.hours, self.cost.hours, seconds / spending.SECONDS
        if most is not None and hours + coming >= most:
            raise BudgetSpent("hours", hours, most, coming)

    def seconds_left(self) -> float | None:
        most = self._config.budget.hours
        return None if most is None else (most - self.cost.hours) * spending.SECONDS

    def event(self, event: Event) -> None:
        """Stop the step at work if the time until its next event could pass the hours."""
        now = self._clock()
        if event.kind == "advanced":
            self._longest = max(self._longest, now - self._last)
        elif event.kind == "started":
            self._longest = 0.0
        self._last = now
        if event.kind in ("started", "advanced"):
            self.require_time(self._longest)

    def _over(self, role: str, more: Spent) -> str:
        """The key of the budget that `more` would pass; '' if it fits."""
        return next((key for key, (used, most) in self._bounds(role, more).items() if used > most), "")

    def _bounds(self, role: str, more: Spent) -> dict[str, tuple[float, float]]:
        """By key: what would be spent with all that is reserved and `more`, and the most that may be."""
        budget, cost = self._config.budget, self._cost + self._reserved + Cost({role: more})
        money = spending.usd(self._config, cost.by_role) if budget.usd is not None else None
        values = {
            "usd": (money or 0.0, budget.usd),
            "oracle_calls": (cost.oracle_calls, budget.oracle_calls),
            "oracle_tokens": (cost.oracle_tokens, budget.oracle_tokens),
        }
        return {key: (used, most) for key, (used, most) in values.items() if most is not None}


@dataclass(frozen=True)
class RoleAccount:
    """A protocols.Account: the budget, as one role spends of it."""

    purse: Purse
    role: str

    def reserve(self, most: Usage) -> "Reserved | None":
        return self.purse.reserve(self.role, most)

    def require_time(self, seconds: float) -> None:
        self.purse.require_time(seconds)

    def seconds_left(self) -> float | None:
        return self.purse.seconds_left()


@dataclass
class Reserved:
    """A lab.Reservation; what comes after its end does nothing."""

    purse: Purse
    role: str
    need: Spent
    ended: bool = False

    def settle(self, used: Usage) -> None:
        self.purse.end(self, used)

    def fail(self, failure: Failure) -> None:
        self.purse.end(self, failure.used, failure)

    def release(self) -> None:
        self.purse.end(self, None)
