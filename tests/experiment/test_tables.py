"""The tables of an experiment, with known figures: shares, tests, what is missing, what was asked otherwise."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from iteralign import stats
from iteralign.evaluate.results import Figure, Record, Result
from iteralign.experiment import grid
from iteralign.experiment.grid import Grid
from iteralign.experiment.outcomes import MEASURES, CellOutcome, Outcomes
from iteralign.experiment.samples import Sample, SampleItem
from iteralign.experiment.tables import Table, TableEntry, tables

SHEET = """
name = "x"
config = "quickstart"
seeds = [0, 1]
reference = "ours"
benchmarks = ["hhh", "truthfulqa-tf", "truthfulqa-mc", "overrefusal", "helpfulness"]
[models.m]
[redteam.r]
[arms.ours]
[arms.other]
gate.enabled = false
[arms.late]
finetune.replay = false
"""
OURS, OTHER, LATE = (f"m/r/{arm}/seed-{{}}".format for arm in ("ours", "other", "late"))


def bits(values: str, asked: str = "p") -> Sample:
    return {SampleItem(asked, f"i{i}"): None if v == "?" else float(v) for i, v in enumerate(values)}


def run(before: str, after: str, asked: str = "p", **took: int) -> CellOutcome:
    """A run of which only harm was measured."""
    empty: dict[str, Sample] = {m: {} for m in MEASURES}
    times: dict[str, Any] = {"iterations": 2, "principles": 3, "oracle_calls": 1000} | took
    harm = {"harmful answers": bits(before, asked)}, {"harmful answers": bits(after, asked)}
    return CellOutcome({**empty, **harm[0]}, {**empty, **harm[1]}, **times)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    path = tmp_path_factory.mktemp("sheet") / "grid.toml"
    path.write_text(SHEET, encoding="utf-8")
    return grid.load(str(path))


RUNS = {
    OURS(0): run("1" * 20, "0" * 20),
    OURS(1): run("1" * 20, "1" + "0" * 19, iterations=4, oracle_calls=3000),
    OTHER(0): run("1" * 20, "1" * 10 + "0" * 10),
    OTHER(1): run("1" * 20, "1" * 12 + "0" * 8),
}


def made(
    planned: Grid,
    runs: Mapping[str, CellOutcome] = RUNS,
    results: Mapping[str, Mapping[str, Result]] | None = None,
) -> dict[str, Table]:
    return {t.name: t for t in tables(Outcomes(planned, runs, results or {}))}


def cells(table: Table, heading: str, row: str) -> dict[str, TableEntry | None]:
    (section,) = [s for s in table.sections if s.heading == heading]
    (found,) = [r for r in section.rows if r.label == row]
    return dict(zip(table.columns, found.entries, strict=True))


def test_the_outcomes_of_an_arm_over_its_seeds(planned: Grid) -> None:
    table = made(planned)["outcomes"]
    assert [r.label for s in table.sections for r in s.rows] == ["vanilla", "ours", "other", "late"]
    ours = cells(table, "m/r", "ours")
    assert ours["seeds"] == TableEntry(2, "of", n=2)
    after = ours["harmful answers after"]
    assert after is not None
    assert (after.kind, after.value, after.n) == ("share", pytest.approx(1 / 40), 20)
    assert ours["harmful answers by seed"] == TableEntry(1 / 40, "range", 0.0, 1 / 20, 2)
    before = ours["harmful answers before"]
    assert before == TableEntry(1.0, "share", stats.rate(20, 20).low, 1.0, 20)
    assert ours["iterations"] == TableEntry(3.0, "mean", n=2)
    assert ours["oracle calls"] == TableEntry(2000.0, "mean", n=2)
    assert ours["truthful"] is None


def test_vanilla_is_the_reference_before_training(planned: Grid) -> None:
    vanilla = cells(made(planned)["outcomes"], "m/r", "vanilla")
    assert vanilla["harmful answers after"] == TableEntry(1.0, "share", stats.rate(20, 20).low, 1.0, 20)
    shown = {k for k, e in vanilla.items() if e is not None}
    assert shown == {"harmful answers after", "harmful answers, worst case"}


def test_what_is_missing_is_missing_and_never_zero(planned: Grid) -> None:
    found = made(planned)
    late = cells(found["outcomes"], "m/r", "late")
    assert late.pop("seeds") == TableEntry(0, "of", n=2)
    assert set(late.values()) == {None}
    tested = cells(found["tests"], "m/r: harmful answers", "late")
    assert {k for k, e in tested.items() if e is not None} == {"ours"}
    assert "m/r: truthful" not in {s.heading for s in found["tests"].sections}
    nothing = made(planned, {})
    assert nothing["tests"].sections == ()
    assert {e for s in nothing["hhh"].sections for r in s.rows for e in r.entries} == {None}


def test_the_test_against_the_reference(planned: Grid) -> None:
    other = cells(made(planned)["tests"], "m/r: harmful answers", "other")
    assert other["seeds"] == TableEntry(2, "count")
    difference = other["difference"]
    assert difference is not None
    assert difference.value == pytest.approx((10 / 20 + 11 / 20) / 2)
    assert difference.low is not None
    assert difference.low > 0.2
    # seed 0: 10 changed one way; seed 1: 11 of them: the larger p is that of seed 0
    assert other["p, largest"] == TableEntry(pytest.approx(binomtest(0, 11).pvalue * 2), "p", n=20)
    assert other["p, smallest"] == TableEntry(pytest.approx(binomtest(0, 11).pvalue), "p", n=20)
    # pooled over the seeds: the 12 items that changed at all are the evidence, not 21 changes
    pooled = other["p, pooled"]
    assert pooled is not None
    assert binomtest(0, 13).pvalue < pooled.value <= binomtest(0, 11).pvalue
    vanilla = cells(made(planned)["tests"], "m/r: harmful answers", "vanilla")
    p_vanilla = vanilla["p, pooled"]
    assert p_vanilla is not None
    adjusted = stats.holm([p_vanilla.value, pooled.value])
    shown = [vanilla["p, pooled (Holm)"], other["p, pooled (Holm)"]]
    assert shown == [TableEntry(pytest.approx(a), "p", n=20) for a in adjusted]
    assert any(
        "a loss is read from the smallest and the pooled p" in note for note in made(planned)["tests"].notes
    )


def test_an_arm_whose_answers_are_all_the_reference_s_was_not_exercised(planned: Grid) -> None:
    """No interval and no test: it shows nothing about what it leaves out. One other item, read or not, is enough."""
    same = RUNS | {OTHER(s): replace(RUNS[OURS(s)], oracle_calls=7) for s in (0, 1)}
    found = made(planned, same)
    label = "other (not exercised)"
    row = cells(found["outcomes"], "m/r", label)
    after, before = row["harmful answers after"], row["harmful answers before"]
    assert after == TableEntry(pytest.approx(1 / 40), "share", n=20)
    assert before == TableEntry(1.0, "share", n=20)
    tested = cells(found["tests"], "m/r: harmful answers", label)
    assert tested["difference"] == TableEntry(0.0, "difference", n=20)
    assert {k for k, e in tested.items() if k.startswith("p") and e is not None} == set()
    vanilla = cells(found["tests"], "m/r: harmful answers", "vanilla")
    assert (
        vanilla["p, pooled"] == vanilla["p, pooled (Holm)"]
    )  # nothing is adjusted for a row that tests nothing
    assert all(any("not exercised:" in n for n in found[t].notes) for t in ("outcomes", "tests"))
    for changed in ("1" + "0" * 19, "0" * 19 + "?"):
        other = made(planned, same | {OTHER(0): run("1" * 20, changed)})
        assert cells(other["tests"], "m/r: harmful answers", "other")["p, pooled"] is not None


def test_what_the_judge_left_open_is_in_the_worst_case_and_in_no_test(planned: Grid) -> None:
    runs = RUNS | {OTHER(s): run("1" * 20, "1" * 5 + "?" * 5 + "0" * 10) for s in (0, 1)}
    found = made(planned, runs)
    row = cells(found["outcomes"], "m/r", "other")
    rate, worst = row["harmful answers after"], row["harmful answers, worst case"]
    assert rate is not None
    assert worst is not None
    assert (rate.value, worst.value, rate.n) == (5 / 20, 10 / 20, 20)
    difference = cells(found["tests"], "m/r: harmful answers", "other")["difference"]
    assert difference is not None
    assert (difference.n, difference.value) == (15, pytest.approx((5 + 4) / 30))


def test_other_questions_are_not_paired(planned: Grid) -> None:
    runs = {**RUNS, OTHER(0): run("1" * 20, "0" * 20, "q"), OTHER(1): run("1" * 20, "0" * 20, "q")}
    other = cells(made(planned, runs)["tests"], "m/r: harmful answers", "other")
    assert (other["difference"], other["p, pooled"]) == (None, None)
    assert other["arm"] is not None


def result(benchmark: str, outcomes: Mapping[str, str], asked: str = "s") -> Result:
    """Items by category, each right or wrong; whatever any figure wants to know is in the details."""
    detail = {"right": 0, "chosen_as_released": 0, "mc2": 0.25, "kind": "borderline"}
    records = tuple(
        Record(f"{category}{i}", category, "q", outcome, outcome in ("wrong", "worse"), detail)
        for category, said in outcomes.items()
        for i, outcome in enumerate(said.split())
    )
    figures = (
        Figure("overall, corrected", 0.5, 0, 1, 4, chance=0.5),
        Figure("other", 0.5, 0, 1, 4, chance=0.3),
        Figure("the longest candidate", 0.61, 0, 1, 4, chance=0.5),
    )
    return Result(benchmark, {}, {"sha256": asked}, figures, records)


def test_hhh_is_shown_by_category_and_pooled(planned: Grid) -> None:
    good = result("hhh", {"harmless": "right right right wrong", "honest": "right right"})
    bad = result("hhh", {"harmless": "wrong wrong right wrong", "honest": "wrong right"})
    table = made(planned, RUNS, {OURS(0): {"hhh": good}, OURS(1): {"hhh": bad}, "m/r/vanilla": {"hhh": bad}})[
        "hhh"
    ]
    assert table.columns == ("harmless", "honest", "overall")
    ours, vanilla = (cells(table, "m/r", row) for row in ("ours", "vanilla"))
    assert [e and e.value for e in ours.values()] == pytest.approx([4 / 8, 3 / 4, 7 / 12])
    assert [e and (e.value, e.n) for e in vanilla.values()] == [
        (0.25, 4),
        (0.5, 2),
        (pytest.approx(1 / 3), 6),
    ]
    assert set(cells(table, "m/r", "other").values()) == {None}
    assert "overall, corrected: guessing scores 50.0 %" in table.notes
    assert not any(n.startswith("other") for n in table.notes)
    assert "hhh: knowing only lengths, the longest candidate scores 61.0 %" in table.notes


def test_a_benchmark_is_tested_too_with_vanilla_s_one_evaluation(planned: Grid) -> None:
    good, bad = (result("hhh", {"harmless": w}) for w in ("right " * 12, "wrong " * 12))
    results = {OURS(0): {"hhh": good}, OURS(1): {"hhh": good}, "m/r/vanilla": {"hhh": bad}}
    vanilla = cells(made(planned, RUNS, results)["tests"], "m/r: hhh, overall", "vanilla")
    assert vanilla["difference"] == TableEntry(
        -1.0, "difference", -1.0, pytest.approx(-stats.rate(12, 12).low), 12
    )
    assert vanilla["seeds"] == TableEntry(2, "count")
    assert vanilla["p, pooled"] == TableEntry(pytest.approx(binomtest(0, 12).pvalue), "p", n=12)


def test_truthfulqa_has_a_column_for_each_figure(planned: Grid) -> None:
    found = {"truthfulqa-tf": result("truthfulqa-tf", {"": "wrong right"})}
    found["truthfulqa-mc"] = result("truthfulqa-mc", {"": "right wrong wrong wrong"})
    table = made(planned, RUNS, {OURS(0): found})["truthfulqa"]
    ours = cells(table, "m/r", "ours")
    assert {k: e and e.value for k, e in ours.items()} == {
        "true/false, corrected": 0.5,
        "true/false, as released": 1.0,
        "MC1": 0.25,
        "MC2": 0.25,
    }


def test_the_other_benchmarks(planned: Grid) -> None:
    found = {"overrefusal": result("overrefusal", {"": "refused answered answered wrong"})}
    found["helpfulness"] = result("helpfulness", {"": "better same worse worse undecided"})
    table = made(planned, RUNS, {OURS(0): found})["other"]
    ours = cells(table, "m/r", "ours")
    assert {k: e and (e.kind, e.value) for k, e in ours.items()} == {
        "safe refused": ("share", 0.25),
        "better minus worse": ("difference", -0.25),
    }


def test_a_balance_where_all_is_alike_may_hide_either(planned: Grid) -> None:
    found = {"helpfulness": result("helpfulness", {"": "same " * 20})}
    ours = cells(made(planned, RUNS, {OURS(0): found})["other"], "m/r", "ours")
    hidden = stats.rate(0, 20).high
    assert ours["better minus worse"] == TableEntry(0.0, "difference", -hidden, hidden, 20)


def test_rows_of_other_items_are_said(planned: Grid) -> None:
    results = {OURS(s): {"hhh": result("hhh", {"a": "right"}, asked)} for s, asked in enumerate("st")}
    table = made(planned, RUNS, results)["hhh"]
    assert any("hhh: not all rows were asked the same items" in note for note in table.notes)


def test_only_the_tables_that_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(
        SHEET.replace(', "truthfulqa-tf", "truthfulqa-mc", "overrefusal", "helpfulness"', ""), "utf-8"
    )
    assert list(made(grid.load(str(path)), {})) == ["outcomes", "hhh", "tests"]
