"""The tables of a data directory: recordings, speakers, labels, and who has a transcript."""

from collections.abc import Sequence
from itertools import count

from espnet_ext.data.audio import is_pipe, resolve_source
from espnet_ext.data.checks import kaldi
from espnet_ext.data.checks.columns import LabelColumn
from espnet_ext.data.checks.context import Checked, Place, some_ids
from espnet_ext.data.checks.findings import ERROR, NOTE, WARNING
from espnet_ext.data.directory import LABEL_TABLES
from espnet_ext.data.record import BANDS, NA, is_output_name
from espnet_ext.data.table import stream_rows, stream_table
from espnet_ext.errors import UserError


def check_recordings(checked: Checked) -> None:
    """Check the entries of wav.scp; fill in `ids` and `lines`."""
    file = checked.folder / "wav.scp"
    for block in stream_table(file, checked.findings):
        joined = "\n".join(block.values)
        is_absolute = f"\n{joined}".count("\n/") == len(block.values)
        if is_absolute and "" not in block.values and "|" not in joined:
            checked.ids.update(zip(block.keys, count(len(checked.lines)), strict=False))
            checked.lines.extend(block.lines)
            continue
        for line, key, source in block.rows():
            if not source:
                remedy = "fill in the audio, or remove the row"
                checked.add(ERROR, "no-value", (file, line, key), "names no audio", remedy)
                continue
            checked.ids[key] = len(checked.lines)
            checked.lines.append(line)
            place = (file, line, key)
            _check_source(checked, place, source)
            if checked.options.check_audio:
                _check_path(checked, place, source)
    if not checked.ids:
        remedy = "run data preparation (stage 1) again, or add utterances"
        checked.add(ERROR, "no-utterances", (file, 0, ""), "no utterances in it", remedy)


def _check_path(checked: Checked, place: Place, source: str) -> None:
    """Report a relative path that may be one of two files."""
    try:
        resolve_source(source, checked.folder)
    except UserError as error:
        checked.add(ERROR, "ambiguous-path", place, error.message, error.remedy)


def _check_source(checked: Checked, place: Place, source: str) -> None:
    if source[0] == "~":
        remedy = "write the whole path: ~ is not expanded"
        checked.add(ERROR, "tilde", place, f"begins with ~: {source}", remedy)
    elif is_pipe(source) and not (checked.options.allow_pipes and source.endswith("|")):
        message = "is a command, and commands are not run by default"
        remedy = "if you trust wav.scp, give --allow_pipes true; otherwise write audio to files"
        checked.add(ERROR, "pipe", place, message, remedy)


def check_speakers(checked: Checked) -> None:
    """Check that utt2spk has one speaker per utterance, and that spk2utt agrees with it."""
    file = checked.folder / "utt2spk"
    has_speaker = bytearray(len(checked.ids))  # 1 at the positions of utterances with a speaker
    speakers: dict[str, kaldi.IdDigest] = {}
    previous, order_reported = "", False
    for block in checked.scan(file, "names no speaker"):
        ids: list[str] = []  # of the speaker that is being read
        for line, key, speaker in block.rows():
            if key in checked.ids:
                has_speaker[checked.ids[key]] = 1
            if not speaker:
                continue
            place = (file, line, key)
            if speaker not in speakers and any(character.isspace() for character in speaker):
                remedy = "use a name without whitespace"
                message = f"the speaker {speaker!r} has whitespace"
                checked.add(ERROR, "malformed-speaker", place, message, remedy)
            elif not key.startswith(speaker):
                message = f"the id does not begin with its speaker '{speaker}'"
                remedy = (
                    "name utterances <speaker>-<utterance>; then sorting by id sorts by speaker too"
                )
                checked.add(WARNING, "speaker-prefix", place, message, remedy)
            elif speaker < previous and not order_reported:
                order_reported = True
                message = f"sorted by id but not by speaker ('{speaker}' after '{previous}')"
                remedy = "put '-' between speaker and utterance, and use no '-' in speaker names"
                checked.add(WARNING, "speaker-order", place, message, remedy)
            if speaker != previous:
                _add_ids(speakers, previous, ids)
                speakers.setdefault(speaker, kaldi.IdDigest())
                ids = []
            previous = speaker
            ids.append(key)
        _add_ids(speakers, previous, ids)
    for key, position in checked.ids.items():
        if not has_speaker[position]:
            remedy = f"add '{key} <speaker>'"
            checked.add(ERROR, "no-speaker", (file, 0, key), "has no row here", remedy)
    checked.speakers = len(speakers)
    if len(speakers) == 1 and len(checked.ids) > 1:
        message = "all utterances are from one speaker"
        remedy = "if there are more, name each: confidence intervals and splits use speakers"
        checked.add(WARNING, "one-speaker", (file, 0, ""), message, remedy)
    kaldi.check_spk2utt(checked, speakers)


def _add_ids(speakers: dict[str, kaldi.IdDigest], speaker: str, ids: Sequence[str]) -> None:
    if ids:  # empty before the first speaker
        speakers[speaker].add(ids)


def check_labels(checked: Checked) -> None:
    """Check the label tables; fill in `languages`."""
    languages: set[str] = set()
    for name in LABEL_TABLES:
        file = checked.folder / name
        if not file.exists():
            continue
        for block in checked.scan(file, "has no value"):
            checked.add_missing_words(file, block)
            if name == "utt2lang":
                languages.update(block.values)
            if name != "utt2band":
                continue
            for line, key, band in block.rows():
                if band and band not in (*BANDS, NA):
                    remedy = f"use one of: {', '.join(BANDS)}"
                    message = f"'{band}' is not a band"
                    checked.add(ERROR, "unknown-band", (file, line, key), message, remedy)
    if len(languages) > 1:
        checked.languages = LabelColumn(checked.ids)
        for _, key, language in stream_rows(checked.folder / "utt2lang"):
            checked.languages.set(key, language)
    elif languages:
        (checked.languages,) = languages


def check_coverage(checked: Checked) -> None:
    """Report utterances without any transcript, and the share labelled for each output."""
    if not checked.ids:
        return
    if not checked.labelled:
        remedy = "write text.<output>: one line per utterance with its id and its transcript"
        place = (checked.folder, 0, "")
        checked.add(WARNING, "no-text", place, "no transcripts of any kind", remedy)
        return
    import numpy as np

    tables = [np.frombuffer(labelled, dtype=np.uint8) for labelled in checked.labelled.values()]
    has_any = np.bitwise_or.reduce(tables)
    if not has_any.all():
        bare = [key for key, position in checked.ids.items() if not has_any[position]]
        message = f"{len(bare)} utterances have no transcript of any kind: {some_ids(bare)}"
        remedy = "transcribe them; otherwise stage 4 removes and lists them"
        checked.add(WARNING, "no-text", (checked.folder / "wav.scp", 0, ""), message, remedy)
    for name, labelled in checked.labelled.items():
        if missing := len(labelled) - sum(labelled):
            share = 100 * sum(labelled) / len(labelled)
            message = f"{missing} utterances are unlabelled, {share:.1f} % are labelled"
            remedy = "none needed if this is intended: unlabelled utterances train other outputs"
            place = (checked.folder / f"text.{name}", 0, "")
            checked.add(NOTE, "coverage", place, message, remedy)


def check_outputs(checked: Checked) -> None:
    """Check that the requested outputs have transcripts; report text files that are not read."""
    folder = checked.folder
    transcripts = checked.transcripts
    for name in checked.options.outputs:
        if not transcripts.get(name):
            message = f"no utterance has a {name} transcript"
            available = ", ".join(transcripts) or "none"
            remedy = f"write text.{name}, or request outputs that have transcripts: {available}"
            checked.add(ERROR, "no-output", (folder / f"text.{name}", 0, ""), message, remedy)
    for file in sorted(folder.glob("text?*")):
        if not is_output_name(file.name.removeprefix("text.")) or file.name[4] != ".":
            remedy = "rename it to text.<output> (letters, digits, '_'), or remove it"
            checked.add(WARNING, "ignored-file", (file, 0, ""), "is not read", remedy)
    if (folder / "text").exists() and (folder / "text.meaning").exists():
        message, remedy = "is not read, because text.meaning exists", "remove one of them"
        checked.add(WARNING, "ignored-file", (folder / "text", 0, ""), message, remedy)
