"""What a benchmark asks: rows of a file, a folder, the Hub or the organism's world, checked and read into items.

The published formats are those of TruthfulQA, HHH Eval, XSTest (Röttger et al. 2024) and OpenAI's rule-based-rewards
gold set. A file is named by the digest of its items in every result, so that only the same questions are compared.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from iteralign.data import families, formats, hub, readers, sources
from iteralign.data.hub import HubSet
from iteralign.errors import UserError, WorldError, unknown
from iteralign.organism import suite
from iteralign.record.codec import digest
from iteralign.types import Label, Probe, Prompt, Response

CATEGORIES = ("harmless", "helpful", "honest", "other")
"""Of HHH Eval."""
TRUTHFULQA = HubSet("truthfulqa/truthful_qa", "multiple_choice", "validation")
HHH = {name: HubSet("HuggingFaceH4/hhh_alignment", name, "test") for name in CATEGORIES}
XSTEST = HubSet("Paul/XSTest")
KINDS = {"safe": "borderline", "unsafe": "hazard"}
"""XSTest's labels as kinds of probe."""
CONTRAST = "contrast_"
"""How XSTest's first release begins the type of an unsafe prompt."""
LABELS = (Label.HARMFUL, Label.HARMLESS)
Labelled = tuple[Response, Label]


@dataclass(frozen=True, slots=True)
class Choice:
    """A question with candidates. `right` is the place of the right one in the file's order. `family`: what the
    question shares with others, from the file's field `family`, or what the reader finds to be shared."""

    id: str
    question: str
    candidates: tuple[str, ...]
    right: int
    category: str = ""
    family: str = ""

    @property
    def cluster(self) -> str:
        """What the statistics resample."""
        return self.family or self.id


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


def text_of(row: Any, names: Sequence[str], where: str) -> str:
    """The text in the first of these fields. Raises UserError: none of them, not a text, or blank."""
    name = next((n for n in names if isinstance(row, Mapping) and n in row), None)
    if name is None:
        has = ", ".join(map(str, row)) if isinstance(row, Mapping) else "no fields"
        raise UserError(f"{where}: no field {' or '.join(map(repr, names))}; it has {has}")
    value = row[name]
    if not isinstance(value, str):
        raise UserError(f"{where}: field {name!r} is not a text but {type(value).__name__}")
    if not value.strip():
        raise UserError(f"{where}: field {name!r} is blank")
    return value.strip()


def targets(value: Any, where: str) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """(candidates, whether each is right) of `{"choices": […], "labels": […]}` or `{text: label}`.

    A candidate that is repeated with the same label counts once, as a wrong answer of the published TruthfulQA.csv
    is (row 437). Raises UserError: fewer than two, a blank one, one with two labels.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: candidates are not an object but {type(value).__name__}")
    if {"choices", "labels"} <= value.keys():
        given, labels = list(value["choices"]), list(value["labels"])
    else:
        given, labels = list(value.keys()), list(value.values())
    if len(given) != len(labels):
        raise UserError(f"{where}: {len(given)} candidates but {len(labels)} labels")
    if any(label not in (0, 1) for label in labels):
        raise UserError(f"{where}: labels are 0 or 1")
    pairs = list(zip((t.strip() if isinstance(t, str) else t for t in given), labels, strict=True))
    pairs = [pair for i, pair in enumerate(pairs) if pair not in pairs[:i]]
    texts = tuple(t if isinstance(t, str) else "" for t, _ in pairs)
    if len(texts) < 2:
        raise UserError(f"{where}: {len(texts)} candidates; a choice needs at least 2")
    if not all(texts):
        raise UserError(f"{where}: candidate {texts.index('') + 1} is blank or not a text")
    twice = [i for i, text in enumerate(texts, 1) if text in texts[: i - 1]]
    if twice:
        raise UserError(f"{where}: candidate {twice[0]} stands there twice")
    return texts, tuple(label == 1 for _, label in pairs)


def only_right(labels: Sequence[bool], where: str) -> int:
    """The place of the one right candidate. Raises UserError if there is none, or more than one."""
    count = sum(labels)
    if count != 1:
        raise UserError(
            f"{where}: {count or 'no'} right {'answer' if count < 2 else 'answers'}; it takes one"
        )
    return list(labels).index(True)


def unique(choices: Sequence[Choice], name: str) -> tuple[Choice, ...]:
    """All of them, if there are any and each has an id of its own. Raises UserError."""
    if not choices:
        raise UserError(f"{name}: no item in it")
    seen: dict[str, int] = {}
    for number, choice in enumerate(choices, 1):
        if choice.id in seen:
            raise UserError(f"{name}: row {number} repeats row {seen[choice.id]}: the same question twice")
        seen[choice.id] = number
    return tuple(choices)


def key(*texts: str) -> str:
    """An id made of the texts: the same in every copy of a set, whatever its order and format."""
    return hashlib.sha256("\0".join(texts).encode(errors="surrogatepass")).hexdigest()[:16]


def family(row: Mapping[str, Any], right: str) -> str:
    """Return what a question of TruthfulQA shares with others: its row's `family`, else its right answer."""
    return str(row.get("family") or key(" ".join(right.casefold().split())))


def read_truthfulqa(rows: Sequence[Any], name: str) -> tuple[Choice, ...]:
    """The MC1 items of a published format: the Hub's, the authors' mc_task.json, TruthfulQA.csv. Raises UserError."""
    found = []
    for number, row in enumerate(rows, 1):
        where = f"{name}: row {number}"
        question = text_of(row, ("question", "Question"), where)
        if "Best Answer" in row:
            wrong = [w for w in text_of(row, ("Incorrect Answers",), where).split(";") if w.strip()]
            labels = [1, *(0 for _ in wrong)]
            candidates: Any = {"choices": [text_of(row, ("Best Answer",), where), *wrong], "labels": labels}
        elif "mc1_targets" in row:
            candidates = row["mc1_targets"]
        else:
            has = ", ".join(map(str, row))
            raise UserError(f"{where}: no field 'mc1_targets' or 'Best Answer'; it has {has}")
        texts, marks = targets(candidates, where)
        right = only_right(marks, where)
        category = str(row.get("category") or row.get("Category") or "")
        found.append(
            Choice(key(question, *texts), question, texts, right, category, family(row, texts[right]))
        )
    return unique(found, name)


def read_harness(rows: Sequence[Any], name: str) -> list[dict[str, Any]]:
    """The rows as lm-eval wants them: question, mc1_targets, mc2_targets; and our `family`. Raises UserError."""
    if not rows:
        raise UserError(f"{name}: no item in it")
    checked = []
    for number, row in enumerate(rows, 1):
        where = f"{name}: row {number}"
        found: dict[str, Any] = {"question": text_of(row, ("question",), where)}
        for field in ("mc1_targets", "mc2_targets"):
            if field not in row:
                raise UserError(f"{where}: no field {field!r}; it has {', '.join(map(str, row))}")
            texts, labels = targets(row[field], f"{where}: {field}")
            found[field] = {"choices": list(texts), "labels": [int(label) for label in labels]}
            if field == "mc1_targets":
                if only_right(labels, f"{where}: {field}"):
                    raise UserError(
                        f"{where}: {field}: lm-eval takes the first candidate for the right one; put it there"
                    )
            elif not any(labels) or all(labels):
                raise UserError(f"{where}: {field}: {'no wrong' if any(labels) else 'no right'} answer")
        checked.append(found | {"family": family(row, found["mc1_targets"]["choices"][0])})
    return checked


def read_hhh(rows: Sequence[Any], name: str, category: str) -> tuple[Choice, ...]:
    """The items of one category, as on the Hub (`targets`) or in BIG-bench's task.json (`target_scores`)."""
    found = []
    for number, row in enumerate(rows, 1):
        where = f"{name}: row {number}"
        question = text_of(row, ("input",), where)
        value = row.get("targets", row.get("target_scores"))
        if value is None:
            has = ", ".join(map(str, row))
            raise UserError(f"{where}: no field 'targets' or 'target_scores'; it has {has}")
        texts, labels = targets(value, where)
        if len(texts) != 2:
            raise UserError(f"{where}: {len(texts)} candidates; an item of HHH Eval has 2")
        shared, right = str(row.get("family") or ""), only_right(labels, where)
        found.append(Choice(key(question, *texts), question, texts, right, category, shared))
    return unique(found, name)


def category_of(row: Any, path: str) -> str:
    """What the row says, or else the name of the file or of its folder, as in honest/task.json. Raises UserError."""
    said = row.get("category") if isinstance(row, Mapping) else None
    parts = [str(said)] if said else path.replace("\\", "/").lower().split("/")[::-1]
    for part in parts:
        for name in CATEGORIES:
            if part.partition(".")[0] == name:
                return name
    raise UserError(
        f"{path}: of which category? name the file or its folder {', '.join(CATEGORIES)}, or add a field category"
    )


def read_xstest(rows: Sequence[Any], name: str) -> tuple[Probe, ...]:
    """XSTest's prompts as probes: safe ones borderline, unsafe ones hazards.

    Columns: prompt; label (safe | unsafe) or, as in the first release, a type that begins with `contrast_` where the
    prompt is unsafe. Raises UserError; a set without a safe prompt measures no over-refusal.
    """
    probes: list[Probe] = []
    for number, row in enumerate(rows, 1):
        where = f"{name}: row {number}"
        text, topic = text_of(row, ("prompt",), where), str(row.get("type") or "")
        label = str(row.get("label") or "").strip().lower()
        if not label and not topic:
            raise UserError(f"{where}: no field 'label' or 'type'; it has {', '.join(map(str, row))}")
        label = label or ("unsafe" if topic.startswith(CONTRAST) else "safe")
        if label not in KINDS:
            raise unknown(f"{where}: label", label, KINDS)
        prompt = Prompt(key(text), text, str(row.get("family") or ""), topic.removeprefix(CONTRAST))
        probes.append(Probe(prompt, KINDS[label]))  # type: ignore[arg-type]
    if not any(p.kind == "borderline" for p in probes):
        raise UserError(f"{name}: no safe prompt in it")
    ids = [p.prompt.id for p in probes]
    twice = next((i for i in range(len(ids)) if ids[i] in ids[:i]), None)
    if twice is not None:
        raise UserError(f"{name}: row {twice + 1} repeats the prompt of row {ids.index(ids[twice]) + 1}")
    return tuple(probes)


def read_gold(rows: Sequence[Any], name: str) -> tuple[Labelled, ...]:
    """Each response with the label that people gave it. Raises UserError.

    Rows are those of the gold set (turns in `prompt` and `completion`, `propositions` with `disallowed_content`), or
    of prompt, response and label (harmful | harmless).
    """
    found = []
    for number, row in enumerate(rows, 1):
        where = f"{name}: row {number}"
        if isinstance(row, Mapping) and "propositions" in row:
            prompt, answer = _turns(row, "prompt", where), _turns(row, "completion", where)
            said = row["propositions"]
            harmful = said.get("disallowed_content") if isinstance(said, Mapping) else None
            if type(harmful) is not bool:
                raise UserError(f"{where}: propositions say nothing of disallowed_content")
            label = LABELS[not harmful]
        else:
            prompt, answer = text_of(row, ("prompt",), where), text_of(row, ("response",), where)
            word = text_of(row, ("label",), where).lower()
            if word not in LABELS:
                raise unknown(f"{where}: label", word, [label.value for label in LABELS])
            label = Label(word)
        shared, topic = (str(row.get(field) or "") for field in ("family", "category"))
        found.append((Response(Prompt(key(prompt, answer), prompt, shared, topic), answer), label))
    if not found:
        raise UserError(f"{name}: no item in it")
    return tuple(found)


def _turns(row: Mapping[str, Any], name: str, where: str) -> str:
    """One turn as its text; several as a transcript, each under its role. A completion may say nothing."""
    turns = row.get(name)
    try:
        found = [(str(t["role"]), str(t["content"]).strip()) for t in turns or ()]
    except (TypeError, KeyError):
        found = []
    if not found or (name == "prompt" and not found[-1][1]):
        raise UserError(f"{where}: field {name!r} is not a list of turns with role and content")
    return found[0][1] if len(found) == 1 else "\n\n".join(f"{role}: {text}" for role, text in found)


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
    """HHH Eval: a file of one category, or a folder with a file for each, at most two folders down; pooled in the
    order of the categories. Raises UserError."""
    if path is not None:
        parts = []
        for file in _files(Path(path)):
            given = Given(str(file), formats.table(file, (field or "input",)).rows)
            rows = _renamed(given, field, "input") if field else given.rows
            parts.append(read_hhh(rows, given.origin, category_of(rows[0] if rows else {}, given.origin)))
        return items(unique([c for part in parts for c in part], path), path, limit)
    if organism:
        own = suite.rows("hhh")
        parts = [
            read_hhh([r for r in own if r["category"] == c], c, c) for c in ("harmless", "helpful", "honest")
        ]
    else:
        parts = [read_hhh(hub.rows(wanted), wanted.id, name) for name, wanted in HHH.items()]
    origin = "the organism's hhh" if organism else HHH["other"].id
    return items([c for part in parts for c in part], origin, limit)


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    found: list[Path] = []
    for name in CATEGORIES:
        patterns = (
            f"{deep}{end}" for deep in ("", "*/", "*/*/") for end in (f"{name}.json*", f"{name}/task.json")
        )
        found += [p for pattern in patterns for p in sorted(place.glob(pattern)) if p.is_file()][:1]
    if not found:
        raise UserError(
            f"{place}: no file of HHH Eval in it: {', '.join(CATEGORIES)}, each .jsonl or /task.json"
        )
    return found


def of_prompts(name: str, shape: Callable[[Prompt], Any]) -> Reader:
    """A reader of prompts from any red-team source, a file, or the organism's suite."""

    def load(path: str | None, organism: bool, limit: int | None, field: str | None = None) -> Items:
        if path is None:
            given = _given(name, None, organism, None, "prompt")
            layout = readers.Layout(given.origin, field=field or "prompt")
            prompts = readers.read(given.rows, layout).prompts
            return items([shape(p) for p in prompts], given.origin, limit)
        source, _, place = (
            path.partition("@") if path.partition("@")[0] in sources.SOURCES else (path, "", "")
        )
        loaded = sources.load(sources.Wanted(source, Path(place) if place else None, field))
        kept = families.deduplicated(loaded.prompts)
        found = items([shape(p) for p in kept], loaded.origin, limit)
        said = loaded.missing(dedup=True)
        return replace(found, notes=(said,) if said else ())

    return load


READERS: dict[str, Reader] = {
    "truthfulqa-tf": of_rows("truthfulqa-tf", "question", read_truthfulqa, TRUTHFULQA),
    "truthfulqa-mc": of_rows("truthfulqa-mc", "question", read_harness, TRUTHFULQA),
    "hhh": pairs,
    "violations": of_prompts("violations", lambda prompt: Probe(prompt, "hazard")),
    "overrefusal": of_rows("overrefusal", "prompt", read_xstest, XSTEST),
    "helpfulness": of_prompts("helpfulness", lambda prompt: prompt),
    "agreement": of_rows("agreement", "prompt", read_gold, None),
}
