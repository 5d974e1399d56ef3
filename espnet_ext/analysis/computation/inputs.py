"""Systems and utterances that an analysis runs on, and the error rates that it measures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from espnet_ext.data.audio import load_utterance
from espnet_ext.data.directory import read_directory
from espnet_ext.data.record import Utterance
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.errors import UserError
from espnet_ext.scoring.counts import align_texts, count_edits

MAX_GROUPS = 20  # of speakers; one group per speaker up to that number, which bounds memory
METRICS = {"phone": "per", "word": "wer", "label": "wer"}  # by token type; the others count CER


def load_systems(
    model_dirs: Mapping[str, str | Path], device: str, **options
) -> dict[str, DualSpeech2Text]:
    """Load model directories by name, with options of the search.

    Raises:
        UserError: if they were trained for different sample rates.
    """
    systems = {
        name: DualSpeech2Text.from_pretrained(folder, device=device, **options)
        for name, folder in model_dirs.items()
    }
    rates = {name: system.sample_rate for name, system in systems.items()}
    if len(set(rates.values())) > 1:
        listed = ", ".join(f"{name} {rate} Hz" for name, rate in rates.items())
        raise UserError(
            f"systems with different sample rates: {listed}", "analyse systems of one rate together"
        )
    return systems


def read_sample(data: str | Path, limit: int) -> list[Utterance]:
    """Read at most `limit` utterances of a data directory (0: all), evenly spread.

    Raises:
        UserError: if there are none.
    """
    utterances = {utterance.utt_id: utterance for utterance in read_directory(data)}
    if not utterances:
        raise UserError(f"{data}: no utterances", "give a data directory that is not empty")
    return [utterances[utt_id] for utt_id in choose(list(utterances), limit)]


def choose(ids: Sequence[str], limit: int) -> list[str]:
    """Return at most `limit` ids, evenly spread over the sorted list and so over the speakers.

    >>> choose(["a-1", "a-2", "b-1", "b-2"], 2)
    ['a-1', 'b-1']
    """
    ordered = sorted(ids)
    if limit <= 0 or len(ordered) <= limit:
        return ordered
    return [ordered[i * len(ordered) // limit] for i in range(limit)]


def load_speech(
    systems: Mapping[str, DualSpeech2Text], utterances: Sequence[Utterance]
) -> list[np.ndarray]:
    """Load waveforms (S,) at the sample rate of the systems."""
    rate = next(iter(systems.values())).sample_rate
    return [load_utterance(utterance, rate)[0] for utterance in utterances]


def group_numbers(utterances: Sequence[Utterance]) -> dict[str, int]:
    """Return the group of each speaker: its own, or one of MAX_GROUPS of about equal size."""
    speakers = sorted({utterance.speaker for utterance in utterances})
    count = min(MAX_GROUPS, len(speakers))
    return {speaker: i * count // len(speakers) for i, speaker in enumerate(speakers)}


def batches_by_group(
    utterances: Sequence[Utterance], size: int
) -> list[tuple[int, list[Utterance]]]:
    """Return (group of speakers, at most `size` utterances of it)."""
    numbers = group_numbers(utterances)
    members: dict[int, list[Utterance]] = {}
    for utterance in utterances:
        members.setdefault(numbers[utterance.speaker], []).append(utterance)
    return [
        (group, rows[start : start + size])
        for group, rows in sorted(members.items())
        for start in range(0, len(rows), size)
    ]


def speaker_errors(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    speakers: Mapping[str, str],
    metric: str,
) -> dict[str, tuple[int, int]]:
    """Return (errors, reference tokens) of each speaker; all arguments go by utterance."""
    ids = list(references)
    alignments = align_texts(
        [references[utt_id] for utt_id in ids], [hypotheses[utt_id] for utt_id in ids], metric
    )
    sums: dict[str, tuple[int, int]] = {}
    for utt_id, alignment in zip(ids, alignments, strict=True):
        errors, tokens = sums.get(speakers[utt_id], (0, 0))
        counts = count_edits(alignment)
        sums[speakers[utt_id]] = (errors + counts.errors, tokens + counts.tokens)
    return sums
