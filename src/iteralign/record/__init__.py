"""A run on disk: journal, artifacts, calls, provenance, replay."""
