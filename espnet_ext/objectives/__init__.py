"""Losses over outputs: how the branches' losses become one gradient.

The weighted sum of the paper is the model's own (`model.dual.weighted_sum`); what goes beyond it
(learned weights, gradient surgery, disentangling penalties) belongs here.
"""
