"""ESPnet's Task, Trainer and preprocessor for this project, and what writes their configuration.

This package contains what happens around the model during training. Networks belong in `model`,
losses over outputs in `objectives`.
"""
