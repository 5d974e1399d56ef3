"""Linear probes of the encoders of several systems, layer by layer, on the same examples.

`probe_encoders` returns::

    {"kind": "probes", "version": 1, "train": "<directory>", "data": "<directory>",
     "models": {name: {"directory", "layers": […]}},
     "tasks": {"surface": {"classes", "train", "test", "speakers", "left_out", "aligned_by",
                           "effective_test"}},   test examples of equal classes that have a
                                                 balanced accuracy of the same variance
     "rows": [{"task", "system", "layer", "accuracy", "interval", "control", "selectivity",
               "context", "chance",             percent, see `linear_probe`
               "output"}],         only for a system with an encoder output per output
     "normalised": {"<file>": 3},      texts that `normal_form` changed, if there are any
     "notes": ["…"]}

Tasks: the tokens of each output (`surface`, `meaning`); whether a surface token `deviates` from the
canonical one; `l1` and `speaker` of an utterance. All systems are probed at the same times: one
system's CTC places the tokens, and an example is the mean of the frames up to half-way to the
neighbouring tokens. Training and test speakers differ for `l1`; `speaker` is trained on every other
utterance of the training data and tested on the rest. If a system has an encoder output per output,
each is probed for every task. Layers that they share are probed once, and have a row in each.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_ext.analysis.computation.hidden_states import (
    Encoded,
    Stream,
    distinct_layers,
    encode,
    pooled,
    stream_of,
)
from espnet_ext.analysis.computation.inputs import (
    load_speech,
    load_systems,
    read_conditions,
    read_references,
    require_plain_heads,
    token_types,
)
from espnet_ext.analysis.computation.linear_probe import Task, common_classes, probe
from espnet_ext.data.directory import read_directory
from espnet_ext.data.record import NA, Utterance
from espnet_ext.decoding.alignment import align
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.errors import UserError
from espnet_ext.progress import say, track
from espnet_ext.scoring.counts import align_texts
from espnet_ext.scoring.normal_form import Changes
from espnet_ext.text.tags import TAG, split_tags

DEVIATES, L1, SPEAKER = "deviates", "l1", "speaker"
# Examples that a class needs in training and in testing.
MIN_EXAMPLES = {"token": (20, 5), "utterance": (5, 3)}
Layer = tuple[Stream, str]  # encoder, layer


@dataclass
class Examples:
    """Examples of one task in one data set.

    Args:
        types: what decides the label of the control task.
        contexts: what is known without any layer.
        layers: hidden states (n, D) of every layer, in pieces.
    """

    labels: list = field(default_factory=list)
    types: list = field(default_factory=list)
    contexts: list = field(default_factory=list)
    speakers: list[str] = field(default_factory=list)
    layers: dict[Layer, list[np.ndarray]] = field(default_factory=dict)

    def add(
        self,
        labels: Sequence,
        types: Sequence,
        contexts: Sequence,
        speaker: str,
        layers: Mapping[Layer, np.ndarray],
    ) -> None:
        self.labels += labels
        self.types += types
        self.contexts += contexts
        self.speakers += [speaker] * len(labels)
        for key, rows in layers.items():
            self.layers.setdefault(key, []).append(rows)


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
    """Probe every encoder layer of every system; see the module for the result.

    Args:
        model_dirs: systems by name.
        data, train: data directories that probes are tested on and fitted to.
        max_utterances, max_train: evenly spread; 0 for all.
    """
    systems = load_systems(model_dirs, device)
    require_plain_heads(systems)
    reader = _Reader(systems)
    train_ids, test_ids = (
        {item.utt_id for item in read_directory(folder, empty_texts=True)}
        for folder in (train, data)
    )
    shared = train_ids & test_ids
    if shared:
        raise UserError(
            f"{data}: {min(shared)}: also in {train}, with {len(shared) - 1} others",
            "test probes on other utterances than they are fitted to",
        )
    training = reader.read(train, max_train, batch_size, "reading training data")
    tested = reader.read(data, max_utterances, batch_size, "reading test data")
    training[SPEAKER], tested[SPEAKER] = _halves(training[SPEAKER])
    rows, tasks = [], {}
    for name, examples in training.items():
        made = _task(name, examples, tested[name])
        if isinstance(made, str):
            reader.notes.append(f"{name} is not probed: {made}")
            continue
        task, kept, tasks[name] = made
        tasks[name]["aligned_by"] = reader.aligners.get("surface" if name == DEVIATES else name)
        accuracies: dict[Layer, dict] = {}
        for layer in examples.layers:
            features = [
                np.concatenate(side.layers[layer])[indices]
                for side, indices in zip((examples, tested[name]), kept, strict=True)
            ]
            # Types of utterances do not repeat, so that no control task can be learned.
            accuracies[layer] = probe(task, *features, with_control=name not in (L1, SPEAKER))
        for stream, layers in reader.layers.items():
            about = {"task": name, "system": stream.system}
            about |= {"output": stream.output} if stream.output else {}
            for layer_name in layers:
                of_layer = accuracies.get((stream, layer_name))
                if of_layer is None:  # all outputs share it
                    of_layer = accuracies[Stream(stream.system), layer_name]
                rows.append({**about, "layer": layer_name, **of_layer})
    for note in reader.notes:
        say(f"note: {note}")
    return {
        "kind": "probes",
        "version": 1,
        "train": str(train),
        "data": str(data),
        "models": {
            name: {"directory": str(folder), "layers": reader.layers_of(name)}
            for name, folder in model_dirs.items()
        },
        "tasks": tasks,
        "normalised": reader.changes.counts,
        "rows": rows,
        "notes": reader.notes,
    }


def _task(
    name: str, training: Examples, tested: Examples
) -> tuple[Task, list[np.ndarray], dict] | str:
    """Return the task, the indices of its training and test examples, and its description.

    If the task is not possible, return the reason as a string instead.
    """
    fewest = MIN_EXAMPLES["utterance" if name in (L1, SPEAKER) else "token"]
    if name == L1:
        known = set(tested.speakers) & set(training.speakers)
        if known:
            return f"{len(known)} speakers are in both data sets"
        by_language: dict[str, set[str]] = {}
        for language, speaker in zip(tested.labels, tested.speakers, strict=True):
            by_language.setdefault(language, set()).add(speaker)
        if by_language and min(map(len, by_language.values())) < 2:
            return "a first language has only one test speaker, so they cannot be separated"
    classes = common_classes(training.labels, tested.labels, fewest)
    if len(classes) < 2:
        return f"fewer than two classes have {fewest[0]} training and {fewest[1]} test examples"
    kept, labels, types, contexts = [], [], [], []
    for side in (training, tested):
        rows = [i for i, label in enumerate(side.labels) if label in classes]
        kept.append(np.array(rows, dtype=int))
        labels.append(np.array([classes[side.labels[i]] for i in rows]))
        types.append([side.types[i] for i in rows])
        contexts.append([side.contexts[i] for i in rows])
    speakers = [tested.speakers[i] for i in kept[1]]
    description = {
        "classes": len(classes),
        "train": len(kept[0]),
        "test": len(kept[1]),
        "speakers": len(set(speakers)),
        "effective_test": len(classes) ** 2 / float((1 / np.bincount(labels[1])).sum()),
        "left_out": len(training.labels) + len(tested.labels) - len(kept[0]) - len(kept[1]),
    }
    of_task = Task(labels[0], labels[1], types[0], types[1], contexts[0], contexts[1], speakers)
    return of_task, kept, description


def _halves(examples: Examples) -> tuple[Examples, Examples]:
    """Split every other utterance of each speaker, to train on and to test on."""
    sides, seen = (Examples(), Examples()), dict.fromkeys(examples.labels, 0)
    for i, speaker in enumerate(examples.labels):
        layers = {key: parts[i] for key, parts in examples.layers.items()}
        sides[seen[speaker] % 2].add([speaker], [examples.types[i]], [None], speaker, layers)
        seen[speaker] += 1
    return sides


class _Reader:
    """Reads a data set once and returns the examples of every task."""

    def __init__(self, systems: Mapping[str, DualSpeech2Text]):
        self.systems = systems
        self.notes: list[str] = []
        self.changes = Changes()
        self.layers: dict[Stream, list[str]] = {}
        self.aligners: dict[str, str] = {}  # output → the system whose CTC places its tokens
        for name, system in systems.items():
            for output, head in system.model.heads.items():
                if head.ctc is not None:
                    self.aligners.setdefault(output, name)
        for output in dict.fromkeys(o for s in systems.values() for o in s.model.heads):
            if output not in self.aligners:
                self.notes.append(f"tokens of {output} are not probed: no system has a CTC for it")

    def read(self, folder: str | Path, limit: int, size: int, what: str) -> dict[str, Examples]:
        deviates = [DEVIATES] if "surface" in self.aligners else []
        examples = {name: Examples() for name in (*self.aligners, *deviates, L1, SPEAKER)}
        sample = read_references(folder, limit, token_types(self.systems), self.changes)
        conditions = read_conditions(self.systems, folder)
        for batch in track(list(batched(sample, size)), what, unit="batch"):
            self._read_batch(batch, examples, conditions)
        return examples

    def layers_of(self, system: str) -> list[str]:
        """Return the layers of a system's first encoder; none if no utterance was read."""
        return next((names for one, names in self.layers.items() if one.system == system), [])

    def _read_batch(
        self,
        batch: Sequence[Utterance],
        examples: Mapping[str, Examples],
        conditions: Mapping[str, Mapping[str, str]],
    ) -> None:
        models = {name: system.model for name, system in self.systems.items()}
        speech = load_speech(self.systems, batch)
        ids = [utterance.utt_id for utterance in batch]
        encoded = encode(models, speech, ids, conditions=conditions)
        self.layers = {stream: one.layers for stream, one in encoded.items()}
        counts = next(iter(encoded.values())).counts
        means = _by_layer(encoded, lambda rows: pooled(rows, counts))
        frames = _by_layer(encoded, lambda rows: rows.split(counts.tolist()))
        for i, utterance in enumerate(batch):
            speaker = utterance.speaker
            mean = {layer: rows[i][None].numpy() for layer, rows in means.items()}
            examples[SPEAKER].add([speaker], [utterance.utt_id], [None], speaker, mean)
            if utterance.l1:
                examples[L1].add([utterance.l1], [speaker], [None], speaker, mean)
            for output, aligner in self.aligners.items():
                if utterance.texts.get(output, NA) != NA:
                    stream = stream_of(encoded, aligner, output)
                    states = encoded[stream].states[i, : int(counts[i])]
                    layers = {layer: rows[i] for layer, rows in frames.items()}
                    self._read_tokens(utterance, output, states, layers, examples)

    def _read_tokens(self, utterance, output: str, states, frames: Mapping, examples) -> None:
        """Add the tokens of one output, without inline tags.

        Args:
            states: (T, D), those of the aligning system.
        """
        system = self.systems[self.aligners[output]]
        text = utterance.texts[output]
        tokens = system.tokenizers[output].encode(text)
        ctc: Any = system.model.heads[output].ctc
        with torch.inference_mode():
            log_probs = ctc.log_softmax(states[None])[0]
        spans = align(log_probs, system.token_ids(output, text), float(len(states)))
        if not spans:
            return  # more tokens than frames, or none
        lengths = torch.tensor(token_lengths(spans, len(states)))
        spoken = [i for i, token in enumerate(tokens) if not TAG.fullmatch(token)]
        tokens = [tokens[i] for i in spoken]
        rows = {layer: pooled(part, lengths).numpy()[spoken] for layer, part in frames.items()}
        before = ["<s>", *tokens[:-1]]
        pairs = list(zip(before, tokens, strict=True))
        examples[output].add(tokens, pairs, before, utterance.speaker, rows)
        if output == "surface" and (marks := deviations(utterance, tokens, system, output)):
            examples[DEVIATES].add(marks, pairs, pairs, utterance.speaker, rows)


def _by_layer(encoded: Mapping[Stream, Encoded], change: Callable) -> dict[Layer, torch.Tensor]:
    return {
        (stream, layer): change(rows.cpu())
        for stream, layers in distinct_layers(encoded).items()
        for layer, rows in layers.items()
    }


def token_lengths(spans: Sequence[tuple[float, float]], frames: int) -> list[int]:
    """Return the frames of each token: from half-way to the one before to half-way to the next.

    >>> token_lengths([(1.0, 2.0), (5.0, 6.0)], 8)
    [4, 4]
    """
    middles = [(start + end) / 2 for start, end in spans]
    ends = [round((a + b) / 2) for a, b in zip(middles, middles[1:], strict=False)] + [frames]
    lengths, last = [], 0
    for i, end in enumerate(ends):
        end = min(max(end, last + 1), frames - (len(ends) - 1 - i))  # at least one frame each
        lengths.append(end - last)
        last = end
    return lengths


def deviations(utterance: Utterance, tokens: Sequence[str], system, output: str) -> list[bool]:
    """Return for each surface token whether it differs from the expected one.

    Expected is text.canonical, or without it the meaning; the list is empty if neither can be
    compared. A deletion belongs to no token and is not probed.
    """
    expected = utterance.texts.get("canonical", NA)
    if expected == NA and system.model.heads[output].options.token_type != "phone":
        expected = utterance.texts.get("meaning", NA)
    if expected == NA:
        return []
    sides = [system.tokenizers[output].encode(split_tags(expected)[0]), tokens]
    # Tokens are joined by spaces below, so spaces within them become visible ones.
    texts = [" ".join(token.replace(" ", "␣") for token in side) for side in sides]
    columns = align_texts([texts[0]], [texts[1]], "per")[0]
    return [column != "=" for column in columns if column != "d"]
