"""Objectives: how the losses of a batch become one update, one file per kind.

An objective owns the backward pass: it returns the scalar that ESPnet's Trainer calls `backward`
on. A new kind (learned weights, penalties, gradient surgery) is one file here (or anywhere) and one
line in `registry.py`. Inference needs no objective.
"""
