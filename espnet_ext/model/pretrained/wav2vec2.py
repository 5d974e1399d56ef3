"""wav2vec 2.0, HuBERT and WavLM as a frontend and an encoder.

Baevski et al., arXiv 2006.11477 (wav2vec 2.0; XLSR-53: 2006.13979; XLS-R: 2111.09296; MMS:
2305.13516); Hsu et al., arXiv 2106.07447 (HuBERT); Chen et al., arXiv 2110.13900 (WavLM). The
networks differ in their pre-training and in WavLM's gated relative positions, which transformers
implements; their parts have the same names. With the head `transducer` this is the
XLSR-Transducer of arXiv 2407.04439 and 2508.19856.

The convolutions over samples are the frontend, the transformer is the encoder. Task vectors with
`where: features` are added to the projected features, which the transformer layers read.

Symbols: B utterances, S samples, F frames of 20 ms, C channels of the convolutions, D encoder size.
"""

import types
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from espnet_ext.errors import UserError
from espnet_ext.model.layers import encoder_layers, watch
from espnet_ext.model.pretrained.checkpoint import Source, check_rate
from espnet_ext.model.pretrained.layers import LayerSum, check_probability, inside

# `model_type` → class of transformers
NETWORKS = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel", "wavlm": "WavLMModel"}


class Wav2Vec2Features(torch.nn.Module):
    """The convolutions: samples (B, S) to features (B, F, C).

    Args:
        source: the checkpoint.
        fs: sample rate of the audio in Hz; it must equal the checkpoint's.
        freeze: whether to keep the convolutions fixed, as is usual in fine-tuning.
    """

    def __init__(self, source: Source, fs: int | str = 16000, freeze: bool = True):
        super().__init__()
        check_rate(fs, source)
        network = source.network(NETWORKS[source.model_type])
        self.architecture = source.architecture
        self.convolutions = network.feature_extractor
        self.normalizes_input = bool(source.preprocessor.get("do_normalize", True))
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
        source: the checkpoint.
        input_size: C; the model that contains the encoder gives it.
        mask_time_prob: share of the frames that training replaces by a learned vector, in spans;
            the checkpoint's unless given.
        mask_feature_prob: the same for channels, which are set to zero.
        layer_weights: whether to return a learned weighted sum of all layers' states instead of the
            last layer's.
        gradient_checkpointing: whether to compute each layer again in the backward pass, which
            saves memory and costs time.
    """

    def __init__(
        self,
        source: Source,
        input_size: int,
        mask_time_prob: float | None = None,
        mask_feature_prob: float | None = None,
        layer_weights: bool = False,
        gradient_checkpointing: bool = False,
    ):
        super().__init__()
        self.network = source.network(NETWORKS[source.model_type])
        self.architecture = source.architecture
        self.has_pretrained_weights = source.model is not None
        self._has_new_vector = False  # for masked frames, see below
        options = {"mask_time_prob": mask_time_prob, "mask_feature_prob": mask_feature_prob}
        for key, value in options.items():
            check_probability(value, f"{source.where}.{key}")
            if value is not None:
                setattr(self.network.config, key, value)
        if mask_time_prob or mask_feature_prob:
            self.network.config.apply_spec_augment = True
        if gradient_checkpointing and layer_weights:
            raise UserError(
                f"{source.where}: gradient_checkpointing with layer_weights is not supported for "
                f"{source.model_type}",
                "switch one of them off",
            )
        if gradient_checkpointing:
            self.network.gradient_checkpointing_enable({"use_reentrant": False})
        layers = self.network.config.num_hidden_layers
        self.layer_sum = LayerSum(layers + 1) if layer_weights else None
        channels = self.network.config.conv_dim[-1]
        if input_size != channels:
            raise UserError(
                f"{source.where}: {source.model or 'the architecture'} reads {channels} channels, "
                f"but gets {input_size}",
                "write frontend: pretrained with the same model, and no preencoder",
            )
        del self.network.feature_extractor  # the frontend has it
        if not self.masks_states:
            self.network.masked_spec_embed = None  # no loss would reach this parameter
        elif not hasattr(self.network, "masked_spec_embed"):  # the checkpoint masks nothing
            vector = torch.rand(self.network.config.hidden_size)
            self.network.masked_spec_embed = torch.nn.Parameter(vector)
            self._has_new_vector = True
        # Its output is what the blocks read. Task vectors are added here, after masking.
        self.embed = torch.nn.Identity()

    @property
    def encoders(self) -> torch.nn.ModuleList:
        """The transformer layers."""
        return self.network.encoder.layers

    @property
    def takes_constants(self) -> torch.nn.Module:
        """The part before `embed` whose last bias can take a constant (`conditioning.fold`)."""
        return self.network.feature_projection

    def new_parameters(self) -> Iterator[torch.nn.Parameter]:
        """Yield the parameters that the checkpoint does not have."""
        if self.layer_sum is not None:
            yield from self.layer_sum.parameters()
        if self._has_new_vector:
            yield self.network.masked_spec_embed

    def prepare_for_adapters(self) -> None:
        """Make WavLM's attention call its projections, whose weights it reads otherwise."""
        if self.architecture["model_type"] == "wavlm":
            for layer in self.encoders:
                attention: Any = layer.attention
                attention.torch_multi_head_self_attention = types.MethodType(
                    _attention_by_modules, attention
                )

    @property
    def masks_states(self) -> bool:
        """Whether training masks hidden states."""
        config = self.network.config
        return (
            config.apply_spec_augment and max(config.mask_time_prob, config.mask_feature_prob) > 0
        )

    def output_size(self) -> int:
        return self.network.config.hidden_size

    def forward(
        self, feats: torch.Tensor, lengths: torch.Tensor, prev_states=None
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Return hidden states (B, F, D), lengths (B,) and None, as ESPnet's encoders do."""
        mask = inside(lengths.to(feats.device), feats.size(1))  # (B, F)
        hidden = self.network.feature_projection(feats)
        if isinstance(hidden, tuple):  # HuBERT returns the projection alone
            hidden = hidden[0]
        # transformers cannot mask an input that is shorter than a span.
        if (
            self.training
            and self.masks_states
            and hidden.size(1) >= self.network.config.mask_time_length
        ):
            hidden = self.network._mask_hidden_states(hidden, attention_mask=mask.long())
        if self.training and self.network.masked_spec_embed is not None:
            # If nothing is masked, the parameter must still be in the graph (DDP).
            hidden = hidden + self.network.masked_spec_embed * 0
        hidden = self.embed(hidden)
        layers = encoder_layers(self) if self.layer_sum is not None else {}
        layers.pop("embed", None)
        with watch(layers, detach=False) as outputs:
            states = self.network.encoder(hidden, attention_mask=mask).last_hidden_state
        if self.layer_sum is not None:
            # A layer that layerdrop skipped returns nothing: its input counts instead.
            summed = [hidden]
            for name in layers:
                summed.append(outputs.get(name, summed[-1]))
            states = self.layer_sum([*summed[:-1], states])
        return states, lengths, None


def _attention_by_modules(
    self, hidden: torch.Tensor, mask: torch.Tensor | None, bias: torch.Tensor
) -> tuple[torch.Tensor, None]:
    """Return WavLM's attention output (B, F, D) and None.

    Args:
        self: a `WavLMAttention` of H heads.
        hidden: (B, F, D). mask: (B, F), whether a frame belongs to its utterance.
        bias: (B·H, F, F), added to the scores.
    """
    batch, frames, size = hidden.shape
    query, key, value = (
        projection(hidden).view(batch, frames, self.num_heads, -1).transpose(1, 2)
        for projection in (self.q_proj, self.k_proj, self.v_proj)
    )  # (B, H, F, D / H)
    bias = bias.view(batch, self.num_heads, frames, frames)
    if mask is not None:
        bias = bias.masked_fill(mask[:, None, None].ne(1), -torch.inf)
    dropout = self.dropout if self.training else 0.0
    output = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=bias.to(query.dtype), dropout_p=dropout
    )
    return self.out_proj(output.transpose(1, 2).reshape(batch, frames, size)), None


def _normalize(samples: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return samples (B, S) with mean 0 and variance 1 per utterance, and zeros as padding."""
    lengths = lengths.to(samples.device)
    mask = inside(lengths, samples.size(1))  # (B, S)
    count = lengths.unsqueeze(1).clamp(min=1)
    samples = samples * mask
    mean = samples.sum(1, keepdim=True) / count
    centred = (samples - mean) * mask
    variance = centred.square().sum(1, keepdim=True) / count
    return centred / (variance + 1e-7).sqrt()
