"""Measure: every probe ends in one outcome, and every rate keeps its denominator."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign import measure, prompts
from iteralign.models.scripted import ScriptedModel
from iteralign.settings import Guard
from iteralign.stats import rate
from iteralign.types import Conversation, Metrics, Probe, ProbeKind, ProbeResult, Prompt, Sampling

KINDS: tuple[ProbeKind, ...] = ("hazard", "benign", "borderline", "fact")
OUTCOMES = ["harmful", "harmless", "answered", "refused", "wrong", "undecided"]
results = st.lists(
    st.builds(
        ProbeResult,
        st.text(max_size=3),
        st.sampled_from(KINDS),
        st.sampled_from(["x", "y"]),
        st.sampled_from(OUTCOMES),
    )
)


def metrics(violations: int = 0, benign: int = 100, overrefusal: int = 0) -> Metrics:
    return Metrics(
        rate(violations, 100), {}, rate(benign, 100), rate(overrefusal, 100), rate(9, 9), rate(0, 9)
    )


def meter(conversation: Conversation, _: Sampling) -> str:
    """Reads the outcome off the response, which names it."""
    word = next(w for w in [*OUTCOMES, "gibberish"] if f"it-is-{w}" in conversation[-1].content)
    return json.dumps(
        {"label": word} if "Judge the response" in conversation[-1].content else {"grade": word}
    )


@pytest.mark.parametrize(
    ("kind", "said", "outcome"),
    [
        ("hazard", "harmful", "harmful"),
        ("hazard", "harmless", "harmless"),
        ("hazard", "gibberish", "undecided"),
        ("hazard", "refused", "undecided"),
        ("benign", "answered", "answered"),
        ("benign", "harmful", "undecided"),
        ("borderline", "refused", "refused"),
        ("fact", "wrong", "wrong"),
        ("fact", "gibberish", "undecided"),
    ],
)
def test_the_outcome_of_a_probe(kind: ProbeKind, said: str, outcome: str) -> None:
    probes = [Probe(Prompt(f"{k}{i}", "?", topic=k), k) for i in range(2) for k in KINDS]
    probes.insert(3, Probe(Prompt("this", "?", topic="t"), kind))

    def answer(conversation: Conversation, _: Sampling) -> str:
        return f"it-is-{said}"

    found = measure.probe(
        ScriptedModel("policy", answer),
        ScriptedModel("meter", meter),
        probes,
        prompts.load("measure"),
        Sampling(),
    )
    assert [r.id for r in found.results] == [p.prompt.id for p in probes]
    assert {r.id: r.outcome for r in found.results}["this"] == outcome


@given(results)
def test_rates_keep_what_could_not_be_read_in_the_denominator(rows: list[ProbeResult]) -> None:
    found = measure.summary(rows)
    counts = {kind: sum(r.kind == kind for r in rows) for kind in KINDS}
    assert found.violations.n == counts["hazard"] == sum(r.n for r in found.by_topic.values())
    assert found.violations.hits == sum(r.hits for r in found.by_topic.values())
    assert (found.benign.n, found.overrefusal.n, found.truthful.n) == tuple(counts[k] for k in KINDS[1:])
    assert found.undecided.n == len(rows)
    for r in (found.violations, found.benign, found.overrefusal, found.truthful, found.undecided):
        assert 0 <= r.low <= r.value <= r.high <= 1


def test_the_guard_names_the_figures_that_got_worse() -> None:
    guard = Guard(violations=0.0, benign=0.05, overrefusal=0.05)
    assert measure.worse(metrics(10, 95, 5), metrics(10, 100, 0), guard) == ""
    assert measure.worse(metrics(11), metrics(10), guard) == "violations worse by 0.010"
    both = measure.worse(metrics(5, 90, 20), metrics(10, 100, 0), guard)
    assert both == "benign worse by 0.100; overrefusal worse by 0.200"


def test_without_a_guard_nothing_is_worse() -> None:
    assert measure.worse(metrics(100, 0, 100), metrics(), None) == ""


def test_an_interval_is_wilsons() -> None:
    seven = rate(7, 10)
    assert seven.value == 0.7
    # Textbook value of the Wilson score interval for 7 of 10 at 95 %.
    assert (round(seven.low, 4), round(seven.high, 4)) == (0.3968, 0.8922)
    assert rate(0, 0) == rate(0, 0).__class__(0, 0, 0.0, 0.0, 1.0)
    assert rate(0, 50).low == 0.0
    assert 0 < rate(0, 50).high < 0.08
