"""The table of objectives: values of the configuration key `objective` → classes."""

from collections.abc import Mapping
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.model.config import check_mapping, suggest
from espnet_ext.objectives.base import Objective
from espnet_ext.objectives.weighted_sum import WeightedSum

DEFAULT = "weighted_sum"
OBJECTIVES: dict[str, type[Objective]] = {DEFAULT: WeightedSum}


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
    return objective(outputs=tuple(config["outputs"]), **conf)
