"""Subject: the model that is evaluated, with or without an adapter, or a finished run's last checkpoint."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from iteralign.config.messages import explain
from iteralign.errors import UserError
from iteralign.lm.weights import Source, find, load_chat
from iteralign.models.hf import HfModel, HfPolicies
from iteralign.record.replay import replay
from iteralign.run import build
from iteralign.security import documents
from iteralign.settings import Policy
from iteralign.types import Checkpoint

ADAPTER = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Subject:
    """`facts` name it in a result: what of it decides its answers. `base` is its untrained model, without adapter."""

    policies: HfPolicies
    checkpoint: Checkpoint
    base: Checkpoint
    facts: dict[str, Any]

    @contextmanager
    def leased(self, base: bool = False) -> Iterator[HfModel]:
        """The model, or its base, for a while."""
        with self.policies.serve(self.base if base else self.checkpoint) as model:
            assert isinstance(model, HfModel)
            yield model

    @property
    def is_organism(self) -> bool:
        return (Path(self.base.base) / "organism.json").is_file()

    def close(self) -> None:
        self.policies.close()


def subject(model: str, adapter: Path | None, settings: Policy) -> Subject:
    """What `model` names: a directory, a hub id, `organism`, or a run. Raises UserError; loads no weights."""
    if is_run(Path(model)):
        if adapter is not None:
            raise UserError(f"--adapter: {model} is a run, which has its own; leave --adapter out")
        return _of_run(Path(model), settings)
    base = build.model_path(model)
    source = Source(base, settings.revision)
    local = build.identity_of(base, settings.revision)
    bare = Checkpoint(local if source.folder else f"{base}@{find(source).name}", base)
    checkpoint = bare if adapter is None else _adapted(bare, adapter)
    return _subject(model, Path("."), bare, checkpoint, settings)


def loading(given: Mapping[str, Any]) -> Policy:
    """How a model is loaded and asked, by the options that were given. Raises UserError for a value out of range."""
    try:
        return Policy(**given)
    except ValidationError as error:
        said = str(explain(error, Policy)).removeprefix("config ")
        raise UserError(f"--{said}") from None


def is_run(root: Path) -> bool:
    return (root / "config.json").is_file() and (root / "iterations").is_dir()


def _of_run(root: Path, settings: Policy) -> Subject:
    past = replay(root)
    if past.outcome is None:
        raise UserError(f"{root}: the run is not finished; finish it with: iteralign run {root}")
    policy = past.config.policy
    base = build.model_path(policy.model)
    own = replace(
        settings,
        template=build.template(past.config),
        trust_remote_code=policy.trust_remote_code,
        revision=policy.revision,
    )
    bare = Checkpoint(build.identity(past.config), base)
    return _subject(str(root), root, bare, replace(past.outcome.policy, base=base), own)


def _adapted(base: Checkpoint, adapter: Path) -> Checkpoint:
    weights = sorted(adapter.glob("*.safetensors")) if adapter.is_dir() else []
    if not (adapter / ADAPTER).is_file() or not weights:
        raise UserError(
            f"--adapter: {str(adapter)!r} is no adapter directory: it lacks {ADAPTER} or *.safetensors"
        )
    digest = hashlib.sha256(base.id.encode())
    for path in (adapter / ADAPTER, *weights):
        digest.update(bytes.fromhex(documents.sha256(path)))
    return Checkpoint(f"adapter-{digest.hexdigest()[:16]}", base.base, str(adapter.resolve()), "adapter")


def _subject(name: str, root: Path, base: Checkpoint, checkpoint: Checkpoint, settings: Policy) -> Subject:
    policies = HfPolicies(root, base.base, settings)
    source = Source(base.base, settings.revision, settings.trust_remote_code)
    chat = load_chat(source, settings.template)
    facts = {
        "model": name,
        "adapter": checkpoint.path,
        "checkpoint": checkpoint.id,
        "template": chat.format,
        "device": policies.device,
        "dtype": policies.dtype,
    }
    return Subject(policies, checkpoint, base, facts)
