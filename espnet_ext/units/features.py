"""Features that k-means reads: log-mel, MFCC, or a layer of a pre-trained or trained encoder.

All extractors map samples (B, S) with lengths (B,) to features (B, T, D) with lengths (B,). The
features of an utterance do not depend on the other utterances of its batch.

Symbols: B utterances, S samples, T frames, M mel channels, C cepstral coefficients, D feature size.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from espnet_ext.errors import UserError, did_you_mean
from espnet_ext.model import espnet
from espnet_ext.model.checksums import sha256_of_tensors
from espnet_ext.model.config import check_count, construct, places_of, sample_rate_of
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.model.frames import min_samples
from espnet_ext.model.layers import encoder_layers, watch
from espnet_ext.model.load import check_device, load_model, place
from espnet_ext.model.padding import is_batch_invariant, mirror_ends
from espnet_ext.model.pretrained.layers import inside

LOG_MEL, MFCC, PRETRAINED, SYSTEM = "log_mel", "mfcc", "pretrained", "system"
KINDS = (LOG_MEL, MFCC, PRETRAINED, SYSTEM)
# of a system: what its encoder output depends on
_PARTS = ("frontend", "normalize", "preencoder", "encoder", "postencoder", "conditioning")
_PLACES = ("model", "revision", "stats_file")  # options of parts that say where weights came from
# of a pre-trained encoder: values of its config that change features without changing the names or
# sizes of weights, and settings of its preprocessor with their defaults
_ARCHITECTURE = (
    *("model_type", "conv_stride", "feat_extract_norm", "feat_extract_activation", "hidden_act"),
    *("do_stable_layer_norm", "layer_norm_eps", "num_attention_heads", "max_bucket_distance"),
    *("activation_function", "encoder_attention_heads"),  # of Whisper
)
_PREPROCESSOR = {"sampling_rate": 16000, "do_normalize": True, "n_fft": 400, "hop_length": 160}


_SIGNAL_OPTIONS = ("sample_rate", "frame_shift_ms", "n_mels", "n_mfcc", "normalize")


@dataclass(frozen=True)
class FeatureOptions:
    """Which features are computed. Options of other kinds keep their defaults."""

    kind: str = LOG_MEL  # one of KINDS
    # pretrained: folder or hub name of a checkpoint; system: directory of a trained system
    model: str = ""
    revision: str = ""  # pretrained: branch, tag or commit on the hub
    weights: str = "model.pth"  # system: file of its weights
    output: str = ""  # system: the output whose encoder pass is used; the first unless given
    # pretrained, system: n is the output of the n-th block, 0 the input of the first block; None is
    # the encoder output, after the final normalisation
    layer: int | None = None
    sample_rate: int = 16000  # log_mel, mfcc: in Hz; encoders have their own
    frame_shift_ms: int = 20  # log_mel, mfcc
    n_mels: int = 80  # log_mel, mfcc
    n_mfcc: int = 13  # mfcc: C; with first and second differences, D = 3C
    normalize: bool = True  # log_mel, mfcc: subtract the mean of the utterance

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str) -> "FeatureOptions":
        """Return the options of a mapping; `UserError` for an unknown key or a wrong value."""
        known = {field.name: field for field in fields(cls)}
        for key, value in values.items():
            if key not in known:
                remedy = did_you_mean(key, known, f"use one of: {', '.join(known)}")
                raise UserError(f"{where}: unknown key '{key}'", remedy)
            default = known[key].default
            kind = int if default is None else type(default)
            is_right = type(value) is kind or (default is None and value is None)
            if not is_right:
                message = f"{where}: {key}: {value!r} is not of type {kind.__name__}"
                raise UserError(message, "learn the units again")
        return cls(**values)

    def check(self, where: str) -> None:
        """Raise `UserError` for values that are not possible."""
        if self.kind not in KINDS:
            remedy = did_you_mean(self.kind, KINDS, f"use one of: {', '.join(KINDS)}")
            raise UserError(f"{where}: unknown kind of features '{self.kind}'", remedy)
        if self.kind in (PRETRAINED, SYSTEM) and not self.model:
            what = "a checkpoint" if self.kind == PRETRAINED else "a trained system"
            message = f"{where}: features '{self.kind}' need the model"
            raise UserError(message, f"name the folder of {what}")
        self._check_other_kinds(where)
        if self.layer is not None:
            check_count(self.layer, f"{where}: layer", 0)
        check_count(self.sample_rate, f"{where}: sample_rate", 1000)
        for name in ("frame_shift_ms", "n_mels", "n_mfcc"):
            check_count(getattr(self, name), f"{where}: {name}", 1)
        if self.kind == MFCC and self.n_mfcc > self.n_mels:
            message = f"{where}: n_mfcc {self.n_mfcc} exceeds n_mels {self.n_mels}"
            raise UserError(message, "choose fewer coefficients")

    def _check_other_kinds(self, where: str) -> None:
        """Raise `UserError` for options that have no effect on this kind of features."""
        of_signal = dict.fromkeys(_SIGNAL_OPTIONS, (LOG_MEL, MFCC))
        of_encoder = {"model": (PRETRAINED, SYSTEM), "layer": (PRETRAINED, SYSTEM)}
        of_one = {"revision": (PRETRAINED,), "weights": (SYSTEM,), "output": (SYSTEM,)}
        for name, kinds in {**of_signal, **of_encoder, **of_one}.items():
            value = getattr(self, name)
            if self.kind not in kinds and value != getattr(FeatureOptions, name):
                raise UserError(
                    f"{where}: {name} {value} has no effect on features '{self.kind}'",
                    f"leave it out, or choose features: {' or '.join(kinds)}",
                )


class FeatureExtractor(torch.nn.Module):
    """Maps samples (B, S) and lengths (B,) to features (B, T, D) and lengths (B,).

    Attributes:
        options: what it computes.
        sample_rate: sample rate of the samples, in Hz.
        is_batch_invariant: whether utterances may be batched. If not, they are computed singly.
    """

    options: FeatureOptions
    sample_rate: int
    is_batch_invariant: bool

    def device(self) -> torch.device:
        """Return where the features are computed."""
        tensors = [*self.parameters(), *self.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Return the weights that the features depend on."""
        return {}

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration of the encoder that the features depend on."""
        return {}

    def digest(self) -> str:
        """Return a SHA-256 of what the features depend on: options, configuration and weights."""
        return self._digest(self.settings())

    def digest_of_weights(self) -> str:
        """Return the digest without the configuration, which earlier versions recorded."""
        return self._digest({})

    def _digest(self, configuration: Mapping[str, Any]) -> str:
        options = asdict(self.options)
        for name in ("model", "revision", "weights"):  # where the weights are, not what they are
            options.pop(name)
        content = json.dumps(options, sort_keys=True)
        if configuration:
            content += json.dumps(configuration, sort_keys=True, default=str)
        digest = hashlib.sha256(content.encode() + sha256_of_tensors(self.tensors()))
        return digest.hexdigest()


def build_features(
    options: FeatureOptions,
    device: str = "cpu",
    folder: str | Path = ".",
    where: str = "features",
) -> FeatureExtractor:
    """Return the extractor of some features, in evaluation mode.

    Args:
        folder: what the path of the model may be relative to, besides the current folder.
        where: names the options in errors.

    Raises:
        UserError: for options that are not possible, a model that cannot be read, or a device that
            PyTorch cannot use.
    """
    options.check(where)
    check_device(device)
    classes = {PRETRAINED: PretrainedFeatures, SYSTEM: SystemFeatures}
    if options.kind in classes:
        extractor = classes[options.kind](options, _find(options.model, Path(folder)), where)
    else:
        extractor = MelFeatures(options, where)
    if isinstance(extractor, SystemFeatures):
        place(extractor.model, device)
    else:
        extractor.to(device)
    return extractor.eval()


def _find(model: str, folder: Path) -> str:
    """Return the path of a model that may be relative; a hub name is returned as it is."""
    for place_ in places_of(folder):
        if (place_ / model).is_dir():
            return str(place_ / model)
    return model


class MelFeatures(FeatureExtractor):
    """Log-mel features (D = M) or MFCC with first and second differences (D = 3C).

    The mel spectrum is that of ESPnet's default frontend. MFCC are its orthonormal DCT-II (Davis &
    Mermelstein, 1980) with differences over five frames.
    """

    def __init__(self, options: FeatureOptions, where: str):
        super().__init__()
        self.options = options
        self.sample_rate = options.sample_rate
        self.is_batch_invariant = True
        hop = options.sample_rate * options.frame_shift_ms // 1000
        window = max(hop, options.sample_rate * 25 // 1000)
        conf = {
            "fs": options.sample_rate,
            "n_fft": 1 << (window - 1).bit_length(),
            "win_length": window,
            "hop_length": hop,
            "n_mels": options.n_mels,
            "frontend_conf": None,
        }
        self.frontend = construct(espnet.resolve("frontend", "default"), conf, where, {})
        channels = torch.arange(options.n_mels)
        # (M, C): DCT-II, cos(π/M · (m + 1/2) · c), orthonormal
        dct = torch.cos(torch.pi / options.n_mels * torch.outer(channels + 0.5, channels))
        dct *= (2 / options.n_mels) ** 0.5
        dct[:, 0] /= 2**0.5
        self.register_buffer("dct", dct[:, : options.n_mfcc], persistent=False)

    dct: torch.Tensor

    def forward(
        self, samples: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        samples = _pad_to(samples, min_samples(self.frontend))
        padded = mirror_ends(samples, lengths, self.frontend)
        feats, frames = self.frontend(padded, lengths)
        feats = feats[:, : int(frames.max())]
        mask = inside(frames, feats.size(1))[..., None]  # (B, T, 1)
        if self.options.kind == MFCC:
            feats = _with_differences(feats @ self.dct, frames)
        if self.options.normalize:
            mean = (feats * mask).sum(1, keepdim=True) / frames[:, None, None].clamp(min=1)
            feats = feats - mean
        return feats * mask, frames


def _with_differences(feats: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Return features (B, T, C) with their first and second differences (B, T, 3C).

    Each utterance continues with its last frame, so that no difference reads padding.
    """
    from torchaudio.functional import compute_deltas

    reach = 4  # frames after the end that second differences read
    steps = torch.arange(feats.size(1) + reach, device=feats.device)
    steps = steps.minimum(frames[:, None] - 1)  # (B, T + reach)
    extended = feats.gather(1, steps[..., None].expand(-1, -1, feats.size(2)))
    first = compute_deltas(extended.transpose(1, 2))  # (B, C, T + reach)
    second = compute_deltas(first)
    joined = torch.cat([extended.transpose(1, 2), first, second], 1)
    return joined.transpose(1, 2)[:, : feats.size(1)]


def _pad_to(samples: torch.Tensor, count: int) -> torch.Tensor:
    missing = count - samples.size(1)
    return torch.nn.functional.pad(samples, (0, missing)) if missing > 0 else samples


class PretrainedFeatures(FeatureExtractor):
    """Hidden states of a pre-trained encoder (`model.pretrained`). Blocks above are removed."""

    def __init__(self, options: FeatureOptions, model: str, where: str):
        super().__init__()
        source: dict[str, Any] = {"model": model, "revision": options.revision or None}
        self.options = options
        self.frontend = _named(where, lambda: espnet.resolve("frontend", PRETRAINED)(**source))
        size = self.frontend.output_size()
        build = espnet.resolve("encoder", PRETRAINED)
        self.encoder: Any = _named(where, lambda: build(input_size=size, **source))
        settings = self.frontend.architecture.get("preprocessor") or {}
        self.sample_rate = int(settings.get("sampling_rate", 16000))
        self.is_batch_invariant = not getattr(self.frontend, "sees_padding", False)
        self.requires_grad_(False)
        if options.layer is not None:
            _layer(self.encoder, options.layer, where)
            del self.encoder.encoders[max(1, options.layer) :]

    def tensors(self) -> Mapping[str, torch.Tensor]:
        return self.state_dict()

    def settings(self) -> Mapping[str, Any]:
        architecture = self.frontend.architecture
        settings = architecture.get("preprocessor") or {}
        return {
            **{name: architecture[name] for name in _ARCHITECTURE if name in architecture},
            "preprocessor": {k: settings.get(k, default) for k, default in _PREPROCESSOR.items()},
        }

    def forward(
        self, samples: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        feats, frames = self.frontend(_pad_to(samples, self.frontend.min_samples), lengths)
        if self.options.layer is None:
            states, frames, _ = self.encoder(feats, frames)
            return states, frames
        name = _layer(self.encoder, self.options.layer, "")
        with watch({name: encoder_layers(self.encoder)[name]}) as seen:
            _, frames, _ = self.encoder(feats, frames)
        return seen[name], frames


class SystemFeatures(FeatureExtractor):
    """Hidden states of the encoder of a trained system."""

    def __init__(self, options: FeatureOptions, model_dir: str, where: str):
        super().__init__()
        self.options = options
        self.model, self.config = load_model(model_dir, options.weights)
        self.sample_rate = sample_rate_of(self.config)
        self.is_batch_invariant = is_batch_invariant(self.model)
        self.output = options.output or next(iter(self.model.heads))
        if self.output not in self.model.heads:
            message = f"{where}: {model_dir} has no output '{self.output}'"
            raise UserError(message, f"use one of: {', '.join(self.model.heads)}")
        if options.layer is not None:
            _layer(self.model.encoder, options.layer, where)
        self.requires_grad_(False)

    def tensors(self) -> Mapping[str, torch.Tensor]:
        state = self.model.state_dict()
        return {name: state[name] for name in state if name.partition(".")[0] in _PARTS}

    def settings(self) -> Mapping[str, Any]:
        settings: dict[str, Any] = {"fs": self.sample_rate}
        for part in _PARTS:
            conf = self.config.get(f"{part}_conf") or {}
            values = {key: value for key, value in conf.items() if key not in _PLACES}
            settings[part] = [self.config.get(part), values]
        return settings

    def forward(
        self, samples: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        layer = self.options.layer
        request = EncoderRequest(
            outputs=(self.output,), batch_invariant=True, keep_layers=layer is not None
        )
        encoded = self.model.encode(samples, lengths, request)
        if layer is None:
            return encoded.hidden[self.output].float(), encoded.lengths[self.output]
        name = _layer(self.model.encoder, layer, "")
        states = encoded.layers[self.output][name].float()
        return states, encoded.layer_lengths[self.output]


def _layer(encoder: torch.nn.Module, layer: int, where: str) -> str:
    """Return the name of a layer in `encoder_layers`; `UserError` if there is none."""
    names = list(encoder_layers(encoder))
    name = str(layer - 1) if layer else "embed"
    if name not in names:
        blocks = len([name for name in names if name != "embed"])
        raise UserError(
            f"{where}: layer {layer}, but the encoder has {blocks} blocks",
            f"choose a layer from 0 to {blocks}" if blocks else "leave the layer out",
        )
    return name


def _named(where: str, build: Any) -> Any:
    """Return `build()`; errors begin with `where` instead of a key of a training configuration."""
    try:
        return build()
    except UserError as error:
        message = error.message.removeprefix("frontend_conf").removeprefix("encoder_conf")
        raise UserError(f"{where}{message}", error.remedy) from None
