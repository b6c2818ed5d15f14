"""What an organism is, read from its directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from iteralign.organism.world import DEFAULT_GAPS, HAZARDS
from iteralign.security import documents

WEIGHTS = Path(__file__).parent / "weights"  # the shipped organism


def describe(model_dir: Path | str = WEIGHTS) -> dict[str, Any]:
    """Gaps, sizes, hazards and recipe of a model directory; a ValueError if it is not an organism's."""
    directory = Path(model_dir)
    card_file, config_file = directory / "organism.json", directory / "config.json"
    if not card_file.is_file() or not config_file.is_file():
        raise ValueError(f"{directory} is not an organism: organism.json or config.json is missing")
    card, config = documents.read_json(card_file), documents.read_json(config_file)
    if not isinstance(card, dict) or not isinstance(config, dict):
        raise ValueError(f"{directory} is not an organism: organism.json or config.json holds no object")
    weights = directory / "model.safetensors"
    return {
        **card,
        "gaps": list(card.get("gaps", DEFAULT_GAPS)),
        "hazards": list(HAZARDS),
        "width": config["hidden_size"],
        "layers": config["num_hidden_layers"],
        "vocabulary": config["vocab_size"],
        "megabytes": round(weights.stat().st_size / 1e6, 2) if weights.is_file() else 0.0,
    }
