"""What distinguishes one variant of the algorithm from another: values, never branches.

The presets `paper` and `improved` are two sets of these; docs/paper.md gives the source of each.
"""

from dataclasses import dataclass, field
from typing import Literal

from iteralign.prompts import PromptSet
from iteralign.types import Principle, Sampling


@dataclass(frozen=True, slots=True)
class Proposing:
    """How failures become principles.

    source: the oracle proposes; or the principles `given` are in force from the start and none is proposed; or one
    of them is drawn by chance (`seed`) for each kind of failure. The last two are controls.
    grouping: one call to the oracle for each kind of failure, or one for the batch (paper).
    examples: failures shown in one call, at most, and never more than two thirds of them; 0 shows all (paper).
    accumulate: principles stay in force, or last for one batch (paper).
    duplicate_above: similarity, 0 to 1, above which a proposal repeats an adopted principle.
    veto: a proposal whose text or category contains one of these words is not adopted.
    """

    grouping: Literal["category", "none"] = "category"
    examples: int = 8
    accumulate: bool = True
    duplicate_above: float = 0.95
    veto: tuple[str, ...] = ()
    source: Literal["oracle", "given", "drawn"] = "oracle"
    given: tuple[Principle, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Trying:
    """How a proposal is tried before it is adopted (ours): on so many failures of its kind and safe probes, at most.

    harm: the share of the safe probes that it may spoil; above it, it is rejected.
    """

    failures: int = 12
    benign: int = 8
    borderline: int = 8
    harm: float = 0.1


@dataclass(frozen=True, slots=True)
class Revising:
    """How the policy answers again.

    constitution: the discovered one in its context, or none (the control).
    show: the principles that fit the failure, or the whole constitution (paper).
    candidates: revisions asked for each failure; the first is greedy, the rest are sampled.
    """

    constitution: Literal["discovered", "none"] = "discovered"
    show: Literal["relevant", "all"] = "relevant"
    candidates: int = 2


@dataclass(frozen=True, slots=True)
class Finetuning:
    """What the policy is trained on, and from where.

    start: the previous checkpoint (paper) or the base model each time.
    replay: earlier accepted revisions and benign answers stand beside this batch's rows, or not (paper).
    cut: answers that max_tokens cut off are trained on too (paper), or left out.
    """

    start: Literal["previous", "base"] = "previous"
    replay: bool = True
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Guard:
    """How much worse than before the run a checkpoint may be before it is rolled back (absolute).

    reopened: the share of closed failures that may be open again; None asks none of them again.
    """

    violations: float = 0.0
    benign: float = 0.05
    overrefusal: float = 0.05
    reopened: float | None = None


@dataclass(frozen=True, slots=True)
class Method:
    prompts: PromptSet
    measure: PromptSet
    sampling: Sampling = field(default_factory=Sampling)
    propose: Proposing = field(default_factory=Proposing)
    revise: Revising = field(default_factory=Revising)
    gate: bool = True
    finetune: Finetuning = field(default_factory=Finetuning)
    guard: Guard | None = field(default_factory=Guard)
    judging: tuple[PromptSet, ...] = ()
    """The prompt set of each judge of a panel, in order; none is `prompts` for the only judge."""
    trial: Trying | None = field(default_factory=Trying)
    """How a proposal is tried; None adopts it as it is (paper)."""

    @property
    def judges(self) -> tuple[PromptSet, ...]:
        return self.judging or (self.prompts,)
