"""The composition root: the only file that knows who stands behind the Protocols."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from iteralign import judge, prompts, propose, revise
from iteralign.budget import prices, stubs
from iteralign.budget.limits import Purse
from iteralign.config.schema import Config
from iteralign.errors import NotReady, UserError, unknown
from iteralign.lm import checkpoints, weights
from iteralign.lm.chat import is_text, require_template
from iteralign.lm.weights import Source
from iteralign.models.hf import HfPolicies
from iteralign.models.remote import RemoteModel, RemoteSettings
from iteralign.models.vllm.policies import VllmPolicies
from iteralign.organism import tokens
from iteralign.prompts import PromptSet, guarding
from iteralign.protocols import Lab, Model
from iteralign.record.journal import RunJournal
from iteralign.run import offline, principles
from iteralign.run.inputs import material, report_probes
from iteralign.run.stopping import Stopping
from iteralign.security import documents
from iteralign.settings import Connection, Guard, Loading, Method, Propose, Proposing, Trying, narrowed
from iteralign.stop import StopRule
from iteralign.training import store
from iteralign.training.merge import MergeOptions, merge
from iteralign.training.sft import SftTrainer, unneeded, unwatched
from iteralign.types import Checkpoint, History, Material, Probe, Sampling

OnProgress = Callable[[int, int, str], None]
PROVIDERS = {"organism": "iteralign.organism.provider"}
READERS: dict[str, Mapping[str, object]] = {
    "verdict": judge.FORMS,
    "proposal": propose.FORMS,
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


def assemble(config: Config, root: Path, journal: RunJournal, purse: Purse) -> Assembly:
    """Actors and values of a run. Loads no weights, but fetches those of a hub id. Raises UserError, WorldError."""
    prices.require(config)
    return Assembly(
        policy=Checkpoint(identity(config), config.policy.model),
        material=material(config),
        lab=lab(config, root, journal.progress, purse),
        method=method(config),
        until=Stopping(narrowed(StopRule, config.stop), config, root),
        test=report_probes(config),
    )


def method(config: Config) -> Method:
    """The variant of the algorithm that the config describes."""
    chosen = prompts.load(config.method.prompts)
    for purpose, readers in READERS.items():
        name = chosen.readers.get(purpose, "")
        if name not in readers:
            raise unknown(f"method.prompts {chosen.name}: set.toml: {purpose}", name, readers)
    chosen = replace(chosen, repair=config.oracle.repair)
    return Method(
        prompts=chosen,
        judging=judging(config, chosen),
        measure=replace(prompts.load("measure"), repair=config.oracle.repair),
        sampling=Sampling(**asdict(config.sampling), seed=config.seed),
        propose=proposing(config),
        trial=narrowed(Trying, config.trial) if config.trial.enabled else None,
        revise=config.revise,
        gate=config.gate.enabled,
        finetune=config.finetune,
        guard=narrowed(Guard, config.guard) if config.guard.enabled else None,
    )


def proposing(config: Config) -> Proposing:
    """Where principles come from. Raises UserError."""
    source = config.propose.source
    if bool(config.propose.principles) != (source != "oracle"):
        wanted = "leave it out" if source == "oracle" else "name a list or a file"
        raise UserError(
            f"config propose.principles: {config.propose.principles!r} with propose.source = {source!r}: {wanted}"
        )
    given = principles.load(config.propose.principles) if source != "oracle" else ()
    return Proposing(**asdict(narrowed(Propose, config.propose)), given=given, seed=config.seed)


def judging(config: Config, chosen: PromptSet) -> tuple[PromptSet, ...]:
    """What each judge is asked with: the run's prompt set, or the form of a guard. Raises UserError."""
    members = config.judge.models
    if members and config.oracle.judge:
        raise UserError(
            f"config judge.models: and oracle.judge = {config.oracle.judge!r} both say who judges: leave one out"
        )
    twice = [m.model for i, m in enumerate(members) if m in members[:i]]
    if twice:
        raise UserError(f"config judge.models: {twice[0]!r} is there twice; a panel asks different models")
    return tuple(guarding.load(m.guard) if m.guard else chosen for m in members)


def model_path(name: str) -> str:
    """What to load: the shipped organism's directory, a directory, or a hub id as it is."""
    if name == "organism":
        return str(resources.files("iteralign.organism") / "weights")
    return name


def identity(config: Config) -> str:
    """The id of the untrained policy. A hub id is fetched first: the commit that its branch names now is part of
    it, so that a run is not resumed on other weights. Raises UserError, WorldError."""
    where = source(config)
    if where.folder is None:
        return f"{where.name}@{weights.find(where).name}"
    return identity_of(where.name, where.revision)


def identity_of(base: str, revision: str | None) -> str:
    """An id that changes with the weights: a digest of a directory's files, or hub id and revision."""
    folder = Path(base)
    if not folder.is_dir():
        if Source(base).folder:
            raise UserError(
                f"policy.model: {base!r} is not a directory; name a model directory or a hub id (owner/name)"
            )
        return f"{base}@{revision or 'main'}"
    if not (folder / "config.json").is_file():
        weights.check(folder)
    weights.require_files(folder)
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".json", ".jinja")):
        digest.update(os.fsencode(path.name) + b"\0" + bytes.fromhex(documents.sha256(path)))
    return f"local-{digest.hexdigest()[:16]}"


def counts(config: Config) -> dict[str, Callable[[str], int]]:
    """How each role's provider counts tokens: exactly for the organism's, by characters for all others."""
    return {
        role: tokens.count if model.startswith("organism/") else stubs.by_characters
        for role, model in prices.models(config).items()
    }


def planted(config: Config) -> tuple[str, ...] | None:
    """The gaps that an organism was given, the known truth; None for any other model."""
    card = Path(model_path(config.policy.model)) / "organism.json"
    if not card.is_file():
        return None
    try:
        facts: dict[str, Any] = documents.read_json(card)
        return tuple(str(gap) for gap in facts["gaps"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"policy.model: {card} is damaged ({type(error).__name__}: {error})") from None


def read_principle(text: str) -> str | None:
    """The hazard of the organism's world that a principle covers; None if it names none."""
    from iteralign.organism.reading import read_principle as read

    return read(text)


def source(config: Config) -> Source:
    """Where the policy comes from."""
    policy = config.policy
    return Source(model_path(policy.model), policy.revision, policy.trust_remote_code)


def template(config: Config) -> str:
    """The name of the policy's template, or the text of the file that the config names. Raises UserError."""
    name = config.policy.template
    if not name.endswith(".jinja"):
        require_template(name, "policy.template")
        return name
    try:
        text = documents.text(Path(name), documents.SETTINGS)
    except documents.Unreadable as error:
        raise UserError(f"policy.template: {name!r} cannot be read ({error})") from None
    if not is_text(text):
        raise UserError(f"policy.template: {name!r} is no chat template: it writes no message ({{{{ … }}}})")
    return text


def trainer(
    config: Config,
    root: Path,
    on_progress: OnProgress = unwatched,
    make_room: Callable[[], None] = unneeded,
) -> SftTrainer:
    """The trainer, at work in `root`. Raises UserError where its method cannot be had on this machine."""
    # Training renders, loads and places the model exactly as generation does.
    loading = replace(narrowed(Loading, config.policy), template=template(config))
    base = model_path(config.policy.model)
    return SftTrainer(root, base, config.training, loading, config.seed, on_progress, make_room)


def merged(config: Config, root: Path, checkpoint: Checkpoint, out: Path, dtype: str) -> None:
    """Write a trained policy to `out` as a model of its own. Raises UserError, WorldError."""
    merge(source(config), checkpoint, root, out, MergeOptions(template(config), dtype))


def adapter(root: Path, checkpoint: Checkpoint, out: Path) -> None:
    """Write a policy's adapter alone to `out`. Raises UserError where it was trained in full, or is damaged."""
    if checkpoint.kind != "adapter":
        raise UserError(f"--adapter: checkpoint {checkpoint.id} holds all weights, no adapter; use --merged")
    checkpoints.require(root, checkpoint)
    store.copy_adapter(root / str(checkpoint.path), out)


def lab(config: Config, root: Path, on_progress: OnProgress, purse: Purse) -> Lab:
    """The actors, at work in `root`; every attempt of the oracle is charged. Raises UserError."""
    settings, served = asking(config), policies(config, root)

    def remote(role: str) -> Model:
        return RemoteModel(prices.models(config)[role], settings, PROVIDERS, purse.account(role))

    judges = tuple(map(remote, prices.judges(config)))
    return Lab(
        serve=served.serve,
        judge=judges[0],
        panel=judges[1:],
        proposer=remote("proposer"),
        trainer=trainer(config, root, on_progress, served.rest),
        meter=remote("meter"),
        close=served.close,
    )


def asking(config: Config) -> RemoteSettings:
    """How the oracle is asked, in whatever role."""
    return RemoteSettings(**asdict(narrowed(Connection, config.oracle)))


def unready(config: Config) -> list[str]:
    """What this machine lacks to ask the oracle, a line for each of its models: a key, a package.

    Opens a client for each and asks nothing; servers and models of this machine are left out, as a client may start
    them. Raises UserError for a provider that there is not.
    """
    lines = []
    for spec in dict.fromkeys(prices.models(config).values()):
        if spec.partition("/")[0] not in (*offline.IN_PROCESS, *offline.ON_LOOPBACK):
            try:
                RemoteModel(spec, asking(config), PROVIDERS).close()
            except NotReady as error:
                lines.append(str(error))
    return lines


def policies(config: Config, root: Path) -> HfPolicies | VllmPolicies:
    """Who answers for the policy, by its backend. Raises UserError."""
    base, policy = model_path(config.policy.model), replace(config.policy, template=template(config))
    if policy.backend == "hf":
        return HfPolicies(root, base, policy)
    rank = None if config.training.method == "full" else config.training.lora_rank
    return VllmPolicies(root, base, policy, config.vllm, rank)
