"""The record of an utterance, and which ids and output names are valid."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

NA = "<na>"  # "no transcript" in dumped text files; elsewhere, a missing row means the same
BANDS = ("narrow", "wide")  # values of utt2band
MAX_ID_BYTES = 200  # an id becomes a file name with a suffix; file systems allow 255 bytes
_OUTPUT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Utterance:
    """One utterance of a data directory.

    >>> utterance = Utterance("s1-u1", "s1", "u1.wav", {"meaning": "국물"})
    >>> utterance.texts.get("surface") is None  # unlabelled
    True
    """

    utt_id: str  # begins with speaker + "-", so that sorting by id sorts by speaker too
    speaker: str
    audio: str  # entry of wav.scp: sound file, "x.ark:offset", or the others of `data.audio`
    texts: Mapping[str, str] = field(default_factory=dict)  # by output; absent: unlabelled
    lang: str | None = None  # spoken language: "ko", "en"
    l1: str | None = None  # first language of the speaker
    band: str | None = None  # one of BANDS
    domain: str | None = None  # any label, e.g. "read" or "spontaneous"
    score: str | None = None  # human ratings: "accuracy=8 fluency=9"
    # output → language of its transcript, for outputs that are not in the language spoken
    text_langs: Mapping[str, str] = field(default_factory=dict)


def id_problem(name: str) -> str:
    """Return what is wrong with an utterance or speaker id; "" if it is valid.

    In Kaldi's files, whitespace ends an id; in this package, ids also become file names.

    >>> id_problem("spk1-utt1"), id_problem("spk1/utt1")
    ('', 'has a "/"')
    """
    if _PLAIN_ID.fullmatch(name) and len(name) <= MAX_ID_BYTES:
        return ""  # most ids; fast
    if not name:
        return "is empty"
    if name == NA:
        return f"is the sentinel {NA}"
    if any(character.isspace() for character in name):
        return "has whitespace"
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in name):
        return "has control or invisible characters"
    if "/" in name:
        return 'has a "/"'
    if len(name.encode()) > MAX_ID_BYTES:
        return f"is longer than {MAX_ID_BYTES} bytes"
    if not unicodedata.is_normalized("NFC", name):
        return "is not in Unicode normal form C"
    return ""


def is_output_name(name: str) -> bool:
    """Return whether `text.<name>` is the transcript file of an output (and not, say, a backup).

    >>> is_output_name("surface"), is_output_name("surface.bak")
    (True, False)
    """
    return _OUTPUT_NAME.fullmatch(name) is not None


def count_labelled(utterances: Iterable[Utterance], outputs: Iterable[str]) -> dict[str, int]:
    """Return the number of utterances with a transcript, by output.

    >>> count_labelled([Utterance("s1-u1", "s1", "a.wav", {"meaning": "가"})], ["meaning"])
    {'meaning': 1}
    """
    utterances = list(utterances)
    return {name: sum(name in item.texts for item in utterances) for name in outputs}
