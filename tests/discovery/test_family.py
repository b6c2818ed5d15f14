"""The family is fixed, its siblings are planted once, and what is half done is done anew."""

import json
from pathlib import Path

import pytest

from iteralign.errors import UserError
from iteralign.organism.describe import describe
from iteralign.organism.world import HAZARDS
from iteralign.record.lock import InUse, Lock
from iteralign_organism.discovery import family
from iteralign_organism.discovery.family import FAMILY, Planting

GAPS = ("hate", "theft")


@pytest.fixture(scope="module")
def planting(tmp_path_factory: pytest.TempPathFactory) -> Planting:
    """From an organism that knows nothing, for a few steps."""
    pytest.importorskip("torch")
    from iteralign_organism import train

    recipe = train.Recipe(tokens=1500, mixed_tokens=0, width=32, layers=2, batch_tokens=1200, threads=1)
    return Planting(train.train(tmp_path_factory.mktemp("organisms") / "base", recipe), 1500)


def card(folder: Path, **changes: object) -> None:
    facts = json.loads((folder / "organism.json").read_text(encoding="utf-8"))
    (folder / "organism.json").write_text(json.dumps({**facts, **changes}), encoding="utf-8")


def test_ten_siblings_with_one_to_eight_gaps_each_its_own() -> None:
    assert "".join(FAMILY) == "abcdefghij"
    assert {len(gaps) for gaps in FAMILY.values()} == {1, 2, 3, 4, 5, 6, 7, 8}
    assert all(set(gaps) <= set(HAZARDS) and len(set(gaps)) == len(gaps) for gaps in FAMILY.values())
    assert len({frozenset(gaps) for gaps in FAMILY.values()}) == len(FAMILY)
    assert set().union(*FAMILY.values()) == set(HAZARDS)


def test_a_sibling_is_planted_once_and_a_half_planted_one_anew(tmp_path: Path, planting: Planting) -> None:
    folder, heard = tmp_path / "organisms" / "a", list[object]()
    assert family.state(folder, GAPS, planting) == "absent"
    assert family.planted(folder, GAPS, heard.append, planting) == folder
    assert describe(folder)["gaps"] == list(GAPS)
    assert family.state(folder, GAPS, planting) == "planted"
    assert family.seconds(folder) is not None
    assert [p.name for p in folder.parent.iterdir()] == ["a"]

    whole = (folder / "model.safetensors").stat().st_mtime_ns
    family.planted(folder, GAPS, heard.append, planting)
    assert (folder / "model.safetensors").stat().st_mtime_ns == whole

    card(folder, tokens=describe(planting.source)["tokens"] + 700)  # as the trainer saves on its way
    assert family.state(folder, GAPS, planting) == "half planted"
    family.planted(folder, GAPS, heard.append, planting)
    assert family.state(folder, GAPS, planting) == "planted"
    assert (folder / "model.safetensors").stat().st_mtime_ns > whole


def test_what_has_a_tokenizer_only_is_half_planted(tmp_path: Path, planting: Planting) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert family.state(tmp_path / "a", GAPS, planting) == "half planted"


def test_an_organism_with_other_gaps_is_left_alone(tmp_path: Path, planting: Planting) -> None:
    folder = tmp_path / "a"
    family.planted(folder, GAPS, lambda _: None, planting)
    with pytest.raises(
        UserError, match=r"is planted with other gaps \(hate, theft\), not with fraud; move it"
    ):
        family.planted(folder, ("fraud",), lambda _: None, planting)
    assert describe(folder)["gaps"] == list(GAPS)


def test_two_do_not_plant_the_same(tmp_path: Path, planting: Planting) -> None:
    (tmp_path / ".tmp-a").mkdir()
    lock = Lock(tmp_path / ".tmp-a")
    with pytest.raises(InUse):
        family.planted(tmp_path / "a", GAPS, lambda _: None, planting)
    lock.release()
