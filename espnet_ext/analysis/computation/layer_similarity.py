"""Similarity of the encoders and decoders of several systems, layer by layer.

`compare_systems` returns::

    {"kind": "cka", "version": 2, "measure": "linear CKA",
     "data": "<directory>", "utterances": int, "frames": int, "speakers": int,
     "groups": int,                             of speakers, which intervals leave out in turn
     "models": {"so_surface": {"directory", "layers": ["embed", "0", "1", …], "twin_of": null},
                "do_tops": {… and "streams": ["surface", "meaning"],
                            "shared_layers": ["embed", …]}},
     "pairs": [{"a": "so_surface", "b": "so_meaning", "ceiling": false, "rows": "frames",
                "grid": [[…]],                 a's layers × b's layers, null where undefined
                "debiased": [[…]],             the same without the bias of few rows
                "curve": [{"layer": "0", "cka": 0.43, "debiased": 0.42,   layers that both have
                           "interval": [low, high] | null,               of "debiased"
                           "measures": {"rsa": {"value", "interval", "null": {"mean", "highest",
                                                                              "p_value"}}}}]},
               {"a": "do_tops", "output_a": "surface", "b": "so_surface", …,
                "layers_a": ["embed", …], "layers_b": ["embed", …]}],      of the grid
     "decoders": [{… as a pair, with "output_a", "output_b", "rows": "utterances" | "tokens",
                   "how": "teacher-forced" | "free-running"}],
     "everything": {"utterances": int, "layers": [{"system", "output" (empty: encoder), "layer",
                                                   "stream" (only of layers of one output)}],
                    "cka": [[…]], "debiased": [[…]]} | null,     all layers by utterance means
     "sampled": {"rows": int, "permutations": int},
     "notes": ["…"]}                            what could not be compared, and why

Layer "embed" is the output of subsampling (in a decoder: of the embedding), "0" that of the first
block. Encoders are compared frame by frame. Decoders of two outputs read different tokens, so they
are compared by utterance, each layer by its mean over the tokens; decoders of one output with the
same token list are compared token by token too. A pair with a twin (the same system from another
seed) is a ceiling: two systems cannot be expected to be more similar.

A system whose outputs have separate encoder outputs has one encoder, a stream, per output: "a" and
"output_a" name it. A stream is compared with the systems that have this output alone (without such
systems, with every one that has this output) and with the other streams of its system, there
without the layers that they share. Where outputs share the last block, as below a mixture of
experts, "output" is a last layer: the encoder output, also of the encoder that it is compared with.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from espnet_ext.analysis.computation.hidden_states import (
    ENCODER_OUTPUT,
    Encoded,
    Stream,
    decode,
    distinct_layers,
    encode,
    pooled,
    stream_of,
)
from espnet_ext.analysis.computation.inputs import (
    batches_by_group,
    group_numbers,
    load_speech,
    load_systems,
    read_conditions,
    read_sample,
)
from espnet_ext.analysis.computation.layer_pairs import (
    LayerNames,
    Layers,
    Network,
    Pair,
    Sampling,
    StreamedRows,
    UtteranceRows,
)
from espnet_ext.analysis.computation.measures import MEASURES
from espnet_ext.data.directory import read_directory
from espnet_ext.data.record import NA, Utterance
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.model.similarity import MIN_EXAMPLES
from espnet_ext.progress import say, track
from espnet_ext.scoring.hypotheses import read_hypotheses

TWIN = "~twin"  # suffix of a system's name
Texts = Callable[[Network, Utterance], str]


def compare_systems(
    model_dirs: Mapping[str, str],
    data: str | Path,
    *,
    twins: Mapping[str, str] | None = None,
    hypotheses: Mapping[str, str] | None = None,
    measures: Sequence[str] = tuple(MEASURES),
    max_utterances: int = 500,
    max_rows: int = 500,
    permutations: int = 49,
    batch_size: int = 16,
    device: str = "cpu",
) -> dict:
    """Return the similarity of every pair of layers of every pair of systems.

    Args:
        model_dirs: systems by name, two or more.
        twins: directories of the same systems trained from another seed, by system.
        hypotheses: directories with `text.<output>` of the same data, by system, for free-running.
        measures: names in `measures.MEASURES`, computed on `max_rows` frames or utterances.
        max_utterances, max_rows: evenly spread; 0 for all.
    """
    models = {**model_dirs, **{name + TWIN: folder for name, folder in (twins or {}).items()}}
    systems = load_systems(models, device)
    utterances = read_sample(data, max_utterances)
    known = {u.utt_id: u for u in read_directory(data, empty_texts=True)} if hypotheses else {}
    texts = {
        name: read_hypotheses(Path(folder), known, Path(data))
        for name, folder in (hypotheses or {}).items()
    }
    groups = len(set(group_numbers(utterances).values()))
    quota = max_rows / len(utterances) if max_rows > 0 else math.inf
    conditions = read_conditions(systems, data)
    comparison = _Comparison(systems, texts, groups, quota, conditions)
    batches = batches_by_group(utterances, batch_size)
    for group, batch in track(batches, "comparing systems", unit="batch"):
        comparison.add(batch, group)
    sampling = Sampling(measures, max_rows, permutations)
    pairs, decoders = comparison.encoder_pairs(sampling), comparison.decoder_pairs(sampling)
    described = comparison.describe_encoders()
    for note in comparison.notes:
        say(f"note: {note}")
    cka = comparison.frames.cka
    return {
        "kind": "cka",
        "version": 2,
        "measure": "linear CKA",
        "data": str(data),
        "utterances": len(utterances),
        "frames": cka.rows if cka else 0,
        "speakers": len({utterance.speaker for utterance in utterances}),
        "groups": groups,
        "models": {
            name: {
                "directory": str(models[name]),
                **described[name],
                "twin_of": name.removesuffix(TWIN) if name.endswith(TWIN) else None,
            }
            for name in systems
        },
        "pairs": pairs,
        "decoders": decoders,
        "everything": comparison.teacher_forced.everything(),
        "sampled": {"rows": max_rows, "permutations": permutations},
        "notes": comparison.notes,
    }


class _Reading(NamedTuple):
    """A decoder's layers while it reads the transcripts of some utterances of a batch."""

    names: list[str]
    rows: list[torch.Tensor]  # per layer (Σ(L + 1), D)
    counts: torch.Tensor  # rows of each utterance
    ids: list[str]

    def means(self) -> tuple[list[str], list[torch.Tensor]]:
        return self.names, [pooled(rows, self.counts) for rows in self.rows]


class _Comparison:
    """Accumulates the layers of all networks while the data passes once."""

    def __init__(
        self,
        systems: Mapping[str, DualSpeech2Text],
        hypotheses: Mapping[str, Mapping[str, Mapping[str, str]]],
        groups: int,
        quota: float,
        conditions: Mapping[str, Mapping[str, str]],
    ):
        self.systems, self.hypotheses, self.conditions = systems, hypotheses, conditions
        self.frames = StreamedRows(groups, quota, self._choose_encoders)
        self.teacher_forced, self.free_running = UtteranceRows(groups), UtteranceRows(groups)
        self.notes: list[str] = []
        self.decoders = self._decoders()
        self.tokens = {
            output: StreamedRows(groups, 0, self._choose_decoders)
            for output in self._outputs_by_token()
        }

    def _decoders(self) -> list[Network]:
        """Return the decoders that have a list of layers."""
        decoders = []
        for name, system in self.systems.items():
            for output, head in system.model.heads.items():
                if head.decoder is None:
                    self.notes.append(f"{name} has no decoder of {output} to compare")
                elif head.reads is not None:
                    self.notes.append(
                        f"{name}'s decoder of {output} is not compared: it also reads the decoder "
                        f"of {head.reads}"
                    )
                elif not hasattr(head.decoder, "decoders"):
                    kind = type(head.decoder).__name__
                    self.notes.append(f"{name}'s {kind} of {output} has no list of layers")
                else:
                    decoders.append(Network(name, output))
        return decoders

    def _outputs_by_token(self) -> list[str]:
        """Return the outputs that several systems have with the same token list."""
        outputs = []
        for output in dict.fromkeys(network.output for network in self.decoders):
            networks = [network for network in self.decoders if network.output == output]
            lists = {tuple(self._head(network).tokens) for network in networks}
            if len(lists) > 1:
                names = ", ".join(network.system for network in networks)
                self.notes.append(
                    f"{names} have different token lists of {output}: their decoders are compared "
                    "by utterance only"
                )
            elif len(networks) > 1:
                outputs.append(output)
        return outputs

    def _head(self, network: Network):
        return self.systems[network.system].model.heads[network.output]

    def add(self, batch: Sequence[Utterance], group: int) -> None:
        """Add a batch of one group of speakers."""
        ids = [utterance.utt_id for utterance in batch]
        models = {name: system.model for name, system in self.systems.items()}
        speech = load_speech(self.systems, batch)
        encoded = encode(models, speech, ids, conditions=self.conditions)
        counts = next(iter(encoded.values())).counts
        self.frames.add(_encoders(encoded), counts, group)
        for stream, layers in distinct_layers(encoded).items():
            means = [pooled(rows, counts) for rows in layers.values()]
            encoder = Network(stream.system, stream=stream.output)
            self.teacher_forced.add(encoder, (list(layers), means), ids, group)
        labels = self._read(self.decoders, batch, encoded, lambda n, u: u.texts.get(n.output, NA))
        for network, reading in labels.items():
            self.teacher_forced.add(network, reading.means(), reading.ids, group)
        for output, rows in self.tokens.items():
            readings = {n: reading for n, reading in labels.items() if n.output == output}
            if readings:
                lengths = next(iter(readings.values())).counts
                rows.add({n: (r.names, r.rows) for n, r in readings.items()}, lengths, group)
        recognised = [n for n in self.decoders if n.output in self.hypotheses.get(n.system, ())]
        hypotheses = self._read(recognised, batch, encoded, self._hypothesis)
        for network, reading in hypotheses.items():
            self.free_running.add(network, reading.means(), reading.ids, group)

    def _hypothesis(self, network: Network, utterance: Utterance) -> str:
        return self.hypotheses[network.system][network.output].get(utterance.utt_id, NA)

    def _read(
        self,
        networks: Sequence[Network],
        batch: Sequence[Utterance],
        encoded: Mapping[Stream, Encoded],
        text_of: Texts,
    ) -> dict[Network, _Reading]:
        """Let decoders read the texts of a batch; one without any text has no entry."""
        readings = {}
        for network in networks:
            labelled = [i for i, u in enumerate(batch) if text_of(network, u) != NA]
            if not labelled:
                continue
            system = self.systems[network.system]
            one = encoded[stream_of(encoded, network.system, network.output)]
            texts = [text_of(network, batch[i]) for i in labelled]
            tokens = [system.token_ids(network.output, text) for text in texts]
            ids = [batch[i].utt_id for i in labelled]
            part = Encoded(one.layers, one.frames, one.states[labelled], one.counts[labelled])
            readings[network] = _Reading(*decode(self._head(network), part, tokens, ids), ids)
        return readings

    def _is_compared(self, pair: Pair) -> bool:
        """Whether a pair is of interest: a twin is compared only with the system it belongs to."""
        a, b = (network.system for network in pair)
        return a == b or b == a + TWIN or not (a.endswith(TWIN) or b.endswith(TWIN))

    def _choose_decoders(self, layers: LayerNames) -> list[Pair]:
        return list(filter(self._is_compared, itertools.combinations(layers, 2)))

    def _choose_encoders(self, layers: LayerNames) -> list[Pair]:
        """Return the pairs of encoders to compare, both with or without the encoder output."""
        encoders = [network for network in layers if not network.with_output]
        last = {network: layers[network][-1] for network in encoders}
        pairs = []
        for a, b in filter(self._is_compared, itertools.combinations(encoders, 2)):
            if a.system != b.system and not self._reads_same_output(a, b):
                continue
            if (last[a] == ENCODER_OUTPUT) != (last[b] == ENCODER_OUTPUT):
                a, b = (n._replace(with_output=last[n] != ENCODER_OUTPUT) for n in (a, b))
            pairs.append((a, b))
        return pairs

    def _reads_same_output(self, a: Network, b: Network) -> bool:
        """Whether two encoders are comparable: a stream, with encoders for its output only."""
        output = a.stream or b.stream
        if not output or b.system == a.system + TWIN:
            return a.stream == b.stream
        if b.stream not in ("", output):
            return False
        outputs = {name: set(system.model.heads) for name, system in self.systems.items()}
        alone = [name for name, of_system in outputs.items() if of_system == {output}]
        systems = {a.system, b.system}
        if alone:
            return bool(systems.intersection(alone))
        return all(output in outputs[name] for name in systems)

    def describe_encoders(self) -> dict[str, dict]:
        """Return the layers and streams of each system's encoder, and add notes on the streams."""
        described: dict[str, dict] = {}
        for network, names in self.frames.layers.items():
            if network.with_output:
                continue
            about = described.setdefault(network.system, {"layers": list(names)})
            if network.stream:
                about.setdefault("streams", []).append(network.stream)
        for name, about in described.items():
            if "streams" in about:
                about["shared_layers"] = self.frames.shared(
                    [Network(name, stream=output) for output in about["streams"]]
                )
                self.notes.append(
                    f"{name} has an encoder output per output. It is compared as "
                    f"{' and '.join(f'{name} {output}' for output in about['streams'])}, which "
                    f"share the layers {', '.join(about['shared_layers']) or 'none'}"
                )
        return described

    def encoder_pairs(self, sampling: Sampling) -> list[dict]:
        """Return the similarity of all pairs of encoders."""
        similarities = self.frames.compare(sampling)
        return [
            {
                "a": a.system,
                "b": b.system,
                **({"output_a": a.stream} if a.stream else {}),
                **({"output_b": b.stream} if b.stream else {}),
                "ceiling": b.system == a.system + TWIN,
                "rows": "frames",
                **values,
            }
            for (a, b), values in zip(self.frames.pairs, similarities, strict=True)
        ]

    def decoder_pairs(self, sampling: Sampling) -> list[dict]:
        """Return the similarity of all pairs of decoders, by utterance and by token."""
        similarities = []
        for how, rows in (
            ("teacher-forced", self.teacher_forced),
            ("free-running", self.free_running),
        ):
            if len(rows.ids()) < MIN_EXAMPLES:
                if self.decoders and (how == "teacher-forced" or self.hypotheses):
                    self.notes.append(
                        f"fewer than four utterances have all outputs: no {how} decoders compared"
                    )
                continue
            pairs = self._choose_decoders(dict.fromkeys(rows.decoders(), ()))
            taken = sampling if how == "teacher-forced" else Sampling()
            similarities += _named(pairs, rows.compare(pairs, taken), how, "utterances")
        for tokens in self.tokens.values():
            if tokens.cka is not None:
                compared = tokens.compare(Sampling())
                similarities += _named(tokens.pairs, compared, "teacher-forced", "tokens")
        return similarities


def _encoders(encoded: Mapping[Stream, Encoded]) -> dict[Network, Layers]:
    """Return the layers of all encoders.

    If the encoder output is a layer of a stream, the others exist with this layer, too.
    """
    encoders: dict[Network, Layers] = {
        Network(stream.system, stream=stream.output): (one.layers, one.frames)
        for stream, one in encoded.items()
    }
    if any(names[-1] == ENCODER_OUTPUT for names, _ in encoders.values()):
        for stream, one in encoded.items():
            if one.layers[-1] != ENCODER_OUTPUT:
                encoder = Network(stream.system, stream=stream.output, with_output=True)
                encoders[encoder] = [*one.layers, ENCODER_OUTPUT], [*one.frames, one.rows()]
    return encoders


def _named(pairs: Sequence[Pair], values: Sequence[dict], how: str, rows: str) -> list[dict]:
    return [
        {
            "a": a.system,
            "output_a": a.output,
            "b": b.system,
            "output_b": b.output,
            "ceiling": b.system == a.system + TWIN and a.output == b.output,
            "how": how,
            "rows": rows,
            **similarity,
        }
        for (a, b), similarity in zip(pairs, values, strict=True)
    ]
