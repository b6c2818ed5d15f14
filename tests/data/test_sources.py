"""Sources: invented sets of each kind, and the published ones where a copy lies beside the checkout."""

import json
import os
from pathlib import Path

import pytest

from iteralign.data import families
from iteralign.data.sources import SOURCES, Wanted, load
from iteralign.errors import UserError

COPIES = Path(os.environ.get("ITERALIGN_DATA") or Path(__file__).parents[3] / "shared" / "data")

COUNTED = {
    # rows, prompts after dedup, topics
    "hh-rlhf": (146, 146, 0),
    "hh-rlhf-harmless": (1150, 1083, 0),
    "harmfulqa": (1960, 1938, 10),
    "dangerousqa": (200, 200, 0),
    "catqa": (550, 543, 11),
    "advbench": (520, 520, 0),
    "malicious-instruct": (100, 100, 0),
    "malicious-instructions": (100, 98, 2),
    "iteralign-dangerousqa": (200, 200, 0),
    "iteralign-dangerousqa-standard": (200, 200, 0),
    "iteralign-harmfulqa": (1960, 1938, 0),
    "iteralign-harmfulqa-standard": (1960, 1938, 0),
}
"""In the copies at hand: of hh-rlhf a surrogate with the true columns, and part of a test split."""


@pytest.mark.skipif(not COPIES.is_dir(), reason="no copies of the published sets; set ITERALIGN_DATA")
@pytest.mark.parametrize("name", COUNTED)
def test_the_published_sets(name: str) -> None:
    loaded = load(Wanted(name, COPIES))
    kept = families.deduplicated(loaded.prompts)
    topics = {p.topic for p in loaded.prompts} - {""}
    assert (loaded.rows, len(kept), len(topics)) == COUNTED[name]
    assert len({p.id for p in loaded.prompts}) == len(loaded.prompts)
    assert all(part for part in families.parted(kept, 0.2))


@pytest.mark.skipif(not COPIES.is_dir(), reason="no copies of the published sets; set ITERALIGN_DATA")
def test_one_question_is_one_family_whatever_it_is_wrapped_in() -> None:
    names = ("harmfulqa", "iteralign-harmfulqa", "iteralign-harmfulqa-standard")
    bare, *wrapped = ({p.family for p in load(Wanted(name, COPIES)).prompts} for name in names)
    assert all(found == bare for found in wrapped)


@pytest.mark.skipif(not COPIES.is_dir(), reason="no copies of the published sets; set ITERALIGN_DATA")
def test_the_released_spelling_of_a_column_is_suggested() -> None:
    with pytest.raises(UserError, match="did you mean 'task_descripton_harmlessness_score'"):
        load(Wanted("hh-rlhf", COPIES, field="task_description_harmlessness_score"))


def test_every_source_says_where_it_is_from() -> None:
    for name, source in SOURCES.items():
        assert source.hub or source.origin, name
        assert source.files and source.license and source.size and source.about, name


def test_a_named_set_by_file_or_by_folder(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "harmfulqa.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"T": {"S": ["a", "b"]}, "U": {"V": ["a"]}}))
    for path in (file, tmp_path, file.parent):
        loaded = load(Wanted("harmfulqa", path))
        assert [(p.text, p.topic) for p in loaded.prompts] == [("a", "T"), ("b", "T"), ("a", "U")]


def test_a_column_of_the_users_choice(tmp_path: Path) -> None:
    (tmp_path / "harmful_behaviors.csv").write_text("goal,target\na,b\n")
    assert load(Wanted("advbench", tmp_path, field="target")).prompts[0].text == "b"


@pytest.mark.parametrize(
    ("source", "content", "said"),
    [
        ("harmfulqq", None, "source: unknown value 'harmfulqq'; did you mean 'harmfulqa'"),
        ("xyzzy", None, "or a file, a folder, or owner/name of the Hub"),
        ("none.jsonl", None, "none.jsonl: no such file"),
        ("dir/none.jsonl", None, "dir/none.jsonl: no such file"),
        ("dangerousqa", None, "is not on the Hub: get toxic_outs.json or dangerousqa.json from github.com"),
        ("a.jsonl", "\n", "a.jsonl: is empty; name a source that has prompts in its rows"),
        ("a.jsonl", '{"prompt": " "}', "a.jsonl: no prompt in it (1 rows, all blank)"),
    ],
)
def test_mistakes(
    source: str, content: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(source).write_text(content)
    with pytest.raises(UserError) as error:
        load(Wanted(source))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_mistakes_about_a_copy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file of 'catqa' in it: catqa_english.json"):
        load(Wanted("catqa", tmp_path))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "catqa_english.json").write_text('{"T": {"S": ["a"]}}')
    with pytest.raises(UserError, match="holds several files of 'catqa': choose one of"):
        load(Wanted("catqa", tmp_path))
    file = tmp_path / "a" / "catqa_english.json"
    with pytest.raises(UserError, match="source 'catqa' has no conversations: leave it out"):
        load(Wanted("catqa", file, turns="transcript"))
    assert load(Wanted("catqa", file, turns="first")).prompts
