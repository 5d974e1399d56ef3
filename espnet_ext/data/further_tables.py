"""Tables of utterances or speakers that this package does not read, such as `utt2gender`.

Commands that write a data directory from another one carry these tables over, for the utterances
that they keep, and say which files are not carried over.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from espnet_ext.data.checks.findings import Finding
from espnet_ext.data.directory import LABEL_TABLES, remove_stale
from espnet_ext.data.record import Utterance, is_output_name
from espnet_ext.data.streaming import DirectoryWriter
from espnet_ext.data.table import scan_table, stream_in_order
from espnet_ext.overwriting import records_of
from espnet_ext.progress import say

# Kaldi's tables with values that were computed from the audio
_OF_AUDIO_BY_SPEAKER = frozenset({"spk2warp", "cmvn.scp"})
_OF_AUDIO = _OF_AUDIO_BY_SPEAKER | {
    *("utt2dur", "utt2num_samples", "utt2num_frames", "utt2warp", "reco2dur"),
    *("feats.scp", "vad.scp"),
}
_BY_SPEAKER = re.compile(r"spk2\w+")
_BY_UTTERANCE = re.compile(r"utt2\w+")
_SOUND = re.compile(r".*\.(?:wav|flac|mp3|ogg|opus|m4a|aif+|au|sph|ark|pcm|raw|zip)", re.IGNORECASE)
_FIXED_ON_WRITING = frozenset({"bom", "crlf", "unsorted", "no-newline"})  # of `scan_table`
_NAMED = 8  # files in a message
_READ = {"wav.scp", "utt2spk", "spk2utt", "text", *LABEL_TABLES}
# Files that the next command writes again, or that describe one directory only
_OF_ONE_DIRECTORY = re.compile(
    r"\..*|feats_type|audio_format|utt2dur|utt2num_samples|validation\.json|removed\.tsv"
    r"|removed_broken\.tsv|dropped\.tsv|changes\.tsv|split\.json|prepare(_\w+)*\.json"
)


class FurtherTables:
    """The further tables of the directories that a command reads, and the names it writes.

    Args:
        sources: data directories that the command reads.
        target: the one that it writes.
        audio_changes: the command writes other audio, so that tables of the audio do not hold.
        replaced: names of tables that the command computes itself.
    """

    def __init__(
        self,
        sources: Sequence[str | os.PathLike],
        target: str | os.PathLike,
        *,
        audio_changes: bool = False,
        replaced: Iterable[str] = (),
    ):
        self._sources = [Path(source) for source in sources]
        self._target = Path(target)
        self._audio_changes = audio_changes
        self._replaced = frozenset(replaced)
        recorded = {name for record in records_of(target) for name in record}
        self._earlier = {name for name in recorded if self._is_carried(name)}

    def pattern(self) -> str:
        """Return a regular expression for names of tables that are written or removed."""
        names = {path.name for source in self._sources for path in self._files(source)}
        carried = {name for name in names if self._is_carried(name)} | self._earlier
        return "|".join(map(re.escape, sorted(carried))) or "(?!)"

    def rows(
        self,
        utterances: Iterable[Utterance],
        originals: Mapping[str, Utterance] | None = None,
        *,
        notes: bool = True,
    ) -> dict[str, dict[str, str]]:
        """Return table → id → value for the utterances that are written, and say what is left out.

        Args:
            utterances: the utterances in the target.
            originals: the utterance that a copy was made from, by the id of the copy.
            notes: print which files and rows are left out.
        """
        originals = originals or {}
        pairs = [(u, originals.get(u.utt_id, u)) for u in utterances]
        utt_ids = {copy.utt_id: original.utt_id for copy, original in pairs}
        speakers = {copy.speaker: original.speaker for copy, original in pairs}
        tables: dict[str, dict[str, str]] = {}
        for source in self._sources:
            not_carried = []
            for path in self._files(source):
                name = path.name
                if not self._is_carried(name):
                    is_old = name in _OF_AUDIO and self._audio_changes
                    not_carried.append(f"{name} (made from the former audio)" if is_old else name)
                    continue
                scanned, findings = scan_table(path)
                values = {row.key: row.value for row in scanned}
                ids = speakers if _is_by_speaker(name) else utt_ids
                rows = {new: values[old] for new, old in ids.items() if old in values}
                if rows:
                    tables.setdefault(name, {}).update(rows)
                if notes:
                    _warn_of_broken_rows(path, findings)
            if notes:
                self._note_not_carried(source, not_carried)
        for name in self._earlier - tables.keys():
            remove_stale(self._target / name)
        return tables

    def copy(self, utterances: Iterable[Utterance], writer: DirectoryWriter) -> Iterator[Utterance]:
        """Yield utterances in order of ids, and write their rows of what `rows` returns.

        Memory does not grow with sorted tables. There is one source. `writer` removes what an
        earlier command has written and this one does not write, if it has the names of `earlier`.
        """
        (source,) = self._sources
        paths = [path for path in self._files(source) if self._is_carried(path.name)]
        by_utterance = [_Rows(path) for path in paths if not _is_by_speaker(path.name)]
        by_speaker = [_Rows(path) for path in paths if _is_by_speaker(path.name)]
        others = [path.name for path in self._files(source) if not self._is_carried(path.name)]
        self._note_not_carried(source, others)
        speakers = set()
        for utterance in utterances:
            yield utterance
            speakers.add(utterance.speaker)
            for rows in by_utterance:
                rows.copy(utterance.utt_id, writer)
        for rows in by_speaker:
            for speaker in sorted(speakers):
                rows.copy(speaker, writer)

    @property
    def earlier(self) -> Sequence[str]:
        """Names of carried tables that the command has written before."""
        return sorted(self._earlier)

    def _note_not_carried(self, source: Path, names: Sequence[str]) -> None:
        if names:
            listed = ", ".join(names[:_NAMED])
            if len(names) > _NAMED:
                listed += f" and {len(names) - _NAMED} more files"
            say(f"note: {source}: not carried over to {self._target}: {listed}")

    def _is_carried(self, name: str) -> bool:
        if name in _READ or name in self._replaced:
            return False
        if name in _OF_AUDIO:
            return not self._audio_changes
        return bool(_BY_UTTERANCE.fullmatch(name) or _BY_SPEAKER.fullmatch(name))

    def _files(self, source: Path) -> list[Path]:
        """Return the files of a source that commands neither read nor write again."""
        return [
            path
            for path in (sorted(source.iterdir()) if source.is_dir() else ())
            if path.is_file()
            and path.name not in _READ
            and not (path.name.startswith("text.") and is_output_name(path.name[5:]))
            and not _SOUND.fullmatch(path.name)
            and (self._is_carried(path.name) or not _OF_ONE_DIRECTORY.fullmatch(path.name))
        ]


class _Rows:
    """The rows of a table, asked for in order of ids."""

    def __init__(self, path: Path):
        findings: list[Finding] = []
        self._name = path.name
        self._rows = stream_in_order(path, findings)
        self._head = next(self._rows, None)
        _warn_of_broken_rows(path, findings)

    def copy(self, key: str, writer: DirectoryWriter) -> None:
        """Write the row of an id, if there is one."""
        while self._head is not None and self._head[1] < key:
            self._head = next(self._rows, None)
        if self._head is not None and self._head[1] == key:
            writer.add_row(self._name, key, self._head[2])


def _warn_of_broken_rows(path: Path, findings: Iterable[Finding]) -> None:
    broken = [finding for finding in findings if finding.code not in _FIXED_ON_WRITING]
    if broken:
        say(
            f"warning: {path}: {len(broken)} rows are not carried over: line "
            f"{broken[0].line}: {broken[0].message}"
        )


def _is_by_speaker(name: str) -> bool:
    return name in _OF_AUDIO_BY_SPEAKER or bool(_BY_SPEAKER.fullmatch(name))
