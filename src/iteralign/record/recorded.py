"""Recorded: a Model that keeps every finished call, and asks nothing twice.

The model behind it is asked only for what is not on record: a lazy one may never load.
"""

from collections.abc import Callable, Sequence

from iteralign.protocols import Model, OnReplies, unheard
from iteralign.record.calls import Calls, Question
from iteralign.types import Conversation, Reply, Sampling


class Recorded:
    """`model`, its calls kept in `calls`; `on_change` is told when questions or replies came in."""

    def __init__(self, model: Model, calls: Calls, on_change: Callable[[], None]) -> None:
        self._model = model
        self._calls = calls
        self._on_change = on_change

    @property
    def id(self) -> str:
        return self._model.id

    def generate(
        self,
        conversations: Sequence[Conversation],
        sampling: Sampling,
        on_replies: OnReplies = unheard,
    ) -> list[Reply]:
        """As `Model.generate`; only what is not on record is passed on, in order.

        What `on_replies` raises must reach the caller through the model: it may be a full disk.
        """
        calls = self._calls
        positions = [calls.ask(Question(self.id, tuple(c), sampling)) for c in conversations]
        self._on_change()
        on_record = [(i, r) for i, at in enumerate(positions) if (r := calls.reply(at)) is not None]
        if on_record:
            on_replies(on_record)
        missing = [i for i, at in enumerate(positions) if calls.reply(at) is None]

        def hear(batch: Sequence[tuple[int, Reply]]) -> None:
            calls.hear([(positions[missing[j]], reply) for j, reply in batch])
            self._on_change()
            on_replies([(missing[j], reply) for j, reply in batch])

        if missing:
            try:
                fresh = self._model.generate([conversations[i] for i in missing], sampling, hear)
                unreported = [
                    (j, reply) for j, reply in enumerate(fresh) if calls.reply(positions[missing[j]]) is None
                ]
                if unreported:
                    hear(unreported)
            finally:
                calls.pause()
        replies = [calls.reply(at) for at in positions]
        assert all(r is not None for r in replies), f"{self.id} left conversations unanswered"
        return [r for r in replies if r is not None]
