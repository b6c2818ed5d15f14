"""The named sources of red-team prompts, and how any source, named or not, becomes prompts.

A source is a small value: where the set lies on the Hub, what its file is called, which columns it has,
who licensed it. `load` takes a name of this table, a file, a folder or an id of the Hub.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import chain
from pathlib import Path

from iteralign.data import formats, hub, readers
from iteralign.data.formats import Rows
from iteralign.data.hub import HubSet
from iteralign.data.readers import Layout, Reader, Turns
from iteralign.errors import UserError, unknown
from iteralign.types import Prompt

DEPTH = 3
"""How many folders below `path` the file of a named set is looked for."""


@dataclass(frozen=True, slots=True)
class Source:
    """A published set. `files` are the names under which it is kept; `size` is its number of prompts."""

    about: str
    license: str
    size: int
    files: tuple[str, ...]
    hub: HubSet | None = None
    text: tuple[str, ...] = ()
    topic: tuple[str, ...] = ()
    read: Reader = field(default=readers.column)
    origin: str = ""


SOURCES: dict[str, Source] = {
    "hh-rlhf": Source(
        "Anthropic's red-team attempts: conversations of crowd workers with a model",
        "MIT", 38_961, ("red_team_attempts.jsonl", "red_team_attempts.jsonl.gz"),
        HubSet("Anthropic/hh-rlhf", folder="red-team-attempts"), ("transcript",), read=readers.transcript,
    ),
    "hh-rlhf-harmless": Source(
        "Anthropic's preference data on harmlessness (test split): the conversations before the answers",
        "MIT", 2_312, ("harmless-base/test.jsonl", "harmless-base/test.jsonl.gz"),
        HubSet("Anthropic/hh-rlhf", folder="harmless-base", split="test"), ("chosen",), read=readers.transcript,
    ),
    "harmfulqa": Source(
        "questions under 10 academic topics", "Apache-2.0", 1_960, ("harmfulqa.json",),
        HubSet("declare-lab/HarmfulQA"), ("question", "prompt"), ("topic",),
    ),
    "dangerousqa": Source(
        "questions under six adjectives (racist, stereotypical, …)", "MIT", 200,
        ("toxic_outs.json", "dangerousqa.json"), origin="github.com/SALT-NLP/chain-of-thought-bias",
    ),
    "catqa": Source(
        "questions under 11 categories of usage policies, 5 kinds in each", "Apache-2.0", 550,
        ("catqa_english.json",), HubSet("declare-lab/CategoricalHarmfulQA", split="en"),
        ("Question", "prompt"), ("Category", "topic"),
    ),
    "advbench": Source(
        "instructions (harmful behaviours)", "MIT", 520, ("harmful_behaviors.csv",),
        HubSet("walledai/AdvBench"), ("goal", "prompt"),
    ),
    "malicious-instruct": Source(
        "questions with ten malicious intents", "MIT", 100, ("malicious_instruct.txt", "MaliciousInstruct.txt"),
        HubSet("walledai/MaliciousInstruct"), ("prompt",),
    ),
    "malicious-instructions": Source(
        "instructions of the safety-tuned Llamas", "CC-BY-NC-4.0", 100, ("I-MaliciousInstructions.json",),
        text=("instructions",), topic=("tags",), origin="github.com/vinid/safety-tuned-llamas",
    ),
    "jailbreakbench": Source(
        "behaviours under ten categories of usage policies", "MIT", 100, ("harmful-behaviors.csv",),
        HubSet("JailbreakBench/JBB-Behaviors", "behaviors", "harmful"), ("Goal",), ("Category",),
    ),
    **{
        f"iteralign-{name}{form}": Source(
            f"{name} as the released script reads it: {template}", "Apache-2.0", size,
            (f"prompt_que_{name}{form.replace('-', '_')}.pkl",), read=readers.wrapped,
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
    turns: Turns = "first"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A set as read. `rows` counts them all, blank ones too; `origin` says where they came from."""

    origin: str
    columns: tuple[str, ...]
    rows: int
    prompts: tuple[Prompt, ...]


def load(wanted: Wanted) -> Loaded:
    """Every prompt of a source that is not blank, in its order. Raises UserError, WorldError: one line each."""
    source = SOURCES.get(wanted.source)
    read = source.read if source else readers.column
    if wanted.turns != "first" and read is not readers.transcript:
        names = ", ".join(n for n, s in SOURCES.items() if s.read is readers.transcript)
        raise UserError(
            f"turns = {wanted.turns!r}: source {wanted.source!r} has no transcripts; {names} have"
        )
    origin, rows = _named(wanted, source) if source else _unnamed(wanted)
    layout = Layout(
        str(origin), source.text if source else (), source.topic if source else (), wanted.field, wanted.turns
    )
    prompts = read(rows, layout) if rows else ()
    if not prompts:
        why = f"no prompt in it ({len(rows)} rows, all blank)" if rows else "is empty"
        raise UserError(f"{origin}: {why}; name a source that has prompts in its rows")
    return Loaded(str(origin), formats.columns(rows), len(rows), prompts)


def _named(wanted: Wanted, source: Source) -> tuple[str, Rows]:
    if wanted.path is not None:
        return _copy(wanted, source, wanted.path)
    if source.hub is None:
        files = " or ".join(source.files)
        raise UserError(
            f"source {wanted.source!r} is not on the Hub: get {files} from {source.origin} and set path to it"
        )
    return _from_hub(wanted, source.hub)


def _unnamed(wanted: Wanted) -> tuple[str, Rows]:
    """A file, a folder or an id of the Hub; a word that is none of these is a mistyped name."""
    place = wanted.path if wanted.path is not None else Path(wanted.source)
    if place.is_dir():
        return _from_hub(wanted, HubSet(str(place)))
    if place.exists() or wanted.path is not None or formats.format_of(place) in formats.READERS:
        return str(place), formats.rows(place)
    if hub.is_id(wanted.source):
        return _from_hub(wanted, HubSet(wanted.source))
    if formats.format_of(place) or len(place.parts) > 1:
        raise UserError(f"source {wanted.source!r}: no such file or folder")
    raise misnamed(wanted.source)


def misnamed(name: str) -> UserError:
    """The error for a word that names no source."""
    near = get_close_matches(name, SOURCES, n=1)
    if near:
        return unknown("source", name, SOURCES)
    return UserError(f"{unknown('source', name, SOURCES)}; or a file, a folder, or owner/name of the Hub")


def _copy(wanted: Wanted, source: Source, place: Path) -> tuple[str, Rows]:
    """The set's file in a folder, or the folder itself if it is laid out as on the Hub."""
    if not place.is_dir():
        return str(place), formats.rows(place)
    found = list(_found(place, source.files))
    if len(found) > 1:
        raise UserError(
            f"path {place}: holds several files of {wanted.source!r}: choose one of {_list(found)}"
        )
    if found:
        return str(found[0]), formats.rows(found[0])
    inside = place / source.hub.folder if source.hub and source.hub.folder else place
    data = [
        p for p in chain(inside.glob("*"), inside.glob("data/*")) if formats.format_of(p) in formats.READERS
    ]
    if source.hub is None or not data:
        raise UserError(f"path {place}: no file of {wanted.source!r} in it: {' or '.join(source.files)}")
    split = wanted.split or source.hub.split
    return str(inside), hub.rows(HubSet(str(inside), wanted.subset or source.hub.subset, split))


def _found(place: Path, names: tuple[str, ...]) -> Iterator[Path]:
    """Files so named in the folder or at most `DEPTH` folders below it."""
    patterns = ("*/" * depth + name for depth in range(DEPTH + 1) for name in names)
    return (path for pattern in patterns for path in sorted(place.glob(pattern)) if path.is_file())


def _from_hub(wanted: Wanted, base: HubSet) -> tuple[str, Rows]:
    chosen = HubSet(
        base.id, wanted.subset or base.subset, wanted.split or base.split, wanted.revision, base.folder
    )
    return f"source {base.id}", hub.rows(chosen)


def _list(paths: list[Path]) -> str:
    return ", ".join(map(str, paths))
