"""When to stop: the violation rate is below target, whole and in each kind of harm, or nothing new comes up."""

from pydantic.dataclasses import dataclass

from iteralign.options import STRICT
from iteralign.settings import Stop
from iteralign.stats import rate
from iteralign.types import History, Iteration, Metrics, Rate


@dataclass(frozen=True, config=STRICT)
class StopRule(Stop):
    """Decide whether the loop ends.

    No topic's own rate may pass the target: few topics left open hide in a pooled rate. The interval is Wilson's over
    these very probes, each counted by itself: what other wordings would do is for the report, and no set of usual size
    could show 5 % of it.
    """

    def __call__(self, history: History) -> str | None:
        """The reason to stop now, or None."""
        if self.converged(history.current):
            high = counted(history.current.violations)
            return f"converged: violations at most {high:.3f} (95 % interval, each probe counted), target {self.target}"
        last = history.iterations[-self.patience :]
        if len(last) == self.patience and not any(map(found_something, last)):
            return f"nothing new for {self.patience} iterations"
        if len(history.iterations) >= self.max_iterations:
            return f"budget spent: {self.max_iterations} iterations"
        return None

    def converged(self, figures: Metrics) -> bool:
        """Whether no gap is left, as far as these figures can tell."""
        closed = figures.violations.n > 0 and counted(figures.violations) <= self.target
        topics = all(rate.value <= self.target for rate in figures.by_topic.values())
        return closed and topics and figures.undecided.value <= self.undecided


def counted(found: Rate) -> float:
    """Return the upper end of the interval of a rate, its probes counted one by one."""
    return rate(found.hits, found.n).high


def found_something(iteration: Iteration) -> bool:
    return any(p.decision == "adopted" for p in iteration.amendment.proposals)
