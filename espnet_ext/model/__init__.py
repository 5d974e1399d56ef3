"""The networks: one encoder, one branch an output, built and loaded from a configuration.

Holds torch modules and what constructs them. Knows no data directory, no loss weighting across
outputs beyond the weighted sum, and no command line.
"""
