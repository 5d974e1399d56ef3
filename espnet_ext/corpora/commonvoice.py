"""Common Voice (Ardila et al., LREC 2020; CC0): sentences read by volunteers. Meaning only.

Layout: `cv-corpus-<version>/<locale>/{clips,train.tsv,dev.tsv,test.tsv,validated.tsv,other.tsv,…}`.
Tables are tab-separated without quoting (a quotation mark is part of its sentence). The columns
differ between releases; `client_id`, `path`, `sentence` and `accents` (formerly `accent`) are read.
"""

import os
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from espnet_ext.corpora.interchange.column_mapping import (
    ColumnMapping,
    make_utterance,
    require_columns,
)
from espnet_ext.corpora.interchange.directory_builder import DirectoryBuilder
from espnet_ext.corpora.preparation import (
    CorpusOptions,
    Report,
    Sets,
    check_audio,
    list_faults,
    require_folder,
    sentence_overlap,
)
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError
from espnet_ext.progress import track
from espnet_ext.text.unicode import normalize

OFFICIAL = {"train": "train", "valid": "dev", "test": "test"}
TABLES = ("train", "dev", "test", "validated", "other", "invalidated")
REQUIRED = ("client_id", "path", "sentence")
SPEAKER_DIGITS = 24  # of the 128 hexadecimal digits of client_id: 96 bits identify a speaker
QUICK_CLIPS = 400  # per table with --quick true, before the sets are shrunk
HOW_TO_GET = "download it from https://commonvoice.mozilla.org/datasets and unpack it"
# Accents of English that speakers choose from a list, with the first language that they imply.
# Other accents ("India and South Asia (…)", "Filipino", free text) do not imply one.
NATIVE = frozenset(
    (
        "United States English",
        "England English",
        "Canadian English",
        "Australian English",
        "New Zealand English",
        "Irish English",
        "Northern Irish",
        "Scottish English",
        "Welsh English",
        "us",
        "england",
        "canada",
        "australia",
        "newzealand",
        "ireland",
        "scotland",
        "wales",
    )
)
NOT_NATIVE = {
    f"{name} English,Non native speaker": l1
    for name, l1 in {
        "German": "de",
        "French": "fr",
        "Spanish": "es",
        "Italian": "it",
        "Russian": "ru",
        "Polish": "pl",
        "Dutch": "nl",
        "Portuguese": "pt",
        "Chinese": "zh",
        "Japanese": "ja",
        "Korean": "ko",
        "Vietnamese": "vi",
        "Arabic": "ar",
        "Hindi": "hi",
        "Turkish": "tr",
    }.items()
}


@dataclass(frozen=True)
class Options(CorpusOptions):
    """Options of `espnet-ext prepare commonvoice`."""

    corpus_dir: str | os.PathLike = ""  # cv-corpus-<version>, or one locale of it
    langs: tuple[str, ...] = ("en",)  # locales
    # Training set. "train": the official one, which has each sentence once. "validated": all
    # validated clips of speakers who are not in dev or test. "other": also their clips that have
    # too few votes.
    train: str = "train"
    text: str = "words"  # "words": lower case without punctuation; "raw": as published


def prepare(options: Options, report: Report) -> Sets:
    """Return the utterances of all locales by set: train, valid (the official dev set), test."""
    root = Path(require_folder(options.corpus_dir, "Common Voice", HOW_TO_GET))
    requested = options.selected(tuple(OFFICIAL))
    needed = set(requested)
    if "train" in needed and options.train != "train":
        needed = set(OFFICIAL)  # speakers of dev and test are not trained on
    sets: Sets = {name: [] for name in requested}
    for lang in options.langs:
        folder = _locale_folder(root, lang, OFFICIAL[requested[0]])
        parts = {
            name: _read_table(folder, lang, table, options.text, report)
            for name, table in OFFICIAL.items()
            if name in needed
        }
        if "train" in needed and options.train != "train":
            parts["train"] = _read_more_training(folder, lang, options, parts, report)
        _note_shared_speakers(lang, parts, report)
        for name in requested:
            utterances = parts[name]
            if options.quick:
                utterances = utterances[:: 1 + len(utterances) // QUICK_CLIPS]
            readable = check_audio(
                utterances, report, skip_unreadable=options.skip_unreadable, nj=options.nj
            )
            sets[name] += sorted(readable, key=lambda utterance: utterance.utt_id)
    training = {
        "train": "the official train",
        "validated": "validated clips of all other speakers",
        "other": "all clips of all other speakers, validated or not",
    }
    report.notes.append(
        f"split by speakers: the official dev and test; train is {training[options.train]}"
    )
    if {"train", "test"} <= sets.keys():
        report.notes.append(sentence_overlap(sets))
    return sets


def read(
    source: str | os.PathLike,
    columns: ColumnMapping,
    builder: DirectoryBuilder,
    *,
    split: str = "",
) -> None:
    """Add the utterances of a table to a data directory, for `espnet-ext import`.

    Sentences are kept as published. The column `sentence` is the meaning, unless another column is,
    or `sentence` is another output.
    """
    folder = Path(require_folder(source, "Common Voice", HOW_TO_GET))
    if split not in TABLES:
        what = f"no table '{split}'" if split else "no table given"
        raise UserError(f"{folder}: {what}", f"choose --split {' or '.join(TABLES)}")
    requested = columns.without_left_out()
    columns = columns.with_default_texts({"meaning": "sentence"}).without_left_out()
    if not columns.speaker:
        columns = replace(columns, speaker="speaker")
    if not columns.lang:
        columns = replace(columns, lang="locale")
    table = folder / f"{split}.tsv"
    for number, row in enumerate(_rows(table, builder.errors.add)):
        row["speaker"] = row["client_id"][:SPEAKER_DIGITS]
        if number == 0:
            require_columns(str(table), requested, list(row))
            used = {*columns.names(), "client_id", "path", "locale", "accents", "accent"}
            if others := [name for name in row if name not in used]:
                builder.report.notes.append(f"columns that are not imported: {', '.join(others)}")
        with builder.errors.collecting():
            utt_id = row[columns.id] if columns.id else _utt_id(row)
            audio = str(folder / "clips" / _file_name(row["path"]))
            utterance = make_utterance(utt_id, audio, row, columns, builder.report)
            if not utterance.l1 and not columns.l1:
                utterance = replace(utterance, l1=_first_language(row, builder.report))
            builder.add_file(utterance)


def words(sentence: str) -> str:
    """Return a sentence in lower case without punctuation and symbols.

    Apostrophes within words are kept.

    >>> words("“C’est là,” dit-il – 50 %!"), words("नमस्ते, दुनिया।")
    ("c'est là dit il 50", 'नमस्ते दुनिया')
    """
    sentence = normalize(sentence).lower().replace("\u2019", "'")
    kept = []
    for index, character in enumerate(sentence):
        within_word = 0 < index < len(sentence) - 1 and all(
            unicodedata.category(sentence[other])[0] in "LMN" for other in (index - 1, index + 1)
        )
        is_mark = unicodedata.category(character)[0] in "PS"
        kept.append(" " if is_mark and not (character == "'" and within_word) else character)
    return " ".join("".join(kept).split())


def _locale_folder(root: Path, lang: str, table: str) -> Path:
    """Return the folder with the tables of a locale, of which one is named.

    The root may be `cv-corpus-…`, the locale's folder, or a folder that holds `cv-corpus-…`.
    """
    for folder in (root / lang, root, *sorted(root.glob(f"cv-corpus-*/{lang}"))):
        if (folder / f"{table}.tsv").is_file() and (folder.name == lang or folder == root):
            return folder
    raise UserError(f"{root}: has no {lang}/{table}.tsv", f"name cv-corpus-<version>; {HOW_TO_GET}")


def _raise(error: UserError) -> None:
    raise error


def _rows(path: Path, on_bad_row: Callable[[UserError], None] = _raise) -> Iterator[dict[str, str]]:
    """Yield the rows of a table as column → cell, one at a time.

    Args:
        path: The table.
        on_bad_row: Called with a UserError, which names the line, for each malformed row. If it
            does not raise, the row is skipped.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such table", f"unpack the whole locale; {HOW_TO_GET}")
    number = 0
    try:
        with open(path, encoding="utf-8", newline="\n") as handle:
            columns = handle.readline().lstrip("\ufeff").rstrip("\r\n").split("\t")
            if missing := [name for name in REQUIRED if name not in columns]:
                remedy = f"expected the columns {', '.join(REQUIRED)}; {HOW_TO_GET}"
                raise UserError(f"{path}:1: no column {', '.join(missing)}", remedy)
            for number, line in enumerate(track(handle, f"reading {path}", unit="row"), 2):
                cells = line.rstrip("\r\n").split("\t")
                if not line.strip():
                    continue
                if len(cells) > len(columns):
                    message = f"{path}:{number}: {len(cells)} cells, but {len(columns)} columns"
                    on_bad_row(UserError(message, "remove or correct the line"))
                    continue
                row = dict(zip(columns, cells + [""] * (len(columns) - len(cells)), strict=True))
                if not row["client_id"] or not row["path"]:
                    message = f"{path}:{number}: no client_id or path"
                    on_bad_row(UserError(message, "remove the line"))
                    continue
                yield row
    except UnicodeDecodeError as error:
        message = f"{path}:{number + 1}: is not UTF-8: {error.reason}"
        raise UserError(message, "replace the file with a fresh copy") from None


def _read_table(folder: Path, lang: str, table: str, text: str, report: Report) -> list[Utterance]:
    """Return the utterances of a table; those without a sentence are unlabelled."""
    utterances: dict[str, Utterance] = {}
    for row in _rows(folder / f"{table}.tsv"):
        utt_id = _utt_id(row)
        if utt_id in utterances:
            report.left_out[utt_id] = f"twice in {table}.tsv; the first is kept"
            continue
        sentence = row["sentence"]
        sentence = words(sentence) if text == "words" else normalize(sentence)
        texts = {"meaning": sentence} if sentence else {}
        if not sentence:
            report.mark_unlabelled(utt_id, "meaning", "the sentence has no words")
        speaker = row["client_id"][:SPEAKER_DIGITS]
        audio = str(folder / "clips" / _file_name(row["path"]))
        l1 = _first_language(row, report) if lang == "en" else None
        utterances[utt_id] = Utterance(utt_id, speaker, audio, texts, lang, l1, domain="read")
    return list(utterances.values())


def _read_more_training(
    folder: Path, lang: str, options: Options, parts: Sets, report: Report
) -> list[Utterance]:
    """Return the training set for `--train validated` or `other`: speakers not held out."""
    held_out = {utterance.speaker for name in ("valid", "test") for utterance in parts[name]}
    utterances: dict[str, Utterance] = {}
    for table in ("validated", "other") if options.train == "other" else ("validated",):
        for utterance in _read_table(folder, lang, table, options.text, report):
            if utterance.speaker not in held_out:
                utterances[utterance.utt_id] = utterance
            else:
                report.counts[f"{table} clips of speakers of dev and test, not used"] += 1
                report.unlabelled.pop(utterance.utt_id, None)
    return list(utterances.values())


def _note_shared_speakers(lang: str, parts: Sets, report: Report) -> None:
    """Note speakers in two sets; the official sets share none, so the copy may be damaged."""
    for first, second in (("train", "valid"), ("train", "test"), ("valid", "test")):
        of_first, of_second = parts.get(first, ()), parts.get(second, ())
        shared = {one.speaker for one in of_first} & {one.speaker for one in of_second}
        if shared:
            names = list_faults(sorted(shared), 3)
            report.notes.append(
                f"{lang}: {len(shared)} speakers in {first} and in {second}:{names}"
            )


def _file_name(path: str) -> str:
    """Return the file name of a clip; early releases omit the suffix, or add folders."""
    name = path.rpartition("/")[2]
    return name if "." in name else f"{name}.mp3"


def _utt_id(row: dict[str, str]) -> str:
    stem = _file_name(row["path"]).rpartition(".")[0]
    return f"{row['client_id'][:SPEAKER_DIGITS]}-{stem}"


def _first_language(row: dict[str, str], report: Report) -> str | None:
    """Return the first language that the speaker's accents imply, or None."""
    accents = (row.get("accents") or row.get("accent") or "").strip()
    languages = {
        NOT_NATIVE.get(accent.strip()) or ("en" if accent.strip() in NATIVE else None)
        for accent in accents.split("|")
    }
    if len(languages) == 1 and None not in languages:
        return languages.pop()
    report.counts["accents that do not imply a first language"] += bool(accents)
    return None
