"""File formats: a path becomes rows, whatever the format, and a file that is not what its name says is named.

A row is an object with columns, or a bare text where the format has no columns (TXT, a JSON list of texts).
Quirks that published sets have are read as meant: a byte order mark, CRLF line ends with LF inside a cell,
questions nested under topic and subtopic, columns as lists, gzip on top of any of these.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iteralign import documents
from iteralign.data import pickles
from iteralign.errors import UserError

Row = Mapping[str, Any] | str
Rows = tuple[Row, ...]

USUAL = ("prompt", "question", "instruction", "goal", "text", "query", "behavior", "transcript")
"""Columns that hold prompts under their usual names, the likeliest first; a plural or a capital changes nothing."""
LEVELS = ("topic", "subtopic", "subsubtopic")
"""The columns that the keys of nested JSON become."""
LARGEST_CELL = 2**31 - 1
PARQUET_ROWS, ROW_BYTES = 1000, 100
"""Rows read at once, and what a row of nothing takes in memory (about)."""

MAGIC = {
    b"\x1f\x8b": "gzip: name it .gz",
    b"PAR1": "Parquet: name it .parquet",
    b"PK\x03\x04": "a zip archive or a spreadsheet: unpack it, or save it as CSV",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"version https://git-lfs": "a Git LFS pointer, not the data: fetch it with git lfs pull",
    b"<!doctype html": "a web page, not the data: download the raw file",
    b"<html": "a web page, not the data: download the raw file",
    **{bytes((0x80, n)): "a pickle: name it .pkl" for n in range(2, 6)},
}
"""How files begin that are no text, or no data."""


OTHERWISE = " (a file in another format is named by that: .csv, .txt, …)"


class Mismatch(ValueError):
    """The content does not fit the format; the text says why and what to do."""


def rows(path: Path) -> Rows:
    """Every row of the file, in order. Raises UserError: missing, unreadable, or in another format."""
    suffix = format_of(path)
    if suffix not in READERS:
        raise UserError(f"{path}: unknown format {suffix!r}; allowed: {', '.join(READERS)} (each also .gz)")
    data = _bytes(path)
    try:
        found = _sniffed(data, suffix)
        if found:
            raise Mismatch(f"it is {found}")
        return tuple(READERS[suffix](data))
    except Mismatch as error:
        raise UserError(f"{path}: cannot be read as {suffix}: {' '.join(str(error).split())}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}): save it as UTF-8") from None


def format_of(path: Path) -> str:
    """The suffix that decides, in lower case and without `.gz`."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def columns(rows: Sequence[Row]) -> tuple[str, ...]:
    """The columns of all rows, in the order in which they first appear."""
    return tuple(dict.fromkeys(key for row in rows if isinstance(row, Mapping) for key in row))


def usual(names: Sequence[str]) -> str | None:
    """The column that holds the prompts by its usual name, or because it is the only one."""
    plain = {name.casefold().removesuffix("s"): name for name in reversed(names)}
    for name in USUAL:
        if name in plain:
            return plain[name]
    return names[0] if len(names) == 1 else None


def _bytes(path: Path) -> bytes:
    if not path.exists():
        raise UserError(f"{path}: no such file; name one by its path from here")
    try:
        data = documents.content(path)
        return documents.unpacked(data) if path.name.lower().endswith(".gz") else data
    except documents.Unreadable as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def _sniffed(data: bytes, suffix: str) -> str:
    """What the first bytes say that the content is, if that is something else."""
    own = {".parquet": "Parquet", ".pkl": "a pickle", ".pickle": "a pickle"}.get(suffix, "-")
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:32]
    for magic, name in MAGIC.items():
        if data.startswith(magic) or start.lower().startswith(magic):
            return "" if name.startswith(own) else name
    return ""


def _text(data: bytes) -> str:
    return data.decode("utf-8-sig")


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    """Not splitlines(): it also cuts at U+2028 and form feeds, which stand inside texts."""
    for number, line in enumerate(_text(data).replace("\r\n", "\n").split("\n"), 1):
        if line.strip():
            yield number, line


def _txt(data: bytes) -> Iterator[Row]:
    return (line for _, line in _lines(data))


def _jsonl(data: bytes) -> Iterator[Row]:
    for number, line in _lines(data):
        try:
            row = documents.parsed_json(line)
        except documents.Unreadable as error:
            whole = " (the file is one JSON document: name it .json)" if _is_json(data) else OTHERWISE
            raise Mismatch(f"line {number} is {error}{whole}") from None
        if not isinstance(row, Mapping | str):
            raise Mismatch(f"line {number} is not a JSON object (one document of JSON ends in .json)")
        yield row


def _json(data: bytes) -> Iterator[Row]:
    try:
        value = documents.parsed_json(_text(data))
    except documents.Unreadable as error:
        lines = [line for _, line in _lines(data)]
        many = len(lines) > 1 and all(_is_json(line.encode()) for line in lines[:2])
        hint = " (it holds one object a line: name it .jsonl)" if many else OTHERWISE
        raise Mismatch(f"{error}{hint}") from None
    return _document(value)


def _csv(data: bytes, delimiter: str = ",") -> Iterator[Row]:
    if data.lstrip()[:1] in (b"{", b"[") and _is_json(data):
        raise Mismatch("it is JSON: name it .json")
    csv.field_size_limit(LARGEST_CELL)  # transcripts pass the default of 128 KiB
    # newline="": the csv module itself then tells the end of a row from a line feed inside a cell.
    table = csv.reader(io.StringIO(_text(data), newline=""), delimiter=delimiter, strict=True)
    try:
        head = next(table, [])
        if len(set(head)) < len(head):
            raise Mismatch(f"a column stands twice in its first line: {', '.join(head)}")
        for cells in table:
            if cells and len(cells) != len(head):
                raise Mismatch(f"line {table.line_num} has {len(cells)} cells, the first line {len(head)}")
            if cells:
                yield dict(zip(head, cells, strict=True))
    except csv.Error as error:
        raise Mismatch(f"line {table.line_num}: {error}") from None


def _tsv(data: bytes) -> Iterator[Row]:
    return _csv(data, "\t")


def _parquet(data: bytes) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    left = documents.allowance(len(data))
    try:
        for batch in parquet.ParquetFile(pyarrow.BufferReader(data)).iter_batches(PARQUET_ROWS):
            left -= batch.nbytes + ROW_BYTES * batch.num_rows
            if left < 0:
                raise Mismatch("it holds far more than its size allows")
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise Mismatch(f"{error}{OTHERWISE}") from None


def _pickle(data: bytes) -> Iterator[Row]:
    try:
        return _document(pickles.plain(data))
    except pickles.Refused as error:
        raise Mismatch(
            f"{error}; only lists, texts and numbers are read from a pickle: save it as JSON or Parquet"
        ) from None


def _document(value: Any) -> Iterator[Row]:
    """Rows of a JSON-shaped value: a list, columns as lists, one list under a name, or questions under topics."""
    if isinstance(value, Mapping):
        lists = {k: v for k, v in value.items() if isinstance(v, list) and v}
        if len(lists) > 1 and len({len(v) for v in lists.values()}) == 1 and usual(list(lists)):
            return (dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True))
        if len(lists) == 1 and not any(isinstance(v, Mapping) for v in value.values()):
            return _document(next(iter(lists.values())))
        return _nested(value, {})
    if not isinstance(value, list | tuple):
        raise Mismatch(f"holds one {type(value).__name__}, not a list of prompts")
    return _listed(value)


def _listed(items: Sequence[Any]) -> Iterator[Row]:
    for number, item in enumerate(items, 1):
        if not isinstance(item, Mapping | str):
            raise Mismatch(f"item {number} is neither an object nor a text")
        yield item


def _nested(value: Any, above: Mapping[str, str]) -> Iterator[Row]:
    """`{topic: {subtopic: [question, …]}}`, up to three levels; a question may be an object, too."""
    if isinstance(value, Mapping) and len(above) < len(LEVELS):
        for key, inner in value.items():
            yield from _nested(inner, {**above, LEVELS[len(above)]: str(key)})
    elif isinstance(value, list) and all(isinstance(item, str | Mapping) for item in value):
        for item in value:
            yield {**above, "prompt": item} if isinstance(item, str) else {**above, **item}
    else:
        raise Mismatch("neither a list of objects or texts, nor lists of texts under topics")


def _is_json(data: bytes) -> bool:
    try:
        documents.parsed_json(data)
    except documents.Unreadable:
        return False
    return True


READERS: dict[str, Callable[[bytes], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".txt": _txt,
    ".parquet": _parquet,
    ".pkl": _pickle,
    ".pickle": _pickle,
}
