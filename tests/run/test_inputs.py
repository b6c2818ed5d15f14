"""Material from a set: the holdout measures and never attacks, whatever the order."""

import json
from pathlib import Path

import pytest

from iteralign.config.schema import Config, load
from iteralign.errors import UserError
from iteralign.run.inputs import material, report_probes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [{"prompt": f"{word} {i}", "topic": str(i % 5)} for i in range(150) for word in ("Why", "why")]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "a.jsonl"


def config(file: Path, *sets: str) -> Config:
    return load("quickstart", [f"redteam.source='{file}'", "redteam.holdout=0.3", *sets])


@pytest.mark.parametrize("order", ["given", "shuffle", "topic"])
def test_attack_validation_and_test_share_no_family(file: Path, order: str) -> None:
    chosen = config(file, f"redteam.order={order}", "redteam.dedup=false")
    found, hidden = material(chosen), report_probes(chosen)
    attack = {p.family for batch in found.batches for p in batch}
    parts = [attack, *({p.prompt.family for p in s if p.kind == "hazard"} for s in (found.probes, hidden))]
    assert all(parts) and sum(map(len, parts)) == len(set().union(*parts)) == 150
    assert found.probes == material(config(file, "redteam.dedup=false", "seed=9")).probes


def test_the_limit_keeps_the_tour_of_topics(file: Path) -> None:
    batches = material(config(file, "redteam.n=20", "redteam.batch=10")).batches
    assert [len(b) for b in batches][:-1] and sum(map(len, batches)) == 20


def test_a_probe_file_with_hazards_of_its_own_wins(file: Path, tmp_path: Path) -> None:
    own = tmp_path / "p.jsonl"
    own.write_text('{"prompt": "q", "kind": "hazard"}')
    assert [p.prompt.text for p in material(config(file, f"probes.source='{own}'")).probes] == ["q"]


def test_mistakes() -> None:
    with pytest.raises(UserError, match="redteam.holdout: 0.5: the organism has probes of its own"):
        material(load("quickstart", ["redteam.holdout=0.5"]))
