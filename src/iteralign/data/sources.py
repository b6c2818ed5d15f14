"""The named sources of red-team prompts, and how any source, named or not, becomes prompts.

A source is a small value: where the set lies on the Hub, what its file is called, which columns it has,
who licensed it. `load` takes a name of this table, a file, a folder or an id of the Hub.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from iteralign.data import families, formats, hub, readers
from iteralign.data.dialogues import Turns
from iteralign.data.formats import DataTable
from iteralign.data.hub import HubSet
from iteralign.data.readers import Layout
from iteralign.errors import UserError, unknown
from iteralign.types import Prompt

DEPTH = 3
"""How many folders below `path` a file is looked for."""
NOTE = re.compile(
    r"\.|(notice|copying|authors|contributors|contributing|acknowledge?ments|credits|upstream|dataset_infos?|metadata"
    r"|requirements|environment|package|config|manifest|croissant|checksums|(sha|md)\d+(sums?)?|todo|about)(?=$|[\W_])"
    r"|(.*[\W_])?(licen[cs]es?|readme|changelog|citations?|eula|disclaimer|code[\W_]?of[\W_]?conduct"
    r"|terms([\W_]?(of|and)[\W_]?(use|service|conditions))?|(privacy|usage|use|acceptable[\W_]use)[\W_]?policy"
    r"|(data([\W_]?set)?|model)[\W_]?(card|sheet|statement))(?=$|[\W_\d])",
    re.I,
)
SPLIT = re.compile(r"(?:^|[\W_])(train|training|test|testing|valid|validation|val|dev)(?=$|[\W_\d])", re.I)
"""What makes a file one of several splits by its name; `datasets` takes a name that begins so for one."""


@dataclass(frozen=True, slots=True)
class RedteamSource:
    """A published set. `files` are the names under which it is kept; `size` is its number of prompts."""

    about: str
    license: str
    size: int
    files: tuple[str, ...]
    hub: HubSet | None = None
    text: tuple[str, ...] = ()
    topic: tuple[str, ...] = ()
    origin: str = ""


SOURCES: dict[str, RedteamSource] = {
    "hh-rlhf": RedteamSource(
        "Anthropic's red-team attempts: conversations of crowd workers with a model",
        "MIT", 38_961, ("red_team_attempts.jsonl", "red_team_attempts.jsonl.gz"),
        HubSet("Anthropic/hh-rlhf", folder="red-team-attempts"), ("transcript",),
    ),
    "hh-rlhf-harmless": RedteamSource(
        "Anthropic's preference data on harmlessness (test split): the conversations before the answers",
        "MIT", 2_312, ("harmless-base/test.jsonl", "harmless-base/test.jsonl.gz"),
        HubSet("Anthropic/hh-rlhf", folder="harmless-base", split="test"), ("chosen",),
    ),
    "harmfulqa": RedteamSource(
        "questions under 10 academic topics", "Apache-2.0", 1_960, ("harmfulqa.json",),
        HubSet("declare-lab/HarmfulQA"), ("question", "prompt"), ("topic",),
    ),
    "dangerousqa": RedteamSource(
        "questions under six adjectives (racist, stereotypical, …)", "MIT", 200,
        ("toxic_outs.json", "dangerousqa.json"), origin="github.com/SALT-NLP/chain-of-thought-bias",
    ),
    "catqa": RedteamSource(
        "questions under 11 categories of usage policies, 5 kinds in each", "Apache-2.0", 550,
        ("catqa_english.json",), HubSet("declare-lab/CategoricalHarmfulQA", split="en"),
        ("Question", "prompt"), ("Category", "topic"),
    ),
    "advbench": RedteamSource(
        "instructions (harmful behaviours)", "MIT", 520, ("harmful_behaviors.csv",),
        HubSet("walledai/AdvBench"), ("goal", "prompt"),
    ),
    "malicious-instruct": RedteamSource(
        "questions with ten malicious intents", "MIT", 100, ("malicious_instruct.txt", "MaliciousInstruct.txt"),
        HubSet("walledai/MaliciousInstruct"), ("prompt",),
    ),
    "malicious-instructions": RedteamSource(
        "instructions of the safety-tuned Llamas", "CC-BY-NC-4.0", 100, ("I-MaliciousInstructions.json",),
        text=("instructions",), topic=("tags",), origin="github.com/vinid/safety-tuned-llamas",
    ),
    "jailbreakbench": RedteamSource(
        "behaviours under ten categories of usage policies", "MIT", 100, ("harmful-behaviors.csv",),
        HubSet("JailbreakBench/JBB-Behaviors", "behaviors", "harmful"), ("Goal",), ("Category",),
    ),
    **{
        f"iteralign-{name}{form}": RedteamSource(
            f"{name} as the released script reads it: {template}", "Apache-2.0", size,
            (f"prompt_que_{name}{form.replace('-', '_')}.pkl",),
            origin="github.com/xiusic/IterAlign (iteralign_processed, Git LFS)",
        )
        for name, size in (("dangerousqa", 200), ("harmfulqa", 1_960))
        for form, template in (("", "chain of utterances"), ("-standard", "in Vicuna's template"))
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to load. `path` is where a named set lies, a file or a folder; without it, a set comes from the Hub."""

    source: str
    path: Path | None = None
    field: str | None = None
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    turns: Turns | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A set as read. `rows` counts them all, blank ones too; `origin` says where they came from.

    columns: all that the rows have. read: those that the prompts come from, their own first. topic: that of topics,
    or "". left_out: what of the set is in no prompt, by what it is.
    """

    origin: str
    columns: tuple[str, ...]
    rows: int
    prompts: tuple[Prompt, ...]
    read: tuple[str, ...]
    topic: str
    left_out: Mapping[str, int]

    def missing(self, dedup: bool) -> str:
        """What is in no prompt, in words for one line; "" if nothing is left out. dedup: repeated ones are."""
        repeated = len(self.prompts) - len(families.deduplicated(self.prompts)) if dedup else 0
        out = {**self.left_out, "repeated": repeated}
        said = ", ".join(f"{n:,} {what}" for what, n in out.items() if n)
        return f"of {self.rows:,} rows left out: {said}" if said else ""


def load(wanted: Wanted) -> Loaded:
    """Every prompt of a source that is not blank, in its order. Raises UserError, WorldError: one line each."""
    source = SOURCES.get(wanted.source)
    layout = Layout(
        "", source.text if source else (), source.topic if source else (), wanted.field, wanted.turns
    )
    origin, table = _named(wanted, source, layout) if source else _unnamed(wanted, layout)
    reading = readers.read(table.rows, replace(layout, name=origin))
    if not reading.prompts:
        why = f"no prompt in it ({len(table.rows)} rows, all blank)" if table.rows else "is empty"
        raise UserError(f"{origin}: {why}; name a source that has prompts in its rows")
    if wanted.turns not in (None, "first") and not reading.conversations:
        raise UserError(
            f"turns = {wanted.turns!r}: source {wanted.source!r} has no conversations: leave it out"
        )
    return Loaded(
        origin,
        formats.columns(table.rows),
        len(table.rows),
        reading.prompts,
        reading.columns,
        reading.topic,
        {**table.left_out, **reading.left_out},
    )


def _named(wanted: Wanted, source: RedteamSource, layout: Layout) -> tuple[str, DataTable]:
    if wanted.path is not None:
        return _copy(wanted, source, wanted.path, layout)
    if source.hub is None:
        files = " or ".join(source.files)
        raise UserError(
            f"source {wanted.source!r} is not on the Hub: get {files} from {source.origin} and set path to it"
        )
    return _from_hub(wanted, source.hub)


def _unnamed(wanted: Wanted, layout: Layout) -> tuple[str, DataTable]:
    """A file, a folder or an id of the Hub; a word that is none of these is a mistyped name."""
    place = wanted.path if wanted.path is not None else Path(wanted.source)
    try:
        is_folder = place.is_dir()
    except OSError as error:  # a name that is too long; pathlib takes other errors for "no"
        raise UserError(
            f"source {str(place)[:60]!r}…: {(error.strerror or str(error)).lower()}; name a file or a set"
        ) from None
    if is_folder:
        return _folder(wanted, place, layout)
    if place.exists() or wanted.path is not None or formats.format_of(place) in formats.READERS:
        return _file(place, layout)
    if hub.is_id(wanted.source):
        return _from_hub(wanted, HubSet(wanted.source))
    if formats.format_of(place) or len(place.parts) > 1:
        raise UserError(f"source {wanted.source!r}: no such file or folder")
    raise misnamed(wanted.source)


def at(place: Path, name: str) -> tuple[str, DataTable]:
    """A file or folder: where it lies, and its rows. `name` is a column it is known to have, as in `Layout.text`."""
    return _unnamed(Wanted(str(place), place), Layout(str(place), (name,)))


def misnamed(name: str) -> UserError:
    """The error for a word that names no source."""
    near = get_close_matches(name, SOURCES, n=1)
    if near:
        return unknown("source", name, SOURCES)
    return UserError(f"{unknown('source', name, SOURCES)}; or a file, a folder, or owner/name of the Hub")


def _copy(wanted: Wanted, source: RedteamSource, place: Path, layout: Layout) -> tuple[str, DataTable]:
    """The set's file in a folder, or the folder itself if it is laid out as on the Hub."""
    if not place.is_dir():
        return _file(place, layout)
    found = [path for path in _files(place) if any(path.match(name) for name in source.files)]
    if len(found) > 1:
        raise UserError(
            f"path {place}: holds several files of {wanted.source!r}: choose one of {_list(found)}"
        )
    if found:
        return _file(found[0], layout)
    inside = place / source.hub.folder if source.hub and source.hub.folder else place
    data = [path for path in _files(inside) if path.parent in (inside, inside / "data")]
    if source.hub is None or not data:
        raise UserError(f"path {place}: no file of {wanted.source!r} in it: {' or '.join(source.files)}")
    split = wanted.split or source.hub.split
    return str(inside), _hub_rows(HubSet(str(inside), wanted.subset or source.hub.subset, split))


def _folder(wanted: Wanted, place: Path, layout: Layout) -> tuple[str, DataTable]:
    """A folder's only file, its files that have the same columns, or what `datasets` finds in it by splits.

    `datasets` alone would read notes as prompts, and one of two sets whose names end in a split.
    Raises UserError: several files that are not parts of one set.
    """
    files = _files(place)
    if all(NOTE.match(path.name) for path in place.iterdir()):
        raise UserError(f"path {place}: no data file in it")
    split = all(any(map(SPLIT.match, path.relative_to(place).parts)) for path in files)
    if not hub.is_laid_out(place) and not wanted.subset:
        _of_one_kind(place, files)
    if not files or split or wanted.split or wanted.subset or hub.is_laid_out(place):
        return f"source {place}", _hub_rows(HubSet(str(place), wanted.subset, wanted.split))
    if len(files) == 1:
        return _file(files[0], layout)
    choice = f"path {place}: holds several files: choose one of {_list(files)}"
    if len({formats.format_of(path) for path in files}) > 1 or any(SPLIT.search(p.name) for p in files):
        raise UserError(choice)
    tables = [formats.table(path, _names(layout)) for path in files]
    if len({frozenset(formats.columns(table.rows)) for table in tables}) > 1:
        raise UserError(choice)
    left_out = sum((Counter(table.left_out) for table in tables), Counter())
    return f"{place} ({len(files)} files)", DataTable(
        tuple(row for table in tables for row in table.rows), left_out
    )


def _of_one_kind(place: Path, files: list[Path]) -> None:
    """Raise UserError if the names of the files say that they are opposites, as harmful.csv and benign.csv do."""
    two = formats.opposites(str(path.relative_to(place)) for path in files)
    if two:
        raise UserError(
            f"path {place}: holds several files: choose one of {_list(files)} (their names say {two[0]} and {two[1]}, "
            "so they are not read as one set)"
        )


def _files(place: Path) -> list[Path]:
    """The data files in the folder or at most `DEPTH` folders below it, without notes about them."""
    found = (path for depth in range(DEPTH + 1) for path in sorted(place.glob("*/" * depth + "*")))
    return [
        p for p in found if formats.format_of(p) in formats.READERS and not NOTE.match(p.name) and p.is_file()
    ]


def _file(path: Path, layout: Layout) -> tuple[str, DataTable]:
    return str(path), formats.table(path, _names(layout))


def _names(layout: Layout) -> tuple[str, ...]:
    """The columns that a set is known to have."""
    return (*layout.text, *layout.topic, *filter(None, [layout.field]))


def _from_hub(wanted: Wanted, base: HubSet) -> tuple[str, DataTable]:
    chosen = HubSet(
        base.id, wanted.subset or base.subset, wanted.split or base.split, wanted.revision, base.folder
    )
    return f"source {base.id}", _hub_rows(chosen)


def _hub_rows(wanted: HubSet) -> DataTable:
    try:
        return formats.unindexed(DataTable(hub.rows(wanted)))
    except formats.Mismatch as error:
        raise UserError(f"source {wanted.id}: {error}") from None


def _list(paths: list[Path]) -> str:
    return ", ".join(map(str, paths))
