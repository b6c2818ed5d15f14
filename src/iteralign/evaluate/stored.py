"""Keeping results: one JSON document and one Inspect log for each benchmark, written whole; and reading them again."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from iteralign.errors import UserError
from iteralign.evaluate import inspect_log
from iteralign.evaluate.results import SCHEMA, Result, to_json
from iteralign.record.codec import decode
from iteralign.record.disk import disk, write_whole
from iteralign.security import documents

LOGS = "logs"


def keep(result: Result, out: Path) -> None:
    """Write OUT/NAME.json and OUT/logs/NAME.eval. Raises WorldError where the disk refuses."""
    with disk(out):
        (out / LOGS).mkdir(parents=True, exist_ok=True)
        write_whole(out / f"{result.benchmark}.json", to_json(result))
        created = datetime.now(UTC).isoformat(timespec="seconds")
        inspect_log.write(result, out / LOGS / f"{result.benchmark}.eval", created)


def found(out: Path, names: Sequence[str]) -> dict[str, Result]:
    """Those of these benchmarks that are finished in `out`. Raises UserError where one is damaged."""
    files = [out / f"{name}.json" for name in names]
    return {name: result for file in files if file.is_file() for name, result in kept(file).items()}


def kept(place: Path) -> dict[str, Result]:
    """The results in a folder, or in one file, by benchmark. Raises UserError."""
    files = [place] if place.is_file() else sorted(place.glob("*.json"))
    results = list(map(read, files))
    if not results:
        raise UserError(f"{place}: no result of iteralign evaluate in it")
    return {result.benchmark: result for result in results}


def read(file: Path) -> Result:
    """The result in the document that `keep` wrote. Raises UserError."""
    try:
        value = decode(dict[str, Any], documents.read_json(file))
        if value.pop("schema", None) != SCHEMA:
            raise ValueError("another schema")
        return cast(Result, decode(Result, value, "result"))
    except ValueError as error:
        raise UserError(f"{file}: not a result of iteralign evaluate ({error})") from None
