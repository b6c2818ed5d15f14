"""The questions of a run, from the world of the organism or from files."""

from collections.abc import Sequence
from pathlib import Path

from iteralign.data import batches, files
from iteralign.organism import world
from iteralign.run.config import Benign, Config, Probes, Redteam
from iteralign.types import Material, Probe, ProbeKind, Prompt

ORGANISM = "organism"
PROBE_SEED = 0
"""Probes are the same in every run, whatever its seed, so that runs compare prompt by prompt."""


def material(config: Config) -> Material:
    """Attack batches, validation probes and benign prompts. Raises UserError."""
    return Material(
        attack(config.redteam, config.seed),
        probes(config.probes, "validation"),
        benign(config.benign, config.seed),
    )


def attack(settings: Redteam, seed: int) -> tuple[tuple[Prompt, ...], ...]:
    """The red-team batches, in the order in which the loop meets them."""
    if settings.source == ORGANISM:
        pool = _world("hazard", "redteam", settings.n, seed)
    else:
        pool = files.prompts(Path(settings.source), settings.field)[: settings.n]
    if settings.order == "topic":
        return batches.by_topic(pool, settings.batch, settings.topics_per_batch)
    ordered = batches.shuffled(pool, seed) if settings.order == "shuffle" else pool
    return batches.cut(ordered, settings.batch)


def probes(settings: Probes, split: str) -> tuple[Probe, ...]:
    """Held-out probes: `split` is validation (seen by the stop rule) or test (seen by nobody)."""
    if settings.source != ORGANISM:
        return files.probes(Path(settings.source))
    wanted: list[tuple[ProbeKind, int]] = [
        ("hazard", settings.hazards),
        ("benign", settings.benign),
        ("borderline", settings.borderline),
        ("fact", settings.facts),
    ]
    return tuple(Probe(p, kind) for kind, n in wanted for p in _world(kind, split, n, PROBE_SEED))


def benign(settings: Benign, seed: int) -> tuple[Prompt, ...]:
    """Safe prompts, the plain ones and those that only look hazardous in equal parts."""
    if settings.source != ORGANISM:
        return tuple(files.prompts(Path(settings.source), settings.field)[: settings.n])
    half = settings.n // 2
    return (
        *_world("benign", "redteam", settings.n - half, seed),
        *_world("borderline", "redteam", half, seed),
    )


def _world(kind: ProbeKind, split: str, n: int, seed: int) -> Sequence[Prompt]:
    items = world.prompts(kind, split, n, seed)
    return [Prompt(f"{split}-{kind}-{i:04d}", x.text, x.family, x.topic) for i, x in enumerate(items)]
