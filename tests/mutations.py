"""Damage files at random and run commands on them: the program behind test_mutations.py.

    mutations.py FOLDER SEED NUMBER EVERY     every EVERY-th by the real command in a process of its own

It imports what is slow once, makes a small run, and then does each case in a forked child. A line of JSON on stdout
for each: what was done to what, the command, how it ended, what it said, and its memory above the undamaged case.
"""

import gzip
import json
import os
import pickle
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

CPU_S = 10
"""Processor time of a case; a wall clock would measure how busy the machine is."""
WALL_S = 120
"""Only what waits for a pipe or a lock comes near it."""
REAL = "from iteralign.cli.main import main; main()"
CONFIG = """\
name = "done"
[policy]
model = "organism"
device = "cpu"
[redteam]
n = 8
batch = 4
[probes]
hazards = 4
benign = 2
borderline = 2
facts = 2
[test]
hazards = 4
benign = 2
borderline = 2
facts = 2
[benign]
n = 3
[trial]
failures = 2
benign = 2
borderline = 2
[training]
epochs = 1
lora_rank = 2
lora_alpha = 4
[guard]
enabled = false
[stop]
target = 0.0
max_iterations = 2
"""
SHEET = """\
name = "sheet"
config = "small.toml"
seeds = [0, 1]
reference = "a"
[shared]
redteam.n = 8
[arms.a]
[arms.b]
gate.enabled = false
"""
ROWS = [{"prompt": f"How would one do thing {i}?", "topic": f"topic {i % 3}", "n": i} for i in range(30)]
PROBES = [{"prompt": f"Is {i} even?", "kind": k} for i in range(8) for k in ("hazard", "benign", "fact")]
HUGE, DEEP = 10**400, "[" * 3000 + "]" * 3000
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, HUGE, 1e308, float("inf"), float("nan"), "", "x" * 20_000, "\0", "\ud800",
    "\x1b[31m", "../../../../etc/passwd", "/dev/zero", [], {}, [[]], {"a": 1}, ["a", 1, None], "a" * 300,
    json.loads("[" * 90 + "]" * 90), json.loads("[" * 300 + "]" * 300),
)  # fmt: skip
PIECES = (
    b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"[" * 100_000, b"{" * 1000, b'{"a":' * 2000, b"9" * 5000, b"1e999", b"NaN",
    b"-", b'"', b"\n", b"\r", b",", b"=", b"\\ud800", b"\\u0000", b"\x1b]0;x\x07", b"{{ 1/0 }}", b"{% for %}",
    b"a." * 500, b"x" * 70_000, DEEP.encode(), b"\xe2\x80\xae", b"2147483648", b"0x" + b"f" * 9000,
)  # fmt: skip


def base(folder: Path) -> None:
    """Everything undamaged, but for the run."""
    (folder / "small.toml").write_text(CONFIG)
    (folder / "sheet.toml").write_text(SHEET)
    (folder / "prices.toml").write_text('["x/y"]\ninput = 1.0\noutput = 2.0\n')
    (folder / "principles.txt").write_text("Be kind.\nBe brief.\n")
    (folder / "principles.json").write_text(json.dumps({"principles": [{"text": "Be kind."}]}))
    (folder / "template.jinja").write_text("{% for m in messages %}{{ m['content'] }}\n{% endfor %}")
    (folder / "guard.toml").write_text(
        (resources.files("iteralign.prompts") / "guards/llama-guard.toml").read_text()
    )
    (folder / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    (folder / "a.jsonl.gz").write_bytes(gzip.compress((folder / "a.jsonl").read_bytes()))
    (folder / "a.json").write_text(json.dumps(ROWS))
    (folder / "nested.json").write_text(json.dumps({"T": {"S": ["one", "two"]}, "U": {"V": ["three"]}}))
    for name, cut in (("a.csv", ","), ("a.tsv", "\t")):
        rows = [cut.join(map(str, r.values())) for r in ROWS]
        (folder / name).write_text("\n".join([cut.join(ROWS[0]), *rows]) + "\n")
    (folder / "a.txt").write_text("\n".join(str(r["prompt"]) for r in ROWS))
    (folder / "a.pkl").write_bytes(pickle.dumps(ROWS))
    (folder / "probes.jsonl").write_text("".join(json.dumps(r) + "\n" for r in PROBES))
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), folder / "a.parquet")
    shutil.copytree(str(resources.files("iteralign.prompts") / "improved"), folder / "prompts")
    shutil.copytree(str(resources.files("iteralign.organism") / "weights"), folder / "model")


DATA = ("a.jsonl", "a.jsonl.gz", "a.json", "nested.json", "a.csv", "a.tsv", "a.txt", "a.pkl", "a.parquet")
SET = "--set"
GIVEN = (SET, "propose.source=given", SET)
OTHERS: dict[str, tuple[list[str], ...]] = {
    "small.toml": (["check", "small.toml"], ["plan", "small.toml"]),
    "sheet.toml": (["experiment", "sheet.toml", "--plan"],),
    "prices.toml": (["plan", "small.toml", "--prices", "prices.toml"],),
    "principles.txt": (["check", "small.toml", *GIVEN, "propose.principles=principles.txt"],),
    "principles.json": (["check", "small.toml", *GIVEN, "propose.principles=principles.json"],),
    "template.jinja": (["check", "small.toml", SET, "policy.template=template.jinja"],),
    "guard.toml": (["check", "small.toml", SET, 'judge.models=[{model="vllm/b",guard="guard.toml"}]'],),
    "probes.jsonl": (["check", "small.toml", SET, "probes.source=probes.jsonl"],),
    **{
        name: (
            ["data", "show", name],
            ["data", "show", name, "--json"],
            ["check", "small.toml", SET, f"redteam.source={name}", SET, "redteam.batch=2"],
        )
        for name in DATA
    },
}
"""File to commands."""
FOLDERS: dict[str, tuple[list[str], ...]] = {
    "runs/done": (
        ["show", "runs/done"],
        ["show", "runs/done", "--json"],
        ["compare", "runs/done@before", "runs/done"],
        ["compare", "runs/done@1", "runs/done@2"],
        ["constitution", "show", "runs/done"],
        ["constitution", "export", "runs/done", "--format", "yaml"],
        ["constitution", "ledger", "runs/done"],
        ["stage", "verdicts", "runs/done", "-t", "1", "-q"],
        ["plan", "small.toml"],
        ["check", "small.toml"],
        ["run", "small.toml", "-q"],
        ["run", "runs/done", "-q"],
    ),
    "model": (["check", "small.toml", "--policy", "model"], ["organism", "describe", "model"]),
    "prompts": (["check", "small.toml", SET, "method.prompts=prompts"],),
}
"""Folder in which one file is damaged, to commands."""


# -- damage ----------------------------------------------------------------------------------------------------------


def of_bytes(file: Path, rng: random.Random) -> str:
    data = bytearray(file.read_bytes())
    at = rng.randrange(len(data) + 1)
    kind = rng.choice(["flip", "cut", "twice", "insert", "insert", "lose", "empty"])
    if kind == "flip" and data:
        data[at - 1] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[at:]
    elif kind == "twice":
        data[at:at] = data[max(0, at - rng.randrange(1, 400)) : at]
    elif kind == "insert":
        data[at:at] = rng.choice(PIECES)
    elif kind == "lose":
        del data[at : at + rng.randrange(1, 400)]
    else:
        data.clear()
    file.write_bytes(data)
    return f"{kind} at {at}"


def of_values(file: Path, rng: random.Random) -> str:
    """One value, or one key, of a JSON file or of a line of JSON becomes another."""
    lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
    at = rng.randrange(len(lines))
    value = [json.loads(lines[at])]
    places = []
    rest: list[Any] = [value]
    while rest:
        holder = rest.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            places.append((holder, key))
            if isinstance(holder[key], dict | list):
                rest.append(holder[key])
    holder, key = rng.choice(places)
    how = rng.choice(["value", "value", "value", "gone", "key"]) if isinstance(holder, dict) else "value"
    if how == "value":
        holder[key] = rng.choice(VALUES)
    else:
        old = holder.pop(key)
        if how == "key":
            holder[rng.choice(["", "x", "\0", "a" * 300])] = old
    lines[at] = json.dumps(value[0])
    file.write_text("\n".join(lines) + "\n")
    return f"{how} of {str(key)[:40]}"


def of_a_pickle(file: Path, rng: random.Random) -> str:
    laughs: Any = "ha"
    for _ in range(40):
        laughs = [laughs] * 3
    rows: Any = rng.choice(
        [
            {1: ["a", "b"], 2: ["c", "d"]}, [{1: "x", 2: "y"}] * 2, [{("a", 1): "x"}], [{"prompt": laughs}],
            [{"prompt": "x", "topic": laughs}], [{"prompt": HUGE}], {"prompt": [1, 2], "n": [HUGE, 1 << 99_999]},
            [{"prompt": "x", "topic": 1 << 99_999}], [{"prompt": float("nan")}], [{"prompt": "\ud800"}],
            ["x" * 1000] * 500_000, {"a": 1, 1: 2, "1": 3}, [None], [True], 3, {}, [[["deep"]]],
        ]
    )  # fmt: skip
    file.write_bytes(pickle.dumps(rows, rng.randrange(2, 6)))
    return "other rows"


def of_a_table(file: Path, rng: random.Random) -> str:
    import pyarrow
    from pyarrow import parquet

    many = rng.choice([3_000_000, 100_000])
    table = rng.choice(
        [
            {"prompt": pyarrow.array(["x" * 3000] * 100_000)}, {"prompt": pyarrow.nulls(many)},
            {"prompt": [b"\xff"] * 3}, {"prompt": [["a"], ["b"]]},
            {"prompt": [{"a": 1}, {"a": 2}]}, {"n": [2**63 - 1, -1]}, {"": ["a"]},
            {"prompt": ["a", None]}, {"prompt": []},
        ]
    )  # fmt: skip
    parquet.write_table(pyarrow.table(table), file)
    return "another table"


def of_kind(file: Path, rng: random.Random) -> str:
    """Something else than a file, or a file of absurd size."""
    kind = rng.choice(["folder", "pipe", "loop", "zero", "sparse", "gone", "stdin", "closed"])
    if kind == "closed":
        file.chmod(0)
        return kind
    file.unlink()
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "loop":
        file.symlink_to(file.name)
    elif kind == "zero":
        file.symlink_to("/dev/zero")
    elif kind == "stdin":
        file.symlink_to("/dev/stdin")
    elif kind == "sparse":
        with file.open("wb") as out:
            out.truncate(8 << 30)
    return kind


def of_iterations(root: Path, rng: random.Random) -> str:
    """Folders among the iterations that are not of this run, or missing ones."""
    folder = root / "iterations"
    name = rng.choice(["abc", "999", "003", "-1", "1", "٣", "001x", ".DS_Store"])
    kind = rng.choice(["copy", "file", "gone", "all a file", "swap"])
    if kind == "copy":
        shutil.copytree(folder / "002", folder / name)
    elif kind == "file":
        (folder / name).write_text("x")
    elif kind == "gone":
        shutil.rmtree(folder / rng.choice(["000", "001", "002"]))
    elif kind == "swap":
        (folder / "001").rename(folder / "x")
        (folder / "002").rename(folder / "001")
        (folder / "x").rename(folder / "002")
    else:
        shutil.rmtree(folder)
        folder.write_text("x")
    return f"{kind} {name}"


def swapped(file: Path, rng: random.Random) -> str:
    other = rng.choice([p for p in sorted(file.parent.rglob("*")) if p.is_file()])
    file.write_bytes(other.read_bytes())
    return f"is {other.name}"


def damage(place: Path, rng: random.Random) -> str:
    """Damage one file, or one of the files of a folder; say what was done."""
    if place.name == "done" and rng.random() < 0.1:
        return of_iterations(place, rng)
    files = [place]
    if place.is_dir():  # weights are the business of other tests
        files = [
            p
            for p in sorted(place.rglob("*"))
            if p.is_file() and p.suffix != ".safetensors" and p.name != ".lock"
        ]
    file = rng.choice(files)
    ways: list[Callable[[Path, random.Random], str]] = [of_bytes, of_bytes, of_kind, swapped]
    if file.suffix in (".json", ".jsonl"):
        ways += [of_values] * 4
    if file.suffix == ".pkl":
        ways += [of_a_pickle] * 4
    if file.suffix == ".parquet":
        ways += [of_a_table] * 2
    done = rng.choice(ways)(file, rng)
    return f"{file.relative_to(place) if file != place else file.name}: {done}"


# -- cases -----------------------------------------------------------------------------------------------------------


def forked(folder: Path, arguments: Sequence[str], limited: bool = True) -> dict[str, Any]:
    """Do the command in a child: exit status, what it wrote on stderr, its peak of memory in MB."""
    from iteralign.cli import main

    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.chdir(folder)
            for handle, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(folder.parent / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), handle)
            if limited:
                resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
                signal.alarm(WALL_S)
            status = main.status(list(arguments))
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return _ended(child, folder)


def real(folder: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """The same by the real command."""
    with (folder.parent / "out").open("wb") as out, (folder.parent / "err").open("wb") as err:
        process = subprocess.Popen(
            ["timeout", "-s", "ALRM", str(WALL_S), sys.executable, "-c", REAL, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    return _ended(process.pid, folder)


def _ended(child: int, folder: Path) -> dict[str, Any]:
    _, status, used = os.wait4(child, 0)
    said = (folder.parent / "err").read_text(errors="replace")
    return {"code": os.waitstatus_to_exitcode(status), "said": said, "megabytes": used.ru_maxrss // 1024}


def main(folder: Path, seed: int, number: int, every: int) -> None:
    rng = random.Random(seed)
    whole = folder / "whole"
    whole.mkdir(parents=True)
    base(whole)
    made = forked(whole, ["run", "small.toml", "-q"], limited=False)
    assert made["code"] == 0, made
    places = {**OTHERS, **FOLDERS}
    undamaged: dict[tuple[str, bool], int] = {}
    here = folder / "here"
    for case in range(number):
        name = rng.choice([*OTHERS, *["runs/done"] * 12, *["model"] * 2, "prompts"])
        arguments = rng.choice(places[name])
        real_command = every > 0 and case % every == every - 1
        run = real if real_command else forked
        if (key := (" ".join(arguments), real_command)) not in undamaged:
            _copy(whole, here, arguments)
            before = run(here, arguments)
            assert before["code"] == 0, (arguments, before)
            undamaged[key] = before["megabytes"]
        _copy(whole, here, arguments)
        done = _apart(lambda at=here / name, case=case: damage(at, random.Random(f"{seed} {case}")), folder)
        ended = run(here, arguments)
        more = ended.pop("megabytes") - undamaged[key]
        facts = {
            "case": case,
            "place": name,
            "done": done,
            "command": arguments,
            "real": real_command,
            "more": more,
        }
        print(json.dumps({**facts, **ended}), flush=True)


def _apart(work: Callable[[], str], folder: Path) -> str:
    """Do it in a child, so that what it takes of memory is no child's of the cases; what it says."""
    child = os.fork()
    if child == 0:
        try:
            (folder / "done").write_text(work())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return (folder / "done").read_text()


def _copy(whole: Path, here: Path, arguments: Sequence[str]) -> None:
    if here.exists():
        for path in here.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(stat.S_IRWXU)
        shutil.rmtree(here)
    shutil.copytree(whole, here, ignore=None if "model" in arguments else shutil.ignore_patterns("model"))


if __name__ == "__main__":
    import inspect_ai.model  # noqa: F401  (slow to import: once)
    import peft  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import rich.live  # noqa: F401
    import scipy.stats  # noqa: F401
    import statsmodels.stats.contingency_tables  # noqa: F401
    import trl  # noqa: F401

    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
