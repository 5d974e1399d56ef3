"""Compare encoders and decoders of several systems, layer by layer, on the same utterances.

`compare_systems` returns, and `analyze cka` writes::

    {"kind": "cka", "version": 2, "measure": "linear CKA",
     "data": "<directory>", "utterances": int, "frames": int, "speakers": int,
     "groups": int,                             of speakers, which intervals leave out in turn
     "models": {"so_surface": {"directory", "layers": ["embed", "0", "1", …], "twin_of": null}},
     "pairs": [{"a": "so_surface", "b": "so_meaning", "ceiling": false, "rows": "frames",
                "grid": [[…]],                 a's layers × b's layers, null where undefined
                "debiased": [[…]],             the same without the bias of few rows
                "curve": [{"layer": "0", "cka": 0.43, "debiased": 0.42,   layers that both have
                           "interval": [low, high] | null,               of "debiased"
                           "measures": {"rsa": {"value", "interval", "null": {"mean", "highest",
                                                                              "p_value"}}}}]}],
     "decoders": [{… as a pair, with "output_a", "output_b", "rows": "utterances" | "tokens",
                   "how": "teacher-forced" | "free-running"}],
     "everything": {"utterances": int, "layers": [{"system", "output" (empty: encoder), "layer"}],
                    "cka": [[…]], "debiased": [[…]]} | null,     all layers by utterance means
     "sampled": {"rows": int, "permutations": int},
     "notes": ["…"]}                            what could not be compared, and why

Layer "embed" is the output of subsampling (of a decoder: of the embedding), "0" that of the first
block (the paper's layer 0). Encoders are compared frame by frame. Decoders of two outputs read
different tokens, so the rows are utterances, each layer's mean over its tokens; decoders of one
output with the same token list are compared token by token too. A pair with a twin (the same
system, trained from another seed) is a ceiling: more alike than that is nothing to be expected.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_ext.analysis.computation.hidden_states import decode, encode, pooled
from espnet_ext.analysis.computation.layer_pairs import Frames, Part, Utterances
from espnet_ext.analysis.computation.measures import MEASURES
from espnet_ext.analysis.computation.sampling import batches_by_group, choose, groups_of
from espnet_ext.data.audio import load_utterance
from espnet_ext.data.directory import read_directory
from espnet_ext.data.record import NA, Utterance
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.errors import UserError
from espnet_ext.progress import say, track
from espnet_ext.scoring.score import read_hypotheses

TWIN = "~twin"  # behind a system's name


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
    """Similarity of every pair of layers of every pair of systems; the module says what returns.

    Args:
        model_dirs: systems by name, two or more.
        twins: directories of the same systems trained from another seed, by system.
        hypotheses: folders with `text.<output>` of the same data, by system, for free-running.
        measures: names of `measures.MEASURES`, taken of `max_rows` frames or utterances.
        max_utterances, max_rows: evenly spread; 0 for all.
    """
    models = {**model_dirs, **{name + TWIN: folder for name, folder in (twins or {}).items()}}
    systems = {
        name: DualSpeech2Text.from_pretrained(folder, device=device)
        for name, folder in models.items()
    }
    utterances = {u.utt_id: u for u in read_directory(data)}
    chosen = [utterances[name] for name in choose(list(utterances), max_utterances)]
    if not chosen:
        raise UserError(f"{data}: no utterances", "give a data directory that is not empty")
    common_rate(systems)
    written = {
        name: read_hypotheses(Path(folder), utterances, Path(data))
        for name, folder in (hypotheses or {}).items()
    }
    quota = max_rows / len(chosen) if max_rows > 0 else math.inf
    work = _Comparison(systems, written, groups_of(chosen), quota)
    for group, batch in track(
        batches_by_group(chosen, batch_size), "comparing systems", unit="batch"
    ):
        work.add(batch, group)
    wanted = list(measures)
    pairs = work.encoders(wanted, max_rows, permutations)
    decoders = work.decoders(wanted, max_rows, permutations)
    for note in work.notes:
        say(f"note: {note}")
    return {
        "kind": "cka",
        "version": 2,
        "measure": "linear CKA",
        "data": str(data),
        "utterances": len(chosen),
        "frames": work.frames.grid.rows,
        "speakers": len({u.speaker for u in chosen}),
        "groups": work.groups,
        "models": {
            name: {
                "directory": str(models[name]),
                "layers": work.frames.layers[Part(name)],
                "twin_of": name.removesuffix(TWIN) if name.endswith(TWIN) else None,
            }
            for name in systems
        },
        "pairs": pairs,
        "decoders": decoders,
        "everything": work.forced.everything(),
        "sampled": {"rows": max_rows, "permutations": permutations},
        "notes": work.notes,
    }


def common_rate(systems: Mapping[str, DualSpeech2Text]) -> int:
    """The sample rate in Hz that all systems were trained for."""
    rates = {name: system.sample_rate for name, system in systems.items()}
    if len(set(rates.values())) > 1:
        listed = ", ".join(f"{name} {rate} Hz" for name, rate in rates.items())
        raise UserError(f"systems for different sample rates: {listed}", "compare others")
    return next(iter(rates.values()))


class _Comparison:
    """What is kept of all layers while the data passes by once."""

    def __init__(self, systems, hypotheses, groups: int, quota: float):
        self.systems: Mapping[str, DualSpeech2Text] = systems
        self.hypotheses: Mapping[str, Mapping[str, Mapping[str, str]]] = hypotheses
        self.groups = groups
        self.frames = Frames(groups, quota)
        self.forced = Utterances()
        self.running = Utterances()
        self.notes: list[str] = []
        self.readers = self._readers()
        self.tokens = {output: Frames(groups, 0) for output in self._by_token()}

    def _readers(self) -> list[Part]:
        """The decoders whose layers can be seen."""
        found = []
        for name, system in self.systems.items():
            for output, head in system.model.heads.items():
                decoder = head.decoder
                if decoder is None:
                    self.notes.append(f"{name} has no decoder of {output} to compare")
                elif not hasattr(decoder, "decoders"):
                    kind = type(decoder).__name__
                    self.notes.append(f"{name}'s {kind} of {output} has no list of layers")
                else:
                    found.append(Part(name, output))
        return found

    def _by_token(self) -> dict[str, list[Part]]:
        """Outputs that several systems have with the very same tokens."""
        found = {}
        for output in dict.fromkeys(part.output for part in self.readers):
            parts = [part for part in self.readers if part.output == output]
            lists = {tuple(self._branch(part).tokens) for part in parts}
            if len(lists) > 1:
                names = ", ".join(part.system for part in parts)
                self.notes.append(
                    f"{names} have different token lists of {output}: their decoders are compared "
                    "by utterance only"
                )
            elif len(parts) > 1:
                found[output] = parts
        return found

    def _branch(self, part: Part):
        return self.systems[part.system].model.heads[part.output]

    def add(self, batch: Sequence[Utterance], group: int) -> None:
        ids = [u.utt_id for u in batch]
        rate = next(iter(self.systems.values())).sample_rate
        speech = [load_utterance(u, rate)[0] for u in batch]
        encoded = encode({n: s.model for n, s in self.systems.items()}, speech, ids)
        layers = {Part(name): (seen.layers, seen.frames) for name, seen in encoded.items()}
        self.frames.add(layers, next(iter(encoded.values())).counts, group)
        of_encoders = {
            Part(name): (seen.layers, [pooled(rows, seen.counts) for rows in seen.frames])
            for name, seen in encoded.items()
        }
        reading = {part: self._read(part, batch, encoded, self._labels) for part in self.readers}
        self.forced.add(self._pooled(reading), ids, group, of_encoders)
        for output, stream in self.tokens.items():
            parts = {p: reading[p] for p in self.readers if p.output == output}
            known = {p: found for p, found in parts.items() if found is not None}
            if known:
                counts = next(iter(known.values()))[2]
                stream.add({p: found[:2] for p, found in known.items()}, counts, group)
        speaking = {
            part: self._read(part, batch, encoded, self._written)
            for part in self.readers
            if part.output in self.hypotheses.get(part.system, ())
        }
        self.running.add(self._pooled(speaking), ids, group)

    def _labels(self, part: Part, utterance: Utterance) -> str:
        return utterance.texts.get(part.output, NA)

    def _written(self, part: Part, utterance: Utterance) -> str:
        return self.hypotheses[part.system][part.output].get(utterance.utt_id, NA)

    def _read(self, part: Part, batch, encoded, text_of):
        """(layer names, their rows, counts, who is labelled), or None where nobody is."""
        system = self.systems[part.system]
        there = [i for i, u in enumerate(batch) if text_of(part, u) != NA]
        if not there:
            return None
        tokens = [system.token_ids(part.output, text_of(part, batch[i])) for i in there]
        seen = encoded[part.system]
        chosen = type(seen)(seen.layers, seen.frames, seen.states[there], seen.counts[there])
        names, rows, counts = decode(
            self._branch(part), chosen, tokens, [batch[i].utt_id for i in there]
        )
        return names, rows, counts, [batch[i].utt_id for i in there]

    def _pooled(self, reading: Mapping[Part, tuple | None]) -> dict:
        return {
            part: (found[0], [pooled(rows, found[2]) for rows in found[1]], found[3])
            for part, found in reading.items()
            if found is not None
        }

    def encoders(self, measures: list[str], max_rows: int, permutations: int) -> list[dict]:
        pairs = [(Part(a), Part(b)) for a, b in self._pairs(list(self.systems))]
        found = self.frames.compare(pairs, measures, max_rows, permutations)
        return [
            {
                "a": a.system,
                "b": b.system,
                "ceiling": b.system == a.system + TWIN,
                "rows": "frames",
                **values,
            }
            for (a, b), values in zip(pairs, found, strict=True)
        ]

    def _pairs(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """All pairs of systems; a twin only with the system that it is a twin of."""
        return [
            (a, b)
            for a, b in itertools.combinations(names, 2)
            if not (a.endswith(TWIN) or b.endswith(TWIN)) or b == a + TWIN
        ]

    def decoders(self, measures: list[str], max_rows: int, permutations: int) -> list[dict]:
        found = []
        for how, view in (("teacher-forced", self.forced), ("free-running", self.running)):
            pairs = [
                (a, b)
                for a, b in itertools.combinations(view.parts(), 2)
                if a.system == b.system or (a.system, b.system) in self._pairs(list(self.systems))
            ]
            if view.rows < 4:
                if self.readers and (how == "teacher-forced" or self.hypotheses):
                    self.notes.append(
                        f"fewer than four utterances have all outputs: no {how} decoders compared"
                    )
                continue
            taken = measures if how == "teacher-forced" else []
            values = view.compare(pairs, self.groups, taken, max_rows, permutations)
            for (a, b), one in zip(pairs, values, strict=True):
                found.append(_decoder_pair(a, b, how, "utterances", one))
        for stream in self.tokens.values():
            if stream.grid is None:
                continue
            pairs = [
                (a, b)
                for a, b in itertools.combinations(stream.layers, 2)
                if (a.system, b.system) in self._pairs(list(self.systems))
            ]
            for (a, b), one in zip(pairs, stream.compare(pairs, [], 0, 0), strict=True):
                found.append(_decoder_pair(a, b, "teacher-forced", "tokens", one))
        return found


def _decoder_pair(a: Part, b: Part, how: str, rows: str, values: dict) -> dict:
    return {
        "a": a.system,
        "output_a": a.output,
        "b": b.system,
        "output_b": b.output,
        "ceiling": b.system == a.system + TWIN and a.output == b.output,
        "how": how,
        "rows": rows,
        **values,
    }
