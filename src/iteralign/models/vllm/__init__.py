"""The policy behind a vLLM server: one for the whole run, adapters swapped in by name (policies.py is the front)."""
