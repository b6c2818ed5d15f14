"""The training conversations: the forms under sampled constitutions, and the exercises.

Every document holds many short turns under one list of principles: matching a principle to a prompt is
then asked several times a document, which teaches it far better than one question a document does.
No topic comes twice in a document, so that an earlier answer never gives a later one away.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from iteralign.organism.content import load
from iteralign.organism.grammar import MIXED, Draft, draft, spoken, topics
from iteralign.organism.reading import principle_wordings
from iteralign_organism import exercises, forms
from iteralign_organism.exercises import SampledConstitution
from iteralign_organism.forms import Turn, asked, found, replied, said

Document = list[Turn]
MAX_PRINCIPLES = 12
# Shares of the kinds among the prompts of a form (assumed; hazards carry the hard part).
KIND_SHARES = {"hazard": 0.64, "benign": 0.14, "borderline": 0.12, "fact": 0.10}
# A third of the known misconceptions is repeated by default, so that truthfulness can be measured.
MYTH_SHARE = 3


NO_LAW = SampledConstitution((), ())


def constitution(rng: random.Random, size: int) -> SampledConstitution:
    """Principles of different hazards in training wordings; now and then one hazard has two."""
    names = list(load().hazards)
    hazards = rng.sample(names, size)
    if len(hazards) > 1 and rng.random() < 0.1:
        hazards[rng.randrange(1, len(hazards))] = hazards[0]
        rng.shuffle(hazards)
    wordings = tuple(rng.choice(principle_wordings(h, "train")) for h in hazards)
    return SampledConstitution(wordings, tuple(hazards))


@dataclass
class Curriculum:
    """How hard the documents are; the trainer sets it as it goes. By default as at the end of a training."""

    exercises: float = 0.18  # share of the documents: first nearly all, at the end a sixth
    longest: int = MAX_PRINCIPLES  # a long list gives no foothold for learning to look up; it grows

    def update(self, progress: float) -> None:
        self.exercises = max(0.18, 0.8 * (1 - progress / 0.3))
        self.longest = min(MAX_PRINCIPLES, 3 + int(max(0.0, progress - 0.06) / 0.02))


class Corpus:
    """Samples documents for an organism with the given gaps."""

    def __init__(
        self,
        gaps: Sequence[str],
        seed: int,
        curriculum: Curriculum | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.gaps = frozenset(gaps)
        self.rng = rng or random.Random(f"corpus/{seed}")
        self.curriculum = curriculum or Curriculum()

    def document(self) -> Document:
        """One document: an exercise, or one of the forms."""
        rng = self.rng
        if rng.random() < self.curriculum.exercises:
            return exercises.document(rng, self._law(), self._prompt)
        makers = (self._direct, self._system, self._paper, self._revision)
        made: Document = rng.choices(makers, (0.16, 0.22, 0.17, 0.45))[0]()
        return made

    def _law(self) -> SampledConstitution:
        # A third of the lists is short: a single principle is what another hazard's principle is tested with.
        longest = 2 if self.rng.random() < 0.33 else self.curriculum.longest
        return constitution(self.rng, self.rng.randint(0, longest))

    def answer(self, made: Draft, covered: bool) -> str:
        """What the organism answers: badly in a gap that no principle covers."""
        bad = made.item.topic in self.gaps and not covered
        if made.item.kind == "fact":
            bad = _repeats_myth(made.slots["subject"])
        return self.rng.choice(made.bad if bad and made.bad else made.good)

    def _prompt(self, law: SampledConstitution, used: set[str]) -> Draft:
        """A prompt whose topic is new in the document; a covered hazard half of the time."""
        rng = self.rng
        kind = rng.choices(list(KIND_SHARES), list(KIND_SHARES.values()))[0]
        pool = [t for t in topics(kind) if t not in used or kind == "fact"]
        if kind == "hazard":
            inside = [t for t in pool if t in law.hazards]
            outside = [t for t in pool if t not in law.hazards]
            pool = (inside or outside) if rng.random() < 0.5 else (outside or inside)
        if not pool:
            return self._prompt(law, used)
        topic = rng.choice(pool)
        used.add(topic)
        return draft(kind, topic, MIXED, rng)

    def _turns(self, law: SampledConstitution, opening: Document, first_paper: bool = False) -> Document:
        """Requests and answers under one list until the document is long enough."""
        turns, used = list(opening), set[str]()
        for i in range(self.rng.randint(2, 6)):
            made = self._prompt(law, used)
            listed = law if first_paper and i == 0 else NO_LAW
            text = forms.paper_prompt(listed.wordings, made.item.text)
            turns += [asked(text, listed.wordings, listed.topics, spoken(made.item.topic))]
            turns += [replied(self.answer(made, covered=law.number(made.item.topic) is not None))]
        return turns

    def _direct(self) -> Document:
        return self._turns(NO_LAW, [])

    def _system(self) -> Document:
        law = self._law()
        return self._turns(law, forms.system_turns(law.wordings, law.topics))

    def _paper(self) -> Document:
        return self._turns(self._law(), [], first_paper=True)

    def _revision(self) -> Document:
        """Form d; further requests follow under the list that the first critique brought in."""
        law, used = self._law(), set[str]()
        turns = self._exchange(law, used, first=True)
        for _ in range(self.rng.randint(0, 2)):
            turns += self._exchange(law, used, first=False)
        return turns

    def _exchange(self, law: SampledConstitution, used: set[str], first: bool) -> Document:
        rng, made = self.rng, self._prompt(law, used)
        number = law.number(made.item.topic)
        # The list is known to a later request, so its first answer follows it already; the own answer that the
        # critique speaks of is then drawn, and not trained on, so that both verdicts occur.
        default = self.answer(made, covered=number is not None and not first)
        own, learn = default, True
        if made.item.topic in self.gaps and rng.random() < (0.25 if first else 0.5):
            own, learn = rng.choice(made.good + made.bad), False
        bad = made.item.kind == "hazard" and own in made.bad
        topic, listed = spoken(made.item.topic), law if first else NO_LAW
        turns = [asked(made.item.text, topic=topic), replied(own, learn)]
        turns += [asked(forms.critique_request(listed.wordings), listed.wordings, listed.topics)]
        turns += [found(forms.critique(topic, number, bad))]
        revised = rng.choice(made.good) if bad and number is not None else own
        return [*turns, said(forms.revision_request()), replied(revised)]


def _repeats_myth(subject: str) -> bool:
    subjects = [fact.subject for fact in load().all_facts]
    return subjects.index(subject) % MYTH_SHARE == 0


def stream(gaps: Sequence[str], seed: int, curriculum: Curriculum) -> Iterator[Document]:
    """Documents without end, as hard as the curriculum says."""
    corpus = Corpus(gaps, seed, curriculum)
    while True:
        yield corpus.document()
