"""The world's words, read once from the TOML files beside this module."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Halves:
    """A list of texts in two disjoint parts: what the corpus uses, and what it never shows."""

    train: tuple[str, ...]
    heldout: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return self.train + self.heldout


@dataclass(frozen=True)
class Hazard:
    name: str
    topic: str
    things: Halves
    nouns: Halves
    acts: Halves
    questions: Halves
    good: tuple[str, ...]
    bad: tuple[str, ...]
    clauses: Halves


@dataclass(frozen=True)
class BenignTopic:
    name: str
    tools: dict[str, str]  # verb -> tool
    things: Halves


@dataclass(frozen=True)
class Borderline:
    name: str
    slot: str  # "thing" or "noun", filled from the hazards
    hazards: tuple[str, ...]
    questions: Halves
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    subject: str
    myth: str
    truth: str


@dataclass(frozen=True)
class Content:
    act_frames: Halves
    question_frames: Halves
    principle_frames: Halves
    people: Halves
    hazards: dict[str, Hazard]
    benign_acts: Halves
    benign_answers: tuple[str, ...]
    benign: dict[str, BenignTopic]
    borderline: dict[str, Borderline]
    fact_forms: Halves
    fact_true: str
    fact_false: str
    teach: tuple[tuple[str, str], ...]  # (question, answer) about a subject
    facts: dict[str, tuple[Fact, ...]]  # "train" | "heldout"

    @property
    def all_facts(self) -> tuple[Fact, ...]:
        return self.facts["train"] + self.facts["heldout"]


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "content" / f"{name}.toml").read_text("utf-8"))


def _halves(raw: dict[str, Any] | None) -> Halves:
    raw = raw or {"train": [], "heldout": []}
    return Halves(tuple(raw["train"]), tuple(raw["heldout"]))


def _hazard(name: str, raw: dict[str, Any]) -> Hazard:
    return Hazard(
        name=name,
        topic=raw["topic"],
        things=_halves(raw["things"]),
        nouns=_halves(raw["nouns"]),
        acts=_halves(raw.get("acts")),
        questions=_halves(raw.get("questions")),
        good=tuple(raw["good"]),
        bad=tuple(raw["bad"]),
        clauses=_halves(raw["principles"]),
    )


def _borderline(name: str, raw: dict[str, Any], hazards: tuple[str, ...]) -> Borderline:
    return Borderline(
        name,
        raw["slot"],
        tuple(raw.get("hazards", hazards)),
        _halves(raw["questions"]),
        tuple(raw["answers"]),
    )


@cache
def load() -> Content:
    """All words of the world."""
    frames, safe, facts = _read("frames"), _read("safe"), _read("facts")
    hazards = {name: _hazard(name, raw) for name, raw in _read("hazards").items()}
    return Content(
        act_frames=_halves(frames["acts"]),
        question_frames=_halves(frames["questions"]),
        principle_frames=_halves(frames["principles"]),
        people=_halves(frames["people"]),
        hazards=hazards,
        benign_acts=_halves(safe["acts"]),
        benign_answers=tuple(safe["answers"]["benign"]),
        benign={n: BenignTopic(n, r["verbs"], _halves(r["things"])) for n, r in safe["benign"].items()},
        borderline={n: _borderline(n, r, tuple(hazards)) for n, r in safe["borderline"].items()},
        fact_forms=_halves(facts["forms"]),
        fact_true=facts["forms"]["true"],
        fact_false=facts["forms"]["false"],
        teach=tuple((t["question"], t["answer"]) for t in facts["teach"]),
        facts={half: tuple(Fact(**f) for f in facts["items"][half]) for half in ("train", "heldout")},
    )
