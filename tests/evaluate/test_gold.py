"""Human labels and XSTest's prompts: their formats, what a judge's habits score, and bad rows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iteralign.errors import UserError
from iteralign.evaluate import judges
from iteralign.evaluate.items import Labelled, read_gold, read_xstest
from iteralign.types import Label, Verdict

ROWS = [
    {"prompt": f"q {i}", "response": f"a {i}", "label": "harmful" if i % 4 == 0 else "harmless"}
    for i in range(40)
]


def judged(found: tuple[Labelled, ...], says: Callable[[int, Label], Label]) -> dict[str, float]:
    verdicts = [Verdict(r, says(i, label)) for i, (r, label) in enumerate(found)]
    return {f.name: f.value for f in judges.agreement(judges.labelled(found, verdicts))[0]}


def test_kappa_is_one_for_a_perfect_judge_and_agreement_with_it() -> None:
    found = read_gold(ROWS, "rows")
    assert judged(found, lambda _, label: label) == {
        "kappa": 1.0,
        "agreement": 1.0,
        "found harmful, of what people found harmful": 1.0,
        "found harmless, of what people found harmless": 1.0,
    }


@pytest.mark.parametrize(
    ("says", "kept", "note"),
    [
        (lambda *_: Label.HARMLESS, range(40), "no kappa: the judge said harmless of everything"),
        (lambda *_: Label.HARMFUL, range(40), "no kappa: the judge said harmful of everything"),
        (lambda i, _: list(Label)[i % 2], range(1, 40, 4), "no kappa: people said harmless of everything"),
        (lambda *_: Label.UNPARSED, range(40), "no kappa: nothing was decided"),
    ],
)
def test_a_constant_judge_has_no_kappa_and_that_is_said(
    says: Callable[[int, Label], Label], kept: range, note: str
) -> None:
    found = read_gold([ROWS[i] for i in kept], "rows")
    verdicts = [Verdict(r, says(i, label)) for i, (r, label) in enumerate(found)]
    figures, notes = judges.agreement(judges.labelled(found, verdicts))
    assert (notes, "kappa" in {f.name for f in figures}) == ([note], False)


def test_what_the_judge_did_not_decide_counts_in_no_figure() -> None:
    found = read_gold(ROWS, "rows")
    verdicts = [Verdict(r, Label.UNPARSED if i < 10 else label) for i, (r, label) in enumerate(found)]
    records = judges.labelled(found, verdicts)
    assert [r.failed for r in records] == [None] * 10 + [False] * 30
    assert {f.name: f.n for f in judges.agreement(records)[0]}["kappa"] == 30


def test_the_published_gold_set(public: Path) -> None:
    rows = [
        json.loads(line)
        for line in (public / "openai_rbr_gold" / "train.jsonl").read_text("utf-8").splitlines()
    ]
    found = read_gold(rows, "gold")
    assert len(found) == 351
    assert sum(label is Label.HARMFUL for _, label in found) == 17
    assert judged(found, lambda _, label: label)["kappa"] == 1.0
    assert judged(found, lambda *_: Label.HARMLESS)["agreement"] == pytest.approx(334 / 351)


TURN = {"role": "user", "content": "q"}
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "q", "label": "harmful"}, "no field 'response'; it has prompt, label"),
    ({"prompt": "q", "response": " ", "label": "harmful"}, "field 'response' is blank"),
    (
        {"prompt": "q", "response": "a", "label": "harmfull"},
        "label: unknown value 'harmfull'; did you mean 'harmful'?",
    ),
    ({"prompt": [], "completion": "a", "propositions": {}}, "field 'prompt' is not a list of turns"),
    (
        {"prompt": [TURN], "completion": [TURN], "propositions": {}},
        "propositions say nothing of disallowed_content",
    ),
]


@pytest.mark.parametrize(("row", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_a_bad_row_is_one_line(row: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        read_gold([ROWS[0], row], "f")
    assert str(caught.value).startswith(f"f: row 2: {said}")


def test_xstest_is_read_in_both_of_its_forms() -> None:
    first = [{"prompt": "a?", "type": "homonyms"}, {"prompt": "b?", "type": "contrast_homonyms"}]
    second = [r | {"label": label} for r, label in zip(first, ("safe", "unsafe"), strict=True)]
    found = read_xstest(first, "f")
    assert found == read_xstest(second, "f")
    assert [(p.kind, p.prompt.topic) for p in found] == [("borderline", "homonyms"), ("hazard", "homonyms")]


def test_xstest_refuses_what_measures_nothing() -> None:
    safe = {"prompt": "a?", "label": "safe"}
    for rows, said in (
        ([{"prompt": "a?", "label": "unsafe"}], "f: no safe prompt in it"),
        ([safe, safe], "f: row 2 repeats the prompt of row 1"),
        ([{"prompt": "a?"}], "f: row 1: no field 'label' or 'type'"),
        ([{"prompt": " ", "label": "safe"}], "f: row 1: field 'prompt' is blank"),
        ([{"prompt": "a?", "label": "saef"}], "f: row 1: label: unknown value 'saef'; did you mean 'safe'?"),
    ):
        with pytest.raises(UserError) as caught:
            read_xstest(rows, "f")
        assert str(caught.value).startswith(said)
