"""Systems and utterances that an analysis runs on, and the error rates that it measures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from espnet_ext.data.audio import load_utterance
from espnet_ext.data.conditions import read_condition
from espnet_ext.data.directory import read_directory
from espnet_ext.data.record import Utterance
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.errors import UserError
from espnet_ext.model.heads.side_input_options import side_inputs_of
from espnet_ext.scoring.counts import align_texts, count_edits
from espnet_ext.scoring.normal_form import Changes, comparison_form, normalise_references
from espnet_ext.text.tags import split_tags

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


def require_plain_heads(systems: Mapping[str, DualSpeech2Text]) -> None:
    """Raise `UserError` if a head of a system reads more than the encoder output."""
    for name, system in systems.items():
        outputs = {output: vars(head.options) for output, head in system.model.heads.items()}
        if reason := side_inputs_of({"outputs": outputs}):
            raise UserError(
                f"{name}: {reason}, but this analysis runs heads on encoder output alone",
                f"leave out {name}",
            )


def read_sample(data: str | Path, limit: int) -> list[Utterance]:
    """Read at most `limit` utterances of a data directory (0: all), evenly spread.

    Raises:
        UserError: if there are none.
    """
    utterances = {item.utt_id: item for item in read_directory(data, empty_texts=True)}
    if not utterances:
        raise UserError(f"{data}: no utterances", "give a data directory that is not empty")
    return [utterances[utt_id] for utt_id in choose(list(utterances), limit)]


def read_references(
    data: str | Path, limit: int, token_types: Mapping[str, str], changes: Changes
) -> list[Utterance]:
    """Read a sample of a data directory (`read_sample`) with its texts in the form for comparison.

    Args:
        token_types: output → token type (`token_types`).
        changes: counts the texts that were normalised; a note is printed for each file.
    """
    utterances = {item.utt_id: item for item in read_sample(data, limit)}
    return list(normalise_references(utterances, token_types, data, changes).values())


def token_types(systems: Mapping[str, DualSpeech2Text]) -> dict[str, str]:
    """Return the token type of each output of the systems."""
    return {
        output: head.options.token_type
        for system in systems.values()
        for output, head in system.model.heads.items()
    }


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


def read_conditions(
    systems: Mapping[str, DualSpeech2Text], data: str | Path
) -> dict[str, dict[str, str]]:
    """Return condition → utterance → label, of the conditions that any of the systems reads.

    Raises:
        UserError: if an utterance of the data has no label, or one that a system does not know.
    """
    return {
        name: read_condition(data, name, values)
        for system in systems.values()
        for name, values in getattr(system.model, "condition_values", {}).items()
    }


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
    token_type: str,
    symbols: Sequence[str] = (),
) -> dict[str, tuple[int, int]]:
    """Return (errors, reference tokens) of each speaker.

    Both sides are compared in the form of `scoring.normal_form`, without inline tags.

    Args:
        references, hypotheses, speakers: by utterance.
        token_type: token type of the texts; it selects the metric (`METRICS`).
        symbols: non-linguistic symbols, which are removed.
    """
    ids = list(references)
    reference_texts, hypothesis_texts = (
        [split_tags(comparison_form(side[utt_id], token_type, symbols))[0] for utt_id in ids]
        for side in (references, hypotheses)
    )
    alignments = align_texts(reference_texts, hypothesis_texts, METRICS.get(token_type, "cer"))
    sums: dict[str, tuple[int, int]] = {}
    for utt_id, alignment in zip(ids, alignments, strict=True):
        errors, tokens = sums.get(speakers[utt_id], (0, 0))
        counts = count_edits(alignment)
        sums[speakers[utt_id]] = (errors + counts.errors, tokens + counts.tokens)
    return sums
