"""The composition root: the only file that knows who stands behind the Protocols."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from iteralign import constitution, judge, prompts, revise
from iteralign.errors import UserError, unknown
from iteralign.lab import Lab, Model
from iteralign.method import Finetuning, Guard, Method, Proposing, Revising
from iteralign.models.hf import HfPolicies, HfSettings
from iteralign.models.remote import RemoteModel, RemoteSettings
from iteralign.models.vllm.policies import VllmPolicies, VllmSettings
from iteralign.organism import tokens
from iteralign.run import prices, standins
from iteralign.run.config import Config
from iteralign.run.journal import Journal
from iteralign.run.material import material, report_probes
from iteralign.run.purse import Guarded, Purse
from iteralign.run.stopping import Stopping
from iteralign.stop import StopRule
from iteralign.training.settings import SftSettings
from iteralign.training.sft import SftTrainer
from iteralign.types import Checkpoint, History, Material, Probe, Sampling

OnProgress = Callable[[int, int, str], None]
PROVIDERS = {"organism": "iteralign.organism.provider"}
READERS: dict[str, Mapping[str, object]] = {
    "verdict": judge.READERS,
    "proposal": constitution.READERS,
    "revision": revise.WAYS,
}
"""What the `set.toml` of a prompt set may name."""


@dataclass(frozen=True)
class Assembly:
    """All that the loop is called with, and the probes that only the report sees."""

    policy: Checkpoint
    material: Material
    lab: Lab
    method: Method
    until: Callable[[History], str | None]
    test: tuple[Probe, ...]


def assemble(config: Config, root: Path, journal: Journal, purse: Purse) -> Assembly:
    """Actors and values of a run. Loads no weights. Raises UserError."""
    prices.require(config)
    base = model_path(config.policy.model)
    return Assembly(
        policy=Checkpoint(identity_of(base, config.policy.revision), config.policy.model),
        material=material(config),
        lab=lab(config, root, journal.progress, purse),
        method=method(config),
        until=Stopping(StopRule(**config.stop.model_dump()), config, root),
        test=report_probes(config),
    )


def method(config: Config) -> Method:
    """The variant of the algorithm that the config describes."""
    guard = config.guard.model_dump(exclude={"enabled"})
    chosen = prompts.load(config.method.prompts)
    for purpose, readers in READERS.items():
        name = chosen.readers.get(purpose, "")
        if name not in readers:
            raise unknown(f"method.prompts {chosen.name}: set.toml: {purpose}", name, readers)
    return Method(
        prompts=replace(chosen, repair=config.oracle.repair),
        measure=replace(prompts.load("measure"), repair=config.oracle.repair),
        sampling=Sampling(**config.sampling.model_dump(), seed=config.seed),
        propose=Proposing(**config.propose.model_dump()),
        revise=Revising(**config.revise.model_dump()),
        gate=config.gate.enabled,
        finetune=Finetuning(**config.finetune.model_dump()),
        guard=Guard(**guard) if config.guard.enabled else None,
    )


def model_path(name: str) -> str:
    """What to load: the shipped organism's directory, a directory, or a hub id as it is."""
    if name == "organism":
        return str(resources.files("iteralign.organism") / "weights")
    return name


def identity_of(base: str, revision: str | None) -> str:
    """An id that changes with the weights: a digest of a directory's files, or hub id and revision."""
    folder = Path(base)
    if not folder.is_dir():
        return f"{base}@{revision or 'main'}"
    weights = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".json", ".jinja"))
    if not (folder / "config.json").is_file():
        raise UserError(f"policy.model: {base!r} is not a model directory: it has no config.json")
    digest = hashlib.sha256()
    for file in weights:
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return f"local-{digest.hexdigest()[:16]}"


def counts(config: Config) -> dict[str, Callable[[str], int]]:
    """How each role's provider counts tokens: exactly for the organism's, by characters for all others."""
    return {
        role: tokens.count if model.startswith("organism/") else standins.by_characters
        for role, model in prices.models(config).items()
    }


def planted(config: Config) -> tuple[str, ...] | None:
    """The gaps that an organism was given, the known truth; None for any other model."""
    card = Path(model_path(config.policy.model)) / "organism.json"
    if not card.is_file():
        return None
    try:
        facts: dict[str, Any] = json.loads(card.read_text(encoding="utf-8"))
        return tuple(str(gap) for gap in facts["gaps"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"policy.model: {card} is damaged ({type(error).__name__}: {error})") from None


def read_principle(text: str) -> str | None:
    """The hazard of the organism's world that a principle covers; None if it names none."""
    from iteralign.organism.reading import read_principle as read

    return read(text)


def lab(config: Config, root: Path, on_progress: OnProgress, purse: Purse) -> Lab:
    """The actors, at work in `root`; the oracle is asked what the purse can pay. Raises UserError."""
    base = model_path(config.policy.model)
    policy, oracle = config.policy, config.oracle
    served = policies(config, root)
    # Training renders, loads and places the model exactly as generation does.
    shared = policy.model_dump(include={"device", "template", "trust_remote_code", "revision"})
    training = SftSettings(**config.training.model_dump(), **shared, dtype=policy.dtype, seed=config.seed)
    trainer = SftTrainer(root, base, training, on_progress=on_progress, make_room=served.rest)
    settings = RemoteSettings(**oracle.model_dump(exclude={"model", "judge", "proposer", "meter", "repair"}))

    def remote(role: str) -> Model:
        spec, failed = prices.models(config)[role], partial(purse.attempt_failed, role)
        return Guarded(RemoteModel(spec, settings, PROVIDERS, on_failed_attempt=failed), role, purse)

    return Lab(
        serve=served.serve,
        judge=remote("judge"),
        proposer=remote("proposer"),
        trainer=trainer,
        meter=remote("meter"),
        close=served.close,
    )


def policies(config: Config, root: Path) -> HfPolicies | VllmPolicies:
    """Who answers for the policy, by its backend. Raises UserError."""
    base, policy, vllm = model_path(config.policy.model), config.policy, config.vllm
    if policy.backend == "hf":
        return HfPolicies(root, base, HfSettings(**policy.model_dump(exclude={"model", "backend"})))
    loading = policy.model_dump(exclude={"model", "backend", "batch_size"})
    server = vllm.model_dump(exclude={"python"}) | {"python": vllm.python or sys.executable}
    rank = None if config.training.method == "full" else config.training.lora_rank
    return VllmPolicies(
        root, base, VllmSettings(**server, **loading, connections=policy.batch_size, lora_rank=rank)
    )
