"""A transducer's parts of a branch, and its loss: prediction network, joint network, lattice.

Symbols: N labelled utterances, T encoder frames, U labels, D encoder size, V vocabulary.
"""

import inspect
from collections.abc import Mapping

import torch

from espnet_ext.model import espnet
from espnet_ext.model.config import OutputConfig, check_keys, construct
from espnet_ext.model.prediction import build_prediction
from espnet_ext.model.rnnt import joint_loss

PREDICTION = "stateless"  # the prediction network of an output that names none


def build_transducer(
    name: str, output: OutputConfig, vocabulary: int, encoder_size: int
) -> dict[str, torch.nn.Module]:
    """The parts `prediction` and `joint` (ESPnet's JointNetwork) of one output."""
    where = f"outputs.{name}"
    kind = output.prediction or PREDICTION
    prediction = build_prediction(kind, output.prediction_conf, vocabulary, where)
    joint = espnet.load("JointNetwork")
    given = {
        "output_size": vocabulary,
        "encoder_size": encoder_size,
        "decoder_size": prediction.output_size,
    }
    # It takes any key, for the activation's parameters; only one that names them can be checked.
    known = [
        key
        for key, parameter in inspect.signature(joint).parameters.items()
        if key not in given and parameter.kind is not parameter.VAR_KEYWORD
    ]
    check_keys(output.joint_conf, known, f"{where}.joint_conf")
    return {
        "prediction": prediction,
        "joint": construct(joint, output.joint_conf, f"{where}.joint_conf", given),
    }


def transducer_loss(
    parts: Mapping[str, torch.nn.Module],
    states: torch.Tensor,
    lengths: torch.Tensor,
    text: torch.Tensor,
    text_lengths: torch.Tensor,
) -> torch.Tensor:
    """−log P(text) of each utterance (N,), in float64.

    Args:
        states: (N, T, D) encoder states; lengths: (N,) their frames.
        text: (N, U) token ids, padded with −1; text_lengths: (N,), 0 for an empty text.
    """
    joint = parts["joint"]
    labels = text.clamp(min=0)
    said = parts["prediction"](torch.nn.functional.pad(labels, (1, 0)))  # a blank before the first
    vocabulary = joint.lin_out.out_features

    def logits(heard: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        return joint(heard, said, no_projection=True)

    return joint_loss(
        logits,
        vocabulary,
        joint.lin_enc(states),
        joint.lin_dec(said),
        labels,
        lengths,
        text_lengths,
    )
