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
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from difflib import get_close_matches
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic.dataclasses import dataclass

from iteralign.errors import IterAlignError, UserError, unknown
from iteralign.models import attempts, background, faults, wire
from iteralign.models.client import Garbled, client, one_request
from iteralign.options import STRICT
from iteralign.protocols import Account, Failure, OnReplies, Reservation, unheard
from iteralign.security.keys import Keys, keys_of, masked
from iteralign.settings import Connection
from iteralign.types import Conversation, Reply, Sampling

if TYPE_CHECKING:
    from inspect_ai.model import GenerateConfig, Model

MOST_CONNECTIONS = 256
SDKS = {
    "anthropic": "anthropic",
    **dict.fromkeys(
        (
            *(
                "cloudflare",
                "deepseek",
                "hf-inference-providers",
                "litellm-proxy",
                "meta",
                "moonshot",
                "openai",
            ),
            *("openai-api", "openrouter", "perplexity"),
        ),
        "openai",
    ),
}
"""Providers that hand their arguments to an SDK, so that its retries can be off and its HTTP client can be ours."""
OTHERS = ("azureai", "bedrock", "fireworks", "google", "grok", "groq", "mistral", "ollama", "sagemaker", "sambanova",
          "sglang", "together", "vllm")  # fmt: skip
"""More names of inspect_ai, for the hint after a misspelt one."""
GRACE_S = 5.0
"""How long a call that is given up waits for its attempts to end, so that each is charged."""
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
Answered = tuple[int, Reply, Reservation]
LOST = "its answer could not be recorded"
QUIET = ("inspect_ai", "openai", "anthropic", "httpx", "httpx2", "httpcore")


@dataclass(frozen=True, config=STRICT)
class RemoteSettings(Connection):
    """`Connection`, and what a provider is given besides.

    base_url: another address of the provider. model_args: arguments of inspect_ai's provider.
    config: fields of its GenerateConfig that go above the sampling (`reasoning_effort`, `max_tokens` …);
    None leaves a field out, for a model that refuses it.
    """

    base_url: str | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        """All that the user gives to the provider and to its calls."""
        return {**self.model_args, **self.config}


class RemoteModel:
    """A protocols.Model behind a provider. Close it, or use it as a context, when it is done.

    Args: `spec` is "provider/model". `providers` says which module registers a provider that is not
    inspect_ai's own, imported when the spec names it; it runs in this process. `account` is charged for
    every attempt.

    Raises UserError at once for an unknown provider, a missing key or package, a wrong setting.
    """

    def __init__(
        self,
        spec: str,
        settings: RemoteSettings | None = None,
        providers: Mapping[str, str] | None = None,
        account: Account | None = None,
    ) -> None:
        self.spec = spec
        self._settings = settings or RemoteSettings()
        self._account = account or attempts.Free()
        self._in_process = spec.partition("/")[0] in (providers or {})
        _check(spec)
        self._model: Model | None = background.call(lambda: _open(spec, self._settings, providers or {}))
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
        model = self._model
        if model is None:
            raise RuntimeError(f"{self.spec} is closed")
        config = _config(self.spec, sampling, self._settings)
        keys = _keys(model.api, self._settings)
        inbox: SimpleQueue[Answered | BaseException] = SimpleQueue()
        ended = threading.Event()
        slots = asyncio.Semaphore(self._settings.max_connections)

        async def ask(index: int, conversation: Conversation) -> None:
            async with slots:
                inbox.put((index, *await self._answered(model, conversation, config, keys)))

        async def ask_all() -> None:
            try:
                # A task each, so that inspect_ai's transcript of a call, kept in the task's context, ends with it.
                async with asyncio.TaskGroup() as group:
                    for index, conversation in enumerate(conversations):
                        group.create_task(ask(index, conversation))
            except BaseException as fault:  # also a cancellation, which nobody waits for any more
                inbox.put(fault)
            finally:
                ended.set()

        work = background.submit(ask_all())
        replies: dict[int, Reply] = {}
        try:
            while len(replies) < len(conversations):
                found = inbox.get()
                if isinstance(found, BaseException):
                    raise faults.failed(self.spec, found, model.api, keys) from None
                index, reply, reservation = found
                try:
                    on_replies([(index, reply)])
                except BaseException:
                    reservation.fail(Failure(LOST, None, reply.usage))
                    raise
                reservation.settle(reply.usage)
                replies[index] = reply
        finally:
            work.cancel()
            if len(replies) < len(conversations) and ended.wait(GRACE_S):
                while not inbox.empty():
                    if not isinstance(left := inbox.get(), BaseException):
                        left[2].fail(Failure(LOST, None, left[1].usage))
        return [replies[i] for i in range(len(conversations))]

    async def _answered(
        self, model: "Model", conversation: Conversation, config: "GenerateConfig", keys: Keys
    ) -> tuple[Reply, Reservation]:
        """Ask one conversation, as often as it takes."""
        asked, messages = wire.sent(conversation), wire.messages(conversation)
        extra = self._settings.config  # some of its fields are sent as text
        more = len(json.dumps(dict(extra), default=str).encode()) if extra else 0
        answer = config.max_tokens and config.max_tokens * (config.num_choices or 1) + (
            config.reasoning_tokens or 0
        )
        most = wire.most(conversation, answer, more)

        async def send() -> Reply:
            try:
                with one_request():
                    return wire.reply(await model.generate(messages, config=config), asked, most, keys)
            except Exception as fault:
                if faults.too_long(fault):
                    return Reply("", "length", wire.estimate(asked, 0, most))
                found = faults.cause(fault)
                if isinstance(found, faults.MISREAD) and not self._in_process:
                    raise Garbled(f"cannot be read ({type(found).__name__}: {found})") from fault
                raise

        def again(fault: BaseException) -> float | None:
            found = faults.cause(fault)
            if isinstance(found, IterAlignError) or not isinstance(found, Exception):
                return None
            code = faults.status(found)
            if isinstance(found, Garbled) or (code is not None and 300 <= code < 400):
                return 0.0
            if not model.should_retry(found):
                return None
            return getattr(model.api.should_retry(found), "retry_after", None) or 0.0

        def describe(fault: BaseException) -> Failure | None:
            if isinstance(faults.cause(fault), IterAlignError):  # a connection that --offline refuses
                return None
            code = faults.status(faults.cause(fault))
            # An attempt that was refused by a status generated nothing; any other may be billed in full.
            used = replace(most, estimated=True) if code is None else wire.estimate(asked, 0, most)
            return Failure(faults.reason(fault, keys), code, used)

        rules = attempts.Rules(
            self._account, self._settings.max_retries, self._settings.backoff_s, again, describe
        )
        return await attempts.answered(send, most, rules)

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


def _keys(api: Any, settings: RemoteSettings) -> Keys:
    variables = [os.environ.get(n) for n in getattr(api, "api_key_vars", ()) if isinstance(n, str)]
    used = [str(v) for v in (getattr(api, "api_key", None), *variables) if v]
    urls = [settings.base_url, str(getattr(api, "base_url", None) or "")]
    return keys_of(used, urls, settings.arguments, os.environ)


def _check(spec: str) -> None:
    if not all(spec.partition("/")):
        raise UserError(f"model: {spec!r} is not of the form provider/model, as in openai/NAME")


def _open(spec: str, settings: RemoteSettings, providers: Mapping[str, str]) -> "Model":
    provider = spec.partition("/")[0]
    # The libraries write a reply out again; pydantic warns of a value of another type, and shows it: it may be a key.
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings", category=UserWarning)
    with _quiet():
        from inspect_ai.model import GenerateConfig, get_model

        if provider in providers:
            importlib.import_module(providers[provider])
        for name in settings.config:
            if name not in (allowed := set(GenerateConfig.model_fields) - OURS):
                raise unknown("model config", name, allowed)
        known = {*SDKS, *OTHERS, *providers}
        if provider not in known and (near := get_close_matches(provider, known, n=1)):
            raise UserError(f"model provider: unknown value {provider!r}; did you mean {near[0]!r}?")
        arguments = {}
        if sdk := SDKS.get(provider):
            arguments = {"max_retries": 0, "http_client": client(sdk, settings.timeout_s)}
        try:
            return get_model(
                spec, base_url=settings.base_url, memoize=False, **{**arguments, **settings.model_args}
            )
        except Exception as fault:
            keys = keys_of((), [settings.base_url], settings.arguments, os.environ)
            raise faults.unopened(spec, fault, keys) from None


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
    decides = _keys(api, settings).scrubbed(masked(settings.arguments))
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
        max_retries=0,  # of inspect_ai; attempts.py makes ours
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
