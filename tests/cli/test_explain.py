"""`iteralign explain`: every option has one home, a meaning and a source, and the command says them."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from iteralign import settings, types
from iteralign.config import schema
from iteralign.options import declared

OPTIONS = {option.key: option for option in declared(schema.Config)}


@pytest.mark.parametrize("key", OPTIONS)
def test_an_option_has_one_home_a_meaning_and_a_source(key: str) -> None:
    option = OPTIONS[key]
    assert option.owner.__module__ in {module.__name__ for module in (settings, types, schema)}
    assert option.meaning
    assert option.source
    assert option.kind


def test_no_class_declares_again_what_another_declares() -> None:
    """Sections share an option by inheriting it; two that spell it out would drift apart."""
    homes: dict[str, set[str]] = {}
    for key, option in OPTIONS.items():
        homes.setdefault(key, set()).add(option.owner.__name__)
    assert {key: names for key, names in homes.items() if len(names) > 1} == {}
    shared = {"device", "dtype", "template", "trust_remote_code", "lora_rank", "max_retries", "backoff_s"}
    found = {name: {o.owner for o in OPTIONS.values() if o.key.endswith(f".{name}")} for name in shared}
    assert {name: len(owners) for name, owners in found.items()} == dict.fromkeys(shared, 1)


def test_it_says_what_an_option_means_and_where_its_default_comes_from(call: Callable[..., Any]) -> None:
    said = call("explain", "training.lr")
    assert said.code == 0
    assert "number, above 0, at most 10" in said.out
    assert "improved: 0.0002, paper: 2e-06" in said.out
    assert "a hundred times the full" in said.out


def test_it_lists_a_section_and_all(call: Callable[..., Any]) -> None:
    assert call("explain", "stop").out.count("stop.") == 4
    listed = json.loads(call("explain", "--json").out)["options"]
    assert [option["key"] for option in listed] == list(OPTIONS)


def test_a_key_that_there_is_not_is_one_line(call: Callable[..., Any]) -> None:
    said = call("explain", "trainig.lr")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: explain: unknown value 'trainig.lr'; did you mean 'training.lr'?")
