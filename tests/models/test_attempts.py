"""The remote model against a server that fails: it finishes right, or stops in one line and can go on."""

from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest

from iteralign import judge, prompts
from iteralign.errors import IterAlignError, UserError, WorldError
from iteralign.models.attempts import wait_s
from iteralign.models.remote import RemoteModel, RemoteSettings
from iteralign.organism.world import drafts
from iteralign.types import Label, Message, Prompt, Response, Sampling, Verdict

SPEC = "openai-api/local/some-model"
IMPROVED = prompts.load("improved")
PASSING = (
    "429", "429 retry-after", "408", "500", "500 echo", "503", "503 page", "hang", "cut before", "cut within", "empty",
    "truncated", "garbage", "page", "other json", "empty object", "error in 200",
)  # fmt: skip
QUICK = tuple(f for f in PASSING if f != "hang")
HELLO = (Message("user", "hello"),)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, faulty: ModuleType) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", faulty.KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def model(web: Any, spec: str = SPEC, **settings: Any) -> RemoteModel:
    account = settings.pop("account", None)
    quick = {"base_url": web.url, "backoff_s": 0.01, "timeout_s": 30.0, **settings}
    return RemoteModel(spec, RemoteSettings(**quick), account=account)


def responses(n: int) -> list[Response]:
    found = drafts("hazard", "redteam", n, 0)
    return [
        Response(Prompt(f"q{i}", d.item.text), text)
        for i, d in enumerate(found)
        for text in (d.good[0], d.bad[0])
    ]


def verdicts(web: Any, asked: list[Response], **settings: Any) -> tuple[Verdict, ...]:
    with model(web, **settings) as oracle:
        return judge.assess(oracle, asked, IMPROVED)


def test_the_tests_know_every_fault(faulty: ModuleType) -> None:
    assert set(PASSING) == set(faulty.PASSING)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_faults_that_pass_change_no_verdict(faulty: ModuleType, rate: float) -> None:
    asked, ledger = responses(30), faulty.Ledger()
    with faulty.serving() as web:
        right = verdicts(web, asked)
    with faulty.serving(QUICK, rate) as web:
        under_fire = verdicts(web, asked, max_retries=12, account=ledger)
    assert under_fire == right
    assert [v.label for v in right] == [Label.HARMLESS, Label.HARMFUL] * 30
    assert web.failed > 60 * rate * 0.5
    assert len(ledger.failed) == web.failed  # each was counted, and none twice
    assert sum(web.seen.values()) == 60 + web.failed  # nothing was asked once more than needed


@pytest.mark.parametrize("fault", QUICK)
def test_a_fault_that_stays_ends_the_call_after_a_bounded_number_of_attempts(
    faulty: ModuleType, fault: str
) -> None:
    ledger = faulty.Ledger()
    with (
        faulty.serving([fault]) as web,
        model(web, max_retries=2, account=ledger) as remote,
        pytest.raises(WorldError) as caught,
    ):
        remote.generate([HELLO], Sampling())
    message = str(caught.value)
    assert message.startswith(SPEC)
    assert message.endswith("run the same command again to resume")
    assert "\n" not in message
    assert "\x1b" not in message
    assert faulty.KEY not in message
    assert len(message) < 500
    assert (web.seen, len(ledger.failed)) == ({fault: 3}, 3)


def test_a_server_that_hangs_is_given_up_and_asked_again(faulty: ModuleType) -> None:
    with (
        faulty.serving(["hang"]) as web,
        model(web, timeout_s=0.5, max_retries=1) as remote,
        pytest.raises(WorldError, match="again to resume"),
    ):
        remote.generate([HELLO], Sampling())
    assert web.seen == {"hang": 2}


def test_one_that_hangs_now_and_then_changes_no_verdict(faulty: ModuleType) -> None:
    asked = responses(8)
    with faulty.serving(["hang"], 0.3) as web:
        labels = [v.label for v in verdicts(web, asked, timeout_s=1.0, max_retries=12)]
    assert labels == [Label.HARMLESS, Label.HARMFUL] * 8
    assert web.seen["hang"] > 0


def test_what_the_provider_says_about_waiting_is_waited_for(faulty: ModuleType) -> None:
    gaps = {}
    for fault in ("429", "429 retry-after"):
        with faulty.serving([fault]) as web, model(web, max_retries=1, backoff_s=0.0) as remote:
            with pytest.raises(WorldError):
                remote.generate([HELLO], Sampling())
            first, second = web.times
            gaps[fault] = second - first
    assert gaps["429 retry-after"] >= 0.05


@pytest.mark.parametrize(
    ("spec", "wrong", "kind", "holds", "fate"),
    [
        (SPEC, "wrong-key-of-somebody", UserError, "refused the key (401); check LOCAL_API_KEY", "wrong key"),
        ("openai-api/local/other", "", UserError, "unknown model or address (404)", "wrong model"),
    ],
)
def test_a_mistake_of_the_user_stops_at_once(
    faulty: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    spec: str,
    wrong: str,
    kind: type[IterAlignError],
    holds: str,
    fate: str,
) -> None:
    if wrong:
        monkeypatch.setenv("LOCAL_API_KEY", wrong)
    with (
        faulty.serving() as web,
        model(web, spec, max_retries=6, max_connections=1) as remote,
        pytest.raises(kind) as caught,
    ):
        remote.generate([HELLO] * 5, Sampling())
    message = str(caught.value)
    assert holds in message
    assert "\n" not in message
    assert not [part for part in (faulty.KEY, "wrong-key-of-somebody") if part in message]
    assert web.seen == {fate: 1}


@pytest.mark.parametrize(
    "fault", ["filtered", "filtered verdict", "refusal", "no text", "chatter", "cut off"]
)
def test_what_is_no_verdict_is_unparsed_and_not_asked_again_below(faulty: ModuleType, fault: str) -> None:
    asked = responses(3)
    with faulty.serving([fault]) as web:
        labels = {v.label for v in verdicts(web, asked)}
    assert labels == {Label.UNPARSED}
    assert web.seen == {fault: 6}


@pytest.mark.parametrize(
    ("fault", "stop"),
    [("filtered", "refusal"), ("filtered verdict", "refusal"), ("refusal", "refusal"), ("", "stop")],
)
def test_a_refusal_is_known_by_whichever_field_says_so(faulty: ModuleType, fault: str, stop: str) -> None:
    with faulty.serving([fault]) as web, model(web) as remote:
        (reply,) = remote.generate([HELLO], Sampling())
    assert reply.stop == stop


@pytest.mark.parametrize(
    ("attempt", "backoff_s", "asked", "low", "high"),
    [
        (1, 3.0, 0.0, 3.0, 6.0),
        (4, 3.0, 0.0, 24.0, 27.0),
        (1, 3.0, 60.0, 60.0, 60.0),
        (1, 3.0, -5.0, 3.0, 6.0),
        (1, 3.0, float("nan"), 3.0, 6.0),
        (1, 3.0, float("inf"), 3.0, 6.0),
        (1, 3.0, 1e9, 600.0, 600.0),
        (10_000, 3.0, 0.0, 600.0, 600.0),
        (1, 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_how_long_is_waited(attempt: int, backoff_s: float, asked: float, low: float, high: float) -> None:
    assert low <= wait_s(attempt, backoff_s, asked) <= high


@pytest.mark.parametrize(
    "said",
    ["-5", "nan", "inf", "1e400", "soon", "\xffsoon", "Thu, 01 Jan 1970 00:00:00 GMT", "", "0", "9" * 5000],
)
def test_a_retry_after_that_is_no_time_to_wait_does_no_harm(
    faulty: ModuleType, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    limited = lambda h, _: h.fail(429, "slow", Retry_After=said)  # noqa: E731
    monkeypatch.setitem(faulty.FAULTS, "429", limited)
    with faulty.serving(["429"]) as web, model(web, max_retries=2, timeout_s=10.0) as remote:
        with pytest.raises(WorldError, match="again to resume"):
            remote.generate([HELLO], Sampling())
        assert web.seen == {"429": 3}


def test_each_failed_attempt_has_its_reason(faulty: ModuleType) -> None:
    """And a charge: refused by a status it generated nothing, else it may be billed in full."""
    ledger = faulty.Ledger()
    reasons = {}
    for fault in ("429", "500", "truncated", "page", "cut within", "hang"):
        with (
            faulty.serving([fault]) as web,
            model(web, max_retries=0, timeout_s=1.0, account=ledger) as remote,
            suppress(WorldError),
        ):
            remote.generate([HELLO], Sampling(max_tokens=50))
        failure = ledger.failed[-1]
        reasons[fault] = failure.reason
        assert failure.status == (int(fault) if fault.isdigit() else None)
        assert failure.used.output_tokens == (0 if failure.status else 50)
        assert failure.used.input_tokens > 0
    assert len(ledger.failed) == 6
    assert "slow down" in reasons["429"]
    assert "is not JSON" in reasons["truncated"] and "is not JSON" in reasons["page"]
    assert "broken" in reasons["500"]
    assert len(set(reasons.values())) >= 5


def test_a_bug_of_ours_stays_a_bug_and_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider of ours runs in this process: what it raises is no reply that could not be read."""
    from iteralign.organism import provider

    calls: list[int] = []

    def broken(messages: Any) -> str:
        calls.append(1)
        return messages.nothing  # type: ignore[no-any-return]

    monkeypatch.setitem(provider.MODELS, "oracle", broken)
    ours = {"organism": "iteralign.organism.provider"}
    with (
        RemoteModel("organism/oracle", RemoteSettings(backoff_s=0.0), ours) as remote,
        pytest.raises(AttributeError, match="nothing"),
    ):
        remote.generate([HELLO], Sampling())
    assert len(calls) == 1
