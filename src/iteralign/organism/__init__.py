"""The embedded model organism: a tiny chat model with known gaps, its world and its recipe."""
