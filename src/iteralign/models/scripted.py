"""Scripted: a model that is a function. The fake for tests and examples, so that no test needs a mock."""

import random
from collections.abc import Callable, Sequence

from iteralign.models import wire
from iteralign.protocols import Account, OnReplies, Reservation, unheard
from iteralign.types import Conversation, Options, Reply, Sampling, Usage

Answer = Callable[[Conversation, Sampling], str | Reply]


class ScriptedModel:
    """A Model that answers by `answer`, in batches of `batch_size`, and remembers what it was asked.

    shuffle: seed of the order in which batches are finished; None is the order of asking.
    account: charged for every call, as a remote model's is.
    A text becomes a Reply whose usage counts words. `asked` holds (conversation, sampling) in the
    order of answering; what `answer` raises on is in it too.
    """

    def __init__(
        self,
        id: str,
        answer: Answer,
        *,
        batch_size: int = 1,
        shuffle: int | None = None,
        account: Account | None = None,
    ) -> None:
        self.id = id
        self._account = account
        self.asked: list[tuple[Conversation, Sampling]] = []
        self._answer = answer
        self._batch_size = batch_size
        self._shuffle = shuffle

    def generate(
        self,
        conversations: Sequence[Conversation],
        sampling: Sampling,
        on_replies: OnReplies = unheard,
    ) -> list[Reply]:
        """As `Model.generate`; raises what `answer` raises, after the batches before it were heard."""
        replies: dict[int, Reply] = {}
        waiting = self._batches(len(conversations))
        while waiting:
            batch = waiting.pop(0)
            held: list[Reservation] = []
            for i in batch:
                if self._account is None:
                    break
                reservation = self._account.reserve(wire.most(conversations[i], sampling.max_tokens))
                if reservation is None:  # the others of the batch hold what is left
                    waiting.insert(0, batch[len(held) :])
                    batch = batch[: len(held)]
                    break
                held.append(reservation)
            done = [(i, self._reply(conversations[i], sampling)) for i in batch]
            replies.update(done)
            on_replies(done)
            for reservation, (_, reply) in zip(held, done, strict=False):
                reservation.settle(reply.usage)
        return [replies[i] for i in range(len(conversations))]

    def _batches(self, n: int) -> list[range]:
        batches = [range(i, min(i + self._batch_size, n)) for i in range(0, n, self._batch_size)]
        if self._shuffle is not None:
            random.Random(self._shuffle).shuffle(batches)
        return batches

    def _reply(self, conversation: Conversation, sampling: Sampling) -> Reply:
        self.asked.append((conversation, sampling))
        said = self._answer(conversation, sampling)
        if isinstance(said, Reply):
            return said
        words = sum(len(message.content.split()) for message in conversation)
        return Reply(said, usage=Usage(words, len(said.split())))


class ScriptedScorer:
    """A Scorer that is a function of a question: a log-probability for each of its endings."""

    def __init__(self, id: str, score: Callable[[Options], Sequence[float]]) -> None:
        self.id = id
        self._score = score

    def score(self, questions: Sequence[Options]) -> list[tuple[float, ...]]:
        return [tuple(self._score(question)) for question in questions]


def failing(answer: Answer, error: BaseException, *, at: int) -> Answer:
    """`answer`, but its `at`-th call (from 1) raises `error`; the calls after it are answered again."""
    assert at >= 1, "calls are counted from 1"
    calls = iter(range(1, at + 1))

    def answer_or_fail(conversation: Conversation, sampling: Sampling) -> str | Reply:
        if next(calls, None) == at:
            raise error
        return answer(conversation, sampling)

    return answer_or_fail
