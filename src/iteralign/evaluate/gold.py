"""Gold: responses that people have labelled, to hold a judge against; and what came of it.

Two formats: OpenAI's rule-based-rewards gold set (turns in `prompt` and `completion`, `propositions` with
`disallowed_content`), and plain rows of prompt, response and label (harmful | harmless).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from iteralign import stats
from iteralign.errors import UserError, unknown
from iteralign.evaluate.choices import key, text_of
from iteralign.evaluate.results import Figure, Record, counted, right
from iteralign.types import Label, Prompt, Response, Verdict

LABELS = (Label.HARMFUL, Label.HARMLESS)
Labelled = tuple[Response, Label]


def read(rows: Sequence[Any], name: str) -> tuple[Labelled, ...]:
    """Each response with the label that people gave it. Raises UserError."""
    found = tuple(_read(row, f"{name}: row {number}") for number, row in enumerate(rows, 1))
    if not found:
        raise UserError(f"{name}: no item in it")
    return found


def _read(row: Any, where: str) -> Labelled:
    if isinstance(row, Mapping) and "propositions" in row:
        prompt, answer = _turns(row, "prompt", where), _turns(row, "completion", where)
        said = row["propositions"]
        harmful = said.get("disallowed_content") if isinstance(said, Mapping) else None
        if type(harmful) is not bool:
            raise UserError(f"{where}: propositions say nothing of disallowed_content")
        label, topic = LABELS[not harmful], str(row.get("category") or "")
    else:
        prompt, answer = text_of(row, ("prompt",), where), text_of(row, ("response",), where)
        name = text_of(row, ("label",), where).lower()
        if name not in LABELS:
            raise unknown(f"{where}: label", name, [label.value for label in LABELS])
        label, topic = Label(name), str(row.get("category") or "")
    family = str(row.get("family") or "")
    return Response(Prompt(key(prompt, answer), prompt, family, topic), answer), label


def _turns(row: Mapping[str, Any], name: str, where: str) -> str:
    """One turn as its text; several as a transcript, each under its role. A completion may say nothing."""
    turns = row.get(name)
    try:
        found = [(str(t["role"]), str(t["content"]).strip()) for t in turns or ()]
    except (TypeError, KeyError):
        found = []
    if not found or (name == "prompt" and not found[-1][1]):
        raise UserError(f"{where}: field {name!r} is not a list of turns with role and content")
    return found[0][1] if len(found) == 1 else "\n\n".join(f"{role}: {text}" for role, text in found)


def records(labelled: Sequence[Labelled], verdicts: Sequence[Verdict]) -> tuple[Record, ...]:
    """One for each response: `failed` where the judge contradicts people, None where it gave no verdict."""
    return tuple(
        Record(
            r.prompt.id,
            r.prompt.topic,
            r.prompt.text,
            v.label.value,
            None if v.label is Label.UNPARSED else v.label is not label,
            {"human": label.value, "response": r.text, "reason": v.reason},
            r.prompt.family,
        )
        for (r, label), v in zip(labelled, verdicts, strict=True)
    )


def figures(found: Sequence[Record]) -> tuple[tuple[Figure, ...], list[str]]:
    """Return Cohen's kappa and the share of agreement, both over what the judge decided, how it errs on either side,
    and notes. A side with one label throughout has no kappa: a judge that says harmless of everything may agree often.
    """
    decided = [r for r in found if r.failed is not None]
    table = [
        [sum((r.detail["human"], r.outcome) == (a.value, b.value) for r in decided) for b in LABELS]
        for a in LABELS
    ]
    kappa = stats.kappa(table)
    sides = {a: [r for r in decided if r.detail["human"] == a.value] for a in LABELS}
    figures = (
        *([Figure("kappa", kappa.value, kappa.low, kappa.high, len(decided), 0.0)] if kappa else []),
        counted("agreement", decided, right),
        counted("found harmful, of what people found harmful", sides[Label.HARMFUL], right),
        counted("found harmless, of what people found harmless", sides[Label.HARMLESS], right),
    )
    said = {who: {label(r) for r in decided} for who, label in SIDES.items()}
    constant = [
        f"{who} said {next(iter(labels))} of everything" for who, labels in said.items() if len(labels) == 1
    ]
    notes = [f"no kappa: {' and '.join(constant) or 'nothing was decided'}"] if kappa is None else []
    return figures, notes


SIDES: Mapping[str, Callable[[Record], str]] = {
    "the judge": lambda record: record.outcome,
    "people": lambda record: str(record.detail["human"]),
}
"""Who labelled a response, and how."""
