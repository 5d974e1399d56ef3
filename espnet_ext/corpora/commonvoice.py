"""Common Voice (Ardila et al., LREC 2020; CC0): sentences read by volunteers. Meaning only.

`cv-corpus-<version>/<locale>/{clips,train.tsv,dev.tsv,test.tsv,validated.tsv,other.tsv,…}`. Tables
are tab-separated without any quoting (a quotation mark is part of its sentence). The columns have
changed between releases; read are `client_id`, `path`, `sentence` and `accents` (once `accent`).
"""

import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from espnet_ext.corpora.interchange.columns import Columns, require_columns, utterance
from espnet_ext.corpora.interchange.sink import Sink
from espnet_ext.corpora.preparation import (
    Report,
    Sets,
    check_audio,
    known_sentences,
    require_folder,
    shown,
)
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError
from espnet_ext.progress import track
from espnet_ext.text.unicode import normalize

OFFICIAL = {"train": "train", "valid": "dev", "test": "test"}
TABLES = ("train", "dev", "test", "validated", "other", "invalidated")
REQUIRED = ("client_id", "path", "sentence")
SPEAKER_DIGITS = 24  # of client_id, a hash of 128 hexadecimal digits: 96 bits tell speakers apart
QUICK_CLIPS = 400  # of each table, before the preparation takes a small part of them
HOW_TO_GET = "get it from https://commonvoice.mozilla.org/datasets, unpacked"
# Accents that speakers of English choose from a list, and what they say of the first language.
# Others ("India and South Asia (…)", "Filipino", free text) leave it open.
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


def prepare(
    corpus_dir: str | os.PathLike,
    *,
    langs: Sequence[str] = ("en",),
    train: str = "train",
    text: str = "words",
    quick: bool = False,
    skip_unreadable: bool = False,
    nj: int = 1,
    report: Report | None = None,
) -> Sets:
    """The locales as train, valid (the official dev) and test.

    `train`: "train" is the official one, which has every sentence once; "validated" all validated
    clips of speakers who neither validate nor test; "other" adds those that too few have judged.
    `text`: "words" takes punctuation and capitals off, "raw" keeps the sentences as they are.
    `quick` looks at some clips only.
    """
    report = report if report is not None else Report("commonvoice")
    root = Path(require_folder(corpus_dir, "Common Voice", HOW_TO_GET))
    sets: Sets = {name: [] for name in OFFICIAL}
    for lang in langs:
        folder = _locale_folder(root, lang)
        parts = {name: _read(folder, lang, table, text, report) for name, table in OFFICIAL.items()}
        if train != "train":
            parts["train"] = _more(folder, lang, train, text, parts, report)
        _check_apart(lang, parts, report)
        for name, utterances in parts.items():
            if quick:
                utterances = utterances[:: 1 + len(utterances) // QUICK_CLIPS]
            kept = check_audio(utterances, report, skip_unreadable=skip_unreadable, nj=nj)
            sets[name] += sorted(kept, key=lambda one: one.utt_id)
    what = {
        "train": "the official train",
        "validated": "validated clips of all other speakers",
        "other": "validated and unjudged clips of all other speakers",
    }
    report.notes.append(f"split by speakers: the official dev and test; train is {what[train]}")
    report.notes.append(known_sentences(sets))
    return sets


def read(source: str | os.PathLike, columns: Columns, sink: Sink, *, split: str = "") -> None:
    """Give a table's utterances to a sink, for the import; sentences as they are.

    Columns of the table may be chosen; by default `sentence` is meaning.
    """
    folder = Path(require_folder(source, "Common Voice", HOW_TO_GET))
    if split not in TABLES:
        what = f"no table '{split}'" if split else "no table given"
        raise UserError(f"{folder}: {what}", f"choose --split {' or '.join(TABLES)}")
    asked = columns
    for column, rows in (("texts", {"meaning": "sentence"}), ("speaker", "speaker")):
        if not getattr(columns, column):
            columns = replace(columns, **{column: rows})
    if not columns.lang:
        columns = replace(columns, lang="locale")
    table = folder / f"{split}.tsv"
    for number, row in enumerate(_rows(table, sink.faults.note)):
        row["speaker"] = row["client_id"][:SPEAKER_DIGITS]
        if number == 0:
            require_columns(str(table), asked, list(row))
        with sink.faults.noting():
            utt_id = row[columns.id] if columns.id else _utt_id(row)
            audio = str(folder / "clips" / _file_name(row["path"]))
            one = utterance(utt_id, audio, row, columns, sink.report)
            sink.refer(one if one.l1 or columns.l1 else replace(one, l1=_l1(row, sink.report)))


def words(sentence: str) -> str:
    """A sentence in lower case, its punctuation and symbols gone; apostrophes within words stay.

    >>> words("“C’est là,” dit-il – 50 %!"), words("नमस्ते, दुनिया।")
    ("c'est là dit il 50", 'नमस्ते दुनिया')
    """
    sentence = normalize(sentence).lower().replace("\u2019", "'")
    kept = []
    for index, character in enumerate(sentence):
        within = 0 < index < len(sentence) - 1 and all(
            unicodedata.category(sentence[other])[0] in "LMN" for other in (index - 1, index + 1)
        )
        mark = unicodedata.category(character)[0] in "PS"
        kept.append(" " if mark and not (character == "'" and within) else character)
    return " ".join("".join(kept).split())


def _locale_folder(root: Path, lang: str) -> Path:
    """Of `cv-corpus-…`, a locale of it, or what holds it: the folder with this locale's tables."""
    for folder in (root / lang, root, *sorted(root.glob(f"cv-corpus-*/{lang}"))):
        if (folder / "train.tsv").is_file() and (folder.name == lang or folder == root):
            return folder
    raise UserError(f"{root}: has no {lang}/train.tsv", f"name cv-corpus-<version>; {HOW_TO_GET}")


def _refuse(error: UserError) -> None:
    raise error


def _rows(path: Path, refuse: Callable[[UserError], None] = _refuse) -> Iterator[dict[str, str]]:
    """Rows of a table by column, one at a time; a faulty one is a `UserError` with its line.

    Where `refuse` only notes it, reading goes on behind that row.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such table", f"unpack the locale whole; {HOW_TO_GET}")
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
                    refuse(UserError(message, "remove the line, or mend it"))
                    continue
                row = dict(zip(columns, cells + [""] * (len(columns) - len(cells)), strict=True))
                if not row["client_id"] or not row["path"]:
                    refuse(UserError(f"{path}:{number}: no client_id or path", "remove the line"))
                    continue
                yield row
    except UnicodeDecodeError as error:
        message = f"{path}:{number + 1}: is not UTF-8: {error.reason}"
        raise UserError(message, "take it from a fresh copy") from None


def _read(folder: Path, lang: str, table: str, text: str, report: Report) -> list[Utterance]:
    """The utterances of a table; one without a sentence is kept, unlabelled."""
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
            report.miss(utt_id, "meaning", "no word in the sentence")
        speaker = row["client_id"][:SPEAKER_DIGITS]
        audio = str(folder / "clips" / _file_name(row["path"]))
        l1 = _l1(row, report) if lang == "en" else None
        utterances[utt_id] = Utterance(utt_id, speaker, audio, texts, lang, l1, domain="read")
    return list(utterances.values())


def _more(
    folder: Path, lang: str, train: str, text: str, parts: Sets, report: Report
) -> list[Utterance]:
    """Training utterances beyond the official ones, of speakers who neither validate nor test."""
    held_out = {one.speaker for name in ("valid", "test") for one in parts[name]}
    found: dict[str, Utterance] = {}
    for table in ("validated", "other")[: 1 + (train == "other")]:
        for one in _read(folder, lang, table, text, report):
            if one.speaker not in held_out:
                found[one.utt_id] = one
            else:
                report.counts[f"{table} clips of speakers of dev and test, not used"] += 1
                report.unlabelled.pop(one.utt_id, None)
    return list(found.values())


def _check_apart(lang: str, parts: Sets, report: Report) -> None:
    """Speakers in two sets: the official sets have none, so that a few would be a damaged copy."""
    for first, second in (("train", "valid"), ("train", "test"), ("valid", "test")):
        both = {one.speaker for one in parts[first]} & {one.speaker for one in parts[second]}
        if both:
            names = shown(sorted(both), 3)
            report.notes.append(f"{lang}: {len(both)} speakers in {first} and in {second}:{names}")


def _file_name(path: str) -> str:
    """Early releases have paths without a suffix, or with folders before the name."""
    name = path.rpartition("/")[2]
    return name if "." in name else f"{name}.mp3"


def _utt_id(row: dict[str, str]) -> str:
    stem = _file_name(row["path"]).rpartition(".")[0]
    return f"{row['client_id'][:SPEAKER_DIGITS]}-{stem}"


def _l1(row: dict[str, str], report: Report) -> str | None:
    """First language by what the speaker says of the accent; None where that leaves it open."""
    said = (row.get("accents") or row.get("accent") or "").strip()
    languages = {
        NOT_NATIVE.get(one.strip()) or ("en" if one.strip() in NATIVE else None)
        for one in said.split("|")
    }
    if len(languages) == 1 and None not in languages:
        return languages.pop()
    report.counts["accents that leave the first language open"] += bool(said)
    return None
