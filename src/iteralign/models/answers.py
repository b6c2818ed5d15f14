"""Answers: from new token ids to a reply. The same text, end and count whoever generated them."""

from collections.abc import Sequence
from dataclasses import dataclass

from iteralign.lm.chat import Chat
from iteralign.types import Reply, Sampling, Usage


@dataclass(frozen=True)
class Answers:
    """How the answers of one call are read. `stops`: strings that end an answer, beside the end tokens."""

    chat: Chat
    stops: tuple[str, ...]

    def reply(self, asked: int, new: Sequence[int]) -> Reply:
        """The answer up to its end token or stop string, without the thought before it.

        One that ended inside its thought has no text, and counts as cut. `raw` keeps what was written where that is
        more than the answer. `asked` is the number of tokens of the prompt; usage counts the end token, as providers
        do.
        """
        ended = bool(new) and new[-1] in self.chat.end_ids()
        text = self.chat.written(new[:-1] if ended else new)
        cut = min((at for s in self.stops if (at := text.find(s)) >= 0), default=None)
        complete = ended or cut is not None
        written, usage = text[:cut].strip(), Usage(asked, len(new))
        answer = self.chat.answer(written)
        raw = None if answer == written else written
        if answer is None:
            return Reply("", "length", usage, raw)
        return Reply(answer, "stop" if complete else "length", usage, raw)


def answers_of(chat: Chat, sampling: Sampling) -> Answers:
    return Answers(chat, tuple(dict.fromkeys((*sampling.stop, *chat.stops))))
