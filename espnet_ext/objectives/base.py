"""The base class of objectives. It is in `model.losses`, because a model calls its objective."""

from collections.abc import Sequence

from espnet_ext.errors import UserError
from espnet_ext.model.losses import Objective, TrainingLosses

__all__ = ["Objective", "TrainingLosses", "check_several_outputs"]


def check_several_outputs(outputs: Sequence[str], action: str) -> None:
    """Raise `UserError` if a system has only one output.

    Args:
        action: what the objective does, as in "dwa weights".
    """
    if len(outputs) < 2:
        raise UserError(
            f"objective: {action} at least two outputs, and the system has one",
            "remove objective, or choose a system with two outputs",
        )
