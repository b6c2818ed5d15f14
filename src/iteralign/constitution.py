"""Constitution: the oracle proposes principles for what failed. C_{t+1} = adopt(C_t, O(N_t, C_t))."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import groupby
from typing import Any

from iteralign.asking import Readable, ask
from iteralign.lab import Model
from iteralign.method import Proposing
from iteralign.prompts import PromptSet
from iteralign.reading import last_object, last_paragraph, one_line
from iteralign.types import Amendment, Constitution, Principle, Proposal, Verdict

Draft = tuple[str, str]
"""(category, text) as read from the oracle's reply."""


def amend(
    oracle: Model,
    failures: Sequence[Verdict],
    current: Constitution,
    prompts: PromptSet,
    settings: Proposing,
    t: int,
) -> Amendment:
    """The constitution after the failures of iteration `t`, and every proposal with its fate."""
    base = current if settings.accumulate else Constitution()
    groups = group(failures, settings)
    values = [_shown(category, members, base, settings) for category, members in groups]
    reader = prompts.readers["proposal"]
    replies = ask(oracle, prompts, "propose", values, READABLE[reader])
    read = READERS[reader]
    proposals = [
        _principle(draft, members, t)
        for (_, members), reply in zip(groups, replies, strict=True)
        for draft in read(reply)
    ]
    return adopt(base, proposals, settings)


def group(failures: Sequence[Verdict], settings: Proposing) -> list[tuple[str, tuple[Verdict, ...]]]:
    """The failures of each call to the oracle, by the kind of harm that the judge named."""
    if not failures:
        return []
    if settings.grouping == "none":
        return [("harmful", tuple(failures))]
    ordered = sorted(failures, key=lambda v: v.category)
    return [(k or "harmful", tuple(g)) for k, g in groupby(ordered, key=lambda v: v.category)]


def adopt(constitution: Constitution, proposals: Sequence[Principle], settings: Proposing) -> Amendment:
    """Take each proposal in turn: vetoed, a repetition of one in force, or adopted."""
    fates: list[Proposal] = []
    for principle in proposals:
        fate = _fate(principle, constitution, settings)
        fates.append(fate)
        if fate.decision == "adopted":
            constitution = Constitution((*constitution.principles, principle))
        elif fate.decision == "duplicate":
            constitution = _more_evidence(constitution, principle, fate.reason)
    return Amendment(constitution, tuple(fates))


def read_json(reply: str) -> list[Draft]:
    """`{"principles": [{"category": …, "text": …}]}`; what is not of that form is left out."""
    rows: Any = (last_object(reply) or {}).get("principles", [])
    if not isinstance(rows, list):
        return []
    drafts = [
        (one_line(row.get("category"), 60).lower(), one_line(row.get("text"), 500))
        for row in rows
        if isinstance(row, dict)
    ]
    return [d for d in drafts if d[1]]


def is_proposal(reply: str) -> bool:
    """Whether a proposer said something of the form, be it that nothing is missing."""
    return (last_object(reply) or {}).get("principles") == [] or bool(read_json(reply))


def read_last_paragraph(reply: str) -> list[Draft]:
    """The released code's reading: the last paragraph, whole, is the constitution of the batch."""
    text = last_paragraph(reply)
    return [("", text)] if text else []


READERS: dict[str, Callable[[str], list[Draft]]] = {
    "json": read_json,
    "last-paragraph": read_last_paragraph,
}
READABLE: dict[str, Readable] = {"json": is_proposal, "last-paragraph": lambda _: True}
"""What need not be asked again, by reader."""


def _shown(
    category: str, members: Sequence[Verdict], base: Constitution, settings: Proposing
) -> dict[str, Any]:
    shown = members[: settings.examples] if settings.examples else members
    failures = [
        {"request": v.response.prompt.text, "response": v.response.text, "reason": v.reason} for v in shown
    ]
    return {
        "category": category,
        "failures": failures,
        "responses": " ".join(v.response.text for v in shown),
        "constitution": base.principles,
    }


def _principle(draft: Draft, members: Sequence[Verdict], t: int) -> Principle:
    category, text = draft
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return Principle(f"p-{digest}", text, category, tuple(v.response.prompt.id for v in members), t)


def _fate(principle: Principle, constitution: Constitution, settings: Proposing) -> Proposal:
    words = f"{principle.category} {principle.text}"
    for veto in settings.veto:
        if re.search(rf"(?<!\w){re.escape(veto)}(?!\w)", words, re.IGNORECASE):
            return Proposal(principle, "vetoed", f"contains {veto!r}")
    for old in constitution.principles:
        if alike(old.text, principle.text, settings.duplicate_above):
            return Proposal(principle, "duplicate", old.id)
    return Proposal(principle, "adopted")


def alike(old: str, new: str, threshold: float) -> bool:
    """Whether two texts are the same or more similar than `threshold` (0 to 1, difflib's ratio)."""
    if old == new:
        return True
    # autojunk would ignore the frequent letters of a text of 200 or more, which are nearly all of them.
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    # The first two are cheap upper bounds of the third.
    ratios = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)
    return all(ratio() > threshold for ratio in ratios)


def _more_evidence(constitution: Constitution, principle: Principle, old_id: str) -> Constitution:
    return Constitution(
        tuple(
            replace(p, evidence=tuple(dict.fromkeys((*p.evidence, *principle.evidence))))
            if p.id == old_id
            else p
            for p in constitution.principles
        )
    )
