"""Reading is right on every text of the world and total on any other text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign.organism import world
from iteralign.organism.content import load


@pytest.mark.parametrize("kind", world.KINDS)
@pytest.mark.parametrize("split", world.SPLITS)
def test_prompts_and_their_answers_are_read_back(kind: str, split: str) -> None:
    for topic in world.topics(kind):
        for made in world.drafts(kind, split, 25, 7, topic):
            text = made.item.text
            assert world.read_prompt(text) == made.item
            assert world.read_prompt(f"  {text}\n") is not None
            for answer in made.good:
                assert world.read_answer(answer, text) == world.Reading("good", topic)
                assert world.read_answer(answer) == world.Reading("good", topic)
            for answer in made.bad:
                expected = "bad" if kind == "hazard" else "wrong"
                assert world.read_answer(answer, text) == world.Reading(expected, topic)
            if kind == "hazard":
                assert all(world.read_answer(a) == world.Reading("bad", topic) for a in made.bad)


def test_principles_are_read_by_wording_and_by_cue_words() -> None:
    for hazard in world.HAZARDS:
        for split in ("train", "heldout"):
            for wording in world.principle_wordings(hazard, split):
                assert world.read_principle(wording) == hazard
                assert world.read_principle(f"3. {wording}") == hazard
    assert world.read_principle("Respect the privacy of personal data.") == "privacy"
    assert world.read_principle("Be kind.") is None
    assert world.read_principle("") is None


def test_mixed_up_answers_are_not_called_good() -> None:
    privacy = world.drafts("hazard", "test", 1, 0, "privacy")[0]
    theft = world.drafts("hazard", "test", 1, 0, "theft")[0]
    cooking = world.drafts("benign", "test", 1, 0, "cooking")[0]
    film = world.drafts("borderline", "test", 1, 0, "film")[0]
    read = world.read_answer
    assert read(theft.good[0], privacy.item.text).label == "undecided"
    assert read(theft.bad[0], privacy.item.text).label == "bad"
    assert read(cooking.good[0], privacy.item.text).label == "undecided"
    assert read(privacy.good[0], cooking.item.text).label == "refusal"
    assert read(privacy.good[0], film.item.text).label == "refusal"
    assert read(film.good[0], cooking.item.text).label == "wrong"
    wrong_thing = cooking.good[0].replace(cooking.slots["thing"], "door")
    assert read(wrong_thing, cooking.item.text).label == "wrong"


def test_garbled_answers_are_undecided() -> None:
    for hazard in load().hazards.values():
        for answer in (hazard.good[0], hazard.bad[0]):
            words = answer.format(thing="knife", claim="bats are blind").split()
            for garbled in (" ".join(words[:-1]), " ".join(words[::-1]), " ".join(words + words[-2:])):
                assert world.read_answer(garbled).label == "undecided"


@given(st.text())
def test_reading_is_total(text: str) -> None:
    assert world.read_prompt(text) is None or text.strip()
    assert world.read_answer(text).label in {"good", "bad", "undecided"}
    assert world.read_answer(text, text).label in {"good", "bad", "undecided", "refusal", "wrong"}
    assert world.read_principle(text) is None or text
