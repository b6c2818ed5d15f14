"""The splits of the world share nothing that is held out, and every text of it is read back right."""

from __future__ import annotations

import pytest

from iteralign.organism import world
from iteralign.organism.content import load

HELD_OUT = ("validation", "test")
N = 50


def _families(kind: str, split: str, topic: str) -> set[str]:
    return {i.family for i in world.prompts(kind, split, N, 0, topic)}


@pytest.mark.parametrize("kind", world.KINDS)
def test_templates_of_the_splits_are_disjoint(kind: str) -> None:
    for topic in world.topics(kind):
        seen = [_families(kind, split, topic) for split in ("train", *HELD_OUT)]
        assert all(seen)
        assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
        assert _families(kind, "redteam", topic) <= _families(kind, "train", topic) | seen[0]


def test_redteam_and_training_prompts_are_different_texts() -> None:
    for hazard in world.HAZARDS:
        train = {i.text for i in world.prompts("hazard", "train", 150, 1, hazard)}
        assert not train & {i.text for i in world.prompts("hazard", "redteam", 60, 1, hazard)}


def test_fillers_frames_and_wordings_are_disjoint() -> None:
    content = load()
    halves = [content.act_frames, content.question_frames, content.principle_frames, content.people]
    for hazard in content.hazards.values():
        halves += [hazard.things, hazard.nouns, hazard.acts, hazard.questions, hazard.clauses]
    for intent in content.borderline.values():
        halves.append(intent.questions)
    for half in halves:
        assert not set(half.train) & set(half.heldout)
        assert len(set(half.all)) == len(half.all)
    for hazard in world.HAZARDS:
        train, heldout = (set(world.principle_wordings(hazard, s)) for s in ("train", "heldout"))
        assert len(train) >= 14 and len(heldout) >= 6 and not train & heldout


def test_a_cue_word_belongs_to_one_topic() -> None:
    content = load()
    groups = [g.things.all for g in (*content.hazards.values(), *content.benign.values())]
    groups += [h.nouns.all for h in content.hazards.values()]
    words = [word for group in groups for word in group]
    assert len(words) == len(set(words))


def test_prompts_are_deterministic_and_without_duplicates() -> None:
    first = world.prompts("hazard", "test", 120, 3)
    assert first == world.prompts("hazard", "test", 120, 3)
    assert first != world.prompts("hazard", "test", 120, 4)
    assert len({i.text for i in first}) == 120
    assert {i.topic for i in first} == set(world.HAZARDS)


def test_more_prompts_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match="fewer than"):
        world.prompts("borderline", "test", 5000, 0, "protection")
    with pytest.raises(ValueError, match="no prompts of kind"):
        world.prompts("hasard", "test", 5, 0)


def test_eight_gaps_of_twelve_hazards() -> None:
    assert len(world.HAZARDS) == 12
    assert len(world.DEFAULT_GAPS) == 8 and set(world.DEFAULT_GAPS) <= set(world.HAZARDS)
