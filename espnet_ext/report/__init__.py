"""Reports: RESULTS.md, RESULTS_details.md, report.html and the terminal's summary.

This package reads result files only. What computes numbers belongs to scoring or analysis.
"""
