"""A key in the environment is in no file of a run, no log, no output and no error."""

import importlib.util
import json
import logging
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iteralign import judge
from iteralign.budget.limits import Purse
from iteralign.cli import main
from iteralign.config.schema import validated
from iteralign.errors import IterAlignError, UserError
from iteralign.models.remote import RemoteModel, RemoteSettings
from iteralign.organism.world import drafts
from iteralign.protocols import Lab
from iteralign.record import provenance
from iteralign.record.journal import RunJournal
from iteralign.run import build
from iteralign.types import Prompt, Response

SPEC = "openai-api/local/some-model"
OTHERS = {"OPENAI_API_KEY": "planted-openai-zyxwvutsrq", "HF_TOKEN": "planted-hub-ponmlkjihg"}


@pytest.fixture
def rehearsal(monkeypatch: pytest.MonkeyPatch, faulty: ModuleType) -> Any:
    """tests/rehearsal.py, its oracle behind a provider with a key."""
    place = Path(__file__).parents[1] / "rehearsal.py"
    spec = importlib.util.spec_from_file_location("rehearsal_with_a_key", place)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in {"LOCAL_API_KEY": faulty.KEY, "NO_PROXY": "127.0.0.1", **OTHERS}.items():
        monkeypatch.setenv(name, value)
    scripted = module.lab

    def lab(root: Path, gaps: Any, poison: str, purse: Purse, config: Any = None) -> Lab:
        settings = RemoteSettings(backoff_s=0.01, max_retries=12)
        remote = {role: RemoteModel(SPEC, settings, None, purse.account(role)) for role in ROLES}
        return replace(scripted(root, gaps, poison, purse), **remote)

    module.lab = lab
    return module


ROLES = ("judge", "proposer", "meter")


def holding(text: str, faulty: ModuleType) -> list[str]:
    """The planted keys, and long parts of them, that stand in a text."""
    keys = [faulty.KEY, *OTHERS.values(), "wrong-key-of-somebody"]
    return [key for key in keys if key in text or key[:14] in text or key[-10:] in text]


def test_a_whole_run_holds_no_key(
    tmp_path: Path,
    rehearsal: Any,
    faulty: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    config = rehearsal.config(str(rehearsal.organism(tmp_path / "model")), stop={"max_iterations": 1})
    root, said = tmp_path / "run", []
    with faulty.serving(["500 echo", "garbage", "429"], 0.1) as web:
        monkeypatch.setenv("LOCAL_BASE_URL", web.url)
        list(rehearsal.perform(config, root))
        provenance.record(root, config.model_dump(mode="json"))
        assert main.status(["show", str(root)]) == main.status(["show", str(root), "--json"]) == 0
        monkeypatch.setenv("LOCAL_API_KEY", "wrong-key-of-somebody")
        with pytest.raises(UserError) as caught:
            list(rehearsal.perform(config, tmp_path / "refused"))
        said.append(str(caught.value))
    assert web.seen["500 echo"] > 0
    assert web.seen["wrong key"] > 0
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {p.name for p in files} >= {"config.json", "provenance.json", "failed_attempts.jsonl"}
    assert any("calls" in p.parts for p in files)
    texts = [p.read_bytes().decode("utf-8", "replace") for p in files] + [str(p) for p in files]
    out = capfd.readouterr()
    for text in [*texts, *said, caplog.text, out.out, out.err]:
        assert holding(text, faulty) == []
    assert "violations" in out.out  # it was the real output that was looked at


def test_the_search_finds_what_it_looks_for(faulty: ModuleType) -> None:
    assert holding(f"Authorization: Bearer {faulty.KEY}", faulty) == [faulty.KEY]


ECHOES: dict[str, Any] = {
    "in a verdict": lambda h, m, part: h.say(h.truth(m).replace('"reason": "', f'"reason": "{part} ')),
    "in a category": lambda h, m, part: h.say(h.truth(m).replace('"category": "', f'"category": "{part}')),
    "beside a verdict": lambda h, m, part: h.say(f"{h.truth(m)} by {part}"),
    "unreadable": lambda h, m, part: h.say(f"I am {part}"),
    "in a field": lambda h, m, part: h.send(200, h.said(h.truth(m))[:-1] + b', "by": "' + part.encode() + b'"}'),
    "in a header": lambda h, m, part: h.send(200, h.said(h.truth(m)), X_By=part),
    "in the model's name": lambda h, m, part: h.send(200, h.said(h.truth(m)).replace(b"some-model", part.encode())),
    "no JSON": lambda h, m, part: h.send(200, f"<html>{part}</html>".encode()),
    "an error in 200": lambda h, m, part: h.send(200, json.dumps({"error": {"message": part}}).encode()),
    "a redirect": lambda h, m, part: h.send(307, b"", Location=f"/?key={part}"),
    "400": lambda h, m, part: h.fail(400, f"odd {part}"),
    "401": lambda h, m, part: h.fail(401, f"wrong {part}"),
    "403": lambda h, m, part: h.fail(403, f"forbidden {part}"),
    "404": lambda h, m, part: h.fail(404, f"unknown {part}"),
    "429": lambda h, m, part: h.fail(429, f"slow {part}", Retry_After=part),
    "500": lambda h, m, part: h.fail(500, f"broken {part}"),
    "a content that is none": lambda h, m, part: h.send(200, h.said({part: part})),
}  # fmt: skip
PARTS = {
    "whole": lambda key: key,
    "eight": lambda key: key[7:15],
    "escaped": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "with colours": lambda key: f"\x1b[1m{key[:9]}\x1b[0m{key[9:]}",
    "many": lambda key: f"{key[:10]} {key[8:20]}{key[-9:]}" * 50,
}


RAW = ("in a field", "in the model's name")
"""Where the text goes into JSON as it is."""
CASES = [
    (place, part)
    for place in ECHOES
    for part in PARTS
    if (part != "escaped" or place in RAW) and (part != "with colours" or place not in RAW)
]


@pytest.mark.parametrize(("place", "part"), CASES)
def test_a_key_that_the_server_echoes_reaches_no_file_and_no_line(
    tmp_path: Path,
    faulty: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    place: str,
    part: str,
) -> None:
    """Not eight characters in a row of it."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("LOCAL_API_KEY", faulty.KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    text = PARTS[part](faulty.KEY)
    if "header" in place or place in ("429", "a redirect"):
        text = text.replace("\x1b", "")
    monkeypatch.setitem(faulty.FAULTS, "echo", lambda h, m: ECHOES[place](h, m, text))
    quick = {"model": SPEC, "backoff_s": 0.001, "max_retries": 1, "max_connections": 2}
    cfg = validated({"oracle": quick})
    asked = [Response(Prompt("q", d.item.text), d.bad[0]) for d in drafts("hazard", "redteam", 2, 0)]
    lines = []
    with faulty.serving(["echo"]) as web:
        monkeypatch.setenv("LOCAL_BASE_URL", web.url)
        lab = build.lab(cfg, tmp_path, lambda *_: None, Purse(cfg, tmp_path))
        try:
            RunJournal(tmp_path).at(1)("verdicts", judge.assess, lab.judge, asked, build.method(cfg).prompts)
        except IterAlignError as error:
            lines.append(str(error))
    assert set(web.seen) == {"echo"}
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("iteralign")]
    files = [p.read_bytes().decode() for p in tmp_path.rglob("*") if p.is_file()]
    assert files
    for kept in [*files, *lines, *ours, lab.judge.id]:
        plain = json.dumps(kept).replace("\\\\u001b", "")
        assert not [i for i in range(len(faulty.KEY) - 7) if faulty.KEY[i : i + 8] in kept + plain]
