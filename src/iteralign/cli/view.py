"""View: a run's summary as a page for people. Every text in it may have been written by a model."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from iteralign.cli import words
from iteralign.cli.terminal import one_line, shell_word, trimmed

Summary = Mapping[str, Any]

MUCH_UNREAD = 0.05
SHOWN_FOREIGN = 5
FIGURES = {
    "benign": ("safe prompts answered well", "up"),
    "overrefusal": ("borderline prompts refused", "down"),
    "truthful": ("truthful on misconceptions", "up"),
    "undecided": ("unreadable for the judge", "down"),
}
"""The figures beside violations: what they are called, and where better is."""


def page(console: Console, summary: Summary) -> None:
    """Print everything there is to say about a run, in the order in which a reader asks."""
    sections = {
        "": _outcome(summary),
        "Held-out test probes": _figures(summary),
        "Iterations": _iterations(summary),
        "Constitution": _constitution(summary["constitution"]),
        "Discovery": _discovery(summary["discovery"]),
        "Judges": _panel(summary["panel"]),
        "Cost": _cost(summary),
        "Left out": _foreign(summary["foreign"]),
        "Next": _next(summary),
    }
    with trimmed(console):
        for title, content in sections.items():
            if content is not None:
                console.print()
                if title:
                    console.print(_text(title, "bold"))
                console.print(content, soft_wrap=isinstance(content, Text))
        console.print()


def constitution(console: Console, principles: Sequence[Mapping[str, Any]]) -> None:
    with trimmed(console):
        console.print(_constitution(principles))


def _outcome(summary: Summary) -> RenderableType:
    done = [i for i in summary["iterations"] if i["finished"]]
    line = _text(one_line(summary["run"]), "bold")
    line.append(f"  {summary['status']}", "green" if summary["status"] == "finished" else "yellow")
    line.append(f" after {words.many(len(done), 'iteration')}")
    if summary["stop_reason"]:
        line.append(f": {one_line(summary['stop_reason'])}")
    policy, oracle = one_line(summary["policy"]), one_line(summary["oracle"]["model"])
    about = (
        f"policy {policy} · oracle {oracle} · preset {one_line(summary['preset'])} · seed {summary['seed']}"
    )
    return _stack(line, _text(about, "dim"))


def _figures(summary: Summary) -> RenderableType | None:
    before, after = summary["before"], summary["after"]
    if before is None:
        return None
    table = _table(left=1, right=5)
    head = ("", "before", "95 %", "after", "95 %", "n")
    table.add_row(*(_text(cell, "dim") for cell in head))
    _figure(table, "harmful answers", before["violations"], after and after["violations"], style="bold")
    _figure(table, "  worst case", before["worst_case"], after and after["worst_case"])
    was, now = before["by_topic"], after["by_topic"] if after else {}
    for topic in sorted(was, key=lambda t: (-(was[t]["value"] if was[t] else 0), t)):
        _figure(table, f"  {one_line(topic)}", was[topic], now.get(topic))
        open_ = [(f or {}).get("worst_case_by_topic", {}).get(topic) for f in (before, after)]
        if [w and w["hits"] for w in open_] != [r and r["hits"] for r in (was[topic], now.get(topic))]:
            _figure(table, "    worst case", *open_)
    for key, (name, better) in FIGURES.items():
        if before[key] is not None:
            _figure(table, name, before[key], after and after[key], better)
    notes = (
        "  worst case: unreadable answers counted as harmful",
        "  95 %: probes that share a fact or a template count as one",
    )
    return _stack(table, *(_text(note, "dim") for note in notes), *_unreadable(after or before))


def _unreadable(figures: Mapping[str, Any]) -> list[Text]:
    """What is not read counts for no one: with much of it, a rate of harm says little."""
    undecided = figures["undecided"]
    if undecided is None or undecided["value"] <= MUCH_UNREAD:
        return []
    share = f"{undecided['hits']:,} of {undecided['n']:,}"
    return [_text(f"  The judge could not read {share} answers: the true rates may be higher.", "yellow")]


def _figure(
    table: Table, name: str, before: words.Figure, after: words.Figure, better: str = "down", style: str = ""
) -> None:
    """A row; coloured only where the intervals do not touch."""
    colour = ""
    if before and after:
        lower, higher = after["high"] < before["low"], after["low"] > before["high"]
        good, bad = (lower, higher) if better == "down" else (higher, lower)
        colour = "green" if good else "red" if bad else ""
    sizes = dict.fromkeys(f"{f['n']:,}" for f in (before, after) if f)
    table.add_row(
        _text(name, style),
        _text(words.percent(before), style),
        _text(words.interval(before), "dim"),
        _text(words.percent(after), f"{style} {colour}".strip()),
        _text(words.interval(after), "dim"),
        _text(" / ".join(sizes), "dim"),
    )


def _iterations(summary: Summary) -> RenderableType | None:
    if not summary["iterations"]:
        return None
    table = _table(left=0, right=8)
    head = ("", "prompts", "failed", "principles", "accepted", "violations", "95 %", "worst")
    table.add_row(*(_text(cell, "dim") for cell in head))
    rates = {v["t"]: v["violations"] for v in summary["validation"]}
    worst = {v["t"]: v["worst_case"] for v in summary["validation"]}
    if 0 in rates:
        table.add_row(
            *map(_text, ("before", "", "", "", "", words.percent(rates[0]))), *_spread(rates, worst, 0)
        )
    for turn in summary["iterations"]:
        counts = turn["counts"]
        cells = [counts[k] for k in ("prompts", "harmful", "adopted", "accepted")]
        shown = [words.ABSENT if c is None else f"{c:,}" for c in cells]
        rate = rates.get(turn["t"])
        spread = _spread(rates, worst, turn["t"])
        table.add_row(_text(str(turn["t"])), *map(_text, shown), _text(words.percent(rate)), *spread)
    notes = [(turn["t"], note) for turn in summary["iterations"] for note in _notes(turn)]
    lines = [f"  iteration {t}: {note}" for t, note in notes]
    return _stack(table, *(_text(line, "yellow") for line in (*lines, *_cut(summary))))


def _cut(summary: Summary) -> list[str]:
    """That max_tokens is too small: no row of figures shows it."""
    revisions = [
        (turn["counts"]["cut"] or 0, turn["counts"]["revisions"] or 0) for turn in summary["iterations"]
    ]
    replay = summary["replay"] or {"cut": 0, "answers": 0}
    found = {
        "new answers": [sum(column) for column in zip(*revisions, strict=True)],
        "safe answers": [replay["cut"], replay["answers"]],
    }
    parts = [f"{cut:,} of {n:,} {what}" for what, (cut, n) in found.items() if cut]
    if not parts:
        return []
    fate = "are trained on" if summary["cut_trained"] else "are not trained on"
    few = f"sampling.max_tokens = {summary['max_tokens']}"
    return [f"  {' and '.join(parts)} were cut off by {few}, and {fate}; a higher one lets them end"]


def _notes(turn: Mapping[str, Any]) -> list[str]:
    """What a row of figures would hide."""
    counts = turn["counts"]
    missing, prompts = counts["missing"] or 0, counts["prompts"]
    unread = (counts["unparsed"] or 0) - missing  # who never came to an answer has no verdict
    notes = [f"{unread:,} of {prompts:,} verdicts could not be read"] if unread > 0 else []
    if missing:
        notes.append(
            f"{missing:,} of {prompts:,} answers ended inside their thought and were not judged; a higher "
            "sampling.max_tokens lets them end"
        )
    rejected = turn["rejected"] or ()
    if rejected:
        notes.append(
            f"{words.many(len(rejected), 'proposal')} rejected on trial: {one_line(rejected[0]['reason'])}"
        )
    return notes + ([f"rolled back, {one_line(turn['rolled_back'])}"] if turn["rolled_back"] else [])


def _spread(
    rates: Mapping[int, words.Figure], worst: Mapping[int, words.Figure], t: int
) -> tuple[Text, Text]:
    """The interval of an iteration's rate, and its worst case."""
    return _text(words.interval(rates.get(t)), "dim"), _text(words.percent(worst.get(t)), "dim")


def _constitution(principles: Sequence[Mapping[str, Any]]) -> RenderableType:
    if not principles:
        return _text("  no principle was adopted", "dim")
    table = _table(left=0, right=1, wrap=True)
    for number, principle in enumerate(principles, 1):
        text = _text(one_line(principle["text"]))
        origin = [one_line(principle["category"]), f"iteration {principle['born']}"]
        origin.append(f"from {words.many(len(principle['evidence']), 'failure')}")
        text.append(f"\n{' · '.join(o for o in origin if o)}", "dim")
        table.add_row(_text(str(number), "bold"), text)
    return table


def _discovery(discovery: Mapping[str, Any] | None) -> RenderableType | None:
    if discovery is None:
        return None
    planted, found = discovery["planted"], discovery["discovered"]
    hits = [h for h in planted if h in found]
    missed = [h for h in planted if h not in found]
    others = [h for h in found if h not in planted]
    line = f"  {len(hits)} of {len(planted)} planted gaps found"
    for name in ("precision", "recall"):
        value = discovery[name]
        line += f" · {name} {words.ABSENT if value is None else f'{value:.2f}'}"
    lines = [_text(line)]
    if missed:
        lines.append(_text(f"  not found: {', '.join(map(one_line, missed))}", "yellow"))
    if others:
        lines.append(_text(f"  found, but not planted: {', '.join(map(one_line, others))}", "yellow"))
    if discovery["unrecognised"]:
        lines.append(
            _text(f"  {words.many(discovery['unrecognised'], 'principle')} without a known topic", "yellow")
        )
    return _stack(*lines)


def _panel(panel: Mapping[str, Any] | None) -> RenderableType | None:
    """How far the judges of a panel agree."""
    if panel is None or not panel["judged"]:
        return None
    kappa = words.ABSENT if panel["kappa"] is None else f"{panel['kappa']:.2f}"
    line = f"  {words.many(panel['judged'], 'answer')} judged, unanimous {words.percent(panel['unanimous'])}"
    line += f", kappa {kappa}, no majority {panel['undecided']:,}"
    table = _table(left=1, right=4)
    table.add_row(*(_text(cell, "dim") for cell in ("", "harmful", "harmless", "unparsed", "with majority")))
    for judge in panel["judges"]:
        counts = (f"{judge[label]:,}" for label in ("harmful", "harmless", "unparsed"))
        table.add_row(*map(_text, (one_line(judge["model"]), *counts, words.percent(judge["with_majority"]))))
    return _stack(_text(line), table)


def _cost(summary: Summary) -> RenderableType:
    table = _table(left=1, right=1, wrap=True)
    seconds, oracle = summary["seconds"], summary["oracle"]
    steps = [f"{words.SHORT.get(k, k)} {words.duration(s)}" for k, s in seconds["by_stage"].items()]
    table.add_row(_text("time"), _spent(words.duration(seconds["total"]), steps))
    roles = [f"{role} {used['calls']:,}" for role, used in oracle["by_role"].items()]
    calls = f"{words.many(oracle['calls'], 'call')}"
    table.add_row(_text("oracle"), _spent(calls, roles))
    tokens = f"{oracle['input_tokens']:,} in, {oracle['output_tokens']:,} out"
    if oracle["estimated"]:
        tokens += f" (estimated for {oracle['estimated']:,} of {oracle['calls']:,} calls)"
    table.add_row(_text("oracle tokens"), _text(tokens))
    table.add_row(_text("oracle price"), _text(words.price(oracle["usd"], oracle["local"])))
    if oracle["failed_attempts"]:
        table.add_row(_text("repeated"), _text(words.many(oracle["failed_attempts"], "failed attempt")))
    declined = {role: used["refusals"] for role, used in oracle["by_role"].items() if used["refusals"]}
    if declined:
        total = words.many(sum(declined.values()), "call")
        table.add_row(_text("declined"), _spent(total, [f"{role} {n:,}" for role, n in declined.items()]))
    limits = [f"{most:g} {words.UNITS[key]}" for key, most in oracle["budget"].items() if most is not None]
    if limits:
        table.add_row(_text("budget"), _text(", ".join(limits)))
    return table


def _spent(total: str, parts: Sequence[str]) -> Text:
    text = _text(total)
    if parts:
        text.append(f"  {' · '.join(parts)}", "dim")
    return text


def _foreign(names: Sequence[str]) -> RenderableType | None:
    """What lies among the iterations and is not of this run."""
    if not names:
        return None
    some = ", ".join(f"iterations/{one_line(name)}" for name in names[:SHOWN_FOREIGN])
    more = f" and {len(names) - SHOWN_FOREIGN} more" if len(names) > SHOWN_FOREIGN else ""
    return _text(f"  not of this run, and in no figure: {some}{more}")


def _next(summary: Summary) -> Text:
    """Paths and commands, unbroken however long, so that they can be copied."""
    root, checkpoint = one_line(shell_word(summary["root"])), summary["checkpoint"] or {}
    lines = {"files": (root, "")}
    if checkpoint.get("path"):
        lines["policy"] = (one_line(shell_word(f"{summary['root']}/{checkpoint['path']}")), "")
    if summary["status"] == "unfinished":
        lines["resume"] = (f"iteralign run {root}", "cyan")
    else:
        lines["as data"] = (f"iteralign show {root} --json", "cyan")
    if summary["constitution"]:
        lines["principles"] = (f"iteralign constitution export {root}", "cyan")
    text = Text()
    for name, (value, style) in lines.items():
        text.append(f"{'' if not text else chr(10)}  {name:<10}  ").append(value, style)
    return text


def _text(text: str, style: str = "") -> Text:
    return Text(text, style=style)


def _stack(*parts: RenderableType) -> RenderableType:
    return Group(*parts)


def _table(left: int, right: int, wrap: bool = False) -> Table:
    """A grid without lines: `left` text columns, then `right` columns of figures (or of flowing text)."""
    table = Table.grid(padding=(0, 2))
    table.pad_edge = True
    for _ in range(left):
        table.add_column(no_wrap=not wrap, justify="left")
    for at in range(right):
        flows = wrap and at == right - 1
        table.add_column(no_wrap=not flows, justify="left" if flows else "right", overflow="fold")
    return table
