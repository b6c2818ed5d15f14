"""The providers `openai` and `anthropic` with their own SDKs, pointed at loopback by the variables that users set.

OpenAI's newer models are asked by its responses protocol, the others by chat completions; both are tried.
"""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from iteralign import judge, prompts
from iteralign.errors import UserError, WorldError
from iteralign.models.remote import RemoteModel, RemoteSettings
from iteralign.organism.world import drafts
from iteralign.types import Label, Message, Prompt, Response, Sampling

IMPROVED = prompts.load("improved")
VARIABLES = {"openai": "OPENAI", "anthropic": "ANTHROPIC"}
SPECS = ("openai/gpt-4-some", "openai/gpt-5-some", "anthropic/some-model")
PATHS = {"openai": "/v1", "anthropic": ""}
"""What the SDK expects in its base URL: Anthropic's writes the version itself."""
FAULTS = ("429", "429 retry-after", "408", "500", "500 echo", "503", "503 page", "cut before", "cut within", "empty",
          "truncated", "garbage", "page", "other json", "empty object")  # fmt: skip
HELLO = (Message("user", "hello"),)
every_provider = pytest.mark.parametrize("spec", SPECS)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch, faulty: ModuleType) -> Iterator[Any]:
    """Point a provider at a server, as a user does."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    opened: list[RemoteModel] = []

    def model(web: Any, spec: str, key: str = "", **settings: Any) -> RemoteModel:
        provider = spec.partition("/")[0]
        name = VARIABLES[provider]
        monkeypatch.setenv(f"{name}_BASE_URL", f"http://127.0.0.1:{web.server_port}{PATHS[provider]}")
        monkeypatch.setenv(f"{name}_API_KEY", key or faulty.KEY)
        account = settings.pop("account", None)
        quick = {"backoff_s": 0.01, "timeout_s": 30.0, **settings}
        opened.append(RemoteModel(spec, RemoteSettings(**quick), account=account))
        return opened[-1]

    yield model
    for remote in opened:
        remote.close()


@every_provider
def test_verdicts_are_the_same_with_faults_and_without(faulty: ModuleType, at: Any, spec: str) -> None:
    found = drafts("hazard", "redteam", 12, 0)
    asked = [
        Response(Prompt(f"q{i}", d.item.text), t) for i, d in enumerate(found) for t in (d.good[0], d.bad[0])
    ]
    ledger = faulty.Ledger()
    with faulty.serving(FAULTS, 0.3) as web:
        oracle = at(web, spec, max_retries=12, account=ledger)
        verdicts = judge.assess(oracle, asked, IMPROVED)
    assert [v.label for v in verdicts] == [Label.HARMLESS, Label.HARMFUL] * 12
    assert web.failed == len(ledger.failed) > 0
    assert sum(web.seen.values()) == len(asked) + web.failed  # the SDK repeats nothing behind our back


@every_provider
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_ends_resumably(faulty: ModuleType, at: Any, spec: str, fault: str) -> None:
    with faulty.serving([fault]) as web:
        oracle = at(web, spec, max_retries=1)
        with pytest.raises(WorldError) as caught:
            oracle.generate([HELLO], Sampling())
    message = str(caught.value)
    assert message.startswith(spec)
    assert message.endswith("run the same command again to resume")
    assert "\n" not in message
    assert faulty.KEY not in message
    assert web.seen == {fault: 2}


@every_provider
def test_an_error_within_a_200_ends_resumably(faulty: ModuleType, at: Any, spec: str) -> None:
    """Repeated or, as by the responses protocol where the code is none of its own, not."""
    with faulty.serving(["error in 200"]) as web, pytest.raises(WorldError, match="again to resume"):
        at(web, spec, max_retries=1).generate([HELLO], Sampling())
    assert web.seen["error in 200"] in (1, 2)


@every_provider
def test_retry_after_is_waited_for(faulty: ModuleType, at: Any, spec: str) -> None:
    with faulty.serving(["429 retry-after"]) as web:
        oracle = at(web, spec, max_retries=1, backoff_s=0.0)
        with pytest.raises(WorldError):
            oracle.generate([HELLO], Sampling())
    first, second = web.times
    assert second - first >= 0.05


@every_provider
def test_a_wrong_key_stops_at_once(faulty: ModuleType, at: Any, spec: str) -> None:
    with faulty.serving() as web:
        oracle = at(web, spec, key="wrong-key-of-somebody", max_retries=6, max_connections=1)
        with pytest.raises(UserError) as caught:
            oracle.generate([HELLO] * 5, Sampling())
    name = VARIABLES[spec.partition("/")[0]]
    message = str(caught.value)
    assert message == f"{spec}: the provider refused the key (401); check {name}_API_KEY"
    assert web.seen == {"wrong key": 1}


@pytest.mark.parametrize("spec", ["openai/gpt-4-other", "openai/gpt-5-other", "anthropic/other"])
def test_an_unknown_model_stops_at_once(faulty: ModuleType, at: Any, spec: str) -> None:
    with faulty.serving() as web:
        oracle = at(web, spec, max_retries=6, max_connections=1)
        with pytest.raises(UserError, match=r"unknown model or address \(404\)"):
            oracle.generate([HELLO], Sampling())
    assert web.seen == {"wrong model": 1}


@every_provider
@pytest.mark.parametrize("fault", ["filtered", "filtered verdict", "refusal"])
def test_a_refusal_is_no_verdict(faulty: ModuleType, at: Any, spec: str, fault: str) -> None:
    made = drafts("hazard", "redteam", 1, 0)[0]
    with faulty.serving([fault]) as web:
        (verdict,) = judge.assess(
            at(web, spec), [Response(Prompt("q", made.item.text), made.bad[0])], IMPROVED
        )
    assert verdict.label is Label.UNPARSED
    assert web.seen == {fault: 1}  # a refusal is not argued with


@every_provider
def test_text_stop_and_usage_come_through(faulty: ModuleType, at: Any, spec: str) -> None:
    made = drafts("hazard", "redteam", 1, 0)[0]
    asked = IMPROVED.render("judge", request=made.item.text, response=made.bad[0])
    with faulty.serving() as web:
        (reply,) = at(web, spec).generate([asked], Sampling())
    assert reply.stop == "stop"
    assert '"label": "harmful"' in reply.text
    with faulty.serving(["filtered"]) as web:  # short enough for the server's count to be one
        (reply,) = at(web, spec).generate([HELLO], Sampling())
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (7, 3)
    with faulty.serving(["cut off"]) as web:
        (reply,) = at(web, spec).generate([asked], Sampling())
    assert reply.stop == "length"


@pytest.mark.parametrize("spec", ["openai/gpt-4-guard", "openai/some-guard", "anthropic/some-guard"])
def test_a_guard_behind_a_native_provider(faulty: ModuleType, at: Any, spec: str) -> None:
    """A conversation that ends with the assistant's turn reaches the server as it is."""
    from iteralign.prompts import guarding

    made = drafts("hazard", "redteam", 1, 0)[0]
    asked = [Response(Prompt("q", made.item.text), text) for text in (made.good[0], made.bad[0])]
    with faulty.serving() as web:
        verdicts = judge.assess(at(web, spec), asked, guarding.load("llama-guard"))
    assert [v.label for v in verdicts] == [Label.HARMLESS, Label.HARMFUL]
