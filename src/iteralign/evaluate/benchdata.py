"""What a benchmark asks: rows of a file, a folder, the Hub or the organism's world, read into items.

A file is named by its digest in every result, so that only the same questions are ever compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from iteralign.data import families, formats, hub, readers, sources
from iteralign.data.hub import HubSet
from iteralign.errors import UserError, WorldError, unknown
from iteralign.evaluate import gold, harness, hhh, truthfulqa, xstest
from iteralign.evaluate.choices import unique
from iteralign.organism import suite
from iteralign.record.codec import digest
from iteralign.types import Probe, Prompt

TRUTHFULQA = HubSet("truthfulqa/truthful_qa", "multiple_choice", "validation")
HHH = {name: HubSet("HuggingFaceH4/hhh_alignment", name, "test") for name in hhh.CATEGORIES}
XSTEST = HubSet("Paul/XSTest")


@dataclass(frozen=True, slots=True)
class Items:
    """Items of one benchmark. `source` names them: where from, how many, and a digest of what they say. `notes`: what
    of the file is not among them."""

    values: tuple[Any, ...]
    source: dict[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Given:
    """Rows and where they come from."""

    origin: str
    rows: tuple[Any, ...]


Reader = Callable[..., Items]
"""Called with the user's file, whether the model is the organism, a limit, and the column of the questions."""


def of_rows(
    name: str, text: str, read: Callable[[Sequence[Any], str], Sequence[Any]], default: HubSet | None
) -> Reader:
    """A reader of one table: the user's file, else the organism's suite, else the Hub's set.

    `text` is the column of the questions where the user names no other.
    """

    def load(path: str | None, organism: bool, limit: int | None, field: str | None = None) -> Items:
        given = _given(name, path, organism, default, field or text)
        rows = given.rows if field is None else _renamed(given, field, text)
        return items(read(rows, given.origin), given.origin, limit)

    return load


def _renamed(given: Given, field: str, text: str) -> tuple[Any, ...]:
    """The rows with the user's column under the name that the benchmark reads. Raises UserError."""
    columns = formats.columns(given.rows)
    if field not in columns:
        raise unknown(f"{given.origin}: column (--field)", field, [formats.titled(c) for c in columns])
    return tuple({**row, text: row.get(field)} if isinstance(row, Mapping) else row for row in given.rows)


def items(values: Sequence[Any], origin: str, limit: int | None) -> Items:
    """The first `limit` of them. The digest is of the items as read, so that formats of one set agree."""
    kept = tuple(values[:limit])
    return Items(kept, {"origin": origin, "items": len(kept), "sha256": digest(kept)})


def _given(name: str, path: str | None, organism: bool, default: HubSet | None, text: str) -> Given:
    if path is not None:
        return Given(path, sources.at(Path(path), text)[1].rows)
    if organism:
        return Given(f"the organism's {name}", tuple(suite.rows(name)))
    if default is None:
        raise UserError(f"{name}: has no data of its own; give it: --data {name}=PATH")
    try:
        return Given(default.id, hub.rows(default))
    except WorldError as error:
        raise WorldError(
            f"{str(error).partition(', or read a copy')[0]}, or give a file: --data {name}=PATH"
        ) from None


def pairs(path: str | None, organism: bool, limit: int | None, field: str | None = None) -> Items:
    """HHH Eval: a file of one category, or a folder with a file for each; pooled in the order of the categories."""
    files = _files(Path(path)) if path is not None else []
    if files:
        found_in = [Given(str(f), formats.table(f, (field or "input",)).rows) for f in files]
        tables = [(g.origin, _renamed(g, field, "input") if field else g.rows) for g in found_in]
        parts = [
            hhh.read(rows, name, hhh.category_of(rows[0] if rows else {}, name)) for name, rows in tables
        ]
        found = unique([c for part in parts for c in part], str(path))
    elif organism:
        rows = suite.rows("hhh")
        parts = [
            hhh.read([r for r in rows if r["category"] == c], c, c) for c in ("harmless", "helpful", "honest")
        ]
        found = tuple(c for part in parts for c in part)
    else:
        found = tuple(c for name, wanted in HHH.items() for c in hhh.read(hub.rows(wanted), wanted.id, name))
    return items(found, str(path) if files else "the organism's hhh" if organism else HHH["other"].id, limit)


def _files(place: Path) -> list[Path]:
    """The files of the categories in a folder, at most two folders down; or the file itself. Raises UserError."""
    if not place.is_dir():
        return [place]
    found: list[Path] = []
    for name in hhh.CATEGORIES:
        patterns = (
            f"{deep}{end}" for deep in ("", "*/", "*/*/") for end in (f"{name}.json*", f"{name}/task.json")
        )
        found += [p for pattern in patterns for p in sorted(place.glob(pattern)) if p.is_file()][:1]
    if not found:
        raise UserError(
            f"{place}: no file of HHH Eval in it: {', '.join(hhh.CATEGORIES)}, each .jsonl or /task.json"
        )
    return found


def attacks(path: str | None, organism: bool, limit: int | None, field: str | None = None) -> Items:
    """Prompts of any red-team source, as hazard probes."""
    return _prompts("violations", path, organism, limit, field, lambda p: Probe(p, "hazard"))


def requests(path: str | None, organism: bool, limit: int | None, field: str | None = None) -> Items:
    """Prompts that are safe to answer."""
    return _prompts("helpfulness", path, organism, limit, field, lambda p: p)


def _prompts(
    name: str,
    path: str | None,
    organism: bool,
    limit: int | None,
    field: str | None,
    shape: Callable[[Prompt], Any],
) -> Items:
    if path is None:
        given = _given(name, None, organism, None, "prompt")
        prompts = readers.read(given.rows, readers.Layout(given.origin, field=field or "prompt")).prompts
        return items([shape(p) for p in prompts], given.origin, limit)
    source, _, place = path.partition("@") if path.partition("@")[0] in sources.SOURCES else (path, "", "")
    loaded = sources.load(sources.Wanted(source, Path(place) if place else None, field))
    kept = families.deduplicated(loaded.prompts)
    found = items([shape(p) for p in kept], loaded.origin, limit)
    said = loaded.missing(dedup=True)
    return replace(found, notes=(said,) if said else ())


READERS: dict[str, Reader] = {
    "truthfulqa-tf": of_rows("truthfulqa-tf", "question", truthfulqa.read, TRUTHFULQA),
    "truthfulqa-mc": of_rows("truthfulqa-mc", "question", harness.check, TRUTHFULQA),
    "hhh": pairs,
    "violations": attacks,
    "overrefusal": of_rows("overrefusal", "prompt", xstest.read, XSTEST),
    "helpfulness": requests,
    "agreement": of_rows("agreement", "prompt", gold.read, None),
}
