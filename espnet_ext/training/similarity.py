"""Linear CKA of hidden states during training, on a part of the validation set.

The estimator is minibatch CKA (`model.similarity`), which takes less time than CKA over all frames
(`analysis`). There are two comparisons:

- **drift**: an encoder layer against itself at the start, over the same encoder frames;
- **decoders**: a decoder layer of one output against the layer of the same number of another
  output. Their token sequences differ, so the mean over the tokens of an utterance is compared
  (teacher-forced, with <sos>): one vector per utterance that is labelled for both outputs.

Symbols: U utterances, F kept encoder frames, T encoder frames, L tokens, D width.
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
from espnet_ext.model.layers import decoder_layers, watch
from espnet_ext.model.similarity import MIN_EXAMPLES, minibatch_cka

MAX_UTTERANCES = 64
MAX_FRAMES = 2048  # kept in a file: 2 MB per layer of width 256

Batch = Mapping[str, torch.Tensor]


@dataclass
class States:
    """Hidden states of the held utterances at one step of training."""

    encoder: dict[str, torch.Tensor]  # layer → (F, D), the same shuffled frames at every step
    decoders: dict[str, dict[str, torch.Tensor]]  # output → layer → (U, D), if it has layers
    labelled: dict[str, torch.Tensor]  # output → (U,), whether the utterance has a transcript


class HeldUtterances:
    """The first utterances of a data loader, whose hidden states are compared.

    Args:
        batches: (ids, batch) of the data loader.
        limit: maximum number of utterances.
    """

    def __init__(self, batches: Iterable[tuple[list[str], Batch]], limit: int = MAX_UTTERANCES):
        self.ids: list[str] = []
        self._batches: list[Batch] = []
        for ids, batch in batches:
            missing = limit - len(self.ids)
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
        """Return the hidden states of a model, which should be in evaluation mode."""
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
                name: torch.cat([part.decoders[output][name] for part in parts]) for name in layers
            }
            for output, layers in parts[0].decoders.items()
        }
        labelled = {
            output: torch.cat([part.labelled[output] for part in parts])
            for output in parts[0].labelled
        }
        return States(encoder, decoders, labelled)


def _states(model: DualOutputModel, batch: Batch) -> States:
    """Return the states of one batch, with all its frames in order."""
    request = EncoderRequest(active=model.labelled(batch), keep_layers=True)
    encoded = model.encode(batch["speech"], batch["speech_lengths"], request)
    first = next(iter(encoded.hidden))  # with a pass per output, the layers of the first
    layers, lengths = encoded.layers[first], encoded.layer_lengths[first]
    steps = list(layers.values())[-1].shape[1]
    mask = torch.arange(steps, device=lengths.device)[None, :] < lengths[:, None]  # (B, T)
    # A layer before a subsampling one has a different number of frames, and is left out.
    encoder = {
        name: states[mask.to(states.device)].float().cpu()
        for name, states in layers.items()
        if states.shape[1] == steps
    }
    decoders, labelled = {}, {}
    for name, head in model.heads.items():
        text = batch[TEXT_PREFIX + name]
        labelled[name] = (text[:, 0] != UNLABELLED).cpu()
        if head.decoder is not None and decoder_layers(head.decoder):
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
    """Return decoder layer → mean state over each utterance's tokens (U, D); 0 if unlabelled."""
    assert head.decoder is not None
    layers = decoder_layers(head.decoder)
    rows = (text[:, 0] != UNLABELLED).nonzero().squeeze(1)
    width = states.shape[2]
    if rows.numel() == 0:
        return {name: torch.zeros(len(text), width) for name in layers}
    counts = text_lengths[rows]
    tokens = text[rows][:, : int(counts.max())]  # (rows, L)
    with watch(layers) as outputs:
        head.teacher_forced(states[rows], lengths[rows], tokens.clamp(min=-1), counts)
    mask = torch.arange(tokens.shape[1] + 1, device=text.device)[None, :] <= counts[:, None]
    means_by_layer = {}
    for name, layer in outputs.items():  # (rows, L + 1, D)
        inside = layer.float().masked_fill(~mask[..., None], 0)
        means = torch.zeros(len(text), layer.shape[2], device=text.device)
        means[rows] = inside.sum(1) / mask.sum(1, keepdim=True)
        means_by_layer[name] = means.cpu()
    return means_by_layer


def drift(start: Mapping[str, torch.Tensor], now: States) -> dict[str, float | None]:
    """Return encoder layer → CKA with itself at the start; 1 if it did not change."""
    return {
        name: minibatch_cka(start[name], now.encoder[name]) for name in start if name in now.encoder
    }


def compare_decoders(now: States) -> list[dict]:
    """Compare every pair of outputs whose decoders have layers.

    Returns:
        A list of {"a", "b", "utterances", "layers": {number: CKA}}.
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


def notes_on(now: States, compared: Iterable[Mapping]) -> list[str]:
    """Return why values of CKA are None."""
    notes = [
        f"encoder layer {name}: not finite"
        for name, frames in now.encoder.items()
        if not torch.isfinite(frames).all()
    ]
    for output, layers in now.decoders.items():
        not_finite = [n for n, means in layers.items() if not torch.isfinite(means).all()]
        notes += [f"{output}: decoder layer {name}: not finite" for name in not_finite]
    too_few = [pair for pair in compared if pair["utterances"] < MIN_EXAMPLES]
    return notes + [
        f"{pair['a']} and {pair['b']}: {pair['utterances']} held utterances have both"
        for pair in too_few
    ]


# -- states at the start, kept for a resumed training


@dataclass
class Start:
    """Encoder states at the step that drift is measured from."""

    step: int
    ids: list[str]
    layers: dict[str, torch.Tensor]  # layer → (F, D)

    def save(self, path: Path) -> None:
        with atomic_path(path) as temporary:
            torch.save({"step": self.step, "ids": self.ids, "layers": self.layers}, temporary)

    @classmethod
    def read(cls, path: Path) -> "Start | None":
        """Read what `save` wrote; None if there is no such file."""
        if not path.exists():
            return None
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            return cls(saved["step"], saved["ids"], saved["layers"])
        except Exception as error:  # torch raises many types for a file that is not a checkpoint
            raise UserError(
                f"{path}: cannot be read: {str(error).partition(chr(10))[0]}",
                "remove it: drift is then measured from the step where training resumes",
            ) from error

    def fits(self, ids: list[str], now: States) -> bool:
        """Return whether it has the same utterances and layers."""
        shapes = {name: frames.shape for name, frames in now.encoder.items()}
        return self.ids == ids and {k: v.shape for k, v in self.layers.items()} == shapes
