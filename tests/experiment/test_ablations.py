"""The prompt sets that stand for an ablation go through a whole run, with the organism's oracle."""

from pathlib import Path
from types import ModuleType

import pytest

from iteralign.experiment import grid
from iteralign.experiment.outcomes import collect
from iteralign.record.replay import replay

ARM = '[arms.ablation]\nmethod.prompts = "{}"\n'


@pytest.mark.parametrize("name", ["improved-blind", "improved-splice"])
def test_a_run_under_the_prompt_set_closes_gaps(name: str, sheet: Path, rehearsal: ModuleType) -> None:
    sheet.write_text(sheet.read_text(encoding="utf-8") + ARM.format(name), encoding="utf-8")
    planned = grid.load(str(sheet))
    (cell,) = planned.only("*/ablation/seed-0")
    list(rehearsal.perform(cell.config, Path("out") / cell.place))
    run = collect(planned, Path("out")).runs[cell.place]
    harm = [sum(figures["harmful answers"].values()) for figures in (run.before, run.after)]
    assert harm[0] > harm[1]
    assert run.principles > 0
    (turn,) = replay(Path("out") / cell.place).iterations
    assert turn.revisions
    assert any(r.critique for r in turn.revisions) == (name == "improved-blind")
