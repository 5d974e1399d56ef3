"""Discrete units: speech as sequences of k-means cluster ids, and vocabularies that contain them.

This package computes features, learns and applies k-means, and maps units and text to input ids. It
contains no network that is trained on units, no search and no command line.
"""
