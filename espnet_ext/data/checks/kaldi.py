"""Kaldi's rules for tables that this package does not read.

Stages of this package ignore these tables, but scripts of Kaldi and ESPnet stop at a malformed one.
Therefore what `utils/validate_data_dir.sh` rejects is a warning here. Tables of durations are
compared with the audio, as in `lhotse validate`.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from espnet_ext.data.checks.context import Checked, some_ids
from espnet_ext.data.checks.findings import ERROR, WARNING
from espnet_ext.data.table import stream_rows

Rule = tuple[Callable[[str], bool], str]  # whether a value is valid, and what it must be

_MAX_DIFFERENCE = 0.02  # seconds between a table of durations and the audio


def _number(low: float, high: float = float("inf"), whole: bool = False) -> Callable[[str], bool]:
    def is_valid(value: str) -> bool:
        try:
            number = float(value)
        except ValueError:
            return False
        return low < number < high and (not whole or number == int(number))

    return is_valid


def _file_and_channel(value: str) -> bool:
    parts = value.split()
    return len(parts) == 2 and parts[1] in ("A", "B", "1", "2")


_is_duration = _number(0)
_WARP: Rule = (_number(0.5, 1.5), "a factor between 0.5 and 1.5")
_DURATION: Rule = (_is_duration, "a duration in seconds")
_BY_UTTERANCE: dict[str, Rule] = {
    "utt2dur": _DURATION,
    "utt2num_frames": (_number(0, whole=True), "a whole number of frames"),
    "utt2num_samples": (_number(0, whole=True), "a whole number of samples"),
    "utt2warp": _WARP,
    "utt2uniq": (bool, "an id"),
    "feats.scp": (bool, "a location of features"),
    "vad.scp": (bool, "a location of voice activity"),
}
_BY_SPEAKER: dict[str, Rule] = {
    "spk2gender": (lambda value: value in ("m", "f"), "m or f"),
    "spk2warp": _WARP,
    "cmvn.scp": (bool, "a location of statistics"),
}
# Every utterance is one recording.
_BY_RECORDING: dict[str, Rule] = {
    "reco2dur": _DURATION,
    "reco2file_and_channel": (_file_and_channel, "a file and a channel, A or B"),
}
_SEVERAL_WORDS = ("reco2file_and_channel", "feats.scp", "vad.scp", "cmvn.scp")


class IdDigest:
    """A digest of a speaker's ids in order, so that the ids need not be held in memory."""

    def __init__(self) -> None:
        digest = blake2b(digest_size=8)
        self._update, self.hexdigest = digest.update, digest.hexdigest

    def add(self, ids: Sequence[str]) -> None:
        self._update((" ".join(ids) + " ").encode("utf-8", "replace"))


def _digest_of_row(value: str) -> str:
    """Return the digest of the ids in a row of spk2utt."""
    digest = IdDigest()
    if ids := value.split():
        digest.add(ids)
    return digest.hexdigest()


def check_spk2utt(checked: Checked, speakers: Mapping[str, IdDigest]) -> None:
    """Check that spk2utt agrees with utt2spk, whose ids by speaker are `speakers`."""
    file = checked.folder / "spk2utt"
    remedy = "every stage that writes a directory writes it, as does utils/utt2spk_to_spk2utt.pl"
    if not file.exists():
        message = "does not exist; scripts of ESPnet and Kaldi need it"
        checked.add(WARNING, "spk2utt", (file, 0, ""), message, remedy)
        return
    rows = stream_rows(file, checked.findings)
    digests = {speaker: _digest_of_row(value) for _, speaker, value in rows}
    if digests != {speaker: ids.hexdigest() for speaker, ids in speakers.items()}:
        message = "does not agree with utt2spk"
        remedy = f"remove it, or write it again: {remedy}"
        checked.add(WARNING, "spk2utt", (file, 0, ""), message, remedy)


def check_tables(checked: Checked) -> None:
    """Check the values and ids of Kaldi's further tables."""
    folder = checked.folder
    for name, rule in _BY_UTTERANCE.items():
        if (folder / name).exists():
            _check_table(checked, folder / name, checked.ids, rule)
    speaker_tables = [name for name in _BY_SPEAKER if (folder / name).exists()]
    if speaker_tables:
        names = dict.fromkeys(speaker for _, _, speaker in stream_rows(folder / "utt2spk"))
        speakers = {speaker: position for position, speaker in enumerate(names)}
        for name in speaker_tables:
            _check_table(checked, folder / name, speakers, _BY_SPEAKER[name])
    for name, rule in _BY_RECORDING.items():
        if (folder / name).exists():
            _check_table(checked, folder / name, checked.ids, rule)
    if (folder / "segments").exists():
        _check_segments(checked, folder / "segments")


def _check_table(checked: Checked, file: Path, ids: Mapping[str, int], rule: Rule) -> None:
    """Check the values of a table, and that its ids are `ids` (id → position)."""
    is_valid, expected = rule
    has_row = bytearray(len(ids))  # 1 at the positions of ids with a row
    further = set()
    remedy = "correct the row, or remove the table: nothing in this package reads it"
    for line, key, value in stream_rows(file, checked.findings):
        if key in ids:
            has_row[ids[key]] = 1
        else:
            further.add(key)
        too_many = len(value.split()) > 1 and file.name not in _SEVERAL_WORDS
        if too_many or not is_valid(value):
            message = f"'{value}' is not {expected}"
            checked.add(WARNING, "malformed-value", (file, line, key), message, remedy)
    absent = [key for key, position in ids.items() if not has_row[position]]
    for missing, where in ((absent, "in it"), (further, "in the other tables")):
        if missing:
            message = f"{len(missing)} ids are not {where}: {some_ids(sorted(missing))}"
            checked.add(WARNING, "other-ids", (file, 0, ""), message, "write the table again")


def _check_segments(checked: Checked, file: Path) -> None:
    """Check Kaldi's rules for segments, and report that segments are not read here."""
    remedy = "espnet-ext import --from kaldi DIR --output OTHER cuts the recordings"
    message = "utterances that are parts of recordings are not read"
    checked.add(ERROR, "segments", (file, 0, ""), message, remedy)
    remedy = "write <utterance> <recording> <start> <end>, in seconds"
    used = set()
    for line, key, value in stream_rows(file, checked.findings):
        parts = value.split()
        times = parts[1:] if len(parts) == 3 and all(map(_number(-1), parts[1:])) else []
        if not times or not 0 <= float(times[0]) < float(times[1]):
            message = f"'{value}' is not a recording, a start and a later end"
            checked.add(ERROR, "malformed-value", (file, line, key), message, remedy)
            continue
        used.add(parts[0])
        if parts[0] not in checked.ids:
            message = f"the recording '{parts[0]}' is not in wav.scp"
            checked.add(ERROR, "unknown-recording", (file, line, key), message, "add its audio")
    if unused := checked.ids.keys() - used:
        message = f"{len(unused)} recordings have no segment: {some_ids(sorted(unused))}"
        checked.add(WARNING, "other-ids", (file, 0, ""), message, "remove them from wav.scp")


def check_durations(checked: Checked) -> None:
    """Check that durations and numbers of samples in tables are those of the audio."""
    for name in ("utt2dur", "reco2dur", "utt2num_samples"):
        file = checked.folder / name
        if not checked.audio or not file.exists():
            continue
        for line, key, value in stream_rows(file):
            info = checked.audio.get(key)
            if info is None or not _is_duration(value):
                continue
            seconds = float(value) / (info.rate if name == "utt2num_samples" else 1)
            if abs(seconds - info.seconds) > max(_MAX_DIFFERENCE, 0.01 * info.seconds):
                message = f"says {seconds:.3f} s, but its audio has {info.seconds:.3f} s"
                remedy = "remove the table, or write it again from this audio"
                checked.add(WARNING, "wrong-length", (file, line, key), message, remedy)
