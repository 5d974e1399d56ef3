"""Corpora that do not fit into memory: labels and audio are joined in a temporary SQLite database.

Labels and audio files come in any order. SQLite sorts and joins them on disk, and the data
directories and the report are written from it, sorted by id.
"""

import json
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import batched
from pathlib import Path
from typing import NamedTuple, NoReturn

from espnet_ext.corpora import database_sql as sql
from espnet_ext.corpora.audio_headers import read_headers
from espnet_ext.corpora.corpus_files import CorpusFile, fits_scp, parallel_map
from espnet_ext.corpora.database_report import DatabaseReport, json_member
from espnet_ext.corpora.preparation import (
    QUICK_SIZES,
    REPORT_FILE,
    CorpusOptions,
    Report,
    list_faults,
    overlap_note,
)
from espnet_ext.corpora.set_folders import SetFolders, keep_earlier_report
from espnet_ext.data.directory import remove_stale
from espnet_ext.data.record import Utterance
from espnet_ext.data.streaming import DirectoryWriter
from espnet_ext.errors import UserError
from espnet_ext.progress import say, track

_DISK_ERRORS = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
TRAIN = "train"  # name of the training set
_BATCH = 200  # audio files per item of work of a process


class ParsedLabel(NamedTuple):
    """An utterance, as its label describes it."""

    key: str  # file name of its audio, without suffix; joins label and audio
    utt_id: str  # equals the speaker, or begins with the speaker and "-"
    speaker: str  # letters, digits and "_"
    part: str  # part of the published corpus
    file: str  # name of the label; if two labels have one id, the first by this name is used
    lang: str
    l1: str
    domain: str
    texts: Mapping[str, str]  # transcripts by output
    missing: Mapping[str, str] = {}  # noqa: RUF012 output → why it has no transcript
    tables: Mapping[str, str] = {}  # noqa: RUF012 name of a further table → value
    counts: tuple[str, ...] = ()  # irregularities, counted in the report
    secondary: bool = False  # used only if its audio has no label that is not secondary


class BadLabel(NamedTuple):
    """A label that gives no utterance."""

    name: str  # id for the report
    key: str  # file name of its audio, without suffix
    reason: str


class CorpusDatabase:
    """Collects the labels and audio files of a corpus, joins them, and writes the sets.

    It is a context manager; the database is deleted when the context ends. Call `add_labels`,
    `add_audio` and `add_unsupported_audio` as files are found, then `join`, `check_audio` and
    `write`.
    """

    def __init__(self, options: CorpusOptions, report: Report):
        self.options = options
        self.data_dir = Path(options.data_dir)
        self.report = report  # `notes` and `counts` are used; reasons are in the database
        self.corpus = report.corpus
        self.unreadable: list[str] = []  # folders, archives and members, with the reasons

    def __enter__(self) -> "CorpusDatabase":
        self._stack = ExitStack()
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            folder = tempfile.TemporaryDirectory(dir=self.data_dir, prefix=".preparing-")
            path = self._stack.enter_context(folder)
        except OSError as error:
            remedy = "free space on that disk, or check the folder's permissions"
            raise UserError(f"{self.data_dir}: cannot write: {error.strerror}", remedy) from None
        self._database = sqlite3.connect(f"{path}/corpus.sqlite", isolation_level=None)
        self._stack.callback(self._database.close)
        # No journal: no other process reads the database, and an interrupted run starts again. The
        # cache is 8 MB.
        for setting in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-8192", "temp_store=1"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.executescript(sql.SCHEMA)
        self._database.execute("BEGIN")
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    def add_unreadable(self, name: str, reason: str) -> None:
        """Add a folder, archive or archive member that cannot be read; `join` raises for it."""
        self.unreadable.append(f"{name}: {reason}")

    # -- collecting

    def add_labels(self, labels: Iterable[ParsedLabel | BadLabel]) -> None:
        """Add labels."""
        rows, bad_labels = [], []
        for label in labels:
            if isinstance(label, BadLabel):
                bad_labels.append(label)
                continue
            record = [label.l1, label.domain, label.texts, label.missing, label.tables]
            rows.append(
                (
                    label.utt_id,
                    label.key,
                    label.speaker,
                    label.part,
                    label.lang,
                    label.file,
                    label.texts.get("meaning"),
                    json.dumps(record),
                    int(label.secondary),
                    json.dumps(label.counts) if label.secondary else None,
                )
            )
            if not label.secondary:  # whose counts are added if it is used
                self.report.counts.update(label.counts)
        self._execute_many("INSERT INTO label VALUES(?,?,?,?,?,?,?,?,?,?)", rows)
        self._execute_many("INSERT INTO left_out VALUES(?,?,?)", bad_labels)

    def add_audio(self, audio_files: Iterable[CorpusFile]) -> None:
        """Add audio files of supported formats."""
        rows, left_out = [], []
        for file in audio_files:
            source = file.scp_entry
            if fits_scp(source):
                rows.append((file.stem, source))
            else:
                reason = "its path is not UTF-8 or has control characters: rename it (convmv)"
                left_out.append((file.stem, file.stem, reason))
        self._execute_many("INSERT INTO audio(key, source) VALUES(?,?)", rows)
        self._execute_many("INSERT INTO left_out VALUES(?,?,?)", left_out)

    def add_unsupported_audio(self, file: CorpusFile) -> None:
        """Add an audio file of an unsupported format."""
        row = (file.stem, file.name, file.suffix)
        self._execute_many("INSERT INTO unsupported_audio VALUES(?,?,?)", [row])
        self.report.counts[f"audio files of the unsupported format {file.suffix}"] += 1

    def _execute_many(self, statement: str, rows: Sequence[tuple]) -> None:
        with self._disk_errors():
            self._database.executemany(statement, rows)

    def _execute(self, statement: str, *values) -> sqlite3.Cursor:
        with self._disk_errors():
            return self._database.execute(statement, values)

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Convert the error of a full or failing disk to a UserError."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _DISK_ERRORS:
                raise
            raise UserError(
                f"{self.data_dir}: cannot write: {error}",
                "free space on that disk: preparation needs about 1 kB per utterance",
            ) from None

    # -- joining

    def has_part(self, part: str) -> bool:
        """Return whether there are labels of a published part."""
        return bool(self._execute("SELECT 1 FROM label WHERE part = ? LIMIT 1", part).fetchall())

    def keep_parts(self, parts: Collection[str]) -> None:
        """Drop the labels of all other published parts; their audio is not reported either."""
        marks = ",".join("?" * len(parts))
        where = f"FROM label WHERE part NOT IN ({marks})"
        self._execute(f"INSERT OR IGNORE INTO other_part SELECT key {where}", *parts)
        self._execute(f"DELETE {where}", *parts)

    def _drop_superseded(self) -> None:
        """Drop secondary labels of audio that has another label; report those that differ."""
        with self._disk_errors():
            self._database.executescript(sql.SECONDARY)
        counts = self.report.counts
        for (names,) in self._execute("SELECT counts FROM label WHERE secondary"):
            counts.update(json.loads(names))
        same = "same_texts AND same_speaker"
        for what, condition in (
            ("CSV labels with the transcripts of their JSON labels, which are used", same),
            ("CSV labels that differ from their JSON labels, which are used", f"NOT ({same})"),
        ):
            query = f"SELECT COUNT(*) FROM superseded WHERE {condition}"
            (counts[what],) = self._execute(query).fetchone()
        for what, condition in (
            ("other transcripts", "NOT same_texts"),
            ("another speaker or first language", "same_texts AND NOT same_speaker"),
        ):
            reason = f"the CSV label has {what} than the JSON label, which is used"
            self._execute(
                "INSERT INTO left_out SELECT utt || ' (CSV)', key, ? FROM superseded "
                f"WHERE {condition}",
                reason,
            )

    def join(self, public_name: Callable[[str], str], *, skip_unreadable: bool = False) -> None:
        """Join labels and audio files by their keys; leave out those without a counterpart.

        Args:
            public_name: Returns the name for the report of an audio file without a label.
            skip_unreadable: Leave out folders and files that cannot be read, instead of raising.
        Raises:
            UserError: Folders, archives or members cannot be read, or audio files have
                unsupported formats.
        """
        if self.unreadable and not skip_unreadable:
            raise UserError(
                f"{self.corpus}: {len(self.unreadable)} folders or files cannot be read:"
                f"{list_faults(self.unreadable)}",
                "take them from a fresh copy, or leave them out: --skip_unreadable true",
            )
        notes = self.report.notes
        notes += [f"not read: {name_and_reason}" for name_and_reason in self.unreadable[:20]]
        if len(self.unreadable) > 20:
            notes.append(f"not read: {len(self.unreadable) - 20} more")
        self._database.create_function("public_name", 1, public_name, deterministic=True)
        with self._disk_errors():
            self._database.execute("COMMIT")
            self._drop_superseded()
            self._database.executescript(sql.JOIN)
            self._database.execute("BEGIN")
        self._require_supported_audio(skip_unreadable)
        (duplicates,) = self._execute("SELECT COUNT(*) - COUNT(DISTINCT key) FROM audio").fetchone()
        counts = self.report.counts
        counts["duplicate audio files, of which the first by path is used"] += duplicates
        self._execute(
            "INSERT INTO left_out SELECT public_name(key), key, 'no label' FROM audio "
            f"{sql.UNKNOWN}"
        )
        self._execute(
            "INSERT INTO left_out SELECT public_name(key), key, 'no label' FROM unsupported_audio "
            f"{sql.UNKNOWN} GROUP BY key"
        )
        used_labels = "(SELECT label FROM utterance)"
        other_labels = (
            "FROM label JOIN utterance USING(utt) "
            "JOIN label AS used ON used.rowid = utterance.label "
            f"WHERE label.rowid NOT IN {used_labels} AND label.record {{}} used.record"
        )
        (same,) = self._execute("SELECT COUNT(*) " + other_labels.format("=")).fetchone()
        counts["duplicate labels with the same content"] += same
        self._execute(
            "INSERT INTO left_out SELECT label.utt || ' (again)', label.key, 'another label of "
            "this utterance has other content; the first by path is used' "
            + other_labels.format("!=")
        )

    def _require_supported_audio(self, skip_unreadable: bool) -> None:
        """Raise a UserError if labels have audio files, but only of unsupported formats."""
        rows = self._execute(
            "SELECT suffix, COUNT(*), MIN(name) FROM unsupported_audio "
            "WHERE key IN (SELECT key FROM label) AND key NOT IN (SELECT key FROM audio) "
            "GROUP BY suffix ORDER BY 2 DESC, 1"
        ).fetchall()
        if not rows or skip_unreadable:
            return
        formats = [f"{suffix}: {count}, such as {name}" for suffix, count, name in rows]
        total = sum(count for _, count, _ in rows)
        suffix = rows[0][0]
        raise UserError(
            f"{self.corpus}: {total} audio files have unsupported formats:{list_faults(formats)}",
            f"convert them to .wav or .flac under the same names (ffmpeg -i NAME{suffix} "
            "-ar 16000 -ac 1 NAME.wav), or leave them out: --skip_unreadable true",
        )

    def check_audio(self, nj: int, *, skip_unreadable: bool = False) -> None:
        """Read the header of each used audio file in `nj` processes; store the durations.

        Raises:
            UserError: Files cannot be read and `skip_unreadable` is False; names them all.
        """
        (total,) = self._execute("SELECT COUNT(*) FROM utterance").fetchone()
        used = "(SELECT audio FROM utterance)"
        query = (
            f"SELECT id, source FROM audio WHERE id IN {used} ORDER BY id"  # in the disk's order
        )
        rows = iter(self._database.cursor().execute(query))
        label = f"{self.corpus}: reading audio headers"
        headers = (
            header
            for batch in parallel_map(read_headers, batched(rows, _BATCH), nj)
            for header in batch
        )
        counts = self.report.counts
        for batch in batched(track(headers, label, total), 10 * _BATCH):
            count = sum(header.odd_size for header in batch)
            counts["audio files with an odd number of bytes, whose last byte is ignored"] += count
            update = "UPDATE audio SET seconds = ?, fault = ? WHERE id = ?"
            values = [(header.seconds, header.fault, header.audio_id) for header in batch]
            self._execute_many(update, values)
        (count,) = self._execute("SELECT COUNT(*) FROM audio WHERE fault IS NOT NULL").fetchone()
        if count and not skip_unreadable:
            query = "SELECT fault FROM audio WHERE fault IS NOT NULL ORDER BY source LIMIT 20"
            faults = [fault for (fault,) in self._execute(query)]
            more = f"\n  and {count - len(faults)} more" if count > len(faults) else ""
            raise UserError(
                f"{self.corpus}: {count} audio files cannot be read:{list_faults(faults)}{more}",
                "take them from a fresh copy of the corpus, or leave them out: "
                "--skip_unreadable true",
            )
        self._execute(
            "INSERT INTO left_out SELECT utt, audio.key, 'unreadable audio' FROM utterance "
            "JOIN audio ON audio.id = utterance.audio WHERE fault IS NOT NULL"
        )
        faulty = "(SELECT id FROM audio WHERE fault IS NOT NULL)"
        self._execute(f"DELETE FROM utterance WHERE audio IN {faulty}")
        if count == total:
            self._raise_no_utterances()

    def parts_and_speakers(self) -> list[tuple[str, str]]:
        """Return all (part, speaker) that have utterances, sorted."""
        query = "SELECT DISTINCT part, speaker" + sql.UTTERANCES + "ORDER BY 1, 2"
        return list(self._execute(query))

    # -- writing

    def write(
        self,
        set_of: Callable[[str, str], str],
        sets: Sequence[str],
        *,
        tables: Sequence[str] = (),
        quick: bool = False,
    ) -> None:
        """Write the data directories, and a report per language.

        Args:
            set_of: Returns the set of a (part, speaker).
            sets: Names of the sets to write, in the corpus's order: the training set is the first,
                if it is among them.
            tables: Names of all further tables of the corpus; those of an earlier run are removed.
            quick: Keep a small part of each set.
        Raises:
            UserError: A language has no utterances, or no transcripts, in one of the sets.
        """
        self._database.create_function("set_of", 2, set_of, deterministic=True)
        query = f"SELECT lang, set_of(part, speaker), COUNT(*) {sql.UTTERANCES} GROUP BY 1, 2"
        sizes: dict[str, dict[str, int]] = {}  # language → set → utterances
        for lang, name, size in self._execute(query):
            of_lang = sizes.setdefault(lang, {})
            if name in sets:
                of_lang[name] = size
        if not sizes:
            self._raise_no_utterances()
        for lang, sizes_of_lang in sorted(sizes.items()):
            if missing := [name for name in sets if name not in sizes_of_lang]:
                message = f"{self.corpus}: {lang}: no utterances for {' and '.join(missing)}"
                message += self._left_out_reasons()
                remedy = "get more of the corpus, or choose another split"
                if sizes_of_lang:
                    there = " ".join(name for name in sets if name in sizes_of_lang)
                    remedy += f"; to prepare the other sets only: --sets '{there}'"
                raise UserError(message, remedy)
        self._require_transcripts(sizes)
        if overlap := self._sentence_overlap(sets):
            self.report.notes.append(overlap)
        if quick:
            self.report.notes.append("quick: only a small part of each set is kept")
        folders = SetFolders(self.options, self.corpus, tables)
        for lang in sorted(sizes):
            folders.check(lang, sets)
        for lang, sizes_of_lang in sorted(sizes.items()):
            steps = dict.fromkeys(sizes_of_lang, 1)  # every step-th utterance of a set is kept
            if quick:
                for name, size in sizes_of_lang.items():
                    most = QUICK_SIZES["train" if name == TRAIN else "test"]
                    steps[name] = -(-size // most)
            with folders.writing(lang, sets) as folder:
                self._write_language(folder, sets, steps, tables)
            print(f"{self.corpus}: wrote {folder}/{{{','.join(sets)}}} and {REPORT_FILE}")

    def _raise_no_utterances(self) -> NoReturn:
        reasons = self._left_out_reasons().removeprefix("; left out:")
        message = f"{self.corpus}: no utterances" + (f":{reasons}" if reasons else " found")
        raise UserError(message, "check the path of the corpus; its README describes the layout")

    def _left_out_reasons(self) -> str:
        """Return the most common reasons for leaving out utterances, for a message; "" if none."""
        query = "SELECT reason, COUNT(*) FROM left_out GROUP BY 1 ORDER BY 2 DESC, 1"
        reasons = [f"{count} × {reason}" for reason, count in self._execute(query).fetchmany(10)]
        return "; left out:" + list_faults(reasons) if reasons else ""

    def _require_transcripts(self, sizes: Mapping[str, Mapping[str, int]]) -> None:
        """Raise a UserError, with the reasons, if no utterance of a set has a transcript."""
        all_sets = {(lang, name) for lang, sizes_of_lang in sizes.items() for name in sizes_of_lang}
        query = f"SELECT DISTINCT lang, set_of(part, speaker) {sql.UTTERANCES} WHERE {sql.LABELLED}"
        for lang, name in sorted(all_sets - set(self._execute(query))):
            reasons: Counter = Counter()
            query = f"SELECT json_extract(record, '$[3]') {sql.UTTERANCES}"
            where = "WHERE lang = ? AND set_of(part, speaker) = ?"
            for (missing,) in self._execute(query + where, lang, name):
                reasons.update(
                    f"unlabelled {output}: {reason}"
                    for output, reason in json.loads(missing).items()
                )
            lines = [f"{count} × {reason}" for reason, count in reasons.most_common(10)]
            message = f"{self.corpus}: {lang}: no utterance of {name} has a transcript"
            remedy = "see the options for marks in transcripts in the README of the corpus"
            raise UserError(f"{message}:{list_faults(lines)}", remedy)

    def _sentence_overlap(self, sets: Sequence[str]) -> str:
        """Return the note on how many test sentences also occur in training; "" without both."""

        def meanings(condition: str) -> str:
            where = f"WHERE meaning IS NOT NULL AND set_of(part, speaker) {condition}"
            return f"{sql.UTTERANCES} {where}"

        tests = [name for name in sets if name not in (TRAIN, "valid", "dev")]
        if TRAIN not in sets or not tests:
            return ""
        marks = ",".join("?" * len(tests))
        count_all = "SELECT COUNT(*)" + meanings(f"IN ({marks})")
        count_shared = count_all + f" AND meaning IN (SELECT meaning {meanings('= ?')})"
        (total,) = self._execute(count_all, *tests).fetchone()
        (shared,) = self._execute(count_shared, *tests, TRAIN).fetchone()
        return overlap_note(shared, total)

    def _rows(
        self, lang: str
    ) -> Iterator[tuple[str, Utterance, dict[str, str], dict[str, str], float]]:
        """Yield set, utterance, reasons by missing output, further tables, seconds; by id."""
        cursor = self._execute(
            "SELECT utterance.utt, speaker, set_of(part, speaker), record, source, seconds "
            + sql.UTTERANCES
            + "WHERE lang = ? ORDER BY utterance.utt",
            lang,
        )
        for utt_id, speaker, name, record, source, seconds in cursor:
            l1, domain, texts, missing, tables = json.loads(record)
            utterance = Utterance(
                utt_id, speaker, source, texts, lang, l1 or None, None, domain or None
            )
            yield name, utterance, missing, tables, seconds

    def _write_language(
        self, folder: Path, sets: Sequence[str], steps: Mapping[str, int], tables: Sequence[str]
    ) -> None:
        seen: Counter = Counter()  # utterances by set
        report = DatabaseReport(self.corpus, self.report.notes, self.report.counts, sets)
        keep_earlier_report(folder, sets)
        remove_stale(folder / REPORT_FILE)
        with ExitStack() as stack:
            writers = {
                name: stack.enter_context(DirectoryWriter(folder / name, tables)) for name in sets
            }
            unlabelled = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
            rows = track(self._rows(folder.name), f"{self.corpus}: writing {folder}")
            for name, utterance, missing, tables_of_row, seconds in rows:
                if name not in writers:
                    continue  # a set that is not to be prepared
                seen[name] += 1
                if (seen[name] - 1) % steps[name]:
                    continue
                writers[name].add(utterance, tables_of_row)
                report.add(name, utterance, seconds)
                if missing:
                    report.mark_unlabelled(name, missing)
                    unlabelled.write(f"{json_member(utterance.utt_id, missing)}\n")
            unlabelled.seek(0)
            cursor = self._execute("SELECT name, reason FROM left_out ORDER BY name, reason")
            left_out = (json_member(name, reason) for name, reason in _with_unique_names(cursor))
            report.write(folder / REPORT_FILE, left_out, (row.rstrip("\n") for row in unlabelled))
        by_reason = self._execute("SELECT reason, COUNT(*) FROM left_out GROUP BY reason")
        for line in report.lines(by_reason):
            say(line)


def _with_unique_names(rows: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Number repeated names, as rows become members of a JSON object; rows are sorted by name.

    >>> list(_with_unique_names([("a", "no JSON"), ("a", "no audio"), ("b", "no audio")]))
    [('a', 'no JSON'), ('a (2)', 'no audio'), ('b', 'no audio')]
    """
    previous, count = None, 0
    for name, value in rows:
        count = count + 1 if name == previous else 1
        previous = name
        yield (name if count == 1 else f"{name} ({count})"), value
