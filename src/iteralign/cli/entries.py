"""Entries: the ledger of a run as a page for people. Every text in it may have been written by a model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from iteralign.cli import words
from iteralign.cli.terminal import one_line, trimmed

Entry = Mapping[str, Any]
SHOWN_FAILURES = 2
"""Failures of a principle of which the page shows the beginning; --json has them all."""
CONDITIONS = {"none": "no principle", "alone": "it alone", "all": "all", "others": "all others"}
SAFE = {"benign": "benign requests", "borderline": "borderline requests"}
BESIDE = {
    "benign": "safe prompts answered well",
    "overrefusal": "borderline prompts refused",
    "truthful": "truthful",
}
COLOURS = {"adopted": "green", "rejected": "yellow", "vetoed": "yellow"}


def page(out: Console, found: Mapping[str, Any]) -> None:
    """Print the ledger `found`, an entry after the other."""
    head = Text(one_line(found["run"]), style="bold")
    head.append(f"  {_counts(found['entries'])}", "not bold")
    with trimmed(out):
        out.print()
        out.print(head)
        for number, entry in enumerate(found["entries"], 1):
            out.print()
            out.print(_entry(number, entry))
        out.print()


def _counts(entries: Sequence[Entry]) -> str:
    """`9 principles: 8 adopted, 1 duplicate`."""
    if not entries:
        return "no principle was proposed"
    fates = Counter(entry["decision"] for entry in entries)
    return (
        f"{words.many(len(entries), 'principle')}: {', '.join(f'{n:,} {fate}' for fate, n in fates.items())}"
    )


def _entry(number: int, entry: Entry) -> Table:
    table = Table.grid(padding=(0, 2))
    table.pad_edge = True
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(Text(str(number), style="bold"), Text(one_line(entry["text"])))
    parts: list[RenderableType] = [_origin(entry), _line(_failures(entry)), *map(_line, _rows(entry))]
    measured = _measured(entry)
    if measured:
        parts += [_answered(measured), *map(_line, _points(entry["in_context"]))]
    for part in (*parts, *map(_line, (*_left_out(entry["leave_one_out"]), *_overlaps(entry)))):
        table.add_row("", part)
    return table


def _line(text: str) -> Text:
    """A line in the background; its indent is kept."""
    indent = text[: len(text) - len(text.lstrip())]
    return Text(indent + one_line(text), style="dim")


def _origin(entry: Entry) -> Text:
    text = Text().append(entry["decision"], COLOURS.get(entry["decision"], "dim"))
    if entry["reason"] and entry["decision"] != "adopted":  # why it was adopted, the line of its trial says
        text.append(f" ({one_line(entry['reason'])})")
    parts = [entry["id"], one_line(entry["category"]), f"iteration {entry['born']}", _active(entry["active"])]
    text.append("".join(f" · {part}" for part in parts if part), "dim")
    return text


def _active(turns: Sequence[int]) -> str:
    if not turns:
        return ""
    return f"in force {turns[0]}" + (f" to {turns[-1]}" if turns[-1] != turns[0] else "")


def _failures(entry: Entry) -> str:
    shown = [repr(failure["text"]) for failure in entry["failures"][:SHOWN_FAILURES] if failure["text"]]
    more = len(entry["more_failures"])
    text = f"from {words.many(len(entry['failures']), 'failure')}"
    text += f", {more:,} more since" if more else ""
    return text + (f": {', '.join(shown)}" if shown else "")


def _rows(entry: Entry) -> list[str]:
    if not entry["active"]:
        return []
    each = {t: len(ids) for t, ids in entry["rows"].items()}
    turns = f" ({', '.join(f'iteration {t}: {n:,}' for t, n in each.items())})" if len(each) > 1 else ""
    return [f"in the context of {words.many(sum(each.values()), 'accepted row')}{turns}"]


def _measured(entry: Entry) -> list[tuple[str, Sequence[words.Figure]]]:
    """What was answered well, by condition: on trial, in context; failures, safe requests."""
    rows: list[tuple[str, Sequence[words.Figure]]] = []
    trial, found = entry["trial"], entry["in_context"]
    if trial is not None:
        failures = "held back" if trial["held_back"] else "failures"
        rows += [(f"on trial, {failures}", _both(trial["failures"])), *_safe(trial)]
    if found is not None:
        rows += [("in context, failures", [found[key] for key in CONDITIONS]), *_safe(found)]
    return [(name, figures) for name, figures in rows if figures[0]]


def _safe(found: Mapping[str, Any]) -> list[tuple[str, Sequence[words.Figure]]]:
    return [(f"  {name}", _both(found[kind])) for kind, name in SAFE.items()]


def _both(tally: Mapping[str, Any]) -> Sequence[words.Figure]:
    return tally["without"], tally["within"]


def _answered(rows: Sequence[tuple[str, Sequence[words.Figure]]]) -> Table:
    """Shares answered well, each above its interval, by what stands in the context."""
    table = Table.grid(padding=(0, 2))
    shown = [*CONDITIONS.values()][: max(len(figures) for _, figures in rows)]
    heads = (Text(head, style="dim", justify="right") for head in ("n", *shown))
    table.add_row(Text("answered well with", style="dim"), *heads)
    for name, figures in rows:
        n = figures[0]["n"] if figures[0] else 0
        table.add_row(Text(name), Text(f"{n:,}", justify="right"), *map(_share, figures))
    return table


def _share(figure: words.Figure) -> Text:
    share = Text("", justify="right").append(_percent(figure))
    return share.append(f"\n{_interval(figure)}", "dim")


def _percent(figure: words.Figure) -> str:
    return words.ABSENT if figure is None else f"{100 * figure['value']:.0f} %"


def _interval(figure: words.Figure) -> str:
    return "" if figure is None else f"{100 * figure['low']:.0f}–{100 * figure['high']:.0f}"


def _points(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return []
    return [
        ", ".join(f"{key} {100 * found[key]:+.0f}" for key in ("lift", "overlap", "conflict")) + " points"
    ]


def _left_out(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return []
    harm = found["violations"]
    moved = [f"  {name} {_change(both)}" for name, both in _moved(found).items()]
    return [f"trained without its rows: violations {_change(harm)}, p = {found['p_holm']:.2g}", *moved]


def _change(both: Mapping[str, Any]) -> str:
    """`0 % (0–7) -> 8 % (3–20)`."""
    return " -> ".join(f"{_percent(both[k])} ({_interval(both[k])})" for k in ("with", "without"))


def _moved(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The topics and the figures beside that changed by more than their intervals allow."""
    beside = {name: found[key] for key, name in BESIDE.items()}
    return {
        name: both
        for name, both in (found["by_topic"] | beside).items()
        if _apart(both["with"], both["without"])
    }


def _apart(a: words.Figure, b: words.Figure) -> bool:
    """Whether the two intervals do not touch, the probes counted one by one: which topics to look at, not a test."""
    from iteralign.stats import rate

    if not a or not b:
        return False
    one, other = (rate(figure["hits"], figure["n"]) for figure in (a, b))
    return one.high < other.low or other.high < one.low


def _overlaps(entry: Entry) -> list[str]:
    return [f"overlaps {o['id']}: {_common(o)}" for o in entry["overlaps"]]


def _common(overlap: Mapping[str, Any]) -> str:
    shared = f"{100 * overlap['evidence']:.0f} % of the failures" if overlap["evidence"] else ""
    alike = f"wording {overlap['wording']:.2f}" if overlap["wording"] else ""
    return ", ".join(part for part in (shared, alike) if part)
