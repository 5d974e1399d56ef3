"""Checks of the keys `reads` and `ctc_layer` of outputs; `side_inputs` explains them.

Imports no torch, so that a command can check a configuration at once.
"""

from collections.abc import Mapping
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.model.config import suggest

ATTENTION = ("ctc_attention", "attention")  # branches with an attention decoder


def reading_order(outputs: Mapping[str, Any]) -> list[str]:
    """Return the outputs in an order in which every decoder comes after the one that it reads.

    Args:
        outputs: output → its head's options.

    Raises:
        UserError: if an output reads an unknown decoder, or outputs read each other's.
    """
    order: list[str] = []
    for name in outputs:
        chain = [name]
        while (other := getattr(outputs[chain[-1]], "reads", None)) is not None:
            where = f"outputs.{chain[-1]}.reads"
            _check_read(where, chain[-1], other, outputs)
            if other in chain:
                raise UserError(
                    f"{where}: {' and '.join(chain)} would read each other's decoder, but one has "
                    "to be decoded first",
                    "remove reads from one of them",
                )
            chain.append(other)
        order += [one for one in reversed(chain) if one not in order]
    return order if any(_reads(o) for o in outputs.values()) else list(outputs)


def _reads(options: Any) -> bool:
    return getattr(options, "reads", None) is not None


def _check_read(where: str, name: str, other: object, outputs: Mapping[str, Any]) -> None:
    if other == name or other not in outputs:
        others = [one for one in outputs if one != name]
        raise UserError(
            f"{where}: '{other}' is not another output of this system",
            suggest(str(other), others) if others else "remove reads, or add an output",
        )
    for one in (name, str(other)):
        options = outputs[one]
        if options.branch not in ATTENTION:
            raise UserError(
                f"{where}: branch '{options.branch}' of outputs.{one} has no attention decoder",
                f"choose branch {' or '.join(ATTENTION)} for it, or remove reads",
            )
        if options.decoder == "shared":
            raise UserError(
                f"{where}: outputs.{one} shares its decoder with others",
                "remove reads, or decoder: shared",
            )


def side_inputs_of(config: Mapping[str, Any]) -> str:
    """Return what the heads of a configuration read beside the encoder output; often empty.

    >>> side_inputs_of({"outputs": {"meaning": {"reads": "surface"}}})
    'outputs.meaning.reads: its decoder reads the decoder of surface'
    """
    for name, output in (config.get("outputs") or {}).items():
        if not isinstance(output, Mapping):
            continue
        if output.get("reads"):
            return f"outputs.{name}.reads: its decoder reads the decoder of {output['reads']}"
        if output.get("ctc_layer"):
            return f"outputs.{name}.ctc_layer: its CTC reads an intermediate layer"
    return ""
