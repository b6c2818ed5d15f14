"""What a run may be told: every option once, with its default, bounds, unit, meaning and source.

The sections of a config, the stages and the backends use these classes; nothing declares an option again.
The presets `paper` and `improved` are two sets of values. `iteralign explain KEY` reads this file.
"""

import dataclasses
from dataclasses import field
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from iteralign.options import DAY_S, MANY, STRICT, option
from iteralign.prompts import PromptSet
from iteralign.types import Principle, Sampling

T = TypeVar("T")


@dataclass(frozen=True, config=STRICT)
class Prompting:
    """Which prompts the models are asked with."""

    prompts: str = option(
        "improved",
        "A shipped prompt set, or a directory with one of your own (docs/extend.md).",
        source="see [The prompts](#the-prompts)",
    )


@dataclass(frozen=True, config=STRICT)
class Loading:
    """How a model is loaded; generation and training share it."""

    revision: str | None = option(None, "A branch or commit of the Hub. null: the main branch.")
    device: str = option("auto", "auto, cpu, cuda, all-gpus or mps.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", "What is computed in. auto: bfloat16 on a GPU that has it, else float32."
    )
    template: str = option(
        "auto",
        "auto, chat, chat:NAME (of a tokenizer with several), plain, raw, or a *.jinja file that "
        "replaces the model's own.",
        source="raw prompts: those that were released carry their own wrapping. Ours: the model's "
        "chat template, where it has one",
    )
    trust_remote_code: bool = option(
        False, "Run code that comes with the model. Only for a model that you trust."
    )


@dataclass(frozen=True, config=STRICT)
class Policy(Loading):
    """The model to align."""

    model: str = option("organism", "organism (the shipped one), a directory, or an id of the Hub.")
    backend: Literal["hf", "vllm"] = option("hf", "Who computes the answers: transformers, or a vLLM server.")
    batch_size: int = option(
        64,
        "Conversations that are answered together. It is part of the model's id: half precision "
        "answers differently in other batches.",
        unit="conversations",
        ge=1,
        le=65536,
    )


@dataclass(frozen=True, config=STRICT)
class Vllm:
    """The server behind `policy.backend = "vllm"`: started for the run, or one that runs already."""

    python: str | None = option(None, "The interpreter that has vLLM. null: this one.")
    url: str | None = option(None, "A server that runs already, instead of starting one.")
    args: tuple[str, ...] = option((), "More arguments of the server.")
    sleep: bool | None = option(
        None, "Whether the server leaves the GPU while training. null: if it is on one."
    )
    start_timeout_s: float = option(
        600.0, "How long the server may take to start.", unit="seconds", gt=0, le=DAY_S
    )
    timeout_s: float = option(600.0, "How long one request may take.", unit="seconds", gt=0, le=DAY_S)


@dataclass(frozen=True, config=STRICT)
class Connection:
    """How a remote model is asked."""

    max_connections: int = option(
        16,
        "Calls in flight at once. Fewer for a while when the provider limits the rate.",
        unit="calls",
        ge=1,
        le=256,
    )
    timeout_s: float = option(120.0, "How long one attempt may take.", unit="seconds", gt=0, le=DAY_S)
    max_retries: int = option(6, "Attempts after the first.", unit="attempts", ge=0, le=1000)
    backoff_s: float = option(
        3.0,
        "The wait before the second attempt; it doubles, or is what the provider says (Retry-After, "
        "at most 10 minutes).",
        unit="seconds",
        ge=0,
        le=DAY_S,
    )


@dataclass(frozen=True, config=STRICT)
class Oracle(Connection):
    """The stronger model, as provider/model, in its three roles."""

    model: str = option("organism/oracle", "The model of every role that names no other.")
    judge: str | None = option(None, "Who judges answers. null: `model`.")
    proposer: str | None = option(None, "Who proposes principles. null: `model`.")
    meter: str | None = option(None, "Who judges the measurements. null: `model`.")
    repair: int = option(
        1,
        "How often a reply that cannot be read is asked for again, by a prompt set that has repair.md.",
        unit="calls",
        ge=0,
        le=3,
    )


@dataclass(frozen=True, config=STRICT)
class Member:
    """One judge of a panel."""

    model: str = option(..., "The judge, as provider/model.")
    guard: str | None = option(None, "For a guard model, the form in which it answers (docs/judges.md).")


def _member(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


@dataclass(frozen=True, config=STRICT)
class Judge:
    """Who judges. Several models are a panel, and the majority decides."""

    models: tuple[Annotated[Member, BeforeValidator(_member)], ...] = option(
        (),
        "Entries are provider/model, or { model = …, guard = … } for a guard model. Empty: "
        "`oracle.judge` alone.",
    )


@dataclass(frozen=True, config=STRICT)
class Redteam:
    """The attack: where prompts come from, how many, how they are cut into batches."""

    source: str = option(
        "organism", "organism, a name of `iteralign data list`, a file, a folder, or owner/name of the Hub."
    )
    path: str | None = option(None, "Where a set of that name lies on this machine.")
    field: str | None = option(None, "The column that holds the prompts. null: it is found.")
    subset: str | None = option(None, "The subset of a set of the Hub.")
    split: str | None = option(None, "The split of a set.")
    revision: str | None = option(None, "A branch or commit of a set of the Hub.")
    turns: Literal["first", "last", "transcript"] | None = option(
        None,
        "What of a conversation attacks: its first user turn, its last with what came before, or all "
        "of it as text.",
    )
    dedup: bool = option(
        True,
        "Ask a prompt once, however often the set has it.",
        source="every row, repeated or not (HarmfulQA repeats 22 of 1,960). Ours: a question attacks once",
    )
    holdout: float = option(
        0.0, "The share of families that never attacks and gives the hazard probes instead.", ge=0, lt=1
    )
    n: int = option(
        480,
        "How many prompts attack, at most.",
        source="the whole set. Ours: a bound, as every prompt costs calls",
        unit="prompts",
        ge=1,
        le=MANY,
    )
    batch: int = option(
        60,
        "Prompts of one iteration.",
        source="slices of 20. Ours: larger, so that each kind of failure has several examples to be "
        "generalised from",
        unit="prompts",
        ge=1,
        le=MANY,
    )
    order: Literal["given", "shuffle", "topic"] = option(
        "topic",
        "The order in which prompts attack.",
        source="file order, no shuffle. Ours: a batch holds few topics, so that a later batch meets "
        "gaps that the first did not",
    )
    topics_per_batch: int = option(3, "With order = topic: how many topics one batch holds.", ge=1, le=MANY)


@dataclass(frozen=True, config=STRICT)
class Probes:
    """Held-out questions. The stop rule and the guard see `probes`, and never `test`."""

    source: str = option("organism", "organism, or a set as in `redteam.source`.")
    hazards: int = option(240, "Harmful requests.", unit="prompts", ge=0, le=MANY)
    benign: int = option(64, "Ordinary requests.", unit="prompts", ge=0, le=MANY)
    borderline: int = option(64, "Safe requests that look harmful.", unit="prompts", ge=0, le=MANY)
    facts: int = option(
        48, "Questions with a true answer and a common false one.", unit="prompts", ge=0, le=MANY
    )


@dataclass(frozen=True, config=STRICT)
class Benign:
    """Safe prompts whose own answers are replayed in training."""

    source: str = option("organism", "organism, or a set as in `redteam.source`.")
    field: str | None = option(None, "The column that holds the prompts. null: it is found.")
    n: int = option(96, "How many.", unit="prompts", ge=0, le=MANY)


@dataclass(frozen=True, config=STRICT)
class Propose:
    """How failures become principles."""

    grouping: Literal["category", "none"] = option(
        "category",
        "One call to the oracle for each kind of failure, or one for the batch.",
        source="one call for the whole batch. Ours: one for each kind of harm, so no call mixes "
        "unrelated failures or outgrows the context",
    )
    examples: int = option(
        8,
        "Failures shown in one call, at most, and never more than two thirds of them. 0: all.",
        source='all harmful answers in one call (0 is "all"); with many, the context overflows and the '
        "script retries for ever",
        unit="failures",
        ge=0,
        le=1000,
    )
    accumulate: bool = option(
        True,
        "Principles stay in force; else they last for one batch.",
        source="each slice has its own constitution. Ours: principles stay in force, are "
        "deduplicated, and carry the failures that caused them",
    )
    duplicate_above: float = option(
        0.95, "The similarity above which a proposal repeats an adopted principle.", ge=0, le=1
    )
    veto: tuple[Annotated[str, Field(min_length=1)], ...] = option(
        (), "A proposal whose text or category contains one of these words is not adopted."
    )
    source: Literal["oracle", "given", "drawn"] = option(
        "oracle",
        "Where principles come from: the oracle; a list that is in force from the start; or one of "
        "that list by chance for each kind of failure. The last two are controls.",
    )


@dataclass(frozen=True, config=STRICT)
class Proposing(Propose):
    """`Propose`, and what a run adds: the principles of the controls, and the seed by which one is drawn."""

    given: tuple[Principle, ...] = ()
    seed: int = 0


@dataclass(frozen=True, config=STRICT)
class Trying:
    """How a proposal is tried before it is adopted (ours): on so many failures of its kind and safe probes, at most."""

    failures: int = option(12, "Failures that it is tried on.", unit="failures", ge=1, le=MANY)
    benign: int = option(8, "Ordinary requests that it is tried on.", unit="prompts", ge=0, le=MANY)
    borderline: int = option(8, "Safe requests that look harmful.", unit="prompts", ge=0, le=MANY)
    harm: float = option(
        0.1, "The share of the safe requests that it may spoil; above it, it is rejected.", ge=0, le=1
    )


@dataclass(frozen=True, config=STRICT)
class Revising:
    """How the policy answers again."""

    constitution: Literal["discovered", "none"] = option(
        "discovered", "The discovered constitution in its context, or none (a control)."
    )
    show: Literal["relevant", "all"] = option(
        "relevant",
        "The principles that fit the failure, or the whole constitution.",
        source="the whole constitution of the slice. Ours: the principles that this failure or its "
        "kind gave rise to; all, if none did",
    )
    candidates: int = option(
        2,
        "Revisions asked for each failure. The first is decoded as the run decodes, the rest are sampled.",
        source="one greedy answer. Ours: a second, sampled at 0.7, in case the first does not pass the gate",
        unit="revisions",
        ge=1,
        le=64,
    )


@dataclass(frozen=True, config=STRICT)
class Gate:
    """Which revisions are trained on."""

    enabled: bool = option(
        True,
        "Only those that the judge found harmless.",
        source="revisions are judged and the verdict is thrown away: all are trained on. Ours: only "
        "what the judge found harmless",
    )


@dataclass(frozen=True, config=STRICT)
class Finetuning:
    """What the policy is trained on, and from where."""

    start: Literal["previous", "base"] = option(
        "previous",
        "The checkpoint before, or the base model each time.",
        source="script: the checkpoint before",
    )
    replay: bool = option(
        True,
        "Earlier accepted revisions and benign answers are trained on too.",
        source="this slice alone. Ours: earlier accepted rows and the policy's own first answers to "
        "benign prompts, against forgetting and over-refusal",
    )
    cut: bool = option(
        False,
        "Answers that max_tokens cut off are trained on too.",
        source="answers that 500 tokens cut off are trained on, and an end token put behind them. "
        "Ours: left out and counted; they would teach to stop anywhere",
    )


@dataclass(frozen=True, config=STRICT)
class Training:
    """Hyperparameters of one fine-tuning. Those that decide the weights are in the trainer's id."""

    method: Literal["lora", "qlora", "full"] = option(
        "lora",
        "lora: adapters on every linear layer but the output. qlora: the same on a base in four bits."
        " full: all weights.",
        source="full fine-tune under FSDP on 8 GPUs, bf16. Ours: LoRA, so that a checkpoint is megabytes",
    )
    epochs: int = option(3, "How often each row is seen.", source="paper and script: 3", ge=1, le=1000)
    lr: float = option(
        2e-4,
        "The learning rate at its height.",
        source="2e-6. Ours: the usual LoRA rate, a hundred times the full one (assumed, not tuned on "
        "a large model)",
        gt=0,
        le=10,
    )
    batch_size: int = option(
        8,
        "Rows of a step. Times gradient_accumulation is what one update sees.",
        source="script: 1 on each of 8 devices",
        unit="rows",
        ge=1,
        le=65536,
    )
    gradient_accumulation: int = option(1, "Steps of an update.", unit="steps", ge=1, le=65536)
    max_length: int = option(
        2048,
        "Tokens that a row may have; a longer one is refused, never cut.",
        source="4096. Ours: a bound of memory; a longer row is refused, never cut",
        unit="tokens",
        ge=8,
        le=MANY,
    )
    warmup_ratio: float = option(
        0.03, "The share of the updates in which the rate rises.", source="paper and script: 0.03", ge=0, lt=1
    )
    weight_decay: float = option(0.0, "AdamW's weight decay.", source="paper and script: 0", ge=0, le=10)
    scheduler: Literal["constant", "constant_with_warmup", "cosine", "linear"] = option(
        "cosine", "How the rate falls.", source="paper and script: cosine"
    )
    lora_rank: int = option(16, "Rank of the adapters.", ge=1, le=4096)
    lora_alpha: int = option(32, "The scale of the adapters, over their rank.", ge=1, le=65536)
    lora_dropout: float = option(0.0, "Dropout before the adapters.", ge=0, lt=1)
    gradient_checkpointing: bool = option(
        False, "Compute activations again instead of keeping them: less memory, more time."
    )
    keep: int | None = option(
        None,
        "How many of the last checkpoints stay on disk, beside the current policy. 0: all. null: all "
        "adapters, but of full checkpoints the last.",
        unit="checkpoints",
        ge=0,
        le=MANY,
    )

    @property
    def keeps(self) -> int | None:
        """How many of the checkpoints last trained stay, beside the current policy; None for all."""
        if self.keep is None:
            return 1 if self.method == "full" else None
        return self.keep or None


@dataclass(frozen=True, config=STRICT)
class Guard:
    """How much worse than before the run a checkpoint may be before it is rolled back (absolute)."""

    violations: float = option(0.0, "The rise of the violation rate.", ge=0, le=1)
    benign: float = option(0.05, "The loss of answered ordinary requests.", ge=0, le=1)
    overrefusal: float = option(0.05, "The rise of refusals of safe requests that look harmful.", ge=0, le=1)
    reopened: float | None = option(
        None,
        "The share of closed failures that may be open again. null: none of them is asked again.",
        ge=0,
        le=1,
    )


@dataclass(frozen=True, config=STRICT)
class Stop:
    """When the loop ends."""

    target: float = option(
        0.05,
        "The violation rate that the upper end of the interval must reach, and that no topic's own "
        "rate may pass.",
        source="the script ends with the prompts. Ours: stop when the whole interval of the violation"
        " rate is below the target",
        ge=0,
        le=1,
    )
    undecided: float = option(
        0.05,
        "The share of answers that the judge may have failed to read; above it nothing is known to be"
        " closed.",
        ge=0,
        le=1,
    )
    patience: int = option(
        3,
        "Iterations in a row without a new principle.",
        source="none. Ours: stop when so many iterations in a row found no new principle",
        unit="iterations",
        ge=1,
        le=MANY,
    )
    max_iterations: int = option(
        20, "The longest run.", source="none. Ours: a budget", unit="iterations", ge=1, le=MANY
    )


@dataclass(frozen=True, config=STRICT)
class Budget:
    """What a run may cost; it stops before that is passed, and can be resumed. null is no limit."""

    usd: float | None = option(None, "Money, by the prices of docs/cost.md.", unit="USD", ge=0, le=1e9)
    oracle_calls: int | None = option(
        None, "Attempts to ask the oracle, failed ones too.", unit="calls", ge=0, le=10**12
    )
    oracle_tokens: int | None = option(None, "Tokens in and out.", unit="tokens", ge=0, le=10**15)
    hours: float | None = option(None, "Time at work.", unit="hours", ge=0, le=1e6)


@dataclass(frozen=True, config=STRICT)
class Price:
    """What a model costs."""

    input: float = option(..., "Of what is sent.", unit="USD per million tokens", ge=0, le=1e6)
    output: float = option(..., "Of what is generated.", unit="USD per million tokens", ge=0, le=1e6)
    source: str = option("your own", "Where it was read.")
    seen: str = option("", "When it was read.")


@dataclasses.dataclass(frozen=True, slots=True)
class Method:
    """What distinguishes one variant of the algorithm from another: values, never branches."""

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


def narrowed(kind: type[T], wider: Any) -> T:
    """Return the options of `wider` that `kind` has."""
    return kind(**{f.name: getattr(wider, f.name) for f in dataclasses.fields(kind)})  # type: ignore[arg-type]
