"""Experiments: a grid of base models, red-team sets, arms and seeds, run as ordinary runs and set side by side.

`sheet` is the file, `grid` its cells, `ready` what is checked before any runs, `work` does what is missing, `cost`
says what that takes; `outcomes` reads what is there, `samples` is the statistics, `tables` what is shown, `formats`
how it is written.
"""
