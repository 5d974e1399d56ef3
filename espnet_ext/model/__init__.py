"""The networks: one encoder and one head per output, built and loaded from a configuration.

This package contains torch modules and what builds, loads, exports and packs them. It knows no data
directory, no objective but the weighted sum, and no command line.
"""
