"""When a run ends: the stop rule of the method, or the budget of the user."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from iteralign.budget import spending
from iteralign.budget.spending import Cost
from iteralign.config.schema import Config
from iteralign.stop import StopRule
from iteralign.types import History

UNITS = {"usd": "USD", "oracle_calls": "oracle calls", "oracle_tokens": "oracle tokens", "hours": "hours"}


@dataclass(frozen=True)
class Stopping:
    """Asked before each iteration. It counts what the iterations so far have cost, not what later ones
    (on a resumed run) had already cost, so that a resumed run ends where it would have ended.

    An iteration begins only if one like the last, and the closing measurement, still fit.
    """

    rule: StopRule
    config: Config
    root: Path

    def __call__(self, history: History) -> str | None:
        if reason := self.rule(history):
            return reason
        t = len(history.iterations)
        limits = {k: most for k, most in asdict(self.config.budget).items() if most is not None}
        if not limits:
            return None
        used = self._figures(spending.spent(self.root, through=t))
        coming = self._figures(ahead(self.root, t))
        for key, most in limits.items():
            said = f"{used[key]:.6g} of {most:.6g} {UNITS[key]}"
            if used[key] >= most:
                return f"budget spent: {said}"
            if used[key] + coming[key] > most:
                return (
                    f"budget spent: {said}, and the next iteration would take about {coming[key]:.3g}; "
                    f"go on with --set budget.{key}=…"
                )
        return None

    def _figures(self, cost: Cost) -> Mapping[str, float]:
        # An unknown price was refused before the run, if there is a budget in money.
        return {
            "usd": spending.usd(self.config, cost.by_role) or 0.0,
            "oracle_calls": cost.oracle_calls,
            "oracle_tokens": cost.oracle_tokens,
            "hours": cost.hours,
        }


def ahead(root: Path, t: int) -> Cost:
    """What iteration t + 1 and the closing measurement will take, going by those on record.

    An iteration is taken to cost what the last one did; the first at least what measuring took.
    """
    steps = spending.costs(root)
    last = [
        cost for (at, step), cost in steps.items() if at == t and (step == "metrics" or t) and step != "test"
    ]
    closing = steps.get((0, "test"), Cost())
    return spending.total([*last, closing])
