"""Computation of the analyses: what loads models or needs torch.

The registered analyses (the modules of the parent package) import these modules only when they run.
"""
