"""Scoring: alignment, error rates, cells and their intervals, from texts alone.

Here belongs what turns hypotheses and references into counts, rates and statements about them.
What needs a model or its hidden states is analysis; what shows figures to a reader is report.
"""
