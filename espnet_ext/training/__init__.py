"""Adapters to ESPnet's training: Task, Trainer, preprocessor, samplers, and their configuration.

This package trains a model and monitors the training. Networks are in `model`; `objectives` holds
the ways to combine the losses.
"""
