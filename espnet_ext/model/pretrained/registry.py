"""Families of pre-trained networks: what `frontend`, `encoder` and `decoder: pretrained` build.

A new family is one module with its frontend and encoder, and one line per `model_type` here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from espnet_ext.model.config import construct
from espnet_ext.model.pretrained.checkpoint import Source
from espnet_ext.model.pretrained.text_encoder import NETWORKS as TEXT_NETWORKS
from espnet_ext.model.pretrained.text_encoder import TextEncoder
from espnet_ext.model.pretrained.wav2vec2 import Wav2Vec2Encoder, Wav2Vec2Features
from espnet_ext.model.pretrained.whisper import WhisperEncoder, WhisperFeatures
from espnet_ext.model.pretrained.whisper_decoder import WhisperDecoder

# `model_type` in a checkpoint's config.json → frontend, encoder
FAMILIES: dict[str, tuple[type[torch.nn.Module], type[torch.nn.Module]]] = {
    "whisper": (WhisperFeatures, WhisperEncoder),
    "wav2vec2": (Wav2Vec2Features, Wav2Vec2Encoder),  # also XLSR-53, XLS-R and MMS
    "hubert": (Wav2Vec2Features, Wav2Vec2Encoder),
    "wavlm": (Wav2Vec2Features, Wav2Vec2Encoder),
}

# Also encoders of text, which read the embeddings of `frontend: units`
ENCODERS: dict[str, type[torch.nn.Module]] = {
    **{kind: encoder for kind, (_, encoder) in FAMILIES.items()},
    **dict.fromkeys(TEXT_NETWORKS, TextEncoder),
}
DECODERS: dict[str, type[torch.nn.Module]] = {"whisper": WhisperDecoder}


def build_frontend(
    model: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    revision: str | None = None,
    **options: Any,
) -> torch.nn.Module:
    """Build the frontend of a checkpoint's family.

    Args:
        model: folder with config.json, preprocessor_config.json and model.safetensors, or the name
            of a model on the Hugging Face hub.
        architecture: the architecture from the config.yaml of a trained model. If given, `model` is
            not read, and weights are random.
        revision: branch, tag or commit on the hub. Name a commit to get the same files every time.
        options: further options of the family's frontend.
    """
    source = Source.read(model, architecture, revision, tuple(FAMILIES), "frontend_conf")
    build, _ = FAMILIES[source.model_type]
    return construct(build, options, "frontend_conf", {"source": source})


def build_encoder(
    input_size: int,
    model: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    revision: str | None = None,
    **options: Any,
) -> torch.nn.Module:
    """Build the encoder of a checkpoint's family.

    Args:
        input_size: number of features per frame. The model that contains the encoder gives it.
        model, architecture, revision: as for `build_frontend`.
        options: further options of the family's encoder.
    """
    source = Source.read(model, architecture, revision, tuple(ENCODERS), "encoder_conf")
    arguments = {"source": source, "input_size": input_size}
    return construct(ENCODERS[source.model_type], options, "encoder_conf", arguments)


def build_decoder(
    vocab_size: int,
    encoder_output_size: int,
    tokens: Sequence[str],
    token_type: str,
    model: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    revision: str | None = None,
    **options: Any,
) -> torch.nn.Module:
    """Build the decoder of a checkpoint's family.

    Args:
        vocab_size, encoder_output_size, tokens, token_type: of the output. The head gives them.
        model, architecture, revision: as for `build_frontend`.
        options: further options of the family's decoder.
    """
    source = Source.read(model, architecture, revision, tuple(DECODERS), "decoder_conf")
    arguments = {
        "source": source,
        "vocab_size": vocab_size,
        "encoder_output_size": encoder_output_size,
        "tokens": tokens,
        "token_type": token_type,
    }
    return construct(DECODERS[source.model_type], options, "decoder_conf", arguments)
