"""Decoding: from a trained model and audio to hypotheses of all outputs.

This package holds the searches, the Python API and the decoding of data directories. Networks and
their losses belong in `model`, comparison with references in `scoring`.
"""
