"""wav2vec 2.0 and its multilingual versions XLSR-53 and XLS-R, as a frontend and an encoder.

Baevski et al., arXiv 2006.11477; Conneau et al., arXiv 2006.13979; Babu et al., arXiv 2111.09296.
With the head `transducer` this is the XLSR-Transducer of arXiv 2407.04439 and 2508.19856. The
convolutions over samples are the frontend, the transformer is the encoder. Task vectors with
`where: features` are added to the projected features, which the transformer blocks read.

It needs the package `transformers` (the `xlsr` extra). A trained model directory holds the
architecture: loading it needs neither the pre-trained checkpoint nor a network connection.

Symbols: B utterances, S samples, F frames of 20 ms, C channels of the convolutions, D encoder size.
"""

import json
from collections.abc import Mapping
from typing import Any

import torch

from espnet_ext.errors import UserError

KIND = "wav2vec2"
_NOT_ARCHITECTURE = (
    "_name_or_path",
    "architectures",
    "transformers_version",
    "dtype",
    "torch_dtype",
)


class Wav2Vec2Features(torch.nn.Module):
    """The convolutions: samples (B, S) to features (B, F, C).

    Args:
        model: a folder with a checkpoint of transformers, or a name on the Hugging Face hub.
        architecture: instead of `model`, its configuration as a mapping; weights are random.
        fs: sample rate in Hz; it must equal the checkpoint's.
        freeze: whether to keep the convolutions fixed, as is usual in fine-tuning.
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
        expected_rate = self.architecture["sampling_rate"]
        rate = float(str(fs).removesuffix("k")) * (1000 if str(fs).endswith("k") else 1)
        if rate != expected_rate:
            raise UserError(
                f"frontend_conf.fs: {fs}, but {model or 'the architecture'} was pre-trained at "
                f"{expected_rate} Hz",
                f"write fs: {expected_rate}, and format the audio with --fs {expected_rate}",
            )
        self.convolutions = network.feature_extractor
        self.normalizes_input = self.architecture["do_normalize"]
        self.frozen = freeze
        if freeze:
            self.convolutions.requires_grad_(False)
        self.strides = list(
            zip(network.config.conv_kernel, network.config.conv_stride, strict=True)
        )
        # group normalisation uses all frames of an utterance, including its padding
        self.sees_padding = network.config.feat_extract_norm == "group"

    @property
    def min_samples(self) -> int:
        """The number of samples that gives one frame."""
        samples = 1
        for kernel, stride in reversed(self.strides):
            samples = (samples - 1) * stride + kernel
        return samples

    def output_size(self) -> int:
        return self.architecture["conv_dim"][-1]

    def forward(
        self, samples: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (B, F, C) and their lengths (B,)."""
        if self.normalizes_input:
            samples = _normalize(samples, lengths)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            feats = self.convolutions(samples).transpose(1, 2)
        for kernel, stride in self.strides:
            lengths = (lengths - kernel).div(stride, rounding_mode="floor") + 1
        return feats, lengths.clamp(min=0)


class Wav2Vec2Encoder(torch.nn.Module):
    """The transformer: features (B, F, C) to hidden states (B, F, D), with ESPnet's interface.

    Args:
        input_size: C; the model that contains the encoder gives it.
        model, architecture: the same as the frontend's.
        mask_time_prob: probability of masking features in training; the checkpoint's unless given.
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
                f"encoder_conf: {model or 'the architecture'} reads {channels} channels, but gets "
                f"{input_size}",
                f"write frontend: {KIND} with the same model, and no preencoder",
            )
        del self.network.feature_extractor  # the frontend has it
        if not self.network.config.apply_spec_augment or not self._masks():
            self.network.masked_spec_embed = None  # no loss would reach this parameter
        # Its output is what the blocks read. Task vectors are added here, after masking.
        self.embed = torch.nn.Identity()

    @property
    def takes_constants(self) -> torch.nn.Module:
        """The module before `embed`; `conditioning.fold` adds a constant to its last bias."""
        return self.network.feature_projection

    def _masks(self) -> bool:
        return max(self.network.config.mask_time_prob, self.network.config.mask_feature_prob) > 0

    def output_size(self) -> int:
        return self.network.config.hidden_size

    def forward(
        self, feats: torch.Tensor, lengths: torch.Tensor, prev_states=None
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Return hidden states (B, F, D), lengths (B,) and None, as ESPnet's encoders do."""
        inside = torch.arange(feats.size(1), device=feats.device) < lengths.unsqueeze(1)  # (B, F)
        hidden, _ = self.network.feature_projection(feats)
        if self.training and self._masks():
            hidden = self.network._mask_hidden_states(hidden, attention_mask=inside.long())
        if self.training and self.network.masked_spec_embed is not None:
            # If nothing is masked, the parameter must still be in the graph (DDP).
            hidden = hidden + self.network.masked_spec_embed * 0
        hidden = self.embed(hidden)
        states = self.network.encoder(hidden, attention_mask=inside, return_dict=True)[0]
        return states, lengths, None


def _normalize(samples: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return samples (B, S) with mean 0 and variance 1 per utterance, and zeros as padding."""
    inside = torch.arange(samples.size(1), device=samples.device) < lengths.unsqueeze(1)
    count = lengths.unsqueeze(1).clamp(min=1).to(samples.device)
    samples = samples * inside
    mean = samples.sum(1, keepdim=True) / count
    centred = (samples - mean) * inside
    variance = centred.square().sum(1, keepdim=True) / count
    return centred / (variance + 1e-7).sqrt()


def _network(model: str | None, architecture: Mapping[str, Any] | None, where: str):
    """Return transformers' Wav2Vec2Model, and its architecture as plain values."""
    try:
        import transformers
    except ImportError:
        raise UserError(
            f"{where}: {KIND} needs the package transformers", 'pip install "espnet-ext[xlsr]"'
        ) from None
    if architecture is not None:
        conf = dict(architecture)
        rate, normalizes = conf.pop("sampling_rate", 16000), conf.pop("do_normalize", True)
        network = transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**conf))
    elif model is not None:
        network, extractor = _pretrained(transformers, model, where)
        rate, normalizes = extractor.sampling_rate, extractor.do_normalize
    else:
        remedy = "name a folder, or facebook/wav2vec2-large-xlsr-53"
        raise UserError(f"{where}: the key 'model' is missing", remedy)
    plain = json.loads(network.config.to_json_string(use_diff=False))
    plain = {key: value for key, value in plain.items() if key not in _NOT_ARCHITECTURE}
    return network, plain | {"sampling_rate": rate, "do_normalize": normalizes}


def _pretrained(transformers, model: str, where: str):
    try:
        config = transformers.AutoConfig.from_pretrained(model)
        if config.model_type != KIND:
            raise UserError(
                f"{where}.model: {model} is a {config.model_type}",
                "use wav2vec 2.0, XLSR-53 or XLS-R; for other models write frontend: huggingface",
            )
        network = transformers.Wav2Vec2Model.from_pretrained(model)
        extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(model)
    except (OSError, ValueError) as error:  # missing, unreadable, or the hub is unreachable
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{where}.model: {model}: {reason}",
            "name a folder with config.json, preprocessor_config.json and weights, or a model on "
            "the Hugging Face hub (which needs network access)",
        ) from None
    return network, extractor
