"""The discovery benchmark: organisms whose gaps are known, several methods, and how each finds and closes the gaps.

family (which organisms) -> layout (which runs, where) -> performing (make them) -> outcome (one run) -> report (all).
"""
