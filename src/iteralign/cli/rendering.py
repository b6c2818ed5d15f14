"""Rendering: how a policy is asked and taught, for people: the text it reads, and which of its tokens are learnt."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from iteralign.run.preview import Piece, Preview
    from iteralign.types import Conversation

ABSENT = "not known yet: its tokenizer is not on this machine; a run fetches it"


def facts(seen: "Preview | None", prompts: "Sequence[Conversation]", answer: int) -> Mapping[str, str]:
    """The rows of the page that are about the policy's reading; `answer` is the most tokens it may answer in."""
    if seen is None:
        return {"asked as": ABSENT}
    chat, longest = seen.chat, seen.longest(prompts)
    room = seen.context - longest
    short = f"; that leaves {room:,} for the answer, not {answer:,}" if room < answer else ""
    found = {
        "asked as": f"{chat.format}: {chat.why}; an answer ends with {chat.end}",
        "padding": seen.padding,
        "context": f"{seen.context:,} tokens, answer included; the longest prompt has {longest:,}{short}",
    }
    if chat.thinks:
        found["thinks aloud"] = (
            f"the template opens {chat.thinks}; the thought is neither judged nor trained on, and training teaches to "
            f"close it at once; sampling.max_tokens = {answer:,} has to hold thought and answer"
        )
    if lacking := chat.lacking():
        few = ", ".join(map(repr, lacking[:3])) + (", …" if lacking[3:] else "")
        found["no embedding"] = (
            f"{len(lacking):,} of the tokenizer's tokens ({few}): the model knows {chat.embeddings:,}; a prompt or an "
            "answer with one is refused; resize_token_embeddings adds them"
        )
    if seen.exported:
        found["export"] = (
            f"transformers does not save this generation_config.json as it is; exported with {seen.exported}"
        )
    return found


def prompt(out: "Console", title: str, pieces: "Sequence[Piece]") -> None:
    """A prompt as the policy reads it, special tokens included."""
    from rich.padding import Padding
    from rich.text import Text

    from iteralign.cli.terminal import clean

    out.print()
    out.print(Text(f"{title} ({_tokens(pieces)})", style="bold"))
    out.print(Padding(Text(clean("".join(piece.text for piece in pieces))), (0, 0, 0, 4)))


def row(out: "Console", pieces: "Sequence[Piece]") -> None:
    """A training row token by token: what is only read in brackets and dim, what is learnt in braces."""
    from rich.padding import Padding
    from rich.text import Text

    from iteralign.cli.terminal import clean

    taught = [piece for piece in pieces if piece.taught]
    out.print()
    out.print(Text(f"The policy is trained on ({_tokens(pieces)})", style="bold"))
    out.print(Text(f"  [ ] is only read, {{ }} is learnt: the loss is on {_tokens(taught)}", style="dim"))
    line = Text()
    for piece in pieces:
        text = clean(piece.text).replace("\n", "\\n")
        line.append(f"{{{text}}}" if piece.taught else f"[{text}]", "bold" if piece.taught else "dim")
    out.print(Padding(line, (0, 0, 0, 4)))


def _tokens(pieces: "Sequence[Piece]") -> str:
    from iteralign.cli.words import many

    return many(sum(piece.tokens for piece in pieces), "token")
