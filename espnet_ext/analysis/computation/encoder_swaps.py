"""Decoders on the encoders of other systems, directly and through a fitted linear map.

A head of one system decodes the encoder output of another, as it is (`direct`) and through a linear
map (`stitched`; Lenc & Vedaldi, 2015; Bansal et al., 2021) that is fitted to training speech by
ridge regression in closed form. If the map restores the accuracy, the other encoder has the same
information in other coordinates. If it does not, the other encoder may lack the information.

`swap` returns::

    {"kind": "swaps", "version": 2, "data", "utterances", "train_utterances", "speakers",
     "models": {name: {"directory"}}, "metric": {output: …},
     "normalised": {"<file>": 3},      references that `normal_form` changed, if there are any
     "rows": [{"encoder": "so_meaning", "decoder": "so_surface", "output": "surface",
               "connection": "unswapped" | "direct" | "stitched",
               "rate", "interval", "r2": float | null,
               "encoder_output",          only for a system with an encoder output per output
               "minus_unswapped", "minus_direct"}]}           of stitched rows only

If a system has an encoder output per output, its own decoders read each of them, and the decoder of
another system reads that of the same output.

`minus_unswapped` and `minus_direct` are the differences to the decoder on its own encoder and to
the direct connection, paired by speaker (`bootstrap.paired_interval`), or null.

`r2` is the share of the variance of the decoder's own encoder output that the map predicts.
Legend: B utterances, T and N frames, D and E widths of the two encoders.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import batched, product
from pathlib import Path
from typing import Any

import torch

from espnet_ext.analysis.computation.hidden_states import (
    Encoded,
    Stream,
    encode,
    stream_of,
    without_padding,
)
from espnet_ext.analysis.computation.inputs import (
    METRICS,
    load_speech,
    load_systems,
    read_conditions,
    read_references,
    read_sample,
    require_plain_heads,
    speaker_errors,
    token_types,
)
from espnet_ext.data.record import NA, Utterance
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.progress import track
from espnet_ext.scoring import bootstrap
from espnet_ext.scoring.normal_form import Changes

RIDGE = 1e-4  # of the mean variance of an input
Systems = Mapping[str, DualSpeech2Text]
Pair = tuple[Stream, Stream]  # encoder that is read, encoder that a decoder was trained with
Key = tuple[Stream, str, str, str]  # encoder, decoder of, output, connection


class LinearMap:
    """A linear map between the outputs of two encoders, from streamed moments in float64."""

    def __init__(self, width: int, target_width: int):
        self._inputs = torch.zeros(width + 1, width + 1, dtype=torch.float64)
        self._cross = torch.zeros(width + 1, target_width, dtype=torch.float64)

    def add(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Add the same frames of both encoders: (N, D) and (N, E)."""
        x = _with_one(inputs.double())
        self._inputs += x.T @ x
        self._cross += x.T @ targets.double()

    def solve(self) -> torch.Tensor:
        """Return the map (D + 1, E); its last row is the constant."""
        variances = self._inputs.diagonal()[:-1]
        ridge = torch.full_like(variances, float(variances.mean()) * RIDGE)
        penalty = torch.cat([ridge, variances.new_zeros(1)])  # none on the constant
        return torch.linalg.solve(self._inputs + torch.diag(penalty), self._cross)


def _with_one(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x.new_ones(*x.shape[:-1], 1)], -1)


def apply_map(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return states (…, D) through a map (D + 1, E)."""
    return (_with_one(states.double()) @ weights).to(states.dtype)


class PredictedVariance:
    """The share of the variance of target frames that predictions explain, over all batches."""

    def __init__(self) -> None:
        self._missed, self._squares, self._count = 0.0, 0.0, 0
        self._sum: torch.Tensor | float = 0.0

    def add(self, predictions: torch.Tensor, targets: torch.Tensor) -> None:
        """Add frames (N, E) of both."""
        targets = targets.double()
        self._missed += float((predictions.double() - targets).square().sum())
        self._squares += float(targets.square().sum())
        self._sum = self._sum + targets.sum(0)
        self._count += len(targets)

    def r2(self) -> float | None:
        """Return R²; None for targets without variance."""
        if not isinstance(self._sum, torch.Tensor):
            return None
        variance = self._squares - float(self._sum.square().sum()) / self._count
        return 1.0 - self._missed / variance if variance else None


def swap(
    model_dirs: Mapping[str, str],
    data: str | Path,
    train: str | Path,
    options: Mapping[str, Any],
    *,
    symbols: Sequence[str] = (),
    max_utterances: int = 100,
    max_train: int = 500,
    batch_size: int = 16,
    device: str = "cpu",
) -> dict:
    """Return the error rates of every head on every encoder; see the module for the format.

    Args:
        model_dirs: systems by name, two or more.
        data: set with references; train: set for the linear maps.
        options: search options, as for decoding.
        symbols: non-linguistic symbols, removed from references and hypotheses.
    """
    systems = load_systems(model_dirs, device, **options)
    require_plain_heads(systems)
    types, changes = token_types(systems), Changes(symbols=symbols)
    training = read_sample(train, max_train)
    tested = read_references(data, max_utterances, types, changes)
    maps = _fit_maps(systems, training, batch_size, read_conditions(systems, train))
    conditions = read_conditions(systems, data)
    explained = {pair: PredictedVariance() for pair in maps}
    hypotheses: dict[Key, dict[str, str]] = {}
    for encoded, batch in _encoded(systems, tested, batch_size, "swapping encoders", conditions):
        counts = next(iter(encoded.values())).counts
        for decoder, encoder in product(systems, encoded):
            readers = _readers(systems[decoder], decoder, encoder, encoded)
            for usual, outputs in readers.items():
                states = encoded[encoder].states
                connections = {"unswapped": states} if encoder == usual else {}
                if encoder != usual:
                    if states.shape == encoded[usual].states.shape:
                        connections["direct"] = states
                    mapped = apply_map(states.cpu(), maps[encoder, usual])
                    explained[encoder, usual].add(
                        without_padding(mapped, counts), encoded[usual].rows().cpu()
                    )
                    connections["stitched"] = mapped.to(states)
                for connection, connected in connections.items():
                    for output in outputs:
                        texts = _recognise(systems[decoder], output, connected, counts)
                        key = (encoder, decoder, output, connection)
                        ids = [utterance.utt_id for utterance in batch]
                        hypotheses.setdefault(key, {}).update(zip(ids, texts, strict=True))
    return {
        "kind": "swaps",
        "version": 2,
        "data": str(data),
        "utterances": len(tested),
        "train_utterances": len(training),
        "speakers": len({utterance.speaker for utterance in tested}),
        "models": {name: {"directory": str(folder)} for name, folder in model_dirs.items()},
        "metric": {output: METRICS.get(kind, "cer") for output, kind in types.items()},
        "normalised": changes.counts,
        "rows": list(_rows(hypotheses, tested, types, explained, symbols)),
    }


def _readers(
    system: DualSpeech2Text, decoder: str, encoder: Stream, encoded: Mapping[Stream, Encoded]
) -> dict[Stream, list[str]]:
    """Return the outputs of a system that are to be decoded from an encoder.

    Args:
        decoder: name of the system.
    Returns:
        The encoder that the decoders were trained with → outputs.
    """
    readers: dict[Stream, list[str]] = {}
    for output in system.searchers:
        if encoder.system == decoder or encoder == stream_of(encoded, encoder.system, output):
            readers.setdefault(stream_of(encoded, decoder, output), []).append(output)
    return readers


def _encoded(
    systems: Systems,
    utterances: Sequence[Utterance],
    size: int,
    what: str,
    conditions: Mapping[str, Mapping[str, str]],
) -> Iterator[tuple[dict[Stream, Encoded], Sequence[Utterance]]]:
    models = {name: system.model for name, system in systems.items()}
    for batch in track(list(batched(utterances, size)), what, unit="batch"):
        ids = [utterance.utt_id for utterance in batch]
        speech = load_speech(systems, batch)
        yield encode(models, speech, ids, conditions=conditions, all_layers=False), batch


def _fit_maps(
    systems: Systems,
    utterances: Sequence[Utterance],
    size: int,
    conditions: Mapping[str, Mapping[str, str]],
) -> dict[Pair, torch.Tensor]:
    """Return maps from every encoder's output to those that its readers were trained with."""
    fits: dict[Pair, LinearMap] = {}
    for encoded, _ in _encoded(systems, utterances, size, "fitting linear maps", conditions):
        rows = {stream: one.rows().cpu() for stream, one in encoded.items()}
        pairs = {
            (encoder, usual)
            for decoder, encoder in product(systems, encoded)
            for usual in _readers(systems[decoder], decoder, encoder, encoded)
        }
        for a, b in pairs:
            if a != b:
                fit = fits.setdefault((a, b), LinearMap(rows[a].shape[1], rows[b].shape[1]))
                fit.add(rows[a], rows[b])
    return {pair: fit.solve() for pair, fit in fits.items()}


def _recognise(
    system: DualSpeech2Text, output: str, states: torch.Tensor, counts: torch.Tensor
) -> list[str]:
    """Return the texts of an output of a system on given encoder output (B, T, D)."""
    tokens, tokenizer = system.model.heads[output].tokens, system.tokenizers[output]
    nbests = system.searchers[output](states, counts)
    ids = [nbest[0].token_ids if nbest else () for nbest in nbests]
    return [tokenizer.decode([tokens[i] for i in row]) for row in ids]


def _rows(hypotheses, utterances, types, explained, symbols) -> Iterator[dict]:
    speakers = {utterance.utt_id: utterance.speaker for utterance in utterances}
    streams = dict.fromkeys(encoder for encoder, *_ in hypotheses)
    counts: dict[Key, tuple[tuple[int, ...], tuple[int, ...]]] = {}  # errors, tokens by speaker
    for key, texts in hypotheses.items():
        output = key[2]
        references = {
            u.utt_id: u.texts[output] for u in utterances if u.texts.get(output, NA) != NA
        }
        if references:
            sums = speaker_errors(references, texts, speakers, types[output], symbols)
            errors, tokens = zip(*sums.values(), strict=True)
            counts[key] = errors, tokens
    for (encoder, decoder, output, connection), (errors, tokens) in counts.items():
        usual = stream_of(streams, decoder, output)
        r2, differences = None, {}
        if connection == "stitched":
            r2 = explained[encoder, usual].r2()
            unswapped = counts[usual, decoder, output, "unswapped"]
            direct = counts.get((encoder, decoder, output, "direct"))
            differences = {
                "minus_unswapped": bootstrap.paired_interval(unswapped[0], errors, tokens),
                "minus_direct": direct and bootstrap.paired_interval(direct[0], errors, tokens),
            }
        yield {
            "encoder": encoder.system,
            **({"encoder_output": encoder.output} if encoder.output else {}),
            "decoder": decoder,
            "output": output,
            "connection": connection,
            "rate": 100.0 * sum(errors) / sum(tokens) if sum(tokens) else None,
            "interval": bootstrap.interval(errors, tokens),
            "r2": r2,
            **differences,
        }
