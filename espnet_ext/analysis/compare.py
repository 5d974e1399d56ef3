"""Compare the encoders of several systems, layer by layer, on the same utterances.

`compare_encoders` returns, and `analyze cka` writes::

    {"kind": "cka", "version": 1, "measure": "linear CKA",
     "data": "<directory>", "utterances": int, "frames": int,
     "models": {"so_surface": {"directory", "layers": ["embed", "0", "1", …]}},
     "pairs": [{"a": "so_surface", "b": "so_meaning",
                "grid": [[…]],                 a's layers × b's layers, null where undefined
                "debiased": [[…]],             the same without the bias of few frames
                "curve": [{"layer": "0", "cka": 0.43, "debiased": 0.42}]}]}   layers that both have

Layer "embed" is the output of subsampling, "0" that of the first block (the paper's layer 0).
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_ext.analysis.cka import CkaGrid
from espnet_ext.analysis.representations import choose, encoder_frames
from espnet_ext.data.audio import load_audio
from espnet_ext.data.directory import read_directory
from espnet_ext.decoding.api import sample_rate_of
from espnet_ext.errors import UserError
from espnet_ext.model.load import load_model
from espnet_ext.progress import track


def compare_encoders(
    model_dirs: Mapping[str, str],
    data: str | Path,
    *,
    max_utterances: int = 500,
    batch_size: int = 16,
    device: str = "cpu",
) -> dict:
    """CKA of every pair of layers, for every pair of systems; the module says what is returned."""
    loaded = {name: load_model(folder, device=device) for name, folder in model_dirs.items()}
    models = {name: model for name, (model, _) in loaded.items()}
    utterances = {u.utt_id: u for u in read_directory(data)}
    chosen = choose(list(utterances), max_utterances)
    if not chosen:
        raise UserError(f"{data}: no utterances", "give a data directory that is not empty")
    rate = _common_rate({name: config for name, (_, config) in loaded.items()})
    batches = _batches(chosen, batch_size)
    grids = {pair: CkaGrid() for pair in itertools.combinations(models, 2)}
    layers: dict[str, list[str]] = {}
    for ids in track(batches, "comparing encoders", unit="batch"):
        speech = [load_audio(utterances[utt_id].audio, rate)[0] for utt_id in ids]
        frames = encoder_frames(models, speech, ids)
        layers = {name: names for name, (names, _) in frames.items()}
        for (a, b), grid in grids.items():
            grid.update(frames[a][1], frames[b][1])
    return {
        "kind": "cka",
        "version": 1,
        "measure": "linear CKA",
        "data": str(data),
        "utterances": len(chosen),
        "frames": next(iter(grids.values())).frames,
        "models": {
            name: {"directory": str(model_dirs[name]), "layers": layers[name]} for name in models
        },
        "pairs": [_pair(a, b, layers, grid) for (a, b), grid in grids.items()],
    }


def _common_rate(configs: Mapping[str, Mapping]) -> int:
    """The sample rate in Hz that all systems were trained for (ESPnet also writes "16k")."""
    rates = {name: sample_rate_of(config) for name, config in configs.items()}
    if len(set(rates.values())) > 1:
        listed = ", ".join(f"{name} {rate} Hz" for name, rate in rates.items())
        raise UserError(f"systems for different sample rates: {listed}", "compare others")
    return next(iter(rates.values()))


def _batches(ids: Sequence[str], size: int) -> list[list[str]]:
    return [list(ids[start : start + size]) for start in range(0, len(ids), size)]


def _pair(a: str, b: str, layers: Mapping[str, Sequence[str]], grid: CkaGrid) -> dict:
    rows, debiased = (
        [[None if math.isnan(value) else value for value in row] for row in values]
        for values in (grid.values(), grid.values(debiased=True))
    )
    column = {layer: j for j, layer in enumerate(layers[b])}
    curve = [
        {"layer": layer, "cka": rows[i][column[layer]], "debiased": debiased[i][column[layer]]}
        for i, layer in enumerate(layers[a])
        if layer in column
    ]
    return {"a": a, "b": b, "grid": rows, "debiased": debiased, "curve": curve}
