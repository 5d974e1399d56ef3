"""What a data directory shares with another one that it should not, e.g. a test and a training set.

Each check compares the directory with every directory of `CheckOptions.against`.
"""

from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from espnet_ext.data.checks.audio import check_shared_audio
from espnet_ext.data.checks.context import Checked, some_ids
from espnet_ext.data.checks.findings import NOTE, WARNING
from espnet_ext.data.directory import require_directory, text_files
from espnet_ext.data.record import NA
from espnet_ext.data.table import normalized, stream_rows, stream_table

_SENTENCES = "meaning"  # output whose texts are compared; surface texts hardly ever repeat


def check_splits(checked: Checked) -> None:
    """Report what the directory shares with each of `CheckOptions.against`."""
    for path in checked.options.against:
        other = require_directory(path)
        if other.resolve() == checked.folder.resolve():
            continue  # a list of directories may be compared with a list that has them too
        _check_speakers(checked, other)
        _check_ids(checked, other)
        _check_sentences(checked, other)
        _check_characters(checked, other)
        if checked.options.check_audio and checked.options.duplicates:
            check_shared_audio(checked, other)


def _check_speakers(checked: Checked, other: Path) -> None:
    file = checked.folder / "utt2spk"
    speakers = {speaker for _, _, speaker in stream_rows(other / "utt2spk")}
    shared = Counter(speaker for _, _, speaker in stream_rows(file) if speaker in speakers)
    if shared:
        share = f"{len(shared)} of {checked.speakers} speakers ({shared.total()} utterances)"
        message = f"{share} are in {other} too: {some_ids(sorted(shared))}"
        remedy = "split by speakers; otherwise results do not hold for new speakers"
        checked.add(WARNING, "shared-speakers", (file, 0, ""), message, remedy, share)


def _check_ids(checked: Checked, other: Path) -> None:
    shared = [key for _, key, _ in stream_rows(other / "wav.scp") if key in checked.ids]
    if shared:
        message = f"{len(shared)} utterances have an id that is in {other} too: {some_ids(shared)}"
        remedy = "remove them from one of the two, or rename them if they are different"
        place = (checked.folder / "wav.scp", 0, "")
        checked.add(checked.options.shared_severity, "shared-ids", place, message, remedy)


def _sentences(file: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the id and an 8-byte hash of each transcript; millions of hashes fit into memory."""
    for block in stream_table(file, []):
        for _, key, value in block.rows():
            if value != NA:
                text = value if block.is_normal else normalized(value)
                yield key, blake2b(text.encode(errors="replace"), digest_size=8).digest()


def _check_sentences(checked: Checked, other: Path) -> None:
    file, other_file = (text_files(folder).get(_SENTENCES) for folder in (checked.folder, other))
    if file is None or other_file is None:
        return
    known = {sentence for _, sentence in _sentences(other_file)}
    shared, count = [], 0
    for key, sentence in _sentences(file):
        count += 1
        if sentence in known:
            shared.append(key)
    if shared:
        share = f"{len(shared)} of {count} utterances"
        message = (
            f"{share} ({100 * len(shared) / count:.1f} %) have a sentence that is in {other} too: "
            f"{some_ids(shared)}"
        )
        remedy = "split by sentences, or report it: known sentences lower the meaning error rate"
        checked.add(WARNING, "shared-sentences", (file, 0, ""), message, remedy, share)


def _check_characters(checked: Checked, other: Path) -> None:
    """Report characters that `other`, a training set, does not contain."""
    files, other_files = text_files(checked.folder), text_files(other)
    for name, counts in checked.characters.items():
        if name not in other_files or not counts:
            continue
        known: set[str] = set()
        for block in stream_table(other_files[name], []):
            known.update("".join(block.values))
        missing = sorted(counts.keys() - known - {" "})
        if missing:
            message = f"{len(missing)} characters are not in {other}: {' '.join(missing[:30])}"
            remedy = "check whether they are intended: training cannot learn them"
            checked.add(NOTE, "unseen-characters", (files[name], 0, ""), message, remedy)
