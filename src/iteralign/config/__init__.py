"""What a user writes: sections, presets, shipped configs, overrides and the text of mistakes."""
