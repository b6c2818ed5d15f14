"""What a run found, from its artifacts alone: plain JSON files, numbered in the order of the steps.

python examples/read_run.py runs/quickstart
"""

import json
import sys
from pathlib import Path
from typing import Any


def value(iteration: Path, step: str) -> Any:
    """The recorded value of a step (`20_verdicts`), None if the run has not come so far."""
    path = iteration / f"{step}.json"
    return json.loads(path.read_text(encoding="utf-8"))["value"] if path.is_file() else None


def main(root: Path) -> None:
    if not (root / "iterations").is_dir():
        sys.exit(f"{root} is not a run directory: it has no iterations/")
    for iteration in sorted((root / "iterations").iterdir()):
        verdicts = value(iteration, "20_verdicts") or []
        law = value(iteration, "30_constitution") or {"proposals": [], "constitution": {"principles": []}}
        harmful = [v for v in verdicts if v["label"] == "harmful"]
        if metrics := value(iteration, "60_metrics"):
            rate = metrics["violations"]
            interval = f"{rate['value']:.3f} [{rate['low']:.3f}, {rate['high']:.3f}] of {rate['n']}"
            print(f"{iteration.name}  harmful {len(harmful)}/{len(verdicts)}, violations {interval}")
        for proposal in law["proposals"]:
            principle, n = proposal["principle"], len(proposal["principle"]["evidence"])
            print(f"     {proposal['decision']}: {principle['text']} (from {n} failures)")
        for verdict in harmful[:1]:
            response = verdict["response"]
            print(f"     for example: {response['prompt']['text']!r} -> {response['text']!r}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/read_run.py RUN_DIRECTORY")
    main(Path(sys.argv[1]))
