"""Words: figures, times and stages as a reader wants them."""

from collections.abc import Mapping
from typing import Any

Figure = Mapping[str, Any] | None
ABSENT = "–"

STAGES = {
    "test": "measuring on the test probes",
    "metrics": "measuring on the validation probes",
    "benign": "answering safe prompts, to replay later",
    "responses": "red team: answering attack prompts",
    "verdicts": "judging the answers",
    "proposals": "writing principles for the failures",
    "trials": "trying the new principles",
    "constitution": "adopting the principles that passed",
    "revisions": "answering again under the principles",
    "gate": "judging the new answers",
    "checkpoint": "fine-tuning on the accepted answers",
}
"""What happens in a step."""

SHORT = {
    "test": "test",
    "metrics": "validation",
    "benign": "safe prompts",
    "responses": "red team",
    "verdicts": "judge",
    "proposals": "principles",
    "trials": "trials",
    "constitution": "adoption",
    "revisions": "revisions",
    "gate": "gate",
    "checkpoint": "fine-tuning",
}


UNITS = {"usd": "USD", "oracle_calls": "oracle calls", "oracle_tokens": "oracle tokens", "hours": "hours"}
"""What a budget counts."""


def money(usd: float) -> str:
    """`0.0042 USD`, `1.25 USD`, `1,250 USD`."""
    digits = 4 if usd < 0.1 else 2 if usd < 100 else 0
    return f"{usd:,.{digits}f} USD"


def price(usd: float | None, local: bool) -> str:
    if local and not usd:
        return "none: the oracle is local"
    return "not known: no price (docs/cost.md)" if usd is None else money(usd)


def size(bytes: float) -> str:
    """`14 MB`, `1.3 GB`; decimal units."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if bytes >= factor:
            return f"{bytes / factor:.3g} {unit}"
    return f"{max(1, round(bytes / 1e3))} kB"


def percent(figure: Figure) -> str:
    return ABSENT if figure is None else f"{100 * figure['value']:.1f} %"


def interval(figure: Figure) -> str:
    """The 95 % interval, in percent."""
    return "" if figure is None else f"{100 * figure['low']:.1f}–{100 * figure['high']:.1f}"


def harm(rate: Figure, worst: Figure) -> str:
    """`33.3 % (18.0–53.3)`, and the worst case where the judge left some of it open."""
    if rate is None:
        return ABSENT
    more = f", worst case {percent(worst)}" if worst and worst["hits"] > rate["hits"] else ""
    return f"{percent(rate)} ({interval(rate)}{more})"


def duration(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`, `2 h 05 min`; whole seconds stay whole."""
    if seconds is None:
        return ABSENT
    if seconds < 9.95 and isinstance(seconds, float):
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def many(n: int, singular: str, plural: str = "") -> str:
    """`1 principle`, `1,234 principles`."""
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def place(t: int) -> str:
    """Where in a run iteration `t` is."""
    return f"iteration {t}" if t else "before"
