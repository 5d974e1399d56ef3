"""What the corpora of AI Hub share: JSON labels, parts, first languages, speakers' privacy, splits.

A corpus of AI Hub is a tree `{1.Training,2.Validation}/{라벨링데이터,원천데이터}` of folders or zip
archives (`TL_…`, `TS_…`, `VL_…`, `VS_…`: training and validation labels and sources). A label and
its audio file have the same name.
"""

import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import batched
from typing import Any, Protocol

from espnet_ext.corpora import korean_marks
from espnet_ext.corpora.corpus_files import (
    AUDIO_SUFFIXES,
    UNSUPPORTED_AUDIO_SUFFIXES,
    CorpusFile,
    FileReader,
    decode_korean,
    parallel_map,
    walk,
)
from espnet_ext.corpora.database import BadLabel, CorpusDatabase, ParsedLabel
from espnet_ext.corpora.korean_marks import Spelling, Transcript
from espnet_ext.corpora.preparation import CorpusOptions, Report, assign_sets, require_folder
from espnet_ext.errors import UserError

SETS = ("train", "valid", "test")
# Written only with --personal true, because they help to identify a speaker.
PERSONAL_TABLES = ("utt2birthyear", "utt2country", "utt2gender", "utt2topik")
_CODE = re.compile(r"[A-Za-z]{0,4}\d{2,8}")  # a speaker's number, not a name
_TOKEN = re.compile(r"(?=(?:[A-Za-z]*\d){2})(?!(?:\d*[A-Za-z]){6})[A-Za-z0-9]{2,14}")
_PART = re.compile(r"training|validation|(?<![a-z0-9])([tv])[ls]_", re.IGNORECASE)
_BATCH = 200  # labels per item of work of a process


Labels = ParsedLabel | BadLabel | list[ParsedLabel | BadLabel]  # of a label file


@dataclass(frozen=True)
class LearnerOptions(CorpusOptions):
    """Options of the corpora of learners' speech."""

    corpus_dir: str | os.PathLike = ""  # folder with archives or unpacked files, or one archive
    split: str = "auto"  # "official", "speakers" or "auto"; see `split`
    disfluencies: str = "keep"  # fillers and repetitions in the surface: "keep" or "drop"
    # A surface with unintelligible words: "unlabelled", or "drop" for these words only.
    unintelligible: str = "unlabelled"
    personal: bool = False  # also write `PERSONAL_TABLES`
    pseudonym_key_file: str = ""  # file with a secret key for pseudonyms


class LabelReader(Protocol):
    """Returns the utterances of a label file; must not raise.

    Args:
        content: Content of the label file.
        file: The label file.
        options: Options of the corpus.
        key: Secret key for pseudonyms.
    """

    def __call__(self, content: bytes, file: CorpusFile, options: Any, key: str) -> Labels: ...


class PublicStem(Protocol):
    """Returns the stem of a file without personal data; `key` is for pseudonyms."""

    def __call__(self, stem: str, key: str) -> str: ...


def prepare_learners(
    options: LearnerOptions,
    report: Report,
    *,
    title: str,
    how_to_get: str,
    read_label: LabelReader,
    public_stem: PublicStem,
    suffixes: Collection[str] = (".json",),
) -> None:
    """Write `<data_dir>/<lang>/{train,valid,test}` of a corpus of learners' speech.

    Args:
        options, report: As for every corpus.
        title: Name of the corpus in messages.
        how_to_get: Remedy where the corpus is not found.
        read_label: Parser of the labels.
        public_stem: Makes ids from file names.
        suffixes: Suffixes of label files.
    """
    key = read_key(options.pseudonym_key_file)
    root = require_corpus(options.corpus_dir, title, how_to_get)
    public_name = partial(public_stem, key=key)
    with CorpusDatabase(options, report) as database:
        read = partial(read_label, options=options, key=key)
        collect_files(database, root, read, public_name, options.nj, suffixes)
        requested = options.selected(SETS)
        mode = _keep_requested_part(database, options.split, requested)
        database.join(public_name, skip_unreadable=options.skip_unreadable)
        database.check_audio(options.nj, skip_unreadable=options.skip_unreadable)
        set_of = split(database.parts_and_speakers(), mode, report, requested)
        database.write(set_of, requested, tables=PERSONAL_TABLES, quick=options.quick)


def _keep_requested_part(database: CorpusDatabase, mode: str, requested: Sequence[str]) -> str:
    """Drop the published part that no requested set is from; return the mode for `split`.

    With all sets nothing is dropped. The test set alone is the Validation part, if it is there,
    also where Training is missing.
    """
    if mode == "speakers" or requested == SETS:
        return mode
    has_train, has_valid = database.has_part("train"), database.has_part("valid")
    if requested == ("test",) and has_valid:
        database.keep_parts(("valid",))
        return "official"
    if "test" not in requested and has_train and (has_valid or mode == "official"):
        database.keep_parts(("train",))
        return "official"
    return mode


# -- privacy


def read_key(path: str) -> str:
    """Return the secret key in a file, or "" without a file.

    Raises:
        UserError: The file cannot be read, or is empty.
    """
    if not path:
        return ""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as handle:
            key = handle.read().strip()
    except OSError as error:
        remedy = "correct --pseudonym_key_file, or leave it out"
        raise UserError(f"{path}: cannot read: {error.strerror}", remedy) from None
    if not key:
        raise UserError(f"{path}: is empty", "write a long secret key into it, and keep it")
    return key


def pseudonym(name: str, key: str) -> str:
    """Return a code for a name, always the same for the same key.

    Without a key, anyone with a list of names can find the name by trying them all.
    """
    secret, message = (text.encode("utf-8", "surrogatepass") for text in (key, name))
    return hmac.new(secret, message, hashlib.sha256).hexdigest()[:12]


def public_speaker(name: str, key: str) -> str:
    """Return the speaker's code as published, or a pseudonym if it may be a name.

    >>> public_speaker("EN0123", ""), public_speaker("김철수", "")
    ('EN0123', 'spk44402711024d')
    """
    return name if _CODE.fullmatch(name) else f"spk{pseudonym(name, key)}"


def public_stem(stem: str, key: str) -> str:
    """Return a file's stem if it consists of codes and numbers, else a pseudonym.

    >>> public_stem("EN10QC226_EN0005_20210801", "")
    'EN10QC226_EN0005_20210801'
    """
    if all(_TOKEN.fullmatch(token) for token in stem.split("_")) and len(stem) <= 80:
        return stem
    return f"u{pseudonym(stem, key)}"


# -- labels


def load_label(content: bytes) -> dict[str, Any]:
    """Return the JSON object of a label; otherwise raise ValueError with the reason.

    >>> load_label("{\\"fileName\\": \\"가.wav\\"}".encode("cp949"))
    {'fileName': '가.wav'}
    """
    text = decode_korean(content)
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"is not JSON: '{error}'") from None
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")
    return value


def value_at(data: Any, *path: str) -> str:
    """Return the text or number at a path of a label as text, or "".

    >>> value_at({"a": {"b": " c "}}, "a", "b"), value_at({"a": 1}, "a", "b"), value_at([], "a")
    ('c', '', '')
    """
    for name in path:
        if not isinstance(data, dict):
            return ""
        data = data.get(name)
    if type(data) is str:  # the most common case
        return data.strip()
    if isinstance(data, bool) or not isinstance(data, str | int | float):
        return ""
    try:
        return str(data).strip()
    except ValueError:  # a number with thousands of digits
        return ""


def why_no_value(data: Any, *path: str) -> str:
    """Return why `value_at` found nothing at a path.

    >>> why_no_value({"a": [" b "]}, "a"), why_no_value({"a": ""}, "a"), why_no_value({}, "a")
    ('a is not text', 'a is empty', 'a is empty')
    """
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    is_text = data is None or (isinstance(data, str | int | float) and not isinstance(data, bool))
    return f"{path[-1]} is {'empty' if is_text else 'not text'}"


def part_of(name: str) -> str:
    """Return the published part of a file, by its path in the corpus: "train", "valid" or "".

    >>> part_of("01.데이터/1.Training/a"), part_of("VL_3. 일본어.zip/a"), part_of("a")
    ('train', 'valid', '')
    """
    match = _PART.search(name)
    if not match:
        return ""
    return "train" if (match[1] or match[0]).lower()[0] == "t" else "valid"


def birth_year(text: str) -> str:
    """Return a year of four digits, or "".

    >>> birth_year("1991"), birth_year("91년생")
    ('1991', '')
    """
    return text if re.fullmatch(r"(?:19|20)\d\d", text) else ""


def personal_tables(birthyear: str, country: str, gender: str, topik: str) -> dict[str, str]:
    """Return the values of `PERSONAL_TABLES` of an utterance; empty ones are left out."""
    values = {
        "utt2birthyear": birth_year(birthyear),
        "utt2country": korean_marks.clean(country),
        "utt2gender": korean_marks.clean(gender),
        "utt2topik": korean_marks.clean(topik),
    }
    return {name: value for name, value in values.items() if value}


def parse_surface(text: str, options: LearnerOptions) -> Transcript:
    """Parse a transcript of what a learner said."""
    return korean_marks.parse(
        text,
        disfluent=korean_marks.SPELLINGS if options.disfluencies == "keep" else (),
        unintelligible=options.unintelligible,
        single_bracket="drop",
    )


def parse_prompt(prompt: str) -> tuple[Spelling, tuple[str, ...]]:
    """Return the text that was to be read, without glosses in brackets, and its irregularities.

    A prompt is plain text: brackets that do not match are punctuation.

    >>> parse_prompt("1) 밀라노(Milano)에 갔다.")[0].text, parse_prompt("밀라노(Milano)에")[0].text
    ('1 밀라노 Milano 에 갔다', '밀라노에')
    """
    transcript = korean_marks.parse(
        prompt, disfluent=(), unintelligible="drop", single_bracket="drop"
    )
    if transcript.spelled.text or not (plain := korean_marks.clean(prompt)):
        return transcript.spelled, transcript.counts
    return Spelling(plain), ("prompts with unmatched brackets, read as punctuation",)


# -- files


def collect_files(
    database: CorpusDatabase,
    root: str,
    read_label: Callable[[bytes, CorpusFile], Labels],
    public_name: Callable[[str], str],
    nj: int,
    suffixes: Collection[str] = (".json",),
) -> None:
    """Add all labels, which have one of the suffixes, and audio files to the database."""

    def labels() -> Iterator[CorpusFile]:
        audio_files: list[CorpusFile] = []
        for file in walk(root, database.add_unreadable):
            suffix = file.suffix
            if suffix in suffixes:
                yield file
            elif suffix in AUDIO_SUFFIXES:
                audio_files.append(file)
                if len(audio_files) >= 1000:
                    database.add_audio(audio_files)
                    audio_files.clear()
            elif suffix in UNSUPPORTED_AUDIO_SUFFIXES:
                database.add_unsupported_audio(file)
            else:
                database.report.counts["files that are neither labels nor audio"] += 1
        database.add_audio(audio_files)

    read = partial(read_labels, read_label=read_label, public_name=public_name)
    for parsed in parallel_map(read, batched(labels(), _BATCH), nj):
        database.add_labels(parsed)


def read_labels(
    files: Sequence[CorpusFile],
    read_label: Callable[[bytes, CorpusFile], Labels],
    public_name: Callable[[str], str],
) -> list[ParsedLabel | BadLabel]:
    """Read label files."""
    reader = FileReader()
    labels: list[ParsedLabel | BadLabel] = []
    for file in files:
        try:
            content = reader.read(file)
        except (OSError, ValueError) as error:
            reason = f"label cannot be read: {getattr(error, 'strerror', None) or error}"
            labels.append(BadLabel(public_name(file.stem), file.stem, reason))
            continue
        read = read_label(content, file)
        labels += read if isinstance(read, list) else [read]
    reader.close()
    return labels


def require_corpus(path: str | os.PathLike, corpus: str, remedy: str) -> str:
    """Return the absolute path of the corpus: a folder, or one zip archive."""
    path = os.fspath(path)
    if path.lower().endswith(".zip"):
        try:
            with open(path, "rb"):
                return os.path.abspath(path)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}", f"correct the path; {remedy}") from None
    return require_folder(path, corpus, remedy)


# -- splits


def split(
    parts_and_speakers: Sequence[tuple[str, str]],
    mode: str,
    report: Report,
    requested: Sequence[str] = SETS,
) -> Callable[[str, str], str]:
    """Return the function (part, speaker) → set, and note in the report how the sets were split.

    Args:
        parts_and_speakers: All (part, speaker) that have utterances.
        mode: "official": the published Validation part tests; every tenth speaker of Training
            validates. "speakers": of ten speakers, eight train, one validates, one tests. "auto":
            "official" if both published parts are there, else "speakers".
        report: The report of the corpus.
        requested: Names of the sets to prepare. If it is one and there are fewer than three
            speakers, everything is in it.
    Raises:
        UserError: A part is missing for "official", or there are fewer than three speakers.
    """
    speakers_of = {
        part: sorted({speaker for other, speaker in parts_and_speakers if other == part})
        for part, _ in parts_and_speakers
    }
    if mode == "auto":
        both_parts = speakers_of.get("train") and speakers_of.get("valid")
        mode = "official" if both_parts else "speakers"
        report.notes.append(f"--split auto chose {mode} for these parts")
    speakers = sorted({speaker for _, speaker in parts_and_speakers})
    if mode == "official":
        needed = dict.fromkeys("valid" if name == "test" else "train" for name in requested)
        if missing := [part for part in needed if part not in speakers_of]:
            names = {"train": "Training", "valid": "Validation"}
            what = " and ".join(names[part] for part in missing)
            raise UserError(
                f"{report.corpus}: --split official: the part {what} is missing",
                "--split speakers, or get that part too",
            )
        train_speakers, test_speakers = speakers_of.get("train", []), speakers_of.get("valid", [])
        sets = assign_sets(train_speakers, {"valid": 1}) if train_speakers else {}
        note = "split as published: Validation is test; every tenth speaker of Training is valid"
        if train_speakers and test_speakers:
            shared = len(set(train_speakers) & set(test_speakers))
            note += f"; {shared} of the {len(test_speakers)} speakers of test are in train or "
            note += "valid too" + ("; --split speakers avoids that" if shared else "")
        report.notes.append(note)
        return lambda part, speaker: "test" if part == "valid" else sets.get(speaker, "train")
    if len(speakers) < 3:
        if len(requested) == 1:
            report.notes.append(f"all {len(speakers)} speakers are in {requested[0]}")
            return lambda part, speaker: requested[0]
        message = f"{report.corpus}: {len(speakers)} speakers are too few to split"
        remedy = "get more of the corpus: three speakers are needed; or prepare all of it as one "
        raise UserError(message, remedy + "set: --sets test")
    set_of = assign_sets(speakers, {"valid": 1, "test": 1})
    report.notes.append("split by speakers: of each ten, eight train, one valid, one test")
    return lambda part, speaker: set_of[speaker]
