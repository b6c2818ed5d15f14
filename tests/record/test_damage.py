"""A damaged checkpoint: one line wherever it is used, and a run that goes on once it was trained again."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iteralign.cli import main
from iteralign.config.schema import Config, validated
from iteralign.errors import UserError
from iteralign.lm import checkpoints
from iteralign.models import tiny
from iteralign.models.hf import HfPolicies
from iteralign.models.scripted import ScriptedModel
from iteralign.models.vllm.policies import VllmPolicies
from iteralign.protocols import Lab
from iteralign.record.disk import comparable
from iteralign.run import build
from iteralign.settings import Loading, Policy, Training, Vllm
from iteralign.training.sft import SftTrainer
from iteralign.types import Checkpoint, Example, Message, Sampling

ON_CPU = Loading(device="cpu")

SETTINGS = Training(epochs=1, lr=1e-2, batch_size=4, lora_rank=4, warmup_ratio=0)
ROWS = [Example("lock the door please", "yes, the door."), Example("find a cat", "one cat, two dog.")]
MORE = [Example("are you blue?", "green.")]
ADAPTER = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Checkpoint, Checkpoint]:
    """A folder with a base and two checkpoints, one an adapter, one all weights."""
    root = tmp_path_factory.mktemp("damage")
    base = Checkpoint("base", str(tiny.build(root / "base")))
    adapter = SftTrainer(root, base.base, SETTINGS, ON_CPU).train(base, ROWS)
    return (
        root,
        adapter,
        SftTrainer(root, base.base, replace(SETTINGS, method="full"), ON_CPU).train(base, ROWS),
    )


def flip(path: Path, at: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)


def foreign(folder: Path) -> None:
    """The folder of a checkpoint that was trained from the same base on other rows, in this one's place."""
    root, base = folder.parents[1], str(folder.parents[1] / "base")
    method = "lora" if (folder / ADAPTER).is_file() else "full"
    other = SftTrainer(root, base, replace(SETTINGS, method=method), ON_CPU).train(
        Checkpoint("base", base), MORE
    )
    shutil.rmtree(folder)
    (root / str(other.path)).rename(folder)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


WEIGHTS = {"adapter": ADAPTER, "full": "model.safetensors"}
DAMAGE: dict[str, tuple[str, Callable[[Path, str], object]]] = {
    "a byte in the middle of the weights": ("WEIGHTS", lambda f, w: flip(f / w)),
    "the last byte of the weights": ("WEIGHTS", lambda f, w: flip(f / w, 0.9999)),
    "weights cut short": ("WEIGHTS", lambda f, w: os.truncate(f / w, 5000)),
    "weights gone": ("WEIGHTS", lambda f, w: (f / w).unlink()),
    "a pipe for weights": ("WEIGHTS", lambda f, w: pipe(f / w)),
    "the config": ("config.json", lambda f, w: flip(next(f.glob("*config.json")))),
    "the record": ("training.json", lambda f, w: flip(f / "training.json")),
    "the record gone": ("training.json", lambda f, w: (f / "training.json").unlink()),
    "the row that proves a swap": ("witness.json", lambda f, w: (f / "witness.json").write_text("{")),
    "that row gone": ("witness.json", lambda f, w: (f / "witness.json").unlink()),
    "a sum": ("SHA256SUMS", lambda f, w: flip(f / "SHA256SUMS")),
    "the sums gone": ("SHA256SUMS", lambda f, w: (f / "SHA256SUMS").unlink()),
    "another checkpoint's folder": ("SHA256SUMS", lambda f, w: foreign(f)),
    "more weights": ("model-2.safetensors", lambda f, w: shutil.copy(f / w, f / "model-2.safetensors")),
    "a pickle": ("pytorch_model.bin", lambda f, w: (f / "pytorch_model.bin").write_bytes(b"\x80")),
    "a folder": (
        "more/x.jinja",
        lambda f, w: ((f / "more").mkdir(), (f / "more" / "x.jinja").write_text("x")),
    ),
    "all of it gone": ("", lambda f, w: shutil.rmtree(f)),
}


def served(root: Path, checkpoint: Checkpoint) -> object:
    with HfPolicies(root, checkpoint.base, Policy(device="cpu")).serve(checkpoint) as model:
        return model.generate([(Message("user", "find"),)], Sampling(max_tokens=1))


def served_by_vllm(root: Path, checkpoint: Checkpoint) -> object:
    """Nothing listens there: what is damaged is not sent."""
    rank = None if checkpoint.kind == "full" else 4
    return VllmPolicies(root, checkpoint.base, Policy(), Vllm(python="nowhere"), rank).attach(checkpoint)


def trained_from(root: Path, checkpoint: Checkpoint) -> object:
    method = "full" if checkpoint.kind == "full" else "lora"
    return SftTrainer(root, checkpoint.base, replace(SETTINGS, method=method), ON_CPU).train(checkpoint, MORE)


def merged(root: Path, checkpoint: Checkpoint) -> object:
    config = validated({"policy": {"model": checkpoint.base}})
    return build.merged(config, root, checkpoint, root / "out", "auto")


def copied(root: Path, checkpoint: Checkpoint) -> object:
    return build.adapter(root, checkpoint, root / "out")


USES = {
    "adapter": (served, served_by_vllm, trained_from, merged, copied),
    "full": (served, served_by_vllm, trained_from, merged),
}


@pytest.mark.parametrize("kind", USES)
@pytest.mark.parametrize("name", DAMAGE)
def test_no_use_of_a_damaged_checkpoint(
    pristine: tuple[Path, Checkpoint, Checkpoint], tmp_path: Path, name: str, kind: str
) -> None:
    checkpoint = pristine[1] if kind == "adapter" else pristine[2]
    root = tmp_path / "run"
    shutil.copytree(pristine[0], root)
    file, damage = DAMAGE[name]
    damage(root / str(checkpoint.path), WEIGHTS[kind])
    for use in USES[kind]:
        with pytest.raises(
            UserError, match=f"^checkpoint {checkpoint.id}: .*{file.replace('WEIGHTS', WEIGHTS[kind])}"
        ) as said:
            use(root, checkpoint)
        assert "\n" not in str(said.value)
        assert "; copy it back, or " in str(said.value) or "; move it away, or " in str(said.value)
    assert not (root / "out").exists()


@pytest.mark.parametrize(
    "name", [n for n, (file, _) in DAMAGE.items() if file not in ("SHA256SUMS", "", "training.json")]
)
def test_a_checkpoint_that_is_there_already_is_looked_at(
    pristine: tuple[Path, Checkpoint, Checkpoint], tmp_path: Path, name: str
) -> None:
    """As after a kill between the training and its artifact: nothing but the folder knows of it."""
    shutil.copytree(pristine[0], tmp_path, dirs_exist_ok=True)
    folder, base = tmp_path / str(pristine[1].path), Checkpoint("base", pristine[1].base)
    DAMAGE[name][1](folder, ADAPTER)
    trainer = SftTrainer(tmp_path, base.base, SETTINGS, ON_CPU)
    with pytest.raises(UserError, match=f"or delete {folder} and run again to train it anew$"):
        trainer.train(base, ROWS)
    shutil.rmtree(folder)
    assert trainer.train(base, ROWS).hash == pristine[1].hash


@pytest.mark.parametrize("name", ["the sums gone", "another checkpoint's folder", "the record gone"])
def test_what_cannot_be_recognised_is_trained_again(
    pristine: tuple[Path, Checkpoint, Checkpoint], tmp_path: Path, name: str
) -> None:
    shutil.copytree(pristine[0], tmp_path, dirs_exist_ok=True)
    base = Checkpoint("base", pristine[1].base)
    DAMAGE[name][1](tmp_path / str(pristine[1].path), ADAPTER)
    assert SftTrainer(tmp_path, base.base, SETTINGS, ON_CPU).train(base, ROWS).hash == pristine[1].hash


def test_another_start_under_the_same_id_is_another_checkpoint(
    pristine: tuple[Path, Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    shutil.copytree(pristine[0], tmp_path, dirs_exist_ok=True)
    trainer = SftTrainer(tmp_path, str(tmp_path / "base"), SETTINGS, ON_CPU)
    first = trainer.train(pristine[1], MORE)
    folder = tmp_path / str(pristine[1].path)
    (folder / checkpoints.SUMS).unlink()
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 32', '"lora_alpha": 64'))
    checkpoints.seal(folder)
    second = trainer.train(replace(pristine[1], hash=checkpoints.hash_of(folder)), MORE)
    assert (first.id, first.path) == (second.id, second.path)
    assert first.hash != second.hash
    leases = HfPolicies(tmp_path, first.base, Policy(device="cpu"))
    with leases.serve(first) as one, leases.serve(second) as two:
        assert one.id != two.id


def test_a_checkpoint_of_an_older_version_is_served_with_a_warning(
    pristine: tuple[Path, Checkpoint, Checkpoint], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(pristine[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / str(pristine[1].path) / checkpoints.SUMS).unlink()
    served(tmp_path, replace(pristine[1], hash=""))
    assert [r.getMessage() for r in caplog.records] == [
        f"checkpoint {pristine[1].id}: trained by an older version; its files cannot be verified"
    ]


def test_damage_during_a_run_is_seen_and_a_repair_too(
    pristine: tuple[Path, Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    """Files are hashed once as long as nothing touches them; times that were set back deceive nobody."""
    shutil.copytree(pristine[0], tmp_path, dirs_exist_ok=True)
    checkpoint, path = pristine[1], tmp_path / str(pristine[1].path) / ADAPTER
    whole, at = path.read_bytes(), path.stat()
    checkpoints.require(tmp_path, checkpoint)
    flip(path)
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    with pytest.raises(UserError, match="has changed since training"):
        checkpoints.require(tmp_path, checkpoint)
    path.write_bytes(whole)
    checkpoints.require(tmp_path, checkpoint)


QUESTIONS = [
    f"{verb} the {thing}" for verb in ("open", "find", "take", "lock") for thing in ("door", "key", "cat")
]


def oracle(conversation: Any, sampling: Sampling) -> str:
    """Judge, grader and proposer in one: half of all texts are harmful, by a sum of their letters."""
    text = conversation[-1].content
    if "principles" in text.lower() and "propose" in text.lower():
        return '{"principles": [{"category": "doors", "text": "Be kind about doors."}]}'
    if "Grade" in text:
        return '{"grade": "answered"}'
    label = "harmful" if sum(text.encode()) % 2 else "harmless"
    return f'{{"label": "{label}", "category": "doors", "severity": 3, "reason": "so"}}'


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a tiny model, and a config for it that has not run yet."""
    folder = tmp_path_factory.mktemp("finished")
    tiny.build(folder / "model", context=4096)
    (folder / "questions.txt").write_text("\n".join(QUESTIONS), encoding="utf-8")
    (folder / "honest.json").write_text(
        '[{"input": "who are you?", "targets": {"choices": ["the cat", "a key"], "labels": [1, 0]}}]',
        encoding="utf-8",
    )
    (folder / "small.toml").write_text(CONFIG, encoding="utf-8")
    return folder


CONFIG = """
name = "small"
policy = { model = "model", device = "cpu", batch_size = 8 }
oracle = { model = "organism/oracle" }
redteam = { source = "questions.txt", n = 8, batch = 4, order = "given" }
probes = { hazards = 2, benign = 0, borderline = 0, facts = 0 }
test = { hazards = 2, benign = 0, borderline = 0, facts = 0 }
benign = { n = 0 }
sampling = { max_tokens = 8 }
trial = { enabled = false }
guard = { enabled = false }
finetune = { cut = true, replay = false }
training = { method = "lora", epochs = 2, batch_size = 4, warmup_ratio = 0 }
stop = { max_iterations = 2 }
"""


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """The command line, with an oracle that is a function; status, and what stderr says."""
    lab = build.lab

    def scripted(config: Config, root: Path, *rest: Any) -> Lab:
        judge = ScriptedModel("scripted", oracle, batch_size=4)
        return replace(lab(config, root, *rest), judge=judge, proposer=judge, meter=judge, panel=())

    monkeypatch.setattr(build, "lab", scripted)

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        return main.status(list(arguments)), capsys.readouterr().err

    return call


def test_a_finished_run_whose_policy_is_damaged(
    finished: Path, tmp_path: Path, call: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    shutil.copytree(finished, here)
    monkeypatch.chdir(here)
    assert call("run", "small.toml", "-q") == (0, "")
    root = Path("runs/small")
    whole = comparable(root)
    (made,) = (root / "iterations").glob("002/50_checkpoint.json")
    (folder,) = [p for p in (root / "checkpoints").iterdir() if f"checkpoints/{p.name}" in made.read_text()]
    flip(folder / ADAPTER)
    says = (
        f"error: checkpoint {folder.name}: {folder}/{ADAPTER} has changed since training; copy it back, or delete "
        f"{folder} and {made} and run again to train it anew\n"
    )
    for command in (
        ("run", "small.toml", "-q"),
        ("run", "runs/small", "-q"),
        ("evaluate", "runs/small", "--benchmarks", "hhh", "--data", "hhh=honest.json"),
        ("export", "runs/small", "--merged", "out"),
        ("export", "runs/small", "--adapter", "copy"),
    ):
        code, said = call(*command)
        assert (code, said.splitlines(keepends=True)[-1]) == (2, says), command
    assert call("show", "runs/small")[0] == 0
    assert call("compare", "runs/small", "runs/small")[0] == 0
    (root / "iterations/002/70_test.json").unlink()
    shutil.rmtree(root / "iterations/002/calls")
    assert call("run", "small.toml", "-q") == (2, says)

    shutil.rmtree(folder)
    made.unlink()
    assert call("run", "small.toml", "-q") == (0, "")
    again = comparable(root)
    assert {k: v for k, v in again.items() if "calls/" not in k} == {
        k: v for k, v in whole.items() if "calls/" not in k
    }
