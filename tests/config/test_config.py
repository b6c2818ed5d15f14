"""Config: presets, overrides, and mistakes said in one line."""

from pathlib import Path

import pytest

from iteralign.config.overrides import changed, merged
from iteralign.config.schema import load, shipped
from iteralign.errors import UserError


def test_every_shipped_config_is_valid() -> None:
    assert "quickstart" in shipped()
    for name in shipped():
        load(name)


def test_preset_lies_below_the_file_and_set_lies_above_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('preset = "paper"\n[redteam]\nn = 7\n')
    config = load(file, ["stop.patience=5"])
    assert (config.redteam.n, config.stop.patience) == (7, 5)
    assert (config.redteam.batch, config.gate.enabled, config.method.prompts) == (20, False, "paper")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("revise.constitution=none", "none"),
        ('revise.constitution="none"', "none"),
    ],
)
def test_set_takes_text_with_or_without_quotes(text: str, read: str) -> None:
    assert load("quickstart", [text]).revise.constitution == read


def test_set_takes_lists() -> None:
    assert load("quickstart", ['propose.veto=["privacy", "theft"]']).propose.veto == ("privacy", "theft")


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("stop.targt=1", "config stop.targt: unknown key; did you mean 'target'?"),
        ("lr=1", "did you mean 'training.lr'?"),
        ("stop.target=much", "config stop.target: 'much'"),
        ("policy.batch_size=0", "config policy.batch_size: 0"),
        ("revise.show=some", "config revise.show: 'some'"),
        ("stop=3", "config stop: 3"),
        ("preset=papr", "preset: unknown value 'papr'; did you mean 'paper'?"),
        ("stop.patience", "write it as section.key=value"),
        ("=3", "write it as section.key=value"),
        ("stop.target.deep=1", "config stop.target"),
        ("policy..model=1", "config policy."),
    ],
)
def test_a_mistake_is_one_line_that_names_it(assignment: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        load("quickstart", [assignment])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named_with_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file; shipped configs: .*quickstart"):
        load(tmp_path / "none.toml")
    with pytest.raises(UserError, match="did you mean 'quickstart'"):
        load("quickstat")


def test_what_is_not_toml_is_said_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[policy\n")
    with pytest.raises(UserError, match="not valid TOML: .*line 1"):
        load(file)


def test_what_is_not_text_is_said(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        load(file)


def test_merged_goes_section_by_section() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 9}}) == {"a": {"b": 9, "c": 2}, "d": 3}


def test_changed_names_dotted_keys() -> None:
    old, new = load("quickstart"), load("quickstart", ["stop.target=0.5", "seed=1"])
    assert changed(old.model_dump(), new.model_dump()) == ["seed", "stop.target"]
    assert changed(old.model_dump(), old.model_dump()) == []


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quickstart").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load("quickstart").name == "quickstart"
