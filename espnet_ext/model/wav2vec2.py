"""wav2vec 2.0 and its multilingual XLSR-53 and XLS-R, as a frontend and an encoder.

Baevski et al., arXiv 2006.11477; Conneau et al., arXiv 2006.13979; Babu et al., arXiv 2111.09296.
With a transducer branch this is the XLSR-Transducer of arXiv 2407.04439 and 2508.19856. The
network is cut in two where ESPnet has a seam: convolutions over samples are the frontend, the
transformer is the encoder. Task vectors `where: features` are added to its projection of the
features, which its blocks read.

Needs the package `transformers` (the `xlsr` extra). A trained model directory holds the
architecture, and needs neither the checkpoint that it was made from nor a network to be loaded.
Symbols: B utterances, S samples, F frames of 20 ms, C channels of the convolutions, D encoder size.
"""

import json
from collections.abc import Mapping
from typing import Any

import torch

from espnet_ext.errors import UserError

KIND = "wav2vec2"
_PASSING = ("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype")


class Wav2Vec2Features(torch.nn.Module):
    """Samples (B, S) to the states of the convolutions (B, F, C).

    Args:
        model: a folder with a checkpoint of transformers, or a name on the Hugging Face hub.
        architecture: instead, its configuration as a mapping; the weights are random then.
        fs: sample rate in Hz, which must be the checkpoint's.
        freeze: whether the convolutions stay as they are, as is usual in fine-tuning.
    """

    def __init__(
        self,
        model: str | None = None,
        architecture: Mapping[str, Any] | None = None,
        fs: int | str = 16000,
        freeze: bool = True,
    ):
        super().__init__()
        network, self.architecture = _network(model, architecture, "frontend_conf")
        wanted = self.architecture["sampling_rate"]
        rate = float(str(fs).removesuffix("k")) * (1000 if str(fs).endswith("k") else 1)
        if rate != wanted:
            raise UserError(
                f"frontend_conf.fs: {fs}, but {model or 'the architecture'} heard {wanted} Hz",
                f"write fs: {wanted}, and format the audio with --fs {wanted}",
            )
        self.convolutions = network.feature_extractor
        self.normalises = self.architecture["do_normalize"]
        self.frozen = freeze
        if freeze:
            self.convolutions.requires_grad_(False)
        self.strides = list(
            zip(network.config.conv_kernel, network.config.conv_stride, strict=True)
        )
        # group normalisation runs over all of a batch's frames, padding too
        self.sees_padding = network.config.feat_extract_norm == "group"

    @property
    def min_samples(self) -> int:
        """Samples that give one frame."""
        samples = 1
        for kernel, stride in reversed(self.strides):
            samples = (samples - 1) * stride + kernel
        return samples

    def output_size(self) -> int:
        return self.architecture["conv_dim"][-1]

    def forward(
        self, samples: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (B, F, C) and their lengths (B,)."""
        if self.normalises:
            samples = _normalised(samples, lengths)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            feats = self.convolutions(samples).transpose(1, 2)
        for kernel, stride in self.strides:
            lengths = (lengths - kernel).div(stride, rounding_mode="floor") + 1
        return feats, lengths.clamp(min=0)


class Wav2Vec2Encoder(torch.nn.Module):
    """The transformer: features (B, F, C) to states (B, F, D), ESPnet's encoder interface.

    Args:
        input_size: C; given by the model that it is built into.
        model, architecture: as for the frontend, and the same.
        mask_time_prob: of features masked in training, the checkpoint's own unless given.
    """

    def __init__(
        self,
        input_size: int,
        model: str | None = None,
        architecture: Mapping[str, Any] | None = None,
        mask_time_prob: float | None = None,
    ):
        super().__init__()
        self.network, self.architecture = _network(model, architecture, "encoder_conf")
        if mask_time_prob is not None:
            self.network.config.mask_time_prob = mask_time_prob
        channels = self.network.config.conv_dim[-1]
        if input_size != channels:
            raise UserError(
                f"encoder_conf: {model or 'the architecture'} reads {channels} channels, and gets "
                f"{input_size}",
                f"write frontend: {KIND}, with the same model, and no preencoder",
            )
        del self.network.feature_extractor  # the frontend's
        if not self.network.config.apply_spec_augment or not self._masks():
            self.network.masked_spec_embed = None  # else a parameter that no loss reaches
        # Gives what the blocks read: where task vectors are added, and masking does not hide them.
        self.embed = torch.nn.Identity()

    @property
    def takes_constants(self) -> torch.nn.Module:
        """The part before `embed` whose last bias a constant can join (`fold`)."""
        return self.network.feature_projection

    def _masks(self) -> bool:
        return max(self.network.config.mask_time_prob, self.network.config.mask_feature_prob) > 0

    def output_size(self) -> int:
        return self.network.config.hidden_size

    def forward(
        self, feats: torch.Tensor, lengths: torch.Tensor, prev_states=None
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """States (B, F, D), lengths (B,), and nothing, in ESPnet's order."""
        inside = torch.arange(feats.size(1), device=feats.device) < lengths.unsqueeze(1)  # (B, F)
        hidden, _ = self.network.feature_projection(feats)
        if self.training and self._masks():
            hidden = self.network._mask_hidden_states(hidden, attention_mask=inside.long())
        if self.training and self.network.masked_spec_embed is not None:
            # A batch may be masked nowhere, and every parameter is to be in every graph.
            hidden = hidden + self.network.masked_spec_embed * 0
        hidden = self.embed(hidden)
        states = self.network.encoder(hidden, attention_mask=inside, return_dict=True)[0]
        return states, lengths, None


def _normalised(samples: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Each utterance at mean 0 and variance 1, silence behind it; (B, S)."""
    inside = torch.arange(samples.size(1), device=samples.device) < lengths.unsqueeze(1)
    count = lengths.unsqueeze(1).clamp(min=1).to(samples.device)
    samples = samples * inside
    mean = samples.sum(1, keepdim=True) / count
    away = (samples - mean) * inside
    variance = away.square().sum(1, keepdim=True) / count
    return away / (variance + 1e-7).sqrt()


def _network(model: str | None, architecture: Mapping[str, Any] | None, where: str):
    """transformers' Wav2Vec2Model, and its architecture as plain values."""
    try:
        import transformers
    except ImportError:
        raise UserError(
            f"{where}: {KIND} needs the package transformers", 'pip install "espnet-ext[xlsr]"'
        ) from None
    if architecture is not None:
        own = dict(architecture)
        rate, normalises = own.pop("sampling_rate", 16000), own.pop("do_normalize", True)
        network = transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**own))
    elif model is not None:
        network, reader = _pretrained(transformers, model, where)
        rate, normalises = reader.sampling_rate, reader.do_normalize
    else:
        raise UserError(f"{where}: no model", "name a folder, or facebook/wav2vec2-large-xlsr-53")
    plain = json.loads(network.config.to_json_string(use_diff=False))
    plain = {key: value for key, value in plain.items() if key not in _PASSING}
    return network, plain | {"sampling_rate": rate, "do_normalize": normalises}


def _pretrained(transformers, model: str, where: str):
    try:
        config = transformers.AutoConfig.from_pretrained(model)
        if config.model_type != KIND:
            raise UserError(
                f"{where}.model: {model} is a {config.model_type}",
                "wav2vec 2.0, XLSR-53 and XLS-R fit; for others write frontend: huggingface",
            )
        network = transformers.Wav2Vec2Model.from_pretrained(model)
        reader = transformers.Wav2Vec2FeatureExtractor.from_pretrained(model)
    except (OSError, ValueError) as error:  # absent, unreadable, or no way to the hub
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{where}.model: {model}: {reason}",
            "name a folder with config.json, preprocessor_config.json and weights, or a model that "
            "the Hugging Face hub has, with a way to it",
        ) from None
    return network, reader
