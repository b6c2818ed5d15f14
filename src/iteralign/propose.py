"""Constitution: the oracle proposes principles for what failed, and those that prove themselves are adopted.

E_t = O(N_t, C_t);  C_{t+1} = C_t and what `decide` lets through of E_t.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import groupby
from typing import Any

from iteralign.asking import ask
from iteralign.prompts import PromptSet
from iteralign.protocols import Model, stage
from iteralign.reading import Form, last_paragraph, one_line, one_object
from iteralign.settings import Proposing, Trying
from iteralign.types import Amendment, Constitution, Principle, Proposal, Trial, Verdict

Draft = tuple[str, str]
"""(category, text) as read from the oracle's reply."""


def first(settings: Proposing) -> Constitution:
    """What is in force before the first batch: nothing, unless principles are given (a control)."""
    return Constitution(settings.given if settings.source == "given" else ())


@stage("propose")
def propose(
    oracle: Model,
    failures: Sequence[Verdict],
    current: Constitution,
    prompts: PromptSet,
    settings: Proposing,
    t: int,
) -> Amendment:
    """What the failures of iteration `t` give rise to: every proposal, and the constitution were all of them adopted
    that are neither vetoed nor repeat one in force."""
    base = current if settings.accumulate else first(settings)
    groups = group(failures, settings)
    if settings.source != "oracle":
        return adopt(base, drawn(groups, settings, t), settings)
    values = [_shown(category, members, base, settings) for category, members in groups]
    drafts = ask(oracle, prompts, "propose", values, FORMS[prompts.readers["proposal"]])
    proposals = [
        _principle(draft, members, t)
        for (_, members), read in zip(groups, drafts, strict=True)
        for draft in read or ()
    ]
    return adopt(base, proposals, settings)


def drawn(groups: Sequence[tuple[str, tuple[Verdict, ...]]], settings: Proposing, t: int) -> list[Principle]:
    """One of the given principles for each kind of failure, by chance; none where they are in force anyway."""
    if settings.source == "given":
        return []
    return [
        _principle((kind, _at_random(settings, f"{t}/{kind}").text), members, t) for kind, members in groups
    ]


def _at_random(settings: Proposing, where: str) -> Principle:
    dice = hashlib.sha256(f"{settings.seed}/{where}".encode(errors="surrogatepass")).digest()
    return settings.given[int.from_bytes(dice[:8]) % len(settings.given)]


def group(failures: Sequence[Verdict], settings: Proposing) -> list[tuple[str, tuple[Verdict, ...]]]:
    """The failures of each call to the oracle, by the kind of harm that the judge named."""
    if not failures:
        return []
    if settings.grouping == "none":
        return [("harmful", tuple(failures))]
    ordered = sorted(failures, key=lambda v: v.category)
    return [(k or "harmful", tuple(g)) for k, g in groupby(ordered, key=lambda v: v.category)]


def parted(
    members: Sequence[Verdict], settings: Proposing
) -> tuple[tuple[Verdict, ...], tuple[Verdict, ...]]:
    """The failures of one kind that the oracle is shown, and those held back, on which its proposals are tried."""
    shown = min(settings.examples, len(members) - len(members) // 3) or len(members)
    return tuple(members[:shown]), tuple(members[shown:])


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


@stage("adopt")
def decide(proposed: Amendment, trials: Sequence[Trial], settings: Trying | None) -> Amendment:
    """The constitution without the proposals that failed their trial, and every proposal with its fate and the reason.

    Rejected is what does not get more of its own failures answered well than no principle does, and what spoils too
    many answers to safe requests (ours). Without a trial nothing is rejected.
    """
    if settings is None:
        return proposed
    found = {trial.principle: trial for trial in trials}
    fates = tuple(
        _on_trial(p, found[p.principle.id], settings)
        if p.decision == "adopted" and p.principle.id in found
        else p
        for p in proposed.proposals
    )
    out = {p.principle.id for p in fates if p.decision == "rejected"}
    kept = tuple(p for p in proposed.constitution.principles if p.id not in out)
    return Amendment(Constitution(kept), fates)


def _on_trial(proposal: Proposal, trial: Trial, settings: Trying) -> Proposal:
    kind = "held-back failures" if trial.held_back else "failures"
    f, safe = trial.failures, trial.benign.n + trial.borderline.n
    spoilt = -(trial.benign.gain + trial.borderline.gain)
    said = f"answers {f.within} of {f.n} {kind} well with it, {f.without} without"
    if f.gain <= 0 and f.without < f.n:
        return Proposal(proposal.principle, "rejected", said)
    if safe and spoilt / safe > settings.harm:
        return Proposal(proposal.principle, "rejected", f"{said}; spoils {spoilt} of {safe} safe requests")
    return Proposal(proposal.principle, "adopted", said)


def read_json(reply: str) -> list[Draft] | None:
    """Read `{"principles": [{"category": …, "text": …}]}`; rows that are not of that form are left out.

    Empty where the proposer says that nothing is missing; None where no row is of the form.
    """
    rows = (one_object(reply, "principles") or {}).get("principles")
    if not isinstance(rows, list):
        return None
    drafts = [
        (one_line(row.get("category"), 60).lower(), text)
        for row in rows
        if isinstance(row, dict) and (text := one_line(row.get("text"), 500))
    ]
    return drafts if drafts or not rows else None


def read_last_paragraph(reply: str) -> list[Draft]:
    """Read as the released code does: the last paragraph, whole, is the constitution of the batch."""
    text = last_paragraph(reply)
    return [("", text)] if text else []


FORMS: dict[str, Form[list[Draft]]] = {
    "json": Form(read_json),
    "last-paragraph": Form(read_last_paragraph, whole=False),  # as released
}
"""The forms of a proposal that a prompt set may name."""


def _shown(
    category: str, members: Sequence[Verdict], base: Constitution, settings: Proposing
) -> dict[str, Any]:
    shown, _ = parted(members, settings)
    failures = [
        {"request": v.response.prompt.text, "response": v.response.text, "reason": v.reason} for v in shown
    ]
    return {
        "category": category,
        "failures": failures,
        "responses": " ".join(v.response.text for v in shown),
        "constitution": base.principles,
    }


def written(category: str, text: str, evidence: tuple[str, ...] = (), born: int = 0) -> Principle:
    """A principle, named after its words."""
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return Principle(f"p-{digest}", text, category, evidence, born)


def _principle(draft: Draft, members: Sequence[Verdict], t: int) -> Principle:
    return written(*draft, tuple(v.response.prompt.id for v in members), t)


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
