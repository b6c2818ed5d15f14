"""Prices: known ones are dated and sourced, the user's go above them, an unknown one is never guessed."""

from pathlib import Path

import pytest

from iteralign.budget import prices
from iteralign.config.schema import Config, load, validated
from iteralign.errors import UserError
from iteralign.record.calls import Spent

MINI = "openai/gpt-5-mini"


def test_every_shipped_price_says_where_and_when_it_was_read() -> None:
    for name, price in prices.shipped().items():
        assert "/" in name
        assert price.source.startswith("https://")
        assert price.seen >= "2026"
        assert 0 < price.input < price.output


@pytest.mark.parametrize(
    ("model", "known"),
    [
        (MINI, True),
        (f"{MINI}-2025-08-07", True),
        ("anthropic/claude-sonnet-4-5-20250929", True),
        ("openai/gpt-5-huge", False),  # not the price of its smaller sister
        ("openai/gpt", False),
        ("elsewhere/gpt-5-mini", False),
    ],
)
def test_a_name_matches_whole_or_as_a_dated_snapshot(model: str, known: bool) -> None:
    assert (prices.Prices({}).of(model) is not None) is known


def test_usd_of_tokens_and_of_nothing_known() -> None:
    table = prices.Prices({})
    assert table.usd(MINI, Spent(1, 1_000_000, 500_000)) == pytest.approx(0.25 + 1.0)
    assert table.usd("openai/gpt-9", Spent(1, 1, 1)) is None
    assert table.usd("organism/oracle", Spent(1, 1, 1)) == 0.0


def test_the_users_price_goes_above() -> None:
    config = validated({"prices": {MINI: {"input": 1, "output": 2}}})
    assert prices.of(config).usd(MINI, Spent(1, 1_000_000, 1_000_000)) == 3.0


def test_a_budget_in_money_needs_every_price() -> None:
    oracle = {"model": MINI, "judge": "openai/gpt-9"}
    prices.require(validated({"oracle": oracle}))
    with pytest.raises(UserError, match=r"openai/gpt-9 \(oracle.judge\) is not known.*\[prices") as caught:
        prices.require(validated({"oracle": oracle, "budget": {"usd": 1}}))
    assert "\n" not in str(caught.value)
    own = {"openai/gpt-9": {"input": 0, "output": 0}}
    prices.require(validated({"oracle": oracle, "budget": {"usd": 1}, "prices": own}))


def test_prices_in_a_config_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[prices."openai/gpt-4.1"]\ninput = 9\noutput = 10\n')
    assert prices.of(load(path)).of("openai/gpt-4.1").input == 9  # type: ignore[union-attr]
    path.write_text('[prices."openai/gpt-4.1"]\ninptu = 9\noutput = 10\n')
    with pytest.raises(UserError, match="did you mean 'input'"):
        load(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x", "not valid TOML"),
        ('["a/b"]\ninput = -1\noutput = 1', "prices.a/b.input"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_file_of_prices(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "p.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=says):
        prices.read(path)


def test_the_models_of_the_roles() -> None:
    config = validated({"oracle": {"model": MINI, "meter": "organism/oracle"}})
    assert prices.models(config) == {"judge": MINI, "proposer": MINI, "meter": "organism/oracle"}
    assert prices.models(Config())["judge"] == "organism/oracle"
