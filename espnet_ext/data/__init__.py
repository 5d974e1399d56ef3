"""Utterances on disk: Kaldi-style data directories, their audio, the stages that rewrite them.

Here belongs what reads, writes, checks, formats and filters data directories, and what feeds them
to training (samplers, collation). Published corpus layouts belong in `corpora`, the meaning of a
transcript's characters in `text`, features of the signal in `model` or `units`.
"""
