"""Stubs: replies of assumed length, for a plan that loads and asks nothing (`run/planner.py`)."""

from collections.abc import Callable, Sequence
from functools import partial

from iteralign.prompts import PromptSet, guarding
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
    proposal = PROPOSALS[method.prompts.readers["proposal"]]
    verdict = VERDICTS[method.measure.readers["verdict"]]
    return {
        **{role: partial(_verdict, texts) for role, texts in zip(judges, method.judges, strict=True)},
        "proposer": lambda _: proposal,
        # A grade where one is asked for. Of both, only the length matters.
        "meter": lambda asked: GRADE if '"grade"' in asked[-1].content else verdict,
    }


def _verdict(texts: PromptSet, _: Conversation) -> str:
    if texts.guard is not None:
        return guarding.examples(texts.name)["harmful"]
    return VERDICTS[texts.readers["verdict"]]


def answer(sampling: Sampling) -> str:
    """An answer of the assumed length."""
    return (SENTENCE * ANSWER_TOKENS)[: CHARACTERS * min(ANSWER_TOKENS, sampling.max_tokens)]
