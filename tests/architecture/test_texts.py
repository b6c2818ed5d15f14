"""What no file of the project may hold: paths of somebody's machine, keys, links that lead nowhere."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXTS = {".py", ".md", ".toml", ".txt", ".json", ".jsonl", ".cfg", ".jinja", ""}
LARGEST_BYTES = 16 * 2**20


def tracked() -> list[Path]:
    """The files of the checkout; outside git (an unpacked archive), all that lie in its folders."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = listed.stdout.split("\0") if listed.returncode == 0 else []
    folders = ("src", "tests", "docs", "design", "examples", "configs")
    paths = [ROOT / n for n in names if n] or [p for f in folders for p in (ROOT / f).rglob("*")]
    return [p for p in paths if p.is_file() and "__pycache__" not in p.parts]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.suffix in TEXTS else ""


# Written so that this file does not find itself.
MACHINE = re.compile(r"(?<![\w.])/(?:root|home/\w+|work|Users/\w+|mnt|opt)/[\w.-]+|[A-Z]:\\Users")
# As long as real ones are: a test may hold an invented short one.
KEY = re.compile(r"\b(?:sk-[A-Za-z0-9_-]{40,}|hf_[A-Za-z0-9]{30,}|AKIA[A-Z0-9]{16})\b")


def test_no_path_of_a_machine() -> None:
    found = {f"{p.relative_to(ROOT)}: {m.group()}" for p in tracked() for m in MACHINE.finditer(read(p))}
    assert not found


def test_no_key() -> None:
    found = {f"{p.relative_to(ROOT)}: {m.group()[:6]}…" for p in tracked() for m in KEY.finditer(read(p))}
    assert not found


def test_nothing_large() -> None:
    assert not [p for p in tracked() if p.stat().st_size > LARGEST_BYTES]


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("d*/*.md")), ids=lambda p: p.name
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]
