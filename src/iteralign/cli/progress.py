"""Progress: what a run is doing, for someone who watches it.

On a terminal: a table that grows by a row with each iteration, and below it, redrawn in place, the
stage at work, how far it is, the time left and what the oracle has cost. Elsewhere: a line when a stage starts, at
least every 30 seconds within it, and when it ends; a stage that is over at once has the last one alone.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from iteralign.budget.spending import Cost, added, usd
from iteralign.cli import terminal, words
from iteralign.cli.terminal import is_live, one_line
from iteralign.config.schema import Config
from iteralign.measure import worst
from iteralign.record.calls import Spent
from iteralign.record.journal import Event
from iteralign.record.replay import CONFIG, config_of, step_value
from iteralign.report.summary import figure, oracle_spent
from iteralign.settings import Budget
from iteralign.types import Iteration, Label, Metrics

HEAD = ("", "failures", "principles", "revisions", "violations", "95 %")
RESUMED = "resuming: what is on record is not done again"
SURE_AFTER_S = 2.0
"""Before this, a guess of the time left is worth nothing (assumed)."""
BRIEF_S = 1.0
"""A stage that is over sooner says one line, at its end: a log of the demo stays readable."""
EVERY_S = 29.0
"""After so much silence within a stage a line is due; as one looks once a second, none lasts more than 30 s."""

OnProgress = Callable[[Mapping[str, Any]], None]


class Watcher(Protocol):
    """Hears of everything that happens in a run; `event` may be called from any thread."""

    def event(self, event: Event) -> None: ...

    def iteration(self, turn: Iteration) -> None: ...


class Silent:
    def event(self, event: Event) -> None: ...

    def iteration(self, turn: Iteration) -> None: ...


@contextmanager
def watching(console: Console, root: Path, quiet: bool) -> Iterator[Watcher]:
    """The watcher that suits where `console` writes."""
    if quiet:
        yield Silent()
    elif is_live(console.file):
        board = Board(root, console.print)
        with Live(get_renderable=board.render, console=console, refresh_per_second=8, transient=True):
            yield board
    else:
        lines = LogLines(root, lambda text: console.print(text, soft_wrap=True))
        with lines.beat.running():
            yield lines


class Meter:
    """What the oracle has been asked, step by step, from what is on record."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._done: Mapping[str, Spent] = {}
        self._asking: Mapping[str, Spent] = {}
        self._config: Config | None = None

    def event(self, event: Event) -> None:
        if event.kind == "advanced":
            # a trainer tells of its steps too, and asks nobody
            self._asking = event.oracle
        elif event.kind in ("finished", "replayed"):
            self._done = added(self._done, oracle_spent(self._root, event.t, event.step))
            self._asking = {}

    def text(self) -> str:
        """Calls and tokens, and USD where the price is known and not nothing; each against its budget."""
        cost = Cost(added(self._done, self._asking))
        config = self._known()
        budget = config.budget if config else Budget()
        calls = f"{cost.oracle_calls:,}{_of(budget.oracle_calls)}"
        tokens = f"{cost.oracle_tokens:,}{_of(budget.oracle_tokens)}"
        said = f"oracle {calls} call{'s' * (cost.oracle_calls != 1)}, {tokens} token{'s' * (cost.oracle_tokens != 1)}"
        money = usd(config, cost.by_role) if config else None
        if money or budget.usd is not None:
            said += f", {words.money(money or 0.0)}{_of(budget.usd)}"
        return said

    def _known(self) -> Config | None:
        """The config of the run, once it is written down: a run's first event comes after that."""
        if self._config is None and (self._root / CONFIG).is_file():
            self._config = config_of(self._root)
        return self._config


def _of(most: float | None) -> str:
    return "" if most is None else f" of {most:,}"


class Pace:
    """How far a stage is, and when it will be done at the pace so far."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.begin("")

    def begin(self, label: str) -> None:
        self.label = label
        self.done = 0
        self.total: int | None = None
        self._first: int | None = None
        self._began = self._clock()

    def advance(self, done: int, total: int | None) -> None:
        if self._first is None:  # what was on record already says nothing about the pace
            self._first, self._began = done, self._clock()
        self.done, self.total = done, total

    @property
    def seconds(self) -> float:
        return self._clock() - self._began

    def rate(self) -> float | None:
        """How many a second, roughly; None while it cannot be told."""
        made = self.done - (self._first or 0)
        return None if made <= 0 or self.seconds < SURE_AFTER_S else made / self.seconds

    def left(self) -> float | None:
        """Seconds, roughly; None while it cannot be told."""
        rate = self.rate()
        return None if self.total is None or rate is None else max(0, self.total - self.done) / rate


class Beat:
    """Lines for a log while something is at work: that it began, and every 30 seconds how far it is.

    `tick` is called once a second, by a thread of its own: a model may compute for minutes without an event.
    """

    def __init__(self, say: Callable[[str], Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock, self._lock = say, clock, threading.RLock()
        self._pace = Pace(clock)
        self.begin("loading", said=True)

    def begin(self, label: str, said: bool = False) -> None:
        """Start on `label`. said: the reader knows already that it began."""
        with self._lock:
            self._pace.begin(label)
            self._detail = self._unit = ""
            self._began = self._spoke = self._clock()
            self._announced = said

    def advance(self, done: int, total: int | None, detail: str = "", unit: str = "") -> None:
        with self._lock:
            self._pace.advance(done, total)
            self._detail, self._unit = detail, unit

    @property
    def seconds(self) -> float:
        return self._clock() - self._began

    def tick(self) -> None:
        with self._lock:
            if not self._announced and self.seconds >= BRIEF_S:
                self._announced = True
                self._speak(f"{self._pace.label} …")
            elif self._clock() - self._spoke >= EVERY_S:
                self._speak(f"{self._pace.label}: {self._far()}")

    def _speak(self, text: str) -> None:
        self._spoke = self._clock()
        self._say(text)

    def _far(self) -> str:
        """`update 3 of 9, loss 1.234, 0.2 a second, 30 s`: as much of it as is known."""
        pace = self._pace
        count = f"{self._unit}{pace.done:,}"
        far = f"{count} of {pace.total:,}" if pace.total else f"{count} done" if pace.done else ""
        rate = pace.rate()
        speed = "" if rate is None else f"{rate:.2g} a second" if rate < 10 else f"{rate:,.0f} a second"
        return ", ".join(
            part for part in (far, self._detail, speed, words.duration(round(self.seconds))) if part
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Tick until the end of the block."""
        ended = threading.Event()

        def ticking() -> None:
            with suppress(OSError):  # the reader has left: the command finds that out by itself
                while not ended.wait(1.0):
                    self.tick()

        thread = threading.Thread(target=ticking, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


class Board:
    """The live display."""

    def __init__(
        self, root: Path, stay: Callable[[Text], Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._root, self._stay, self._clock = root, stay, clock
        self._spinner = Spinner("dots", style="cyan")
        self._meter, self._pace = Meter(root), Pace(clock)
        self._began = clock()
        self._rate = ""
        self._headed = False
        self._resumed = False
        self._pace.begin("loading")

    def event(self, event: Event) -> None:
        self._meter.event(event)
        if event.kind == "replayed" and not self._resumed:
            self._resumed = True
            self._stay(Text(RESUMED, style="dim"))
        if event.kind == "started":
            self._pace.begin(f"{words.place(event.t)} · {words.STAGES.get(event.step, event.step)}")
        elif event.kind == "advanced":
            self._pace.advance(event.done, event.total)
        elif (event.t, event.step) == (0, "metrics"):
            self._before()

    def iteration(self, turn: Iteration) -> None:
        self._row(f"{turn.t}", turned(turn), turn.metrics, turn.rolled_back)

    def render(self) -> RenderableType:
        """The three lines that are redrawn."""
        self._spinner.update(text=Text(self._pace.label))
        elapsed = words.duration(round(self._clock() - self._began))
        facts = [self._rate, self._meter.text(), elapsed] if self._rate else [self._meter.text(), elapsed]
        return Group("", self._spinner, self._bar(), Text(f"  {' · '.join(facts)}", style="dim"))

    def _bar(self) -> RenderableType:
        pace = self._pace
        if pace.total is None:
            return Text("")
        left = pace.left()
        row = Table.grid(padding=(0, 2, 0, 0))
        bar = ProgressBar(total=max(pace.total, 1), completed=pace.done, width=24)
        about = "" if not left or left < 1 else f"about {words.duration(round(left))} left"
        row.add_row(Text(""), bar, Text(f"{pace.done:,} of {pace.total:,}"), Text(about, style="dim"))
        return row

    def _before(self) -> None:
        metrics = step_value(self._root, 0, "metrics", Metrics)
        if metrics is not None:
            self._row("before", ("", "", ""), metrics)

    def _row(self, name: str, counts: tuple[str, str, str], metrics: Metrics, note: str = "") -> None:
        if not self._headed:
            self._headed = True
            self._stay(Text(_cells(*HEAD), style="dim"))
        rate = figure(metrics.violations)
        self._rate = f"violations {words.percent(rate)}"
        line = Text(_cells(name, *counts, words.percent(rate), words.interval(rate)))
        if note:
            line.append(f"   rolled back: {one_line(note)}", style="yellow")
        self._stay(line)


class LogLines:
    """Lines for a log: a finished stage and its result, and before that those of `beat`."""

    def __init__(
        self, root: Path, say: Callable[[str], Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._root, self._say = root, say
        self._meter, self.beat = Meter(root), Beat(say, clock)
        self._resumed = False

    def event(self, event: Event) -> None:
        self._meter.event(event)
        label = f"{words.place(event.t)}: {words.STAGES.get(event.step, event.step)}"
        if event.kind == "started":
            self.beat.begin(label)
        elif event.kind == "advanced":
            training = event.step == "checkpoint"  # the details of other steps are roles
            unit, detail = ("update ", event.detail) if training else ("", "")
            self.beat.advance(event.done, event.total, detail, unit)
        elif event.kind == "finished":
            self._say(f"{label}{self._result(event)} ({words.duration(self.beat.seconds)})")
            self.beat.begin("loading", said=True)
        elif event.kind == "replayed" and not self._resumed:
            self._resumed = True
            self._say(RESUMED)

    def iteration(self, turn: Iteration) -> None:
        failures, principles, accepted = turned(turn)
        found = violations(turn.metrics)
        say = f"{words.place(turn.t)} done: failures {failures}, principles {principles}, revisions {accepted}, "
        say += f"{found}, " if found else ""
        say += self._meter.text()
        self._say(say + (f", rolled back: {one_line(turn.rolled_back)}" if turn.rolled_back else ""))

    def _result(self, event: Event) -> str:
        if event.step not in ("metrics", "test"):
            return ""
        metrics = step_value(self._root, event.t, event.step, Metrics)
        found = "" if metrics is None else violations(metrics)
        return f": {found}" if found else ""


def violations(metrics: Metrics) -> str:
    """The share of harmful answers as a line says it; nothing where no hazard was asked."""
    rate = figure(metrics.violations)
    return f"violations {words.harm(rate, figure(worst(metrics)))}" if rate else ""


def turned(turn: Iteration) -> tuple[str, str, str]:
    """An iteration as cells: failures of prompts, new principles, accepted revisions."""
    failures = sum(v.label is Label.HARMFUL for v in turn.verdicts)
    new = sum(p.decision == "adopted" for p in turn.amendment.proposals)
    return (
        f"{failures} of {len(turn.verdicts)}",
        f"{new} new" if new else "none new",
        f"{len(turn.accepted)} accepted",
    )


def _cells(name: str, failures: str, principles: str, revisions: str, violations: str, spread: str) -> str:
    cells = (f"{name:>9}", f"{failures:>13}", f"{principles:>12}", f"{revisions:>15}", f"{violations:>12}")
    return f"{''.join(cells)}  {spread:<11}".rstrip()


@contextmanager
def status_line(what: str) -> Iterator[OnProgress]:
    """A status line on a terminal; elsewhere a line every half minute. On stderr, as stdout is for results."""
    console = terminal.stderr()
    if is_live(console.file):
        with console.status(f"{what} …") as status:
            yield lambda event: status.update(f"{what}: {_told(event)}")
        return
    beat = Beat(terminal.note)
    beat.begin(what)
    with beat.running():
        yield lambda event: beat.advance(0, None, _told(event))


def _told(event: Mapping[str, Any]) -> str:
    """An event of the trainer, of the measurement or of a run in words."""
    parts: dict[str, Callable[[Any], str]] = {
        "progress": lambda v: f"{100 * v:.0f} %",
        "tokens": lambda v: f"{v:,} tokens",
        "loss": lambda v: f"loss {v:.3f}",
        "seconds": words.duration,
        "figure": str,
        "rate": lambda v: f"{v:.3f}",
        "doing": str,
    }
    return ", ".join(tell(event[key]) for key, tell in parts.items() if key in event)
