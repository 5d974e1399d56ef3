"""Task vectors of trained models: lengths, angles, and recognition with one of them off.

`inspect_vectors` returns::

    {"kind": "vectors", "version": 2, "data", "utterances", "speakers",
     "normalised": {"<file>": 3},      references that `normal_form` changed, if there are any
     "models": {name: {"directory"}},
     "systems": [{"system", "mode", "places": [
         {"place": "features", "labels": ["surface", "meaning"], "trained": [true, …],
          "norms": [1.2, …],
          "history": {"epochs": [1, 2, …], "norms": {label: [0.3, …]}},
          "states": float | null,        mean length of the frames that the vectors are added to
          "cosine": [[1.0, …]], "points": [[x, y] or null, …], "explained": [0.9, 0.1]}],
       "leakage": [{"tag": "meaning.l1", "active": ["surface", "meaning"], "trained": bool,
                    "utterances", "emitted", "share", "emitted_on", "share_on"}],
       "off": [{"output": "surface", "active": ["meaning"], "trained": bool, "utterances",
                "metric", "rate_off", "rate_on", "interval"}]}]}

`history` is from the validation of each epoch. A vector of a combination that training never used
keeps its initial value: `trained` is false, and it has no point; `points` are the first two
principal components of the others. In the rows of `leakage` and `off`, `trained` says whether
training used that set of active tasks.

Leakage is the share of utterances (percent) in which an output writes a tag while the tag's vector
is off (`share_on`: on). An output as a whole always writes something, because training never shows
it silence; for outputs the rows give the error with its vectors off and on, with the interval of
the difference (off − on), paired by speaker.
"""

from collections.abc import Mapping, Sequence
from itertools import batched
from pathlib import Path
from typing import Any

import torch

from espnet_ext.analysis.computation.hidden_states import condition_ids, pad, without_padding
from espnet_ext.analysis.computation.inputs import (
    METRICS,
    load_speech,
    load_systems,
    read_conditions,
    read_sample,
    speaker_errors,
    token_types,
)
from espnet_ext.data.record import NA, Utterance
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.request import active_tasks
from espnet_ext.model.conditioning.vectors import TaskVectors, position_factor
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.model.layers import watch
from espnet_ext.model.load import load_config
from espnet_ext.progress import track
from espnet_ext.scoring import bootstrap
from espnet_ext.scoring.normal_form import Changes, normalise_references
from espnet_ext.scoring.tag_errors import split_all_tags


def inspect_vectors(
    model_dirs: Mapping[str, str | Path],
    data: str | Path,
    options: Mapping[str, Any],
    *,
    symbols: Sequence[str] = (),
    max_utterances: int = 200,
    batch_size: int = 16,
    device: str = "cpu",
) -> dict:
    """Inspect the systems that have task vectors; see the module for the result.

    Args:
        model_dirs: systems by name.
        data: a formatted data directory with references.
        options: options of the search.
        symbols: non-linguistic symbols, removed from references and hypotheses.
    """
    utterances = {item.utt_id: item for item in read_sample(data, max_utterances)}
    systems, changes = [], Changes(symbols=symbols)
    for name, folder in model_dirs.items():
        if load_config(folder).get("conditioning") == "vectors":
            system = load_systems({name: folder}, device, **options)[name]
            types = token_types({name: system})
            compared = list(normalise_references(utterances, types, data, changes).values())
            conditions = read_conditions({name: system}, data)
            inspection = _Inspection(name, system, compared, batch_size, conditions, symbols)
            systems.append(inspection.result(Path(folder) / "checkpoint.pth"))
    return {
        "kind": "vectors",
        "version": 2,
        "data": str(data),
        "utterances": len(utterances),
        "speakers": len({utterance.speaker for utterance in utterances.values()}),
        "normalised": changes.counts,
        "models": {name: {"directory": str(folder)} for name, folder in model_dirs.items()},
        "systems": systems,
    }


class _Inspection:
    """The inspection of one system on a list of utterances."""

    def __init__(
        self,
        name: str,
        system: DualSpeech2Text,
        utterances: Sequence[Utterance],
        size: int,
        conditions: Mapping[str, Mapping[str, str]],
        symbols: Sequence[str],
    ):
        vectors = system.model.conditioning
        assert isinstance(vectors, TaskVectors)
        self.name, self.system, self.vectors = name, system, vectors
        self.utterances, self.size, self.conditions = utterances, size, conditions
        self.symbols = symbols

    def result(self, checkpoint: Path) -> dict:
        statistics = read_history(checkpoint)
        lengths = self._frame_lengths()
        return {
            "system": self.name,
            "mode": self.vectors.mode,
            "places": [
                {
                    "place": place,
                    **describe(self.vectors, place),
                    "states": lengths[place],
                    "history": _history_of(statistics, self.vectors, place),
                }
                for place in self.vectors.places
            ],
            "leakage": [
                self._leakage(tag)
                for tag in track(list(self.vectors.tags.ids), f"tags off, {self.name}", unit="tag")
            ],
            "off": [
                self._vector_off(output)
                for output in track(self.system.outputs, f"vectors off, {self.name}", unit="output")
            ],
        }

    @torch.no_grad()
    def _frame_lengths(self) -> dict[str, float | None]:
        """Return the mean length of the frames at each place, without any vector."""
        model, device = self.system.model, self.system.device
        batch = self.utterances[: self.size]
        speech, lengths = pad(load_speech({"": self.system}, batch))
        request = EncoderRequest(
            conditions=condition_ids(model, self.conditions, [u.utt_id for u in batch]),
            batch_invariant=True,
        )
        embed = getattr(model.encoder, "embed", None)
        model.conditioning = None
        try:
            with watch({} if embed is None else {"features": embed}) as states:
                encoded, frames = model.encode(
                    speech.to(device), lengths.to(device), request
                ).shared()
        finally:
            model.conditioning = self.vectors
        if "features" in states:
            states["features"] = states["features"] / position_factor(model.encoder)
        states["encoder"] = encoded
        norms: dict[str, float | None] = {}
        for place in self.vectors.places:
            shown = place in states and states[place].shape[:2] == encoded.shape[:2]
            rows = without_padding(states[place], frames) if shown else None
            norms[place] = None if rows is None else float(rows.norm(dim=-1).mean())
        return norms

    def _leakage(self, tag: str) -> dict:
        """Count the utterances in which a tag is written while its vector is off, and on."""
        output, _, kind = tag.partition(".")
        model = self.system.model
        on = active_tasks(model, [output, tag], "auto")[output]
        others = [task for task in self.vectors.tasks if task != tag]
        off = active_tasks(model, others, "auto")[output]
        off = tuple(task for task in off if task != tag)  # there if training always had the tag
        written = [
            sum(
                kind in tags for tags in split_all_tags(self._recognise(output, active))[1].values()
            )
            for active in (off, on)
        ]
        shares = [100.0 * count / len(self.utterances) for count in written]
        return {
            "tag": tag,
            "active": list(off),
            "trained": off in self.vectors.trained,
            "utterances": len(self.utterances),
            "emitted": written[0],
            "share": shares[0],
            "emitted_on": written[1],
            "share_on": shares[1],
        }

    def _vector_off(self, output: str) -> dict:
        """Return the error of an output while all others are active and it is not."""
        others = tuple(t for t in self.vectors.tasks if t.partition(".")[0] != output)
        token_type = self.system.model.heads[output].options.token_type
        labelled = [u for u in self.utterances if u.texts.get(output, NA) != NA]
        references = split_all_tags({u.utt_id: u.texts[output] for u in labelled})[0]
        speakers = {u.utt_id: u.speaker for u in labelled}
        on, off = (
            speaker_errors(
                references,
                split_all_tags(self._recognise(output, active))[0],
                speakers,
                token_type,
                self.symbols,
            )
            for active in (self.system.active[output], others)
        )
        errors_on, tokens = zip(*on.values(), strict=True) if on else ((), ())
        errors_off = [errors for errors, _ in off.values()]
        total = sum(tokens)
        difference = bootstrap.paired_interval(errors_on, errors_off, tokens) if total else None
        return {
            "output": output,
            "active": list(others),
            "trained": others in self.vectors.trained,
            "utterances": len(labelled),
            "metric": METRICS.get(token_type, "cer"),
            "rate_on": 100.0 * sum(errors_on) / total if total else None,
            "rate_off": 100.0 * sum(errors_off) / total if total else None,
            "interval": difference and difference["interval"],
        }

    def _recognise(self, output: str, active: tuple[str, ...]) -> dict[str, str]:
        """Return the recognised text of each utterance while only `active` tasks are active."""
        system = self.system.restricted(output, active)
        texts: dict[str, str] = {}
        for batch in batched(self.utterances, self.size):
            waves = [torch.from_numpy(wave) for wave in load_speech({"": self.system}, batch)]
            labels = {
                name: [of_utterance[u.utt_id] for u in batch]
                for name, of_utterance in self.conditions.items()
            }
            results = zip(batch, system.batch(waves, conditions=labels), strict=True)
            texts |= {u.utt_id: result.best[output].text for u, result in results}
        return texts


def describe(vectors: TaskVectors, place: str) -> dict:
    """Return lengths, cosines and principal components of the vectors added at `place`.

    All are of the vectors after normalization (`TaskVectors.vectors`). The principal components are
    computed from the vectors that training used, or from all vectors if those are unknown.
    """
    trained = _trained(vectors)
    table = vectors.vectors(place).detach().cpu().double()  # (V, D)
    norms = table.norm(dim=1)
    unit = table / norms.clamp(min=1e-12)[:, None]
    points, explained = principal(table[torch.tensor(trained)])
    remaining = iter(points.tolist())
    return {
        "labels": vectors.labels,
        "trained": trained,
        "norms": norms.tolist(),
        "cosine": (unit @ unit.T).tolist(),
        "points": [next(remaining) if known else None for known in trained],
        "explained": explained.tolist(),
    }


def _trained(vectors: TaskVectors) -> list[bool]:
    """Return whether training ever added each vector; all true if that is unknown."""
    used = {name for names in vectors.trained for name in names}
    if vectors.mode == "per_combination":
        used = {"+".join(names) for names in vectors.trained}
    return [not used or label in used for label in vectors.labels]


def principal(table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two principal components of rows (V, D), and their shares of the variance.

    A component that the rows do not have (two rows lie on one line) is zero.

    Returns:
        Points (V, 2) and shares (2,).
    """
    left, sizes, _ = torch.linalg.svd(table - table.mean(0), full_matrices=False)
    # The sign of a component is arbitrary: the largest entry is made positive.
    signs = left.gather(0, left.abs().argmax(0, keepdim=True)).sign()
    points = (left * signs * sizes)[:, :2]
    shares = (sizes.square() / sizes.square().sum().clamp(min=1e-24))[:2]
    missing = (0, 2 - points.size(1))
    return torch.nn.functional.pad(points, missing), torch.nn.functional.pad(shares, missing)


def read_history(checkpoint: Path) -> dict[int, dict[str, float]]:
    """Return the mean validation statistics of each epoch; {} without a checkpoint."""
    if not checkpoint.is_file():
        return {}
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    return {
        epoch: parts["valid"]
        for epoch, parts in saved["reporter"]["stats"].items()
        if "valid" in parts
    }


def _history_of(history: Mapping[int, Mapping], vectors: TaskVectors, place: str) -> dict:
    keys = {label: f"norm_{place}_{label}" for label in vectors.labels}
    epochs = sorted(e for e, stats in history.items() if all(k in stats for k in keys.values()))
    norms = {label: [float(history[e][key]) for e in epochs] for label, key in keys.items()}
    return {"epochs": epochs, "norms": norms}
