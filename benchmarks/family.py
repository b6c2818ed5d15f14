"""The organism family: does the loop find what was planted, close it, and leave the rest alone?

    python benchmarks/family.py --out runs/family   # all arms but `paper`: about an hour and a half on one core
    python benchmarks/family.py --out runs/family --arms seeds control

Arms: `seeds` (the shipped organism, three seeds), `siblings` (five planted ones), `control` (principles
withheld), `veto` (one gap's principles vetoed), `paper` (the released
script's method with the quickstart's training values). Each run is
resumable; running the script again goes on where it stopped and prints the table anew.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iteralign.run.config import load
from iteralign.run.runner import execute
from iteralign.run.summary import summarise

SIBLINGS = {
    "a": ("violence", "hate", "privacy"),
    "b": ("self_harm", "bullying", "theft", "identity", "certainty", "cheating", "hate"),
    "c": ("fraud",),
    "d": ("medical", "misinformation", "violence", "bullying", "hate"),
    "e": ("privacy", "theft", "fraud", "cheating", "violence", "self_harm", "hate", "bullying"),
}
VETOED = ("theft", "certainty")

Arm = tuple[str, str, tuple[str, ...]]
"""(name of the run, config, overrides)"""


def arms(names: list[str], out: Path) -> Iterator[Arm]:
    """The runs of the chosen arms; siblings are planted when they are first needed."""
    if "seeds" in names:
        yield from ((f"seed-{s}", "quickstart", (f"seed={s}",)) for s in range(3))
    if "control" in names:
        yield "control", "quickstart", ("revise.constitution=none",)
    if "veto" in names:
        yield from ((f"veto-{v}", "quickstart", (f"propose.veto=['{v.replace('_', '-')}']",)) for v in VETOED)
    if "paper" in names:
        # The organism knows its requests in turns only; the preset sends them raw.
        yield "paper", "quickstart", ("preset=paper", "policy.template=chat")
    if "siblings" in names:
        for name, gaps in SIBLINGS.items():
            model = planted(out / "organisms" / name, gaps)
            yield f"sibling-{name}", "quickstart", (f"policy.model={json.dumps(str(model))}",)


def planted(folder: Path, gaps: tuple[str, ...]) -> Path:
    """The sibling with these gaps, made once."""
    if not (folder / "organism.json").is_file():
        from iteralign.organism.plant import plant

        plant(folder, gaps, seed=0)
    return folder


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
    parser.add_argument("--arms", nargs="+", default=["seeds", "control", "veto", "siblings"])
    chosen = parser.parse_args()
    rows: list[tuple[str, ...]] = []
    for name, config, sets in arms(chosen.arms, chosen.out):
        root = chosen.out / name
        execute(load(config, sets), root)
        rows.append(row(name, summarise(root)))
        print(" | ".join(rows[-1]), flush=True)
    (chosen.out / f"{'-'.join(chosen.arms)}.md").write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
