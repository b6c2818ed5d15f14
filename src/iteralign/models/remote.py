"""Models behind a provider: every one that inspect_ai's model API knows, called from plain code.

`RemoteModel("openai/NAME")`, `"anthropic/NAME"`, `"openai-api/SERVICE/NAME"` (any compatible server),
`"vllm/NAME"`, `"ollama/NAME"`, `"organism/oracle"`. The key comes from the environment and stays
there: no id, reply, log or error holds it. Nothing is logged, shown or sent anywhere else.
"""

import asyncio
import importlib
import json
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from iteralign.errors import UserError, unknown
from iteralign.lab import OnReplies, unheard
from iteralign.models import background, faults, retrying, wire
from iteralign.types import Conversation, Reply, Sampling

if TYPE_CHECKING:
    from inspect_ai.model import GenerateConfig, Model

MOST_CONNECTIONS = 256
SDK_RETRIES = ("anthropic", "openai", "openai-api")
UNASKED = {"openai": {"reasoning_summary": "none"}}
"""Fields that keep a provider from asking something of its own: inspect_ai asks OpenAI's reasoning models once, unheard
by any count, whether they would summarise their reasoning."""
OURS = {
    "adaptive_connections",
    "attempt_timeout",
    "batch",
    "cache",
    "max_connections",
    "max_retries",
    "timeout",
}
QUIET = ("inspect_ai", "openai", "anthropic", "httpx", "httpx2", "httpcore")


@dataclass(frozen=True)
class RemoteSettings:
    """How to reach a remote model.

    max_connections: calls in flight at once, 1 to 256; halved for a while when the provider limits the rate.
    timeout_s: bound of one attempt. max_retries: attempts after the first, `backoff_s` apart, then doubling, or
    as the provider says (Retry-After, at most 10 minutes).
    base_url: another address of the provider. model_args: arguments of inspect_ai's provider.
    config: fields of its GenerateConfig that go above the sampling (`reasoning_effort`, `max_tokens` …);
    None leaves a field out, for a model that refuses it.
    """

    max_connections: int = 16
    timeout_s: float = 120.0
    max_retries: int = 5
    backoff_s: float = 3.0
    base_url: str | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        """All that the user gives to the provider and to its calls."""
        return {**self.model_args, **self.config}


class RemoteModel:
    """A lab.Model behind a provider. Close it, or use it as a context, when it is done.

    Args: `spec` is "provider/model". `providers` says which module registers a provider that is not
    inspect_ai's own, imported when the spec names it. `on_failed_attempt` is told, in another thread, of every
    attempt that failed, retried or not; what it raises ends the whole `generate`.

    Raises UserError at once for an unknown provider, a missing key or package, a wrong setting.
    """

    def __init__(
        self,
        spec: str,
        settings: RemoteSettings | None = None,
        providers: Mapping[str, str] | None = None,
        on_failed_attempt: Callable[[], None] | None = None,
    ) -> None:
        self.spec = spec
        self._settings = settings or RemoteSettings()
        _check(spec, self._settings)
        self._model: Model | None = background.call(lambda: _open(spec, self._settings, providers or {}))
        retrying.govern(self._model, self._settings.backoff_s, on_failed_attempt)
        self.id = _identity(spec, self._model.api, self._settings)

    def generate(
        self,
        conversations: Sequence[Conversation],
        sampling: Sampling,
        on_replies: OnReplies = unheard,
    ) -> list[Reply]:
        """Answer all conversations, up to `max_connections` at once; replies are heard one by one.

        A conversation longer than the model's context gets an empty reply with stop "length".

        Raises WorldError when a call fails for good: the rest is cancelled, what was heard stays valid.
        Raises UserError when the provider refuses the key, the model or the request.
        """
        if self._model is None:
            raise RuntimeError(f"{self.spec} is closed")
        config = _config(self.spec, sampling, self._settings)
        inbox: SimpleQueue[tuple[int, Reply] | BaseException] = SimpleQueue()
        work = background.submit(_ask_all(self, self._model, conversations, config, inbox.put))
        replies: dict[int, Reply] = {}
        try:
            while len(replies) < len(conversations):
                heard = inbox.get()
                if isinstance(heard, BaseException):
                    arguments = self._settings.arguments
                    raise faults.failed(self.spec, heard, self._model.api, arguments) from None
                replies[heard[0]] = heard[1]
                on_replies([heard])
        finally:
            work.cancel()
        return [replies[i] for i in range(len(conversations))]

    def close(self) -> None:
        """Close the client (and the server, where the provider started one)."""
        model, self._model = self._model, None
        if model is not None:
            background.submit(model.__aexit__(None, None, None)).result()

    def __enter__(self) -> "RemoteModel":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


async def _ask_all(
    remote: RemoteModel,
    model: "Model",
    conversations: Sequence[Conversation],
    config: "GenerateConfig",
    tell: Callable[[tuple[int, Reply] | BaseException], None],
) -> None:
    """Tell each reply as it comes, or, as the last word, what failed."""
    slots = asyncio.Semaphore(remote._settings.max_connections)
    secrets = faults.secrets_of(model.api, remote._settings.arguments)

    async def ask(index: int, conversation: Conversation) -> None:
        async with slots:
            try:
                output = await model.generate(wire.messages(conversation), config=config)
                reply = wire.reply(output, secrets)
            except Exception as fault:
                if not faults.too_long(fault):
                    raise
                reply = Reply("", "length")
        tell((index, reply))

    try:
        # A task each, so that inspect_ai's transcript of a call, kept in the task's context, ends with it.
        async with asyncio.TaskGroup() as group:
            for index, conversation in enumerate(conversations):
                group.create_task(ask(index, conversation))
    except asyncio.CancelledError:
        raise
    except BaseException as fault:
        tell(fault)


def _check(spec: str, settings: RemoteSettings) -> None:
    if not all(spec.partition("/")):
        raise UserError(f"model: {spec!r} is not of the form provider/model, as in openai/NAME")
    if not 1 <= settings.max_connections <= MOST_CONNECTIONS:
        raise UserError(
            f"max_connections: {settings.max_connections} is not between 1 and {MOST_CONNECTIONS}"
        )
    if settings.timeout_s <= 0:
        raise UserError(f"timeout_s: {settings.timeout_s} is not above 0")
    if settings.max_retries < 0:
        raise UserError(f"max_retries: {settings.max_retries} is below 0")
    if settings.backoff_s < 0:
        raise UserError(f"backoff_s: {settings.backoff_s} is below 0")


def _open(spec: str, settings: RemoteSettings, providers: Mapping[str, str]) -> "Model":
    provider = spec.partition("/")[0]
    with _quiet():
        from inspect_ai.model import get_model

        if provider in providers:
            importlib.import_module(providers[provider])
        _check_names(provider, settings)
        arguments = {"max_retries": 0} if provider in SDK_RETRIES else {}  # inspect_ai retries; not both
        try:
            return get_model(
                spec, base_url=settings.base_url, memoize=False, **{**arguments, **settings.model_args}
            )
        except Exception as fault:
            raise faults.unopened(spec, fault, settings.arguments) from None


def _check_names(provider: str, settings: RemoteSettings) -> None:
    from inspect_ai._util.entrypoints import ensure_entry_points
    from inspect_ai.model import GenerateConfig

    if provider not in _known():
        ensure_entry_points()  # those of other packages are looked for only where its own do not suffice
    if provider not in (known := _known()):
        raise unknown("model provider", provider, known)
    for name in settings.config:
        if name not in (allowed := set(GenerateConfig.model_fields) - OURS):
            raise unknown("model config", name, allowed)


def _known() -> set[str]:
    from inspect_ai._util.registry import registry_find, registry_info, registry_unqualified_name

    found = registry_find(lambda info: info.type == "modelapi")
    return {registry_unqualified_name(registry_info(api)) for api in found}


@contextmanager
def _quiet() -> Iterator[None]:
    """inspect_ai takes over sys.excepthook; its warnings belong to a log that the caller sets up."""
    for name in QUIET:
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
    hook = sys.excepthook
    try:
        yield
    finally:
        sys.excepthook = hook


def _identity(spec: str, api: Any, settings: RemoteSettings) -> str:
    """spec, host and arguments; no port, as a server started for the run has a new one each time."""
    host = urlsplit(str(getattr(api, "base_url", None) or "")).hostname
    decides = {k: "***" if faults.SECRET.search(k) else v for k, v in settings.arguments.items()}
    fingerprint = getattr(api, "fingerprint", None)
    return "".join(
        (
            spec,
            f"@{host}" if host else "",
            f" {json.dumps(decides, sort_keys=True, default=str)}" if decides else "",
            f" #{fingerprint}" if isinstance(fingerprint, str) else "",
        )
    )


def _config(spec: str, sampling: Sampling, settings: RemoteSettings) -> "GenerateConfig":
    from inspect_ai.model import GenerateConfig
    from inspect_ai.util import AdaptiveConcurrency

    return GenerateConfig(
        **{**wire.decoding(sampling), **UNASKED.get(spec.partition("/")[0], {}), **settings.config},
        max_retries=settings.max_retries,
        attempt_timeout=math.ceil(settings.timeout_s),
        # The first bounds of an endpoint stick for the process, so they are the same for all:
        # our own semaphore is the ceiling, this pool only shrinks when the provider limits the rate.
        adaptive_connections=AdaptiveConcurrency(
            min=1,
            start=MOST_CONNECTIONS,
            max=MOST_CONNECTIONS,
            decrease_factor=0.5,
            cooldown_seconds=5,
        ),
    )
