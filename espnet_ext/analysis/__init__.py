"""Analyses of trained systems and their decodings, one module per analysis.

`definition` defines the declaration of an analysis, and `registry` lists all of them. Modules that
load a model are in `computation`. Measures that need only texts belong to scoring; rendering tables
and figures belongs to report.
"""
