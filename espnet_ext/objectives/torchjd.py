"""The objective `torchjd`: combine the gradients as an aggregator of the library torchjd does.

The library (https://torchjd.org; Quinton & Rey, arXiv 2406.16232) has methods that are not here,
such as UPGrad, MGDA and Aligned-MTL. Those whose weights follow from the Gram matrix can be used.

Some aggregators return a mean of the gradients, others a sum. Here the weights are multiplied by
the factor with which perpendicular gradients of equal length are added up, as in the weighted sum.

Symbols: A active tasks.
"""

from collections.abc import Mapping
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.config import check_mapping, suggest
from espnet_ext.objectives.gradient_method import GradientMethod

WHERE = "objective_conf.aggregator"


class TorchJD(GradientMethod):
    """An aggregator of torchjd.

    Args:
        aggregator: name of its class, such as "UPGrad" or "MGDA".
        aggregator_conf: arguments of its constructor.
    """

    name = "torchjd"

    def __init__(
        self,
        outputs,
        aggregator: str | None = None,
        aggregator_conf: Mapping[str, Any] | None = None,
        **shared,
    ):
        super().__init__(outputs, **shared)
        check_mapping(aggregator_conf or {}, f"{WHERE}_conf")
        # In a tuple, so that it is not registered as a part of this module.
        self._weighting = (build_weighting(aggregator, aggregator_conf or {}),)
        try:
            self._weighting[0](torch.eye(len(self.outputs), dtype=torch.float64))
        except ValueError as error:  # too few tasks
            raise UserError(f"{WHERE}: {aggregator}: {error}", "use another aggregator") from error

    def coefficients(self, gram, tasks, group):
        count = len(gram)
        neutral = torch.eye(count, dtype=gram.dtype)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            # Ranks draw the same numbers. The generators of GPUs stay as they are.
            torch.default_generator.manual_seed(int(self.updates))
            weights, total = self._weighting[0](gram), self._weighting[0](neutral).sum()
        return weights * count / total


def build_weighting(name: object, conf: Mapping[str, Any]) -> Any:
    """Return the function of an aggregator from a Gram matrix (A, A) to weights (A,).

    Args:
        name: name of the aggregator's class in torchjd.
        conf: arguments of its constructor.

    Raises:
        UserError: if torchjd, or a package that the aggregator needs, is not installed; if the
            aggregator is unknown, or needs more than the Gram matrix.
    """
    try:
        from torchjd import aggregation
    except ImportError:
        raise UserError(
            "objective: torchjd: the package torchjd is not installed", "pip install torchjd"
        ) from None
    classes = {
        key: value
        for key, value in vars(aggregation).items()
        if isinstance(value, type)
        and issubclass(value, aggregation.GramianWeightedAggregator)
        and value is not aggregation.GramianWeightedAggregator
    }
    if not isinstance(name, str) or name not in classes:
        problem = "not given" if name is None else f"{name!r}: no aggregator by Gram matrices"
        raise UserError(f"{WHERE}: {problem}", suggest(str(name), list(classes)))
    try:
        weighting = classes[name](**conf).gramian_weighting
    except ImportError as error:
        raise UserError(f"{WHERE}: {name}: {error}", "install it, or use MGDA") from error
    except (TypeError, ValueError, AttributeError) as error:
        message = f"{WHERE}_conf: not valid for {name}: {error}"
        raise UserError(message, f"correct the values in {WHERE}_conf") from error
    if hasattr(weighting, "reset"):
        raise UserError(
            f"{WHERE}: {name} has a state over updates, which checkpoints would lack",
            "use another one; GradVac is here as objective: gradvac",
        )
    return weighting
