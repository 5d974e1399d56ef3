"""Waveforms to units: `UnitExtractor`.

Symbols: S samples, B utterances, T frames, D feature size, C codebooks.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from espnet_ext.errors import UserError
from espnet_ext.progress import say
from espnet_ext.units.features import FeatureExtractor, FeatureOptions, build_features
from espnet_ext.units.files import MANIFEST, UnitModel, read_model
from espnet_ext.units.kmeans import Centroids
from espnet_ext.units.sequences import flatten_codes, remove_repeats

Samples = np.ndarray | torch.Tensor  # (S,), floats from −1 to 1


class UnitExtractor:
    """Maps waveforms to units: features, then the nearest centroid of each frame.

    Args:
        features: the features that the model was learned from.
        model: the codebooks.

    >>> extractor = UnitExtractor.from_pretrained("exp/units")  # doctest: +SKIP
    >>> extractor(samples)  # (S,) at extractor.sample_rate  # doctest: +SKIP
    array([12, 40, 7])
    """

    def __init__(self, features: FeatureExtractor, model: UnitModel):
        self.features = features
        self.model = model
        device = features.device()
        self._codebooks = [torch.from_numpy(c).to(device) for c in model.codebooks]
        self._centroids = [Centroids(codebook) for codebook in self._codebooks]

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str = "cpu", encoder: str | None = None
    ) -> "UnitExtractor":
        """Load a model that `espnet-ext learn_kmeans` wrote.

        Args:
            device: where features and units are computed.
            encoder: the folder or hub name of the encoder, if it is no longer where it was.

        Raises:
            UserError: if a file is missing or damaged, or the encoder is not the one that the
                k-means was learned with.
        """
        model = read_model(folder)
        where = f"{Path(folder) / MANIFEST}: features"
        values = dict(model.features)
        if encoder is not None:
            values["model"] = encoder
        options = FeatureOptions.of(values, where)
        features = build_features(options, device, folder, where)
        if features.digest() != model.features_sha256:
            if features.digest_of_weights() != model.features_sha256:
                raise UserError(
                    f"{where}: the encoder {options.model} is not the one that the k-means was "
                    "learned with"
                    if options.model
                    else f"{where}: are not those that the k-means was learned with",
                    "restore the encoder, or learn the units again: espnet-ext learn_kmeans",
                )
            say(
                f"warning: {where}: written by an earlier version, which recorded the weights of "
                "the encoder only; its configuration is not checked"
            )
        return cls(features, model)

    @property
    def sample_rate(self) -> int:
        """The sample rate of waveforms, in Hz."""
        return self.features.sample_rate

    @property
    def digest(self) -> str:
        """A SHA-256 of features and codebooks: equal digests mean equal units."""
        return self.model.digest

    def __call__(self, samples: Samples, *, keep_repeats: bool = False) -> np.ndarray:
        """Return the units of one waveform (S,) at `sample_rate`. It may have none if it is short.

        With C codebooks, each frame has C units (`sequences.flatten_codes`).
        """
        return self.batch([samples], keep_repeats=keep_repeats)[0]

    def batch(self, waves: Sequence[Samples], *, keep_repeats: bool = False) -> list[np.ndarray]:
        """Return the units of each of B waveforms."""
        codes = self.codes(waves)
        if not keep_repeats:
            codes = [remove_repeats(code) for code in codes]
        return [flatten_codes(code, self.model.sizes) for code in codes]

    def codes(self, waves: Sequence[Samples]) -> list[np.ndarray]:
        """Return the codes (T, C) of each of B waveforms: a number in each codebook per frame."""
        return [self.assign(frames) for frames in compute_features(self.features, waves)]

    def assign(self, frames: torch.Tensor) -> np.ndarray:
        """Return the codes (T, C) of features (T, D).

        The second codebook reads what the first leaves: frame − centroid.
        """
        if len(frames) and frames.size(1) != self._codebooks[0].size(1):
            raise UserError(
                f"features of size {frames.size(1)}, but centroids of size "
                f"{self._codebooks[0].size(1)}",
                "learn the units again with these features",
            )
        codes = []
        for i, codebook in enumerate(self._codebooks):
            ids = self._centroids[i].nearest(frames)
            codes.append(ids.cpu())
            if i + 1 < len(self._codebooks):
                frames = frames - codebook[ids]
        return torch.stack(codes, 1).numpy()


@torch.inference_mode()
def compute_features(extractor: FeatureExtractor, waves: Sequence[Samples]) -> list[torch.Tensor]:
    """Return the features (T, D) of each of B waveforms, on the extractor's device, in float32."""
    if not waves:
        return []
    if len(waves) > 1 and not extractor.is_batch_invariant:
        return [compute_features(extractor, [wave])[0] for wave in waves]
    tensors = [torch.as_tensor(wave).float() for wave in waves]
    lengths = torch.tensor([len(tensor) for tensor in tensors])
    speech = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)  # (B, S)
    device = extractor.device()
    feats, frames = extractor(speech.to(device), lengths.to(device))
    return [row[:count].float() for row, count in zip(feats, frames.tolist(), strict=True)]
