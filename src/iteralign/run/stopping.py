"""When a run ends: the stop rule of the method, or the budget of the user."""

from dataclasses import dataclass
from pathlib import Path

from iteralign.run.config import Budget
from iteralign.run.spending import spent
from iteralign.stop import StopRule
from iteralign.types import History


@dataclass(frozen=True)
class Stopping:
    """Asked before each iteration. It counts what the iterations so far have cost, not what later ones
    (on a resumed run) had already cost, so that a resumed run ends where it would have ended."""

    rule: StopRule
    budget: Budget
    root: Path

    def __call__(self, history: History) -> str | None:
        return self.rule(history) or self._over_budget(len(history.iterations))

    def _over_budget(self, t: int) -> str | None:
        budget = self.budget
        if budget.oracle_calls is None and budget.oracle_tokens is None and budget.hours is None:
            return None
        cost = spent(self.root, through=t)
        checks = {
            "oracle calls": (cost.oracle_calls, budget.oracle_calls),
            "oracle tokens": (cost.oracle_tokens, budget.oracle_tokens),
            "hours": (cost.hours, budget.hours),
        }
        for what, (used, most) in checks.items():
            if most is not None and used >= most:
                return f"budget spent: {used:.6g} of {most:.6g} {what}"
        return None
