"""File formats: a path becomes a table of rows, whatever the format.

A row is an object with columns, or a bare text where the format has no columns (TXT, a JSON list of texts).
Quirks of published sets are read as meant: a byte order mark, CRLF line ends with LF inside a cell, an index
column without a name, semicolons between cells, questions under topic and subtopic, columns as lists, prompts
beside metadata, gzip on top of any of these. What can be read in two ways is refused with the way out.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iteralign.data import pickles
from iteralign.errors import UserError
from iteralign.security import documents

Row = Mapping[str, Any] | str
Rows = tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class DataTable:
    """The rows of a set. `left_out` counts what of it is not among them."""

    rows: Rows
    left_out: Mapping[str, int] = field(default_factory=dict)


USUAL = (
    *("prompt", "question", "instruction", "goal", "text", "query", "behavior", "transcript"),
    *("message", "conversation", "turn", "dialogue", "dialog"),
)
"""Columns that hold prompts under their usual names, the likeliest first; `plain` makes them comparable."""
HEADS = {
    *USUAL,
    *("topic", "category", "target", "output", "response", "answer", "completion", "label", "input"),
    *("id", "index", "type", "tag", "source", "family", "kind", "reference", "context"),
    *("sentence", "statement", "request"),
}
"""Other usual names of columns: a first line that holds one of them is a header."""
HOLDERS = {"data", "row", "example", "item", "instance", "record", "dataset", "sample", *USUAL}
"""Names under which a JSON document keeps its list of prompts."""
METADATA = {
    *("meta", "metadata", "info", "licence", "license", "citation", "description", "version"),
    *("author", "schema"),
}
"""Names under which it keeps what is not prompts."""
NOT_TOPICS = METADATA | {
    *(
        "reference",
        "source",
        "url",
        "link",
        "tag",
        "keyword",
        "note",
        "name",
        "title",
        "date",
        "language",
        "model",
    ),
    *(
        "label",
        "column",
        "field",
        "feature",
        "contributor",
        "homepage",
        "paper",
        "split",
        "metric",
        "changelog",
    ),
}
"""Names of lists that are neither prompts nor topics, where a document has other lists."""
ANSWERS = {"target", "output", "response", "answer", "completion", "reference", "chosen", "rejected"}
"""Names of what is said to a prompt, or should be; a list of that name holds no prompts."""
OPPOSITES = (
    ({"harmful", "unsafe", "malicious", "toxic", "bad", "attack"}, {"harmless", "benign", "safe", "good"}),
    ({"prompt", "question", "request", "input"}, {"response", "answer", "completion", "output"}),
)
"""Words (plain) that are never parts of one set: one of the first beside one of the second."""
TOPIC_HOLDERS = {
    *(
        "topic",
        "category",
        "categorie",
        "subtopic",
        "subcategory",
        "subcategorie",
        "taxonomy",
        "group",
        "section",
    ),
    *("domain", "area", "theme", "harm", "hazard", "risk", "attack"),
}
"""Names of an entry that holds the topics, and is none."""
NAMELESS = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
"""What pandas and spreadsheets call a column that has no name."""
IDENTIFIER = re.compile(r"[a-z][\w.-]*|\w*_\w*", re.ASCII)
"""What is surely the name of a column, whatever it means."""
DELIMITERS = ",;\t|"
SEPARATOR = re.compile(r'"?sep=(.)"?[ \t,;]*(?:\r\n|\n|\r)', re.I)
"""Excel's first line, which says what stands between cells."""
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

PACKED = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"BZh",
    b"\xfd7zXZ",
    b"(\xb5/\xfd",
    b'\x04"M\x18',
    b"7z\xbc\xaf",
    b"Rar!",
)
"""How archives and packed files other than gzip begin."""
OTHERWISE = " (a file in another format is named by that: .csv, .txt, …)"


NO_LIST = (
    "neither a list of objects or texts, nor lists of texts under topics: save prompts that are keys as a list of "
    'objects, [{"prompt": "…"}, …]'
)


class Mismatch(ValueError):
    """The content does not fit the format; the text says why and what to do."""


def rows(path: Path) -> Rows:
    """Return every row of the file, in order. Raises UserError as `table` does."""
    return table(path).rows


def table(path: Path, names: Sequence[str] = ()) -> DataTable:
    """Return the rows of the file, in order, without its index.

    Args:
        path: the file; its suffix decides the format.
        names: columns that it is known to have; a first line that holds one of them is a header.

    Raises:
        UserError: missing, unreadable, in another format, or with two possible readings.
    """
    suffix = format_of(path)
    if suffix not in READERS:
        raise UserError(f"{path}: unknown format {suffix!r}; allowed: {', '.join(READERS)} (each also .gz)")
    data = _bytes(path)
    try:
        found = _sniffed(data, suffix)
        if found:
            raise Mismatch(f"it is {found}")
        return unindexed(READERS[suffix](data, names))
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
    known = {plain(name): name for name in reversed(names)}
    for name in USUAL:
        if name in known:
            return known[name]
    return names[0] if len(names) == 1 else None


def plain(name: str) -> str:
    """The name of a column without case, marks and plural, in which published sets differ."""
    return re.sub(r"[\W_]", "", name.casefold()).removesuffix("s")


def unindexed(table: DataTable) -> DataTable:
    """Leave out the columns without a name that only number the rows. Raises Mismatch if one holds texts."""
    nameless = [name for name in columns(table.rows) if NAMELESS.fullmatch(str(name))]
    for name in nameless:
        cells = (row.get(name) for row in table.rows if isinstance(row, Mapping))
        if not all(cell is None or _is_number(str(cell)) for cell in cells):
            at = columns(table.rows).index(name) + 1
            raise Mismatch(f"column {at} has no name and holds texts: name it in the first line")
    if not nameless:
        return table
    kept = tuple(
        row if isinstance(row, str) else {k: v for k, v in row.items() if k not in nameless}
        for row in table.rows
    )
    return DataTable(kept, {**table.left_out, "columns without a name": len(nameless)})


def shown(name: str, words: int = 3) -> str:
    """The name of a column or topic, or its length where it might be a prompt: for lines that show no prompt.

    A text of more than `words` words, with the marks of a sentence, or long and not in Latin letters might be one.
    """
    return name if _is_name(name, words, letters=60) else f"({len(name)} characters)"


def titled(name: Any) -> str:
    """The name of a column if it looks like one, else its length: for lines that show no prompt.

    Stricter than `shown`: where a list has no header, its first line is taken for names, and may be a short prompt.
    """
    text = str(name)
    words = text.split() or [""]
    is_name = re.fullmatch(r"[\w.-]+", text, re.ASCII) or (len(words) < 4 and plain(words[-1]) in HEADS)
    return text if is_name and len(text) <= 60 else f"({len(text)} characters)"


def listed(names: Iterable[Any]) -> str:
    """Names of columns for a line that shows no prompt; of one that may be a prompt the place and length."""
    found = [(at, str(name), titled(name)) for at, name in enumerate(names, 1)]
    return ", ".join(title if title == name else f"column {at} {title}" for at, name, title in found)


def _is_name(text: str, words: int, letters: int) -> bool:
    short = len(text) <= (letters if text.isascii() else 12) and len(text.split()) <= words
    return short and not re.search(r"[.?!…。？！;；，]\s*$|[.?!]\s", text)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*([+-]?\d+([.,]\d+)?)?\s*", text) is not None


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
    text = data.decode("utf-8-sig")
    if "\0" in text:
        raise Mismatch(
            "it holds NUL characters, as UTF-16 without a mark and binary files do: save it as UTF-8"
        )
    return text


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    """Not splitlines(): it also cuts at U+2028 and form feeds, which stand inside texts."""
    text = _text(data).replace("\r\n", "\n")
    for number, line in enumerate(text.split("\n" if "\n" in text else "\r"), 1):
        if line.strip():
            yield number, line


def _txt(data: bytes, _: Sequence[str]) -> DataTable:
    """One text a line. Raises Mismatch: a table, or a file of another format, under the name of a text."""
    lines = tuple(line for _, line in _lines(data))
    if not lines:
        return DataTable(())
    if lines[0].lstrip()[:1] in ("{", "["):
        if len(lines) > 1 and _is_json(lines[0].encode()) and _is_json(lines[1].encode()):
            raise Mismatch("its lines are JSON: name it .jsonl")
        if _is_json(data):
            raise Mismatch("it is JSON: name it .json")
    if len(lines) > 1 and re.fullmatch(r"[\w .\"'-]+", lines[0]) and _is_known(lines[0].strip(" \"'")):
        raise Mismatch(
            f"its first line {titled(lines[0])!r} reads like the name of a column: take it out, or name the file .csv"
        )
    if len(lines) > 1 and SEPARATOR.match(lines[0] + "\n"):
        raise Mismatch("its first line says what stands between cells: name the file .csv")
    for delimiter in DELIMITERS:
        head = [cell.strip() for cell in lines[0].split(delimiter)]
        suffix = ".tsv" if delimiter == "\t" else ".csv"
        if len(head) > 1 and all(_is_name(c, 3, 40) for c in head) and any(plain(c) in HEADS for c in head):
            raise Mismatch(
                f"its first line reads like names of columns: name the file {suffix}, or take the line out"
            )
    tabs = {line.strip("\r\n").count("\t") for line in lines}
    if len(lines) > 1 and len(tabs) == 1 and tabs != {0}:
        raise Mismatch(
            "each line has cells between tabs: name the file .tsv, with names of columns in its first line"
        )
    _no_title(lines)
    return DataTable(lines)


def _jsonl(data: bytes, _: Sequence[str]) -> DataTable:
    found: list[Row] = []
    for number, line in _lines(data):
        try:
            row = documents.parsed_json(line)
        except documents.Unreadable as error:
            whole = " (the file is one JSON document: name it .json)" if _is_json(data) else OTHERWISE
            raise Mismatch(f"line {number} is {error}{whole}") from None
        if not isinstance(row, Mapping | str):
            raise Mismatch(f"line {number} is not a JSON object (one document of JSON ends in .json)")
        found.append(row)
    return DataTable(tuple(found))


def _json(data: bytes, _: Sequence[str]) -> DataTable:
    try:
        value = documents.parsed_json(_text(data))
    except documents.Unreadable as error:
        lines = [line for _, line in _lines(data)]
        many = len(lines) > 1 and all(_is_json(line.encode()) for line in lines[:2])
        hint = " (it holds one object a line: name it .jsonl)" if many else OTHERWISE
        raise Mismatch(f"{error}{hint}") from None
    return _document(value)


def _csv(data: bytes, names: Sequence[str], usual_delimiter: str = ",") -> DataTable:
    """Rows under a header; bare texts if the file is a list of them without one. Raises Mismatch."""
    if data.lstrip()[:1] in (b"{", b"[") and _is_json(data):
        raise Mismatch("it is JSON: name it .json")
    csv.field_size_limit(LARGEST_CELL)  # transcripts pass the default of 128 KiB
    text = _text(data).lstrip("\r\n")
    said = SEPARATOR.match(text)
    text = text[said.end() :] if said else text
    delimiter = said[1] if said else _delimiter(text, usual_delimiter)
    # newline="": the csv module itself then tells the end of a row from a line feed inside a cell.
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found: list[list[str]] = []
    try:
        for cells in table:
            if found and cells and len(cells) != len(found[0]):
                first = len(found[0])
                raise Mismatch(
                    f"line {table.line_num} has {len(cells)} cells, the first line {first} (a text with a "
                    "delimiter in it stands between quotes; a list of texts is named .txt)"
                )
            if cells:
                found.append(cells)
    except csv.Error as error:
        raise Mismatch(f"line {table.line_num}: {error}") from None
    head = [cell.strip() for cell in found[0]] if found else []
    if found and not _is_header(head, names):
        _no_title([cells[0] for cells in found])
        return DataTable(tuple(cells[0] for cells in found))
    if len(set(head)) < len(head):
        twice = listed(dict.fromkeys(name for name in head if head.count(name) > 1))
        raise Mismatch(f"a column stands twice in its first line: {twice or 'one without a name'}")
    return DataTable(tuple(dict(zip(head, cells, strict=True)) for cells in found[1:]))


def _delimiter(text: str, likely: str) -> str:
    """The likely one, unless the first line is one cell with it and several names with another.

    csv.Sniffer is not used: it judges by the texts below, and misses the header of AdvBench (LOG.md).
    """
    for delimiter in dict.fromkeys(likely + DELIMITERS):
        head = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        known = any(plain(cell) in HEADS for cell in head) and all(_is_name(cell, 4, 40) for cell in head)
        if len(head) > 1 and (delimiter == likely or known or all(map(IDENTIFIER.fullmatch, head))):
            return delimiter
    return likely


def _is_header(head: Sequence[str], names: Sequence[str]) -> bool:
    """Whether the first line names columns; if not, it is the first of a list of texts. Raises Mismatch."""
    if any(cell in names for cell in head):
        return True
    named = [cell for cell in head if not NAMELESS.fullmatch(cell)]
    sentences = [cell for cell in named if not _is_name(cell, words=4, letters=60)]
    if sentences and len(head) == 1:
        return False
    if sentences or any(_is_number(cell) for cell in named):
        raise Mismatch(
            "its first line does not look like names of columns: put such a line above it, as in id,prompt, or set "
            "field to the column of the prompts"
        )
    if len(head) == 1 and not _is_known(head[0]):
        raise Mismatch(
            "is its first line the name of the column, or a prompt? set field to the column, or put the line "
            "'prompt' above it"
        )
    return True


def _is_known(name: str) -> bool:
    """Whether a lone first line surely is the name of a column: a usual one, or one with a usual word in it, as in
    forbidden_prompt; more than three words may be a prompt written with underscores."""
    parts = re.split(r"[_.-]+", name)
    return plain(name) in HEADS or (len(parts) < 4 and any(plain(part) in HEADS for part in parts))


def _no_title(lines: Sequence[str]) -> None:
    """Raise Mismatch if the first line of a list may be a title, a comment or a note above its header."""
    first, rest = lines[0].strip(), [line.strip() for line in lines[1:]]
    if not rest:
        return
    if first.startswith("#") and ":" not in first and not any(line.startswith("#") for line in rest):
        raise Mismatch("is its first line a comment? take it out")
    if any(plain(line) in USUAL for line in rest[:5]):
        raise Mismatch("a line below the first reads like the name of a column: take out the lines above it")
    ends = r"[.?!…。？！][\"'”’)]*$"
    if len(rest) > 2 and not re.search(ends, first) and all(re.search(ends, line) for line in rest):
        raise Mismatch(
            "is its first line a title, or a prompt? it alone ends without a mark: take it out, or put the line "
            "'prompt' above it (in a .txt file, end it with a mark)"
        )


def _tsv(data: bytes, names: Sequence[str]) -> DataTable:
    return _csv(data, names, "\t")


def _parquet(data: bytes, _: Sequence[str]) -> DataTable:
    return DataTable(tuple(row for batch in _batches(data, ".parquet") for row in batch.to_pylist()))


def _batches(data: bytes, suffix: str) -> Iterator[Any]:
    """The batches of a Parquet or Arrow file. Raises Mismatch: also where they hold far more than the file's size."""
    import pyarrow
    from pyarrow import ipc, parquet

    left = documents.allowance(len(data))
    source = pyarrow.BufferReader(data)
    try:
        stored = suffix == ".parquet"
        for batch in (
            parquet.ParquetFile(source).iter_batches(PARQUET_ROWS) if stored else ipc.open_stream(source)
        ):
            left -= batch.nbytes + ROW_BYTES * batch.num_rows
            if left < 0:
                raise Mismatch("it holds far more than its size allows")
            yield batch
    except Mismatch:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise Mismatch(f"{error}{OTHERWISE}") from None


def bounded(path: Path) -> None:
    """Hold a file that another library will read to the bounds of this one, by its first bytes and not its name.

    Raises Unreadable or Mismatch: no ordinary file, too large, or packed to be too large or in a way not read here.
    """
    data = documents.beginning(path, 512)
    packed = data.startswith(b"\x1f\x8b")
    if packed:
        data = documents.unpacked(documents.content(path))  # packed twice stays packed: datasets unpacks once
    if data.startswith(PACKED) or data[257:262] == b"ustar":
        raise Mismatch("it is an archive, or packed in another way than gzip: unpack it")
    for magic, suffix in ((b"PAR1", ".parquet"), (b"\xff\xff\xff\xff", ".arrow")):
        if data.startswith(magic):
            for _ in _batches(data if packed else documents.content(path), suffix):
                pass


def _pickle(data: bytes, _: Sequence[str]) -> DataTable:
    try:
        return _document(pickles.plain(data))
    except pickles.RefusedPickle as error:
        raise Mismatch(
            f"{error}; only lists, texts and numbers are read from a pickle: save it as JSON or Parquet"
        ) from None


def _document(value: Any) -> DataTable:
    """Rows of a JSON-shaped value: a list, columns as lists, one list beside metadata, questions under topics."""
    if not isinstance(value, Mapping):
        if not isinstance(value, list | tuple):
            raise Mismatch(f"holds one {type(value).__name__}, not a list of prompts")
        return DataTable(_listed(value))
    body = {k: v for k, v in value.items() if plain(str(k)) not in METADATA} or value
    lists = {k: v for k, v in body.items() if isinstance(v, list | tuple) and v}
    known = usual(list(map(str, lists))) or any(plain(str(key)) in ANSWERS - NOT_TOPICS for key in lists)
    if len(lists) > 1 and len({len(v) for v in lists.values()}) == 1 and known:
        cells = (dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True))
        return _beside(value, len(lists), DataTable(tuple(cells)))
    holders = [k for k in body if plain(str(k)) in HOLDERS and body[k]]
    if len(body) == 1 and holders:
        return _beside(value, 1, _document(body[holders[0]]))
    likely = {k: v for k, v in lists.items() if not _is_metadata(k, v)} or lists
    holder = holders[0] if len(holders) == 1 and holders[0] in lists else next(iter(likely), "")
    if holder and (holder in holders or len(likely) == 1):
        rivals = [
            k
            for k, v in body.items()
            if k != holder
            and not (_is_metadata(k, v) and holder not in holders)
            and _may_be_prompts(v, lists[holder], holder in holders)
        ]
        if not rivals:
            return _beside(value, 1, DataTable(_listed(lists[holder])))
        if holder in holders:
            raise Mismatch(
                f"holds prompts under {titled(holder)}, and lists under {listed(rivals)}: which are prompts? leave "
                "one list in it, or lists under topics"
            )
    return _topics(value, body)


def _topics(document: Mapping[Any, Any], body: Mapping[Any, Any]) -> DataTable:
    """Questions under topics; entries that are metadata by their name or kind are counted as not read."""
    topics = {k: v for k, v in body.items() if isinstance(v, list | Mapping) and not _is_metadata(k, v)}
    if not topics:
        raise Mismatch(NO_LIST)
    if two := opposites(map(str, topics)):
        raise Mismatch(f"holds {two[0]} beside {two[1]}, which are not one set: keep one of them in it")
    return _beside(document, len(topics), DataTable(tuple(_nested(topics, {}))))


def opposites(names: Iterable[str]) -> tuple[str, str] | None:
    """Two words in the names that say that these are not one set, as in harmful and benign; None if there are none."""
    parts = [word.lower() for name in names for word in re.split(r"[\W_\d]+", name)]
    words = {*parts, *map(plain, parts)}
    found = [
        (min(words & ours), min(words & theirs))
        for ours, theirs in OPPOSITES
        if words & ours and words & theirs
    ]
    return found[0] if found else None


def _is_metadata(key: Any, value: Any) -> bool:
    """Whether an entry beside others holds no prompts: by its name, or because it lists addresses or numbers."""
    if plain(str(key)) in NOT_TOPICS | ANSWERS:
        return True
    return isinstance(value, list | tuple) and all(
        isinstance(item, int | float) or (isinstance(item, str) and re.fullmatch(r"(https?|doi):\S+", item))
        for item in value
    )


def _are_prompts(keys: Iterable[Any]) -> bool:
    """Whether keys read like prompts and not like topics: half of them end as sentences do, or are very long."""
    texts = [str(key).strip() for key in keys]
    return 2 * sum(bool(re.search(r"[.?!…。？！]$", t)) or len(t.split()) > 10 for t in texts) >= len(texts)


def _may_be_prompts(value: Any, rows: Sequence[Any], named: bool) -> bool:
    """Whether a value beside a list of rows could hold prompts as well; `named`: the list has a usual name."""
    if isinstance(value, Mapping):
        return not named and any(isinstance(inner, list | Mapping) for inner in value.values())
    texts = isinstance(rows[0], str)
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], str) is texts


def _beside(document: Mapping[Any, Any], used: int, table: DataTable) -> DataTable:
    """Count the entries of a document that are not read."""
    beside = sum(bool(v) for v in document.values()) - used
    return DataTable(
        table.rows, {**table.left_out, "entries beside the prompts": beside} if beside > 0 else table.left_out
    )


def _listed(items: Sequence[Any]) -> Rows:
    for number, item in enumerate(items, 1):
        if not isinstance(item, Mapping | str):
            raise Mismatch(f"item {number} is neither an object nor a text")
    return tuple(items)


def _nested(value: Any, above: Mapping[str, str]) -> Iterator[Row]:
    """`{topic: {subtopic: [question, …]}}`, up to three levels; a question may be an object, too.

    Below a topic may stand what a document holds: columns as lists, or prompts beside metadata.
    """
    if isinstance(value, Mapping) and value and _are_prompts(value):
        raise Mismatch(NO_LIST)
    names = {plain(str(key)) for key in value} if isinstance(value, Mapping) else set()
    if above and any(
        isinstance(inner, list | Mapping) for key, inner in _pairs(value) if plain(str(key)) in HOLDERS
    ):
        for row in _document(value).rows:
            yield {**above, "prompt": row} if isinstance(row, str) else {**above, **row}
    elif len(names) == 1 and names <= TOPIC_HOLDERS and isinstance(next(iter(value.values())), Mapping):
        yield from _nested(next(iter(value.values())), above)
    elif isinstance(value, Mapping) and len(above) < len(LEVELS):
        for key, inner in value.items():
            yield from _nested(inner, {**above, LEVELS[len(above)]: str(key)})
    elif isinstance(value, list) and all(isinstance(item, str | Mapping) for item in value):
        for item in value:
            yield {**above, "prompt": item} if isinstance(item, str) else {**above, **item}
    else:
        raise Mismatch(NO_LIST)


def _pairs(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, Mapping) else ()


def _is_json(data: bytes) -> bool:
    try:
        documents.parsed_json(data)
    except documents.Unreadable:
        return False
    return True


READERS: dict[str, Callable[[bytes, Sequence[str]], DataTable]] = {
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
