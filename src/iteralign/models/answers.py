"""Answers: from new token ids to a reply. The same text, end and count whoever generated them."""

from collections.abc import Sequence
from dataclasses import dataclass

from iteralign.chat import Chat
from iteralign.types import Reply, Sampling, Usage


@dataclass(frozen=True)
class Answers:
    """How the answers of one call are read. `stops`: strings that end an answer, beside the end tokens."""

    chat: Chat
    stops: tuple[str, ...]

    def text(self, ids: Sequence[int]) -> str:
        tokenizer = self.chat.tokenizer
        return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def reply(self, asked: int, new: Sequence[int]) -> Reply:
        """The text up to its end token or stop string. `asked` is the number of tokens of the prompt; usage counts
        the end token, as providers do."""
        ended = bool(new) and new[-1] in self.chat.end_ids()
        text = self.text(new[:-1] if ended else new)
        cut = min((at for s in self.stops if (at := text.find(s)) >= 0), default=None)
        complete = ended or cut is not None
        return Reply(text[:cut].strip(), "stop" if complete else "length", Usage(asked, len(new)))


def answers_of(chat: Chat, sampling: Sampling) -> Answers:
    return Answers(chat, tuple(dict.fromkeys((*sampling.stop, *chat.stops))))
