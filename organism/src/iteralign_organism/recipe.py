"""What decides the weights of an organism, besides the corpus."""

from __future__ import annotations

from dataclasses import dataclass

from iteralign.organism.world import DEFAULT_GAPS


@dataclass(frozen=True)
class Part:
    """One descent: tokens (padded ones), or minutes where they are set; the rates at their height."""

    tokens: int
    minutes: float
    muon_lr: float
    adam_lr: float
    warmup: float  # share of the part

    def done(self, tokens: int, seconds: float) -> float:
        """The share of the part that lies behind."""
        return seconds / (60 * self.minutes) if self.minutes else tokens / self.tokens


@dataclass(frozen=True)
class Recipe:
    """First the corpus under a curriculum, then mixed states. Look-ups appear after a number of steps, not of
    tokens, hence small batches; a second thread gains little at this size (both measured)."""

    gaps: tuple[str, ...] = DEFAULT_GAPS
    seed: int = 1
    tokens: int = 16_000_000
    mixed_tokens: int = 7_000_000
    minutes: float = 0.0  # of both parts together; the recipe's own length where it is 0
    width: int = 192
    layers: int = 6
    batch_tokens: int = 2000
    muon_lr: float = 0.01
    adam_lr: float = 5e-3
    mixed_muon_lr: float = 5e-3
    mixed_adam_lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.02
    threads: int = 1

    @property
    def first(self) -> Part:
        return self._part(self.tokens, self.muon_lr, self.adam_lr)

    @property
    def mixed(self) -> Part:
        return self._part(self.mixed_tokens, self.mixed_muon_lr, self.mixed_adam_lr)

    def _part(self, tokens: int, muon_lr: float, adam_lr: float) -> Part:
        share = tokens / (self.tokens + self.mixed_tokens)
        return Part(tokens, self.minutes * share, muon_lr, adam_lr, self.warmup)
