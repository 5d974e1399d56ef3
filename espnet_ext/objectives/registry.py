"""The table of objectives: values of the configuration key `objective` → classes."""

from collections.abc import Mapping
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.model.config import check_mapping, suggest
from espnet_ext.objectives.adversarial import Adversarial
from espnet_ext.objectives.base import Objective
from espnet_ext.objectives.cagrad import CAGrad
from espnet_ext.objectives.decorrelation import Decorrelation
from espnet_ext.objectives.dwa import DynamicWeightAverage
from espnet_ext.objectives.gradient_remedy import GradientRemedy
from espnet_ext.objectives.gradnorm import GradNorm
from espnet_ext.objectives.gradvac import GradVac
from espnet_ext.objectives.pcgrad import PCGrad
from espnet_ext.objectives.torchjd import TorchJD
from espnet_ext.objectives.uncertainty import Uncertainty
from espnet_ext.objectives.weighted_sum import WeightedSum

DEFAULT = "weighted_sum"
OBJECTIVES: dict[str, type[Objective]] = {
    DEFAULT: WeightedSum,
    "uncertainty": Uncertainty,
    "dwa": DynamicWeightAverage,
    "gradnorm": GradNorm,
    "pcgrad": PCGrad,
    "cagrad": CAGrad,
    "gradvac": GradVac,
    "gradient_remedy": GradientRemedy,
    "torchjd": TorchJD,
    "adversarial": Adversarial,
    "decorrelation": Decorrelation,
}


def build_objective(config: Mapping[str, Any]) -> Objective:
    """Build the objective of a configuration from `objective`, `objective_conf` and `outputs`.

    >>> build_objective({"outputs": {"meaning": {}}})
    WeightedSum()
    """
    name, conf = config.get("objective") or DEFAULT, config.get("objective_conf") or {}
    if not isinstance(name, str) or name not in OBJECTIVES:
        raise UserError(f"objective: unknown '{name}'", suggest(str(name), list(OBJECTIVES)))
    check_mapping(conf, "objective_conf")
    objective = OBJECTIVES[name]
    objective.check_keys(conf)
    built = objective(outputs=tuple(config["outputs"]), **conf)
    built.accum_grad = config.get("accum_grad") or 1
    return built
