"""Benchmarks: published formats, how a model is asked, and how its answers become figures."""
