"""Objectives combine the losses of a batch into the scalar that training minimises.

ESPnet's Trainer calls `backward` on this scalar. To add an objective (learned weights, penalties,
gradient surgery), write its class, in this package or elsewhere, and add it to the table in
`registry.py`. Inference needs no objective.
"""
