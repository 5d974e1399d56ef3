"""Probe the encoders of several systems, layer by layer, on the same tokens and utterances.

`probe_encoders` returns, and `analyze probes` writes::

    {"kind": "probes", "version": 1, "train": "<directory>", "data": "<directory>",
     "models": {name: {"directory", "layers": […]}},
     "tasks": {"surface": {"classes", "train", "test", "speakers", "left_out", "aligned_by"}},
     "rows": [{"task", "system", "layer", "accuracy", "interval", "control", "selectivity",
               "alone", "chance"}],             percent, see `probes`
     "notes": ["…"]}

Tasks: the tokens of each output (`surface`, `meaning`); whether a surface token `deviates` from
what should have been said; `l1` and `speaker` of an utterance. All systems are asked about the same
rows: where a token stands is decided by one system's CTC, its rows being the means of the frames
up to half-way to the tokens beside it. `l1` is learnt from other speakers than it is tested on;
`speaker` is learnt from every other utterance of the training data and tested on the rest.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from espnet_ext.analysis.computation import linear_probe
from espnet_ext.analysis.computation.hidden_states import Encoded, encode, pooled
from espnet_ext.analysis.computation.layer_similarity import common_rate
from espnet_ext.analysis.computation.sampling import choose
from espnet_ext.data.audio import load_utterance
from espnet_ext.data.directory import read_directory
from espnet_ext.data.record import NA, Utterance
from espnet_ext.decoding.alignment import align
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.errors import UserError
from espnet_ext.progress import say, track
from espnet_ext.scoring.counts import align_texts

DEVIATES = "deviates"
# Rows that a class needs, to learn from and to be tested on: of tokens, and of utterances.
FEWEST = {"token": (20, 5), "utterance": (5, 3)}
Key = tuple[str, str]  # system, layer


class Rows:
    """Rows of one task in one data set: labels, control types, speakers, and every layer's rows."""

    def __init__(self) -> None:
        self.labels: list = []
        self.types: list = []
        self.speakers: list[str] = []
        self.layers: dict[Key, list[np.ndarray]] = {}

    def add(self, labels: Sequence, types: Sequence, speaker: str, layers: Mapping) -> None:
        self.labels += labels
        self.types += types
        self.speakers += [speaker] * len(labels)
        for key, rows in layers.items():
            self.layers.setdefault(key, []).append(rows)

    def matrix(self, key: Key, kept: np.ndarray) -> np.ndarray:
        return np.concatenate(self.layers[key])[kept]


def probe_encoders(
    model_dirs: Mapping[str, str],
    data: str | Path,
    train: str | Path,
    *,
    max_utterances: int = 500,
    max_train: int = 500,
    batch_size: int = 16,
    device: str = "cpu",
) -> dict:
    """Probe all layers of all systems' encoders; the module says what is returned.

    Args:
        model_dirs: systems by name.
        data, train: data directories that probes are tested on and fitted to.
        max_utterances, max_train: evenly spread; 0 for all.
    """
    systems = {
        name: DualSpeech2Text.from_pretrained(folder, device=device)
        for name, folder in model_dirs.items()
    }
    common_rate(systems)
    work = _Probing(systems)
    shared = {u.utt_id for u in read_directory(train)} & {u.utt_id for u in read_directory(data)}
    if shared:
        raise UserError(
            f"{data}: {min(shared)}: also in {train}, with {len(shared) - 1} others",
            "probe other utterances than probes learn from",
        )
    learnt = work.collect(train, max_train, batch_size, "reading training data")
    tested = work.collect(data, max_utterances, batch_size, "reading test data")
    learnt["speaker"], tested["speaker"] = _halves(learnt["speaker"])
    rows, tasks = [], {}
    for name in learnt:
        found = _task(name, learnt[name], tested.get(name, Rows()), work.notes)
        if found is None:
            continue
        task, kept, tasks[name] = found
        tasks[name]["aligned_by"] = work.aligners.get("surface" if name == DEVIATES else name)
        for key in learnt[name].layers:
            sides = [
                side.matrix(key, rows)
                for side, rows in zip((learnt[name], tested[name]), kept, strict=True)
            ]
            rows.append(
                {
                    "task": name,
                    "system": key[0],
                    "layer": key[1],
                    **linear_probe.probe(task, *sides, controlled=name in work.controlled),
                }
            )
    for note in work.notes:
        say(f"note: {note}")
    return {
        "kind": "probes",
        "version": 1,
        "train": str(train),
        "data": str(data),
        "models": {
            name: {"directory": str(folder), "layers": work.layers.get(name, [])}
            for name, folder in model_dirs.items()
        },
        "tasks": tasks,
        "rows": rows,
        "notes": work.notes,
    }


def _task(name: str, learnt: Rows, tested: Rows, notes: list[str]):
    """(task, rows kept of both sides, what to say of it); None, with a note, if it cannot be."""
    fewest = FEWEST["utterance" if name in ("l1", "speaker") else "token"]
    classes = linear_probe.usable(learnt.labels, tested.labels, fewest)
    if name == "l1":
        known = set(tested.speakers) & set(learnt.speakers)
        if known:
            notes.append(f"l1 is not probed: {len(known)} speakers are in both data sets")
            return None
        of_class: dict = {}
        for label, speaker in zip(tested.labels, tested.speakers, strict=True):
            of_class.setdefault(label, set()).add(speaker)
        if of_class and min(map(len, of_class.values())) < 2:
            notes.append(
                "l1 is not probed: a first language with one test speaker cannot be told from "
                "that speaker"
            )
            return None
    if len(classes) < 2:
        notes.append(
            f"{name} is not probed: fewer than two kinds have {fewest[0]} rows to learn from and "
            f"{fewest[1]} to be tested on"
        )
        return None
    kept = [
        np.array([i for i, label in enumerate(side.labels) if label in classes], dtype=int)
        for side in (learnt, tested)
    ]
    labels = [
        np.array([classes[side.labels[i]] for i in rows])
        for side, rows in zip((learnt, tested), kept, strict=True)
    ]
    types = [
        [side.types[i] for i in rows] for side, rows in zip((learnt, tested), kept, strict=True)
    ]
    task = linear_probe.Task(*labels, *types, [tested.speakers[i] for i in kept[1]])
    said = {
        "classes": len(classes),
        "train": len(kept[0]),
        "test": len(kept[1]),
        "speakers": len({tested.speakers[i] for i in kept[1]}),
        "left_out": len(learnt.labels) + len(tested.labels) - len(kept[0]) - len(kept[1]),
    }
    return task, kept, said


def _halves(rows: Rows) -> tuple[Rows, Rows]:
    """Every other utterance of each speaker: to learn from, and to be tested on."""
    sides, seen = (Rows(), Rows()), {}
    for index, speaker in enumerate(rows.labels):
        side = sides[seen.setdefault(speaker, 0) % 2]
        seen[speaker] += 1
        layers = {key: parts[index] for key, parts in rows.layers.items()}
        side.add([speaker], [rows.types[index]], speaker, layers)
    return sides


class _Probing:
    """Reads a data set once and keeps the rows of every task."""

    def __init__(self, systems: Mapping[str, DualSpeech2Text]):
        self.systems = systems
        self.notes: list[str] = []
        self.layers: dict[str, list[str]] = {}
        # types of tokens come again; those of utterances do not, and can teach a control nothing
        self.controlled: set[str] = set()
        outputs = dict.fromkeys(n for s in systems.values() for n in s.model.heads)
        self.aligners = {}
        for output in outputs:
            for name, system in systems.items():
                head = system.model.heads.get(output)
                if head is not None and head.ctc is not None:
                    self.aligners[output] = name
                    break
            else:
                self.notes.append(f"tokens of {output} are not probed: no system has a CTC of it")

    def collect(self, folder: str | Path, limit: int, size: int, what: str) -> dict[str, Rows]:
        utterances = {u.utt_id: u for u in read_directory(folder)}
        if not utterances:
            raise UserError(f"{folder}: no utterances", "give a data directory that is not empty")
        chosen = [utterances[i] for i in choose(list(utterances), limit)]
        found = {name: Rows() for name in (*self.aligners, DEVIATES, "l1", "speaker")}
        starts = range(0, len(chosen), size)
        for start in track(starts, what, unit="batch"):
            self._add(chosen[start : start + size], found)
        if "surface" not in self.aligners:
            del found[DEVIATES]
        self.controlled = {*self.aligners, DEVIATES}
        return found

    def _add(self, batch: Sequence[Utterance], found: Mapping[str, Rows]) -> None:
        rate = next(iter(self.systems.values())).sample_rate
        speech = [load_utterance(u, rate)[0] for u in batch]
        ids = [u.utt_id for u in batch]
        encoded = encode({n: s.model for n, s in self.systems.items()}, speech, ids)
        self.layers = {name: seen.layers for name, seen in encoded.items()}
        counts = next(iter(encoded.values())).counts
        whole = dict(_each(encoded, lambda rows: pooled(rows, counts)))
        frames = dict(_each(encoded, lambda rows: rows.split(counts.tolist())))
        for index, utterance in enumerate(batch):
            means = {key: rows[index][None].numpy() for key, rows in whole.items()}
            one = [utterance.speaker]
            found["speaker"].add(one, [utterance.utt_id], utterance.speaker, means)
            if utterance.l1:
                found["l1"].add([utterance.l1], one, utterance.speaker, means)
            for output, name in self.aligners.items():
                if utterance.texts.get(output, NA) != NA:
                    own = {key: rows[index] for key, rows in frames.items()}
                    state = encoded[name].states[index, : int(counts[index])]
                    self._add_tokens(utterance, output, state, own, found)

    def _add_tokens(self, utterance, output: str, states, frames: Mapping, found) -> None:
        system = self.systems[self.aligners[output]]
        text = utterance.texts[output]
        tokens = system.tokenizers[output].encode(text)
        ctc = system.model.heads[output].ctc
        with torch.inference_mode():
            log_probs = ctc.log_softmax(states[None])[0]
        spans = align(log_probs, system.token_ids(output, text), float(len(states)))
        if not spans:
            return  # too fast for this encoder's frames, or nothing said
        edges = torch.tensor(_edges(spans, len(states)))
        rows = {key: pooled(layer, edges).numpy() for key, layer in frames.items()}
        types = list(zip(["<s>", *tokens], tokens, strict=False))  # a token after another
        found[output].add(tokens, types, utterance.speaker, rows)
        if output == "surface" and (marks := deviations(utterance, tokens, system, output)):
            found[DEVIATES].add(marks, types, utterance.speaker, rows)


def _each(encoded: Mapping[str, Encoded], change) -> Iterator[tuple[Key, object]]:
    for name, seen in encoded.items():
        for layer, rows in zip(seen.layers, seen.frames, strict=True):
            yield (name, layer), change(rows.cpu())


def _edges(spans: Sequence[tuple[float, float]], frames: int) -> list[int]:
    """Frames of each token: from half-way to the one before it to half-way to the next.

    >>> _edges([(1.0, 2.0), (5.0, 6.0)], 8)
    [4, 4]
    """
    middles = [(start + end) / 2 for start, end in spans]
    cuts = [round((a + b) / 2) for a, b in zip(middles, middles[1:], strict=False)]
    ends = [*cuts, frames]
    lengths, last = [], 0
    for left, end in zip(range(len(ends) - 1, -1, -1), ends, strict=True):
        end = min(max(end, last + 1), frames - left)  # every token has a frame
        lengths.append(end - last)
        last = end
    return lengths


def deviations(utterance: Utterance, tokens: Sequence[str], system, output: str) -> list[bool]:
    """Of each surface token, whether it is other than what should have been said there.

    That is text.canonical, or without it the meaning; empty where neither can be compared. What
    was left out by the speaker belongs to no token, so that deletions are not asked about.
    """
    expected = utterance.texts.get("canonical", NA)
    if expected == NA and system.model.heads[output].options.token_type != "phone":
        expected = utterance.texts.get("meaning", NA)
    if expected == NA:
        return []
    wanted = system.tokenizers[output].encode(expected)
    spelled = [" ".join(token.replace(" ", "␣") for token in side) for side in (wanted, tokens)]
    columns = align_texts([spelled[0]], [spelled[1]], "per")[0]
    return [letter != "=" for letter in columns if letter != "d"]
