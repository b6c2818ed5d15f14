"""The questions of a run, from the world of the organism or from data sets and files."""

from collections.abc import Sequence
from pathlib import Path

from iteralign.config.schema import Config
from iteralign.data import batches, families, probe_files, sources
from iteralign.data.families import Parts
from iteralign.data.sources import Wanted
from iteralign.errors import UserError
from iteralign.organism import world
from iteralign.settings import Benign, Probes, Redteam
from iteralign.types import Material, Probe, ProbeKind, Prompt

ORGANISM = "organism"
WORLD = 20_000
"""Prompts that the organism's grammar is asked for at most; it makes them one by one, and could not make a million."""
PROBE_SEED = 0
"""Probes are the same in every run, whatever its seed, so that runs compare prompt by prompt."""


def material(config: Config) -> Material:
    """Attack batches, validation probes and benign prompts. Raises UserError, WorldError."""
    parts = pool(config.redteam, config.seed)
    return Material(
        attack(config.redteam, parts.attack, config.seed),
        probes(config.probes, "validation", _held(parts.validation, config.probes)),
        benign(config.benign, config.seed),
    )


def report_probes(config: Config) -> tuple[Probe, ...]:
    """The probes that only the report sees. Raises UserError, WorldError."""
    held: tuple[Prompt, ...] = ()
    if config.redteam.holdout:
        held = _held(pool(config.redteam, config.seed).test, config.test)
    return probes(config.test, "test", held)


def pool(settings: Redteam, seed: int) -> Parts:
    """The red-team prompts before any order: those that attack, and what is held out to measure with."""
    if settings.source == ORGANISM:
        if settings.holdout:
            raise UserError(
                f"config redteam.holdout: {settings.holdout}: the organism has probes of its own; set it to 0"
            )
        return Parts(tuple(_world("hazard", "redteam", settings.n, seed, "redteam.n")), (), ())
    prompts = sources.load(wanted(settings)).prompts
    parts = families.parted(families.deduplicated(prompts) if settings.dedup else prompts, settings.holdout)
    short = [name for name, part in parts._asdict().items() if not part]
    if settings.holdout and short:
        raise UserError(
            f"config redteam.holdout: {settings.holdout}: of {len(prompts)} prompts none is left for "
            f"{' and '.join(short)}; choose another share, or give probe files and set it to 0"
        )
    return parts


def left_out(config: Config) -> dict[str, str]:
    """What of the sets that a config names is in no prompt, by section; a set that is read whole has no entry.

    Raises UserError, WorldError.
    """
    found: dict[str, str] = {}
    if config.redteam.source != ORGANISM:
        found["redteam"] = sources.load(wanted(config.redteam)).missing(config.redteam.dedup)
    if config.benign.source != ORGANISM:
        loaded = sources.load(Wanted(config.benign.source, field=config.benign.field))
        found["benign"] = loaded.missing(dedup=True)
    return {section: text for section, text in found.items() if text}


def wanted(settings: Redteam) -> Wanted:
    path = None if settings.path is None else Path(settings.path)
    return Wanted(
        settings.source,
        path,
        settings.field,
        settings.subset,
        settings.split,
        settings.revision,
        settings.turns,
    )


def attack(settings: Redteam, prompts: Sequence[Prompt], seed: int) -> tuple[tuple[Prompt, ...], ...]:
    """The red-team batches, in the order in which the loop meets them, `settings.n` prompts in all."""
    if settings.order == "topic":
        cut = batches.by_topic(prompts, settings.batch, settings.topics_per_batch)
    else:
        ordered = batches.shuffled(prompts, seed) if settings.order == "shuffle" else prompts
        cut = batches.cut(ordered, settings.batch)
    return batches.first(cut, settings.n)


def probes(settings: Probes, split: str, held: Sequence[Prompt] = ()) -> tuple[Probe, ...]:
    """Held-out probes: `split` is validation (seen by the stop rule) or test (seen by nobody).

    `held` are hazards kept out of the attack; they stand in for the hazards of the organism's world, and
    for those of a probe file that has none.
    """
    hazards = tuple(Probe(prompt, "hazard") for prompt in held)
    if settings.source != ORGANISM:
        own = probe_files.probes(Path(settings.source))
        return own if any(p.kind == "hazard" for p in own) else (*hazards, *own)
    wanted: list[tuple[ProbeKind, str, int]] = [
        ("hazard", "hazards", 0 if held else settings.hazards),
        ("benign", "benign", settings.benign),
        ("borderline", "borderline", settings.borderline),
        ("fact", "facts", settings.facts),
    ]
    section = "test" if split == "test" else "probes"
    others = (
        Probe(p, kind)
        for kind, key, n in wanted
        for p in _world(kind, split, n, PROBE_SEED, f"{section}.{key}")
    )
    return (*hazards, *others)


def benign(settings: Benign, seed: int) -> tuple[Prompt, ...]:
    """Safe prompts; from the organism's world a third each plain, of fact, and only seemingly hazardous."""
    if settings.source != ORGANISM:
        loaded = sources.load(Wanted(settings.source, field=settings.field))
        return families.deduplicated(loaded.prompts)[: settings.n]
    third = settings.n // 3
    return (
        *_world("benign", "redteam", settings.n - 2 * third, seed, "benign.n"),
        *_world("borderline", "redteam", third, seed, "benign.n"),
        *_world("fact", "redteam", third, seed, "benign.n"),
    )


def _held(prompts: Sequence[Prompt], settings: Probes) -> tuple[Prompt, ...]:
    """At most `hazards` of them: a sample that is the same in every run, as all probes are."""
    return batches.shuffled(prompts, PROBE_SEED)[: settings.hazards]


def _world(kind: ProbeKind, split: str, n: int, seed: int, field: str) -> Sequence[Prompt]:
    """Return prompts of the organism's world; `field` of the config says how many. Raises UserError."""
    if n > WORLD:
        raise UserError(f"config {field}: {n}: the organism's world is asked for at most {WORLD} prompts")
    drafts = world.drafts(kind, split, n, seed)
    return [
        Prompt(f"{split}-{kind}-{i:04d}", draft.item.text, draft.family, draft.item.topic)
        for i, draft in enumerate(drafts)
    ]
