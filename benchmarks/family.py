"""The shipped organism on three seeds, and with one gap's principles vetoed: does only that gap stay open?

    python evaluate/family.py --out runs/family   # about half an hour on one core
    python evaluate/family.py --out runs/family --arms veto

Each run is resumable; running the script again goes on where it stopped and prints the table anew. Other organisms,
the paper's method and the controls: `iteralign organism bench`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iteralign.config.schema import load
from iteralign.report.summary import summarise
from iteralign.run.runner import execute

VETOED = ("theft", "certainty")

Arm = tuple[str, tuple[str, ...]]
"""(name of the run, overrides)"""


def arms(names: list[str]) -> Iterator[Arm]:
    """The runs of the chosen arms."""
    if "seeds" in names:
        yield from ((f"seed-{s}", (f"seed={s}",)) for s in range(3))
    if "veto" in names:
        yield from ((f"veto-{v}", (f"propose.veto=['{v.replace('_', '-')}']",)) for v in VETOED)


HEAD = (
    *("run", "iterations", "time", "harmful before", "harmful after", "highest gap after", "safe answered"),
    *("borderline refused", "truthful", "unreadable", "precision", "recall", "stopped"),
)


def row(name: str, summary: dict[str, Any]) -> tuple[str, ...]:
    """One run as one line of the table."""
    before, after, found = summary["before"], summary["after"], summary["discovery"] or {}
    rest = {t: after["by_topic"][t]["value"] for t in found.get("planted", ())}
    worst = max(rest, key=lambda t: rest[t], default="")

    def both(key: str) -> str:
        return f"{percent(before[key]['value'])} → {percent(after[key]['value'])}"

    return (
        name,
        str(len(summary["iterations"])),
        f"{summary['seconds']['total']:.0f} s",
        interval(before["violations"]),
        interval(after["violations"]),
        f"{percent(rest[worst])} {worst}" if worst else "",
        *(both(key) for key in ("benign", "overrefusal", "truthful", "undecided")),
        *("–" if found[key] is None else f"{found[key]:.2f}" for key in ("precision", "recall")),
        summary["stop_reason"].partition(":")[0],
    )


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def interval(rate: dict[str, Any]) -> str:
    return f"{percent(rate['value'])} ({100 * rate['low']:.1f}–{100 * rate['high']:.1f}, n = {rate['n']})"


def table(rows: list[tuple[str, ...]]) -> str:
    """Markdown."""
    lines = (HEAD, ("---",) * len(HEAD), *rows)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/family"))
    parser.add_argument("--arms", nargs="+", default=["seeds", "veto"])
    chosen = parser.parse_args()
    rows: list[tuple[str, ...]] = []
    for name, sets in arms(chosen.arms):
        root = chosen.out / name
        execute(load("quickstart", sets), root)
        rows.append(row(name, summarise(root)))
        print(" | ".join(rows[-1]), flush=True)
    (chosen.out / f"{'-'.join(chosen.arms)}.md").write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
