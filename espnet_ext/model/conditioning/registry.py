"""Every kind of conditioner, by the name that a configuration gives as `conditioning`."""

from collections.abc import Mapping
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.base import Conditioner, ConditionerContext
from espnet_ext.model.conditioning.cross_stitch import CrossStitch
from espnet_ext.model.conditioning.experts import Experts
from espnet_ext.model.conditioning.input_tokens import InputTokens
from espnet_ext.model.conditioning.mixture import Mixture
from espnet_ext.model.conditioning.sparse import Sparse
from espnet_ext.model.conditioning.task_adapters import TaskAdapters
from espnet_ext.model.conditioning.tops import Tops
from espnet_ext.model.conditioning.vectors import TaskVectors
from espnet_ext.model.conditioning.wide import Wide
from espnet_ext.model.config import check_mapping, suggest

CONDITIONERS: dict[str, type[Conditioner]] = {
    "vectors": TaskVectors,
    "experts": Experts,
    "tops": Tops,
    "sparse": Sparse,
    "cross_stitch": CrossStitch,
    "mixture": Mixture,
    "adapters": TaskAdapters,
    "wide": Wide,
    "input_tokens": InputTokens,
}


def conditioner_class(name: object) -> type[Conditioner]:
    """Return the class of a kind of conditioner; `UserError` for an unknown one."""
    if not isinstance(name, str) or name not in CONDITIONERS:
        raise UserError(f"conditioning: unknown '{name}'", suggest(str(name), list(CONDITIONERS)))
    return CONDITIONERS[name]


def build_conditioner(config: Mapping[str, Any], context: ConditionerContext) -> Conditioner | None:
    """Build the conditioner of a configuration and attach it to the encoder; None without one."""
    name, conf = config.get("conditioning"), config.get("conditioning_conf") or {}
    if name is None:
        if conf:
            kinds = ", ".join(CONDITIONERS)
            raise UserError(
                "conditioning_conf without conditioning",
                f"add conditioning (one of: {kinds}), or remove conditioning_conf",
            )
        return None
    build = conditioner_class(name)
    check_mapping(conf, "conditioning_conf")
    conditioner = build.build(conf, context)
    conditioner.attach(context.encoder)
    if context.shared_decoder is not None:
        conditioner.attach_decoder(context.shared_decoder)
    return conditioner
