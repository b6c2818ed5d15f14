"""Stand-ins: actors that answer with a text of assumed length, so that a plan loads and asks nothing.

What they say is assumed; the prompts that they get, and count, are the real ones.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from iteralign.prompts import PromptSet, guarding
from iteralign.protocols import Lab, Model, OnReplies, unheard
from iteralign.settings import Method
from iteralign.types import Checkpoint, Conversation, Example, Reply, Sampling, Usage

Count = Callable[[str], int]
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


class StandIn:
    """A model that always says the same."""

    def __init__(
        self, id: str, says: Callable[[Sampling, Conversation], str], count: Count, remote: bool = True
    ) -> None:
        self.id = id
        self._says, self._count, self._remote = says, count, remote

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling, on_replies: OnReplies = unheard
    ) -> list[Reply]:
        replies = [self._reply(c, sampling) for c in conversations]
        on_replies(list(enumerate(replies)))
        return replies

    def _reply(self, conversation: Conversation, sampling: Sampling) -> Reply:
        text = self._says(sampling, conversation)
        sent = sum(self._count(m.content) for m in conversation)
        return Reply(text, usage=Usage(sent, self._count(text)), raw=self._raw(text))

    def _raw(self, text: str) -> str | None:
        """A provider's output holds the text once more, in a frame of some hundred characters."""
        return f"{text}{' ' * 300}" if self._remote else None


class NoTrainer:
    """Nothing is trained without calibration."""

    id = "nobody"

    def train(self, start: Checkpoint, examples: Sequence[Example]) -> Checkpoint:
        raise AssertionError("a plan without calibration trains nothing")


def lab(method: Method, counts: dict[str, Count]) -> Lab:
    """The cast of a calibration without models; `counts` counts tokens for each role of the oracle."""
    readers = method.prompts.readers
    proposal = PROPOSALS[readers["proposal"]]
    measured = VERDICTS[method.measure.readers["verdict"]]
    policy = StandIn("policy", lambda sampling, _: answer(sampling), by_characters, remote=False)

    @contextmanager
    def serve(_: Checkpoint) -> Iterator[Model]:
        yield policy

    judges = [
        StandIn(role, partial(_constant, _verdict(texts)), count)
        for texts, (role, count) in zip(method.judges, counts.items(), strict=False)
    ]
    return Lab(
        serve,
        judges[0],
        StandIn("proposer", lambda *_: proposal, counts["proposer"]),
        NoTrainer(),
        StandIn("meter", lambda _, asked: _measured(asked, measured), counts["meter"]),
        tuple(judges[1:]),
    )


def _constant(text: str, *_: object) -> str:
    return text


def _verdict(texts: PromptSet) -> str:
    if texts.guard is not None:
        return guarding.examples(texts.name)["harmful"]
    return VERDICTS[texts.readers["verdict"]]


def answer(sampling: Sampling) -> str:
    """An answer of the assumed length."""
    return (SENTENCE * ANSWER_TOKENS)[: CHARACTERS * min(ANSWER_TOKENS, sampling.max_tokens)]


def _measured(asked: Conversation, verdict: str) -> str:
    """A grade where one is asked for. Of both, only the length matters."""
    return GRADE if '"grade"' in asked[-1].content else verdict
