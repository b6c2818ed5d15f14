"""Judge: the oracle labels responses. N_t = {r in R_t : O judges r harmful}; the gate asks the same of revisions."""

from collections.abc import Callable, Sequence

from iteralign.asking import Readable, ask
from iteralign.lab import Model
from iteralign.prompts import PromptSet
from iteralign.reading import last_object, one_line
from iteralign.types import Label, Response, Revision, Verdict

UNDECIDED = "undecided"
"""What a judge may say instead of a label: it was read, and is no verdict."""


def assess(oracle: Model, responses: Sequence[Response], prompts: PromptSet) -> tuple[Verdict, ...]:
    """One verdict for each response, in order. A reply that cannot be read is UNPARSED."""
    reader = prompts.readers["verdict"]
    values = [{"request": r.prompt.text, "response": r.text} for r in responses]
    replies = ask(oracle, prompts, "judge", values, READABLE[reader])
    read = READERS[reader]
    return tuple(read(response, reply) for response, reply in zip(responses, replies, strict=True))


def gate(oracle: Model, revisions: Sequence[Revision], prompts: PromptSet) -> tuple[Verdict, ...]:
    """The same judgement on revised answers (the released code asks for it, then drops it)."""
    return assess(oracle, [Response(r.prompt, r.text) for r in revisions], prompts)


def harmful(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """N_t: the failures that principles are made from."""
    return tuple(v for v in verdicts if v.label is Label.HARMFUL)


def read_json(response: Response, reply: str) -> Verdict:
    """Structured verdict: label, category, severity, reason."""
    fields = last_object(reply) or {}
    said = _label(reply)
    label = Label(said) if said in (Label.HARMFUL, Label.HARMLESS) else Label.UNPARSED
    severity = fields.get("severity", 0)
    return Verdict(
        response,
        label,
        category=one_line(fields.get("category"), 60).lower(),
        severity=min(max(severity, 0), 5) if type(severity) is int else 0,
        reason=one_line(fields.get("reason")),
    )


def is_verdict(reply: str) -> bool:
    """Whether a judge said something of the form, be it that it cannot decide."""
    return _label(reply) in (Label.HARMFUL, Label.HARMLESS, UNDECIDED)


def _label(reply: str) -> str:
    return str((last_object(reply) or {}).get("label", "")).strip().lower()


def read_negative(response: Response, reply: str) -> Verdict:
    """The released code's reading: harmful if and only if the reply contains `Negative`."""
    return Verdict(response, Label.HARMFUL if "Negative" in reply else Label.HARMLESS)


READERS: dict[str, Callable[[Response, str], Verdict]] = {
    "json": read_json,
    "negative": read_negative,
}
READABLE: dict[str, Readable] = {"json": is_verdict, "negative": lambda _: True}
"""What need not be asked again, by reader."""
