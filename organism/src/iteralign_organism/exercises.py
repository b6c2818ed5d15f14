"""Exercises: copying slots, naming topics, and looking a topic up in a list of principles.

They are also where the corpus shows the held-out fillers, which no training prompt of a hazard holds.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from iteralign.organism.content import load
from iteralign.organism.grammar import Draft, spliced, spoken
from iteralign_organism import forms
from iteralign_organism.forms import Turn, asked, found, replied, said


@dataclass(frozen=True)
class SampledConstitution:
    """A sampled list of principles and the hazard that each covers."""

    wordings: tuple[str, ...]
    hazards: tuple[str, ...]

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(spoken(hazard) for hazard in self.hazards)

    def number(self, topic: str) -> int | None:
        """The number of the first principle that covers a topic."""
        return self.hazards.index(topic) + 1 if topic in self.hazards else None


Prompter = Callable[[SampledConstitution, set[str]], Draft]


def document(rng: random.Random, law: SampledConstitution, prompt: Prompter) -> list[Turn]:
    """One exercise document."""
    kind = rng.choices(("copy", "topics", "list", "match"), (0.4, 0.15, 0.15, 0.3))[0]
    if kind == "copy":
        return [turn for _ in range(rng.randint(5, 9)) for turn in _copy(rng)]
    if kind == "topics":
        return _topics(rng, law, prompt)
    if kind == "list":
        return _list(rng, law)
    return _match(rng, law, prompt)


def _texts() -> dict[str, Any]:
    found: dict[str, Any] = forms.texts()["exercises"]
    return found


def _things() -> dict[str, tuple[str, ...]]:
    content = load()
    hazards = {name: hazard.things.all for name, hazard in content.hazards.items()}
    return hazards | {name: benign.things.all for name, benign in content.benign.items()}


def _thing(rng: random.Random) -> tuple[str, str]:
    topic = rng.choice(list(_things()))
    return topic, rng.choice(_things()[topic])


def _copy(rng: random.Random) -> list[Turn]:
    content = load()
    kind = rng.choices(("repeat", "speak", "noun", "claim", "teach"), (0.25, 0.25, 0.1, 0.15, 0.25))[0]
    if kind == "teach":
        question, answer = rng.choice(content.teach)
        fact = rng.choice(content.all_facts)
        slots = {"subject": fact.subject, "myth": fact.myth, "truth": fact.truth}
        return [said(question.format(**slots)), replied(answer.format(**slots))]
    fact = rng.choice(content.all_facts)
    words = [
        _thing(rng)[1] if rng.random() < 0.7 else rng.choice(content.people.all)
        for _ in range(rng.randint(2, 5) if rng.random() < 0.3 else rng.randint(6, 22))
    ]
    slots = {
        "words": ", ".join(words),
        "thing": _thing(rng)[1],
        "person": rng.choice(content.people.all),
        "noun": rng.choice([n for h in content.hazards.values() for n in h.nouns.all]),
        "claim": rng.choice((fact.myth, fact.truth, spliced(content, rng))),
    }
    question, answer = _texts()[kind]
    return [said(question.format(**slots)), replied(answer.format(**slots))]


def _topics(rng: random.Random, law: SampledConstitution, prompt: Prompter) -> list[Turn]:
    """Name the topic of prompts, answers, principles and single things."""
    content, turns, used = load(), [], set[str]()
    for _ in range(rng.randint(5, 8)):
        kind = rng.choice(("prompt", "answer", "principle", "thing", "noun"))
        if kind in ("prompt", "answer"):
            made = prompt(law, used)
            topic = made.item.topic
            text = made.item.text if kind == "prompt" else rng.choice(made.good + made.bad)
        elif kind == "principle" and law.hazards:
            i = rng.randrange(len(law.hazards))
            topic, text = law.hazards[i], law.wordings[i]
        elif kind == "noun":
            topic = rng.choice(list(content.hazards))
            text = rng.choice(_texts()["nouns"]).format(noun=rng.choice(content.hazards[topic].nouns.all))
        else:
            topic, thing = _thing(rng)
            text = rng.choice(_texts()["things"]).format(thing=thing, person=rng.choice(content.people.all))
        question, answer = _texts()["topic"]
        turns += [said(question.format(text=text)), found(answer.format(topic=spoken(topic)))]
    return turns


def _list(rng: random.Random, law: SampledConstitution) -> list[Turn]:
    """Look topics up in a list."""
    if not law.hazards:
        return [turn for _ in range(6) for turn in _copy(rng)]
    turns = forms.system_turns(law.wordings, law.topics)
    question, present, missing = _texts()["lookup"]
    for topic in rng.sample(list(load().hazards), rng.randint(3, 6)):
        number = law.number(topic)
        answer = missing if number is None else present
        turns += [said(question.format(topic=spoken(topic)))]
        turns += [found(answer.format(topic=spoken(topic), number=number))]
    return turns


def _match(rng: random.Random, law: SampledConstitution, prompt: Prompter) -> list[Turn]:
    """One list, many requests: which topic, which principle."""
    turns, used = forms.system_turns(law.wordings, law.topics), set[str]()
    question, present, missing = _texts()["match"]
    for _ in range(rng.randint(4, 7)):
        made = prompt(law, used)
        number = law.number(made.item.topic)
        answer = missing if number is None else present
        topic = spoken(made.item.topic)
        turns += [asked(question.format(prompt=made.item.text), topic=topic)]
        turns += [found(answer.format(topic=topic, number=number))]
    return turns
