"""Which runs the benchmark is made of, and where they lie.

    OUT/organisms/LETTER    the planted siblings
    OUT/runs/ARM/LETTER     ordinary run directories: `iteralign show`, `run` and `compare` take them like any other

The path of an organism, as OUT gives it, is part of what a run was made with: a relative OUT is taken up again from the
same folder only.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from iteralign.config.schema import Config, load
from iteralign.errors import UserError, unknown
from iteralign_organism.discovery.family import FAMILY

CONFIG = "quickstart"
OUT = Path("runs/bench")
ARMS: dict[str, tuple[str, ...]] = {
    "improved": (),
    # The organism knows its requests in turns only; the preset sends them raw.
    "paper": ("preset=paper", "policy.template=chat"),
    "random": ("propose.source=drawn", "propose.principles=organism-pool", "trial.enabled=false"),
    "withheld": ("revise.constitution=none",),
}
"""What departs from the quickstart in each arm."""

ABOUT = {
    "improved": "the default method",
    "paper": "the released script's method with the quickstart's training values",
    "random": "principles drawn at random from a list, whatever failed",
    "withheld": "principles are found, and revisions are made without them",
}


@dataclass(frozen=True, slots=True)
class Bench:
    """The benchmark in folder `out`, or a part of it."""

    out: Path = OUT
    arms: tuple[str, ...] = tuple(ARMS)
    siblings: tuple[str, ...] = tuple(FAMILY)

    @property
    def jobs(self) -> Iterator[tuple[str, str]]:
        """(arm, sibling) of each run, sibling by sibling: so that arms can be compared early."""
        return ((arm, sibling) for sibling in self.siblings for arm in self.arms)

    def organism(self, sibling: str) -> Path:
        return self.out / "organisms" / sibling

    def root(self, arm: str, sibling: str) -> Path:
        return self.out / "runs" / arm / sibling

    def config(self, arm: str, sibling: str) -> Config:
        """What the run of an arm on a sibling is made with."""
        model = f"policy.model={json.dumps(str(self.organism(sibling)))}"
        return load(CONFIG, (model, *ARMS[arm]))


def chosen(out: Path, arms: Sequence[str], siblings: Sequence[str]) -> Bench:
    """The benchmark with these arms and siblings, in the order of the tables; none named is all. Raises UserError."""
    return Bench(out, _named("--arms", arms, ARMS), _named("--siblings", siblings, FAMILY))


def _named(option: str, names: Sequence[str], table: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    wanted = [name.strip() for name in names if name.strip()]
    for name in wanted:
        if name not in table:
            raise unknown(option, name, table)
    if names and not wanted:
        raise UserError(f"{option}: names none; allowed: {', '.join(table)}")
    return tuple(name for name in table if name in wanted or not wanted)
