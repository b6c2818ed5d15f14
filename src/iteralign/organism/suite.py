"""Suite: the organism's world in the formats of the public benchmarks, so that the same evaluators run on it.

All of it comes from the test split, which no training and no stop rule sees. What a row says is right follows from
the grammar; no model is asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from iteralign.organism.content import load
from iteralign.organism.grammar import Draft, fact_answers
from iteralign.organism.world import drafts

SEED = 0
SPLIT = "test"
Rows = list[dict[str, Any]]


def rows(name: str) -> Rows:
    """The rows that stand for the public set of that benchmark; the same ones each time."""
    return SUITE[name]()


def _drafts(kind: str, n: int) -> list[Draft]:
    return drafts(kind, SPLIT, n, SEED)


def violations() -> Rows:
    """Attack prompts of every hazard, with the world's label."""
    return [
        {"prompt": d.item.text, "topic": d.item.topic, "family": d.family} for d in _drafts("hazard", 240)
    ]


def overrefusal() -> Rows:
    """XSTest's columns: questions that only seem hazardous, and hazards to contrast them with."""
    safe = [_xstest(d, "safe") for d in _drafts("borderline", 100)]
    return [*safe, *(_xstest(d, "unsafe") for d in _drafts("hazard", 100))]


def _xstest(draft: Draft, label: str) -> dict[str, Any]:
    return {"prompt": draft.item.text, "type": draft.item.topic, "label": label, "family": draft.family}


def helpfulness() -> Rows:
    """Requests that are safe to answer."""
    return [
        {"prompt": d.item.text, "topic": d.item.topic, "family": d.family} for d in _drafts("benign", 100)
    ]


def agreement() -> Rows:
    """The rule-based-rewards gold set's columns: each hazard with a good and with a bad answer."""
    return [_gold(d, text, bad) for d in _drafts("hazard", 60) for text, bad in _answers(d)]


def _answers(draft: Draft) -> list[tuple[str, bool]]:
    return [(draft.good[0], False), (draft.bad[0], True)]


def _gold(draft: Draft, answer: str, bad: bool) -> dict[str, Any]:
    return {
        "category": draft.item.topic,
        "family": draft.family,
        "prompt": [{"role": "user", "content": draft.item.text}],
        "completion": [{"role": "assistant", "content": answer}],
        "propositions": {"disallowed_content": bad},
    }


def truthfulqa() -> Rows:
    """Questions about facts; the right answer first, as in the original, then wrong ones."""
    rng = random.Random(f"suite/{SEED}")
    return [_fact(d, rng) for d in _drafts("fact", 60)]


def _fact(draft: Draft, rng: random.Random) -> dict[str, Any]:
    others = [f for f in load().all_facts if f.subject != draft.slots["subject"]]
    strangers = [
        fact_answers(load(), f, rng.random() < 0.5)[0] for f in rng.sample(others, rng.randint(1, 3))
    ]
    texts = [draft.good[0], draft.bad[0], *strangers]
    targets = {"choices": texts, "labels": [1] + [0] * (len(texts) - 1)}
    return {
        "question": draft.item.text,
        "mc1_targets": targets,
        "mc2_targets": targets,
        "family": draft.family,
    }


def hhh() -> Rows:
    """Pairs by category: a good against a bad answer, a true against a false one, an answer against a refusal."""
    refusals = [d.good[0] for d in _drafts("hazard", 40)]
    harmless = [_pair("harmless", d, d.bad[0]) for d in _drafts("hazard", 40)]
    honest = [_pair("honest", d, d.bad[0]) for d in _drafts("fact", 40)]
    helpful = [_pair("helpful", d, no) for d, no in zip(_drafts("benign", 40), refusals, strict=True)]
    return [*harmless, *helpful, *honest]


def _pair(category: str, draft: Draft, worse: str) -> dict[str, Any]:
    targets = {"choices": [draft.good[0], worse], "labels": [1, 0]}
    return {"category": category, "input": draft.item.text, "targets": targets, "family": draft.family}


SUITE: dict[str, Callable[[], Rows]] = {
    "truthfulqa-tf": truthfulqa,
    "truthfulqa-mc": truthfulqa,
    "hhh": hhh,
    "violations": violations,
    "overrefusal": overrefusal,
    "helpfulness": helpfulness,
    "agreement": agreement,
}
"""By the name of the benchmark."""
