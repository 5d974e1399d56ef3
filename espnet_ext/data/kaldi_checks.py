"""Tables that Kaldi has and this package passes over: its own rules for them hold here too.

What `utils/validate_data_dir.sh` refuses is a warning where no stage here reads it, because
ESPnet's and Kaldi's scripts would stop at it; what `lhotse validate` asks of durations is asked
here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from espnet_ext.data.checking import Check, named
from espnet_ext.data.findings import ERROR, WARNING, Finding
from espnet_ext.data.table import stream_table

_TOLERANCE = 0.02  # seconds that a table of durations may be off


def _number(low: float, high: float = float("inf"), whole: bool = False) -> Callable[[str], bool]:
    def fits(value: str) -> bool:
        try:
            number = float(value)
        except ValueError:
            return False
        return low < number < high and (not whole or number == int(number))

    return fits


def _any(value: str) -> bool:
    return bool(value)


# Per utterance and per speaker: what a value has to be, in words.
_UTTERANCE = {
    "utt2dur": (_number(0), "a duration in seconds"),
    "utt2num_frames": (_number(0, whole=True), "a whole number of frames"),
    "utt2num_samples": (_number(0, whole=True), "a whole number of samples"),
    "utt2warp": (_number(0.5, 1.5), "a factor between 0.5 and 1.5"),
    "utt2uniq": (_any, "an id"),
    "feats.scp": (_any, "where its features are"),
    "vad.scp": (_any, "where its speech is"),
}
_SPEAKER = {
    "spk2gender": (lambda value: value in ("m", "f"), "m or f"),
    "spk2warp": (_number(0.5, 1.5), "a factor between 0.5 and 1.5"),
    "cmvn.scp": (_any, "where its statistics are"),
}


class Ids:
    """A digest of ids in order, so that those of a speaker need not be held."""

    def __init__(self) -> None:
        digest = blake2b(digest_size=8)
        self._update, self.hexdigest = digest.update, digest.hexdigest

    def add(self, keys: Sequence[str]) -> None:
        self._update((" ".join(keys) + " ").encode("utf-8", "replace"))


def ids_of(row: str) -> Ids:
    """Those of a row of spk2utt."""
    ids = Ids()
    if keys := row.split():
        ids.add(keys)
    return ids


def check_inverse(check: Check, folder: Path, speakers: Mapping[str, "Ids"]) -> None:
    """Whether spk2utt says the same as utt2spk, of which `speakers` are the ids in order."""
    file = folder / "spk2utt"
    remedy = "stages that write a directory write it; utils/utt2spk_to_spk2utt.pl does, too"
    if not file.exists():
        message = "is not there; ESPnet's and Kaldi's scripts want it"
        check.add(WARNING, "spk2utt", (file, 0, ""), message, remedy)
        return
    found = {speaker: ids_of(value) for _, speaker, value in _rows(file, check.findings)}
    wanted = {speaker: ids.hexdigest() for speaker, ids in speakers.items()}
    if {speaker: ids.hexdigest() for speaker, ids in found.items()} != wanted:
        message = "does not say the same as utt2spk"
        check.add(
            WARNING, "spk2utt", (file, 0, ""), message, f"remove it, or write it anew: {remedy}"
        )


def check_kaldi_tables(check: Check, folder: Path) -> None:
    """Every further table of Kaldi's that is there: format, values, and the ids that it has."""
    for name, (fits, what) in _UTTERANCE.items():
        if (folder / name).exists():
            _check_table(check, folder / name, check.ids.keys(), fits, what)
    of_speakers = [name for name in _SPEAKER if (folder / name).exists()]
    speakers = {value for _, _, value in _rows(folder / "utt2spk")} if of_speakers else set()
    for name in of_speakers:
        _check_table(check, folder / name, speakers, *_SPEAKER[name])
    if (folder / "reco2dur").exists():
        what = "a duration in seconds"
        _check_table(check, folder / "reco2dur", check.ids.keys(), _number(0), what)
    if (folder / "reco2file_and_channel").exists():

        def fits_channel(value: str) -> bool:
            return len(value.split()) == 2 and value.split()[1] in ("A", "B", "1", "2")

        what = "a file and a channel, A or B"
        path = folder / "reco2file_and_channel"
        _check_table(check, path, check.ids.keys(), fits_channel, what)
    if (folder / "segments").exists():
        _check_segments(check, folder / "segments")


def check_lengths(check: Check, folder: Path) -> None:
    """Durations and lengths in tables against those of the audio."""
    for name in ("utt2dur", "reco2dur", "utt2num_samples"):
        if not (folder / name).exists():
            continue
        for line, key, value in _rows(folder / name):
            info = check.audio.get(key)
            if info is None or not _number(0)(value):
                continue
            said = float(value) / (info.rate if name == "utt2num_samples" else 1)
            if abs(said - info.seconds) > max(_TOLERANCE, 0.01 * info.seconds):
                message = f"says {said:.3f} s, its audio has {info.seconds:.3f} s"
                remedy = "remove the table, or write it anew from this audio"
                check.add(WARNING, "wrong-length", (folder / name, line, key), message, remedy)


def _check_table(check, file: Path, ids, fits: Callable[[str], bool], what: str) -> None:
    found = set()
    remedy = "correct the row, or remove the table: nothing here reads it"
    for line, key, value in _rows(file, check.findings):
        found.add(key)
        if not fits(value) or (
            what != "a file and a channel, A or B"
            and len(value.split()) > 1
            and not file.name.endswith(".scp")
        ):
            message = f"'{value}' is not {what}"
            check.add(WARNING, "malformed-value", (file, line, key), message, remedy)
    for missing, where in ((ids - found, "in it"), (found - ids, "in the directory otherwise")):
        if missing:
            message = f"{len(missing)} ids are not {where}: {named(sorted(missing))}"
            check.add(WARNING, "other-ids", (file, 0, ""), message, "write the table anew")


def _check_segments(check: Check, file: Path) -> None:
    """Kaldi's rules for segments; and that utterances are whole recordings here."""
    remedy = "espnet-ext import --from kaldi DIR --output OTHER cuts the recordings"
    message = "utterances that are parts of recordings are not read"
    check.add(ERROR, "segments", (file, 0, ""), message, remedy)
    remedy = "write <utterance> <recording> <start> <end>, in seconds"
    used = set()
    for line, key, value in _rows(file, check.findings):
        parts = value.split()
        times = parts[1:] if len(parts) == 3 and all(map(_number(-1), parts[1:])) else []
        if not times or not 0 <= float(times[0]) < float(times[1]):
            message = f"'{value}' is not a recording, a start and a later end"
            check.add(ERROR, "malformed-value", (file, line, key), message, remedy)
            continue
        used.add(parts[0])
        if parts[0] not in check.ids:
            message = f"the recording '{parts[0]}' is not in wav.scp"
            check.add(ERROR, "unknown-recording", (file, line, key), message, "add its audio")
    if unused := check.ids.keys() - used:
        message = f"{len(unused)} recordings have no segment: {named(sorted(unused))}"
        check.add(WARNING, "other-ids", (file, 0, ""), message, "remove them from wav.scp")


def _rows(file: Path, findings: list[Finding] | None = None) -> Iterator[tuple[int, str, str]]:
    for block in stream_table(file, [] if findings is None else findings):
        yield from zip(block.lines, block.keys, block.values, strict=True)
