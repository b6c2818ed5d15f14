"""The policy behind a vLLM server: one server for the whole run, the checkpoints of the run swapped in.

`serve(checkpoint)` leases one. The handle is lazy: a resumed run that replays every answer starts no server. A full
fine-tune changes every weight, so its checkpoints cost a restart; adapters do not.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from iteralign.errors import UserError, WorldError
from iteralign.lm import checkpoints, devices, weights
from iteralign.lm.chat import Chat
from iteralign.models.vllm import server
from iteralign.models.vllm.adapter_swap import BASE, AdapterServer
from iteralign.models.vllm.http import Gone, OffProtocol, Refused, Web
from iteralign.models.vllm.server import Server
from iteralign.protocols import Model, OnReplies, unheard
from iteralign.settings import Policy, Vllm
from iteralign.types import Checkpoint, Conversation, Reply, Sampling

if TYPE_CHECKING:
    from iteralign.models.vllm.completions import Served

LOG = "vllm.log"
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as --max-lora-rank."""


class VllmPolicies:
    """Lease the checkpoints of one run from a vLLM server. Close it when the run is over.

    Args:
        root: The run directory.
        base: The directory or hub id of the untrained policy; `policy.model` is not looked at.
        policy: How it is loaded and asked. `batch_size` is how many conversations are in flight: vLLM batches them.
        vllm: The server.
        lora_rank: Of the adapters to come; None for a full fine-tune.

    Raises UserError for settings that cannot go together.
    """

    def __init__(self, root: Path, base: str, policy: Policy, vllm: Vllm, lora_rank: int | None) -> None:
        if vllm.url and lora_rank is None:
            raise UserError(
                "vllm.url: a server that runs already cannot change all its weights, as training.method = 'full' "
                "needs; use 'lora', or leave vllm.url out"
            )
        if lora_rank is not None and lora_rank > RANKS[-1]:
            raise UserError(f"training.lora_rank: {lora_rank}; vLLM takes at most {RANKS[-1]}")
        self.root, self.policy, self.vllm, self.lora_rank = root, policy, vllm, lora_rank
        self.source = weights.Source(base, policy.revision, policy.trust_remote_code)
        self._server: Server | None = None
        self._engine: AdapterServer | None = None
        self._runs: str | None = None
        self._asleep = False
        self._context = 0

    @contextmanager
    def serve(self, checkpoint: Checkpoint) -> Iterator[Model]:
        """Lease `checkpoint`. A resumed run leases also those whose weights are gone: nobody asks them."""
        yield VllmModel(self, checkpoint)

    def attach(self, checkpoint: Checkpoint) -> "Served":
        """A server that answers with the weights of `checkpoint`. Raises UserError, WorldError."""
        from iteralign.models.vllm.completions import Served

        checkpoints.require(self.root, checkpoint)
        whole = checkpoint.path if checkpoint.kind == "full" else None
        if self._engine is None or self._runs != whole:
            self._start(whole)
        engine = self._engine
        assert engine is not None
        with self.explained():
            if self._asleep:
                engine.web.post("/wake_up")
                self._asleep = False
                engine.prove_again()
            name = engine.use_adapter(checkpoint) if checkpoint.kind == "adapter" else engine.base
        return Served(engine.web, name, self._context, self.policy.batch_size, self.chat)

    def rest(self) -> None:
        """Leave the GPU to somebody else, until asked again; where the server cannot, nothing happens."""
        if self._engine is not None and self.sleeps and not self._asleep:
            with self.explained():
                self._engine.web.post("/sleep?level=1")
            self._asleep = True

    def close(self) -> None:
        """End the server, if it is ours."""
        ours, self._server, self._engine, self._asleep = self._server, None, None, False
        if ours is not None:
            ours.close()

    @property
    def sleeps(self) -> bool:
        wanted = self.vllm.sleep
        return devices.on_gpu(self.device) and self.vllm.url is None if wanted is None else wanted

    @cached_property
    def device(self) -> str:
        return devices.device_of(self.policy.device)

    @cached_property
    def dtype(self) -> str:
        return devices.dtype_of(self.policy.dtype, self.device)

    @cached_property
    def chat(self) -> Chat:
        return weights.load_chat(self.source, self.policy.template)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What goes wrong between us and the server, in one line: UserError, WorldError."""
        try:
            yield
        except Gone as error:
            if self._server is not None and not isinstance(error, OffProtocol):
                raise self._server.ended() from error
            where = self.vllm.url or "the server"
            raise WorldError(f"vllm: {where}: {error}; run the same command again to resume") from error
        except Refused as error:
            kind = UserError if error.status < 500 else WorldError
            raise kind(f"vllm: the server answered {error.status}: {error}") from error

    def _start(self, whole: str | None) -> None:
        self.close()
        folder = weights.find(self.source) if whole is None else (self.root / whole).resolve()
        if self.vllm.url is None:
            ours = self._server = self._started(folder)
            ours.wait(self.vllm.start_timeout_s)
            web = Web(ours.url, ours.key, self.vllm.timeout_s)
        else:
            web = Web(self.vllm.url.removesuffix("/v1"), os.environ.get("VLLM_API_KEY"), self.vllm.timeout_s)
        with self.explained():
            try:
                card = next(m for m in web.get("/v1/models")["data"] if not m.get("parent"))
                self._context = int(card["max_model_len"])
            except (LookupError, TypeError, ValueError, AttributeError, StopIteration):
                raise OffProtocol("its list of models names none with its context (max_model_len)") from None
        if self.vllm.url is not None:
            self._same_base(str(card.get("root")), folder)
        self._engine, self._runs = AdapterServer(web, self.root, str(card["id"]), self.dtype), whole
        if whole is not None:
            with self.explained():
                self._engine.prove(self._engine.base, folder, [])

    def _started(self, folder: Path) -> Server:
        python, more = self.vllm.python or sys.executable, dict[str, str]()
        if self.vllm.sleep and not devices.on_gpu(self.device):
            raise UserError(f"vllm.sleep: {self.device} has no sleep mode, a GPU has; leave it out")
        if shutil.which(python) is None:
            raise UserError(f"vllm.python: {python!r} is no program; name the Python that has vLLM")
        arguments = [
            "--model",
            str(folder),
            "--served-model-name",
            BASE,
            "--dtype",
            self.dtype,
            "--seed",
            "0",
        ]
        arguments += ["--generation-config", "vllm"]  # the repository's sampling defaults are not ours
        if self.lora_rank is not None:
            rank = next(r for r in RANKS if r >= self.lora_rank)
            arguments += [
                "--enable-lora",
                "--max-lora-rank",
                str(rank),
                "--max-loras",
                "1",
                "--max-cpu-loras",
                "2",
            ]
            more["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
        if self.sleeps:
            arguments.append("--enable-sleep-mode")
            more["VLLM_SERVER_DEV_MODE"] = "1"
        arguments += ["--trust-remote-code"] * self.policy.trust_remote_code
        command = server.command(python, [*arguments, *self.vllm.args])
        return Server(command, self.root / LOG, server.environment(**more), "vllm: the server")

    def _same_base(self, theirs: str, ours: Path) -> None:
        same = theirs == self.source.name or (Path(theirs).is_dir() and Path(theirs).samefile(ours))
        if not same:
            raise UserError(
                f"vllm.url: this server runs {theirs!r}, policy.model is {self.source.name!r}; name the same model"
            )


class VllmModel:
    """One leased checkpoint. Starts nothing before the first `generate` that is asked something."""

    def __init__(self, policies: VllmPolicies, checkpoint: Checkpoint) -> None:
        self._policies, self._checkpoint = policies, checkpoint

    @cached_property
    def id(self) -> str:
        """A digest of checkpoint (and its hash), device, dtype, template and the server's arguments. Where the
        server is, and how many conversations are in flight, is left out."""
        p = self._policies
        c = self._checkpoint
        decides = [c.id, p.device, p.dtype, p.policy.template, *p.vllm.args, *[c.hash] * bool(c.hash)]
        return f"vllm-{hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]}"

    def generate(
        self,
        conversations: Sequence[Conversation],
        sampling: Sampling,
        on_replies: OnReplies = unheard,
    ) -> list[Reply]:
        """Answer each conversation, in order; replies are heard one by one, as they come.

        Raises UserError for a prompt longer than the context and what the server refuses, WorldError when it fails.
        """
        if not conversations:
            return []
        from iteralign.models.vllm.completions import ask_all

        served = self._policies.attach(self._checkpoint)
        with self._policies.explained():
            return ask_all(served, conversations, sampling, on_replies)
