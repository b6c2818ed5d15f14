"""The Hub: folders laid out as it lays them out, and each of its faults in one line. No network is used."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from iteralign.data.hub import HubSet, _explained, is_id, rows
from iteralign.data.sources import Wanted, load
from iteralign.errors import IterAlignError, UserError, WorldError

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Splits and subsets as a card declares them."""
    place = tmp_path / "set"
    (place / "data").mkdir(parents=True)
    for name in ("train", "test"):
        (place / "data" / f"{name}.jsonl").write_text(json.dumps({"question": f"of {name}"}) + "\n")
    return place


def test_the_train_split_if_none_is_named_and_another_by_name(folder: Path) -> None:
    assert [p.text for p in load(Wanted(str(folder))).prompts] == ["of train"]
    assert rows(HubSet(str(folder), split="test")) == ({"question": "of test"},)
    with pytest.raises(UserError, match="split: unknown value 'tets'; did you mean 'test'"):
        rows(HubSet(str(folder), split="tets"))


def test_a_named_set_in_a_folder_laid_out_as_on_the_hub(folder: Path) -> None:
    loaded = load(Wanted("harmfulqa", folder))
    assert (loaded.columns, [p.text for p in loaded.prompts]) == (("question",), ["of train"])


def test_subsets_that_a_card_declares(folder: Path) -> None:
    card = "---\nconfigs:\n" + "".join(
        f"- config_name: {name}\n  data_files: data/{name}.jsonl\n" for name in ("train", "test")
    )
    (folder / "README.md").write_text(card + "---\n")
    assert rows(HubSet(str(folder), "test")) == ({"question": "of test"},)
    with pytest.raises(UserError, match="set subset to one of train, test"):
        rows(HubSet(str(folder)))
    with pytest.raises(UserError, match="subset: unknown value 'tets'; did you mean 'test'"):
        rows(HubSet(str(folder), "tets"))


def test_what_save_to_disk_left(tmp_path: Path) -> None:
    data = datasets.Dataset.from_list([{"prompt": "a"}])
    data.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict(test=data).save_to_disk(str(tmp_path / "several"))
    for name in ("one", "several"):
        assert rows(HubSet(str(tmp_path / name))) == ({"prompt": "a"},)


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no data file in it"):
        rows(HubSet(str(tmp_path / "none")))


def test_without_a_network_the_world_is_at_fault_and_the_way_out_is_said() -> None:
    """The suite sets HF_HUB_OFFLINE, so this is what a machine without a network sees."""
    with pytest.raises(WorldError, match=r"no/such-set: the Hub cannot be reached .* or read a copy"):
        rows(HubSet("no/such-set"))


def gated() -> Exception:
    text = "Dataset 'a/b' is a gated dataset on the Hub. Visit the dataset page to ask for access."
    return datasets.exceptions.DatasetNotFoundError(text)


def absent() -> Exception:
    return datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub.")


def revision() -> Exception:
    return datasets.exceptions.DatasetNotFoundError(
        "Revision 'v9' doesn't exist for dataset 'a/b' on the Hub."
    )


def script() -> Exception:
    return RuntimeError("Dataset scripts are no longer supported, but found b.py")


@pytest.mark.parametrize(
    ("made", "kind", "said"),
    [
        (gated, UserError, "gated: accept its terms"),
        (absent, UserError, "no such data set on the Hub, or a private one"),
        (revision, UserError, "no revision 'v9'"),
        (script, UserError, "programs of a data set are not run"),
        (lambda: RuntimeError("odd\nfault"), WorldError, "cannot be loaded: odd fault"),
    ],
)
def test_each_fault_is_one_line(made: Callable[[], Exception], kind: type[IterAlignError], said: str) -> None:
    error = _explained(HubSet("a/b", revision="v9"), made())
    assert isinstance(error, kind)
    assert said in str(error) and str(error).startswith("source a/b: ") and "\n" not in str(error)


def test_ids() -> None:
    assert is_id("owner/name.v1-x")
    assert not is_id("name") and not is_id("a/b/c") and not is_id("../x") and not is_id("a b/c")


def test_a_folder_of_splits_is_held_to_the_bounds_of_a_file(folder: Path) -> None:
    bomb = gzip.compress(b'{"question": "a"}\n' * 5_000_000)
    for name, content, said in (
        ("train.jsonl.gz", bomb, "unpacks to more than"),
        ("train.jsonl", bomb, "unpacks to more than"),
        ("train.jsonl.xz", b"\xfd7zXZ\x00", "packed in another way than gzip: unpack it"),
        ("train.zip", b"PK\x03\x04", "unpack it"),
    ):
        (folder / "data" / name).write_bytes(content)
        with pytest.raises(UserError, match=said) as error:
            load(Wanted(str(folder)))
        assert name in str(error.value) and "\n" not in str(error.value)
        (folder / "data" / name).unlink()


def test_a_pipe_in_a_folder_of_splits_is_not_opened(folder: Path) -> None:
    (folder / "data" / "train.jsonl").unlink()
    os.mkfifo(folder / "data" / "train.jsonl")
    with pytest.raises(UserError, match="a pipe, not a file"):
        rows(HubSet(str(folder)))


def test_a_parquet_file_of_a_split_that_holds_far_more_than_its_size(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"question": pyarrow.array(["a" * 100] * 2_000_000)})
    parquet.write_table(table, folder / "data" / "train.parquet")
    with pytest.raises(UserError, match="holds far more than its size allows"):
        load(Wanted(str(folder)))
