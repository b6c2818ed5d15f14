"""Hostile files: configs, data, models and run directories that somebody damaged, or made to do damage. One line, or
the right result; the same kinds at random are in test_mutations.py."""

import gzip
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pyarrow
import pytest
from pyarrow import parquet

from iteralign.config.schema import Config
from iteralign.options import fields_of, is_section

Make = Callable[[Path], object]
Call = Callable[..., Any]


def written(text: str) -> Make:
    return lambda path: path.write_text(text, encoding="utf-8")


def pickled(value: Any) -> Make:
    return lambda path: path.write_bytes(pickle.dumps(value))


def laughing(levels: int = 40) -> Any:
    value: Any = "ha"
    for _ in range(levels):
        value = [value, value]
    return value


def one_line(said: Any, says: str = "") -> None:
    assert (said.code, said.out) == (2, ""), said
    assert said.err.startswith("error: ")
    assert (said.err.count("\n"), "Traceback" in said.err, says in said.err) == (1, False, True), said.err
    assert said.err.rstrip("\n").isprintable()
    assert len(said.err) < 2500


CONFIGS: dict[str, tuple[str | Make, str]] = {
    "nested": (f"x = {'[' * 5000}{']' * 5000}", "nested too deep"),
    "a number of a million digits": (f"seed = {'9' * 200_000}", "not valid TOML"),
    "a number of a million bits": (f"seed = 0x{'f' * 200_000}", "config seed: a number of 800,000 bits"),
    "a long dotted key": (f"{'a.' * 50_000}a = 1", "dots"),
    "larger than a config": ("# x\n" * 100_000, "larger than"),
    "a pipe": (lambda path: os.mkfifo(path), "a pipe, not a file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "a device, not a file"),
    "NUL": ('redteam.source = "a\\u0000b"', "holds NUL"),
    "NUL in a list": ('sampling.stop = ["a\\u0000b"]', "holds NUL"),
    "a path longer than a path": (f'redteam.source = "{"x" * 5000}"', "file name too long; name a file"),
    "a model's path longer than a path": (f'policy.model = "./{"x" * 5000}"', "too long"),
    "a name longer than a name": (f'name = "{"x" * 300}"', "at most 200 bytes"),
    "a name with escapes": ('name = "a\\u001b[31m"', "control characters"),
    "candidates": ("[revise]\ncandidates = 2147483648", "config revise.candidates: 2147483648"),
    "a preset that is no word": ("preset = ['paper']", "preset"),
    "infinity": ("[training]\nlr = inf", "config training.lr: inf"),
    "not a number": ("[budget]\nusd = nan", "config budget.usd: nan"),
    "a million probes of the organism": ("[probes]\nhazards = 1000000", "config probes.hazards: 1000000"),
    "principles in a pipe": (
        '[propose]\nsource = "given"\nprinciples = "/dev/zero"',
        "a device, not a file",
    ),
    "a template in a device": ('[policy]\ntemplate = "zero.jinja"', "a device, not a file"),
    "a guard in a device": (
        '[judge]\nmodels = [{model = "vllm/b", guard = "/dev/zero"}]',
        "a device, not a file",
    ),
    "prompts that do not parse": ('[method]\nprompts = "badly"', "badly: judge.md:1"),
    "prompts whose table does not parse": ('[method]\nprompts = "worse"', "method.prompts: 'worse'"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_hostile_config_is_one_line(here: Path, call: Call, kind: str) -> None:
    content, says = CONFIGS[kind]
    (here / "zero.jinja").symlink_to("/dev/zero")
    for name, set_toml in (("badly", 'like = "improved"'), ("worse", "x = [")):
        (here / name).mkdir()
        (here / name / "set.toml").write_text(set_toml, encoding="utf-8")
        (here / name / "judge.md").write_text("{% for %}", encoding="utf-8")
    (written(content) if isinstance(content, str) else content)(here / "c.toml")
    one_line(call("check", "c.toml"), says)


def numbers(kind: type = Config, prefix: str = "") -> dict[str, Any]:
    """Every option that is a number, by its dotted key; the prices by the model x."""
    found: dict[str, Any] = {}
    for name, field in fields_of(kind).items():
        parts = get_args(field.annotation) or (field.annotation,)
        if is_section(field.annotation):
            found |= numbers(field.annotation, f"{prefix}{name}.")
        elif {int, float} & set(parts):
            found[prefix + name] = field
    return found


@pytest.mark.parametrize("key", numbers())
def test_every_number_has_an_upper_bound(here: Path, call: Call, key: str) -> None:
    one_line(call("check", "quickstart", "--set", f"{key}={2**63}"), f"config {key}: {2**63}")
    one_line(call("check", "quickstart", "--set", f"{key}=1e999"), f"config {key}: inf")


DATA: dict[str, tuple[str, Make, str]] = {
    "rows by number": ("a.pkl", pickled([{1: "x", 2: "y"}] * 2), "set field to one of: 1, 2"),
    "keys that read alike": ("a.pkl", pickled([{1: "x", "1": "y"}]), "read alike"),
    "a topic of 2**40 laughs": ("a.pkl", pickled([{"prompt": "x", "topic": laughing()}]), "repeats parts"),
    "a topic of many digits": ("a.pkl", pickled([{"prompt": "x", "topic": 1 << 99_999}]), "100,000 bits"),
    "one text a million times": ("a.pkl", pickled(["x" * 1000] * 1_000_000), "repeats parts"),
    "nested rows": ("a.pkl", pickled(json.loads("[" * 400 + "]" * 400)), "nested too deep"),
    "a pipe": ("a.jsonl", lambda path: os.mkfifo(path), "a pipe, not a file"),
    "a device": ("a.txt", lambda path: path.symlink_to("/dev/zero"), "a device, not a file"),
    "standard input": ("a.csv", lambda path: path.symlink_to("/dev/stdin"), ", not a file"),
    "gigabytes of nothing": ("a.csv", lambda path: path.touch() or os.truncate(path, 8 << 30), "larger than"),
    "gzip of very much": (
        "a.txt.gz",
        lambda path: path.write_bytes(gzip.compress(b"x\n" * (100 << 20), 1)),
        "unpacks to more than",
    ),
    "a table of very much": (
        "a.parquet",
        lambda path: parquet.write_table(pyarrow.table({"prompt": ["x" * 3000] * 50_000}), path),
        "far more than its size",
    ),
    "a table of very many": (
        "a.parquet",
        lambda path: parquet.write_table(pyarrow.table({"prompt": pyarrow.nulls(3_000_000)}), path),
        "far more than its size",
    ),
}


@pytest.mark.parametrize("kind", DATA)
def test_hostile_data_is_one_line(here: Path, call: Call, kind: str) -> None:
    name, make, says = DATA[kind]
    make(here / name)
    one_line(call("data", "show", name), says)


def test_a_pickle_with_numbered_columns_is_read_by_its_number(here: Path, call: Call) -> None:
    pickled([{1: "How so?", 2: "y"}, {1: "Why?", 2: "z"}])(here / "a.pkl")
    said = call("data", "show", "a.pkl", "--field", "1", "--json")
    assert (said.code, json.loads(said.out)["prompts"]) == (0, 2)
    pickled({1: ["a", "b"], 2: ["c", "d"]})(here / "a.pkl")  # as the same in JSON: texts under topics
    assert json.loads(call("data", "show", "a.pkl", "--json").out)["topics"] == {"1": 2, "2": 2}


MODELS: dict[str, tuple[str, Make, str]] = {
    "config cut": ("config.json", written('{"a": '), "config.json"),
    "config nested": ("config.json", written('{"a": ' + "[" * 50_000), "policy.model: cannot load"),
    "config a number": (
        "config.json",
        written('{"vocab_size": ' + "9" * 10_000 + "}"),
        "policy.model: cannot load",
    ),
    "config a list": ("config.json", written("[]"), "policy.model"),
    "config of other kinds": (
        "config.json",
        written('{"model_type": "llama", "hidden_size": "many", "num_attention_heads": [1]}'),
        "policy.model",
    ),
    "config of a larger vocabulary": ("config.json", written('{"vocab_size": 1000000000}'), "vocab_size"),
    "config of a million layers": (
        "config.json",
        written('{"num_hidden_layers": 1000000, "hidden_size": 64}'),
        "num_hidden_layers = 1000000",
    ),
    "sparse tokenizer": (
        "tokenizer.json",
        lambda path: path.touch() or os.truncate(path, 8 << 30),
        "larger than",
    ),
    "config of another architecture": ("config.json", written('{"model_type": "no-such"}'), "policy.model"),
    "tokenizer cut": ("tokenizer.json", written('{"version":'), "policy.model"),
    "tokenizer nested": ("tokenizer_config.json", written("[" * 50_000), "policy.model"),
    "tokenizer in a pipe": ("tokenizer.json", lambda path: os.mkfifo(path), "is not a file"),
    "generation config in a pipe": ("generation_config.json", lambda path: os.mkfifo(path), "is not a file"),
    "template in a folder": ("chat_template.jinja", lambda path: path.mkdir(), "is not a file"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_hostile_model_is_one_line(here: Path, call: Call, kind: str) -> None:
    from iteralign.models import tiny

    tiny.build(here / "tiny")
    name, make, says = MODELS[kind]
    (here / "tiny" / name).unlink(missing_ok=True)
    make(here / "tiny" / name)
    one_line(call("check", "quickstart", "--policy", "tiny"), says)


FIRST = Path("iterations/001")


def replaced(path: str, make: Make) -> Make:
    def damage(root: Path) -> None:
        (root / path).unlink()
        make(root / path)

    return damage


def relabelled(root: Path) -> None:
    file = root / FIRST / "20_verdicts.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"harmful"', '"harmless"', 1), encoding="utf-8")


RUNS: dict[str, tuple[Make, str]] = {
    "nested step": (
        replaced("iterations/001/45_gate.json", written("[" * 100_000)),
        "45_gate.json is damaged",
    ),
    "folder for a step": (replaced("iterations/001/45_gate.json", Path.mkdir), "45_gate.json is damaged"),
    "pipe for a step": (replaced("iterations/001/45_gate.json", os.mkfifo), "45_gate.json is damaged"),
    "another value in a step": (relabelled, "its value is not the one that was recorded"),
    "number in a step": (
        replaced("iterations/001/45_gate.json", written('{"stage": "x", "inputs": {}, "value": 1e999}')),
        "45_gate.json is damaged",
    ),
    "nested config": (replaced("config.json", written('{"a":' * 50_000)), "config.json: cannot be read"),
    "config of numbers": (replaced("config.json", written('{"seed": 1e999}')), "config seed: inf"),
    "nested outcome": (replaced("outcome.json", written("[" * 50_000)), "outcome.json is damaged"),
    "outcome in a far iteration": (
        replaced(
            "outcome.json", written('{"stop_reason": "x", "t": 1e30, "policy": {"id": "x", "base": "x"}}')
        ),
        "outcome.json is damaged",
    ),
    "truth of another kind": (replaced("truth.json", written('{"planted": 5}')), "truth.json is damaged"),
    "nested timings": (replaced("timings.jsonl", written("[" * 50_000 + "\n")), "timings.jsonl is damaged"),
    "timings in a pipe": (replaced("timings.jsonl", os.mkfifo), "timings.jsonl: cannot be read (a pipe"),
    "calls in a pipe": (
        replaced("iterations/001/calls/20_verdicts.oracle.jsonl", os.mkfifo),
        "20_verdicts.oracle.jsonl: cannot be read (a pipe",
    ),
    "attempts that give back": (
        lambda root: (root / "failed_attempts.jsonl").write_text('{"role": "judge", "input_tokens": -9}\n'),
        "failed_attempts.jsonl is damaged",
    ),
}


@pytest.mark.parametrize("kind", RUNS)
def test_a_damaged_run_is_one_line(here: Path, call: Call, kind: str) -> None:
    make, says = RUNS[kind]
    make(here / "runs" / "done")
    one_line(call("show", "done"), says)


@pytest.mark.parametrize("name", ["abc", "999", "1", "-1", "٣", ".DS_Store"])
@pytest.mark.parametrize("make", ["copy", "file"])
def test_what_is_foreign_among_the_iterations_is_in_no_figure(
    here: Path, call: Call, name: str, make: str
) -> None:
    folder = here / "runs" / "done" / "iterations"
    before = json.loads(call("show", "done", "--json").out)
    if make == "copy":
        shutil.copytree(folder / "002", folder / name)
    else:
        (folder / name).write_text("x", encoding="utf-8")
    after = json.loads(call("show", "done", "--json").out)
    assert after.pop("foreign") == [name]
    assert before.pop("foreign") == []
    assert after == before
    assert f"iterations/{name}" in call("show", "done").out


def test_a_file_in_the_place_of_the_iterations(here: Path, call: Call) -> None:
    shutil.rmtree(here / "runs" / "done" / "iterations")
    (here / "runs" / "done" / "iterations").write_text("x", encoding="utf-8")
    assert call("show", "done").code == 0
    one_line(call("run", "runs/done"))


def test_texts_of_any_kind_are_shown_as_escapes(here: Path, call: Call) -> None:
    one_line(call("check", "quickstart", "--set", "name=a\x1b[31m\ud800\x9b"), "\\x1b[31m\\ud800\\x9b")
    one_line(call("show", "\udcff\x1b]0;x\x07"), "\\udcff\\x1b]0;x\\x07")


def test_a_place_where_no_folder_can_be_made_is_one_line(call: Call) -> None:
    if not Path("/proc").is_dir():
        pytest.skip("no /proc on this machine")
    one_line(call("run", "quickstart", "--runs", "/proc/x"), "no folder can be made there")
