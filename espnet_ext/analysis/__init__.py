"""Analyses of trained systems and their decodings, one module per analysis.

`definition` says what an analysis declares, and `registry` lists them. What loads a model is in
`computation`. What needs only texts belongs to scoring; how tables and figures are rendered belongs
to report.
"""
