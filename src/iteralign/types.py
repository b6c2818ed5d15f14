"""What flows between the stages: frozen values, JSON-shaped.

Symbols of the paper, as `loop.py` uses them: M policy, B batch, R responses, N harmful
responses, C constitution, V revisions, A accepted revisions, D data to replay.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import pydantic.dataclasses

from iteralign.options import MANY, STRICT, option

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


Conversation = tuple[Message, ...]


@pydantic.dataclasses.dataclass(frozen=True, config=STRICT)
class Decoding:
    """How the policy's answers are decoded."""

    temperature: float = option(0.0, "0 is greedy.", source="script: 0", ge=0, le=100)
    top_p: float = option(
        1.0, "The share of probability that tokens are drawn from.", source="script: 1", gt=0, le=1
    )
    max_tokens: int = option(
        500, "New tokens of an answer, at most.", source="script: 500", unit="tokens", ge=1, le=MANY
    )
    stop: tuple[str, ...] = option(
        (),
        "Texts at which an answer ends.",
        source="an answer ends at its first blank line. Ours: the model ends its answer itself; training teaches "
        "the end token",
    )
    frequency_penalty: float = option(
        0.0,
        "The penalty of a token for each time it was used.",
        source="0.5. Ours: none; a penalty that is absent in training moves generation away from what was trained",
        ge=-2,
        le=2,
    )


@pydantic.dataclasses.dataclass(frozen=True, config=STRICT)
class Sampling(Decoding):
    """How one call is decoded: `Decoding`, and the seed of what is drawn."""

    seed: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, as the provider counts them; `estimated` where it gives no usable counts."""

    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """One generated answer. `stop` says why it ended; a policy that never came to its answer has stop "length".

    raw: what the provider sent, if remote; what the policy wrote, if that is more than the answer (a thought).
    """

    text: str
    stop: Literal["stop", "length", "refusal", "unknown"] = "stop"
    usage: Usage = Usage()
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """A choice put to a model: its answer to `conversation` begins with `begun` and goes on with one of `endings`.

    An ending brings its own leading blank, as in " A"; it may be more than one token.
    """

    conversation: Conversation
    begun: str
    endings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request. `family` groups prompts made from one fact, template or source row, which are no independent
    evidence (a split of a data set never divides a family); `topic` is the source's own label, used for batching
    and reports only: no stage and no oracle sees it."""

    id: str
    text: str
    family: str = ""
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """The policy's answer. `cut`: it was not at its end when `max_tokens` were used up."""

    prompt: Prompt
    text: str
    cut: bool = False

    @property
    def missing(self) -> bool:
        """Whether the policy never came to its answer: it ended inside its thought. There is nothing to judge."""
        return self.cut and not self.text


class Label(StrEnum):
    """A verdict has three values; an unparsed one is counted apart, never folded into the others."""

    HARMFUL = "harmful"
    HARMLESS = "harmless"
    UNPARSED = "unparsed"


@dataclass(frozen=True, slots=True)
class Vote:
    """What one judge of a panel said; `judge` is its id."""

    judge: str
    label: Label
    category: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The oracle's judgement of one response.

    `votes` are those of a panel, in the order of its judges; a single judge casts none.
    """

    response: Response
    label: Label
    category: str = ""
    reason: str = ""
    votes: tuple[Vote, ...] = ()


@dataclass(frozen=True, slots=True)
class Principle:
    """One rule of the constitution, with the failures that caused it (`evidence`: prompt ids)."""

    id: str
    text: str
    category: str = ""
    evidence: tuple[str, ...] = ()
    born: int = 0


@dataclass(frozen=True, slots=True)
class Constitution:
    principles: tuple[Principle, ...] = ()


Decision = Literal["adopted", "duplicate", "vetoed", "rejected"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A principle that the oracle proposed, and what became of it."""

    principle: Principle
    decision: Decision
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """Of `n` requests, how many are answered well again `without` and `within` a principle in context."""

    n: int = 0
    without: int = 0
    within: int = 0

    @property
    def gain(self) -> int:
        return self.within - self.without


@dataclass(frozen=True, slots=True)
class Trial:
    """What a proposed principle (id) does in the policy's context, before it is in force.

    failures: failures of the kind that gave rise to it; `held_back` says whether the proposer had not seen them.
    benign, borderline: safe requests, where a principle can only do harm.
    """

    principle: str
    held_back: bool
    failures: Tally
    benign: Tally
    borderline: Tally


@dataclass(frozen=True, slots=True)
class Amendment:
    """One round of law-making: the constitution after it, and every proposal with its fate."""

    constitution: Constitution
    proposals: tuple[Proposal, ...] = ()


@dataclass(frozen=True, slots=True)
class Revision:
    """The policy's second answer to a prompt it failed, under the principles shown (ids); `cut` as in Response."""

    prompt: Prompt
    first: str
    text: str
    critique: str = ""
    shown: tuple[str, ...] = ()
    candidate: int = 0
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """One row of supervised fine-tuning: the prompt alone, without any constitution, and the target."""

    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A policy: a base model and, once trained, the directory of its adapter or full weights.

    `id` is a digest of what made it: trainer, starting point and rows. `path` is relative to the run directory.
    `hash` is a digest of the trained files (`checkpoints.hash_of`), "" where nothing was trained.
    """

    id: str
    base: str
    path: str | None = None
    kind: Literal["base", "adapter", "full"] = "base"
    hash: str = ""


ProbeKind = Literal["hazard", "benign", "borderline", "fact", "corrected", "closed"]


@dataclass(frozen=True, slots=True)
class Probe:
    """A question that measures. `reference` is a right answer, if known.

    Hazard, benign, borderline and fact are held out: they never train. The regression set has the other two kinds:
    corrected, an attack that failed and was just trained on; closed, one that was answered well since then.
    """

    prompt: Prompt
    kind: ProbeKind
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Rate:
    """`hits` of `n`, with its 95 % interval [low, high] (`stats.share`). No NaN: n = 0 gives 0, 0, 1."""

    hits: int
    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What became of one probe: `outcome` is harmful, harmless, answered, refused, wrong or undecided.

    `family` is the prompt's; probes of one family are no independent evidence ("" is a family of one).
    """

    id: str
    kind: ProbeKind
    topic: str
    outcome: str
    family: str = ""

    @property
    def cluster(self) -> str:
        """What the statistics resample."""
        return self.family or self.id


@dataclass(frozen=True, slots=True)
class Metrics:
    """The figures of one checkpoint on held-out probes.

    violations: share of hazard probes answered harmfully; by topic in `by_topic`.
    benign: share of benign probes answered rightly. overrefusal: share of borderline probes refused.
    truthful: share of misconception probes answered truly. undecided: share the judge could not read.
    reopened: share of closed failures that are answered harmfully again (the regression set; n = 0 without one).
    """

    violations: Rate
    by_topic: dict[str, Rate]
    benign: Rate
    overrefusal: Rate
    truthful: Rate
    undecided: Rate
    results: tuple[ProbeResult, ...] = ()
    reopened: Rate = Rate(0, 0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Iteration:
    """One turn of the loop, as the caller sees it.

    `policy` is the checkpoint that the next turn starts from: `trained`, or the one before it if
    the trained one was worse on the guard figures (then `rolled_back` says in which).
    """

    t: int
    verdicts: tuple[Verdict, ...]
    amendment: Amendment
    revisions: tuple[Revision, ...]
    accepted: tuple[Revision, ...]
    trained: Checkpoint
    policy: Checkpoint
    metrics: Metrics
    rolled_back: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """All that the stop rule looks at: the figures before training and every turn so far."""

    before: Metrics
    iterations: tuple[Iteration, ...] = ()

    @property
    def current(self) -> Metrics:
        """The figures of the policy that the loop stands on now."""
        kept = [i.metrics for i in self.iterations if not i.rolled_back]
        return kept[-1] if kept else self.before


@dataclass(frozen=True, slots=True)
class Material:
    """The questions of a run: attack batches, probes that only measure, benign prompts to replay."""

    batches: tuple[tuple[Prompt, ...], ...]
    probes: tuple[Probe, ...] = ()
    benign: tuple[Prompt, ...] = ()
