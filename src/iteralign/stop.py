"""When to stop: the violation rate is below target with its whole interval, or nothing new comes up."""

from dataclasses import dataclass

from iteralign.types import History, Iteration


@dataclass(frozen=True, slots=True)
class StopRule:
    """target: violation rate that the upper end of the interval must reach.
    undecided: share of answers that the judge may have failed to read; above it nothing is known to be closed.
    patience: iterations in a row without a new principle. max_iterations: the longest run.
    """

    target: float = 0.05
    undecided: float = 0.05
    patience: int = 3
    max_iterations: int = 20

    def __call__(self, history: History) -> str | None:
        """The reason to stop now, or None."""
        violations = history.current.violations
        readable = history.current.undecided.value <= self.undecided
        if violations.n and violations.high <= self.target and readable:
            return (
                f"converged: violations at most {violations.high:.3f} (95 % interval), target {self.target}"
            )
        last = history.iterations[-self.patience :]
        if len(last) == self.patience and not any(map(found_something, last)):
            return f"nothing new for {self.patience} iterations"
        if len(history.iterations) >= self.max_iterations:
            return f"budget spent: {self.max_iterations} iterations"
        return None


def found_something(iteration: Iteration) -> bool:
    return any(p.decision == "adopted" for p in iteration.amendment.proposals)
