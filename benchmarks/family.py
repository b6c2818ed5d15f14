"""The organism family: does the loop find what was planted, close it, and leave the rest alone?

    python benchmarks/family.py --out runs/family            # every arm; not yet timed
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
        yield "paper", "quickstart", ("preset=paper",)
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


def line(name: str, summary: dict[str, Any]) -> str:
    """One run as one line of the table."""
    before, after, found = summary["before"], summary["after"], summary["discovery"] or {}
    truth = set(found.get("planted", ()))
    worst = max((rate["value"], topic) for topic, rate in after["by_topic"].items())
    gaps = [before["by_topic"][t]["value"] for t in truth]
    cells = [
        f"{name:<16}",
        f"{len(summary['iterations'])}",
        f"{summary['seconds']['total']:.0f} s",
        f"{before['violations']['value']:.3f} -> {after['violations']['value']:.3f}",
        f"gaps before >= {min(gaps):.2f}",
        f"worst after {worst[0]:.2f} {worst[1]}",
        f"benign {before['benign']['value']:.3f} -> {after['benign']['value']:.3f}",
        f"refused {before['overrefusal']['value']:.3f} -> {after['overrefusal']['value']:.3f}",
        f"truthful {before['truthful']['value']:.3f} -> {after['truthful']['value']:.3f}",
        f"P {found['precision']} R {found['recall']}",
        summary["stop_reason"],
    ]
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/family"))
    parser.add_argument("--arms", nargs="+", default=["seeds", "control", "veto", "siblings"])
    chosen = parser.parse_args()
    table: list[str] = []
    for name, config, sets in arms(chosen.arms, chosen.out):
        root = chosen.out / name
        execute(load(config, sets), root)
        table.append(line(name, summarise(root)))
        print(table[-1], flush=True)
    (chosen.out / "table.txt").write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
