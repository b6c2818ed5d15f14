"""Judge: the oracle labels responses. N_t = {r in R_t : O judges r harmful}; the gate asks the same of revisions."""

from collections.abc import Callable, Sequence

from iteralign.lab import Model
from iteralign.prompts import PromptSet
from iteralign.reading import last_object, one_line, said
from iteralign.types import Label, Response, Revision, Sampling, Verdict

ORACLE = Sampling(max_tokens=1000)
"""Oracles answer greedily (the released code's temperature 0); the length bound is ours."""


def assess(oracle: Model, responses: Sequence[Response], prompts: PromptSet) -> tuple[Verdict, ...]:
    """One verdict for each response, in order. A reply that cannot be read is UNPARSED."""
    conversations = [prompts.render("judge", request=r.prompt.text, response=r.text) for r in responses]
    replies = oracle.generate(conversations, ORACLE)
    read = READERS[prompts.readers["verdict"]]
    return tuple(read(response, said(reply)) for response, reply in zip(responses, replies, strict=True))


def gate(oracle: Model, revisions: Sequence[Revision], prompts: PromptSet) -> tuple[Verdict, ...]:
    """The same judgement on revised answers (the released code asks for it, then drops it)."""
    return assess(oracle, [Response(r.prompt, r.text) for r in revisions], prompts)


def harmful(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """N_t: the failures that principles are made from."""
    return tuple(v for v in verdicts if v.label is Label.HARMFUL)


def read_json(response: Response, reply: str) -> Verdict:
    """Structured verdict: label, category, severity, reason."""
    fields = last_object(reply) or {}
    try:
        label = Label(str(fields.get("label", "")).strip().lower())
    except ValueError:
        label = Label.UNPARSED
    severity = fields.get("severity", 0)
    return Verdict(
        response,
        label,
        category=one_line(fields.get("category"), 60).lower(),
        severity=min(max(severity, 0), 5) if type(severity) is int else 0,
        reason=one_line(fields.get("reason")),
    )


def read_negative(response: Response, reply: str) -> Verdict:
    """The released code's reading: harmful if and only if the reply contains `Negative`."""
    return Verdict(response, Label.HARMFUL if "Negative" in reply else Label.HARMLESS)


READERS: dict[str, Callable[[Response, str], Verdict]] = {
    "json": read_json,
    "negative": read_negative,
}
