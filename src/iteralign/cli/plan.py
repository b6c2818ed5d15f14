"""`iteralign plan`: what a config will cost, before it costs: calls, tokens, money, time, disk."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iteralign.cli.run import (
    ConfigArgument,
    OfflineOption,
    OracleOption,
    PolicyOption,
    PricesOption,
    SetOption,
)

if TYPE_CHECKING:
    from rich.console import Console

    from iteralign.budget.estimate import Plan, Totals

CalibrateOption = Annotated[
    bool,
    typer.Option(
        "--calibrate",
        help="Measure: load the policy, ask the oracle about a sample (some hundred calls), train on a few rows.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON (docs/cost.md) and nothing else.")]


def command(
    config: ConfigArgument,
    set: SetOption = [],  # noqa: B006 (typer reads it, and copies it)
    policy: PolicyOption = None,
    oracle: OracleOption = None,
    prices: PricesOption = None,
    offline: OfflineOption = False,
    calibrate: CalibrateOption = False,
    json: JsonOption = False,
) -> None:
    """Tell what a config will cost, before it does.

    Without --calibrate nothing is loaded or asked: the prompts are counted, the answers assumed. With it, a
    sample is really run, and the time is known too.
    """
    from iteralign.cli import target, terminal
    from iteralign.run import build, planner

    values, _ = target.chosen(
        config, [*set, *target.actors(policy, oracle, offline)], None, Path("runs"), prices
    )
    build.identity_of(build.model_path(values.policy.model), values.policy.revision)
    plan = planner.plan(values, calibrate, _tell if calibrate else lambda _: None)
    if json:
        terminal.write(terminal.json_text(as_json(plan)))
    else:
        out = terminal.stdout()
        with terminal.trimmed(out):
            _page(out, plan)


def _tell(step: str) -> None:
    from iteralign.cli import terminal, words

    terminal.note(f"calibrating: {words.STAGES.get(step, step)}")


def as_json(plan: "Plan") -> dict[str, Any]:
    """The plan as docs/cost.md describes it."""
    from iteralign.budget import prices

    config, table = plan.config, prices.of(plan.config)
    return {
        "schema": 1,
        "run": config.name,
        "calibrated": plan.calibration.timed,
        "iterations": plan.iterations,
        "models": prices.models(config),
        "prices": {m: asdict(p) if (p := table.of(m)) else None for m in prices.models(config).values()},
        "outlooks": {
            o.name: {
                "violation_rate": o.rate,
                "left_by_an_iteration": o.left,
                "total": _totals(plan.total(o)),
                "iterations": [_totals(plan.iteration(o, t)) for t in range(1, plan.iterations + 1)],
            }
            for o in plan.outlooks
        },
        "calibration": {role: _spent(used) for role, used in plan.calibration.asked.items()},
        "budget": asdict(config.budget),
    }


def _totals(totals: "Totals") -> dict[str, Any]:
    return {
        "by_role": {role: _spent(used) for role, used in totals.by_role.items()},
        "oracle": _spent(totals.oracle),
        "usd": totals.usd,
        "seconds": dict(totals.seconds) if totals.seconds is not None else None,
        "bytes": totals.bytes,
    }


def _spent(used: Any) -> dict[str, int]:

    return asdict(used)


def _page(out: "Console", plan: "Plan") -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from iteralign.cli import words
    from iteralign.cli.terminal import one_line

    batches, most = len(plan.material.batches), plan.config.stop.max_iterations
    table = Table.grid(padding=(0, 2))
    table.add_column()
    for _ in plan.outlooks:
        table.add_column(justify="right")
    for name, cells in _rows(plan):
        table.add_row(Text(f"  {name}", style="dim"), *map(Text, cells))
    out.print()
    title = f"{one_line(plan.config.name)}: at most {words.many(plan.iterations, 'iteration')}"
    out.print(
        Text(f"{title} ({words.many(batches, 'batch', 'batches')}, stop.max_iterations {most:,})", "bold")
    )
    out.print(table)
    out.print()
    for note in notes(plan):
        out.print(Padding(Text(one_line(note), style="dim"), (0, 0, 0, 2)))
    out.print()


def _rows(plan: "Plan") -> list[tuple[str, list[str]]]:
    """The table: a line of what, and its three outlooks."""
    from iteralign.budget import prices
    from iteralign.cli import words

    outlooks = plan.outlooks
    totals = [plan.total(o) for o in outlooks]
    first, last = ([plan.iteration(o, t).oracle.calls for o in outlooks] for t in (1, plan.iterations))
    rows = [("", [o.name for o in outlooks]), ("answers that fail", [f"{o.rate:.0%}" for o in outlooks])]
    rows.append(("oracle calls", [f"{t.oracle.calls:,}" for t in totals]))
    rows += [
        (f"  {role}", [f"{t.by_role[role].calls:,}" for t in totals]) for role in prices.models(plan.config)
    ]
    rows.append(("  in the first iteration", [f"{n:,}" for n in first]))
    rows.append(("  in the last", [f"{n:,}" for n in last]))
    rows.append(("oracle tokens in", [f"{t.oracle.input_tokens:,}" for t in totals]))
    rows.append(("oracle tokens out", [f"{t.oracle.output_tokens:,}" for t in totals]))
    rows.append(
        (
            "price",
            [words.ABSENT if t.usd is None else words.money(t.usd) if t.usd else "none" for t in totals],
        )
    )
    rows.append(("answers of the policy", [f"{t.by_role['policy'].calls:,}" for t in totals]))
    times = [t.seconds for t in totals]
    rows.append(("time", [words.duration(None if s is None else round(sum(s.values()))) for s in times]))
    for step in times[0] or {}:
        shown = [words.duration(float((s or {}).get(step, 0.0))) for s in times]
        rows.append((f"  {words.SHORT[step]}", shown))
    rows.append(("disk", [words.size(t.bytes) for t in totals]))
    return rows


def notes(plan: "Plan") -> list[str]:
    """What the figures rest on."""
    from iteralign.budget import prices, stubs
    from iteralign.budget.estimate import unpriced
    from iteralign.cli import words

    config, table = plan.config, prices.of(plan.config)
    said = [
        "low: the first iteration closes every gap; mid: each halves what is left; high: none closes any."
    ]
    for model in dict.fromkeys(prices.models(config).values()):
        price = table.of(model)
        if prices.is_local(model):
            said.append(f"{model}: local, costs nothing.")
        elif price is not None:
            seen = f", seen {price.seen}" if price.seen else ""
            said.append(
                f"{model}: {price.input:g} in, {price.output:g} out, USD a million ({price.source}{seen})."
            )
    said += [f'{m}: price not known; give it as [prices."{m}"] input, output.' for m in unpriced(config)]
    if plan.calibration.timed:
        asked = sum(used.calls for used in plan.calibration.asked.values())
        return [
            *said,
            f"Calibrated on {words.many(asked, 'call')} to the oracle, which are not in the table.",
        ]
    length = min(stubs.ANSWER_TOKENS, config.sampling.max_tokens)
    return [
        *said,
        f"Not calibrated: answers of {length} tokens and the shares of failures are assumed, time and the size of "
        f"checkpoints are not known, a token is taken to be {stubs.CHARACTERS} characters (the organism's are "
        "counted exactly), and what a model thinks before it answers is left out. --calibrate measures all of this.",
    ]
