"""KsponSpeech (Bang et al., Applied Sciences 2020): spontaneous Korean of native speakers, 1,000 h.

`{train,dev,eval_clean,eval_other}.trn` have lines `<path>.pcm :: <transcript>`. Beside each audio
file, which is headerless, there is a text file with the same transcript in CP949. Of words that are
transcribed twice, `(70%)/(칠 십 퍼센트)`, meaning has the spelled and surface the pronounced form
(see `korean_marks`).
"""

import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import batched
from typing import Any, BinaryIO

from espnet_ext.corpora import aihub, korean_marks
from espnet_ext.corpora.corpus_files import (
    AUDIO_SUFFIXES,
    MAX_LABEL,
    UNSUPPORTED_AUDIO_SUFFIXES,
    CorpusFile,
    FileReader,
    decode_korean,
    parallel_map,
    walk,
)
from espnet_ext.corpora.database import BadLabel, CorpusDatabase, ParsedLabel
from espnet_ext.corpora.preparation import CorpusOptions, Report
from espnet_ext.data import zips
from espnet_ext.errors import UserError

SETS = ("train", "dev", "eval_clean", "eval_other")
TRAINING = 620_000  # utterances of the published training list; the numbers after it are dev
HOW_TO_GET = (
    "apply for data set 123 at AI Hub, https://aihub.or.kr (open to residents of Korea); "
    "its zip archives need not be unpacked"
)
_LINE = re.compile(r"\s*(\S.*?)\s*::\s*(.*?)\s*", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9]+(?:_[A-Za-z0-9]+)*")
_NUMBER = re.compile(r"KsponSpeech_(\d{6})")
_BATCH = 500  # transcripts per item of work of a process


@dataclass(frozen=True)
class Options(CorpusOptions):
    """Options of `espnet-ext prepare ksponspeech`."""

    corpus_dir: str | os.PathLike = ""  # folder with archives or unpacked files, or one archive
    # Source of the transcripts. "trn": the lists. "txt": the files beside the audio; those in a
    # folder `eval_…` test, those numbered above 620,000 are dev. "auto": the lists, if there are
    # any.
    labels: str = "auto"
    # Fillers and repetitions: "keep", "surface" (keep them in the surface only), or "drop".
    disfluencies: str = "keep"
    # A text with unintelligible words: "unlabelled", or "drop" for these words only.
    unintelligible: str = "unlabelled"

    @property
    def disfluent(self) -> tuple[str, ...]:
        """The spellings that keep fillers and repetitions, for `korean_marks.parse`."""
        spellings = {"keep": korean_marks.SPELLINGS, "surface": ("pronounced",), "drop": ()}
        return spellings[self.disfluencies]


def prepare(options: Options, report: Report) -> None:
    """Write `<data_dir>/ko/{train,dev,eval_clean,eval_other}`, as published, and the report."""
    requested = options.selected(SETS)
    root = aihub.require_corpus(options.corpus_dir, "KsponSpeech", HOW_TO_GET)
    with CorpusDatabase(options, report) as database:
        lists, text_files = _collect_files(database, root)
        if options.labels == "trn" and not lists:
            message = f"{root}: has no {{{','.join(SETS)}}}.trn"
            raise UserError(message, f"--labels txt reads the .txt files; {HOW_TO_GET}")
        if lists and options.labels != "txt":
            lists.sort(key=lambda file: file.name)
            report.notes.append(f"transcripts from {' '.join(file.name for file in lists)}")
            read = partial(read_lines, options=options)
            for file in lists:
                for labels in parallel_map(read, _line_batches(file), options.nj):
                    database.add_labels(labels)
        elif text_files:
            report.notes.append(
                "transcripts from the .txt files; dev are those numbered above "
                f"{TRAINING}, the length of the published training list"
            )
            read_files = partial(read_text_files, options=options)
            files = (file for file in walk(root, lambda *_: None) if _has_suffix(file, ".txt"))
            for labels in parallel_map(read_files, batched(files, _BATCH), options.nj):
                database.add_labels(labels)
        report.notes.append("the speakers are not published: each utterance is its own speaker")
        database.keep_parts(requested)
        database.join(_public_name, skip_unreadable=options.skip_unreadable)
        database.check_audio(options.nj, skip_unreadable=options.skip_unreadable)
        database.write(lambda part, speaker: part, requested, quick=options.quick)


def _has_suffix(file: CorpusFile, suffix: str) -> bool:
    return file.name.lower().endswith(suffix)


def _collect_files(database: CorpusDatabase, root: str) -> tuple[list[CorpusFile], int]:
    """Add all audio files to the database; return the lists and the number of .txt files."""
    lists: list[CorpusFile] = []
    text_files = 0
    for batch in batched(walk(root, database.add_unreadable), 1000):
        database.add_audio(file for file in batch if file.suffix in AUDIO_SUFFIXES)
        for file in batch:
            if file.suffix in UNSUPPORTED_AUDIO_SUFFIXES:
                database.add_unsupported_audio(file)
            text_files += _has_suffix(file, ".txt")
            if not _has_suffix(file, ".trn"):
                continue
            if file.stem in SETS:
                lists.append(file)
            else:
                database.add_unreadable(file.name, "a list that is not one of the published sets")
    return lists, text_files


_LineBatch = tuple[str, str, Sequence[tuple[int, bytes]]]  # set, name of the list, numbered lines


def _line_batches(file: CorpusFile) -> Iterator[_LineBatch]:
    """Yield the lines of a list in batches."""
    try:
        member: Any = None
        handle: BinaryIO = open(file.path, "rb")  # noqa: SIM115 closed below
        if file.offset >= 0:
            member = zips.open_member(handle, file.offset, file.compressed_size, file.size)
            handle = io.BufferedReader(member)
        with handle:
            numbered = enumerate(iter(partial(handle.readline, MAX_LABEL), b""), 1)
            for batch in batched(numbered, _BATCH):
                yield file.stem, file.name, batch
            if member is not None and member.error:
                raise ValueError(member.error)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{file.name}: cannot read: {reason}", "download it again") from None


def read_lines(line_batch: _LineBatch, options: Options) -> list[ParsedLabel | BadLabel]:
    """Return the labels of a batch of lines of a list; never raises."""
    part, name, lines = line_batch
    labels: list[ParsedLabel | BadLabel] = []
    for number, line in lines:
        if not line.strip(b"\xef\xbb\xbf \t\r\n"):
            continue
        position = f"{name}:{number}"
        try:
            match = _LINE.fullmatch(decode_korean(line))
        except ValueError as error:
            labels.append(BadLabel(position, position, f"line {error}"))
            continue
        if not match:
            labels.append(BadLabel(position, position, "line has no '::'"))
            continue
        stem = CorpusFile("", match[1].replace("\\", "/")).stem
        labels.append(_label(stem, match[2], part, position, options))
    return labels


def read_text_files(files: Sequence[CorpusFile], options: Options) -> list[ParsedLabel | BadLabel]:
    """Return the labels of .txt files; never raises."""
    reader = FileReader()
    labels: list[ParsedLabel | BadLabel] = []
    for file in files:
        stem = file.stem
        try:
            text = decode_korean(reader.read(file))
        except (OSError, ValueError) as error:
            reason = f"transcript {getattr(error, 'strerror', None) or error}"
            labels.append(BadLabel(_public_name(stem), stem, reason))
            continue
        part = next((name for name in SETS[2:] if f"{name}/" in file.name), "train")
        number = _NUMBER.fullmatch(stem)
        if part == "train" and number and int(number[1]) > TRAINING:
            part = "dev"
        labels.append(_label(stem, text, part, file.name, options))
    reader.close()
    return labels


def _label(stem: str, text: str, part: str, file: str, options: Options) -> ParsedLabel | BadLabel:
    name = _public_name(stem)
    if not text.strip():
        return BadLabel(name, stem, "the transcript is empty")
    transcript = korean_marks.parse(
        text, disfluent=options.disfluent, unintelligible=options.unintelligible
    )
    spellings = {"surface": transcript.pronounced, "meaning": transcript.spelled}
    texts = {output: spelling.text for output, spelling in spellings.items() if spelling.text}
    missing = {
        output: spelling.problem for output, spelling in spellings.items() if not spelling.text
    }
    counts = list(transcript.counts)
    if "surface" in texts and not korean_marks.is_hangul(texts["surface"]):
        counts.append("surfaces with digits, symbols or Latin letters, kept as they are")
    if len(texts) == 2 and texts["surface"] != texts["meaning"]:
        counts.append("utterances with two spellings")
    return ParsedLabel(
        key=stem,
        utt_id=name,
        speaker=name,
        part=part,
        file=file,
        lang="ko",
        l1="ko",
        domain="spontaneous",
        texts=texts,
        missing=missing,
        counts=tuple(counts),
    )


def _public_name(stem: str) -> str:
    """Return the stem, which is the id in the published corpus, or a pseudonym if it is another."""
    return stem if _NAME.fullmatch(stem) and len(stem) <= 80 else f"u{aihub.pseudonym(stem, '')}"
