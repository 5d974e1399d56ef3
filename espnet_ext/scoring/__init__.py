"""Scoring: alignment, error rates, and statistics of hypotheses and references.

This package needs only texts. Measurements that need a model or its hidden states belong in
`analysis`, and the presentation of results in `report`.
"""
