"""Any corpus, from one table: a tab-separated manifest with a row an utterance.

Columns, in any order: `utt_id speaker audio` and at least one transcript: `surface`, `meaning`,
`canonical` or, for any other output, `text.<output>`. Optional: `set` (train, valid, test), `lang`,
`l1`, `band`, `domain`. An empty cell means unlabelled. Audio paths are relative to the manifest.
"""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_ext.corpora.preparation import (
    Report,
    Sets,
    by_turns,
    check_audio,
    known_sentences,
    shown,
)
from espnet_ext.data.record import NA, Utterance, id_problem, is_output_name
from espnet_ext.errors import UserError
from espnet_ext.text.unicode import normalize

REQUIRED = ("utt_id", "speaker", "audio")
OUTPUTS = ("surface", "meaning", "canonical")
LABELS = ("lang", "l1", "band", "domain")
SETS = ("train", "valid", "test")
_LANG = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")  # becomes a folder's name
FORMAT = (
    "a first line with the columns' names, separated by tabs: utt_id, speaker, audio and surface "
    "or meaning; optional: canonical, text.<output>, set, lang, l1, band, domain"
)


def prepare(
    manifest: str | os.PathLike,
    *,
    lang: str = "en",
    skip_unreadable: bool = False,
    report: Report | None = None,
) -> Sets:
    """The manifest's utterances by set; `lang` is of those without one in the manifest.

    Without a column `set`, speakers are dealt out 8:1:1 by name; with fewer than three speakers,
    utterances are (and the report says so). Every fault of the manifest is named at once.
    """
    report = report if report is not None else Report("plain")
    path = Path(manifest)
    if not _LANG.fullmatch(lang):
        raise UserError(f"--lang '{lang}': not a language's code", "give one such as ko or en")
    columns, rows = _read_rows(path)
    outputs = _outputs(path, columns)
    faults: list[str] = []
    utterances: dict[str, tuple[Utterance, str]] = {}
    for number, row in rows:
        one, problems = _utterance(path, row, outputs, lang)
        if one.utt_id in utterances:
            problems.append("this utt_id is in an earlier line")
        if "set" in columns and row["set"] not in SETS:
            problems.append(f"set is '{row['set']}', not one of {', '.join(SETS)}")
        faults += [f"{path}:{number}: {one.utt_id}: {problem}" for problem in problems]
        utterances[one.utt_id] = (one, row.get("set", ""))
        for output in outputs:
            if output not in one.texts:
                report.miss(one.utt_id, output, "empty cell in the manifest")
    _raise_all(path, faults)
    kept = check_audio(
        [one for one, _ in utterances.values()], report, skip_unreadable=skip_unreadable
    )
    if "set" in columns:
        report.notes.append("split as the manifest's column set says")
        place = {one.utt_id: utterances[one.utt_id][1] for one in kept}
    else:
        place = _split(kept, report)
    sets: Sets = {name: [] for name in SETS}
    for one in sorted(kept, key=lambda one: one.utt_id):
        sets[place[one.utt_id]].append(one)
    if empty := [name for name in SETS if not sets[name]]:
        remedy = "name the sets in a column set, with utterances in each"
        raise UserError(f"{path}: no utterances for {' and '.join(empty)}", remedy)
    report.notes.append(known_sentences(sets))
    return sets


def _read_rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Columns and rows with their line numbers; cells are taken as they are (no quoting)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest", "correct --manifest FILE") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read: {error}", "save it as UTF-8 text") from None
    table = [line.split("\t") for line in text.split("\n")]
    columns = [name.strip() for name in table[0]]
    rows, faults = [], []
    for number, cells in enumerate(table[1:], 2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(columns):
            faults.append(f"{path}:{number}: {len(cells)} cells, but {len(columns)} columns")
        cells = [cell.strip() for cell in cells] + [""] * (len(columns) - len(cells))
        rows.append((number, dict(zip(columns, cells, strict=False))))
    missing = [name for name in REQUIRED if name not in columns]
    if missing or not rows:
        what = f"no column {', '.join(missing)}" if missing else "no utterances"
        raise UserError(f"{path}: {what}", f"expected {FORMAT}")
    _raise_all(path, faults)
    return columns, rows


def _outputs(path: Path, columns: Sequence[str]) -> list[str]:
    """Names of the outputs, from the columns that hold transcripts; unknown columns are refused."""
    known = {*REQUIRED, *OUTPUTS, *LABELS, "set"}
    unknown = [
        name
        for name in columns
        if name not in known
        and not (name.startswith("text.") and is_output_name(name.removeprefix("text.")))
    ]
    names = [name.removeprefix("text.") for name in columns if name in OUTPUTS or "text." in name]
    others = [name for name in columns if name not in OUTPUTS and "text." not in name]
    twice = [name for name, count in Counter([*others, *names]).items() if count > 1]
    if unknown or twice or not names:
        what = f"unknown column {', '.join(unknown)}" if unknown else "no transcript"
        what = f"column {', '.join(twice)} twice" if twice else what
        raise UserError(f"{path}: {what}", f"expected {FORMAT}")
    return list(dict.fromkeys(names))


def _utterance(
    path: Path, row: Mapping[str, str], outputs: Sequence[str], lang: str
) -> tuple[Utterance, list[str]]:
    """A row's record and what is wrong with it; the id gets its speaker in front if need be."""
    speaker, utt_id = row["speaker"], row["utt_id"]
    if not utt_id.startswith(speaker + "-"):
        utt_id = f"{speaker}-{utt_id}"
    problems = [
        f"{what} {problem}" for what in ("utt_id", "speaker") if (problem := id_problem(row[what]))
    ]
    audio = str((path.parent / row["audio"]).absolute())
    if row["audio"].endswith("|") or row["audio"].startswith("|"):
        problems.append("audio is a command, which is not run: name a sound file")
    elif not row["audio"]:
        problems.append("audio is empty")
    texts = {
        output: text
        for output in outputs
        if (text := normalize(row.get(output) or row.get(f"text.{output}") or "")) not in ("", NA)
    }
    labels = {name: row.get(name) or None for name in LABELS}
    labels["lang"] = labels["lang"] or lang
    if not _LANG.fullmatch(labels["lang"]):
        problems.append(f"lang '{labels['lang']}' is not a letter, then letters, digits, - and _")
    return Utterance(utt_id, speaker, audio, texts, **labels), problems


def _split(utterances: Sequence[Utterance], report: Report) -> dict[str, str]:
    """Set of each utterance: speakers dealt out, or utterances where speakers are too few."""
    speakers = sorted({one.speaker for one in utterances})
    parts = {"valid": 1, "test": 1}
    if len(speakers) >= 3:
        place = by_turns(speakers, parts)
        report.notes.append("split by speakers: of every ten, eight train, one valid, one test")
        return {one.utt_id: place[one.speaker] for one in utterances}
    if len(utterances) < 3:
        raise UserError(f"{len(utterances)} utterances are too few to split", "add utterances")
    report.notes.append(
        f"split by utterances, as speakers are {len(speakers)}: the same voices train and test"
    )
    return by_turns(sorted(one.utt_id for one in utterances), parts)


def _raise_all(path: Path, faults: Sequence[str]) -> None:
    if faults:
        message = f"{path}: {len(faults)} faults:{shown(faults)}"
        raise UserError(message, "correct these lines")
