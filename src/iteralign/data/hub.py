"""Rows from the Hub, or from a folder laid out as a data set of the Hub, with `datasets`.

Its many errors become one line each: what the user can mend (no such set, gated, no such split or subset)
is theirs, what the world did (no network, a damaged download) is the world's.
"""

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iteralign.data import formats
from iteralign.data.formats import Rows
from iteralign.errors import IterAlignError, UserError, WorldError, unknown
from iteralign.security import documents

DEFAULT_SPLIT = "train"
SAVED = ("dataset_dict.json", "state.json")
"""What `save_to_disk` leaves in a folder, of several splits or of one."""
COPY = "or read a copy of it: path = its file or folder"


@dataclass(frozen=True, slots=True)
class HubSet:
    """A data set: `id` is owner/name or a local folder; `folder` narrows it to a folder inside (data_dir)."""

    id: str
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    folder: str | None = None


def is_id(text: str) -> bool:
    """Whether it is written as the Hub writes ids: owner/name."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", text) is not None


def is_laid_out(folder: Path) -> bool:
    """Whether `datasets` can tell what is in the folder: it saved it, or a card names its files."""
    card = folder / "README.md"
    if any((folder / name).is_file() for name in SAVED):
        return True
    if not card.is_file():
        return False
    with card.open(encoding="utf-8", errors="replace") as file:
        return file.read(4) == "---\n"


def rows(wanted: HubSet) -> Rows:
    """All rows of one split (`train`, or the only one, if none is named). Raises UserError, WorldError."""
    try:
        if Path(wanted.id).is_dir():
            _bound(Path(wanted.id))
        found = _load(wanted)
        if not hasattr(found, "column_names") or isinstance(found.column_names, dict):
            found = found[_split(wanted, list(found))]
        return tuple(found)
    except IterAlignError:
        raise
    except Exception as error:  # datasets raises what its parsers, file systems and the network raise
        raise _explained(wanted, error) from None


def _bound(folder: Path) -> None:
    """Raise UserError if a file of the folder is no ordinary one, is too large, or unpacks to far too much.

    `datasets` unpacks a file by its first bytes, whatever its name, and has no bounds of its own.
    """
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            try:
                formats.bounded(path)
            except (documents.Unreadable, formats.Mismatch) as error:
                raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
            except OSError as error:
                raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def _load(wanted: HubSet) -> Any:
    from datasets import disable_progress_bars, load_dataset, load_from_disk

    # Progress bars and notes on every retry would print between the lines of the command line.
    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if any((Path(wanted.id) / name).is_file() for name in SAVED):
        return load_from_disk(wanted.id)
    return load_dataset(wanted.id, wanted.subset, data_dir=wanted.folder, revision=wanted.revision)


def _split(wanted: HubSet, splits: list[str]) -> str:
    if wanted.split is not None:
        if wanted.split not in splits:
            raise unknown(f"source {wanted.id}: split", wanted.split, splits)
        return wanted.split
    if DEFAULT_SPLIT in splits or len(splits) == 1:
        return DEFAULT_SPLIT if DEFAULT_SPLIT in splits else splits[0]
    raise UserError(
        f"source {wanted.id}: has no split {DEFAULT_SPLIT!r}: set split to one of {', '.join(splits)}"
    )


def _explained(wanted: HubSet, error: Exception) -> IterAlignError:
    """The error that a person can act on; the text of the libraries only where it adds something."""
    kinds = {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}
    said = " ".join(" ".join(str(one) for one in _chain(error)).split())
    where = f"source {wanted.id}"
    if "GatedRepoError" in kinds or "gated dataset" in said:
        way = "accept its terms on its page on the Hub and set HF_TOKEN"
        return UserError(f"{where}: the data set is gated: {way}, {COPY}")
    if available := re.search(r"(?:Available|pick one among the available configs): (\[.*?\])", said):
        names = re.findall(r"'([^']*)'", available[1])
        if wanted.subset is None:
            return UserError(f"{where}: has several subsets: set subset to one of {', '.join(names)}")
        return unknown(f"{where}: subset", wanted.subset, names)
    if "RevisionNotFoundError" in kinds or (wanted.revision and f"'{wanted.revision}'" in said):
        return UserError(f"{where}: no revision {wanted.revision!r} of it on the Hub")
    if {"EmptyDatasetError", "DataFilesNotFoundError"} & kinds:
        return UserError(f"{where}: no data file in it that can be read ({_first(error)})")
    if {"DatasetNotFoundError", "RepositoryNotFoundError"} & kinds:
        return UserError(f"{where}: no such data set on the Hub, or a private one: check owner/name, {COPY}")
    if {"ConnectionError", "OfflineModeIsEnabled", "Timeout", "TimeoutException", "TransportError"} & kinds:
        way = f"run again with a network (and without --offline or HF_HUB_OFFLINE), {COPY}"
        return WorldError(f"{where}: the Hub cannot be reached and no copy is cached: {way}")
    if "Dataset scripts are no longer supported" in said:
        return UserError(f"{where}: is a program, and programs of a data set are not run: {COPY}")
    return WorldError(f"{where}: cannot be loaded: {_first(error)}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it; at most a handful."""
    current: BaseException | None = error
    for _ in range(8):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
