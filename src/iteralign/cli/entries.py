"""Entries: the ledger of a run as a page for people. Every text in it may have been written by a model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from iteralign.cli import words
from iteralign.cli.terminal import one_line, trimmed

Entry = Mapping[str, Any]
SHOWN_FAILURES = 2
"""Failures of a principle of which the page shows the beginning; --json has them all."""
CONDITIONS = {
    "none": "with no principle",
    "alone": "with it alone",
    "all": "with all",
    "others": "with all others",
}
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
    for line in (_origin(entry), *map(_line, _lines(entry))):
        table.add_row("", line)
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


def _lines(entry: Entry) -> list[str]:
    """What the page says below the text, one fact a line."""
    return [
        _failures(entry),
        *_rows(entry),
        *_trial(entry["trial"]),
        *_in_context(entry["in_context"]),
        *_left_out(entry["leave_one_out"]),
        *_overlaps(entry),
    ]


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


def _trial(trial: Mapping[str, Any] | None) -> list[str]:
    if trial is None:
        return []
    failures = "held-back failures" if trial["held_back"] else "failures"
    return [f"on trial: {_change(trial['failures'], failures)}", *_safe(trial)]


def _in_context(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return []
    shares = ", ".join(f"{name} {_share(found[key])}" for key, name in CONDITIONS.items())
    sums = ", ".join(f"{key} {100 * found[key]:+.0f}" for key in ("lift", "overlap", "conflict"))
    return [
        f"in context, {found['n']} failures ({found['held_back']} held back), answered well: {shares}",
        f"  in points: {sums}",
        *_safe(found),
    ]


def _safe(found: Mapping[str, Any]) -> list[str]:
    """What became of safe requests."""
    asked = {"benign": "benign requests", "borderline": "borderline requests"}
    changes = [_change(found[kind], name) for kind, name in asked.items() if found[kind]["n"]]
    return [f"  beside: {'; '.join(changes)}"] if changes else []


def _change(tally: Mapping[str, Any], name: str) -> str:
    if not tally["n"]:
        return f"no {name}"
    return f"{tally['n']} {name} answered well {_share(tally['without'])} without, {_share(tally['within'])} with it"


def _left_out(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return []
    harm = found["violations"]
    return [
        f"trained without its rows: violations {_share(harm['with'])} -> {_share(harm['without'])} "
        f"(p = {found['p_holm']:.2g})",
        *(
            f"  {name} {_share(both['with'])} -> {_share(both['without'])}"
            for name, both in _moved(found).items()
        ),
    ]


def _moved(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The topics and the figures beside that changed by more than their intervals allow."""
    beside = {name: found[key] for key, name in BESIDE.items()}
    return {
        name: both
        for name, both in (found["by_topic"] | beside).items()
        if _apart(both["with"], both["without"])
    }


def _apart(a: words.Figure, b: words.Figure) -> bool:
    """Whether the intervals do not touch."""
    return bool(a and b and (a["high"] < b["low"] or b["high"] < a["low"]))


def _share(figure: words.Figure) -> str:
    """`92 % (65–99)`."""
    if figure is None:
        return words.ABSENT
    return f"{100 * figure['value']:.0f} % ({100 * figure['low']:.0f}–{100 * figure['high']:.0f})"


def _overlaps(entry: Entry) -> list[str]:
    return [f"overlaps {o['id']}: {_common(o)}" for o in entry["overlaps"]]


def _common(overlap: Mapping[str, Any]) -> str:
    shared = f"{100 * overlap['evidence']:.0f} % of the failures" if overlap["evidence"] else ""
    alike = f"wording {overlap['wording']:.2f}" if overlap["wording"] else ""
    return ", ".join(part for part in (shared, alike) if part)
