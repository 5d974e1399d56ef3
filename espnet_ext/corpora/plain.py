"""Any corpus, from one table, the manifest, with one row per utterance.

Columns, in any order: `utt_id speaker audio` and at least one transcript: `surface`, `meaning`,
`canonical` or, for any other output, `text.<output>`. Optional: `set` or `split` (train, valid or
test, also dev, validation, eval), `lang`, `l1`, `band`, `domain`; `start` and `end` (or `duration`)
of the part of the recording that a row is (`row_times`). Other columns are ignored, with a note. An
empty cell means unlabelled. Audio paths are relative to the manifest.

The manifest is text that is separated by tabs, commas or semicolons (`delimited`) or an Excel
workbook (`spreadsheet`). This module gives the rows their meaning; `manifest` reads them.
"""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from espnet_ext.corpora import manifest, phone_notation, row_times
from espnet_ext.corpora.languages import LANGUAGES, is_known, spoken_language
from espnet_ext.corpora.manifest import LABELS, OUTPUTS, REQUIRED, Row
from espnet_ext.corpora.new_recipe import EXAMPLE_SPEAKERS
from espnet_ext.corpora.preparation import (
    CorpusOptions,
    Report,
    Sets,
    check_audio,
    sentence_overlap,
    split_by_speaker,
    training_hint,
)
from espnet_ext.corpora.sound_paths import SoundPaths
from espnet_ext.corpora.table_faults import Fault, raise_faults
from espnet_ext.data.missing import MISSING
from espnet_ext.data.record import NA, Utterance, id_problem
from espnet_ext.errors import UserError, did_you_mean
from espnet_ext.text.unicode import normalize

__all__ = ["LABELS", "OUTPUTS", "REQUIRED", "SETS", "Options", "prepare"]

SETS = ("train", "valid", "test")
# Names of sets in the column set or split. `eval` depends on the other names; see `_set_names`.
SET_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev", "development"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("eval", "evaluation"), "eval"),
}
_NOT_IN_IDS = re.compile(r"[\s/]+")  # becomes "_"
_LANG = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")  # becomes the name of a folder


@dataclass(frozen=True)
class Options(CorpusOptions):
    """Options of `espnet-ext prepare plain`."""

    manifest: str | os.PathLike
    lang: str = "en"  # language of rows without one
    langs: tuple[str, ...] = ()  # languages that are used; empty: all
    phones: str = "cmu"  # English phones: "cmu" normalises them, "keep" keeps them as written
    missing: tuple[str, ...] = MISSING  # cells that mean an empty cell


def prepare(options: Options, report: Report) -> Sets:
    """Return the utterances of the manifest by set.

    The sets that the manifest states are never changed. If it states a test set and no validation
    set, every tenth training speaker validates. If it states none, the speakers are split 8:1:1 by
    name (with fewer than three speakers, the utterances are), or all utterances belong to the one
    set that `options.sets` names.

    Raises:
        UserError: The manifest has errors; names them all.
    """
    path = Path(options.manifest)
    default_lang = _language(options.lang, report, "--lang")
    if not _LANG.fullmatch(default_lang):
        message = f"--lang '{options.lang}': not a language code"
        raise UserError(message, "give a code such as ko or en")
    table = manifest.read(path, options.missing, report)
    report.source = str(path.absolute())
    if {row.cells["speaker"] for row in table.rows} == set(EXAMPLE_SPEAKERS.values()):
        report.is_example = True
        report.notes.append(
            "this is the example table of new_corpus, with recordings of tones: replace it, or "
            "name yours as manifest= in conf/recipe.conf"
        )
    set_names = _set_names(path, table)
    requested = options.selected(SETS)
    sounds = SoundPaths(path.parent, report)
    faults = list(table.faults)
    names = _Names(report)
    lines: dict[str, int] = {}  # id → line, of all rows
    utterances: dict[str, tuple[Utterance, str]] = {}  # requested ones, with their set
    spans: dict[str, row_times.Span] = {}  # of utterances that are a part of a recording
    has_wrong_times = False
    for row in table.rows:
        utterance, problems = _make_utterance(row, table.outputs, default_lang, names, report)
        utt_id = utterance.utt_id
        set_name = _set_of(row, set_names, problems) if set_names is not None else ""
        is_requested = set_name in (*requested, "")
        if is_requested and not any(problem.startswith("audio ") for problem in problems):
            utterance, problem = _find_audio(utterance, sounds, options.skip_unreadable)
            problems += [problem] if problem else []
        if utt_id in lines:
            problems.append(f"line {lines[utt_id]} has the same utt_id")
        span, problem = row_times.read_span(row.cells, table.time_columns)
        if span:
            spans[utt_id] = span
        elif problem:
            problems.append(problem)
            has_wrong_times = True
        faults += [Fault(row.line, problem, utt_id) for problem in problems]
        lines.setdefault(utt_id, row.line)
        if not is_requested:
            continue
        utterances[utt_id] = (utterance, set_name)
        for output in table.outputs:
            if output not in utterance.texts:
                reason = "empty cell in the manifest"
                if output not in row.texts:
                    reason = "the row has too few cells"
                report.mark_unlabelled(utt_id, output, reason)
    read = [utterance for utterance, _ in utterances.values()]
    remedies = [table.remedy, sounds.remedy]
    if options.phones == "cmu":
        read, unknown = phone_notation.normalize_phones(read, report)
        faults += [Fault(lines[utt_id], what, utt_id) for utt_id, what in unknown]
        remedies += [phone_notation.REMEDY] if unknown else []
    faulty = {fault.line for fault in faults}
    audible = [utterance for utterance in read if lines[utterance.utt_id] not in faulty]
    readable = check_audio(audible, report, skip_unreadable=True, nj=options.nj)
    if not options.skip_unreadable and report.left_out:
        faults += [Fault(lines[utt_id], why, utt_id) for utt_id, why in report.left_out.items()]
        remedies.append(
            "take unreadable audio from a fresh copy of the corpus, or leave it out: "
            "--skip_unreadable true"
        )
    outside = row_times.check_spans(readable, spans)
    faults += [Fault(lines[utt_id], problem, utt_id) for utt_id, problem in outside.items()]
    remedies += [row_times.REMEDY] if outside or has_wrong_times else []
    raise_faults(path, faults, ["correct these lines", *remedies])
    _note_other_languages(path, readable, options.langs, report)
    if read and not any(utterance.texts for utterance in read):
        columns = ", ".join(table.outputs)
        raise UserError(f"{path}: no row has a transcript ({columns})", "fill in these columns")
    if set_names is None:
        set_of = split_by_speaker(readable, requested, report)
    else:
        set_of = {one.utt_id: utterances[one.utt_id][1] for one in readable}
        report.notes.append(f"split by the column {table.set_column} of the manifest")
        _add_valid(readable, set_of, requested, report)
    sets: Sets = {name: [] for name in requested}
    for utterance in sorted(readable, key=lambda utterance: utterance.utt_id):
        sets[set_of[utterance.utt_id]].append(utterance)
    folder = Path(options.data_dir) / f"{report.corpus}_audio"
    sets = {
        name: row_times.cut_rows(part, spans, folder / name, options, report)
        for name, part in sets.items()
    }
    if spans:
        what = " and ".join(table.time_columns)
        report.notes.append(f"{len(spans)} rows are parts of recordings: columns {what}")
    _require_utterances(path, sets, table.set_column)
    if {"train", "test"} <= sets.keys() and "meaning" in table.outputs:
        report.notes.append(sentence_overlap(sets))
    if hint := training_hint(readable):
        report.notes.append("; ".join(filter(None, [hint, table.hint])))
    return sets


# -- sets


def _set_names(path: Path, table: manifest.Manifest) -> dict[str, str] | None:
    """Return the set of each name in the column of sets; None without such a column.

    `eval` is the test set, unless the column also has `test`: then it is the validation set, or an
    error if there is one too.
    """
    if not table.set_column:
        return None
    present = {SET_NAMES.get(row.cells["set"].lower()) for row in table.rows}
    names = dict(SET_NAMES)
    stands_for = "test" if "test" not in present else "valid"
    if "eval" in present and {"test", "valid"} <= present:
        message = f"{path}: the column {table.set_column} has a validation set, eval and test"
        raise UserError(message, "name each set train, valid or test")
    return {name: stands_for if of == "eval" else of for name, of in names.items()}


def _set_of(row: Row, set_names: Mapping[str, str], problems: list[str]) -> str:
    value = row.cells["set"]
    if (name := set_names.get(value.lower())) is not None:
        return name
    known = "train, valid (dev, validation), test (eval)"
    problems.append(f"set is '{value}', not one of {known}")
    return ""


def _add_valid(
    utterances: Sequence[Utterance],
    set_of: dict[str, str],
    requested: Sequence[str],
    report: Report,
) -> None:
    """If the manifest states no validation set, take one from the training set; in place."""
    stated = set(set_of.values())
    train = [one for one in utterances if set_of[one.utt_id] == "train"]
    if "valid" in stated or not {"train", "valid"} <= set(requested) or len(train) < 2:
        return
    if "test" in requested and "test" not in stated:
        return  # the manifest is incomplete
    set_of |= split_by_speaker(train, ("train", "valid"), report)
    report.notes[-1] += "; the manifest states no validation set, which is taken from train"


def _require_utterances(path: Path, sets: Sets, set_column: str) -> None:
    if empty := [name for name, utterances in sets.items() if not utterances]:
        column = set_column or "set"
        remedy = f"assign utterances to each set in a column {column}"
        if full := [name for name, utterances in sets.items() if utterances]:
            remedy += f"; to prepare the other sets only: --sets '{' '.join(full)}'"
        raise UserError(f"{path}: no utterances for {' and '.join(empty)}", remedy)


# -- rows


def _note_other_languages(
    path: Path, utterances: Sequence[Utterance], langs: Sequence[str], report: Report
) -> None:
    """Note utterances of languages that are not used; raise a UserError if these are all."""
    langs = [spoken_language(lang) for lang in langs]
    counts = Counter(utterance.lang or "" for utterance in utterances)
    other = [f"{lang} {n}" for lang, n in sorted(counts.items()) if lang not in langs]
    if not langs or not other:
        return
    number = sum(n for lang, n in counts.items() if lang not in langs)
    every = f"--langs '{' '.join(dict.fromkeys([*langs, *sorted(counts)]))}'"
    if number == counts.total():
        message = f"{path}: no row is in {' or '.join(langs)} ({', '.join(other)})"
        raise UserError(message, "correct --langs, or the column lang")
    report.notes.append(
        f"{number} of {counts.total()} utterances are not used, because langs does not have their "
        f"language ({', '.join(other)}); to use them: {every}"
    )


def _language(name: str, report: Report, where: str) -> str:
    """Return the code of a language that may be given by name, which the report counts."""
    code = spoken_language(name)
    if code != name:
        report.counts[f"{where} '{name}', read as {code}"] += 1
    elif not is_known(code):
        question = did_you_mean(code, sorted(set(LANGUAGES.values())), "is it a typing error?")
        report.counts[f"{where} '{name}', which is not a known language: {question}"] += 1
    return code


class _Names:
    """Reads names of speakers and utterances as ids, as `espnet-ext import` does."""

    def __init__(self, report: Report):
        self.report = report
        self._speakers: dict[str, str] = {}  # id → its name in the table

    def read(self, column: str, name: str) -> str:
        """Return a name in normal form, with `_` for white space and slashes; count changes."""
        normal = normalize(name)
        label = _NOT_IN_IDS.sub("_", normal)
        if normal != name:
            self.report.counts[f"{column} in another Unicode form, read in NFC"] += 1
        if label != normal:
            self.report.counts[f"{column} in which whitespace or / became _"] += 1
        return label

    def speaker(self, name: str) -> tuple[str, str]:
        """Return the id of a speaker, and what is wrong if another speaker has it."""
        label = self.read("speaker", name)
        other = self._speakers.setdefault(label, normalize(name))
        if other == normalize(name):
            return label, ""
        return label, f"speaker '{name}' would become {label}, as '{other}' does: rename one"


def _make_utterance(
    row: Row, outputs: Sequence[str], default_lang: str, names: _Names, report: Report
) -> tuple[Utterance, list[str]]:
    """Return the utterance of a row, and its problems; the id is prefixed with the speaker."""
    cells = row.cells
    speaker, problem = names.speaker(cells["speaker"])
    utt_id = names.read("utt_id", cells["utt_id"])
    problems = [problem] if problem else []
    problems += [
        f"{column} {problem}"
        for column, name in (("utt_id", utt_id), ("speaker", speaker))
        if (problem := id_problem(name))
    ]
    if not utt_id.startswith(speaker + "-"):
        utt_id = f"{speaker}-{utt_id}"
    if cells["audio"].endswith("|") or cells["audio"].startswith("|"):
        problems.append("audio is a command, which is not run: give the path of a sound file")
    elif not cells["audio"]:
        problems.append("audio is empty")
    texts = {
        output: text
        for output in outputs
        if (text := normalize(row.texts.get(output, ""))) not in ("", NA)
    }
    labels = {name: normalize(cells.get(name, "")) or None for name in LABELS}
    lang = default_lang
    if labels["lang"]:
        lang = _language(labels["lang"], report, "lang")
    if not _LANG.fullmatch(lang):
        problems.append(f"lang '{lang}' is not a letter followed by letters, digits, '-' or '_'")
    utterance = Utterance(
        utt_id,
        speaker,
        cells["audio"],
        texts,
        lang=lang,
        l1=labels["l1"],
        band=labels["band"],
        domain=labels["domain"],
    )
    return utterance, problems


def _find_audio(
    utterance: Utterance, sounds: SoundPaths, skip_unreadable: bool
) -> tuple[Utterance, str]:
    """Return the utterance with the path of its audio, and why there is no such file."""
    path, problem = sounds.find(utterance.audio)
    if skip_unreadable:  # `check_audio` leaves it out and reports it
        problem = ""
    return replace(utterance, audio=path), problem
