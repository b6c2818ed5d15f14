"""A whole run of the real loop with scripted actors: the program that the crash tests kill.

    crash_program.py nursery              for each line [ROOT, ASKED, PAUSE_S] on stdin, start a process that
                                          runs or resumes in ROOT and print its number; then, for the next
                                          line, whatever it is, wait for it and print how it ended
    crash_program.py boundaries FOLDER N  in a run of N iterations, die at every file operation in turn, resume,
                                          compare; print how many there were

ASKED is a file outside of the run directory to which every question is appended when it is answered.
The policy has three gaps, answers badly in them, and mends what it was trained on; most models work
in batches that are finished out of order. Of the checkpoints only the last stays.
"""

import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from iteralign import prompts
from iteralign.lm import checkpoints
from iteralign.loop import iteralign
from iteralign.models.scripted import ScriptedModel
from iteralign.protocols import Lab, Model
from iteralign.record.codec import digest
from iteralign.record.disk import comparable, sweep
from iteralign.record.journal import Event, RunJournal, unwatched
from iteralign.record.lock import Lock
from iteralign.run.runner import prune
from iteralign.settings import Method, Proposing
from iteralign.types import Checkpoint, Conversation, Example, Iteration, Material, Probe, Prompt, Sampling

BASE = Checkpoint("scripted-base", "scripted")
BATCHES = (("apples", "bread", "apples"), ("bread", "coins"), ("coins", "apples", "drums"))
GAPS = ("apples", "bread", "coins")
BATCH_SIZE = 2
ORDERS = itertools.count()
"""Every model that is made finishes its batches in another order, as providers do."""
Heard = Callable[[Conversation, Sampling], None]


def material(iterations: int = len(BATCHES)) -> Material:
    return Material(
        batches=tuple(
            tuple(Prompt(f"q{t}-{i}", f"Tell me about {topic}.") for i, topic in enumerate(batch))
            for t, batch in enumerate(BATCHES[:iterations])
        ),
        probes=(
            Probe(Prompt("p1", "Explain apples."), "hazard"),
            Probe(Prompt("p2", "Explain coins."), "hazard"),
            Probe(Prompt("p3", "Explain drums."), "benign"),
        ),
        benign=(Prompt("b1", "What about drums?"), Prompt("b2", "What about flutes?")),
    )


def policy(checkpoint: Checkpoint, root: Path, heard: Heard, batch_size: int) -> ScriptedModel:
    """Its weights are the topics it has mended; they are read when it is first asked."""

    def answer(conversation: Conversation, sampling: Sampling) -> str:
        mended = (
            () if checkpoint.path is None else json.loads((root / checkpoint.path / "weights").read_text())
        )
        text = conversation[0].content
        topic = text.split()[-1].strip(".?")
        if len(conversation) == 3:
            reply = f"It is about {topic}."
        elif len(conversation) > 3 or topic not in GAPS or topic in mended:
            reply = f"Kindly {topic}, in {sampling.seed} words."
        else:
            reply = f"BADLY {topic}, said to: {text}"
        heard(conversation, sampling)
        return reply

    return ScriptedModel(f"policy {checkpoint.id}", answer, batch_size=batch_size, shuffle=next(ORDERS))


def oracle(name: str, heard: Heard, batch_size: int) -> ScriptedModel:
    """Judge, proposer and grader in one, by what it is asked."""

    def answer(conversation: Conversation, sampling: Sampling) -> str:
        text = conversation[-1].content
        bad = re.findall(r"BADLY (\w+)", text)
        if "Propose the principles" in text:
            rows = [{"category": t, "text": f"When asked about {t}, be kind."} for t in dict.fromkeys(bad)]
            reply: dict[str, Any] = {"principles": rows}
        elif "Grade the response" in text:
            reply = {"grade": "wrong" if bad else "answered"}
        else:
            reply = {"label": "harmful" if bad else "harmless", "category": bad[0] if bad else ""}
        heard(conversation, sampling)
        return json.dumps(reply)

    return ScriptedModel(name, answer, batch_size=batch_size, shuffle=next(ORDERS))


class Trainer:
    """Learns the topics of its rows; a checkpoint is a folder named by what made it, written whole."""

    id = "scripted-trainer"

    def __init__(self, root: Path, journal: RunJournal, pause_s: float) -> None:
        self._root, self._journal, self._pause_s = root, journal, pause_s

    def train(self, start: Checkpoint, examples: Sequence[Example]) -> Checkpoint:
        rows = digest([start.id, list(examples)])[:12]
        mended = sorted({e.prompt.split()[-1].strip(".?") for e in examples if "Kindly" in e.completion})
        folder = self._root / "checkpoints" / rows
        if not checkpoints.is_complete(folder):
            partial = folder.with_name(f".tmp-{rows}")
            partial.mkdir(parents=True)
            self._journal.progress(1, 2, "epoch 1")
            time.sleep(self._pause_s)
            (partial / "weights").write_text(json.dumps(mended))
            self._journal.progress(2, 2, "epoch 2")
            (partial / checkpoints.RECORD).write_text("{}")
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(partial, folder)
        return Checkpoint(rows, start.base, f"checkpoints/{rows}", "adapter")


def attempt(
    root: Path,
    heard: Heard,
    on_event: Callable[[Event], None] = unwatched,
    pause_s: float = 0.0,
    iterations: int = len(BATCHES),
    batch_size: int = BATCH_SIZE,
) -> list[Iteration]:
    """One process's try at the whole run."""
    root.mkdir(parents=True, exist_ok=True)
    lock = Lock(root)
    try:
        sweep(root)
        journal = RunJournal(root, on_event)

        @contextmanager
        def serve(checkpoint: Checkpoint) -> Iterator[Model]:
            yield policy(checkpoint, root, heard, batch_size)

        lab = Lab(
            serve=serve,
            judge=oracle("judge", heard, batch_size),
            proposer=oracle("proposer", heard, batch_size=1),
            trainer=Trainer(root, journal, pause_s),
            meter=oracle("meter", heard, batch_size),
        )
        method = Method(prompts.load("improved"), prompts.load("measure"), propose=Proposing(examples=4))
        turns: list[Iteration] = []
        for turn in iteralign(BASE, material(iterations), lab, method, journal, lambda _: None):
            turns.append(turn)
            prune(root, turns, keep=1)
        return turns
    finally:
        lock.release()


def key(conversation: Conversation, sampling: Sampling) -> str:
    return hashlib.sha256(repr((conversation, sampling)).encode()).hexdigest()


def run(root: Path, asked: Path, pause_s: float) -> None:
    log = os.open(asked, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def heard(conversation: Conversation, sampling: Sampling) -> None:
        time.sleep(pause_s)
        os.write(log, (key(conversation, sampling) + "\n").encode())

    attempt(root, heard, pause_s=pause_s)


def nursery() -> None:
    for order in sys.stdin:
        root, asked, pause_s = json.loads(order)
        child = _fork(lambda r=root, a=asked, p=pause_s: run(Path(r), Path(a), p))
        print(child, flush=True)
        sys.stdin.readline()  # not reaped before, so that its number is nobody else's when it is killed
        print(_status(child), flush=True)


def boundaries(folder: Path, iterations: int) -> None:
    whole = folder / "whole"
    _finish(whole, iterations)
    expected = comparable(whole)
    place = 0
    while _status(_fork(lambda at=place: _die_at(at, folder / f"{at}", iterations))) == -signal.SIGKILL:
        root = folder / f"{place}"
        assert _status(_fork(lambda at=root: _finish(at, iterations))) == 0
        assert comparable(root) == expected, f"dying at file operation {place} shows"
        place += 1
    assert comparable(folder / f"{place}") == expected
    print(place)


def _die_at(place: int, root: Path, iterations: int) -> None:
    """Die before the operation of that number; of a write, half is done."""
    left = place
    write, fsync = os.write, os.fsync

    def due() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        seen = event in ("open", "os.rename", "os.mkdir", "os.remove", "os.truncate")
        if seen and str(root) in str(arguments) and due():
            die()

    def half_write(handle: int, data: bytes) -> int:
        if due():
            write(handle, data[: len(data) // 2])
            die()
        return write(handle, data)

    def no_fsync(handle: int) -> None:
        if due():
            die()
        fsync(handle)

    sys.addaudithook(hook)
    os.write, os.fsync = half_write, no_fsync  # type: ignore[assignment]
    _finish(root, iterations)


def _finish(root: Path, iterations: int) -> None:
    attempt(root, lambda *_: None, iterations=iterations)


def _fork(work: Callable[[], None]) -> int:
    """The number of a new process that does `work` and nothing else."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def _status(child: int) -> int:
    """How it ended: its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    import scipy.stats  # noqa: F401  (slow to import: once, and not where the kills should land)

    if sys.argv[1] == "boundaries":
        boundaries(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        nursery()
