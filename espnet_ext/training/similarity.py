"""Measure how layers change during training: linear CKA on a sample of the validation set.

CKA is estimated from minibatches (Nguyen, Raghu & Kornblith, arXiv 2010.15327): unbiased HSIC
(Song et al., JMLR 2012, eq. 5) is averaged over minibatches before the quotient is taken. This is
faster than the exact CKA in `analysis`, which uses all frames at once.

There are two measurements:

- **drift** compares an encoder layer with itself at the start, on the same encoder frames.
- **decoders** compares a decoder layer of one output with the layer of the same number of another
  output. The two outputs have different token sequences, so tokens cannot be paired, but utterances
  can. Each utterance is represented by the mean over its tokens (teacher-forced, with <sos>). Only
  utterances with labels for both outputs are used.

Symbols: U utterances, B utterances of a batch, T encoder frames, F encoder frames of the sample,
L tokens, D width.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from espnet_ext.errors import UserError
from espnet_ext.files import atomic_path
from espnet_ext.model.config import TEXT_PREFIX, UNLABELLED
from espnet_ext.model.dual import DualOutputModel
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.model.heads.base import Head
from espnet_ext.model.layers import decoder_layers, token_states, watch
from espnet_ext.model.similarity import MIN_EXAMPLES, minibatch_cka

MAX_UTTERANCES = 64
MAX_FRAMES = 2048  # limits the size of the file of start states: 2 MB per layer of width 256

Batch = Mapping[str, torch.Tensor]


@dataclass
class States:
    """Hidden states of the sampled utterances."""

    encoder: dict[str, torch.Tensor]  # layer → (F, D), the same shuffled frames at every step
    # output → layer → (U, D), for decoders with a list of layers
    decoders: dict[str, dict[str, torch.Tensor]]
    labelled: dict[str, torch.Tensor]  # output → (U,), whether an utterance has a transcript


class UtteranceSample:
    """The first utterances of a data loader, kept to compute their hidden states repeatedly.

    Args:
        batches: (ids, batch) pairs of the data loader.
        size: maximum number of utterances.
    """

    def __init__(self, batches: Iterable[tuple[list[str], Batch]], size: int = MAX_UTTERANCES):
        self.ids: list[str] = []
        self._batches: list[Batch] = []
        for ids, batch in batches:
            missing = size - len(self.ids)
            if missing <= 0:
                break
            self.ids += list(ids)[:missing]
            self._batches.append(
                {
                    key: value[:missing]
                    for key, value in batch.items()
                    if isinstance(value, torch.Tensor)
                }
            )

    @torch.no_grad()
    def states(self, model: DualOutputModel, device: torch.device | str = "cpu") -> States:
        """Return the hidden states of the utterances. The model should be in evaluation mode."""
        parts = [_states(model, {k: v.to(device) for k, v in b.items()}) for b in self._batches]
        if not parts:
            return States({}, {}, {})
        encoder = {
            name: torch.cat([part.encoder[name] for part in parts])
            for name in parts[0].encoder
            if all(name in part.encoder for part in parts)
        }
        for name, frames in encoder.items():
            order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))
            encoder[name] = frames[order[:MAX_FRAMES]]
        decoders = {
            output: {
                name: torch.cat([part.decoders[output][name] for part in parts])
                for name in parts[0].decoders[output]
            }
            for output in parts[0].decoders
        }
        labelled = {
            output: torch.cat([part.labelled[output] for part in parts])
            for output in parts[0].labelled
        }
        return States(encoder, decoders, labelled)


def _states(model: DualOutputModel, batch: Batch) -> States:
    """Return the hidden states of one batch, with all frames in their order."""
    request = EncoderRequest(
        active=model.labelled(batch), conditions=model.conditions_of(batch), keep_layers=True
    )
    encoded = model.encode(batch["speech"], batch["speech_lengths"], request)
    first = next(iter(encoded.hidden))  # with one pass per output: use the first pass
    layers, lengths = encoded.layers[first], encoded.layer_lengths[first]
    steps = list(layers.values())[-1].shape[1]
    mask = torch.arange(steps, device=lengths.device)[None, :] < lengths[:, None]  # (B, T)
    # Leave out layers with more frames than the last layer, that is before a subsampling layer.
    encoder = {
        name: states[mask.to(states.device)].float().cpu()
        for name, states in layers.items()
        if states.shape[1] == steps
    }
    decoders, labelled = {}, {}
    for name, head in model.heads.items():
        text = batch[TEXT_PREFIX + name]
        labelled[name] = (text[:, 0] != UNLABELLED).cpu()
        # A decoder that reads another one cannot be run alone.
        if head.decoder is not None and head.reads is None and decoder_layers(head.decoder):
            text_lengths = batch[f"{TEXT_PREFIX}{name}_lengths"]
            decoders[name] = _utterance_means(
                head, encoded.hidden[name].float(), encoded.lengths[name], text, text_lengths
            )
    return States(encoder, decoders, labelled)


def _utterance_means(
    head: Head,
    states: torch.Tensor,
    lengths: torch.Tensor,
    text: torch.Tensor,
    text_lengths: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """Return decoder layer → mean of the states over the tokens of each utterance.

    Args:
        states: (B, T, D) encoder output.
        lengths: (B,) frames.
        text: (B, L) token ids.
        text_lengths: (B,) tokens.
    Returns:
        (B, D) per layer, 0 for unlabelled utterances.
    """
    assert head.decoder is not None
    layers = decoder_layers(head.decoder)
    rows = (text[:, 0] != UNLABELLED).nonzero().squeeze(1)
    width = states.shape[2]
    if rows.numel() == 0:
        return {name: torch.zeros(len(text), width) for name in layers}
    counts = text_lengths[rows]
    labels = text[rows][:, : int(counts.max())]
    with watch(layers) as layer_outputs:
        head.teacher_forced(states[rows], lengths[rows], labels.clamp(min=-1), counts)
    mask = torch.arange(labels.shape[1] + 1, device=text.device)[None, :] <= counts[:, None]
    all_means = {}
    for name, layer in layer_outputs.items():
        layer = token_states(head.decoder, layer)  # (rows, L + 1, D)
        unpadded = layer.float().masked_fill(~mask[..., None], 0)
        means = torch.zeros(len(text), layer.shape[2], device=text.device)
        means[rows] = unpadded.sum(1) / mask.sum(1, keepdim=True)
        all_means[name] = means.cpu()
    return all_means


def drift(start: Mapping[str, torch.Tensor], now: States) -> dict[str, float | None]:
    """Return encoder layer → CKA of its states now and at the start; 1 if nothing has changed."""
    return {
        name: minibatch_cka(start[name], now.encoder[name]) for name in start if name in now.encoder
    }


def compare_decoders(now: States) -> list[dict]:
    """Compare the decoder layers of every pair of outputs.

    Returns:
        One {"a", "b", "utterances", "layers": {number: CKA}} per pair of outputs with decoder
        layers.
    """
    pairs = []
    for a, b in itertools.combinations(now.decoders, 2):
        both = now.labelled[a] & now.labelled[b]
        layers = {
            name: minibatch_cka(now.decoders[a][name][both], now.decoders[b][name][both])
            for name in now.decoders[a]
            if name in now.decoders[b]
        }
        pairs.append({"a": a, "b": b, "utterances": int(both.sum()), "layers": layers})
    return pairs


def undefined_notes(now: States, pairs: Iterable[Mapping]) -> list[str]:
    """Return the reasons why values of CKA are None.

    Args:
        pairs: result of `compare_decoders`.
    """
    notes = [
        f"encoder layer {name}: not finite"
        for name, frames in now.encoder.items()
        if not torch.isfinite(frames).all()
    ]
    for output, layers in now.decoders.items():
        not_finite = [n for n, means in layers.items() if not torch.isfinite(means).all()]
        notes += [f"{output}: decoder layer {name}: not finite" for name in not_finite]
    too_few = [pair for pair in pairs if pair["utterances"] < MIN_EXAMPLES]
    return notes + [
        f"{pair['a']} and {pair['b']}: too few sampled utterances have labels for both "
        f"({pair['utterances']}, needed: {MIN_EXAMPLES})"
        for pair in too_few
    ]


# -- the states that drift is measured against, in a file for resumed trainings


@dataclass
class StartStates:
    """Encoder states at the step that drift is measured from."""

    step: int
    ids: list[str]
    layers: dict[str, torch.Tensor]  # layer → (F, D)

    def save(self, path: Path) -> None:
        with atomic_path(path) as temporary:
            torch.save({"step": self.step, "ids": self.ids, "layers": self.layers}, temporary)

    @classmethod
    def read(cls, path: Path) -> "StartStates | None":
        """Read the states from a file; return None if the file does not exist."""
        if not path.exists():
            return None
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            return cls(saved["step"], saved["ids"], saved["layers"])
        except Exception as error:  # torch raises many kinds of errors for an invalid file
            raise UserError(
                f"{path}: cannot be read: {str(error).partition(chr(10))[0]}",
                "remove this file: drift will be measured from the step where training resumes",
            ) from error

    def matches(self, ids: list[str], now: States) -> bool:
        """Return whether the utterances and layers are the same as at the start."""
        sizes = {name: frames.shape for name, frames in now.encoder.items()}
        return self.ids == ids and {k: v.shape for k, v in self.layers.items()} == sizes
