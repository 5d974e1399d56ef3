"""Heads: what turns encoder output into one output's tokens, one file per kind.

A head holds its modules, its losses and statistics, what it searches with, and how stock ESPnet
expresses it. A new kind of head is one file here (or anywhere) and one line in `registry.py`.
"""
