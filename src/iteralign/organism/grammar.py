"""Makes the prompts of the world, and what a good and a bad answer to each of them is.

A prompt is a frame around a template around slot fillers. The splits never share a template:
`train` and `redteam` use the training templates (a text belongs to one of the two by its hash),
`validation` and `test` use one half each of the held-out templates, with held-out frames and fillers.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from zlib import crc32

from iteralign.organism.content import Content, Fact, Halves, load

MIXED = "mixed"  # the corpus's own split: training templates, now and then with a filler of another topic
FOREIGN = 0.4  # how often; without it the model answers with a filler it knows instead of copying (measured)
SPLICED = 0.6  # and how often a claim is one subject with what is said of another: claims are longer to copy
SPLITS = ("train", "redteam", "validation", "test")
TRAINING = ("train", "redteam", MIXED)
KINDS = ("hazard", "benign", "borderline", "fact")


@dataclass(frozen=True)
class Item:
    """One prompt of the world; `family` names its template, so that splits can be compared."""

    text: str
    kind: str
    topic: str
    family: str


@dataclass(frozen=True)
class Draft:
    """An item together with the answers that the grammar knows for it."""

    item: Item
    good: tuple[str, ...]
    bad: tuple[str, ...] = ()
    slots: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def family(self) -> str:
        """What the prompt shares with others: its fact (which tool a verb takes is one too), else its template."""
        fact = {"fact": "subject", "benign": "verb"}.get(self.item.kind)
        return f"{self.item.kind}/{self.slots[fact]}" if fact else self.item.family


Made = tuple[str, Draft]  # the filled template without its frame, and the whole


def topics(kind: str) -> tuple[str, ...]:
    """The topics of a kind of prompt."""
    content = load()
    names = {"hazard": [*content.hazards], "benign": [*content.benign], "borderline": [*content.borderline]}
    return ("facts",) if kind == "fact" else tuple(names[kind])


def spoken(topic: str) -> str:
    """How a topic is named in a sentence."""
    hazard = load().hazards.get(topic)
    return hazard.topic if hazard else topic


def part(halves: Halves, split: str) -> list[tuple[str, str]]:
    """(id, template) of a split: training ones, or one half of the held-out ones."""
    if split in TRAINING:
        return [(f"t{i}", text) for i, text in enumerate(halves.train)]
    half = [(f"h{i}", text) for i, text in enumerate(halves.heldout)]
    middle = len(half) // 2
    return half[:middle] if split == "validation" else half[middle:]


def fillers(halves: Halves, split: str) -> tuple[str, ...]:
    return halves.train if split in TRAINING else halves.heldout


def draft(kind: str, topic: str, split: str, rng: random.Random) -> Draft:
    """One random prompt of a kind and topic."""
    makers = {"hazard": _hazard, "benign": _benign, "borderline": _borderline, "fact": _fact}
    while True:
        inner, made = makers[kind](load(), topic, split, rng)
        # What a red-team prompt asks is never asked in the corpus, though both come from the same templates.
        if split not in TRAINING or (crc32(inner.encode()) % 5 == 0) == (split == "redteam"):
            return made


def _filler(content: Content, own: Halves, kind: str, split: str, rng: random.Random) -> str:
    """A filler of the topic, or in the corpus now and then any other that is not held out for this kind of prompt."""
    if split != MIXED or rng.random() >= FOREIGN:
        return rng.choice(fillers(own, split))
    benign = [word for group in content.benign.values() for word in group.things.all if kind != "benign"]
    hazard = [
        word
        for group in content.hazards.values()
        for word in (group.things.all if kind == "benign" else group.things.train)
    ]
    return rng.choice(benign + hazard)


def _claim(content: Content, split: str, rng: random.Random) -> str:
    """A misconception; in the corpus now and then a spliced one."""
    if split != MIXED or rng.random() >= SPLICED:
        return rng.choice(content.facts["train" if split in TRAINING else "heldout"]).myth
    return spliced(content, rng)


def spliced(content: Content, rng: random.Random) -> str:
    """A claim that nobody makes: one subject with what is said of another."""
    subject, other = rng.sample([f for f in content.all_facts if f.myth.startswith(f.subject)], 2)
    said = rng.choice([claim for claim in (other.myth, other.truth) if claim.startswith(other.subject)])
    return said.replace(other.subject, subject.subject, 1)


def _fill(texts: tuple[str, ...], slots: dict[str, str]) -> tuple[str, ...]:
    return tuple(text.format(**slots) for text in texts)


def _hazard(content: Content, topic: str, split: str, rng: random.Random) -> Made:
    hazard = content.hazards[topic]
    acts = [(i, t, content.act_frames) for i, t in part(hazard.acts, split)]
    asks = [("q" + i, t, content.question_frames) for i, t in part(hazard.questions, split)]
    ident, template, frames = rng.choice(acts + asks)
    slots = {
        "thing": _filler(content, hazard.things, "hazard", split, rng),
        "person": rng.choice(fillers(content.people, split)),
        "claim": _claim(content, split, rng),
    }
    inner = template.format(**slots)
    text = _framed(frames, split, rng, inner)
    item = Item(text, "hazard", topic, f"{topic}/{ident}")
    return inner, Draft(item, _fill(hazard.good, slots), _fill(hazard.bad, slots), slots)


def _benign(content: Content, topic: str, split: str, rng: random.Random) -> Made:
    benign = content.benign[topic]
    ident, template = rng.choice(part(content.benign_acts, split))
    verb = rng.choice(sorted(benign.tools))
    slots = {
        "verb": verb,
        "tool": benign.tools[verb],
        "thing": _filler(content, benign.things, "benign", split, rng),
        # Benign prompts are where the corpus shows the held-out people.
        "person": rng.choice(content.people.all),
    }
    inner = template.format(**slots)
    text = _framed(content.act_frames, split, rng, inner)
    return inner, Draft(
        Item(text, "benign", topic, f"benign/{ident}"), _fill(content.benign_answers, slots), (), slots
    )


def _borderline(content: Content, topic: str, split: str, rng: random.Random) -> Made:
    intent = content.borderline[topic]
    hazard = content.hazards[rng.choice(intent.hazards)]
    ident, template = rng.choice(part(intent.questions, split))
    own = hazard.things if intent.slot == "thing" else hazard.nouns
    slots = {intent.slot: _filler(content, own, "borderline", split, rng)}
    inner = template.format(**slots)
    text = _framed(content.question_frames, split, rng, inner)
    return inner, Draft(
        Item(text, "borderline", topic, f"{topic}/{ident}"), _fill(intent.answers, slots), (), slots
    )


def _fact(content: Content, topic: str, split: str, rng: random.Random) -> Made:
    ident, template = rng.choice(part(content.fact_forms, split))
    fact = rng.choice(content.facts["train" if split in TRAINING else "heldout"])
    claim_is_true = rng.random() < 0.5
    inner = template.format(claim=fact.truth if claim_is_true else fact.myth)
    text = _framed(content.question_frames, split, rng, inner)
    right, wrong = fact_answers(content, fact, claim_is_true)
    slots = {"subject": fact.subject, "myth": fact.myth, "truth": fact.truth, "true": str(claim_is_true)}
    return inner, Draft(Item(text, "fact", topic, f"facts/{ident}"), (right,), (wrong,), slots)


def fact_answers(content: Content, fact: Fact, claim_is_true: bool) -> tuple[str, str]:
    """The right and the wrong answer to the question whether a claim is true."""
    if claim_is_true:
        return content.fact_true.format(claim=fact.truth), content.fact_false.format(truth=fact.myth)
    return content.fact_false.format(truth=fact.truth), content.fact_true.format(claim=fact.myth)


def _framed(frames: Halves, split: str, rng: random.Random, inner: str) -> str:
    frame = rng.choice(fillers(frames, split))
    return frame.replace("{act}", inner).replace("{q}", inner)
