"""No text keeps eight characters in a row of a key, and no other text is touched."""

import base64
import json
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign.security.keys import SHORTEST, Keys, keys_of, masked

KEY = "sk-" + "planted-0123456789abcdef"
OTHER = "Zw9_q8-Xy7.v6~U5"
BOTH = Keys(frozenset({KEY, OTHER}))
around = st.text(alphabet="aeZ9 .\n\x00\ud83d😀", max_size=9)


def runs(key: str) -> set[str]:
    return {key[i : i + SHORTEST] for i in range(len(key) - SHORTEST + 1)}


@given(
    parts=st.lists(
        st.tuples(around, st.sampled_from([KEY, OTHER]), st.integers(0, 26), st.integers(0, 27)), max_size=6
    ),
    end=around,
)
def test_no_run_of_a_key_is_left(parts: list[tuple[str, str, int, int]], end: str) -> None:
    text = "".join(before + key[a:b] for before, key, a, b in parts) + end
    clean = BOTH.redact(text)
    assert not [run for key in (KEY, OTHER) for run in runs(key) if run in clean]
    if not [run for key in (KEY, OTHER) for run in runs(key) if run in text]:
        assert clean == text


@pytest.mark.parametrize("shift", range(8))
@pytest.mark.parametrize("start", range(len(KEY) - SHORTEST + 1))
def test_eight_characters_anywhere_are_taken_out_and_seven_are_not(start: int, shift: int) -> None:
    before = "." * shift
    assert BOTH.redact(f"{before}{KEY[start : start + 8]}!") == f"{before}***!"
    seven = f"{before}{KEY[start : start + 7]}!"
    assert BOTH.redact(seven) == seven


WRITTEN = {
    "as it is": lambda key: key,
    "upper case": str.upper,
    "JSON escapes": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "JSON escapes, here and there": lambda key: "".join(
        f"\\u{ord(c):04X}" if i % 3 else c for i, c in enumerate(key)
    ),
    "escapes in escapes": lambda key: "".join(f"\\\\u{ord(c):04x}" for c in key),
    "percent": lambda key: "".join(f"%{ord(c):02x}" for c in key),
}


@pytest.mark.parametrize("how", WRITTEN)
@given(before=st.text(max_size=9), after=st.text(max_size=9))
def test_a_key_that_a_reader_would_restore_is_taken_out(how: str, before: str, after: str) -> None:
    """A judge's reply is JSON, is unescaped, and some of its texts are put into lower case."""
    reply = (
        f'{{{json.dumps(before)}: {json.dumps(after)[:-1]}{WRITTEN[how](KEY)}", "x": [{json.dumps(after)}]}}'
    )
    clean = BOTH.redact(reply)
    read = unquote(json.dumps(json.loads(clean), ensure_ascii=False)).lower()
    assert not [run for run in runs(KEY.lower()) if run in read]
    assert json.loads(clean)["x"] == [after]


ODD_KEYS = {
    "a signature of an address": "aZ3%2Fq9Lm%2BXy7Wq%3D",
    "backslashes": "ab\\cd\\efgh\\ijkl",
    "what looks like escapes": "pre%41bc\\u0041d%20efgh",
    "a quote": 'q"uo\\te"0123456789',
}


@pytest.mark.parametrize("kind", ODD_KEYS)
@pytest.mark.parametrize(
    "written",
    [
        lambda key: key,
        unquote,
        lambda key: quote(key, safe=""),
        lambda key: json.dumps(key)[1:-1],
        lambda key: json.dumps(json.dumps(key))[1:-1],
    ],
    ids=["as it is", "read from an address", "put into an address", "in JSON", "in JSON in JSON"],
)
def test_a_key_that_holds_escapes_is_seen_in_each_form(kind: str, written: Any) -> None:
    key = ODD_KEYS[kind]
    for keys in (keys_of([key], [], {}, {}), keys_of([], [f"https://h.example/v1?sv=1&sig={key}"], {}, {})):
        assert keys.redact(f"echo {written(key)} end").replace('"', "").replace("\\", "") == "echo *** end"


@pytest.mark.parametrize("text", ["\\" * 400_000, "%41" * 130_000, "\\u0041" * 60_000])
def test_escapes_take_no_quadratic_time(text: str) -> None:
    """A hang guard: looking for `\\…u` at each of many backslashes took minutes."""
    assert BOTH.redact(text) == text


def test_a_long_text_and_many_keys_take_no_product_of_both() -> None:
    """A hang guard: 4 MB against 200 keys of 200 characters is 40,000 runs."""
    keys = Keys(
        frozenset(f"{i:03d}" + "".join(chr(33 + (i * j) % 90) for j in range(200)) for i in range(200))
    )
    text = "An ordinary sentence. " * 180_000
    assert keys.redact(text) == text


def test_an_address_and_arguments_may_hold_keys() -> None:
    keys = keys_of(
        [KEY],
        ["https://someone:pass%20word-1@host.example/v1?api-version=2&sig=signature-123", "http://[bad"],
        {"default_headers": {"X-Extra": "hidden-in-a-header"}, "organization": "an-organization"},
        {"SOME_TOKEN": "/a/path/of/tokens", "HOME": "/home/someone-else"},
    )
    login = base64.b64encode(b"someone:pass word-1").decode()
    for secret in (KEY, "pass word-1", "pass%20word-1", "signature-123", "hidden-in-a-header", login):
        assert secret[1:-1] not in keys.redact(f"echo {secret} end")
    plain = "an-organization /home/someone-else /a/path/of host.example"
    assert keys.redact(plain) == plain
    assert keys.redact("x /a/path/of/tokens x") == "x *** x"  # of the environment only the whole


def test_nested_values_are_masked_by_name_and_scrubbed_by_value() -> None:
    assert masked({"a": {"api_key": "x", "b": [{"token": "y", "c": 1}]}}) == {
        "a": {"api_key": "***", "b": [{"token": "***", "c": 1}]}
    }
    assert BOTH.scrubbed({"a": [KEY, 1, None, {"Bearer " + KEY: "bearer of news"}]}) == {
        "a": ["***", 1, None, {"***": "*** news"}]
    }


def test_without_keys_nothing_changes() -> None:
    assert Keys().redact(f"text {KEY}") == f"text {KEY}"


@pytest.mark.parametrize("name", ["tokenizer_path", "max_tokens", "keywords", "keyword_args"])
def test_a_name_that_only_begins_like_a_secret_is_none(name: str) -> None:
    assert masked({name: "/models/llama-chat"}) == {name: "/models/llama-chat"}
    assert not keys_of([], ["http://host/v1?api-version=2024-02-01"], {name: "/models/llama-chat"}, {}).values
