"""The policy in process: transformers on the CPU or one GPU, one base and the adapters trained on it.

`serve(checkpoint)` leases a checkpoint. The handle is lazy: a resumed run that replays every answer
loads nothing. The base stays in memory between leases; adapters come and go (`engine`).
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iteralign.lm import checkpoints, devices, weights
from iteralign.lm.chat import Chat, require_template
from iteralign.protocols import Model, OnReplies, unheard
from iteralign.settings import Policy
from iteralign.types import Checkpoint, Conversation, Options, Reply, Sampling

if TYPE_CHECKING:
    from iteralign.models.loaded import LoadedBase


class HfPolicies:
    """Lease the checkpoints of one run.

    Args:
        root: The run directory.
        base: The directory or hub id of the untrained policy; `policy.model` is not looked at.
        policy: How it is loaded and asked. `template` may be the Jinja text of a chat template.

    Raises UserError for a template that there is not.
    """

    def __init__(self, root: Path, base: str, policy: Policy) -> None:
        require_template(policy.template, "policy.template")
        self.root, self.policy = root, policy
        self.source = weights.Source(base, policy.revision, policy.trust_remote_code)
        self._engine: LoadedBase | None = None

    @contextmanager
    def serve(self, checkpoint: Checkpoint) -> Iterator[Model]:
        """Lease `checkpoint`. A resumed run leases also those whose weights are gone: nobody asks them."""
        try:
            yield HfModel(self, checkpoint)
        finally:
            if self._engine is not None:
                self._engine.detach()

    def rest(self) -> None:
        """Leave the memory to somebody else, until asked again."""
        self.close()

    def close(self) -> None:
        """Forget the base too, and give its memory back."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    @cached_property
    def device(self) -> str:
        return devices.device_of(self.policy.device)

    @cached_property
    def dtype(self) -> str:
        return devices.dtype_of(self.policy.dtype, self.device)

    def engine(self) -> "LoadedBase":
        if self._engine is None:
            from iteralign.models.loaded import LoadedBase

            self._engine = LoadedBase(self.root, self.source, self.device, self.dtype)
        return self._engine


class HfModel:
    """One leased checkpoint. Loads nothing before the first `generate` that is asked something."""

    def __init__(self, policies: HfPolicies, checkpoint: Checkpoint) -> None:
        self._policies, self._checkpoint = policies, checkpoint

    @cached_property
    def id(self) -> str:
        """A digest of checkpoint (and its hash), device, dtype, template and batch size. The context length and what
        template `auto` means belong to the base, so the checkpoint's id covers them."""
        p = self._policies
        c = self._checkpoint
        decides = [
            c.id,
            p.device,
            p.dtype,
            p.policy.template,
            p.policy.batch_size,
            *[c.hash] * bool(c.hash),
        ]
        return f"hf-{hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]}"

    def generate(
        self,
        conversations: Sequence[Conversation],
        sampling: Sampling,
        on_replies: OnReplies = unheard,
    ) -> list[Reply]:
        """Answer each conversation, in order; batches run from the longest prompts to the shortest.

        A batch is heard in one call. Asking again for exactly those not yet heard forms exactly the
        remaining batches, so an interrupted call goes on as if it had not been interrupted.

        Raises UserError for a prompt longer than the context, WorldError when memory does not suffice.
        """
        if not conversations:
            return []
        from iteralign.models.batching import answer_all

        model, chat = self.loaded()
        return answer_all(model, chat, conversations, sampling, self._policies.policy.batch_size, on_replies)

    def score(self, questions: Sequence[Options]) -> list[tuple[float, ...]]:
        """As `protocols.Scorer`. Raises UserError and WorldError as `generate` does."""
        from iteralign.models.scoring import score_all

        return score_all(*self.loaded(), questions, self._policies.policy.batch_size)

    def loaded(self) -> tuple[Any, Chat]:
        """The model with this checkpoint's weights, and how it writes conversations; valid within the lease.
        Raises UserError if they are gone or damaged."""
        checkpoints.require(self._policies.root, self._checkpoint)
        return self._policies.engine().attach(self._checkpoint, self._policies.policy.template)
