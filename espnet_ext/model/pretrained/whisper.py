"""Whisper's log-mel features and encoder (Radford et al., arXiv 2212.04356).

Whisper was trained on windows of 30 s. Here the input has the length of the utterance by default:
the positions are cut, and a batch is padded to its longest utterance only. The features and hidden
states of an utterance do not depend on the other utterances of its batch.

Symbols: B utterances, S samples, F feature frames of 10 ms, M mel channels, T encoder frames of
20 ms, D encoder size.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from espnet_ext.errors import UserError
from espnet_ext.model.pretrained.checkpoint import Source, check_rate
from espnet_ext.model.pretrained.layers import (
    LayerSum,
    StateMasking,
    check_probability,
    inside,
)

UTTERANCE, THIRTY_SECONDS = "utterance", "30s"  # values of `window`
MAX_HZ = 8000.0  # of the mel filters
DYNAMIC_RANGE = 8.0  # log10 units below the maximum of an utterance that the features keep


class WhisperFeatures(torch.nn.Module):
    """Samples (B, S) to Whisper's log-mel features (B, F, M).

    Equal to transformers' `WhisperFeatureExtractor` on the frames of the utterance. Frames after
    the end of an utterance are zero.

    Args:
        source: the checkpoint.
        fs: sample rate of the audio in Hz; it must equal the checkpoint's.
        window: "utterance": only the utterance is computed; "30s": silence is appended up to 30 s,
            as in Whisper's training.
    """

    filters: torch.Tensor  # (n_fft // 2 + 1, M)
    hann: torch.Tensor  # (n_fft,)

    def __init__(self, source: Source, fs: int | str = 16000, window: str = UTTERANCE):
        super().__init__()
        check_rate(fs, source)
        self.architecture = source.architecture
        self.window = _check_window(window, source)
        settings = source.preprocessor
        self.rate = rate = int(settings.get("sampling_rate", 16000))
        self.max_samples = int(settings.get("chunk_length", 30)) * rate
        self.n_fft = int(settings.get("n_fft", 400))
        self.hop_length = int(settings.get("hop_length", 160))
        self.n_mels = int(source.architecture["num_mel_bins"])
        filters = mel_filters(self.n_fft, self.n_mels, rate)
        # Constants: they move to a device with the module, but are not in checkpoints.
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)
        self.register_buffer("hann", torch.hann_window(self.n_fft), persistent=False)

    @property
    def min_samples(self) -> int:
        """The number of samples that gives one frame."""
        return self.hop_length

    def output_size(self) -> int:
        return self.n_mels

    def forward(
        self, samples: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (B, F, M) and their lengths (B,). With the window "30s" all are 3000."""
        lengths = lengths.to(samples.device)
        _check_length(int(lengths.max()), self.max_samples)
        samples = samples * inside(lengths, samples.size(1))
        # The STFT's windows reach half their size beyond the end; Whisper finds silence there.
        silence = self.n_fft
        if self.window == THIRTY_SECONDS:
            silence = self.max_samples - samples.size(1)
        padded = functional.pad(samples.float(), (0, silence))
        spectrum = torch.stft(
            padded, self.n_fft, self.hop_length, window=self.hann, return_complex=True
        )[..., :-1]  # (B, n_fft // 2 + 1, F'); Whisper drops the last frame
        power = spectrum.real.square() + spectrum.imag.square()
        log_mel = (power.transpose(1, 2) @ self.filters).clamp(min=1e-10).log10()  # (B, F', M)
        floor = log_mel.amax(dim=(1, 2), keepdim=True) - DYNAMIC_RANGE
        features = (torch.maximum(log_mel, floor) + 4.0) / 4.0
        if self.window == THIRTY_SECONDS:
            return features, lengths.new_full((len(features),), features.size(1))
        frames = (lengths + self.hop_length - 1) // self.hop_length  # (B,)
        features = features[:, : int(frames.max())]
        return features * inside(frames, features.size(1))[..., None], frames


def mel_filters(n_fft: int, channels: int, rate: int) -> np.ndarray:
    """Return triangular filters on Slaney's mel scale (n_fft // 2 + 1, M), up to 8000 Hz.

    They are those of transformers' `mel_filter_bank`, whose import takes 0.7 s.

    Args:
        n_fft: size of the Fourier transform.
        channels: M.
        rate: sample rate in Hz.
    """
    # The scale is linear up to 1000 Hz, which is mel 15, and logarithmic above it.
    bend, bend_mel, log_step = 1000.0, 15.0, np.log(6.4) / 27.0
    highest = bend_mel + np.log(MAX_HZ / bend) / log_step
    mels = np.linspace(0.0, highest, channels + 2)
    above = bend * np.exp(log_step * (mels - bend_mel))
    edges = np.where(mels < bend_mel, mels * bend / bend_mel, above)  # (M + 2,) Hz
    distances = edges - np.linspace(0, rate // 2, n_fft // 2 + 1)[:, None]
    rising = -distances[:, :-2] / np.diff(edges)[:-1]
    falling = distances[:, 2:] / np.diff(edges)[1:]
    # Each filter has the same area.
    return np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (edges[2:] - edges[:-2])


class WhisperEncoder(torch.nn.Module):
    """Log-mel features (B, F, M) to hidden states (B, T, D), with ESPnet's interface.

    Args:
        source: the checkpoint.
        input_size: M; the model that contains the encoder gives it.
        dropout: dropout rate of the transformer; the checkpoint's (usually 0) unless given.
        layerdrop: probability of skipping a layer in training; the checkpoint's unless given.
        mask_time_prob: share of the frames that training masks after the convolutions
            (`StateMasking`), with the checkpoint's span lengths.
        mask_feature_prob: the same for channels.
        num_layers: number of layers used, from the lowest; all unless given.
        layer_weights: whether to return a learned weighted sum of all layers' states instead of the
            last layer's.
        gradient_checkpointing: whether to compute each layer again in the backward pass, which
            saves memory and costs time.
    """

    def __init__(
        self,
        source: Source,
        input_size: int,
        dropout: float | None = None,
        layerdrop: float | None = None,
        mask_time_prob: float = 0.0,
        mask_feature_prob: float = 0.0,
        num_layers: int | None = None,
        layer_weights: bool = False,
        gradient_checkpointing: bool = False,
    ):
        super().__init__()
        network = source.network("WhisperModel").encoder
        self.architecture = source.architecture
        self.has_pretrained_weights = source.model is not None
        if input_size != network.num_mel_bins:
            raise UserError(
                f"{source.where}: {source.model or 'the architecture'} reads "
                f"{network.num_mel_bins} mel channels, but gets {input_size}",
                "write frontend: pretrained with the same model, and no preencoder",
            )
        self.conv1, self.conv2 = network.conv1, network.conv2
        self.embed_positions = network.embed_positions  # fixed sinusoids
        self.embed = torch.nn.Identity()  # its output is what the layers read (task vectors)
        self.encoders = network.layers[:num_layers]
        self.layer_norm = network.layer_norm
        self._size = int(network.layer_norm.normalized_shape[0])  # the layer may be replaced
        self.layer_sum = LayerSum(len(self.encoders) + 1) if layer_weights else None
        self.dropout = network.dropout if dropout is None else dropout
        self.layerdrop = network.layerdrop if layerdrop is None else layerdrop
        for layer in self.encoders:
            layer.dropout = self.dropout
        check_probability(mask_time_prob, f"{source.where}.mask_time_prob")
        check_probability(mask_feature_prob, f"{source.where}.mask_feature_prob")
        self.masking = StateMasking.of(source.architecture, mask_time_prob, mask_feature_prob)
        self.gradient_checkpointing = gradient_checkpointing

    @property
    def masks_states(self) -> bool:
        """Whether training masks hidden states."""
        return max(self.masking.time_prob, self.masking.feature_prob) > 0

    def output_size(self) -> int:
        return self._size

    def new_parameters(self) -> Iterator[torch.nn.Parameter]:
        """Yield the parameters that the checkpoint does not have."""
        if self.layer_sum is not None:
            yield from self.layer_sum.parameters()

    def forward(
        self, feats: torch.Tensor, lengths: torch.Tensor, prev_states=None
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Return hidden states (B, T, D), lengths (B,) and None, as ESPnet's encoders do."""
        lengths = lengths.to(feats.device)
        frames = (lengths + 1) // 2  # (B,): conv2 has a stride of 2
        hidden = functional.gelu(self.conv1(feats.transpose(1, 2)))  # (B, D, F)
        mask = None
        if bool((lengths < hidden.size(2)).any()):
            # The convolutions of a shorter utterance read zeros after its end, as they do alone.
            hidden = hidden * inside(lengths, hidden.size(2))[:, None]
            mask = inside(frames, (hidden.size(2) + 1) // 2)[:, None, None]  # (B, 1, 1, T)
        hidden = functional.gelu(self.conv2(hidden)).transpose(1, 2)  # (B, T, D)
        if self.training:
            hidden = self.masking(hidden, frames)
        hidden = self.embed(hidden + self.embed_positions.weight[: hidden.size(1)])
        hidden = functional.dropout(hidden, self.dropout, self.training)
        states = [hidden]
        for layer in self.encoders:
            if not (self.training and self.layerdrop > 0 and torch.rand([]) < self.layerdrop):
                if self.gradient_checkpointing and self.training:
                    hidden = checkpoint(layer, hidden, mask, use_reentrant=False)
                else:
                    hidden = layer(hidden, mask)
            states.append(hidden)
        if self.layer_sum is not None:
            hidden = self.layer_sum(states)
        return self.layer_norm(hidden)[:, : int(frames.max())], frames, None


def _check_window(window: str, source: Source) -> str:
    if window not in (UTTERANCE, THIRTY_SECONDS):
        raise UserError(
            f"{source.where}.window: '{window}'", f"write {UTTERANCE} or {THIRTY_SECONDS}"
        )
    return window


def _check_length(samples: int, limit: int) -> None:
    """Raise `UserError` for an utterance that is longer than Whisper's positions."""
    if samples > limit:
        raise UserError(
            f"an utterance has {samples} samples, but Whisper reads at most {limit} (30 s)",
            "remove longer utterances with --max_wav_duration 30, or decode with --segment_seconds",
        )
