"""`iteralign plan`: what it prints, and that it says what it does not know."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SMALL = ("plan", "quickstart", "--policy", "model", "--set", "redteam.n=24", "--set", "redteam.batch=12")


def test_the_page(here: Path, call: Callable[..., Any]) -> None:
    said = call(*SMALL)
    assert (said.code, said.err) == (0, "")
    text = " ".join(said.out.split())
    assert "quickstart: at most" in text
    for fact in (
        "low mid high",
        "answers that fail 10% 30% 60%",
        "price none",
        "time – – –",
        "Not calibrated",
    ):
        assert fact in text
    assert "organism/oracle: local, costs nothing." in text
    assert not (here / "runs" / "quickstart").exists()


def test_json_has_the_sums_and_every_iteration(here: Path, call: Callable[..., Any]) -> None:
    plan = json.loads(call(*SMALL, "--json").out)
    assert (plan["schema"], plan["calibrated"], plan["calibration"]) == (1, False, {})
    mid = plan["outlooks"]["mid"]
    assert len(mid["iterations"]) == plan["iterations"]
    assert mid["total"]["oracle"]["calls"] > sum(i["oracle"]["calls"] for i in mid["iterations"])
    assert (mid["total"]["seconds"], mid["total"]["usd"]) == (None, 0.0)


def test_an_unknown_price_is_said_and_a_file_of_prices_ends_that(
    here: Path, call: Callable[..., Any]
) -> None:
    unknown = call(*SMALL, "--oracle", "openai/gpt-9")
    assert "openai/gpt-9: price not known" in unknown.out
    assert "price – – –" in " ".join(unknown.out.split())
    (here / "p.toml").write_text('["openai/gpt-9"]\ninput = 1\noutput = 2\n', encoding="utf-8")
    known = call(*SMALL, "--oracle", "openai/gpt-9", "--prices", "p.toml")
    assert "openai/gpt-9: 1 in, 2 out, USD a million (your own)" in known.out
    assert "USD" in known.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["check", "quickstart", "--policy", "model", "--oracle", "openai/gpt-9", "--set", "budget.usd=1"],
            "gpt-9",
        ),
        (["plan", "quickstart", "--prices", "missing.toml"], "--prices missing.toml: cannot be read"),
        (["plan", "quickstart", "--set", "budget.usb=1"], "did you mean 'usd'"),
    ],
)
def test_mistakes(here: Path, call: Callable[..., Any], arguments: list[str], says: str) -> None:
    said = call(*arguments)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert says in said.err
