"""What changes inside the network while it learns: linear CKA on a part of the validation set.

The estimator is that of minibatches (Nguyen, Raghu & Kornblith, 2021, "Do Wide and Deep Networks
Learn the Same Things?"): unbiased HSIC (Song et al., 2012, eq. 5), averaged over minibatches
before the quotient is taken. `analysis.cka` has all frames at once, which is more than a training
should wait for.

Two comparisons are made:

- **drift**: an encoder layer now against itself at the start, over the same encoder frames;
- **decoders**: a decoder layer of one output against the layer of the same number of another.
  They see different token sequences, so that no token of one is a token of the other: what both
  have is the utterance. Compared is the mean over an utterance's tokens (teacher-forced, <sos>
  included), one vector an utterance, over those that both outputs are labelled for.

Legend: U utterances, N examples (frames or utterances), D width, L tokens, F feature frames kept.
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

MOST_UTTERANCES = 64
MOST_FRAMES = 2048  # the start's states are kept in a file: 2 MB a layer of width 256

Batch = Mapping[str, torch.Tensor]


@dataclass
class States:
    """The held utterances seen by the model as it is now."""

    encoder: dict[str, torch.Tensor]  # layer → (F, D), the same shuffled frames at every step
    decoders: dict[str, dict[str, torch.Tensor]]  # output → layer → (U, D), of decoders with layers
    labelled: dict[str, torch.Tensor]  # output → (U,), whether the utterance has its transcript


class HeldUtterances:
    """A fixed part of a set, at most 64 utterances, and what the layers make of them.

    Args:
        batches: (ids, batch) of the data loader, in the order in which utterances are taken.
    """

    def __init__(self, batches: Iterable[tuple[list[str], Batch]], most: int = MOST_UTTERANCES):
        self.ids: list[str] = []
        self._batches: list[Batch] = []
        for ids, batch in batches:
            room = most - len(self.ids)
            if room <= 0:
                break
            self.ids += list(ids)[:room]
            self._batches.append(
                {
                    key: value[:room]
                    for key, value in batch.items()
                    if isinstance(value, torch.Tensor)
                }
            )

    @torch.no_grad()
    def states(self, model: DualOutputModel, device: torch.device | str = "cpu") -> States:
        """Run the model (which should be in evaluation mode) over the utterances."""
        found = [_states(model, {k: v.to(device) for k, v in b.items()}) for b in self._batches]
        encoder = {
            name: torch.cat([one.encoder[name] for one in found])
            for name in (found[0].encoder if found else ())
            if all(name in one.encoder for one in found)
        }
        for name, frames in encoder.items():
            order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))
            encoder[name] = frames[order[:MOST_FRAMES]]
        decoders = {
            output: {
                name: torch.cat([one.decoders[output][name] for one in found])
                for name in found[0].decoders[output]
            }
            for output in (found[0].decoders if found else ())
        }
        labelled = {
            output: torch.cat([one.labelled[output] for one in found])
            for output in (found[0].labelled if found else ())
        }
        return States(encoder, decoders, labelled)


def _states(model: DualOutputModel, batch: Batch) -> States:
    """As `States` of one batch, all its frames, in order."""
    request = EncoderRequest(active=model.labelled(batch), keep_layers=True)
    encoded = model.encode(batch["speech"], batch["speech_lengths"], request)
    first = next(iter(encoded.hidden))  # with a pass per output, the layers of the first
    layers, lengths = encoded.layers[first], encoded.layer_lengths[first]
    steps = list(layers.values())[-1].shape[1]
    mask = torch.arange(steps, device=lengths.device)[None, :] < lengths[:, None]  # (B, T)
    # A layer before another that subsamples has other frames, and is left out.
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
    """Decoder layer → its states' mean over each utterance's tokens (U, D), 0 if unlabelled."""
    layers = decoder_layers(head.decoder)
    rows = (text[:, 0] != UNLABELLED).nonzero().squeeze(1)
    width = states.shape[2]
    if rows.numel() == 0:
        return {name: torch.zeros(len(text), width) for name in layers}
    counts = text_lengths[rows]
    given = text[rows][:, : int(counts.max())]
    with watch(layers) as seen:
        head.teacher_forced(states[rows], lengths[rows], given.clamp(min=-1), counts)
    mask = torch.arange(given.shape[1] + 1, device=text.device)[None, :] <= counts[:, None]
    found = {}
    for name, layer in seen.items():  # (rows, L + 1, D)
        real = layer.float().masked_fill(~mask[..., None], 0)
        means = torch.zeros(len(text), layer.shape[2], device=text.device)
        means[rows] = real.sum(1) / mask.sum(1, keepdim=True)
        found[name] = means.cpu()
    return found


def drift(start: Mapping[str, torch.Tensor], now: States) -> dict[str, float | None]:
    """Encoder layer → CKA with itself at the start, 1 where it holds the same."""
    return {
        name: minibatch_cka(start[name], now.encoder[name]) for name in start if name in now.encoder
    }


def compare_decoders(now: States) -> list[dict]:
    """Every pair of outputs whose decoders have layers.

    Returns:
        A list of {"a", "b", "utterances", "layers": {number: CKA}}.
    """
    found = []
    for a, b in itertools.combinations(now.decoders, 2):
        both = now.labelled[a] & now.labelled[b]
        layers = {
            name: minibatch_cka(now.decoders[a][name][both], now.decoders[b][name][both])
            for name in now.decoders[a]
            if name in now.decoders[b]
        }
        found.append({"a": a, "b": b, "utterances": int(both.sum()), "layers": layers})
    return found


def notes_on(now: States, compared: Iterable[Mapping]) -> list[str]:
    """Why values of CKA are None."""
    notes = [
        f"encoder layer {name}: not finite"
        for name, frames in now.encoder.items()
        if not torch.isfinite(frames).all()
    ]
    for output, layers in now.decoders.items():
        wrong = [n for n, means in layers.items() if not torch.isfinite(means).all()]
        notes += [f"{output}: decoder layer {name}: not finite" for name in wrong]
    few = [one for one in compared if one["utterances"] < MIN_EXAMPLES]
    return notes + [
        f"{one['a']} and {one['b']}: {one['utterances']} held utterances have both" for one in few
    ]


# -- the states of the start, kept for a training that is continued


@dataclass
class Start:
    """Encoder states at the step from which drift counts."""

    step: int
    ids: list[str]
    layers: dict[str, torch.Tensor]  # layer → (F, D)

    def save(self, path: Path) -> None:
        with atomic_path(path) as temporary:
            torch.save({"step": self.step, "ids": self.ids, "layers": self.layers}, temporary)

    @classmethod
    def read(cls, path: Path) -> "Start | None":
        """None without the file."""
        if not path.exists():
            return None
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            return cls(saved["step"], saved["ids"], saved["layers"])
        except Exception as error:  # torch raises many kinds for a file that is no checkpoint
            raise UserError(
                f"{path}: cannot be read: {str(error).partition(chr(10))[0]}",
                "remove it: drift will count from where the training goes on",
            ) from error

    def fits(self, ids: list[str], now: States) -> bool:
        """Whether it is of the same utterances and layers."""
        sizes = {name: frames.shape for name, frames in now.encoder.items()}
        return self.ids == ids and {k: v.shape for k, v in self.layers.items()} == sizes
