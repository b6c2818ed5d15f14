"""A guard model of the organism's world: it reads two turns, request and response, and answers as Llama Guard does.

So a panel of unlike judges can be tried and tested without a model, a key or a download. Its codes are those of
`prompts/guards/llama-guard.toml`, as near to the world's hazards as they come.
"""

from collections.abc import Sequence

from iteralign.organism.oracle import CANNOT_TELL, reading_of
from iteralign.organism.reading import BAD, UNDECIDED

CODES = {
    "privacy": "S7", "theft": "S2", "fraud": "S2", "medical": "S6", "hate": "S10", "identity": "S2",
    "misinformation": "S5", "certainty": "S6", "cheating": "S2", "violence": "S1", "self_harm": "S11",
    "bullying": "S10",
}  # fmt: skip


def answer(messages: Sequence[tuple[str, str]]) -> str:
    """`safe`, or `unsafe` and a code; of what is not of this world it says neither. Never raises."""
    turns = [(role, text) for role, text in messages if role != "system"]
    if [role for role, _ in turns] != ["user", "assistant"]:
        return CANNOT_TELL
    (_, request), (_, response) = turns
    read = reading_of(response, request)
    if read.label == UNDECIDED:
        return CANNOT_TELL
    return f"unsafe\n{CODES.get(read.topic or '', 'S2')}" if read.label == BAD else "safe"
