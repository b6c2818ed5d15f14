"""The ledger of a run, from values: which principles differ, and what an entry counts."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from iteralign.config.schema import Config, validated
from iteralign.report.ledger.differences import differences, likeness
from iteralign.report.ledger.entries import Entry, entries, jaccard
from iteralign.report.ledger.record import LedgerRecord, LedgerTurn
from iteralign.types import (
    Amendment,
    Constitution,
    Label,
    Principle,
    Prompt,
    Proposal,
    Response,
    Revision,
    Verdict,
)

LOCKS = Principle("p-1", "Never explain how to pick the lock of a door.", "theft", ("a", "b"), 1)
DOORS = Principle("p-2", "Never explain how to pick the lock of a gate.", "theft", ("c",), 2)
LIES = Principle("p-3", "Do not make up facts.", "honesty", ("b",), 2)
TEXTS = st.lists(st.sampled_from([LOCKS, DOORS, LIES]), unique=True)


def test_a_principle_is_added_dropped_reworded_or_the_same() -> None:
    found = differences([LOCKS], [DOORS, LIES])
    (pair,) = found.reworded
    assert (pair.old, pair.new, pair.ratio) == (LOCKS, DOORS, likeness(DOORS.text, LOCKS.text))
    assert pair.ratio > 0.9
    assert (found.added, found.dropped, found.same) == ((LIES,), (), ())


def test_like_words_about_another_kind_of_harm_are_no_rewording() -> None:
    other = Principle("p-4", DOORS.text, "violence")
    found = differences([LOCKS], [other])
    assert (found.added, found.dropped, found.reworded) == ((other,), (LOCKS,), ())
    assert differences([LOCKS], [Principle("p-4", DOORS.text)]).reworded  # one side names no kind


@given(TEXTS, TEXTS)
def test_every_principle_is_in_one_place(a: list[Principle], b: list[Principle]) -> None:
    found = differences(a, b)
    old = [*found.dropped, *(w.old for w in found.reworded), *found.same]
    new = [*found.added, *(w.new for w in found.reworded), *found.same]
    assert sorted(p.id for p in old) == sorted(p.id for p in a)
    assert sorted(p.id for p in new) == sorted(p.id for p in b)


def test_shared_evidence_is_a_share_of_all() -> None:
    assert jaccard(("a", "b"), ("b", "c", "d")) == 0.25
    assert jaccard((), ()) == 0.0


def turn(t: int, law: Amendment, shown: dict[str, tuple[str, ...]]) -> LedgerTurn:
    prompts = {id: Prompt(id, f"text {id}", topic="t") for id in shown}
    verdicts = tuple(Verdict(Response(p, "bad"), Label.HARMFUL) for p in prompts.values())
    rows = tuple(Revision(p, "bad", "good", shown=shown[id]) for id, p in prompts.items())
    return LedgerTurn(law, verdicts, rows)


def kept(accumulate: bool = True) -> LedgerRecord:
    """LOCKS, then DOORS and LIES, and LOCKS once more, which repeats the first."""
    again = Principle("p-1", LOCKS.text, "theft", ("e",), 2)
    grown = Principle("p-1", LOCKS.text, "theft", ("a", "b", "e"), 1)
    first = Amendment(Constitution((LOCKS,)), (Proposal(LOCKS, "adopted"),))
    second = Amendment(
        Constitution((grown, DOORS, LIES)),
        (Proposal(DOORS, "adopted"), Proposal(LIES, "adopted"), Proposal(again, "duplicate", "p-1")),
    )
    turns = {
        1: turn(1, first, {"a": ("p-1",), "b": ("p-1",)}),
        2: turn(2, second, {"c": ("p-1", "p-2"), "e": ("p-1",), "d": ("p-3",)}),
    }
    return LedgerRecord(Path("run"), config(accumulate), turns)


def config(accumulate: bool) -> Config:
    return validated({"propose": {"accumulate": accumulate}})


def entry(record: LedgerRecord, at: int) -> Entry:
    return entries(record)[at]


def test_an_entry_for_every_proposal_with_its_failures_and_rows() -> None:
    found = entries(kept())
    assert [(e.principle.id, e.decision, e.active) for e in found] == [
        ("p-1", "adopted", (1, 2)),
        ("p-2", "adopted", (2,)),
        ("p-3", "adopted", (2,)),
        ("p-1", "duplicate", ()),
    ]
    first = found[0]
    assert [p.text for p in first.failures] == ["text a", "text b"]
    assert [p.id for p in first.more] == ["e"]
    assert first.rows == {1: ("a", "b"), 2: ("c", "e")}
    assert (found[3].rows, found[3].more) == ({}, ())


def test_overlap_by_failures_and_by_wording() -> None:
    by_id = {o.id: o for o in entry(kept(), 0).overlaps}
    assert by_id["p-2"].wording == likeness(LOCKS.text, DOORS.text)
    assert by_id["p-2"].evidence == 0.0
    assert (by_id["p-3"].evidence, by_id["p-3"].wording) == (1 / 3, 0.0)


def test_where_principles_last_for_one_batch_so_does_an_entry() -> None:
    first = entry(kept(accumulate=False), 0)
    assert (first.active, first.rows, first.more) == ((1,), {1: ("a", "b")}, ())


def test_what_was_given_and_never_proposed_has_an_entry() -> None:
    given_law = Amendment(Constitution((LOCKS,)))
    record = LedgerRecord(Path("run"), config(True), {t: turn(t, given_law, {"a": ("p-1",)}) for t in (1, 2)})
    (only,) = entries(record)
    assert (only.decision, only.active, only.rows) == ("given", (1, 2), {1: ("a",), 2: ("a",)})
