"""Corpora that do not fit into memory: labels and sounds meet in a temporary database.

Labels and sounds come in any order from wherever they lie; SQLite sorts and joins them on disk, and
the data directories are written from there, sorted, with the account of the preparation.
"""

import json
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

from espnet_ext.corpora.account import Account, account_row
from espnet_ext.corpora.delivered import Place, chunks, is_writable, spread
from espnet_ext.corpora.preparation import shown
from espnet_ext.data.directory import remove_stale
from espnet_ext.data.record import Utterance
from espnet_ext.data.streaming import DirectoryWriter
from espnet_ext.errors import UserError
from espnet_ext.progress import say, track

_SCHEMA = """
CREATE TABLE label(utt TEXT, key TEXT, speaker TEXT, part TEXT, lang TEXT, place TEXT,
                   meaning TEXT, record TEXT);
CREATE TABLE audio(id INTEGER PRIMARY KEY, key TEXT, source TEXT, seconds REAL, fault TEXT);
CREATE TABLE foreign_sound(key TEXT, name TEXT, suffix TEXT);
CREATE TABLE left_out(name TEXT, key TEXT, reason TEXT);
"""
_RESOLVE = """
CREATE INDEX label_utt ON label(utt, place);
CREATE INDEX label_key ON label(key);
CREATE INDEX audio_key ON audio(key, source);
CREATE INDEX foreign_key ON foreign_sound(key, suffix);
CREATE TABLE utterance(utt TEXT PRIMARY KEY, label INTEGER, audio INTEGER) WITHOUT ROWID;
INSERT OR IGNORE INTO utterance
    SELECT utt, rowid, (SELECT id FROM audio WHERE audio.key = label.key ORDER BY source LIMIT 1)
    FROM label ORDER BY utt, place;
INSERT INTO left_out SELECT label.utt, key, COALESCE(
        (SELECT 'its sound is ' || suffix || ', which is not read here: convert it'
         FROM foreign_sound WHERE foreign_sound.key = label.key LIMIT 1), 'no audio')
    FROM utterance JOIN label ON label.rowid = label WHERE audio IS NULL;
DELETE FROM utterance WHERE audio IS NULL;
CREATE INDEX utterance_audio ON utterance(audio);
CREATE INDEX left_out_key ON left_out(key);
"""
_UTTERANCES = """
    FROM utterance CROSS JOIN label ON label.rowid = utterance.label
    CROSS JOIN audio ON audio.id = utterance.audio
"""
_LABELLED = "json_extract(record, '$[2]') != '{}'"
_DISK_ERRORS = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
_CHUNK = 200  # sounds that a process looks at between two reports


class Entry(NamedTuple):
    """An utterance as its label says it."""

    key: str  # joins it with its sound: the sound's name without suffix
    utt_id: str
    speaker: str  # letters, digits and "_"; the id begins with it and "-", or is it
    part: str  # of the published corpus
    place: str  # of the label; of two labels of one id, the first by place counts
    lang: str
    l1: str
    domain: str
    texts: Mapping[str, str]  # by output, as they are written
    missing: Mapping[str, str] = {}  # noqa: RUF012 why an output has none
    tables: Mapping[str, str] = {}  # noqa: RUF012 rows of further tables
    counts: tuple[str, ...] = ()  # curiosities


class Fault(NamedTuple):
    """A label that makes no utterance."""

    name: str
    key: str
    reason: str


class Store:
    """A corpus on its way to `data/<lang>/<set>`; used as a context, gone when that ends."""

    def __init__(self, data_dir: str | os.PathLike, corpus: str):
        self.data_dir = Path(data_dir)
        self.corpus = corpus
        self.notes: list[str] = []
        self.counts: Counter = Counter()
        self.broken: list[str] = []  # archives, folders and members that cannot be read

    def __enter__(self) -> "Store":
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
        # Nobody else reads it, and a run that is killed begins anew. The cache is 8 MB.
        for setting in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-8192", "temp_store=1"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.executescript(_SCHEMA)
        self._database.execute("BEGIN")
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    def found(self, name: str, reason: str) -> None:
        """Note what cannot be read; `resolve` stops at it."""
        self.broken.append(f"{name}: {reason}")

    # -- in

    def add(self, results: Iterable[Entry | Fault]) -> None:
        """Labels that were read."""
        labels, faults = [], []
        for one in results:
            if isinstance(one, Fault):
                faults.append(one)
                continue
            record = [one.l1, one.domain, one.texts, one.missing, one.tables]
            labels.append(
                (
                    one.utt_id,
                    one.key,
                    one.speaker,
                    one.part,
                    one.lang,
                    one.place,
                    one.texts.get("meaning"),
                    json.dumps(record),
                )
            )
            self.counts.update(one.counts)
        self._many("INSERT INTO label VALUES(?,?,?,?,?,?,?,?)", labels)
        self._many("INSERT INTO left_out VALUES(?,?,?)", faults)

    def add_audio(self, places: Iterable[Place]) -> None:
        rows, faults = [], []
        for place in places:
            source = place.source
            if is_writable(source):
                rows.append((place.stem, source))
            else:
                reason = "its path is not UTF-8 or has odd characters: rename it (convmv does)"
                faults.append((place.stem, place.stem, reason))
        self._many("INSERT INTO audio(key, source) VALUES(?,?)", rows)
        self._many("INSERT INTO left_out VALUES(?,?,?)", faults)

    def add_foreign(self, place: Place) -> None:
        """A sound of a format that is not read here."""
        row = (place.stem, place.name, place.suffix)
        self._many("INSERT INTO foreign_sound VALUES(?,?,?)", [row])
        self.counts[f"sounds that are {place.suffix}, which is not read here"] += 1

    def _many(self, statement: str, rows: Sequence[tuple]) -> None:
        with self._disk():
            self._database.executemany(statement, rows)

    def _run(self, statement: str, *values) -> sqlite3.Cursor:
        with self._disk():
            return self._database.execute(statement, values)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """A full or failing disk becomes a `UserError`."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _DISK_ERRORS:
                raise
            raise UserError(
                f"{self.data_dir}: cannot write: {error}",
                "free space on that disk: a corpus takes about 1 kB an utterance meanwhile",
            ) from None

    # -- joined

    def resolve(self, public_name: Callable[[str], str], *, skip_unreadable: bool = False) -> None:
        """Join labels and sounds; what has only one of them is left out, with the reason.

        `public_name` makes a sound's name one that may stand in the account.
        """
        if self.broken and not skip_unreadable:
            raise UserError(
                f"{self.corpus}: {len(self.broken)} cannot be read:{shown(self.broken)}",
                "take them from a fresh copy, or leave them out: --skip_unreadable true",
            )
        self.notes += [f"not read: {one}" for one in self.broken[:20]]
        if len(self.broken) > 20:
            self.notes.append(f"not read: {len(self.broken) - 20} more")
        self._database.create_function("public_name", 1, public_name, deterministic=True)
        with self._disk():
            self._database.execute("COMMIT")
            self._database.executescript(_RESOLVE)
            self._database.execute("BEGIN")
        self._require_readable(skip_unreadable)
        (twice,) = self._run("SELECT COUNT(*) - COUNT(DISTINCT key) FROM audio").fetchone()
        self.counts["sounds that are there twice; the first by path is used"] += twice
        self._run(
            "INSERT INTO left_out SELECT public_name(key), key, 'no label' FROM audio "
            "WHERE key NOT IN (SELECT key FROM label) AND key NOT IN (SELECT key FROM left_out)"
        )
        self._run(
            "INSERT INTO left_out SELECT public_name(key), key, 'no label' FROM foreign_sound "
            "WHERE key NOT IN (SELECT key FROM label) AND key NOT IN (SELECT key FROM left_out) "
            "GROUP BY key"
        )
        labels = "(SELECT label FROM utterance)"
        again = (
            "FROM label JOIN utterance USING(utt) "
            "JOIN label AS used ON used.rowid = utterance.label "
            f"WHERE label.rowid NOT IN {labels} AND label.record {{}} used.record"
        )
        (same,) = self._run("SELECT COUNT(*) " + again.format("=")).fetchone()
        self.counts["labels that are there twice and say the same"] += same
        self._run(
            "INSERT INTO left_out SELECT label.utt || ' (again)', label.key, 'another label of "
            "this utterance says something else; the first by path is used' " + again.format("!=")
        )

    def _require_readable(self, skip_unreadable: bool) -> None:
        """Refuse labels whose sound is there, but of a format that is not read here."""
        rows = self._run(
            "SELECT suffix, COUNT(*), MIN(name) FROM foreign_sound "
            "WHERE key IN (SELECT key FROM label) AND key NOT IN (SELECT key FROM audio) "
            "GROUP BY suffix ORDER BY 2 DESC, 1"
        ).fetchall()
        if not rows or skip_unreadable:
            return
        kinds = [f"{suffix}: {count}, such as {name}" for suffix, count, name in rows]
        total = sum(count for _, count, _ in rows)
        suffix = rows[0][0]
        raise UserError(
            f"{self.corpus}: {total} sounds are of formats that are not read here:{shown(kinds)}",
            f"convert them to .wav or .flac, names and places kept (ffmpeg -i NAME{suffix} "
            "-ar 16000 -ac 1 NAME.wav), or leave them out: --skip_unreadable true",
        )

    def check_audio(self, nj: int, *, skip_unreadable: bool = False) -> None:
        """Read every sound's header; unreadable ones are refused, all at once, or left out."""
        (total,) = self._run("SELECT COUNT(*) FROM utterance").fetchone()
        used = "(SELECT audio FROM utterance)"
        wanted = f"SELECT id, source FROM audio WHERE id IN {used} ORDER BY id"  # as on the disk
        reader = self._database.cursor()
        rows = iter(reader.execute(wanted))
        label = f"{self.corpus}: reading audio headers"
        results = (one for part in spread(_look, chunks(rows, _CHUNK), nj) for one in part)
        for part in chunks(track(results, label, total), 10 * _CHUNK):
            self.counts["sounds with an odd number of bytes; the last one is not read"] += sum(
                odd for _, _, _, odd in part
            )
            update = "UPDATE audio SET seconds = ?, fault = ? WHERE id = ?"
            self._many(update, [(seconds, fault, key) for key, seconds, fault, _ in part])
        (count,) = self._run("SELECT COUNT(*) FROM audio WHERE fault IS NOT NULL").fetchone()
        if count and not skip_unreadable:
            some = "SELECT fault FROM audio WHERE fault IS NOT NULL ORDER BY source LIMIT 20"
            faults = [fault for (fault,) in self._run(some)]
            more = f"\n  and {count - len(faults)} more" if count > len(faults) else ""
            raise UserError(
                f"{self.corpus}: {count} audio files cannot be read:{shown(faults)}{more}",
                "take them from a fresh copy of the corpus, or leave them out: "
                "--skip_unreadable true",
            )
        self._run(
            "INSERT INTO left_out SELECT utt, audio.key, 'unreadable audio' FROM utterance "
            "JOIN audio ON audio.id = utterance.audio WHERE fault IS NOT NULL"
        )
        faulty = "(SELECT id FROM audio WHERE fault IS NOT NULL)"
        self._run(f"DELETE FROM utterance WHERE audio IN {faulty}")
        if count == total:
            self._nothing()

    def speakers(self) -> list[tuple[str, str]]:
        """All (part, speaker) that have utterances, sorted."""
        return list(self._run("SELECT DISTINCT part, speaker" + _UTTERANCES + "ORDER BY 1, 2"))

    # -- out

    def write(
        self,
        place: Callable[[str, str], str],
        sets: Sequence[str],
        *,
        tables: Sequence[str] = (),
        quick: bool = False,
    ) -> None:
        """Write the data directories and accounts; the set is `place(part, speaker)`.

        `sets` are all names, the training set first; `tables` are all further tables that this
        corpus can have, so that those of an earlier run go.
        """
        self._database.create_function("set_of", 2, place, deterministic=True)
        sized = "SELECT lang, set_of(part, speaker), COUNT(*)"
        grouped = self._run(f"{sized} {_UTTERANCES} GROUP BY 1, 2")
        sizes: dict[str, dict[str, int]] = {}
        for lang, name, size in grouped:
            sizes.setdefault(lang, {})[name] = size
        for lang, of_lang in sorted(sizes.items()):
            if missing := [name for name in sets if name not in of_lang]:
                message = f"{self.corpus}: {lang}: no utterances for {' and '.join(missing)}"
                message += self._left_out()
                raise UserError(message, "more of the corpus or another split is needed")
        self._require_labels(sizes)
        self.notes.append(self._known_sentences(sets))
        most = {name: 48 if name == sets[0] else 12 for name in sets}
        if quick:
            self.notes.append("quick: only a small part of each set is kept")
        for lang, of_lang in sorted(sizes.items()):
            steps = {name: -(-size // most[name]) if quick else 1 for name, size in of_lang.items()}
            self._write_language(lang, sets, steps, tables)

    def _nothing(self) -> NoReturn:
        why = self._left_out().removeprefix("; left out were")
        message = f"{self.corpus}: not one utterance{why or ' found'}"
        raise UserError(message, "is the path that of the corpus as published? Its README says how")

    def _left_out(self) -> str:
        """The most common reasons for what was left out, for a message; "" if nothing was."""
        cursor = self._run("SELECT reason, COUNT(*) FROM left_out GROUP BY 1 ORDER BY 2 DESC, 1")
        why = [f"{count} × {reason}" for reason, count in cursor.fetchmany(10)]
        return "; left out were:" + shown(why) if why else ""

    def _require_labels(self, sizes: Mapping[str, Mapping[str, int]]) -> None:
        """Refuse a set of which not one utterance has a transcript, with the reasons."""
        named = {(lang, name) for lang, of_lang in sizes.items() for name in of_lang}
        asked = f"SELECT DISTINCT lang, set_of(part, speaker) {_UTTERANCES}"
        for lang, name in sorted(named - set(self._run(asked + f"WHERE {_LABELLED}"))):
            why: Counter = Counter()
            asked = f"SELECT json_extract(record, '$[3]') {_UTTERANCES}"
            where = "WHERE lang = ? AND set_of(part, speaker) = ?"
            for (missing,) in self._run(asked + where, lang, name):
                why.update(f"unlabelled {one}: {how}" for one, how in json.loads(missing).items())
            lines = [f"{count} × {reason}" for reason, count in why.most_common(10)]
            message = f"{self.corpus}: {lang}: not one utterance of {name} has a transcript"
            raise UserError(f"{message}:{shown(lines)}", "see the README's options for such marks")

    def _known_sentences(self, sets: Sequence[str]) -> str:
        def meanings(condition: str) -> str:
            where = f"WHERE meaning IS NOT NULL AND set_of(part, speaker) {condition}"
            return f"{_UTTERANCES} {where}"

        tests = [name for name in sets if name not in (sets[0], "valid", "dev")]
        marks = ",".join("?" * len(tests))
        every = "SELECT COUNT(*)" + meanings(f"IN ({marks})")
        known = every + f" AND meaning IN (SELECT meaning {meanings('= ?')})"
        (count,) = self._run(every, *tests).fetchone()
        (shared,) = self._run(known, *tests, sets[0]).fetchone()
        return f"{shared} of {count} test utterances have a sentence that training has too"

    def _rows(self, lang: str) -> Iterator[tuple[str, Utterance, dict, dict, float]]:
        """Set, utterance, what it lacks, its further tables, and its seconds; sorted by id."""
        cursor = self._run(
            "SELECT utterance.utt, speaker, set_of(part, speaker), record, source, seconds "
            + _UTTERANCES
            + "WHERE lang = ? ORDER BY utterance.utt",
            lang,
        )
        for utt_id, speaker, name, record, source, seconds in cursor:
            l1, domain, texts, missing, tables = json.loads(record)
            one = Utterance(utt_id, speaker, source, texts, lang, l1 or None, None, domain or None)
            yield name, one, missing, tables, seconds

    def _write_language(
        self, lang: str, sets: Sequence[str], steps: Mapping[str, int], tables: Sequence[str]
    ) -> None:
        folder = self.data_dir / lang
        seen: Counter = Counter()
        account = Account(self.corpus, self.notes, self.counts, sets)
        remove_stale(folder / "prepare.json")
        with ExitStack() as stack:
            writers = {
                name: stack.enter_context(DirectoryWriter(folder / name, tables)) for name in sets
            }
            unlabelled = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
            rows = track(self._rows(lang), f"{self.corpus}: writing {folder}")
            for name, one, missing, more, seconds in rows:
                seen[name] += 1
                if (seen[name] - 1) % steps[name]:
                    continue
                writers[name].add(one, more)
                account.add(name, one, seconds)
                if missing:
                    account.miss(name, missing)
                    unlabelled.write(f"{account_row(one.utt_id, missing)}\n")
            unlabelled.seek(0)
            left_out = self._run("SELECT name, reason FROM left_out ORDER BY name, reason")
            rows = (account_row(name, why) for name, why in _numbered(left_out))
            account.write(folder / "prepare.json", rows, (row.rstrip("\n") for row in unlabelled))
        grouped = self._run("SELECT reason, COUNT(*) FROM left_out GROUP BY reason")
        for line in account.lines(grouped):
            say(line)
        print(f"{self.corpus}: wrote {folder}/{{{','.join(sets)}}} and prepare.json")


def _numbered(rows: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Rows sorted by name, each with a name of its own, as they become members of an object.

    >>> list(_numbered([("a", "no JSON"), ("a", "no audio"), ("b", "no audio")]))
    [('a', 'no JSON'), ('a (2)', 'no audio'), ('b', 'no audio')]
    """
    last, count = None, 0
    for name, value in rows:
        count = count + 1 if name == last else 1
        last = name
        yield (name if count == 1 else f"{name} ({count})"), value


def _look(rows: Sequence[tuple[int, str]]) -> list[tuple[int, float, str | None, bool]]:
    """Id, seconds, what is wrong, and whether a headerless sound has half a sample too much."""
    from espnet_ext.data import zips
    from espnet_ext.data.audio import audio_info

    results = []
    for key, source in rows:
        inside = zips.parse_reference(source)
        try:
            info = audio_info(source)
            size = inside.size if inside else os.path.getsize(source)
            odd = info.format == "RAW" and bool(size % 2)
            fault = None if info.frames else f"{source}: has no samples"
            results.append((key, info.seconds, fault, odd))
        except UserError as error:
            results.append((key, 0.0, error.message, False))
        except OSError as error:
            results.append((key, 0.0, f"{source}: {error.strerror}", False))
    return results
