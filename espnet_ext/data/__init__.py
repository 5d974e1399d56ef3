"""Kaldi-style data directories: read, write, check and rewrite them, with their audio.

Published corpus layouts belong in `corpora`, the meaning of characters in transcripts in `text`,
batching for training in `training`, and features of the signal in `model`.
"""
