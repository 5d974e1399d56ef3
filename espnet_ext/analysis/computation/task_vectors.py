"""Task vectors seen from outside: lengths, angles, and what is written with one of them off.

`inspect_vectors` returns, and `analyze vectors` writes::

    {"kind": "vectors", "version": 2, "data", "utterances", "speakers",
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

`history` is of the validation of each epoch. A vector of a combination that training never saw is
as it was initialised: `trained` false, and no point; `points` are the first two principal
components of the others. In rows `trained` says whether training saw that set of active tasks.

Leakage: share of utterances (percent) in which an output writes a tag while the tag's vector is off
(`share_on`: on). Of whole outputs it cannot be told, since a branch is decoded because it is asked
for, and training never shows it silence; told is how its error changes: `rate_off` and `rate_on`
with its vector (and its tags') off and on, `interval` that of their difference (off − on), paired
by speaker.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from espnet_ext.analysis.computation.sampling import choose
from espnet_ext.data.audio import load_utterance
from espnet_ext.data.directory import read_directory
from espnet_ext.data.record import NA, Utterance
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.request import active_tasks
from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.vectors import TaskVectors, position_factor
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.model.load import load_config
from espnet_ext.progress import track
from espnet_ext.scoring import bootstrap
from espnet_ext.scoring.counts import align_texts, count_edits
from espnet_ext.scoring.tag_errors import split_all_tags

METRICS = {"phone": "per", "word": "wer", "label": "wer"}  # the others count characters


def inspect_vectors(
    model_dirs: Mapping[str, str | Path],
    data: str | Path,
    options: Mapping[str, Any],
    *,
    max_utterances: int = 200,
    batch_size: int = 16,
    device: str = "cpu",
) -> dict:
    """Everything about the systems that have task vectors; the others have no entry.

    Args:
        model_dirs: systems by name; data: a dumped set with references; options: of the search.
    """
    utterances = {one.utt_id: one for one in read_directory(data)}
    if not utterances:
        raise UserError(f"{data}: no utterances", "give a data directory that is not empty")
    chosen = [utterances[i] for i in choose(list(utterances), max_utterances)]
    systems = []
    for name, folder in model_dirs.items():
        if load_config(folder).get("conditioning") == "vectors":
            systems.append(_system(name, Path(folder), chosen, options, batch_size, device))
    return {
        "kind": "vectors",
        "version": 2,
        "data": str(data),
        "utterances": len(chosen),
        "speakers": len({one.speaker for one in chosen}),
        "models": {name: {"directory": str(folder)} for name, folder in model_dirs.items()},
        "systems": systems,
    }


def _system(name, folder: Path, utterances, options, batch_size: int, device: str) -> dict:
    recognise = DualSpeech2Text.from_pretrained(folder, device=device, **options)
    vectors = recognise.model.conditioning
    history = read_history(folder / "checkpoint.pth")
    lengths = _state_lengths(recognise, utterances[:batch_size])
    return {
        "system": name,
        "mode": vectors.mode,
        "places": [
            {
                "place": place,
                **describe(vectors, place),
                "states": lengths[place],
                "history": _history_of(history, vectors, place),
            }
            for place in vectors.places
        ],
        "leakage": [
            _leakage(recognise, tag, utterances, batch_size)
            for tag in track(list(vectors.tags.ids), f"tags off, {name}", unit="tag")
        ],
        "off": [
            _off(recognise, output, utterances, batch_size)
            for output in track(recognise.outputs, f"vectors off, {name}", unit="output")
        ],
    }


def describe(vectors: TaskVectors, place: str) -> dict:
    """Lengths, cosines and two principal components of the vectors of a place, as added.

    The components are those of the vectors that were trained; all are if that is unknown.
    """
    trained = _trained(vectors)
    table = vectors.vectors(place).detach().cpu().double()  # (V, D)
    norms = table.norm(dim=1)
    unit = table / norms.clamp(min=1e-12)[:, None]
    points, explained = principal(table[torch.tensor(trained)])
    rest = iter(points.tolist())
    return {
        "labels": vectors.labels,
        "trained": trained,
        "norms": norms.tolist(),
        "cosine": (unit @ unit.T).tolist(),
        "points": [next(rest) if known else None for known in trained],
        "explained": explained.tolist(),
    }


def _trained(vectors: TaskVectors) -> list[bool]:
    """Whether training added each vector to anything; all true if that is unknown."""
    seen = {name for names in vectors.trained for name in names}
    if vectors.mode == "per_combination":
        seen = {"+".join(names) for names in vectors.trained}
    return [not seen or label in seen for label in vectors.labels]


def principal(table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two principal components of rows (V, D), and their shares of the variance: (V, 2), (2,).

    A component that the rows do not have (two rows lie on one line) is zero.
    """
    centred = table - table.mean(0)
    left, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
    # The sign of a component is arbitrary: the largest entry is made positive.
    signs = left.gather(0, left.abs().argmax(0, keepdim=True)).sign()
    points = (left * signs * sizes)[:, :2]
    shares = (sizes.square() / sizes.square().sum().clamp(min=1e-24))[:2]
    missing = 2 - points.size(1)
    return (
        torch.nn.functional.pad(points, (0, missing)),
        torch.nn.functional.pad(shares, (0, missing)),
    )


def read_history(checkpoint: Path) -> dict[int, dict[str, float]]:
    """Epoch → the mean of every statistic of its validation; {} without a checkpoint."""
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
    norms = {label: [float(history[e][k]) for e in epochs] for label, k in keys.items()}
    return {"epochs": epochs, "norms": norms}


def _speech(recognise, utterances: Sequence[Utterance]) -> list[torch.Tensor]:
    rate = recognise.sample_rate
    return [torch.from_numpy(load_utterance(one, rate)[0]) for one in utterances]


@torch.no_grad()
def _state_lengths(recognise, utterances: Sequence[Utterance]) -> dict[str, float | None]:
    """Mean length of the frames that vectors are added to, at each place, without any vector."""
    model = recognise.model
    waves = _speech(recognise, utterances)
    speech = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True).to(recognise.device)
    lengths = torch.tensor([len(wave) for wave in waves]).to(recognise.device)
    seen: dict[str, torch.Tensor] = {}

    def keep(_module, _inputs, output) -> None:
        while isinstance(output, tuple):
            output = output[0]
        seen["features"] = output / position_factor(model.encoder)

    vectors, model.conditioning = model.conditioning, None
    embed = getattr(model.encoder, "embed", None)
    handle = embed.register_forward_hook(keep) if embed is not None else None
    try:
        seen["encoder"], frames = model.encode(
            speech, lengths, EncoderRequest(batch_invariant=True)
        ).shared()
    finally:
        model.conditioning = vectors
        if handle is not None:
            handle.remove()
    inside = torch.arange(seen["encoder"].size(1), device=frames.device) < frames[:, None]
    found = {}
    for place in vectors.places:
        states = seen.get(place)
        same = states is not None and states.shape[:2] == inside.shape
        found[place] = float(states[inside].norm(dim=-1).mean()) if same else None
    return found


def _leakage(recognise, tag: str, utterances: Sequence[Utterance], batch_size: int) -> dict:
    """In how many utterances a tag's output writes it while it is off, and while it is on."""
    vectors = recognise.model.conditioning
    output, _, kind = tag.partition(".")
    on = active_tasks(recognise.model, [output, tag], "auto")[output]
    rest = [task for task in vectors.tasks if task != tag]
    off = active_tasks(recognise.model, rest, "auto")[output]
    if tag in off:  # training never saw the output without it
        off = tuple(task for task in off if task != tag)
    counts = []
    for active in (off, on):
        written = _written(recognise, output, active, utterances, batch_size)
        counts.append(sum(kind in tags for tags in split_all_tags(written)[1].values()))
    shares = [100.0 * count / len(utterances) for count in counts]
    return {
        "tag": tag,
        "active": list(off),
        "trained": off in vectors.trained,
        "utterances": len(utterances),
        "emitted": counts[0],
        "share": shares[0],
        "emitted_on": counts[1],
        "share_on": shares[1],
    }


def _off(recognise, output: str, utterances: Sequence[Utterance], batch_size: int) -> dict:
    """How `output` errs while all others are active and it is not."""
    vectors = recognise.model.conditioning
    others = tuple(task for task in vectors.tasks if task.partition(".")[0] != output)
    on = _written(recognise, output, recognise.active[output], utterances, batch_size)
    off = _written(recognise, output, others, utterances, batch_size)
    kind = recognise.model.heads[output].options.token_type
    rates = _rates(output, METRICS.get(kind, "cer"), utterances, on, off)
    return {
        "output": output,
        "active": list(others),
        "trained": others in vectors.trained,
        "utterances": len(utterances),
        **rates,
    }


def _written(recognise, output, active, utterances, batch_size: int) -> dict[str, str]:
    changed = recognise.restricted(output, active)
    texts = {}
    for start in range(0, len(utterances), batch_size):
        batch = utterances[start : start + batch_size]
        results = changed.batch(_speech(recognise, batch))
        texts |= {u.utt_id: r.best[output].text for u, r in zip(batch, results, strict=True)}
    return texts


def _rates(output: str, metric: str, utterances, on, off) -> dict:
    """Error rates with the vector on and off over labelled utterances, and their difference's."""
    said = [one for one in utterances if one.texts.get(output, NA) != NA]
    references = list(split_all_tags({one.utt_id: one.texts[output] for one in said})[0].values())
    sums: dict[str, list[int]] = {}  # by speaker: errors on, errors off, tokens
    for index, texts in enumerate((on, off)):
        written = split_all_tags({one.utt_id: texts[one.utt_id] for one in said})[0]
        columns = align_texts(references, list(written.values()), metric)
        for one, letters in zip(said, columns, strict=True):
            total = sums.setdefault(one.speaker, [0, 0, 0])
            counts = count_edits(letters)
            total[index] += counts.errors
            total[2] += counts.tokens * (index == 0)
    errors_on, errors_off, tokens = (
        (list(c) for c in zip(*sums.values(), strict=True)) if sums else ([], [], [])
    )
    whole = sum(tokens)
    difference = bootstrap.paired_interval(errors_on, errors_off, tokens) if whole else None
    return {
        "metric": metric,
        "rate_on": 100.0 * sum(errors_on) / whole if whole else None,
        "rate_off": 100.0 * sum(errors_off) / whole if whole else None,
        "interval": difference and difference["interval"],
    }
