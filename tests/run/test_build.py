"""Build: what names the untrained policy, and the template that goes with it."""

from pathlib import Path

import pytest

from iteralign.config.schema import load
from iteralign.errors import UserError
from iteralign.lm.fetch import fetched
from iteralign.models import tiny
from iteralign.run import build
from iteralign.run.preview import preview

COMMITS = ("a" * 40, "b" * 40)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache on a machine without a network: someone/model as it was at two commits."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = tmp_path / "cache" / "models--someone--model"
    for seed, commit in enumerate(COMMITS):
        tiny.build(folder / "snapshots" / commit, seed=seed)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMITS[0])
    fetched.cache_clear()
    return folder


def test_a_hub_model_is_named_by_the_commit_that_its_branch_stands_at(cache: Path) -> None:
    config = load("quickstart", ["policy.model=someone/model"])
    assert build.identity(config) == f"someone/model@{COMMITS[0]}"
    (cache / "refs" / "main").write_text(COMMITS[1])
    fetched.cache_clear()
    assert build.identity(config) == f"someone/model@{COMMITS[1]}"
    older = load("quickstart", ["policy.model=someone/model", f"policy.revision={COMMITS[0]}"])
    assert build.identity(older) == f"someone/model@{COMMITS[0]}"


def test_a_hub_model_that_lies_in_the_cache_is_previewed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = preview(load("quickstart", ["policy.model=someone/model"]))
    assert seen is not None
    assert (seen.chat.format, seen.context) == ("chat", 256)
    other = load("quickstart", ["policy.model=someone/other"])
    with pytest.raises(
        UserError, match="no model 'someone/other' in the cache, and the hub may not be asked"
    ):
        preview(other)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert preview(other) is None


def test_a_template_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("{{ messages }}", encoding="utf-8")
    assert build.template(load("quickstart", [f"policy.template='{file}'"])) == "{{ messages }}"
    assert build.template(load("quickstart")) == "auto"
    with pytest.raises(UserError, match=r"policy\.template: .*no\.jinja' cannot be read"):
        build.template(load("quickstart", ["policy.template=no.jinja"]))
