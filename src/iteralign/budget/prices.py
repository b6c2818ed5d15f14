"""Prices: what a token of a model costs. An unknown price is said, never guessed.

`prices.toml` beside this file is a dated table of a few well-known models; the user's own prices, `[prices]`
in a config or a file given with `--prices`, go above it. A name matches whole, or with the date of a
snapshot behind it: a smaller model of the same family never takes the price of the larger one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pydantic

from iteralign.config.schema import Config, validated
from iteralign.errors import UserError
from iteralign.record.calls import Spent
from iteralign.security import documents
from iteralign.settings import Member, Price

LOCAL = ("organism", "ollama", "hf", "llama-cpp-python", "mockllm")
"""Providers that run on the user's own machine, and bill nothing."""

_SNAPSHOT = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")
_MILLION = 1e6


@dataclass(frozen=True)
class Prices:
    """The prices of one run: the user's above the shipped ones."""

    own: Mapping[str, Price]

    def of(self, model: str) -> Price | None:
        """The price of provider/model; zero for a local one; None if it is not known."""
        for table in (self.own, shipped()):
            for name in (model, _SNAPSHOT.sub("", model)):
                if name in table:
                    return table[name]
        if is_local(model):
            return Price(input=0.0, output=0.0, source="local")
        return None

    def usd(self, model: str, used: Spent) -> float | None:
        """What these tokens cost; None if the price is not known."""
        price = self.of(model)
        return None if price is None else cost(price, used.input_tokens, used.output_tokens)


def of(config: Config) -> Prices:
    return Prices(config.prices)


def cost(price: Price, input_tokens: float, output_tokens: float) -> float:
    return (price.input * input_tokens + price.output * output_tokens) / _MILLION


def is_local(model: str) -> bool:
    return model.partition("/")[0] in LOCAL


def judges(config: Config) -> dict[str, Member]:
    """The judges by role: `judge`, and in a panel `judge-2` and so on."""
    oracle = config.oracle
    members = config.judge.models or (Member(model=oracle.judge or oracle.model),)
    return {f"judge-{i}" if i > 1 else "judge": member for i, member in enumerate(members, 1)}


def models(config: Config) -> dict[str, str]:
    """Who stands in each role of the oracle."""
    oracle = config.oracle
    return {role: member.model for role, member in judges(config).items()} | {
        role: getattr(oracle, role) or oracle.model for role in ("proposer", "meter")
    }


def key(config: Config, role: str) -> str:
    """Where a config says who stands in a role."""
    return "judge.models" if role in judges(config) and config.judge.models else f"oracle.{role}"


def require(config: Config) -> None:
    """A budget in money needs a price of every model. Raises UserError that names the one without."""
    if config.budget.usd is None:
        return
    for role, model in models(config).items():
        if of(config).of(model) is None:
            raise UserError(
                f"budget.usd: the price of {model} ({key(config, role)}) is not known; give it as "
                f'[prices."{model}"] input = …, output = … (USD per million tokens), or bound budget.oracle_tokens'
            )


def read(path: Path) -> dict[str, Any]:
    """The prices of a file of the form of prices.toml. Raises UserError."""
    try:
        table = documents.read_toml(path)
    except documents.Unreadable as error:
        raise UserError(f"--prices {path}: cannot be read ({error})") from None
    validated({"prices": table})
    return table


@cache
def shipped() -> dict[str, Price]:
    text = (resources.files(__package__) / "prices.toml").read_text(encoding="utf-8")
    return {
        name: pydantic.TypeAdapter(Price).validate_python(row)
        for name, row in documents.parsed_toml(text).items()
    }
