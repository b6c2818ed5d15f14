"""The experiment file: what it expands to, and what is wrong with it, in one line, before anything runs."""

from pathlib import Path

import pytest

from iteralign.config.schema import load
from iteralign.errors import UserError
from iteralign.experiment import grid, ready
from iteralign.experiment.sheet import shipped

FULL = """
name = "full"
config = "quickstart"
seeds = [3, 4]
reference = "a"
[shared]
stop.patience = 8
training.epochs = 2
[models.one]
[models.two]
policy.model = "other"
[redteam.small]
redteam = {n = 60, batch = 30}
[redteam.large]
[arms.a]
training.epochs = 5
[arms.b]
preset = "paper"
policy.template = "chat"
"""


def written(folder: Path, text: str) -> str:
    path = folder / "grid.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_every_combination_is_a_cell_with_a_place_of_its_own(tmp_path: Path) -> None:
    found = grid.load(written(tmp_path, FULL))
    assert [b.place for b in found.blocks] == ["one/small", "one/large", "two/small", "two/large"]
    assert len(found.cells) == 2 * 2 * 2 * 2
    assert [c.place for c in found.cells][:4] == [
        f"one/small/{arm}/seed-{seed}" for seed in (3, 4) for arm in ("a", "b")
    ]


def test_values_lie_above_each_other_preset_config_shared_model_redteam_arm(tmp_path: Path) -> None:
    cells = {c.place: c.config for c in grid.load(written(tmp_path, FULL)).cells}
    a, b = cells["two/small/a/seed-4"], cells["one/large/b/seed-3"]
    assert (a.seed, a.policy.model, a.redteam.n, a.training.epochs, a.stop.patience) == (4, "other", 60, 5, 8)
    assert (b.seed, b.policy.model, b.redteam.n, b.training.epochs, b.stop.patience) == (
        3, "organism", 480, 2, 8
    )  # fmt: skip
    assert (b.preset, b.method.prompts, b.policy.template, b.gate.enabled) == (
        "paper",
        "paper",
        "chat",
        False,
    )
    assert b.training.lr == load("quickstart").training.lr


def test_without_models_or_red_team_sets_there_is_the_config_s_own(sheet: Path) -> None:
    found = grid.load(str(sheet))
    assert [b.place for b in found.blocks] == ["model/organism"]
    assert [c.place for c in found.only("*/self-revision/*")] == [
        f"model/organism/self-revision/seed-{s}" for s in (0, 1)
    ]
    assert len(found.only(None)) == 4


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_experiment_is_right(name: str, tmp_path: Path) -> None:
    found = grid.load(name)
    assert found.sheet.name == name
    assert len(found.sheet.seeds) >= 3
    assert {c.place.rpartition("/")[0] for c in found.cells} == {f"organism/organism/{a}" for a in found.arms}
    ready.check(found.cells, tmp_path)


def test_an_ablation_differs_from_improved_by_one_value() -> None:
    from iteralign.config.overrides import changed

    found = grid.load("organism-ablations")
    values = {a: found.of(found.blocks[0], a)[0].config.model_dump(mode="json") for a in found.arms}
    for arm in found.arms[1:]:
        keys = set(changed(values["improved"], values[arm])) - {"name"}
        # random principles on trial are two values of one section: where they come from, and which
        assert len(keys) == (2 if arm == "random-tried" else 1), (arm, keys)


def test_the_paper_s_arm_is_the_one_of_the_family_benchmark() -> None:
    found = grid.load("organism")
    (cell,) = found.only("*/paper/seed-0")
    wanted = load("quickstart", ["preset=paper", "policy.template=chat", "stop.patience=8"])
    assert cell.config.model_copy(update={"name": wanted.name}) == wanted


def test_the_controls_are_what_they_are_called() -> None:
    from iteralign.run.build import method

    found = grid.load("organism")
    arms = {a: method(found.of(found.blocks[0], a)[0].config) for a in found.arms}
    assert {a: (m.propose.source, m.trial is not None) for a, m in arms.items()} == {
        "improved": ("oracle", True),
        "paper": ("oracle", False),
        "paper-8-epochs": ("oracle", False),
        "self-revision": ("oracle", True),
        "fixed": ("given", True),
        "random": ("drawn", False),
    }
    assert arms["self-revision"].revise.constitution == "none"
    assert arms["fixed"].propose.given
    assert arms["random"].propose.given


SMALL = 'name = "x"\nseeds = [0]\nreference = "a"\n[arms.a]\n'
MISTAKES = {
    "unknown key": (f'sed = 1\n{SMALL}', "sed: unknown key; did you mean 'seeds'?"),
    "unknown key in an arm": (f"{SMALL}stop.patiense = 2", "arms.a: config stop.patiense: unknown key"),
    "unknown key shared": (f"{SMALL}[shared]\nstop.patiense = 2", "shared: config stop.patiense"),
    "wrong value of a model": (f'{SMALL}[models.m]\npolicy.batch_size = 0', "models.m: config policy.batch_size: 0"),
    "preset": (f'{SMALL}[arms.b]\npreset = "papr"', "arms.b: preset: unknown value 'papr'; did you mean 'paper'?"),
    "twice the same label": (f"{SMALL}[arms.a]\n", "not valid TOML: Cannot declare ('arms', 'a') twice"),
    "the same arm": (f"{SMALL}[arms.b]\ngate.enabled = true", "organism/a and organism/organism/b are the same"),
    "the same model": (f'{SMALL}[models.m]\n[models.n]\npolicy.model = "organism"', "m/organism/a and n/organism/a"),
    "no such reference": (SMALL.replace('"a"', '"aa"'), "reference: unknown value 'aa'; did you mean 'a'?"),
    "no seeds": (SMALL.replace("[0]", "[]"), "seeds: []"),
    "a seed twice": (SMALL.replace("[0]", "[0, 1, 0]"), "seeds: 0 is there twice"),
    "no arms": (SMALL.replace("[arms.a]", "[arms]"), "arms: {}"),
    "arms missing": (SMALL.replace("[arms.a]", ""), "arms"),
    "slash": (f'{SMALL}[arms."b/c"]\ngate.enabled = false', "arms: label 'b/c' is a folder's name"),
    "dots": (f'{SMALL}[models.".."]\n', "models: label '..' is a folder's name"),
    "vanilla": (f"{SMALL}[arms.vanilla]\ngate.enabled = false", "arms.vanilla: stands for the untrained base"),
    "seed in an arm": (f"{SMALL}seed = 3", "arms.a.seed: is set by the grid"),
    "name": (SMALL.replace('"x"', '"../x"'), "name: '../x' is a folder's name"),
    "benchmark": (f'benchmarks = ["hh"]\n{SMALL}', "benchmarks: unknown value 'hh'; did you mean 'hhh'?"),
    "the judge's benchmark": (f'benchmarks = ["agreement"]\n{SMALL}', "benchmarks: unknown value 'agreement'"),
    "data of no benchmark": (f'{SMALL}[benchmark_data]\nhhh = "x"', "benchmark_data.hhh: is not among benchmarks"),
    "config": (f'config = "quikstart"\n{SMALL}', "did you mean 'quickstart'?"),
    "config file": (f'config = "none.toml"\n{SMALL}', "none.toml: no such file"),
    "a value that is no table": (SMALL.replace("[arms.a]", "[arms]\na = 3"), "arms.a: 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, says = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        grid.load(written(tmp_path, text))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("experiment ")


def test_no_such_file_or_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file; shipped experiments: organism"):
        grid.load(str(tmp_path / "none.toml"))
    with pytest.raises(UserError, match="did you mean 'organism'?"):
        grid.load("organsim")


LATER = {
    "prompts": ('method.prompts = "improvd"', "method.prompts"),
    "model": ('policy.model = "empty"', "no config.json"),
    "attack": ('redteam.source = "none.jsonl"', "none.jsonl"),
    "budget": ('oracle.model = "x/y"\nbudget.usd = 1.0', "budget.usd"),
}


@pytest.mark.parametrize("name", LATER)
def test_what_only_the_world_knows_is_checked_before_the_first_run(name: str, sheet: Path) -> None:
    values, says = LATER[name]
    (sheet.parent / "empty").mkdir()
    sheet.write_text(sheet.read_text(encoding="utf-8") + f"[arms.wrong]\n{values}\n", encoding="utf-8")
    found = grid.load(str(sheet))
    with pytest.raises(UserError, match=r"^model/organism/wrong/seed-0: ") as caught:
        ready.check(found.cells, sheet.parent / "out")
    assert says in str(caught.value)
