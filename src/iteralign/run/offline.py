"""Offline: nothing outside this machine is called, and who would have been is named before the attempt.

Three walls, the nearest first. A config whose oracle answers elsewhere is refused as it is read. The libraries
of the Hub are told to look into their cache only. And any connection or look-up of a name from Python, by
whatever library, is refused by an audit hook (PEP 578), unless it stays on the loopback interface; code that
opens sockets of its own below Python is not seen by it.
"""

import ipaddress
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from iteralign.budget import prices
from iteralign.config.schema import Config
from iteralign.errors import UserError

VARIABLES = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
READ_AT_IMPORT = (
    ("huggingface_hub.constants", "HF_HUB_OFFLINE"),
    ("datasets.config", "HF_HUB_OFFLINE"),
    ("datasets.config", "HF_DATASETS_OFFLINE"),
)
"""Switches that these modules, if loaded before, took from the environment once."""

IN_PROCESS = ("organism", "hf", "mockllm", "nnterp", "none", "transformer_lens")
ON_LOOPBACK = ("ollama", "vllm", "sglang", "llama-cpp-python")
"""Providers whose server is on this machine unless a base URL says otherwise."""

WAY_OUT = "leave --offline out, or name what is on this machine"
_CONNECTING = ("socket.connect", "socket.sendto", "socket.sendmsg")
_LOOKING_UP = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
_walls = {"raised": 0, "built": 0}


@contextmanager
def kept(config: Config) -> Iterator[None]:
    """Offline while the block runs, in all threads, if the config says so. Raises UserError."""
    if not config.offline:
        yield
        return
    require(config)
    _build()
    environment = {name: os.environ.get(name) for name in VARIABLES}
    switches = [(m, name, getattr(m, name)) for m, name in _loaded()]
    os.environ.update(VARIABLES)
    for module, name, _ in switches:
        setattr(module, name, True)
    _walls["raised"] += 1
    try:
        yield
    finally:
        _walls["raised"] -= 1
        for module, name, was in switches:
            setattr(module, name, was)
        for name, value in environment.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def require(config: Config) -> None:
    """Policy and oracles answer on this machine. Raises UserError that names the first that does not."""
    server = config.vllm.url if config.policy.backend == "vllm" else None
    if server and not is_here(urlsplit(server).hostname or server):
        raise UserError(f"offline: {server} (vllm.url) would be called; {WAY_OUT}")
    for role, model in prices.models(config).items():
        where = called(model)
        if where:
            raise UserError(
                f"offline: {model} ({prices.key(config, role)}) would be called at {where}; {WAY_OUT}"
            )


def called(model: str) -> str:
    """Where provider/model would be called, if that is not this machine; else nothing."""
    provider, _, name = model.partition("/")
    if provider in IN_PROCESS:
        return ""
    service = name.partition("/")[0] if provider == "openai-api" else provider
    url = os.environ.get(f"{re.sub(r'[^A-Z0-9]', '_', service.upper())}_BASE_URL", "")
    if url:
        host = urlsplit(url).hostname or url
        return "" if is_here(host) else host
    return "" if provider in ON_LOOPBACK else f"its provider ({service})"


def is_here(host: str) -> bool:
    """Whether a host, as a name or an address, is this machine's loopback interface."""
    address = _address(host)
    if address is None:
        return host.lower().rstrip(".") in ("localhost", "localhost.localdomain")
    return address.is_loopback


def _loaded() -> list[tuple[Any, str]]:
    found = [(sys.modules.get(module), name) for module, name in READ_AT_IMPORT]
    return [(module, name) for module, name in found if module is not None and hasattr(module, name)]


def _build() -> None:
    """Audit hooks stay for the life of the process, so there is one, and it looks whether it is wanted."""
    if not _walls["built"]:
        _walls["built"] = 1
        sys.addaudithook(_watch)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not _walls["raised"] or not event.startswith("socket."):
        return
    if event in _CONNECTING:
        _refuse_address(*arguments[:2])
    elif event in _LOOKING_UP:
        _refuse_name(arguments[0])


def _refuse_address(opened: socket.socket, address: Any) -> None:
    if opened.family in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple):
        host, port = _text(address[0]), address[1]
        if not is_here(host or "localhost"):
            raise UserError(f"offline: {host} port {port} would have been called; {WAY_OUT}")


def _refuse_name(name: Any) -> None:
    """A number needs no look-up, and this machine may ask for its own name."""
    host = _text(name)
    if host and not is_here(host) and _address(host) is None and host != socket.gethostname():
        raise UserError(f"offline: {host} would have been called; {WAY_OUT}")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The number that a host is written as; None for a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
