"""The base class of objectives. It is in `model.losses`, because a model calls its objective."""

from espnet_ext.model.losses import Objective, TrainingLosses

__all__ = ["Objective", "TrainingLosses"]
