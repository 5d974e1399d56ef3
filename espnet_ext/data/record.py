"""The record of an utterance, and what a well-formed id and output name are."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

NA = "<na>"  # stands in dumped text files for "no transcript"; absent rows mean the same elsewhere
MAX_ID_BYTES = 200  # an id becomes a file name with a suffix; file systems end at 255 bytes
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
    audio: str  # a sound file that soundfile reads, or an offset into an ark: "x.ark:123"
    texts: Mapping[str, str] = field(default_factory=dict)  # by output; absent: unlabelled
    lang: str | None = None  # language spoken: "ko", "en"
    l1: str | None = None  # the speaker's first language
    band: str | None = None  # "narrow" or "wide"
    domain: str | None = None  # free label, e.g. "read" or "spontaneous"
    score: str | None = None  # what people thought of it: "accuracy=8 fluency=9"


def id_problem(name: str) -> str:
    """What is wrong with an utterance or speaker id; empty if nothing.

    Ids separate at whitespace in every Kaldi file and become file names here.

    >>> id_problem("spk1-utt1"), id_problem("spk1/utt1")
    ('', 'has a "/"')
    """
    if _PLAIN_ID.fullmatch(name) and len(name) <= MAX_ID_BYTES:
        return ""  # the common case, quickly
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
    """Whether `text.<name>` is the transcript file of an output (and not, say, a back-up).

    >>> is_output_name("surface"), is_output_name("surface.bak")
    (True, False)
    """
    return _OUTPUT_NAME.fullmatch(name) is not None
