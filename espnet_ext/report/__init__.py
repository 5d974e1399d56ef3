"""Reports: RESULTS.md, report.html and the terminal's summary, from result files alone.

Here belongs how figures are laid out, drawn and named. What computes a figure belongs to scoring or
analysis; this room never loads a model.
"""
