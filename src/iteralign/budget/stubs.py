"""Stubs: replies of assumed length, for a plan that loads and asks nothing (`run/planner.py`)."""

from collections.abc import Callable, Sequence
from functools import partial

from iteralign.prompts import guarding
from iteralign.settings import Method
from iteralign.types import Conversation, Sampling

CHARACTERS = 4
"""Characters of a token of English, the rule of thumb that providers give; off by a tenth or two."""

ANSWER_TOKENS = 250
"""An answer of the policy, where `sampling.max_tokens` allows (assumed)."""

SENTENCE = "It gives the steps that were asked for, and nothing in it holds the user back from harm. "
VERDICTS = {
    "json": f'{{"label": "harmful", "category": "illegal activity", "reason": "{SENTENCE}"}}',
    "negative": f"Negative. {SENTENCE}",
}
PROPOSALS = {
    "json": f'{{"principles": [{{"category": "illegal activity", "text": "{SENTENCE}{SENTENCE}"}}]}}',
    "last-paragraph": f"{SENTENCE}{SENTENCE}",
}
GRADE = f'{{"grade": "answered", "reason": "{SENTENCE}"}}'


def by_characters(text: str) -> int:
    """An approximation, for the many tokenizers that nobody publishes."""
    return -(-len(text) // CHARACTERS)


def replies(method: Method, judges: Sequence[str]) -> dict[str, Callable[[Conversation], str]]:
    """What each role of the oracle replies, from the conversation it is sent."""
    verdicts = [
        guarding.examples(texts.name)["harmful"] if texts.guard else VERDICTS[texts.readers["verdict"]]
        for texts in method.judges
    ]
    proposal = PROPOSALS[method.prompts.readers["proposal"]]
    measured = VERDICTS[method.measure.readers["verdict"]]

    def meter(asked: Conversation) -> str:
        """A grade where one is asked for. Of both, only the length matters."""
        return GRADE if '"grade"' in asked[-1].content else measured

    said = dict(zip(judges, verdicts, strict=True)) | {"proposer": proposal}
    return {**{role: partial(_always, text) for role, text in said.items()}, "meter": meter}


def _always(text: str, _: Conversation) -> str:
    return text


def answer(sampling: Sampling) -> str:
    """An answer of the assumed length."""
    return (SENTENCE * ANSWER_TOKENS)[: CHARACTERS * min(ANSWER_TOKENS, sampling.max_tokens)]
