"""Files: whole or not at all, and one line on what the disk refused."""

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from iteralign.errors import IterAlignError, UserError, WorldError
from iteralign.record.disk import TEMPORARY, Lines, comparable, disk, room, sweep, write_whole


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def closed_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written to, whoever runs this."""
    folder = tmp_path / "closed"
    folder.mkdir()
    if os.geteuid():
        folder.chmod(0o500)
        yield folder
        folder.chmod(0o700)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("root may write everywhere, and a read-only mount was refused")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


LIMIT = 10_000


@contextmanager
def quota() -> Iterator[None]:
    """No file may grow beyond LIMIT bytes: a disk quota that needs no root. Only around what is tested: it
    holds for pytest's own output too, where that goes to a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    write_whole(path, "old")
    write_whole(path, "new ž")
    assert path.read_text(encoding="utf-8") == "new ž"
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


def test_a_full_disk_leaves_the_old_file_and_no_rest(small_disk: Path) -> None:
    path = small_disk / "file.json"
    write_whole(path, "old")
    with pytest.raises(WorldError, match=r"file\.json: no space left on device; free space and rerun"):
        write_whole(path, "x" * 200_000)
    assert path.read_text() == "old"
    assert [p.name for p in small_disk.iterdir()] == ["file.json"]


def test_a_quota_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_whole(path, "old")
    with quota(), pytest.raises(WorldError, match=r"file\.json: file too large; free space and rerun"):
        write_whole(path, "x" * (LIMIT + 1))
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_a_line_that_does_not_fit_leaves_the_lines_before_it(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "calls.jsonl")
    lines.append("first\n")
    with quota(), pytest.raises(WorldError, match=r"calls\.jsonl: file too large"):
        lines.append("x" * LIMIT + "\n")
    lines.append("second\n")
    lines.pause()
    assert lines.path.read_bytes() == b"first\nsecond\n"


def test_a_closed_folder_is_the_users_to_open(closed_folder: Path) -> None:
    with pytest.raises(UserError, match="make it writable for this user"):
        write_whole(closed_folder / "file.json", "x")
    with pytest.raises(UserError, match="make it writable for this user"):
        Lines(closed_folder / "calls.jsonl").append("x\n")


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(UserError, match="choose another place"):
        write_whole(tmp_path / "run" / "file.json", "x")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, WorldError),
        (errno.EDQUOT, WorldError),
        (errno.EIO, WorldError),
        (errno.EACCES, UserError),
        (errno.EROFS, UserError),
    ],
)
def test_every_refusal_is_one_line_with_the_path(number: int, kind: type[IterAlignError]) -> None:
    with pytest.raises(kind) as told, disk(Path("runs/a")):
        raise OSError(number, os.strerror(number), "runs/a/file")
    assert str(told.value).startswith("runs/a/file: ")
    assert "\n" not in str(told.value)


def test_other_faults_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk(tmp_path):
        (tmp_path / "nothing").read_text()
    with pytest.raises(PermissionError), room(tmp_path):
        raise PermissionError(errno.EACCES, "no", "elsewhere")
    with pytest.raises(WorldError), room(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_torn_last_line_is_cut_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_bytes(b"one\ntwo\nthr")
    lines = Lines(path)
    assert lines.found == [b"one", b"two"]
    assert path.read_bytes() == b"one\ntwo\nthr", "reading changes nothing"
    lines.append("three\n")
    lines.pause()
    lines.append("four\n")
    lines.pause()
    assert path.read_bytes() == b"one\ntwo\nthree\nfour\n"


def test_what_was_half_written_is_swept(tmp_path: Path) -> None:
    (tmp_path / "iterations" / f"{TEMPORARY}50_checkpoint").mkdir(parents=True)
    (tmp_path / "iterations" / f"{TEMPORARY}50_checkpoint" / "weights").write_text("half")
    (tmp_path / f"{TEMPORARY}config.json").write_text("half")
    (tmp_path / "config.json").write_text("whole")
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["config.json", "iterations"]


def test_runs_are_compared_by_what_came_out(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    write_whole(one / "iterations" / "001" / "10_responses.json", "same")
    shutil.copytree(one, two)
    for name in ("timings.jsonl", "provenance.json", ".lock"):
        (two / name).write_text("when and who")
    assert comparable(one) == comparable(two)
    assert list(comparable(one)) == ["iterations/001/10_responses.json"]
    (two / "iterations" / "001" / "timings.jsonl").write_text("not the run's own")
    assert comparable(one) != comparable(two)
