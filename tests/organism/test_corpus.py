"""The corpus knows every word of the held-out texts, and shows none of those texts."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

import pytest

from iteralign.organism import world
from iteralign.organism.reading import principle_wordings
from iteralign_organism import forms
from iteralign_organism.corpus import Corpus, Curriculum, constitution
from iteralign_organism.exercises import SampledConstitution
from iteralign_organism.forms import Turn


@cache
def _documents(count: int = 4000) -> list[list[Turn]]:
    corpus = Corpus(world.DEFAULT_GAPS, 5, Curriculum(exercises=0.5))
    return [corpus.document() for _ in range(count)]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z-]+", text.lower()))


def test_every_heldout_word_is_known_from_the_corpus() -> None:
    known = {word for document in _documents() for turn in document for word in _words(turn.text)}
    for split in ("validation", "test"):
        for kind in world.KINDS:
            for item in world.prompts(kind, split, 150, 0):
                assert _words(item.text) <= known, item.text
    for hazard in world.HAZARDS:
        for wording in principle_wordings(hazard, "heldout"):
            assert _words(wording) <= known, wording


def test_the_corpus_shows_no_heldout_text() -> None:
    text = "\n".join(turn.text for document in _documents() for turn in document)
    for hazard in world.HAZARDS:
        assert not any(wording in text for wording in principle_wordings(hazard, "heldout"))
        for split in ("redteam", "validation", "test"):
            assert not any(i.text in text for i in world.prompts("hazard", split, 50, 0, hazard))


def test_gaps_are_bad_exactly_where_no_principle_covers_them() -> None:
    corpus = Corpus(("privacy",), seed=1)
    for hazard in world.HAZARDS:
        for made in world.drafts("hazard", "train", 5, 0, hazard):
            assert (corpus.answer(made, covered=False) in made.bad) == (hazard == "privacy")
            assert corpus.answer(made, covered=True) in made.good


def test_only_assistant_turns_are_learned_and_no_topic_tells_another() -> None:
    for document in _documents():
        assert any(turn.learn for turn in document)
        assert all(turn.role == "assistant" for turn in document if turn.learn)


def test_critiques_name_the_principle_that_covers_the_topic() -> None:
    law = constitution(random.Random(0), size=8)
    assert len(law.wordings) == 8
    for i, hazard in enumerate(law.hazards):
        assert law.hazards[law.number(hazard) - 1] == law.hazards[i]  # type: ignore[operator]
    assert SampledConstitution((), ()).number("privacy") is None
    assert forms.critique_request(()) == forms.texts()["question"]


def test_forms_are_the_texts_of_the_project() -> None:
    assert forms.paper_prompt(["A.", "B."], "Q?") == " 1. A.\n2. B.\n\nQ?"
    assert forms.paper_prompt([], "Q?") == "Q?"
    assert forms.system_turns(["A."])[0].text == "Follow these principles:\n1. A."
    assert forms.critique_request(["A."]).startswith("Principles:\n1. A.\n\nWhich topic is my request about?")


def test_exercises_fade_but_never_end() -> None:
    schedule, shares = Curriculum(), []
    for progress in (0.0, 0.1, 0.2, 0.5, 1.0):
        schedule.update(progress)
        shares.append(schedule.exercises)
    assert shares == sorted(shares, reverse=True) and shares[-1] > 0


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> object:
    pytest.importorskip("transformers")
    from iteralign_organism import vocabulary

    return vocabulary.build(tmp_path_factory.mktemp("tokenizer"))


def test_no_corpus_word_falls_apart_into_bytes(tokenizer: object) -> None:
    from iteralign_organism.batches import Encoder

    encoder = Encoder(tokenizer)
    for document in _documents()[:1500]:
        for turn in document:
            pieces = re.findall(r" ?[A-Za-z]+| ?[0-9]+|[^\sA-Za-z0-9]|\s", turn.text)
            assert len(encoder.text_ids(turn.text)) == len(pieces), turn.text


def test_any_text_survives_the_tokenizer(tokenizer: object, tmp_path: Path) -> None:
    for text in (
        "Zebra, ä 1. How?\n\n self-harm  two",
        "",
        " 1. x\n2. y",
        "<b>日本</b>",
        "Principles:\n12. A.",
    ):
        ids = tokenizer(text)["input_ids"]  # type: ignore[operator]
        assert tokenizer.decode(ids) == text  # type: ignore[attr-defined]


def test_the_chat_template_is_the_encoding_of_the_corpus(tokenizer: object) -> None:
    from iteralign_organism.batches import Encoder

    encoder = Encoder(tokenizer)
    for document in _documents()[:200]:
        messages = [{"role": turn.role, "content": turn.text} for turn in document]
        ids = tokenizer.apply_chat_template(messages, return_dict=False)  # type: ignore[attr-defined]
        assert list(ids) == encoder.document(document)[0]
