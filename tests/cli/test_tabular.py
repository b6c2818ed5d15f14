"""Tables in four formats, with known figures; no word of a label or a category does anything there."""

import csv
import io

import pytest
from rich.console import Console

from iteralign.cli import tabular
from iteralign.experiment.tables import Row, Section, Table, TableEntry

EVIL = "a|b & 50% $x_1 #{~^}\\ <i>*`[link](x)`* \x1b[31m\u202e"
TABLE = Table(
    "outcomes",
    "Outcomes by arm",
    ("seeds", "harmful answers", "iterations", "difference", "p"),
    (
        Section(
            "m/r",
            (
                Row("ours", (
                    TableEntry(2, "of", n=5),
                    TableEntry(0.125, "share", 0.0213, 0.25, 40),
                    TableEntry(3.25, "mean", n=2),
                    TableEntry(-0.052, "difference", -0.1, 0.0025, 40),
                    TableEntry(0.00004, "p", n=40),
                )),
                Row("late", (TableEntry(0, "of", n=5), None, None, None, None)),
            ),
        ),
    ),
    ("a note",),
)  # fmt: skip
ODD = Table("odd", EVIL, (EVIL,), (Section(EVIL, (Row(EVIL, (TableEntry(1234.0, "count"),)),)),), (EVIL,))


def screen(table: Table, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, markup=False, emoji=False, highlight=False)
    tabular.text(console, table)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_text() -> None:
    assert screen(TABLE) == [
        "",
        "Outcomes by arm",
        "  m/r",
        "           seeds   harmful  iterations     difference      p",
        "                   answers",
        "    ours  2 of 5    12.5 %         3.2           −5.2  4e-05",
        "                  2.1–25.0              −10.0 to +0.2",
        "    late  0 of 5         –           –              –      –",
        "  a note",
    ]


@pytest.mark.parametrize("width", [40, 50, 80, 200])
def test_text_fits_the_screen_and_loses_no_figure(width: int) -> None:
    lines = screen(TABLE, width)
    assert max(map(len, lines)) <= width
    words = " ".join(lines)
    for figure in ("2 of 5", "12.5 %", "2.1–25.0", "3.2", "−5.2", "4e-05"):
        assert figure in words
    assert "…" not in words


def test_markdown() -> None:
    text = tabular.markdown([TABLE], ["report of today"])
    assert "### Outcomes by arm\n\n**m/r**\n\n|  | seeds | harmful answers | iterations |" in text
    assert "| --- | ---: | ---: | ---: | ---: | ---: |" in text
    assert "| ours | 2 of 5 | 12.5 % (2.1–25.0) | 3.2 | −5.2 (−10.0 to +0.2) | 4e-05 |" in text
    assert "| late | 0 of 5 | – | – | – | – |" in text
    assert text.endswith("- a note\n\n- report of today\n")


def test_latex() -> None:
    text = tabular.latex([TABLE], ["report of today"])
    assert text.startswith("% needs the package booktabs\n% report of today\n\\begin{table}\n")
    assert "\\begin{tabular}{lrrrrr}\n\\toprule\n & seeds & harmful answers &" in text
    assert r"ours & 2 of 5 & 12.5 \% (2.1--25.0) & 3.2 & $-$5.2 ($-$10.0 to +0.2) & 4e-05 \\" in text
    assert r"late & 0 of 5 & -- & -- & -- & -- \\" in text
    assert text.count("{") == text.count("}")


def test_csv_is_raw_and_a_missing_figure_is_empty() -> None:
    rows = list(csv.DictReader(io.StringIO(tabular.comma_separated([TABLE]))))
    assert len(rows) == 10
    by = {(r["row"], r["column"]): r for r in rows}
    harm = by["ours", "harmful answers"]
    assert {k: harm[k] for k in ("table", "section", "kind", "value", "low", "high", "n")} == {
        "table": "outcomes",
        "section": "m/r",
        "kind": "share",
        "value": "0.125",
        "low": "0.0213",
        "high": "0.25",
        "n": "40",
    }
    assert by["ours", "p"]["value"] == "4e-05"
    assert by["late", "harmful answers"]["value"] == ""


def test_a_range_stands_for_itself() -> None:
    entry = TableEntry(0.05, "range", 0.0, 0.125, 3)
    assert (tabular.value(entry), tabular.interval(entry)) == ("0.0–12.5", "")


def test_no_word_does_anything() -> None:
    everything = [
        "\n".join(screen(ODD, 300)),
        tabular.markdown([ODD], [EVIL]),
        tabular.latex([ODD], [EVIL]),
        tabular.comma_separated([ODD]),
    ]
    for text in everything:
        assert not {"\x1b", "\u202e"} & set(text)
    assert r"a\|b & 50% $x\_1 \#\{\~^\}\\ \<i\>\*\`\[link\](x)\`\*" in everything[1]
    assert r"\& 50\% \$x\_1 \#\{\textasciitilde{}\textasciicircum{}\}\textbackslash{}" in everything[2]
    (row,) = csv.DictReader(io.StringIO(everything[3]))
    assert row["value"] == "1234.0"


def test_no_cell_is_a_formula() -> None:
    table = Table("t", "t", ("=1+1",), (Section("@x", (Row("-y", (None,)),)),))
    (row,) = csv.DictReader(io.StringIO(tabular.comma_separated([table])))
    assert (row["column"], row["section"], row["row"]) == ("'=1+1", "'@x", "'-y")
