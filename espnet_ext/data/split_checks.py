"""What two data directories share that should be apart, as a test set and its training set."""

import os
from hashlib import blake2b
from pathlib import Path

from espnet_ext.data.checking import Check, named
from espnet_ext.data.directory import require_directory, text_files
from espnet_ext.data.findings import NOTE, WARNING
from espnet_ext.data.record import NA
from espnet_ext.data.table import normalized, stream_table

_MEANT = "meaning"  # the output whose sentences are compared: a surface is hardly ever said twice


def check_against(
    check: Check, folder: Path, other: str | os.PathLike, leaks: str = WARNING
) -> None:
    """Speakers, utterances and sentences of `folder` that `other` has too; letters it has not.

    `leaks` is how severe it is that an utterance is in both.
    """
    there = require_directory(other)
    _check_ids(check, folder, there, leaks)
    _check_sentences(check, folder, there)
    _check_characters(check, folder, there)


def _values(file: Path) -> set[str]:
    return {value for block in stream_table(file, []) for value in block.values}


def _check_ids(check: Check, folder: Path, there: Path, leaks: str) -> None:
    speakers = _values(there / "utt2spk")
    leaked: dict[str, int] = {}
    for block in stream_table(folder / "utt2spk", []):
        for speaker in block.values:
            if speaker in speakers:
                leaked[speaker] = leaked.get(speaker, 0) + 1
    if leaked:
        message = (
            f"{len(leaked)} of {check.speakers} speakers ({sum(leaked.values())} utterances) are "
            f"in {there} too: {named(sorted(leaked))}"
        )
        remedy = "split by speakers; else results say little about new ones"
        check.add(WARNING, "shared-speakers", (folder / "utt2spk", 0, ""), message, remedy)
    shared = [
        key
        for block in stream_table(there / "wav.scp", [])
        for key in block.keys
        if key in check.ids
    ]
    if shared:
        message = f"{len(shared)} utterances have the ids of utterances in {there}: {named(shared)}"
        remedy = "take them out of one of the two, or rename them if they are not the same"
        check.add(leaks, "shared-ids", (folder / "wav.scp", 0, ""), message, remedy)


def _hashes(file: Path):
    """(id, hash of the transcript); eight bytes, so that a million are quickly held."""
    for block in stream_table(file, []):
        for key, value in zip(block.keys, block.values, strict=True):
            text = value if block.tame else normalized(value)
            if value != NA:
                yield key, blake2b(text.encode(errors="replace"), digest_size=8).digest()


def _check_sentences(check: Check, folder: Path, there: Path) -> None:
    here, known = text_files(folder).get(_MEANT), text_files(there).get(_MEANT)
    if here is None or known is None:
        return
    sentences = {text for _, text in _hashes(known)}
    shared, count = [], 0
    for key, text in _hashes(here):
        count += 1
        if text in sentences:
            shared.append(key)
    if shared:
        message = (
            f"{len(shared)} of {count} utterances ({100 * len(shared) / count:.1f} %) have a "
            f"sentence that is in {there} too: {named(shared)}"
        )
        remedy = "split by sentences too, or say so: a known sentence flatters the meaning"
        check.add(WARNING, "shared-sentences", (here, 0, ""), message, remedy)


def _check_characters(check: Check, folder: Path, there: Path) -> None:
    known = text_files(there)
    for name, counts in check.characters.items():
        if name not in known or not counts:
            continue
        seen: set[str] = set()
        for block in stream_table(known[name], []):
            seen.update("".join(block.values))
        missing = sorted(character for character in counts.keys() - seen if character != " ")
        if missing:
            message = f"{len(missing)} characters are not in {there}: {' '.join(missing[:30])}"
            remedy = "training cannot learn them; are they meant?"
            place = (text_files(folder)[name], 0, "")
            check.add(NOTE, "unseen-characters", place, message, remedy)
