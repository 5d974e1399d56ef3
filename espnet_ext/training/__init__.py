"""ESPnet's seams: the Task, the Trainer, the preprocessor, and what writes their configuration.

Holds what happens around the model while it learns. Networks are in model, losses in objectives.
"""
