"""Analysis: what systems have in common inside, read off their hidden states.

Here belongs what runs a model to look at it: representations and measures of their similarity. What
needs only texts is scoring; how a figure is shown is report.
"""
