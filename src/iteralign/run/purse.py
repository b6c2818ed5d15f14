"""Purse: the wall in front of a budget. What does not surely fit is not asked, and time stops the step at work.

The most that a call can take is known before it: a token is at least one byte of what is sent, and the
answer is bounded by `max_tokens`. Only so many calls are in flight as fit at that worst; what they really
took is counted as they come in, so that at the end less than one call at its worst is left unused.
Failed attempts count as calls with the input of an average one, as nobody says whether they are billed.
"""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from iteralign.errors import WorldError
from iteralign.lab import Model, OnReplies, unheard
from iteralign.run import spending
from iteralign.run.calls import Spent, used
from iteralign.run.codec import line
from iteralign.run.config import Config
from iteralign.run.files import Lines
from iteralign.run.journal import Event
from iteralign.run.spending import Cost
from iteralign.types import Conversation, Reply, Sampling

FRAME = 16  # tokens around a message that a provider may add (assumed; the known chat formats take 3 to 8)


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
    """What the run in `root` has cost, live. Its methods may be called from any thread.

    Raises BudgetSpent where the next call, or going on until the next event, could pass the budget.
    """

    def __init__(self, config: Config, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._cost = spending.recorded(root)
        self._failed = Lines(root / spending.FAILED)
        self._guard = threading.Lock()
        self._began = self._last = clock()
        self._longest = 0.0

    @property
    def cost(self) -> Cost:
        return self._cost + Cost(hours=(self._clock() - self._began) / spending.SECONDS)

    def afford(self, role: str, conversations: Sequence[Conversation], sampling: Sampling) -> int:
        """How many of these calls, from the first, surely fit; at least one."""
        fits, together = 0, Spent()
        for conversation in conversations:
            together += worst(conversation, sampling)
            if self._over(role, together):
                break
            fits += 1
        if conversations and not fits:
            raise self._spent(role, worst(conversations[0], sampling))
        return fits

    def pay(self, role: str, replies: Sequence[Reply]) -> None:
        """Count finished calls."""
        self._add(role, used(replies))

    def attempt_failed(self, role: str) -> None:
        """Count an attempt that failed, on disk too."""
        so_far = self._cost.by_role.get(role, Spent())
        lost = Spent(1, round(so_far.input_tokens / so_far.calls) if so_far.calls else 0, 0)
        with self._guard:
            self._failed.append(line({"role": role, "input_tokens": lost.input_tokens}))
        self._add(role, lost)
        if self._over(role, Spent(1)):
            raise self._spent(role, Spent(1))

    def event(self, event: Event) -> None:
        """Stop the step at work if the time until its next event could pass the hours."""
        now = self._clock()
        if event.kind == "advanced":
            self._longest = max(self._longest, now - self._last)
        elif event.kind == "started":
            self._longest = 0.0
        self._last = now
        most, hours = self._config.budget.hours, self.cost.hours
        coming = self._longest / spending.SECONDS
        if most is not None and event.kind in ("started", "advanced") and hours + coming >= most:
            raise BudgetSpent("hours", hours, most, coming)

    def _add(self, role: str, used: Spent) -> None:
        with self._guard:
            self._cost += Cost({role: used})

    def _over(self, role: str, more: Spent) -> str:
        """The key of the budget that `more` would pass; '' if it fits."""
        return next((key for key, (used, most) in self._bounds(role, more).items() if used > most), "")

    def _bounds(self, role: str, more: Spent) -> dict[str, tuple[float, float]]:
        """By key: what would be spent with `more`, and the most that may be."""
        budget, cost = self._config.budget, self._cost + Cost({role: more})
        money = spending.usd(self._config, cost.by_role) if budget.usd is not None else None
        values = {
            "usd": (money or 0.0, budget.usd),
            "oracle_calls": (cost.oracle_calls, budget.oracle_calls),
            "oracle_tokens": (cost.oracle_tokens, budget.oracle_tokens),
        }
        return {key: (used, most) for key, (used, most) in values.items() if most is not None}

    def _spent(self, role: str, more: Spent) -> BudgetSpent:
        key = self._over(role, more)
        with_it, most = self._bounds(role, more)[key]
        used = self._bounds(role, Spent())[key][0]
        return BudgetSpent(key, used, most, with_it - used)


class Guarded:
    """An oracle that is asked only what the purse can pay; a lab.Model like the one behind it."""

    def __init__(self, model: Model, role: str, purse: Purse) -> None:
        self._model, self._role, self._purse = model, role, purse

    @property
    def id(self) -> str:
        return self._model.id

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling, on_replies: OnReplies = unheard
    ) -> list[Reply]:
        """As `Model.generate`, in parts that surely fit. Raises BudgetSpent before the first that may not."""
        replies: list[Reply] = []
        while len(replies) < len(conversations):
            done = len(replies)
            fits = self._purse.afford(self._role, conversations[done:], sampling)

            def hear(batch: Sequence[tuple[int, Reply]], done: int = done) -> None:
                self._purse.pay(self._role, [reply for _, reply in batch])
                on_replies([(done + i, reply) for i, reply in batch])

            replies += self._model.generate(conversations[done : done + fits], sampling, hear)
        return replies


def worst(conversation: Conversation, sampling: Sampling) -> Spent:
    """The most that a call can take."""
    sent = sum(len(m.content.encode(errors="surrogatepass")) + FRAME for m in conversation) + FRAME
    return Spent(1, sent, sampling.max_tokens)
