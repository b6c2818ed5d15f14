"""Calls: every finished model call of a step is on disk before the step is.

While a step runs, `iterations/003/calls/20_verdicts.oracle.jsonl` grows by one line, a JSON array,
for every batch that the model reports: what was computed together is kept or lost together, so a
backend that sorts by length and cuts batches of a fixed size cuts the rest as if it had never been
interrupted. When the step is done the file is sealed: rewritten whole, one call, a JSON object, a
line, in the order of asking. A call is the question as sent and the raw reply, with its usage and
stop, before anything reads it.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from iteralign.errors import UserError
from iteralign.protocols import Model, OnReplies, unheard
from iteralign.record import artifact
from iteralign.record.codec import decode, line
from iteralign.record.disk import Lines, disk, write_whole
from iteralign.security import documents
from iteralign.types import Conversation, Reply, Sampling

ORACLES = ("oracle", "meter")
"""Names under which stages receive an oracle, and so the second part of a calls file's name; the further judges
of a panel have their number behind it: `oracle-2`."""

ROLES = {"proposals": "proposer", "trials": "meter", "metrics": "meter", "test": "meter"}
"""Who an oracle is in a step; in every other step it is the judge."""

POLICY = "policy"
"""The role of whoever is no oracle."""


@dataclass(frozen=True, slots=True)
class Question:
    """All that decides a reply. `occurrence` counts equal questions within one step, from 0."""

    model: str
    conversation: Conversation
    sampling: Sampling
    occurrence: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One finished call. A refusal is a fact of its run like any other reply; no other run reuses it."""

    question: Question
    reply: Reply


@dataclass(frozen=True, slots=True)
class Spent:
    """What models were asked, in calls and in tokens as their providers count them.

    estimated: calls whose tokens are an estimate, as the provider gave no usable counts.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.estimated + other.estimated,
        )

    def __neg__(self) -> "Spent":
        return Spent(-self.calls, -self.input_tokens, -self.output_tokens, -self.estimated)


NOTHING = Spent()


def spent(calls: Iterable[Call]) -> dict[str, Spent]:
    """Totals by model id."""
    totals: dict[str, Spent] = {}
    for call in calls:
        totals[call.question.model] = totals.get(call.question.model, NOTHING) + used([call.reply])
    return totals


def usage(root: Path) -> dict[str, Spent]:
    """Totals by model id over all calls on record in a run directory, of finished steps and unfinished."""
    return spent(call for _, path in artifact.calls_files(root) for call in read(path))


def read(path: Path) -> list[Call]:
    """The calls of one file, sealed or not; a torn last line is left out. Raises UserError if damaged."""
    return _parse(path, Lines(path).found)


def count(path: Path) -> int:
    """How many calls a file has, without reading them. Raises UserError if damaged."""
    lines = Lines(path).found
    if all(text.startswith(b"{") for text in lines):  # sealed: one call a line
        return len(lines)
    return len(_parse(path, lines))


class Calls:
    """The calls of one step to one actor: found on disk, and made since. `hear` may come from any thread.

    The questions of a step are numbered as they are asked; a position is that number.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = Lines(path)
        self._replies = {call.question: call.reply for call in _parse(path, self._lines.found)}
        self._asked: list[Question] = []
        self._occurrences: Counter[Question] = Counter()
        self._fresh: list[Call] = []
        self._guard = threading.Lock()
        self.answered = 0
        self.used = NOTHING
        """What the answered questions took."""

    @property
    def asked(self) -> int:
        return len(self._asked)

    @property
    def fresh(self) -> Sequence[Call]:
        """The calls made by this process, as opposed to those found on disk."""
        return self._fresh

    def ask(self, question: Question) -> int:
        """The position of the question, now asked once more."""
        again = replace(question, occurrence=self._occurrences[question])
        with self._guard:
            self._occurrences[question] += 1
            self._asked.append(again)
            if again in self._replies:
                self.answered += 1
                self.used += used([self._replies[again]])
            return len(self._asked) - 1

    def reply(self, position: int) -> Reply | None:
        return self._replies.get(self._asked[position])

    def hear(self, batch: Sequence[tuple[int, Reply]]) -> None:
        """Record replies that were finished together, by position; the first reply to a question counts.

        Raises as `disk`; then nothing of the batch counts.
        """
        with self._guard:
            heard = {self._asked[position]: reply for position, reply in batch}
            new = [Call(q, reply) for q, reply in heard.items() if q not in self._replies]
            if new:
                self._lines.append(line(new))
                self._replies.update((call.question, call.reply) for call in new)
                self._fresh += new
                self.answered += len(new)
                self.used += used([call.reply for call in new])

    def pause(self) -> None:
        """Safe on disk and closed; the next `hear` opens the file again. Raises as `disk`."""
        self._lines.pause()

    def seal(self) -> None:
        """Rewrite in the order of asking, so that neither timing nor interruptions show.

        Recorded calls that were not asked for again, as after a change of prompts in the middle of a
        step, are dropped.
        """
        self.pause()
        calls = [Call(q, self._replies[q]) for q in self._asked if q in self._replies]
        if calls:
            write_whole(self.path, "".join(map(line, calls)))
        else:
            with disk(self.path):
                self.path.unlink(missing_ok=True)


class Recorded:
    """Pass on to `model` only what `calls` does not hold; call `on_change` when questions or replies came in.

    A lazy model whose answers are all on record never loads.
    """

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


def used(replies: Sequence[Reply]) -> Spent:
    """What these calls took together."""
    tokens = [r.usage for r in replies]
    return Spent(
        len(tokens),
        sum(u.input_tokens for u in tokens),
        sum(u.output_tokens for u in tokens),
        sum(u.estimated for u in tokens),
    )


def _parse(path: Path, lines: Sequence[bytes]) -> list[Call]:
    calls: list[Call] = []
    for number, text in enumerate(lines, 1):
        try:
            row = documents.parsed_json(text)
            calls += [decode(Call, call) for call in (row if isinstance(row, list) else [row])]
        except ValueError as error:
            raise UserError(
                f"{path}: line {number} is damaged ({error}); delete the file to ask its questions again"
            ) from None
    return calls


def files(root: Path) -> Iterator[tuple[int, str, str, Path]]:
    """(t, step, role, file) of all calls on record, in the order of iterations and steps."""
    for t, path in artifact.calls_files(root):
        numbered, _, actor = path.stem.partition(".")
        step = numbered.partition("_")[2]
        yield t, step, role_of(step, actor) if is_oracle(actor) else POLICY, path


def is_oracle(actor: str) -> bool:
    return actor.partition("-")[0] in ORACLES


def role_of(step: str, actor: str = "oracle") -> str:
    """Who the oracle of a step is: proposer, meter, judge, or the second judge, `judge-2`."""
    _, dash, number = actor.partition("-")
    return ROLES.get(step, "judge") + dash + number
