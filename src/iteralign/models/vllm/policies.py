"""The policy behind a vLLM server: one server for the whole run, the checkpoints of the run swapped in.

`serve(checkpoint)` leases one. The handle is lazy: a resumed run that replays every answer starts no server. A full
fine-tune changes every weight, so its checkpoints cost a restart; adapters do not.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from iteralign.errors import UserError, WorldError
from iteralign.lm import checkpoints, devices, weights
from iteralign.lm.chat import Chat
from iteralign.models.vllm import server
from iteralign.models.vllm.adapter_swap import BASE, Engine
from iteralign.models.vllm.http import Gone, OffProtocol, Refused, Web
from iteralign.models.vllm.server import Server
from iteralign.protocols import Model, OnReplies, unheard
from iteralign.types import Checkpoint, Conversation, Reply, Sampling

if TYPE_CHECKING:
    from iteralign.models.vllm.completions import Served

LOG = "vllm.log"
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as --max-lora-rank."""


@dataclass(frozen=True)
class VllmSettings:
    """How the server is had, and what it runs.

    python: the interpreter that has vLLM. url: a server that runs already, instead. args: more arguments of the
    server. sleep: whether it leaves the GPU while training; None: where device is cuda. lora_rank: of the adapters to
    come; None for a full fine-tune. connections: conversations in flight; vLLM batches them itself.
    device, dtype, template, trust_remote_code, revision: as for `hf`.
    """

    python: str
    url: str | None = None
    args: tuple[str, ...] = ()
    sleep: bool | None = None
    start_timeout_s: float = 600.0
    timeout_s: float = 600.0
    lora_rank: int | None = 16
    connections: int = 64
    device: str = "auto"
    dtype: str = "auto"
    template: str = "auto"
    trust_remote_code: bool = False
    revision: str | None = None


class VllmPolicies:
    """Leases of the checkpoints of one run. `root` is the run directory, `base` the directory or hub id of the
    untrained policy. Raises UserError for settings that cannot go together. Close it when the run is over."""

    def __init__(self, root: Path, base: str, settings: VllmSettings) -> None:
        if settings.url and settings.lora_rank is None:
            raise UserError(
                "vllm.url: a server that runs already cannot change all its weights, as training.method = 'full' "
                "needs; use 'lora', or leave vllm.url out"
            )
        if settings.lora_rank is not None and settings.lora_rank > RANKS[-1]:
            raise UserError(f"training.lora_rank: {settings.lora_rank}; vLLM takes at most {RANKS[-1]}")
        self.root, self.settings = root, settings
        self.source = weights.Source(base, settings.revision, settings.trust_remote_code)
        self._server: Server | None = None
        self._engine: Engine | None = None
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
        return Served(engine.web, name, self._context, self.settings.connections, self.chat)

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
        wanted = self.settings.sleep
        return devices.on_gpu(self.device) and self.settings.url is None if wanted is None else wanted

    @cached_property
    def device(self) -> str:
        return devices.device_of(self.settings.device)

    @cached_property
    def dtype(self) -> str:
        return devices.dtype_of(self.settings.dtype, self.device)

    @cached_property
    def chat(self) -> Chat:
        return weights.load_chat(self.source, self.settings.template)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What goes wrong between us and the server, in one line: UserError, WorldError."""
        try:
            yield
        except Gone as error:
            if self._server is not None and not isinstance(error, OffProtocol):
                raise self._server.ended() from error
            where = self.settings.url or "the server"
            raise WorldError(f"vllm: {where}: {error}; run the same command again to resume") from error
        except Refused as error:
            kind = UserError if error.status < 500 else WorldError
            raise kind(f"vllm: the server answered {error.status}: {error}") from error

    def _start(self, whole: str | None) -> None:
        self.close()
        folder = weights.find(self.source) if whole is None else (self.root / whole).resolve()
        if self.settings.url is None:
            ours = self._server = self._started(folder)
            ours.wait(self.settings.start_timeout_s)
            web = Web(ours.url, ours.key, self.settings.timeout_s)
        else:
            web = Web(
                self.settings.url.removesuffix("/v1"), os.environ.get("VLLM_API_KEY"), self.settings.timeout_s
            )
        with self.explained():
            try:
                card = next(m for m in web.get("/v1/models")["data"] if not m.get("parent"))
                self._context = int(card["max_model_len"])
            except (LookupError, TypeError, ValueError, AttributeError, StopIteration):
                raise OffProtocol("its list of models names none with its context (max_model_len)") from None
        if self.settings.url is not None:
            self._same_base(str(card.get("root")), folder)
        self._engine, self._runs = Engine(web, self.root, str(card["id"]), self.dtype), whole
        if whole is not None:
            with self.explained():
                self._engine.prove(self._engine.base, folder, [])

    def _started(self, folder: Path) -> Server:
        s, more = self.settings, dict[str, str]()
        if s.sleep and not devices.on_gpu(self.device):
            raise UserError(f"vllm.sleep: {self.device} has no sleep mode, a GPU has; leave it out")
        if shutil.which(s.python) is None:
            raise UserError(f"vllm.python: {s.python!r} is no program; name the Python that has vLLM")
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
        if s.lora_rank is not None:
            rank = next(r for r in RANKS if r >= s.lora_rank)
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
        arguments += ["--trust-remote-code"] * s.trust_remote_code
        command = server.command(s.python, [*arguments, *s.args])
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
        decides = [c.id, p.device, p.dtype, p.settings.template, *p.settings.args, *[c.hash] * bool(c.hash)]
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
